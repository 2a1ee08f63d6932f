"""The engine: leases work, runs many series at once on each route, tells the recorder what became of each.

A lane is one route: a source with its own workers. A series begins on the lane of its first route. Where that cannot
bring it, it moves to the lane of the next one and keeps what has landed; it fails when each of its routes has refused
it, and stays planned where one of them is only stopped. What moves is remembered in memory alone: a new run begins
with the first route again.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

import anyio

from dicomhaul.errors import HaulError, QuotaExhausted, SourceError
from dicomhaul.events import Noticed, Observer, SeriesFailed, SeriesLanded, SeriesMoved, SourceStopped, Tally
from dicomhaul.model import End, Known, Work
from dicomhaul.plan.order import turns
from dicomhaul.ports import Clock, Ledger, Recorder
from dicomhaul.transfer.outcome import SeriesOutcome

T = TypeVar("T")

_LEASE: Final = 16  # series a question to the ledger hands out
# A worker that waits (for the gate, for a retry, for the disk) holds no slot of the host: more workers than slots
# keep the slots busy.
_WORKERS_PER_SLOT: Final = 2
_PARKED: Final = 1_000  # series that may wait in memory for a quota, while others of their lane move
_LATE_S: Final = 30.0  # a source's clock may be late; the end of yesterday's quota would cost us all of today's
_REST_STEP_S: Final = 60.0
_MOVED: Final = 256  # series that a lane which stopped may put before another one


class Haul(Protocol):
    """One series on one route."""

    @property
    def landed(self) -> Sized:
        """The instances that are there, what was there before included."""
        ...

    async def run(self) -> SeriesOutcome:
        """Bring what is missing. Raises SourceError or LandingError, which concern more than this series."""
        ...


@dataclass(frozen=True, slots=True)
class Lane:
    """One route.

    Attributes:
        name: of its source, as the ledger's routes have it.
        at_once: the largest number of exchanges that its host may see at a time.
        open_haul: begins a series on it.
    """

    name: str
    at_once: int
    open_haul: Callable[[Work, Known], Haul]


@dataclass(slots=True)
class _Item:
    """A series in hand, and what became of it on the routes that were tried."""

    work: Work
    known: Known
    tried: dict[str, str] = field(default_factory=dict)  # route -> why it did not do


@dataclass(slots=True)
class _Road:
    """A lane at work."""

    lane: Lane
    stopped: SourceError | None = None
    rests_until_s: float | None = None  # its quota is used up, and we wait for the next
    dry: bool = False  # the ledger has nothing more that begins here
    leased: deque[_Item] = field(default_factory=deque)
    moved: deque[_Item] = field(default_factory=deque)
    parked: list[_Item] = field(default_factory=list)  # what only this lane can bring, until it opens again
    turn: Iterator[End] = field(default_factory=turns)
    lock: anyio.Lock = field(default_factory=anyio.Lock)

    @property
    def open(self) -> bool:
        """Whether its source may be asked now."""
        return self.stopped is None and self.rests_until_s is None


class Engine:
    """Hauls everything that the ledger has planned.

    Args:
        lanes: the routes there are.
        stopped: routes that are not to be asked in this run, and why.
        recorder: owns the ledger.
        clock: for waiting until a quota opens again.
        wait: do so, instead of leaving what needs that quota to another run.
        observer: is told what happens.
        tally: is added to.
    """

    def __init__(
        self,
        *,
        lanes: Sequence[Lane],
        stopped: Mapping[str, SourceError],
        recorder: Recorder,
        clock: Clock,
        wait: bool,
        observer: Observer,
        tally: Tally,
    ) -> None:
        self._roads = {lane.name: _Road(lane, stopped.get(lane.name)) for lane in lanes}
        self._recorder = recorder
        self._clock = clock
        self._wait = wait
        self._observe = observer
        self._tally = tally
        self._in_hand = 0  # leased, and neither recorded nor left
        self._changed = anyio.Event()
        self._error: HaulError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> dict[str, SourceError]:
        """Haul until nothing is planned that can still come; return the routes that stopped, with the reason.

        Raises LandingError or LedgerError when the run cannot go on; what was in flight stays planned.
        """
        self._loop = asyncio.get_running_loop()
        async with anyio.create_task_group() as group:
            for road in self._roads.values():
                for _ in range(road.lane.at_once * _WORKERS_PER_SLOT):
                    group.start_soon(self._work, road, group.cancel_scope)
        if self._error is not None:
            raise self._error
        return {name: road.stopped for name, road in self._roads.items() if road.stopped is not None}

    # -- a worker -------------------------------------------------------------------------------------------------

    async def _work(self, road: _Road, scope: anyio.CancelScope) -> None:
        try:
            while (item := await self._next(road)) is not None:
                if road.open:
                    await self._haul(road, item)
                else:
                    await self._pass_on(road, item, slowly=True)
                if self._recorder.error is not None:
                    raise self._recorder.error
        except HaulError as error:
            self._error = self._error or error
            scope.cancel()

    async def _next(self, road: _Road) -> _Item | None:
        """Return the next series for this lane; None once nothing can come any more."""
        while not self._finished:
            if self._must_rest(road):
                await self._rest(road)
            elif road.moved:
                return road.moved.popleft()
            elif road.leased:
                return road.leased.popleft()
            elif not road.dry:
                async with road.lock:
                    await self._lease(road)
            else:
                changed = self._changed
                await changed.wait()
        self._tell_all()
        return None

    @property
    def _finished(self) -> bool:
        return self._in_hand == 0 and all(each.dry for each in self._roads.values())

    def _must_rest(self, road: _Road) -> bool:
        """Whether a lane whose quota is used up can only wait: until then it hands on what others can bring."""
        if road.rests_until_s is None or not road.parked:
            return False
        nothing_else = road.dry and not road.moved and not road.leased
        return nothing_else or len(road.parked) >= _PARKED or not self._others_open(road)

    async def _lease(self, road: _Road) -> None:
        if road.leased or road.dry:  # another worker was faster
            return
        if road.stopped is not None and not self._others_open(road):
            road.dry = True  # nobody is left who could bring what begins here
        else:
            turn, name = road.turn, road.lane.name
            leased = await self._ask(lambda ledger: _lease(ledger, turn, name))
            road.leased.extend(_Item(work, known) for work, known in leased)
            road.dry = not leased
            self._in_hand += len(leased)
        self._tell_all()

    async def _haul(self, road: _Road, item: _Item) -> None:
        haul = road.lane.open_haul(item.work, item.known)
        try:
            outcome = await haul.run()
        except SourceError as error:
            self._stop(road, error)
            await self._pass_on(road, item, slowly=False)
            return
        if outcome.proof is not None:
            self._complete(road, item.work, outcome, len(haul.landed))
        else:
            item.tried[road.lane.name] = outcome.reason
            if not await self._move(road, item, outcome.reason):
                self._fail(item, outcome)

    async def _pass_on(self, road: _Road, item: _Item, *, slowly: bool) -> None:
        """A series whose lane is closed: move it, put it back until the lane opens again, or leave it planned."""
        if slowly:  # a million of them must not gather before the other lanes
            while any(len(each.moved) >= _MOVED and each.open for each in self._roads.values()):
                await self._changed.wait()
        reason = str(road.stopped) if road.stopped is not None else "its quota is used up"
        if await self._move(road, item, reason):
            return
        if road.stopped is None:
            road.parked.append(item)
            self._tell_all()
        else:
            self._done()

    async def _move(self, road: _Road, item: _Item, reason: str) -> bool:
        """Hand the series to its next route; say whether that is settled, or this lane has to see to it."""
        left = [self._roads[name] for name in item.work.routes if name in self._roads and name not in item.tried]
        others = [each for each in left if each is not road and each.stopped is None]
        if not others:
            if any(each is not road for each in left) and road.lane.name in item.tried:
                self._done()  # left planned: a route that is only stopped may bring it another day
                return True
            return False
        target = next((each for each in others if each.open), others[0])
        if not target.open and road.rests_until_s is not None:
            return False  # both wait
        series_id = item.work.series_id
        item.known = await self._ask(lambda ledger: ledger.known(series_id))
        target.moved.append(item)
        self._tally.series_moved += 1
        self._observe(SeriesMoved(item.work.study, item.work.series, road.lane.name, target.lane.name, reason))
        self._tell_all()
        return True

    # -- lanes that close -----------------------------------------------------------------------------------------

    def _stop(self, road: _Road, error: SourceError) -> None:
        if self._wait and isinstance(error, QuotaExhausted):
            if road.rests_until_s is None:
                self._observe(SourceStopped(road.lane.name, f"{error}; waiting for that"))
            road.rests_until_s = error.until_s
        elif road.stopped is None:
            road.stopped = error
            self._observe(SourceStopped(road.lane.name, str(error)))
        self._tell_all()

    async def _rest(self, road: _Road) -> None:
        until_s = road.rests_until_s
        if until_s is None:
            return
        # By the clock on the wall, and in steps: a machine that was suspended wakes up late.
        while (left_s := until_s + _LATE_S - self._clock.now()) > 0:
            await self._clock.sleep(min(left_s, _REST_STEP_S))
        if road.rests_until_s == until_s:  # the first who wakes
            road.rests_until_s = None
            road.moved.extend(road.parked)
            road.parked.clear()
            self._tell_all()

    def _others_open(self, road: _Road) -> bool:
        return any(each.open for each in self._roads.values() if each is not road)

    # -- what is told ---------------------------------------------------------------------------------------------

    def _complete(self, road: _Road, work: Work, outcome: SeriesOutcome, landed: int) -> None:
        proof, name = outcome.proof, road.lane.name
        assert proof is not None  # noqa: S101 - the caller asked
        self._note(work, outcome)
        event = SeriesLanded(work.study, work.series, work.place or work.folder, landed, str(proof))

        def complete(ledger: Ledger) -> None:
            ledger.complete_series(work.series_id, proof, outcome.expected, name, outcome.surplus)

        self._recorder.change(complete, self._in_loop(lambda: self._landed(event)))
        self._done()

    def _fail(self, item: _Item, outcome: SeriesOutcome) -> None:
        work = item.work
        self._note(work, outcome)
        reason = outcome.reason
        if len(item.tried) > 1:
            reason = "; ".join(f"{name}: {why}" for name, why in item.tried.items())

        def fail(ledger: Ledger) -> None:
            for sop, why in outcome.missing.items():
                ledger.fail_instance(work.series_id, sop, why)
            ledger.fail_series(work.series_id, reason)

        failed = SeriesFailed(work.study, work.series, len(outcome.missing) or None, reason)
        self._recorder.change(fail, self._in_loop(lambda: self._failed(failed)))
        self._done()

    def _note(self, work: Work, outcome: SeriesOutcome) -> None:
        for note in outcome.notes:
            self._observe(Noticed(note))
        if not outcome.repeated:
            return
        differing: list[str] = []

        def compare(ledger: Ledger) -> None:
            there = ledger.digests(work.series_id)
            differing.extend(sop for sop, digest in outcome.repeated.items() if there.get(sop, digest) != digest)

        def tell() -> None:
            if differing:
                self._observe(Noticed(
                    f"series {work.series}: instances that came twice in one answer, with other bytes the second "
                    f"time: {len(differing)}, {differing[0]} among them; what came first stays"
                ))  # fmt: skip

        self._recorder.change(compare, self._in_loop(tell))

    def _done(self) -> None:
        self._in_hand -= 1
        self._tell_all()

    def _tell_all(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()

    def _landed(self, event: SeriesLanded) -> None:
        self._tally.series_complete += 1
        self._observe(event)

    def _failed(self, event: SeriesFailed) -> None:
        self._tally.series_failed += 1
        self._observe(event)

    def _in_loop(self, call: Callable[[], None]) -> Callable[[], None]:
        loop = self._loop
        assert loop is not None  # noqa: S101 - run() set it
        return lambda: _call(loop, call)

    async def _ask(self, question: Callable[[Ledger], T]) -> T:
        return await asyncio.wrap_future(self._recorder.ask(question))


def _call(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(call)


def _lease(ledger: Ledger, turn: Iterator[End], route: str) -> list[tuple[Work, Known]]:
    leased: list[Work] = []
    while len(leased) < _LEASE:
        got = ledger.lease(1, next(turn), route)
        if not got:  # the two ends have met
            break
        leased.extend(got)
    return [(work, ledger.known(work.series_id)) for work in leased]
