"""The engine with a ledger of its own, a source in memory, and everything that can stop it."""

from collections import Counter
from collections.abc import Collection, Iterator
from pathlib import Path

import anyio
import pytest

from dicomhaul.errors import Disconnected, HaulError, LedgerError, NotFound, SourceDown
from dicomhaul.events import Event, Noticed, SeriesFailed, SeriesLanded, Tally
from dicomhaul.model import Job, Proof, Receipt, Series, SopUID, State
from dicomhaul.ports import Sink
from dicomhaul.record.ledger import Ledger
from dicomhaul.transfer.engine import Engine
from support.fakes import DirectRecorder, FakeSource, MemorySink, series_row, write_cohort

pytestmark = pytest.mark.anyio


class Bench:
    """Forty series of three instances each."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.recorder = DirectRecorder(ledger)
        self.events: list[Event] = []
        self.tally = Tally()
        self.held = {f"1.{n}": {f"{n}.{sop}": bytes(n) for sop in range(3)} for n in range(40)}
        self.source = FakeSource(self.held)
        self.taken: dict[str, bytes] = {}
        self.series_of: dict[str, int] = {}

    def plan(self, *, expected: int | None = 3, count: int = 40) -> None:
        uids = list(self.held)[:count]
        rows: list[Series] = [series_row(uid, expected=expected, size_bytes=n) for n, uid in enumerate(uids)]
        self.ledger.begin_leasing(write_cohort(self.ledger, rows))

    def open_sink(self, job: Job, folder: str, known: Collection[str]) -> MemorySink:
        assert folder == f"{job.study}/{job.series}"
        return _RecordingSink(job, known, self)

    async def run(self, *, at_once: int = 4) -> None:
        engine = Engine(
            source=self.source,
            open_sink=self.open_sink,
            recorder=self.recorder,
            at_once=at_once,
            observer=self.events.append,
            tally=self.tally,
        )
        try:
            await engine.run()
        finally:
            await anyio.lowlevel.checkpoint()  # what was called back is told

    def states(self) -> Counter[State]:
        return +Counter({state: sum(1 for _ in self.ledger.iter_series(state)) for state in State})


class _RecordingSink(MemorySink):
    """Its receipts reach the ledger when it settles."""

    def __init__(self, job: Job, known: Collection[str], bench: Bench) -> None:
        super().__init__(job, known, bench.taken)
        self._bench = bench

    async def settle(self) -> None:
        await super().settle()
        receipts = [Receipt(self.job.series_id, SopUID(sop), size, bytes(16)) for sop, size in self.landed.items()]
        self._bench.recorder.change(lambda ledger: ledger.add_receipts(receipts))  # type: ignore[attr-defined]


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


async def test_a_source_that_goes_down_leaves_its_series_planned(bench: Bench) -> None:
    bench.plan()

    async def down(job: Job, _: Sink) -> None:
        if len(bench.source.asked) > 10:
            raise SourceDown("gone")

    bench.source.before = down
    with pytest.raises(SourceDown):
        await bench.run()
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
            await anyio.wait_all_tasks_blocked()  # the feed has ended
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


async def test_the_first_error_is_the_one_that_is_told(bench: Bench) -> None:
    bench.plan()

    async def down(job: Job, _: Sink) -> None:
        if len(bench.source.asked) == 8:
            raise SourceDown("the first")
        try:
            await anyio.sleep_forever()
        except anyio.get_cancelled_exc_class():
            raise SourceDown("a consequence") from None

    bench.source.before = down
    with pytest.raises(SourceDown, match="the first"):
        await bench.run()
    assert len(bench.source.asked) == 8


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
