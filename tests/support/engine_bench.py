"""An engine with a ledger of its own, one or two sources in memory, and a clock that jumps."""

from collections import Counter
from collections.abc import Callable, Collection

import anyio

from dicomhaul.errors import SourceError
from dicomhaul.events import Event, Tally
from dicomhaul.model import Job, Receipt, Routing, SopUID, State
from dicomhaul.record.ledger import Ledger
from dicomhaul.transfer.engine import Engine, Lane
from dicomhaul.transfer.series import SeriesHaul
from support.clock import FakeClock
from support.fakes import DirectRecorder, FakeSource, MemorySink, series_row, write_cohort


class Bench:
    """Forty series of three instances each."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.recorder = DirectRecorder(ledger)
        self.events: list[Event] = []
        self.tally = Tally()
        self.held = {f"1.{n}": {f"{n}.{sop}": bytes(n) for sop in range(3)} for n in range(40)}
        self.source = FakeSource(self.held)
        self.other: FakeSource | None = None  # the second route, where there are two
        self.third: FakeSource | None = None
        self.stopped: dict[str, SourceError] = {}
        self.wait = False
        self.clock = FakeClock()
        self.taken: dict[str, bytes] = {}
        self.series_of: dict[str, int] = {}

    def plan(
        self,
        *,
        expected: int | None = 3,
        count: int = 40,
        routes: Callable[[int], tuple[str, ...]] = lambda _: ("fake",),
    ) -> None:
        uids = list(self.held)[:count]
        rows = [
            series_row(uid, expected=expected, size_bytes=n)._replace(routing=Routing(routes(n), ""))
            for n, uid in enumerate(uids)
        ]
        self.ledger.begin_leasing(write_cohort(self.ledger, rows))

    def open_sink(self, job: Job, folder: str, known: Collection[str]) -> MemorySink:
        assert folder == f"{job.study}/{job.series}"
        return _RecordingSink(job, known, self)

    def lane(self, name: str, source: FakeSource, at_once: int) -> Lane:
        return Lane(
            name,
            at_once,
            lambda work, known: SeriesHaul(
                work,
                known,
                source=source,
                open_sink=self.open_sink,
                add_wanted=lambda series_id, sops: self.recorder.change(
                    lambda ledger: ledger.add_wanted(series_id, sops)
                ),
                at_once=at_once,
                cut_above_bytes=1 << 40,
            ),
        )

    async def run(self, *, at_once: int = 4) -> dict[str, SourceError]:
        lanes = [self.lane("fake", self.source, at_once)]
        if self.other is not None:
            lanes.append(self.lane("other", self.other, at_once))
        if self.third is not None:
            lanes.append(self.lane("third", self.third, at_once))
        engine = Engine(
            lanes=lanes,
            stopped=self.stopped,
            recorder=self.recorder,
            clock=self.clock,
            wait=self.wait,
            observer=self.events.append,
            tally=self.tally,
        )
        try:
            return await engine.run()
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
