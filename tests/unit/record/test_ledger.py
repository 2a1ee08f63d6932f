"""What the model of the ledger leaves out: opening, crashes, order, sums, names, and a cohort of 100,000 series."""

import os
import sqlite3
from collections import Counter
from collections.abc import Iterator
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomhaul.errors import CohortError, LedgerError
from dicomhaul.model import End, Failure, Proof, Receipt, Series, SopUID, State
from dicomhaul.plan.estimate import Amount
from dicomhaul.plan.order import weight
from dicomhaul.record.ledger import Ledger
from support.fakes import series_row, write_cohort


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.sqlite3")
    yield opened
    opened.close()


def receipt(series_id: int, sop: str, size_bytes: int = 10) -> Receipt:
    return Receipt(series_id, SopUID(sop), size_bytes, bytes(range(16)))


def land(ledger: Ledger, series_id: int, *sops: str, complete: bool = True) -> None:
    with ledger.transaction():
        ledger.add_receipts(receipt(series_id, sop) for sop in sops)
        if complete:
            ledger.complete_series(series_id, Proof.COUNT, None, "fake")


# -- the file -----------------------------------------------------------------------------------------------------


def test_only_its_owner_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "a?b#c" / "ledger.sqlite3"
    path.parent.mkdir()
    ledger = Ledger.open(path)
    write_cohort(ledger, [series_row("1.1")])
    assert {each.stat().st_mode & 0o777 for each in path.parent.iterdir()} == {0o600}
    ledger.close()
    assert [each.name for each in path.parent.iterdir()] == ["ledger.sqlite3"]


def test_it_is_durable(ledger: Ledger) -> None:
    assert ledger._db.execute("PRAGMA synchronous").fetchone() == (2,)
    assert ledger._db.execute("PRAGMA journal_mode").fetchone() == ("wal",)


@pytest.mark.parametrize("beginning", [b"", b"wal"])
def test_a_creation_that_was_interrupted_is_made_good(tmp_path: Path, beginning: bytes) -> None:
    path = tmp_path / "ledger.sqlite3"
    path.write_bytes(b"")
    if beginning:
        with sqlite3.connect(path) as db:  # as far as a process came that was killed before it wrote the tables
            db.execute("PRAGMA journal_mode=WAL")
        db.close()
        assert path.stat().st_size > 0
    Ledger.open(path).close()
    Ledger.open(path, read_only=True).close()


def test_another_program_s_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE precious (x)")
    db.close()
    with pytest.raises(LedgerError, match="not a ledger of dicomhaul"):
        Ledger.open(path)


def test_no_ledger_to_read(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="nothing was pulled here"):
        Ledger.open(tmp_path / "ledger.sqlite3", read_only=True)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="cannot be used"):
        Ledger.open(tmp_path)


def test_a_reader_writes_nothing(tmp_path: Path, ledger: Ledger) -> None:
    reader = Ledger.open(ledger.path, read_only=True)
    with pytest.raises(LedgerError, match="readonly"):
        reader.set_meta("a", "b")
    reader.close()


# -- cohorts ------------------------------------------------------------------------------------------------------


def test_a_plan_that_fails_leaves_no_trace(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1")], name="first")

    def rows() -> Iterator[Series]:
        yield series_row("1.2")
        raise CohortError("the server went away")

    with pytest.raises(CohortError):
        write_cohort(ledger, rows(), name="second")
    assert [cohort.name for cohort in ledger.cohorts()] == ["first"]
    assert ledger.standing().series_planned == 1
    assert write_cohort(ledger, [series_row("1.2")], name="second") == 2


def test_what_nobody_has_is_a_failure_that_is_named(ledger: Ledger) -> None:
    missing: list[Failure] = []

    def rows() -> Iterator[Series]:
        yield series_row("1.1")
        missing.append(Failure("2.1", "1.9", None, "not in the index"))  # known only while the rows come

    cohort_id = write_cohort(ledger, rows(), missing=missing)
    assert list(ledger.iter_failures(cohort_id)) == missing
    write_cohort(ledger, [series_row("1.1")])
    assert list(ledger.iter_failures(cohort_id)) == []


def test_a_series_uid_may_stand_in_two_studies(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1", study="2.1"), series_row("1.1", study="2.2")])
    land(ledger, 1, "4.1")
    assert [(row.study, row.sop) for row in ledger.iter_files()] == [("2.1", "4.1")]
    assert [(row.study, row.series) for row in ledger.iter_landed()] == [("2.1", "1.1")]
    assert list(ledger.iter_landed(series=("2.2", "1.1"))) == []


def test_two_studies_may_not_share_a_folder(ledger: Ledger) -> None:
    rows = [series_row("1.1", study=study)._replace(folder="same") for study in ("2.1", "2.2")]
    with pytest.raises(CohortError, match="StudyInstanceUID"):
        write_cohort(ledger, rows)
    assert ledger.cohorts() == []


def test_an_unknown_instance_reopens_a_complete_series(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1", expected=1)], name="a")
    land(ledger, 1, "4.1")
    write_cohort(ledger, [series_row("1.1", expected=1, instances=["4.2"])], name="b")
    (work,) = ledger.iter_series(State.PLANNED)
    assert work.whole
    assert ledger.known(1).landed == {"4.1": 10}
    assert ledger.known(1).wanted == ["4.2"]


def test_a_search_without_counts_asks_for_the_inventory_of_what_is_complete(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1")], searched=True)
    land(ledger, 1, "4.1")
    write_cohort(ledger, [series_row("1.1")], searched=False)
    assert list(ledger.iter_series(State.PLANNED)) == []
    write_cohort(ledger, [series_row("1.1")], searched=True)
    (work,) = ledger.iter_series(State.PLANNED)
    assert (work.cut, work.expected) == (True, None)
    assert ledger.known(1).landed == {"4.1": 10}


def test_a_series_that_is_not_planned_cannot_end(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1", expected=1)])
    land(ledger, 1, "4.1")
    with pytest.raises(LedgerError, match="FAIL"), ledger.transaction():
        ledger.fail_series(1, "late")
    with pytest.raises(LedgerError, match="COMPLETE"), ledger.transaction():
        ledger.complete_series(1, Proof.COUNT, None, "fake")
    assert [work.series_id for work in ledger.iter_series(State.LANDED)] == [1]


def test_a_read_only_place_can_be_read(tmp_path: Path, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    write_cohort(ledger, [series_row("1.1", expected=1)])
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(LedgerError, match="write access"):
        Ledger.open(ledger.path, read_only=True)
    ledger.close()
    reader = Ledger.open(ledger.path, read_only=True)
    assert [cohort.name for cohort in reader.cohorts()] == ["cohort"]
    reader.close()


def test_a_new_revision_forgets_the_old_instances(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1", expected=2, revision="a")], name="v1")
    land(ledger, 1, "4.1", "4.2")
    cohort_id = write_cohort(ledger, [series_row("1.1", expected=3, revision="b")], name="v2")
    assert ledger.known(1).landed == {}
    assert ledger.amount_planned(cohort_id) == Amount(1, 3, None)


def test_a_new_revision_has_its_own_licence(ledger: Ledger) -> None:
    """That of the old one would be cited for what came since; of an earlier revision the index states none."""
    row = series_row("1.1", expected=2, revision="a")._replace(license="CC BY-NC 3.0")
    for revision, stated, license_name in (
        ("a", "CC BY-NC 3.0", "CC BY-NC 3.0"),
        ("b", "CC BY 4.0", "CC BY 4.0"),
        ("b", "CC BY 3.0", "CC BY 4.0"),
        ("c", None, None),
    ):
        write_cohort(ledger, [row._replace(revision=revision, license=stated)], name=f"{revision} {stated}")
        (found,) = ledger.iter_members()
        assert (found.revision, found.license) == (revision, license_name)


def test_a_selection_of_a_new_revision_does_not_state_the_whole_series_count(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1", expected=20, size_bytes=2000, revision="a")], name="whole")
    land(ledger, 1, *(f"4.{n}" for n in range(20)))
    write_cohort(ledger, [series_row("1.1", expected=1, revision="b", instances=["4.1"])], name="one")
    (work,) = ledger.iter_series(State.PLANNED)
    assert (work.whole, work.expected, work.size_bytes) == (True, None, None)


def test_a_selection_of_a_new_revision_does_not_state_the_whole_series_weight(ledger: Ledger) -> None:
    large = series_row("1.1", expected=20, size_bytes=2000, revision="a")
    whole = write_cohort(ledger, [large, series_row("1.2", expected=10, size_bytes=1000)], name="whole")
    one = series_row("1.1", expected=1, size_bytes=100, revision="b", instances=["4.1"])
    write_cohort(ledger, [one], name="one")
    ledger.begin_leasing(whole)
    assert [work.series for work in ledger.lease(2, "largest", "fake")] == ["1.1", "1.2"]


def test_a_selection_of_a_new_revision_keeps_what_another_cohort_selected(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1", expected=1, revision="a", instances=["4.1"])], name="a")
    land(ledger, 1, "4.1")
    write_cohort(ledger, [series_row("1.1", expected=1, revision="b", instances=["4.2"])], name="b")
    (work,) = ledger.iter_series(State.PLANNED)
    assert sorted(ledger.known(work.series_id).wanted) == ["4.1", "4.2"]
    assert ledger.known(work.series_id).landed == {}


def test_a_wider_cohort_reopens_a_selection(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1", expected=1, instances=["4.1"])], name="a")
    land(ledger, 1, "4.1")
    cohort_id = write_cohort(ledger, [series_row("1.1", expected=5, size_bytes=50)], name="b")
    assert ledger.known(1).landed == {"4.1": 10}
    assert ledger.amount_planned(cohort_id) == Amount(1, 4, 40)


def test_a_narrower_cohort_does_not(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1", expected=1)], name="a")
    land(ledger, 1, "4.1")
    write_cohort(ledger, [series_row("1.1", expected=1, instances=["4.1"])], name="b")
    assert [work.series_id for work in ledger.iter_series(State.LANDED)] == [1]


# -- leasing ------------------------------------------------------------------------------------------------------


@given(
    sizes=st.lists(st.none() | st.integers(0, 5), max_size=30),
    ends=st.lists(st.sampled_from(["largest", "smallest"]), min_size=1, max_size=5),
    count=st.integers(1, 7),
)
@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_series_is_leased_once_in_order(
    tmp_path_factory: pytest.TempPathFactory, sizes: list[int | None], ends: list[End], count: int
) -> None:
    ledger = Ledger.open(tmp_path_factory.mktemp("d") / "ledger.sqlite3")
    rows = [series_row(f"1.{n}", size_bytes=size) for n, size in enumerate(sizes)]
    cohort_id = write_cohort(ledger, rows)
    write_cohort(ledger, [series_row("2.1", size_bytes=3)], name="somebody else's")
    for _ in range(2):
        ledger.begin_leasing(cohort_id)
        leased: list[tuple[End, int]] = []
        for end in cycle(ends):
            got = ledger.lease(count, end, "fake")
            leased += [(end, weight(work.expected, work.size_bytes)) for work in got]
            assert len(got) <= count
            if not got:
                break
        assert Counter(size for _, size in leased) == Counter(weight(None, size) for size in sizes)
        falling = [size for end, size in leased if end == "largest"]
        rising = [size for end, size in leased if end == "smallest"]
        assert falling == sorted(falling, reverse=True)
        assert rising == sorted(rising)
        assert not (falling and rising) or falling[-1] >= rising[-1]
    ledger.close()


def test_what_landed_meanwhile_is_not_leased(ledger: Ledger) -> None:
    cohort_id = write_cohort(ledger, [series_row(f"1.{n}", size_bytes=n) for n in range(3)])
    ledger.begin_leasing(cohort_id)
    (first,) = ledger.lease(1, "largest", "fake")
    land(ledger, first.series_id, "4.1")
    land(ledger, first.series_id - 1, "4.1")
    assert [work.series for work in ledger.lease(9, "largest", "fake")] == ["1.0"]


# -- failures, repairs, runs --------------------------------------------------------------------------------------


def test_what_failed_is_named_by_its_lowest_known_level(ledger: Ledger) -> None:
    cohort_id = write_cohort(ledger, [series_row("1.1", expected=3), series_row("1.2")])
    with ledger.transaction():
        ledger.add_wanted(1, ["4.1", "4.2"])
        ledger.add_receipts([receipt(1, "4.2")])
        ledger.fail_instance(1, "4.1", "404")
        ledger.fail_instance(1, "4.2", "came twice, once damaged")
        ledger.fail_series(1, "one is missing")
        ledger.fail_series(2, "reset")
    assert sorted(ledger.iter_failures(cohort_id), key=str) == [
        Failure("2.25.1", "1.1", "4.1", "404"),
        Failure("2.25.1", "1.2", None, "reset"),
    ]
    standing = ledger.standing(cohort_id)
    assert (standing.series_failed, standing.instances_present, standing.instances_failed) == (2, 1, 1)
    assert standing.instances_expected is None  # nobody counted 1.2
    ledger.retry_failed(cohort_id)
    assert list(ledger.iter_failures(cohort_id)) == []
    assert ledger.known(1).wanted == ["4.1"]


def test_cohorts_that_overlap_are_counted_once(ledger: Ledger) -> None:
    missing = [Failure("2.1", "1.9", None, "not in the index")]
    one = write_cohort(ledger, [series_row("1.1", expected=2), series_row("1.2", expected=2)], missing=missing)
    two = write_cohort(
        ledger, [series_row("1.2", expected=2), series_row("1.3", expected=2)], name="two", missing=missing
    )
    write_cohort(ledger, [series_row("1.4", expected=2)], name="three")
    land(ledger, 1, "4.1", "4.2")
    land(ledger, 2, "4.3", complete=False)
    with ledger.transaction():
        ledger.fail_series(2, "reset")
    standing = ledger.standing(one, two)
    assert (standing.series_planned, standing.series_complete, standing.series_failed) == (3, 1, 1)
    assert (standing.instances_expected, standing.instances_present) == (6, 3)
    assert list(ledger.iter_failures(one, two)) == [Failure("2.25.1", "1.2", None, "reset"), *missing]
    assert list(ledger.iter_failures()) == []
    assert ledger.standing(99).series_planned == 0


def test_a_cohort_that_shrank_wants_what_is_left_of_it(ledger: Ledger) -> None:
    """A search finds fewer series the second night."""
    rows = [series_row("1.1", expected=2), series_row("1.2", expected=3)]
    cohort_id = write_cohort(ledger, rows)
    assert write_cohort(ledger, rows[:1]) == cohort_id
    standing = ledger.standing(cohort_id)
    assert (standing.series_planned, standing.instances_expected) == (1, 2)
    ledger.begin_leasing(cohort_id)
    assert [work.series for work in ledger.lease(9, "largest", "fake")] == ["1.1"]


def test_each_cohort_expects_what_it_stated(ledger: Ledger) -> None:
    fewer = write_cohort(ledger, [series_row("1.1", expected=3)], name="fewer")
    more = write_cohort(ledger, [series_row("1.1", expected=5)], name="more")
    expected = [ledger.standing(*ids).instances_expected for ids in ((fewer,), (more,), (fewer, more), ())]
    assert expected == [3, 5, 5, 5]


def test_a_retry_is_the_cohort_s_own(ledger: Ledger) -> None:
    one = write_cohort(ledger, [series_row("1.1")], name="one")
    write_cohort(ledger, [series_row("1.2")], name="two")
    with ledger.transaction():
        ledger.fail_series(1, "reset")
        ledger.fail_series(2, "reset")
    ledger.retry_failed(one)
    assert [work.series for work in ledger.iter_series(State.FAILED)] == ["1.2"]


def test_damaged_files_are_wanted_again(ledger: Ledger) -> None:
    cohort_id = write_cohort(ledger, [series_row("1.1", expected=2, size_bytes=20)])
    land(ledger, 1, "4.1", "4.2")
    ledger.plan_again([(1, "4.1")], "damaged")
    known = ledger.known(1)
    assert (known.landed, known.wanted) == ({"4.2": 10}, ["4.1"])
    assert ledger.amount_planned(cohort_id) == Amount(1, 1, 10)
    assert [row.sop for row in ledger.iter_files()] == ["4.2"]
    land(ledger, 1, "4.1")
    assert ledger.known(1).landed == {"4.1": 10, "4.2": 10}


def test_names_for_findings(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1")])
    named = ledger.name_instances([(1, "4.1", "missing"), (99, "4.1", "missing"), (None, None, "foreign")])
    assert named == [Failure("2.25.1", "1.1", "4.1", "missing")]


def test_runs(ledger: Ledger) -> None:
    assert ledger.last_run() is None
    ledger.end_run(ledger.begin_run("pull", "t0"), "t1", "complete", "{}")
    assert ledger.last_run() == ("t0", "t1", "complete")
    ledger.begin_run("pull", "t2")
    assert ledger.last_run() == ("t2", None, None)


def test_series_that_a_plan_need_not_bring(ledger: Ledger) -> None:
    write_cohort(ledger, [series_row("1.1", revision="a"), series_row("1.2", instances=["4.1"]), series_row("1.3")])
    land(ledger, 1, "4.1")
    land(ledger, 2, "4.1")
    assert sorted(ledger.landed_series()) == [("2.25.1", "1.1", "a", True), ("2.25.1", "1.2", None, False)]


# -- size ---------------------------------------------------------------------------------------------------------


def test_statements_do_not_grow_with_the_cohort(ledger: Ledger) -> None:
    """100,000 series are loaded, and loaded again, by as many statements as batches, not as rows."""
    statements: Counter[str] = Counter()

    def rows(count: int) -> Iterator[Series]:
        for number in range(count):
            yield series_row(f"1.{number}", expected=number % 300, size_bytes=number)

    def plan(count: int) -> int:
        statements.clear()
        ledger._db.set_trace_callback(lambda sql: statements.update([sql.split(" VALUES", 1)[0][:60]]))
        cohort_id = write_cohort(ledger, rows(count))
        ledger._db.set_trace_callback(None)
        assert statements.pop("INSERT INTO incoming") == count  # one prepared statement, bound anew
        return cohort_id

    plan(1_000)
    few = sum(statements.values())
    plan(1_000)
    few = max(few, sum(statements.values()))
    cohort_id = plan(100_000)
    assert sum(statements.values()) <= few
    assert plan(100_000) == cohort_id
    assert sum(statements.values()) <= few
    standing = ledger.standing(cohort_id)
    assert (standing.series_planned, standing.instances_expected) == (100_000, sum(n % 300 for n in range(100_000)))
    steps = ledger._db.execute("EXPLAIN QUERY PLAN SELECT * FROM series WHERE series = ? AND study = ?", ("", ""))
    assert "series_uid" in str(steps.fetchall())
