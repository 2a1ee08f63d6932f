"""The parent's side of several processes that haul: starts the hands, hands out series, hears what comes of them."""

import asyncio
import signal
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Coroutine, Sequence, Sized
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from typing import Any, Final

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from dicomhaul.build import Hosts, Teller, at_once_at
from dicomhaul.config.options import HaulOptions
from dicomhaul.config.source import Connection, SourceSpec
from dicomhaul.crew.channel import Channel, open_channel
from dicomhaul.crew.desk import Desk, shared_of
from dicomhaul.crew.messages import (
    Begin,
    Cancel,
    Close,
    Counted,
    Ended,
    FromHand,
    Happened,
    Landed,
    Pass,
    Reply,
    Route,
    Setup,
    Stems,
    ToHand,
    Wanted,
)
from dicomhaul.destination import Destination
from dicomhaul.errors import CrewError, HaulError
from dicomhaul.events import Observer, Tally
from dicomhaul.land.writer import Note
from dicomhaul.model import Known, Work
from dicomhaul.net.auth.fixed import NoCredentials
from dicomhaul.net.host import Host
from dicomhaul.net.line import Line
from dicomhaul.transfer.engine import Lane
from dicomhaul.transfer.outcome import SeriesOutcome

_CHILD: Final = "dicomhaul.crew.child"
_DYING_S: Final = 5.0  # a hand whose end of the channel is closed has nothing left to do
_SAID_CHARS: Final = 4_000  # of what a hand wrote on stderr, its end


class Crew:
    """What opens the lanes of a run whose series several processes haul; `open` is a `build.OpenCrew`."""

    def __init__(self, options: HaulOptions, *, line: Line, observer: Observer, tally: Tally) -> None:
        self._options = options
        self._line = line
        self._observer = observer
        self._tally = tally

    @asynccontextmanager
    async def open(
        self, destination: Destination, hosts: Hosts, teller: Teller, *, by_stem: bool
    ) -> AsyncIterator[list[Lane]]:
        """Start the hands; at the end, wait until they have saved what is whole and are gone.

        Raises CrewError if one of them could not.
        """
        setup = Setup(
            routes=tuple(_route(spec, host) for spec, host in hosts.values()),
            staging=destination.folder.staging,
            by_stem=by_stem,
            options=self._options,
            limited=self._line.limited,
        )
        hands: list[_Hand] = []
        try:
            for number in range(self._options.processes):
                hand = _Hand(
                    f"process {number + 1} of {self._options.processes}",
                    [host for _, host in hosts.values()],
                    teller,
                    line=self._line,
                    observer=self._observer,
                    tally=self._tally,
                )
                await hand.start(setup, destination.lock)
                hands.append(hand)
            yield [
                Lane(spec.name, at_once_at(spec, self._options.transfers), partial(_FarHaul, hands, number))
                for number, (spec, _) in enumerate(hosts.values())
            ]
        finally:
            with anyio.CancelScope(shield=True):
                for hand in hands:
                    hand.close()
                errors = [await hand.ended() for hand in hands]
            for error in errors:
                if error is not None:
                    raise error


def _route(spec: SourceSpec, host: Host) -> Route:
    shared = shared_of(host)
    return Route(
        spec=replace(spec, connection=Connection()),
        endpoint=shared.endpoint,
        authorized=not isinstance(shared.credentials, NoCredentials),
        metered=host.quota is not None,
    )


class _FarHaul:
    """A series that another process hauls; implements `transfer.engine.Haul`."""

    def __init__(self, hands: "Sequence[_Hand]", route: int, work: Work, known: Known) -> None:
        self._hands = hands
        self._route = route
        self._work = work
        self._known = known
        self.landed: Sized = known.landed

    async def run(self) -> SeriesOutcome:
        """Have the process with the least to do bring it. Raises as any haul, and CrewError."""
        hand = min(self._hands, key=lambda each: each.in_hand)
        ended = await hand.haul(self._route, self._work, self._known)
        self.landed = range(ended.landed)
        if isinstance(ended.outcome, HaulError):
            raise ended.outcome
        return ended.outcome


class _Hand:
    """One process that hauls, as the parent sees it."""

    def __init__(
        self, name: str, hosts: Sequence[Host], teller: Teller, *, line: Line, observer: Observer, tally: Tally
    ) -> None:
        self._name = name
        self._teller = teller
        self._line = line
        self._observer = observer
        self._tally = tally
        self._desks = [Desk(host, self._say) for host in hosts]
        self._hauls: dict[int, asyncio.Future[Ended]] = {}
        self._begun = 0
        self._channel: Channel | None = None
        self._gone = asyncio.Event()
        self._closing = False
        self._error: CrewError | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._life: asyncio.Task[None] | None = None

    @property
    def in_hand(self) -> int:
        """How many series it has."""
        return len(self._hauls)

    async def start(self, setup: Setup, lock: int) -> None:
        """Start the process, which holds `lock` as long as it lives."""
        ours, theirs = socket.socketpair()
        with theirs:
            # Standard input stays open: its end tells the hand that its parent is gone. For -P see `planner.parent`.
            process = await anyio.open_process(
                [sys.executable, "-P", "-m", _CHILD, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                start_new_session=True,
                pass_fds=(theirs.fileno(), lock),
            )
        self._channel = await open_channel(ours, self._hear, self._gone.set)
        self._say(setup)
        self._life = asyncio.create_task(self._live(process))
        for desk in self._desks:
            self._do(desk.serve())

    async def haul(self, route: int, work: Work, known: Known) -> Ended:
        """Have it bring a series. Raises CrewError if it dies meanwhile."""
        if self._error is not None:
            raise CrewError(str(self._error))
        self._begun += 1
        number = self._begun
        future: asyncio.Future[Ended] = asyncio.get_running_loop().create_future()
        self._hauls[number] = future
        self._say(Begin(number, route, work, known))
        try:
            return await future
        except asyncio.CancelledError:
            self._say(Cancel(number))
            raise
        finally:
            del self._hauls[number]

    def close(self) -> None:
        """Have it save what is whole, and end."""
        self._closing = True
        self._say(Close())

    async def ended(self) -> CrewError | None:
        """Wait until it is gone; return what went wrong, unless some haul has been told."""
        if self._life is not None:
            await self._life
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for desk in self._desks:
            desk.close()
        return self._error if self._closing else None

    async def _live(self, process: Process) -> None:
        """Wait for the end of the process; tell who waits for it."""
        assert process.stderr is not None  # noqa: S101 - asked for
        said = ""
        async with process:
            async for text in TextReceiveStream(process.stderr, errors="replace"):
                said = (said + text)[-_SAID_CHARS:]
            await self._gone.wait()
            with anyio.move_on_after(_DYING_S):
                await process.wait()
            if process.returncode is None:
                process.kill()
            code = await process.wait()
        if code != 0 or not self._closing:
            self._lose(_why(self._name, code, said))

    def _lose(self, why: str) -> None:
        told = bool(self._hauls)
        self._error = self._error or CrewError(why)
        for future in self._hauls.values():
            if not future.done():
                future.set_exception(CrewError(why))
        self._closing = self._closing and not told

    def _say(self, message: ToHand) -> None:
        if self._channel is not None:
            self._channel.say(message)

    def _hear(self, message: FromHand) -> None:
        match message:
            case Landed() | Note() | Stems() | Wanted():
                self._tell(message)
            case Ended(haul):
                future = self._hauls.get(haul)
                if future is not None and not future.done():
                    future.set_result(message)
            case Counted(fields):
                for name, count in fields.items():
                    setattr(self._tally, name, getattr(self._tally, name) + count)
            case Happened(event):
                self._observer(event)
            case Pass():
                self._do(self._pass(message))
            case _:
                desk = self._desks[message.host]
                question = desk.hear(message)
                if question is not None:
                    self._do(desk.answer(question))

    def _tell(self, message: Landed | Note | Stems | Wanted) -> None:
        match message:
            case Landed(batch):
                self._teller.staged(batch)
            case Note():
                self._teller.noted(message)
            case Stems(series_id, stems):
                self._teller.stems(series_id, stems)
            case Wanted(series_id, sops):
                self._teller.wanted(series_id, sops)

    async def _pass(self, message: Pass) -> None:
        await self._line.passed(message.size_bytes)
        self._say(Reply(message.question, None))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._lose(f"what {self._name} asked for failed: {type(error).__name__}")


def _why(name: str, code: int, said: str) -> str:
    """Say how a process died; of a traceback only the kind of the error: its text may quote what a server sent."""
    if code < 0:
        number = -code
        kind = signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"
        memory = ", perhaps because memory ran out" if number == signal.SIGKILL else ""
        return f"{name} was killed ({kind}){memory}; run again to go on"
    lines = said.strip().splitlines()
    kind = lines[-1].partition(":")[0][:80] if lines else "it said nothing"
    return f"{name} ended early (exit {code}): {kind}; run again to go on"
