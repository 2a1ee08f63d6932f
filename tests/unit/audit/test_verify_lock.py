"""A destination held against a lock: what is there, what is not, and what is not the same."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dicomhaul.audit.findings import Finding, Problem
from dicomhaul.audit.locked import ROUNDED_BYTES, Breach, LockProof, prove_lock
from dicomhaul.cohort.lock import LockedSeries, LockHeader, open_lock, write_lock
from dicomhaul.errors import CohortError, ConfigError
from dicomhaul.model import Check, Proof, Query, Receipt, Series, SeriesUID, Shard, SopUID, StudyUID
from dicomhaul.plan.shard import shard_of
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.planned import plan_cohort
from dicomhaul.record.relock import header_after, lacks_digests, locked_row, new_header, write_lock_from_ledger

REVISION = "0190bd21-75d4-4b5f-9e0c-0f1a2b3c4d5e"
OTHER = "11111111-75d4-4b5f-9e0c-0f1a2b3c4d5e"
STUDY = "1.2"
FRESH = new_header(Query(collection=("a",)), source=["idc-bucket"], created="now", release="25.0.5")


def series(number: int, *, selected: tuple[str, ...] | None = None) -> Series:
    return Series(
        StudyUID(STUDY),
        SeriesUID(f"1.2.{number}"),
        collection="c",
        revision=REVISION,
        license="CC BY 4.0",
        expected=2 if selected is None else len(selected),
        instances=None if selected is None else tuple(map(SopUID, selected)),
        folder=str(number),
    )


def digest(number: int, instance: int) -> bytes:
    return bytes([number] * 15 + [instance])


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    """Series 1 to 3 are complete with two instances each; of series 4 one has come, and 5 is one selected instance."""
    made = Ledger.open(tmp_path / "ledger.sqlite3")
    rows = [*map(series, range(1, 5)), series(5, selected=("1.2.5.1",))]
    plan_cohort(made, name="n", fingerprint="f", query="{}", source="s", planned_at="", layout="x", rows=rows)
    ids = {row.series: row.series_id for row in made.iter_members()}
    with made.transaction():
        for number, instances in ((1, 2), (2, 2), (3, 2), (4, 1), (5, 1)):
            key = ids[f"1.2.{number}"]
            made.add_receipts(
                Receipt(key, SopUID(f"1.2.{number}.{each}"), 10, digest(number, each))
                for each in range(1, instances + 1)
            )
            if number != 4:
                made.complete_series(key, Proof.COUNT, None, "s")
    return made


def rows_of(ledger: Ledger) -> list[LockedSeries]:
    return [locked_row(ledger, row) for row in ledger.iter_members()]


def proof(path: Path, ledger: Ledger, rows: list[LockedSeries], **options: Shard) -> LockProof:
    write_lock(path, replace(FRESH, series=len(rows)), rows)
    return prove_lock(path, ledger, **options)  # type: ignore[arg-type]  # one option, whose type is its own


def breaches(found: LockProof) -> list[tuple[Breach, str, str | None]]:
    return [(finding.breach, finding.series, finding.sop) for finding in found.findings]


def test_what_is_there_is_proven(ledger: Ledger, tmp_path: Path) -> None:
    with closing(ledger):
        rows = [row for row in rows_of(ledger) if row.series != "1.2.4"]
        found = proof(tmp_path / "l", ledger, rows)
    assert (found.findings, found.series, found.proven, found.digests, found.besides) == ((), 4, 4, 7, 1)
    assert found.as_json()["series_proven"] == 4


def test_each_difference_is_named(ledger: Ledger, tmp_path: Path) -> None:
    with closing(ledger):
        one, two, three, four, five = rows_of(ledger)
        assert two.xxh3 is not None
        rows = [
            replace(one, series="1.2.0"),
            replace(one, revision=OTHER),
            replace(two, xxh3={**two.xxh3, "1.2.2.2": "00" * 16, "1.2.2.3": "11" * 16}),
            replace(three, instances=3),
            four,
            replace(five, sops=None, xxh3=None),
            LockedSeries("1.2.5", "1.3", REVISION),
        ]
        found = proof(tmp_path / "l", ledger, rows)
    assert breaches(found) == [
        (Breach.ABSENT, "1.2.0", None),
        (Breach.REVISION, "1.2.1", None),
        (Breach.CONTENT, "1.2.2", "1.2.2.2"),
        (Breach.MISSING, "1.2.2", "1.2.2.3"),
        (Breach.COUNT, "1.2.3", None),
        (Breach.INCOMPLETE, "1.2.4", None),
        (Breach.INCOMPLETE, "1.2.5", None),
        (Breach.ABSENT, "1.2.5", None),
    ]
    assert (found.series, found.proven, found.besides) == (7, 0, 0)
    details = [finding.detail for finding in found.findings]
    assert details[1] == f"here is {REVISION}"
    assert details[4] == "2 instead of 3"
    assert found.as_json()["findings"][2] == {
        "problem": "other bytes",
        "study": STUDY,
        "series": "1.2.2",
        "sop": "1.2.2.2",
        "detail": "",
    }


def test_selected_instances_that_are_not_here(ledger: Ledger, tmp_path: Path) -> None:
    with closing(ledger):
        row = replace(rows_of(ledger)[4], sops=("1.2.5.1", "1.2.5.9"), xxh3=None)
        found = proof(tmp_path / "l", ledger, [row])
    assert breaches(found) == [(Breach.MISSING, "1.2.5", "1.2.5.9")]


def test_a_series_of_which_a_file_is_damaged_is_not_proven(ledger: Ledger, tmp_path: Path) -> None:
    with closing(ledger):
        rows = rows_of(ledger)[:2]
        write_lock(tmp_path / "l", replace(FRESH, series=2), rows)
        (first, *_) = ledger.iter_members()
        damaged = [
            Finding(Problem.CONTENT, "1/1.2.1.1.dcm", first.series_id, "1.2.1.1"),
            Finding(Problem.FOREIGN, "readme.txt"),
        ]
        found = prove_lock(tmp_path / "l", ledger, damaged=damaged)
    assert breaches(found) == [(Breach.DAMAGED, "1.2.1", None)]
    assert found.proven == 1


@pytest.mark.parametrize(
    ("stated", "checks", "wrong"),
    [
        (50_000, (Check.MD5, Check.SIZE), False),
        (50_000 - ROUNDED_BYTES, (Check.MD5, Check.CRC32C), False),
        (50_000 + ROUNDED_BYTES + 1, (Check.MD5, Check.MD5), True),
        (50_000 - ROUNDED_BYTES - 1, (Check.MD5, Check.MD5), True),
        (200_000, (Check.MD5, Check.FRAMING), None),
        (200_000, (Check.FRAMING, Check.FRAMING), None),
        (None, (Check.MD5, Check.MD5), None),
    ],
)
def test_the_size_of_what_came_from_buckets_is_compared(
    stated: int | None,
    checks: tuple[Check, Check],
    wrong: bool | None,  # noqa: FBT001 - a parameter of the test
    ledger: Ledger,
    tmp_path: Path,
) -> None:
    """Where digests do not say more, and not of what a DICOMweb server encoded (None)."""
    with closing(ledger):
        key = next(row.series_id for row in ledger.iter_members())
        with ledger.transaction():
            ledger.add_receipts(
                Receipt(key, SopUID(f"1.2.1.{each}"), 25_000, digest(1, each), check)
                for each, check in enumerate(checks, 1)
            )
        row = replace(rows_of(ledger)[0], size_bytes=stated)
        assert row.xxh3 is not None
        found = proof(tmp_path / "l", ledger, [replace(row, xxh3={"1.2.1.1": row.xxh3["1.2.1.1"]})])
        covered = proof(tmp_path / "covered", ledger, [row])
        selected = proof(tmp_path / "some", ledger, [replace(row, xxh3=None, sops=("1.2.1.1", "1.2.1.2"))])
    assert breaches(found) == ([(Breach.SIZE, "1.2.1", None)] if wrong else [])
    assert (found.proven, found.sizes, found.counted) == (int(not wrong), int(wrong is not None), int(wrong is None))
    if wrong:
        assert found.findings[0].detail == f"50,000 bytes instead of {stated:,}"
    assert (covered.proven, covered.sizes, covered.counted) == (1, 0, 0)
    assert (selected.proven, selected.sizes, selected.counted) == (1, 0, 1)


def test_a_shard_of_it(ledger: Ledger, tmp_path: Path) -> None:
    with closing(ledger):
        rows = rows_of(ledger)[:3]
        found = proof(tmp_path / "l", ledger, rows, shard=Shard(1, 2))
    mine = sum(shard_of(row.series, 2) == 1 for row in rows)
    assert (found.series, found.proven) == (mine, mine)


def test_a_lock_without_its_end_proves_nothing(ledger: Ledger, tmp_path: Path) -> None:
    with closing(ledger):
        write_lock(tmp_path / "l", replace(FRESH, series=9), rows_of(ledger)[:2])
        with pytest.raises(CohortError, match="is damaged"):
            prove_lock(tmp_path / "l", ledger)


# -- locks from a ledger --------------------------------------------------------------------------------------------


def test_a_ledger_writes_the_lock_of_a_cohort(ledger: Ledger, tmp_path: Path) -> None:
    other = [replace_series(series(8))]
    plan_cohort(
        ledger,
        name="o",
        fingerprint="o",
        query='{"everything": true}',
        source="s",
        planned_at="",
        layout="x",
        rows=other,
    )
    (cohort, _) = ledger.cohorts()
    path = tmp_path / "cohort.lock"
    with closing(ledger):
        write_lock_from_ledger(ledger, cohort.id, path, query=Query(collection=("a",)), fresh=FRESH)
    with open_lock(path) as lock:
        header, rows = lock.header, list(lock)
    assert (header.series, header.instances, header.size_bytes) == (5, 9, None)
    assert (header.query, header.idc_version, header.index_version) == ({"collection": ["a"]}, 25, "25.0.5")
    assert header.licenses == {"CC BY 4.0": 5}
    assert [(row.series, len(row.xxh3 or {})) for row in rows] == [
        ("1.2.1", 2), ("1.2.2", 2), ("1.2.3", 2), ("1.2.4", 1), ("1.2.5", 1),
    ]  # fmt: skip
    assert rows[4].sops == ("1.2.5.1",)
    assert rows[0].xxh3 == {"1.2.1.1": digest(1, 1).hex(), "1.2.1.2": digest(1, 2).hex()}


def replace_series(row: Series) -> Series:
    return row._replace(license=None)


def test_a_lock_that_is_its_own_target_keeps_query_release_and_digests(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "cohort.lock"
    old = LockHeader(created="then", query={"modality": ["CT"]}, idc_version=24, index_version="24.0.0", series=5)
    with closing(ledger):
        rows = [replace(row, xxh3=None, license="CC BY 3.0") for row in rows_of(ledger)]
        rows[1] = replace(rows[1], xxh3={"1.2.2.1": "00" * 16})
        write_lock(path, old, rows)
        query = Query(targets=(str(path),))
        (cohort,) = ledger.cohorts()
        write_lock_from_ledger(ledger, cohort.id, path, query=query, fresh=FRESH, base=path)
    with open_lock(path) as lock:
        header, now = lock.header, list(lock)
        assert header_after(lock, Query(targets=("x",), limit_series=2), FRESH).query == {
            "modality": ["CT"],
            "limit_series": 2,
        }
    assert (header.created, header.query, header.idc_version) == ("then", {"modality": ["CT"]}, 24)
    assert header.licenses == {"CC BY 3.0": 5}
    assert now[0].xxh3 == {"1.2.1.1": digest(1, 1).hex(), "1.2.1.2": digest(1, 2).hex()}
    assert now[1].xxh3 == {"1.2.2.1": "00" * 16, "1.2.2.2": digest(2, 2).hex()}


def test_a_lock_that_is_there_loses_no_digest(ledger: Ledger, tmp_path: Path) -> None:
    path = tmp_path / "cohort.lock"
    query = Query(collection=("a",))
    with closing(ledger):
        rows = rows_of(ledger)
        rows[3] = replace(rows[3], xxh3={"1.2.4.2": "22" * 16})
        write_lock(path, replace(FRESH, series=5), rows)
        (cohort,) = ledger.cohorts()
        write_lock_from_ledger(ledger, cohort.id, path, query=query, fresh=FRESH)
        with open_lock(path) as lock:
            assert list(lock)[3].xxh3 == {"1.2.4.1": digest(4, 1).hex(), "1.2.4.2": "22" * 16}
        content = path.read_bytes()
        for other, fresh in (
            (Query(collection=("b",)), new_header(Query(collection=("b",)), source=[], created="", release="25.0.5")),
            (query, replace(FRESH, idc_version=26)),
        ):
            with pytest.raises(ConfigError, match="stays as it is"):
                write_lock_from_ledger(ledger, cohort.id, path, query=other, fresh=fresh)
        assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("change", "lacks"),
    [
        ({}, False),
        ({"xxh3": None}, True),
        ({"xxh3": {"1.2.1.1": "00" * 16}}, True),
        ({"xxh3": None, "revision": OTHER}, False),
        ({"xxh3": {"1.2.1.1": "00" * 16}, "instances": None}, False),
        ({"xxh3": None, "instances": None}, True),
        ({"series": "1.2.0", "xxh3": None}, False),
    ],
)
def test_whether_a_lock_could_gain(change: dict[str, Any], lacks: bool, ledger: Ledger, tmp_path: Path) -> None:  # noqa: FBT001 - a parameter of the test
    with closing(ledger):
        first, *_, begun, selected = rows_of(ledger)
        rows = [replace(first, **change), replace(begun, xxh3=None), selected]  # `begun` is not complete
        write_lock(tmp_path / "l", replace(FRESH, series=3), rows)
        assert lacks_digests(tmp_path / "l", ledger) is lacks
