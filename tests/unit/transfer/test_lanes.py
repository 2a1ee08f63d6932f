"""Two routes: what moves from one to the other, what stays, and what waits."""

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from dicomhaul.errors import Disconnected, NotFound, QuotaExhausted, SourceDown
from dicomhaul.events import SeriesMoved, SourceStopped
from dicomhaul.model import Job, Known, State
from dicomhaul.ports import Sink
from dicomhaul.record.ledger import Ledger
from support.engine_bench import Bench
from support.fakes import FakeSource, identity, push

pytestmark = pytest.mark.anyio

BOTH = ("fake", "other")


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    bench = Bench(ledger)
    bench.other = FakeSource(bench.held)
    yield bench
    ledger.close()


def came_by(bench: Bench) -> dict[str, int]:
    """How many series each route completed."""
    db = bench.ledger._db
    return dict(db.execute("SELECT came_by, count(*) FROM series WHERE state = 1 GROUP BY 1"))


async def test_each_series_comes_by_the_first_of_its_routes(bench: Bench) -> None:
    bench.plan(routes=lambda n: BOTH if n % 2 else ("other", "fake"))
    assert await bench.run() == {}
    assert bench.states() == {State.LANDED: 40}
    assert came_by(bench) == {"fake": 20, "other": 20}
    assert bench.tally.series_moved == 0


async def test_what_one_route_refuses_comes_by_the_next_and_keeps_what_landed(bench: Bench) -> None:
    bench.plan(count=4, routes=lambda _: BOTH)
    assert bench.other is not None

    async def break_off(job: Job, sink: Sink) -> None:
        if job.series == "1.2":
            await push(sink, bench.held["1.2"]["2.0"], identity("2.0", series="1.2"))
            raise NotFound("404")
        if job.series == "1.3":
            raise Disconnected("reset")

    bench.source.before = break_off
    bench.source.lists = False
    assert await bench.run() == {}
    assert bench.states() == {State.LANDED: 4}
    assert came_by(bench) == {"fake": 2, "other": 2}
    moved = {event.series: event for event in bench.events if isinstance(event, SeriesMoved)}
    assert {series: (event.route, event.next_route) for series, event in moved.items()} == {"1.2": BOTH, "1.3": BOTH}
    assert "404" in moved["1.2"].reason
    assert bench.tally.series_moved == 2
    assert set(bench.taken) == {sop for series in list(bench.held)[:4] for sop in bench.held[series]}


async def test_a_route_that_goes_on_with_a_series_knows_what_the_one_before_it_landed(bench: Bench) -> None:
    content = bytes(1 << 20)
    bench.held["1.2"] = {f"2.{sop}": content for sop in range(3)}
    bench.plan(count=3, routes=lambda _: BOTH)
    assert bench.other is not None

    async def break_off(job: Job, sink: Sink) -> None:
        if job.series == "1.2":
            await push(sink, content, identity("2.0", series="1.2"))
            await push(sink, content, identity("2.1", series="1.2"))
            raise NotFound("404")

    bench.source.before = break_off
    bench.source.lists = False
    assert await bench.run() == {}
    assert [job.sop for job in bench.other.asked] == ["2.2"]


async def test_what_every_route_refuses_fails_and_says_what_each_said(bench: Bench) -> None:
    bench.plan(count=2, routes=lambda _: BOTH)
    assert bench.other is not None
    del bench.held["1.1"]
    bench.source.before = bench.other.before = None
    await bench.run()
    assert bench.states() == {State.LANDED: 1, State.FAILED: 1}
    (failure,) = bench.ledger.iter_failures(1)
    assert failure.reason.startswith("fake: ")
    assert "; other: " in failure.reason


async def test_when_a_source_stops_its_series_go_on_by_their_next_route(bench: Bench) -> None:
    bench.plan(routes=lambda n: BOTH if n % 2 else ("fake",))
    assert bench.other is not None

    async def down(_: Job, __: Sink) -> None:
        raise SourceDown("gone")

    bench.source.before = down
    assert set(await bench.run()) == {"fake"}
    assert bench.states() == {State.LANDED: 20, State.PLANNED: 20}
    assert came_by(bench) == {"other": 20}
    assert len(bench.source.asked) <= 8  # one for each worker
    assert sum(isinstance(event, SourceStopped) for event in bench.events) == 1


async def test_a_route_that_stopped_before_is_not_asked(bench: Bench) -> None:
    bench.plan(routes=lambda _: BOTH)
    bench.stopped = {"fake": SourceDown("an hour ago")}
    assert set(await bench.run()) == {"fake"}
    assert bench.source.asked == []
    assert came_by(bench) == {"other": 40}


async def test_what_one_refuses_while_the_other_is_stopped_stays_planned(bench: Bench) -> None:
    """Tomorrow the other one may give it."""
    bench.plan(count=3, routes=lambda _: BOTH)
    assert bench.other is not None
    bench.stopped = {"other": QuotaExhausted("used up", until_s=9e9)}
    del bench.held["1.1"]
    await bench.run()
    assert bench.states() == {State.LANDED: 2, State.PLANNED: 1}
    assert bench.other.asked == []


async def test_waiting_for_the_quota_goes_on_when_it_opens(bench: Bench) -> None:
    bench.plan(routes=lambda _: ("fake",))
    bench.other = None
    bench.wait = True
    until_s = bench.clock.now() + 3_600

    async def used_up(_: Job, __: Sink) -> None:
        if len(bench.source.asked) > 10 and bench.clock.now() < until_s:
            raise QuotaExhausted("used up", until_s=until_s)

    bench.source.before = used_up
    assert await bench.run() == {}
    assert bench.states() == {State.LANDED: 40}
    assert bench.clock.now() == until_s + 30.0  # the other side's clock may be late
    assert len(bench.source.asked) <= 40 + 8  # each worker met the end of the quota once


async def test_waiting_is_in_steps_for_a_machine_may_be_suspended(bench: Bench) -> None:
    bench.plan(count=1, routes=lambda _: ("fake",))
    bench.other = None
    bench.wait = True
    until_s = bench.clock.now() + 3_600

    async def used_up(_: Job, __: Sink) -> None:
        if bench.clock.now() < until_s:
            raise QuotaExhausted("used up", until_s=until_s)

    bench.source.before = used_up
    assert await bench.run() == {}
    assert max(bench.clock.slept) == 60.0
    assert bench.clock.now() == until_s + 30.0


async def test_two_that_wait_do_not_hand_a_series_back_and_forth(bench: Bench) -> None:
    """While a third one still brings something, neither has to rest itself."""
    bench.plan(count=6, routes=lambda n: ("third",) if n == 5 else BOTH)
    bench.third = FakeSource(bench.held)
    bench.wait = True
    until_s = bench.clock.now() + 3_600
    assert bench.other is not None

    async def used_up(_: Job, __: Sink) -> None:
        if bench.clock.now() < until_s:
            raise QuotaExhausted("used up", until_s=until_s)

    async def linger(_: Job, __: Sink) -> None:
        await bench.clock.sleep(7_200)

    bench.source.before = bench.other.before = used_up
    bench.third.before = linger
    with anyio.fail_after(30):
        assert await bench.run() == {}
    assert bench.states() == {State.LANDED: 6}
    assert bench.tally.series_moved <= 10  # each of five to the other route, and once back


async def test_what_waits_for_a_quota_does_not_gather_in_memory(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomhaul.transfer.engine._PARKED", 30)
    bench.held.update({f"2.{n}": {f"2{n}.0": b"x"} for n in range(400)})
    bench.plan(count=400, expected=None, routes=lambda n: ("fake",) if n else ("other",))
    bench.wait = True
    leased: list[int] = []
    known = bench.ledger.known

    def count(series_id: int) -> Known:
        leased.append(series_id)
        return known(series_id)

    monkeypatch.setattr(bench.ledger, "known", count)
    until_s = bench.clock.now() + 3_600
    assert bench.other is not None
    parked: list[int] = []

    async def used_up(_: Job, __: Sink) -> None:
        if bench.clock.now() < until_s:
            parked.append(len(leased))
            raise QuotaExhausted("used up", until_s=until_s)

    async def linger(_: Job, __: Sink) -> None:
        await bench.clock.sleep(1_800)
        parked.append(len(leased))

    bench.source.before = used_up
    bench.other.before = linger
    assert await bench.run() == {}
    assert parked[-1] <= 30 + 8 + 16 + 1  # parked, one for each worker, leased ahead, the other route's
    assert sum(bench.states().values()) == 400


async def test_waiting_moves_what_can_come_otherwise(bench: Bench) -> None:
    bench.plan(routes=lambda n: BOTH if n % 2 else ("fake",))
    bench.wait = True
    until_s = bench.clock.now() + 3_600

    async def used_up(_: Job, __: Sink) -> None:
        if bench.clock.now() < until_s:
            raise QuotaExhausted("used up", until_s=until_s)

    bench.source.before = used_up
    assert await bench.run() == {}
    assert bench.states() == {State.LANDED: 40}
    assert came_by(bench) == {"fake": 20, "other": 20}


async def test_nobody_waits_for_a_quota_that_nothing_needs(bench: Bench) -> None:
    """All that a lane could not bring has come otherwise: the run is at its end, hours before the quota opens."""
    bench.plan(routes=lambda _: BOTH)
    bench.wait = True
    began_s, until_s = bench.clock.now(), bench.clock.now() + 3_600

    async def used_up(_: Job, __: Sink) -> None:
        raise QuotaExhausted("used up", until_s=until_s)

    bench.source.before = used_up
    assert await bench.run() == {}
    assert came_by(bench) == {"other": 40}
    assert bench.clock.now() == began_s


async def test_what_the_other_refuses_waits_for_the_quota(bench: Bench) -> None:
    bench.plan(count=1, routes=lambda _: ("other", "fake"))
    assert bench.other is not None
    bench.wait = True
    until_s = bench.clock.now() + 3_600

    async def refuse(_: Job, __: Sink) -> None:
        raise NotFound("404")

    async def used_up(_: Job, __: Sink) -> None:
        if bench.clock.now() < until_s:
            raise QuotaExhausted("used up", until_s=until_s)

    bench.other.before = refuse
    bench.other.lists = False
    bench.source.before = used_up
    assert await bench.run() == {}
    assert came_by(bench) == {"fake": 1}


async def test_what_a_lost_source_leaves_waits_for_the_quota_of_the_other(bench: Bench) -> None:
    bench.plan(count=2, routes=lambda _: ("other", "fake"))
    assert bench.other is not None
    bench.wait = True
    until_s = bench.clock.now() + 3_600

    async def down(_: Job, __: Sink) -> None:
        await anyio.wait_all_tasks_blocked()
        raise SourceDown("gone")

    async def used_up(_: Job, __: Sink) -> None:
        if bench.clock.now() < until_s:
            raise QuotaExhausted("used up", until_s=until_s)

    bench.other.before = down
    bench.source.before = used_up
    assert set(await bench.run()) == {"other"}
    assert came_by(bench) == {"fake": 2}


async def test_a_lane_that_stopped_does_not_gather_everything_before_the_other(bench: Bench) -> None:
    """A million series must not wait in memory."""
    bench.held.update({f"2.{n}": {f"2{n}.0": b"x"} for n in range(2_000)})
    bench.plan(count=2_000, expected=None, routes=lambda _: BOTH)
    bench.stopped = {"fake": SourceDown("gone")}
    assert bench.other is not None

    async def hang(_: Job, __: Sink) -> None:
        await anyio.sleep_forever()

    bench.other.before = hang
    async with anyio.create_task_group() as group:
        group.start_soon(bench.run)
        await anyio.wait_all_tasks_blocked()
        moved = sum(isinstance(event, SeriesMoved) for event in bench.events)
        group.cancel_scope.cancel()
    assert 8 <= moved < 400
