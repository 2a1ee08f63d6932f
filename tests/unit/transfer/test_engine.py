"""The engine with a ledger of its own, a source in memory, and everything that can stop it."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from dicomhaul.errors import Disconnected, HaulError, LedgerError, NotFound, QuotaExhausted, SourceDown
from dicomhaul.events import Noticed, SeriesFailed, SeriesLanded, SourceStopped
from dicomhaul.model import Job, Proof, State
from dicomhaul.ports import Sink
from dicomhaul.record.ledger import Ledger
from support.engine_bench import Bench
from support.fakes import MemorySink

pytestmark = pytest.mark.anyio


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    yield Bench(ledger)
    ledger.close()


async def test_everything_that_is_planned_comes_once(bench: Bench) -> None:
    bench.plan()
    await bench.run()
    assert bench.taken == {sop: content for series in bench.held.values() for sop, content in series.items()}
    assert Counter(job.series for job in bench.source.asked) == dict.fromkeys(bench.held, 1)
    assert bench.states() == {State.LANDED: 40}
    landed = [event for event in bench.events if isinstance(event, SeriesLanded)]
    assert {event.series for event in landed} == set(bench.held)
    assert {(event.instances, event.proof, event.study) for event in landed} == {(3, Proof.COUNT, "2.25.1")}
    assert bench.tally.series_complete == 40


async def test_the_largest_come_first_and_now_and_then_a_small_one(bench: Bench) -> None:
    bench.plan()
    await bench.run(at_once=1)
    sizes = [int(job.series[2:]) for job in bench.source.asked]
    assert sizes[:4] == [39, 38, 37, 0]


async def test_a_run_with_nothing_to_do_asks_for_nothing(bench: Bench) -> None:
    bench.plan()
    await bench.run()
    bench.source.asked.clear()
    bench.ledger.begin_leasing(1)
    await bench.run()
    assert bench.source.asked == []


async def test_a_series_that_fails_is_recorded_and_the_others_go_on(bench: Bench) -> None:
    bench.plan()

    async def refuse(job: Job, _: Sink) -> None:
        if job.series == "1.7":
            raise Disconnected("reset")

    bench.source.before = refuse
    await bench.run()
    assert bench.states() == {State.LANDED: 39, State.FAILED: 1}
    (failed,) = [event for event in bench.events if isinstance(event, SeriesFailed)]
    assert (failed.series, failed.missing, failed.reason) == ("1.7", None, "reset")
    (failure,) = bench.ledger.iter_failures(1)
    assert (failure.series, failure.sop, failure.reason) == ("1.7", None, "reset")
    assert bench.tally.series_failed == 1


async def test_an_instance_that_fails_is_recorded_by_name(bench: Bench) -> None:
    bench.plan(expected=None)
    bench.source.withheld = {"7.1"}

    async def refuse(job: Job, _: Sink) -> None:
        if job.sop == "7.1":
            raise NotFound("404")

    bench.source.before = refuse
    await bench.run()
    (failure,) = bench.ledger.iter_failures(1)
    assert (failure.series, failure.sop, failure.reason) == ("1.7", "7.1", "404")
    (failed,) = [event for event in bench.events if isinstance(event, SeriesFailed)]
    assert failed.missing == 1


async def test_oddities_are_noticed(bench: Bench) -> None:
    bench.plan(expected=2)
    await bench.run()
    notes = [event.message for event in bench.events if isinstance(event, Noticed)]
    assert len(notes) == 40
    assert all("3 instances; 2 were expected" in note for note in notes)


async def test_a_second_copy_with_other_bytes_is_noticed(bench: Bench) -> None:
    """All that has landed has the same digest here, 16 zeros."""
    bench.plan()
    copies = {"7.0": bytes(16), "7.1": b"other bytes' xxh3", "7.2": None, "8.8": None}  # the last has not landed

    async def repeat(job: Job, sink: Sink) -> None:
        assert isinstance(sink, MemorySink)
        sink.repeated = {sop: digest for sop, digest in copies.items() if job.series == "1.7"}
        if job.series == "1.8":
            sink.repeated = {"8.0": bytes(16)}

    bench.source.before = repeat
    await bench.run()
    (note,) = [event.message for event in bench.events if isinstance(event, Noticed)]
    assert note.startswith("series 1.7: ")
    assert "with other bytes the second time: 2, 7.1 among them" in note


async def test_a_source_that_goes_down_leaves_its_series_planned(bench: Bench) -> None:
    bench.plan()

    async def down(job: Job, _: Sink) -> None:
        if len(bench.source.asked) > 10:
            raise SourceDown("gone")

    bench.source.before = down
    assert str((await bench.run())["fake"]) == "gone"
    states = bench.states()
    assert states[State.FAILED] == 0
    assert states[State.PLANNED] == 40 - states[State.LANDED]
    assert len(bench.source.asked) < 40
    bench.source.before = None
    bench.ledger.begin_leasing(1)
    await bench.run()
    assert bench.states() == {State.LANDED: 40}


async def test_a_recorder_that_fails_stops_the_run(bench: Bench) -> None:
    bench.plan()

    async def break_recorder(job: Job, _: Sink) -> None:
        if len(bench.source.asked) > 10:
            bench.recorder.error = LedgerError("broken")

    bench.source.before = break_recorder
    with pytest.raises(LedgerError, match="broken"):
        await bench.run()
    assert len(bench.source.asked) < 40


async def test_a_recorder_that_fails_when_everything_is_leased_stops_the_run(bench: Bench) -> None:
    """Nobody asks the ledger for more: whoever finishes a series has to look."""
    bench.plan(count=3)
    last = anyio.Event()

    async def break_recorder(job: Job, _: Sink) -> None:
        if len(bench.source.asked) == 3:
            await anyio.wait_all_tasks_blocked()  # the others have found that nothing more is planned
            bench.recorder.error = LedgerError("broken")
            last.set()

    bench.source.before = break_recorder
    with pytest.raises(LedgerError, match="broken"):
        await bench.run(at_once=1)
    assert last.is_set()


async def test_as_many_wait_as_would_keep_the_slots_busy(bench: Bench) -> None:
    """Exchanges that wait for the gate or for a retry hold no slot: there are two for each."""
    bench.plan()
    waiting: list[str] = []

    async def wait(job: Job, _: Sink) -> None:
        waiting.append(job.series)
        await anyio.sleep_forever()

    bench.source.before = wait
    async with anyio.create_task_group() as group:
        group.start_soon(bench.run)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert len(waiting) == len(set(waiting)) == 2 * 4


async def test_what_is_in_flight_goes_on_when_the_source_stops(bench: Bench) -> None:
    """A request that began under the quota completes; none begins after."""
    bench.plan()
    stopped = anyio.Event()

    async def stop(job: Job, _: Sink) -> None:
        if len(bench.source.asked) == 8:
            stopped.set()
            raise QuotaExhausted("used up", until_s=100.0)
        await stopped.wait()

    bench.source.before = stop
    assert set(await bench.run()) == {"fake"}
    assert len(bench.source.asked) == 8
    assert bench.states() == {State.LANDED: 7, State.PLANNED: 33}
    assert [event for event in bench.events if isinstance(event, SourceStopped)] == [SourceStopped("fake", "used up")]


async def test_a_ledger_that_cannot_be_asked_stops_the_run(bench: Bench) -> None:
    bench.plan()
    bench.recorder.error = LedgerError("broken")
    with pytest.raises(HaulError, match="broken"):
        await bench.run()
    assert bench.source.asked == []


async def test_cancelled_in_the_middle_of_exchanges(bench: Bench) -> None:
    bench.plan()
    started = anyio.Event()

    async def hang(job: Job, _: Sink) -> None:
        if len(bench.source.asked) > 10:
            started.set()
            await anyio.sleep_forever()

    bench.source.before = hang
    async with anyio.create_task_group() as group:
        group.start_soon(bench.run)
        await started.wait()
        group.cancel_scope.cancel()
    states = bench.states()
    assert states[State.FAILED] == 0
    assert states[State.PLANNED] >= 1
    bench.source.before = None
    bench.ledger.begin_leasing(1)
    await bench.run()
    assert bench.states() == {State.LANDED: 40}
