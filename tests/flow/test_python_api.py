"""The Python API in a program: leaving early, cancelling, several runs of one hauler."""

import asyncio
from pathlib import Path

import pytest

from dicomhaul import Cohort, ConfigError, Hauler, HaulOptions, IncompleteError, LedgerError, SeriesLanded
from dicomhaul.origin import Rule
from dicomhaul.origin.faults import Stall
from support.made_up import made_up_catalog
from support.origin_process import origin_thread

_EVERYTHING = Cohort.search()
# The first series is not answered the first time it is asked for, so the run lasts until somebody ends it.
_ONE_STALLS = Rule(path="/series/1.2.826.0.1.0.0$", times=frozenset({1}), action=Stall())


@pytest.mark.anyio
async def test_a_loop_that_is_left_early_stops_its_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with origin_thread(made_up_catalog(2, 3), rules=[_ONE_STALLS]) as origin:
        async with Hauler(origin.url) as hauler:
            async for series in hauler.iter_series(_EVERYTHING, tmp_path):
                assert len(series.files) == 3
                break
            report = await hauler.pull(_EVERYTHING, tmp_path)
    assert (report.state, report.instances_present, report.instances_landed) == ("complete", 5, 2)
    assert caplog.messages == []


@pytest.mark.anyio
async def test_a_hauler_that_is_left_holds_no_destination(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2, 3), rules=[_ONE_STALLS]) as origin:
        async with Hauler(origin.url) as first:
            landed = first.iter_series(_EVERYTHING, tmp_path)
            await anext(landed)
        async with Hauler(origin.url) as second:
            report = await second.pull(_EVERYTHING, tmp_path)
    assert report.instances_present == 5


@pytest.mark.anyio
async def test_every_series_is_yielded_once_those_that_were_there_too(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2, 3, 4)) as origin:
        async with Hauler(origin.url) as hauler:
            for _ in range(2):
                sizes = [len(series.files) async for series in hauler.iter_series(_EVERYTHING, tmp_path)]
                assert sorted(sizes) == [2, 3, 4]


@pytest.mark.anyio
async def test_a_cancelled_pull_leaves_what_the_next_goes_on_with(tmp_path: Path) -> None:
    landed = asyncio.Event()

    def hear(event: object) -> None:
        if isinstance(event, SeriesLanded):
            landed.set()

    with origin_thread(made_up_catalog(2, 3), rules=[_ONE_STALLS]) as origin:
        async with Hauler(origin.url, observer=hear) as hauler:
            task = asyncio.create_task(hauler.pull(_EVERYTHING, tmp_path))
            await landed.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            report = await hauler.resume(tmp_path)
    assert (report.state, report.instances_present, report.instances_landed) == ("complete", 5, 2)


@pytest.mark.anyio
async def test_a_stopped_pull_says_so(tmp_path: Path) -> None:
    def hear(event: object) -> None:
        if isinstance(event, SeriesLanded):
            hauler.stop()

    with origin_thread(made_up_catalog(2, 3), rules=[_ONE_STALLS]) as origin:
        hauler = Hauler(origin.url, observer=hear)
        async with hauler:
            with pytest.raises(IncompleteError, match="stopped on request") as stopped:
                await hauler.pull(_EVERYTHING, tmp_path)
    assert (stopped.value.report.state, stopped.value.report.instances_landed) == ("interrupted", 3)


@pytest.mark.anyio
async def test_runs_of_one_hauler_wait_for_each_other_and_count_alone(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2, 3)) as origin:
        async with Hauler(origin.url) as hauler:
            reports = await asyncio.gather(
                hauler.pull(_EVERYTHING, tmp_path / "one"), hauler.pull(_EVERYTHING, tmp_path / "two")
            )
    assert [report.instances_landed for report in reports] == [5, 5]


@pytest.mark.anyio
async def test_two_haulers_do_not_share_a_destination(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2, 3), rules=[_ONE_STALLS]) as origin:
        async with Hauler(origin.url) as first, Hauler(origin.url) as second:
            landed = first.iter_series(_EVERYTHING, tmp_path)
            await anext(landed)
            with pytest.raises(LedgerError, match="another dicomhaul"):
                await second.pull(_EVERYTHING, tmp_path)


@pytest.mark.anyio
async def test_resume_asks_the_source_on_record_with_the_profile_that_is_named(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text('name = "mine"\nextends = "orthanc"\n[auth]\nkind = "basic"\n')
    with origin_thread(made_up_catalog(2)) as origin:
        async with Hauler(origin.url) as hauler:
            await hauler.pull(_EVERYTHING, tmp_path / "data")
        next((tmp_path / "data").rglob("*.dcm")).unlink()
        async with Hauler(profile=str(profile), options=HaulOptions(recheck=True)) as hauler:
            with pytest.raises(ConfigError, match="DICOMHAUL_USER"):
                await hauler.resume(tmp_path / "data")
