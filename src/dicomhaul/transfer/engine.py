"""The engine: leases work, runs many series at once, tells the recorder what became of each."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Final, TypeVar

import anyio
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from dicomhaul.errors import HaulError
from dicomhaul.events import Noticed, Observer, SeriesFailed, SeriesLanded, Tally
from dicomhaul.model import End, Known, Work
from dicomhaul.plan.order import turns
from dicomhaul.ports import Ledger, Recorder, Source
from dicomhaul.transfer.series import OpenSink, SeriesHaul, SeriesOutcome

T = TypeVar("T")

_LEASE: Final = 16  # series a question to the ledger hands out
# A worker that waits (for the gate, for a retry, for the disk) holds no slot of the host: more workers than slots
# keep the slots busy.
_WORKERS_PER_SLOT: Final = 2


class Engine:
    """Hauls everything that the ledger has planned, through one source.

    Args:
        source: where from.
        open_sink: makes the sink of an exchange.
        recorder: owns the ledger.
        at_once: the largest number of exchanges that the source's host may see at a time.
        observer: is told what happens.
        tally: is added to.
    """

    def __init__(
        self,
        *,
        source: Source,
        open_sink: OpenSink,
        recorder: Recorder,
        at_once: int,
        observer: Observer,
        tally: Tally,
    ) -> None:
        self._source = source
        self._open_sink = open_sink
        self._recorder = recorder
        self._at_once = at_once
        self._observe = observer
        self._tally = tally
        self._stopped: HaulError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def run(self) -> None:
        """Haul until nothing is planned any more.

        Raises SourceError, LandingError or LedgerError when the run cannot go on; what was in flight stays planned.
        """
        self._loop = asyncio.get_running_loop()
        workers = self._at_once * _WORKERS_PER_SLOT
        send, receive = anyio.create_memory_object_stream[tuple[Work, Known]](_LEASE)
        async with anyio.create_task_group() as group:
            group.start_soon(self._feed, send, group.cancel_scope)
            async with receive:
                for _ in range(workers):
                    group.start_soon(self._work, receive.clone(), group.cancel_scope)
        if self._stopped is not None:
            raise self._stopped

    async def _feed(self, send: MemoryObjectSendStream[tuple[Work, Known]], scope: anyio.CancelScope) -> None:
        turn = turns()
        try:
            async with send:
                while leased := await self._ask(lambda ledger: _lease(ledger, turn)):
                    for item in leased:
                        await send.send(item)
        except HaulError as error:
            self._stop(error, scope)

    async def _work(self, receive: MemoryObjectReceiveStream[tuple[Work, Known]], scope: anyio.CancelScope) -> None:
        async with receive:
            async for work, known in receive:
                haul = SeriesHaul(
                    work,
                    known,
                    source=self._source,
                    open_sink=self._open_sink,
                    add_wanted=lambda series_id, sops: self._recorder.change(
                        lambda ledger: ledger.add_wanted(series_id, sops)
                    ),
                    at_once=self._at_once,
                )
                try:
                    outcome = await haul.run()
                except HaulError as error:
                    self._stop(error, scope)
                    return
                self._record(work, outcome, len(haul.landed))
                if self._recorder.error is not None:
                    self._stop(self._recorder.error, scope)
                    return

    def _record(self, work: Work, outcome: SeriesOutcome, landed: int) -> None:
        for note in outcome.notes:
            self._observe(Noticed(note))
        proof = outcome.proof
        if proof is not None:
            event = SeriesLanded(work.study, work.series, work.folder, landed, str(proof))

            def complete(ledger: Ledger) -> None:
                ledger.complete_series(work.series_id, proof, outcome.expected)

            self._recorder.change(complete, self._in_loop(lambda: self._landed(event)))
            return

        def fail(ledger: Ledger) -> None:
            for sop, reason in outcome.missing.items():
                ledger.fail_instance(work.series_id, sop, reason)
            ledger.fail_series(work.series_id, outcome.reason)

        failed = SeriesFailed(work.study, work.series, len(outcome.missing) or None, outcome.reason)
        self._recorder.change(fail, self._in_loop(lambda: self._failed(failed)))

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

    def _stop(self, error: HaulError, scope: anyio.CancelScope) -> None:
        self._stopped = self._stopped or error
        scope.cancel()

    async def _ask(self, question: Callable[[Ledger], T]) -> T:
        return await asyncio.wrap_future(self._recorder.ask(question))


def _call(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(call)


def _lease(ledger: Ledger, turn: Iterator[End]) -> list[tuple[Work, Known]]:
    leased: list[Work] = []
    while len(leased) < _LEASE:
        got = ledger.lease(1, next(turn))
        if not got:  # the two ends have met
            break
        leased.extend(got)
    return [(work, ledger.known(work.series_id)) for work in leased]
