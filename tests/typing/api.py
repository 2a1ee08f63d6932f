"""The public API as users write it. Read by mypy alone, never run: what is wrong here, or not, is the test."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import assert_type

import dicomhaul
from dicomhaul import (
    Account,
    Cohort,
    Connection,
    Diagnosis,
    Event,
    Failure,
    Forecast,
    Hauler,
    HaulError,
    HaulOptions,
    IncompleteError,
    LandedSeries,
    LockProof,
    Measured,
    Merged,
    Profile,
    QuotaExhausted,
    Report,
    SeriesLanded,
    Shard,
    Sources,
    SourceSpec,
    Summary,
    Tally,
    Throttled,
    Timetable,
    Verification,
    cite,
    examine,
    merge,
    parse_timetable,
    pull_sync,
    read_profile,
    resolve_sources,
    verify,
)

assert_type(dicomhaul.__version__, str)

cohort = Cohort.idc(collection_id="qin_pet_phantom", modality=["PT", "CT"], study_date="20200101-")
assert_type(cohort, Cohort)
assert_type(Cohort.sql("SELECT SeriesInstanceUID FROM index"), Cohort)
assert_type(Cohort.series("1.2", "1.3"), Cohort)
assert_type(Cohort.manifest(Path("manifest.csv")), Cohort)
assert_type(Cohort.search(PatientID="123", ModalitiesInStudy="CT"), Cohort)
Cohort.idc(modality=1)  # type: ignore[arg-type]
Cohort.search(123)  # type: ignore[call-arg]


def observe(event: Event) -> None:
    if isinstance(event, SeriesLanded):
        assert_type(event.instances, int)


async def haul() -> None:
    async with Hauler("https://pacs.example/dicom-web", transfers=16, observer=observe) as hauler:
        assert_type(hauler, Hauler)
        assert_type(hauler.tally, Tally)
        assert_type(await hauler.plan(cohort), Summary)
        assert_type(await hauler.plan(cohort, "data"), Summary)
        summary = await hauler.plan(cohort)
        measured = await hauler.probe(cohort, summary, "data")
        assert_type(measured, Measured)
        assert_type(hauler.forecast(summary, measured=measured), Forecast)
        assert_type(hauler.forecast(summary, bytes_per_s=80_000_000).seconds, float | None)
        series_of = hauler.iter_series(cohort, to="data")
        assert_type(series_of, AsyncIterator[LandedSeries])
        async for series in series_of:
            assert_type(series.path, Path)
            assert_type(series.files, tuple[Path, ...])
        report = await hauler.pull(cohort, to=Path("data"), check=False)
        assert_type(report, Report)
        assert_type(report.failures, tuple[Failure, ...])
        assert_type(report.instances_expected, int | None)
        for path in report.paths:
            assert_type(path, Path)
        assert_type(await hauler.resume("data"), Report)
        hauler.stop()
    Hauler("idc-proxy", nonsense=True)  # type: ignore[call-arg]


def from_a_notebook() -> None:
    options = HaulOptions(state_dir=Path("state"), recheck=True)
    connection = Connection(auth="bearer", token_file=Path("token"))
    source = resolve_sources("idc-google,idc-bucket", connection=connection)
    assert_type(source, Sources)
    assert_type(source.specs, tuple[SourceSpec, ...])
    assert_type(parse_timetable("08:00,10M 19:00,off"), Timetable)
    assert_type(source.specs[0].profile, Profile)
    assert_type(read_profile(Path("mine.toml")), Profile)
    try:
        assert_type(pull_sync(cohort, "data", source=source, options=options), Report)
    except IncompleteError as error:
        whatever: Report = error.report
        assert_type(whatever.state == "partial", bool)
    except QuotaExhausted as error:
        assert_type(error.until_s, float)
    except Throttled as error:
        assert_type(error.retry_after_s, float | None)
    except HaulError:
        raise
    assert_type(verify("data", deep=True), Verification)
    assert_type(verify("data", shard=Shard(1, 8)), Verification)
    assert_type(verify("data", lock=Path("cohort.lock")).lock, LockProof | None)
    assert_type(cite("data"), Account)
    assert_type(cite("data").as_bibtex(), str)
    assert_type(merge(["data"]), Merged)
    assert_type(examine("https://pacs.example/dicom-web", connection=connection), tuple[Diagnosis, ...])
    assert_type(examine(source)[0].usable, bool)
    assert_type(examine("idc", location="gcs")[0].profile, str | None)
    assert_type(merge(["one", Path("two")], "all").linked, int)
