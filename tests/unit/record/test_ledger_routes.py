"""By which routes what is planned comes: as a plan says, as another says later, as the sources of a run can do it."""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomhaul.model import End, Failure, Proof, Receipt, Routing, Series, SopUID, State, Work
from dicomhaul.plan.order import weight
from dicomhaul.record import ledger as ledger_room
from dicomhaul.record.ledger import Ledger
from support.fakes import series_row, write_cohort


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger.open(tmp_path / "ledger.sqlite3")
    yield opened
    opened.close()


def by(row: Series, *names: str, reason: str = "because") -> Series:
    return row._replace(routing=Routing(names, reason))


def routes_of(ledger: Ledger, state: State = State.PLANNED) -> dict[str, tuple[str, ...]]:
    return {str(work.series): work.routes for work in ledger.iter_series(state)}


def complete(ledger: Ledger, series_id: int, *sops: str) -> None:
    with ledger.transaction():
        ledger.add_receipts(Receipt(series_id, SopUID(sop), 10, bytes(16)) for sop in sops)
        ledger.complete_series(series_id, Proof.COUNT, None, "bucket")


# -- what a plan says ---------------------------------------------------------------------------------------------


def test_each_series_comes_by_its_own_routes(ledger: Ledger) -> None:
    rows = [
        by(series_row("1.1"), "bucket", "proxy"),
        by(series_row("1.2"), "proxy", reason="it is small"),
        by(series_row("1.3"), "bucket", "proxy"),
        by(series_row("1.4"), "proxy", reason="it is selected"),
    ]
    write_cohort(ledger, rows)
    assert routes_of(ledger) == {
        "1.1": ("bucket", "proxy"),
        "1.2": ("proxy",),
        "1.3": ("bucket", "proxy"),
        "1.4": ("proxy",),
    }
    assert ledger._db.execute("SELECT count(*) FROM route").fetchone() == (3,)


def test_a_lane_leases_what_begins_with_it(ledger: Ledger) -> None:
    rows = [by(series_row(f"1.{n}", size_bytes=n), *(("bucket", "proxy") if n % 2 else ("proxy",))) for n in range(6)]
    ledger.begin_leasing(write_cohort(ledger, rows))
    assert [work.series for work in ledger.lease(2, "largest", "bucket")] == ["1.5", "1.3"]
    assert [work.series for work in ledger.lease(9, "smallest", "proxy")] == ["1.0", "1.2", "1.4"]
    assert [work.series for work in ledger.lease(9, "largest", "bucket")] == ["1.1"]
    assert ledger.lease(9, "largest", "store") == []


def test_a_lease_says_what_a_bucket_must_know(ledger: Ledger) -> None:
    row = by(series_row("1.1", revision="a1b2"), "bucket", "proxy")._replace(bucket="idc-open-data", prior=True)
    ledger.begin_leasing(write_cohort(ledger, [row]))
    (work,) = ledger.lease(1, "largest", "bucket")
    assert (work.bucket, work.revision, work.routes, work.prior) == ("idc-open-data", "a1b2", ("bucket", "proxy"), True)


@given(
    rows=st.lists(
        st.tuples(st.integers(0, 9), st.sampled_from(["x", "y", "z"]), st.sampled_from(["p", "q"])), max_size=25
    ),
    ends=st.lists(st.sampled_from(["largest", "smallest"]), min_size=1, max_size=4),
    count=st.integers(1, 6),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_several_choices_of_one_lane_are_leased_in_one_order(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[int, str, str]], ends: list[End], count: int
) -> None:
    """Series of one lane differ in their reasons and later routes; the largest of all still goes first, each once."""
    ledger = Ledger.open(tmp_path_factory.mktemp("d") / "ledger.sqlite3")
    series = [
        by(series_row(f"1.{n}", size_bytes=size), first, "w", reason=reason)
        for n, (size, first, reason) in enumerate(rows)
    ]
    ledger.begin_leasing(write_cohort(ledger, series))
    for lane in ("x", "y", "z"):
        leased: list[tuple[End, int]] = []
        for end in cycle(ends):
            got = ledger.lease(count, end, lane)
            leased += [(end, weight(work.expected, work.size_bytes)) for work in got]
            if not got:
                break
        falling = [size for end, size in leased if end == "largest"]
        rising = [size for end, size in leased if end == "smallest"]
        assert falling == sorted(falling, reverse=True)
        assert rising == sorted(rising)
        assert Counter(falling + rising) == Counter(weight(None, size) for size, first, _ in rows if first == lane)
    ledger.close()


def test_what_nobody_can_give_fails_for_its_reason(ledger: Ledger) -> None:
    rows = [by(series_row("1.1"), reason="the proxy does not hold its bucket"), by(series_row("1.2"), "proxy")]
    mine = write_cohort(ledger, rows, name="mine")
    write_cohort(ledger, [by(series_row("1.3"), reason="not mine")], name="another's")
    ledger.fail_unrouted(mine)
    assert list(ledger.iter_failures(mine)) == [Failure("2.25.1", "1.1", None, "the proxy does not hold its bucket")]
    assert set(routes_of(ledger)) == {"1.2", "1.3"}
    ledger.retry_failed(mine)
    ledger.fail_unrouted(mine)
    assert len(list(ledger.iter_failures(mine))) == 1


def test_the_route_that_brought_it_is_remembered(ledger: Ledger) -> None:
    write_cohort(ledger, [by(series_row("1.1"), "bucket", "proxy")])
    complete(ledger, 1, "4.1")
    assert ledger._db.execute("SELECT came_by, proof FROM series").fetchone() == ("bucket", "count")
    ledger.plan_again([(1, "4.1")], "gone")
    assert ledger._db.execute("SELECT came_by, proof FROM series").fetchone() == (None, None)


# -- what another plan says later ---------------------------------------------------------------------------------


def test_who_asks_last_says_how_it_comes(ledger: Ledger) -> None:
    write_cohort(ledger, [by(series_row(f"1.{n}"), "bucket", "proxy") for n in range(3)], name="first")
    complete(ledger, 1, "4.1")
    with ledger.transaction():
        ledger.fail_series(2, "reset")
    write_cohort(ledger, [by(series_row(f"1.{n}"), "store") for n in range(2)], name="second")
    assert routes_of(ledger) == {"1.2": ("bucket", "proxy")}
    assert routes_of(ledger, State.FAILED) == {"1.1": ("store",)}
    assert routes_of(ledger, State.LANDED) == {"1.0": ("store",)}  # should a file of it be damaged


def test_another_bucket_is_where_it_lies_now(ledger: Ledger) -> None:
    row = by(series_row("1.1", revision="a"), "bucket")
    write_cohort(ledger, [row._replace(bucket="one")])
    complete(ledger, 1, "4.1")
    write_cohort(ledger, [row._replace(bucket="two")])
    write_cohort(ledger, [row._replace(bucket=None)])
    assert [work.bucket for work in ledger.iter_series(State.LANDED)] == ["two"]


@pytest.mark.parametrize(
    ("selection", "comes"),
    [
        (("proxy", "bucket"), ("bucket", "proxy")),
        (("proxy", "bucket", "store"), ("bucket", "proxy")),
        (("proxy",), ("proxy",)),
    ],
)
def test_a_selection_leaves_a_whole_series_its_routes(
    ledger: Ledger, selection: Sequence[str], comes: Sequence[str]
) -> None:
    """Single instances are asked of the proxy first; a thousand of them would use up its quota."""
    write_cohort(ledger, [by(series_row("1.1"), "bucket", "proxy")], name="whole")
    write_cohort(ledger, [by(series_row("1.1", instances=["4.1"]), *selection)], name="one")
    assert routes_of(ledger) == {"1.1": comes}


def test_a_selection_that_becomes_whole_comes_as_a_whole(ledger: Ledger) -> None:
    one, whole = by(series_row("1.1", instances=["4.1"]), "proxy", "bucket"), by(series_row("1.1"), "bucket", "proxy")
    write_cohort(ledger, [one], name="one")
    write_cohort(ledger, [one, whole, one], name="both")
    assert routes_of(ledger) == {"1.1": ("bucket", "proxy")}


def test_both_at_once_come_as_a_whole(ledger: Ledger) -> None:
    one, whole = by(series_row("1.1", instances=["4.1"]), "proxy"), by(series_row("1.1"), "bucket")
    write_cohort(ledger, [one, whole])
    assert routes_of(ledger) == {"1.1": ("bucket",)}


def test_a_selection_of_a_prior_revision_comes_as_that_one_does(ledger: Ledger) -> None:
    write_cohort(ledger, [by(series_row("1.1", revision="b"), "proxy", "bucket")])
    row = by(series_row("1.1", revision="a", instances=["4.1"]), "bucket")._replace(prior=True)
    write_cohort(ledger, [row], name="prior")
    (work,) = ledger.iter_series(State.PLANNED)
    assert (work.routes, work.prior, work.revision) == (("bucket",), True, "a")


# -- what the sources of a run can do -----------------------------------------------------------------------------


def test_series_of_other_sources_are_given_routes_anew(ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_room, "_REROUTED", 2)
    rows = [by(series_row(f"1.{n}"), *(("bucket",) if n % 2 else ("store", "bucket"))) for n in range(8)]
    cohort_id = write_cohort(ledger, [*rows, by(series_row("2.1"))])
    write_cohort(ledger, [by(series_row("3.1"), "store")], name="another's")
    complete(ledger, 1, "4.1")
    asked: list[Work] = []

    def routing(work: Work) -> Routing:
        asked.append(work)
        return Routing(("bucket",) if work.series == "2.1" else ("proxy", "bucket"), "chosen now")

    ledger.reroute(cohort_id, routing, among=["bucket", "proxy"])
    assert [work.series for work in asked] == ["1.2", "1.4", "1.6", "2.1"]
    assert routes_of(ledger) == {
        **{f"1.{n}": ("bucket",) if n % 2 else ("proxy", "bucket") for n in range(1, 8)},
        "2.1": ("bucket",),
        "3.1": ("store",),
    }
    asked.clear()
    ledger.reroute(cohort_id, routing, among=["bucket", "proxy"])
    assert asked == []


def test_all_of_them_where_other_sources_were_named(ledger: Ledger) -> None:
    cohort_id = write_cohort(ledger, [by(series_row(f"1.{n}"), "bucket", "proxy") for n in range(3)])
    ledger.reroute(cohort_id, lambda _: Routing(("proxy", "bucket"), "the other way round"))
    assert set(routes_of(ledger).values()) == {("proxy", "bucket")}
    ledger.begin_leasing(cohort_id)
    assert len(ledger.lease(9, "largest", "proxy")) == 3


# -- quota --------------------------------------------------------------------------------------------------------


def test_bytes_of_a_day_add_up_by_source(ledger: Ledger) -> None:
    for source, day, size in [
        ("a", "2024-01-01", 5),
        ("a", "2024-01-01", 7),
        ("b", "2024-01-01", 1),
        ("a", "2024-01-02", 2),
    ]:
        ledger.add_quota(source, day, size)
    used = {(source, day): ledger.quota_used(source, day) for source in "ab" for day in ("2024-01-01", "2024-01-02")}
    assert used == {("a", "2024-01-01"): 12, ("b", "2024-01-01"): 1, ("a", "2024-01-02"): 2, ("b", "2024-01-02"): 0}
