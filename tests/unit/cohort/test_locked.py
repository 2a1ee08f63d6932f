"""A lock as a target: alone, from whom it can be had, in part, and held against an index that has moved on."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest

from dicomhaul.cohort.idc import open_idc
from dicomhaul.cohort.lock import LockedSeries, LockHeader, open_lock, write_lock
from dicomhaul.cohort.locked import (
    as_series,
    check_lock_option,
    check_only_gains,
    check_source,
    iter_wanted,
    lock_target,
)
from dicomhaul.cohort.locked_idc import open_locked
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError, ConfigError
from dicomhaul.model import Query, Series, Shard

UNKNOWN = "00000000-75d4-4b5f-9e0c-0f1a2b3c4d5e"
HEADER = LockHeader(created="then", query={}, idc_version=20, series=0)


def row(number: int = 1, **values: Any) -> LockedSeries:
    return replace(LockedSeries(f"1.2.{number}", "1.2", UNKNOWN, "idc-open-data", license="CC BY 4.0"), **values)


def written(path: Path, *rows: LockedSeries, header: LockHeader = HEADER) -> Path:
    write_lock(path, replace(header, series=len(rows)), rows)
    return path


@pytest.fixture(scope="module")
def present() -> Series:
    """A series as the index has it today."""
    with open_idc(Query(collection=("qin_pet_phantom",), limit_series=1)) as cohort:
        return next(row for batch in cohort.iter_rows() for row, _ in batch)


@pytest.fixture(scope="module")
def earlier() -> tuple[str, ...]:
    """series, study, revision, bucket of an earlier revision."""
    prior = Shelf().bundled["prior_versions_index"]
    found = duckdb.sql(
        f"SELECT SeriesInstanceUID, StudyInstanceUID, crdc_series_uuid, aws_bucket FROM '{prior}' "
        "WHERE aws_bucket = 'idc-open-data-two' ORDER BY ALL LIMIT 1"
    ).fetchone()
    assert found is not None
    return tuple(map(str, found))


# -- alone ----------------------------------------------------------------------------------------------------------


def test_it_is_known_by_what_it_says(tmp_path: Path) -> None:
    path = written(tmp_path / "anything.txt", row())
    assert lock_target(Query(targets=(str(path),))) == path
    assert lock_target(Query(targets=(str(path),), limit_series=1, shard=Shard(1, 2), licenses_allowed=("x",))) == path
    (tmp_path / "list.csv").write_text("1.2.3\n")
    for targets in ((), ("nlst",), (str(tmp_path / "list.csv"),), ("none.lock",), ("1.2.3", "-")):
        assert lock_target(Query(targets=targets)) is None


@pytest.mark.parametrize(
    "more",
    [
        {"modality": ("CT",)},
        {"sql": "SELECT 1"},
        {"where": "true"},
        {"collection": ("nlst",)},
        {"idc_version": 20},
        {"everything": True},
        {"study_date": "2020-"},
        {"search": ("A=B",)},
        {"patient": ("p",)},
        {"instance": ("1.2",)},
        {"crdc": (UNKNOWN,)},
        {"manifest": "1.2.3\n"},
    ],
)
def test_nothing_else_may_say_what_is_wanted(more: dict[str, Any], tmp_path: Path) -> None:
    path = written(tmp_path / "cohort.lock", row())
    with pytest.raises(ConfigError, match="says by itself what is wanted"):
        lock_target(Query(targets=(str(path),), **more))
    with pytest.raises(ConfigError, match="says by itself what is wanted"):
        lock_target(Query(targets=(str(path), "nlst")))


def test_it_cannot_come_by_standard_input(tmp_path: Path) -> None:
    text = written(tmp_path / "l", row()).read_text()
    with pytest.raises(CohortError, match="cannot come by standard input"):
        lock_target(Query(targets=("-",), manifest=text))


def test_from_whom_it_can_be_had() -> None:
    server = replace(HEADER, idc_version=None, source=("generic (pacs.example)",))
    check_source(HEADER, Path("l"), indexed=True)
    check_source(server, Path("l"), indexed=False)
    with pytest.raises(ConfigError, match="use --source idc"):
        check_source(HEADER, Path("l"), indexed=False)
    with pytest.raises(ConfigError, match=r"a cohort of generic \(pacs.example\), not of IDC"):
        check_source(server, Path("l"), indexed=True)


def test_a_part_of_it_may_not_take_its_place(tmp_path: Path) -> None:
    path = written(tmp_path / "cohort.lock", row())
    (tmp_path / "link").symlink_to(path)
    whole = Query(targets=(str(path),))
    check_lock_option(path, whole)
    check_lock_option(tmp_path / "new.lock", replace(whole, limit_series=1))
    for other in (path, tmp_path / "link"):
        with pytest.raises(ConfigError, match="only a part of it"):
            check_lock_option(other, replace(whole, shard=Shard(1, 2)))


@pytest.mark.parametrize(
    ("query", "what"),
    [
        (Query(collection=("lung_phantom",)), r"the lock of something else \(not the same: collection\)"),
        (Query(collection=("a",), where="x = 'Doe'"), r"\(not the same: where\)"),
        (Query(modality=("CT",)), r"\(not the same: collection, modality\)"),
        (Query(collection=("a",), shard=Shard(1, 3)), r"the lock of another shard .* give each shard a file"),
    ],
)
def test_another_cohort_may_not_take_the_place_of_a_lock(query: Query, what: str, tmp_path: Path) -> None:
    path = written(tmp_path / "cohort.lock", row(), header=replace(HEADER, query={"collection": ["a"]}))
    check_lock_option(path, Query(collection=("a",)))
    with pytest.raises(ConfigError, match=what) as raised:
        check_lock_option(path, query)
    assert "Doe" not in str(raised.value)


def test_shards_do_not_share_one_file_for_their_locks(tmp_path: Path) -> None:
    path = written(tmp_path / "s", row(), header=replace(HEADER, query={"collection": ["a"], "shard": [1, 3]}))
    check_lock_option(path, Query(collection=("a",), shard=Shard(1, 3)))
    with pytest.raises(ConfigError, match="give each shard a file"):
        check_lock_option(path, Query(collection=("a",), shard=Shard(2, 3)))


def test_a_target_that_is_a_lock_counts_as_what_it_was_made_from(tmp_path: Path) -> None:
    asked = replace(HEADER, query={"collection": ["a"]})
    base, copy = (written(tmp_path / name, row(), header=asked) for name in ("base", "copy"))
    other = written(tmp_path / "other", row(), header=replace(HEADER, query={"collection": ["b"]}))
    check_lock_option(copy, Query(targets=(str(base),)))
    for path, query in ((other, Query(targets=(str(base),))), (copy, Query(targets=(str(base),), limit_series=1))):
        with pytest.raises(ConfigError, match="not the same"):
            check_lock_option(path, query)


def test_the_same_question_may_not_have_lost_a_series(tmp_path: Path) -> None:
    before = [row(1), row(2), row(3, sops=("1", "2"))]
    path = written(tmp_path / "l", *before)
    with open_lock(path) as lock:
        for rows in (before, [*before, row(4)], [row(0), *before], [row(1), row(2), row(3)]):
            check_only_gains(lock, rows, idc_version=20)
        for rows in (
            [],
            before[:2],
            before[1:],
            [row(1), row(2, revision=UNKNOWN.replace("0", "1")), before[2]],
            [row(1), row(2, sops=("1",)), before[2]],
            [row(1), row(2), row(3, sops=("1",))],
        ):
            with pytest.raises(ConfigError, match=r"of its 3 series are not in this cohort .*the first: 1\.2\.\d"):
                check_only_gains(lock, rows, idc_version=20)
        for version, name in ((21, "IDC v21"), (None, "no IDC cohort")):
            with pytest.raises(ConfigError, match=f"the lock of IDC v20, not of {name}"):
                check_only_gains(lock, before, idc_version=version)


# -- in part --------------------------------------------------------------------------------------------------------


def test_shards_share_it(tmp_path: Path) -> None:
    rows = [row(number) for number in range(1, 10)]
    with open_lock(written(tmp_path / "l", *rows)) as lock:
        parts = [list(iter_wanted(lock, Query(shard=Shard(number, 3)))) for number in (1, 2, 3)]
        first = list(iter_wanted(lock, Query(limit_series=4)))
        both = list(iter_wanted(lock, Query(limit_series=4, shard=Shard(1, 3))))
    assert sorted(each.series for part in parts for each in part) == [each.series for each in rows]
    assert all(len(part) < 9 for part in parts)
    assert first == rows[:4]
    assert both == [each for each in parts[0] if each in first]


def test_single_instances_stay_single() -> None:
    assert as_series(row(sops=("1.5", "1.6"), instances=2)).instances == ("1.5", "1.6")
    assert as_series(row()).instances is None


# -- held against the index -----------------------------------------------------------------------------------------


def open_rows(
    path: Path, query: Query | None = None, fields: tuple[str, ...] = ()
) -> list[tuple[Series, tuple[Any, ...]]]:
    with open_locked(path, query or Query(targets=(str(path),))) as cohort:
        return [each for batch in cohort.iter_rows(fields=fields, batch=2) for each in batch]


def test_where_it_lies_is_what_the_index_says_today(present: Series, earlier: tuple[str, ...], tmp_path: Path) -> None:
    series, study, revision, bucket = earlier
    assert present.revision is not None
    rows = [
        row(1),
        LockedSeries(series, study, revision, "idc-open-data-cr", "c", "p", "MR", "CC BY 3.0", 4, 5),
        LockedSeries(present.series, present.study, present.revision, "idc-open-data-cr", "other", "q", "XX"),
        LockedSeries(f"{present.series}.9", present.study, UNKNOWN, sops=("1.9",), instances=1),
    ]
    rows.sort(key=lambda each: each.key)
    path = written(tmp_path / "l", *rows)
    placed = open_rows(path, fields=("Modality", "StudyDate"))
    found = {str(each.series): (each, values) for each, values in placed}
    assert list(found) == [each.series for each in rows]
    moved = found[series][0]
    assert (moved.bucket, moved.prior, moved.expected, moved.size_bytes) == (bucket, True, 4, 5)
    assert (moved.license, moved.collection, found[series][1]) == ("CC BY 3.0", "c", ("MR", None))
    today, values = found[present.series]
    assert (today.bucket, today.prior, today.collection) == (present.bucket, False, "other")
    assert values[0] == "XX"
    assert values[1]  # a date that only the index knows
    assert (found["1.2.1"][0].bucket, found["1.2.1"][0].prior) == ("idc-open-data", True)
    with open_locked(path, Query()) as cohort:
        assert cohort.moved == 3


def test_the_average_of_single_instances_is_that_of_the_index(present: Series, tmp_path: Path) -> None:
    assert present.size_bytes is not None
    assert present.expected is not None
    path = written(
        tmp_path / "l", LockedSeries(present.series, present.study, present.revision, instances=1, sops=("1.9",))
    )
    ((found, _),) = open_rows(path)
    assert found.instance_bytes == pytest.approx(present.size_bytes / present.expected, abs=1)
    assert (found.size_bytes, found.instances) == (None, ("1.9",))


def test_many_rows_keep_their_order(tmp_path: Path) -> None:
    rows = sorted((row(number, bucket=f"b{number}") for number in range(12_001)), key=lambda each: each.key)
    path = written(tmp_path / "l", *rows)
    assert [(each.series, each.bucket) for each, _ in open_rows(path)] == [(each.series, each.bucket) for each in rows]


def test_licences_are_looked_at_in_the_whole_of_it(tmp_path: Path) -> None:
    path = written(tmp_path / "l", *(row(number) for number in range(1, 9)), row(9, license="CC BY-NC 4.0"))
    words = ("CC BY 4.0",)
    for shard in (None, Shard(1, 3), Shard(2, 3), Shard(3, 3)):
        with pytest.raises(CohortError, match=r"CC BY-NC 4\.0") as raised:
            open_rows(path, Query(licenses_allowed=words, shard=shard))
        assert "--where" not in str(raised.value)
    assert len(open_rows(path, Query(licenses_allowed=(*words, "CC BY-NC 4.0")))) == 9
    assert len(open_rows(path, Query(licenses_allowed=words, limit_series=8))) == 8


def test_nothing_left(tmp_path: Path) -> None:
    with pytest.raises(CohortError, match="nothing is left"):
        open_rows(written(tmp_path / "empty"))
    path = written(tmp_path / "l", row())
    mine = next(number for number in range(1, 1001) if open_rows(path, Query(shard=Shard(number, 2))))
    assert open_rows(path, Query(shard=Shard(3 - mine, 2))) == []


def test_the_lock_of_a_server_is_not_held_against_it(tmp_path: Path) -> None:
    path = written(tmp_path / "l", row(revision=None), header=replace(HEADER, idc_version=None))
    with pytest.raises(ConfigError, match="not of IDC"):
        open_rows(path)
