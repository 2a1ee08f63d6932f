"""A hand: hauls what the parent hands it, until that is over. Run as a module by `parent`."""

import asyncio
import dataclasses
import socket
import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Final

import anyio

from dicomhaul import build
from dicomhaul.crew.channel import Channel, open_channel
from dicomhaul.crew.messages import (
    Begin,
    Cancel,
    Close,
    Counted,
    Ended,
    Happened,
    Landed,
    Reply,
    Setup,
    Stems,
    ToHand,
    Wanted,
)
from dicomhaul.crew.remote import Link, RemoteCredentials, RemoteGate, RemoteLine, RemoteQuota
from dicomhaul.errors import HaulError
from dicomhaul.events import Event, Tally
from dicomhaul.land.writer import Note, Staged
from dicomhaul.net.auth.fixed import NoCredentials
from dicomhaul.net.clock import SystemClock
from dicomhaul.net.host import Host, join_host
from dicomhaul.record.lifeline import end_with_parent
from dicomhaul.transfer.engine import Lane
from dicomhaul.transfer.outcome import SeriesOutcome

_COUNT_S: Final = 0.1


class _Hand:
    """What a hand hears and does; implements `build.Teller`."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._clock = SystemClock()
        self._tally = Tally()
        self._told = Tally()  # what of it the parent knows
        self._link = Link(self._say)
        self._channel: Channel | None = None
        self._setup: asyncio.Future[Setup] = asyncio.get_running_loop().create_future()
        self._begun: list[Begin] = []  # before the lanes were open
        self._scopes: dict[int, anyio.CancelScope] = {}
        self._lanes: list[Lane] = []
        self._group: anyio.abc.TaskGroup | None = None
        self._closing = anyio.Event()
        self._gone = anyio.Event()

    async def run(self) -> None:
        """Do what is said until `Close`."""
        self._channel = await open_channel(self._end, self._hear, self._gone.set)
        setup = await self._setup
        async with AsyncExitStack() as stack:
            hosts = {
                route.spec.name: (route.spec, await stack.enter_async_context(self._host(setup, number)))
                for number, route in enumerate(setup.routes)
            }
            lanes = await stack.enter_async_context(
                build.open_lanes(
                    hosts, setup.staging, self, by_stem=setup.by_stem, options=setup.options, tally=self._tally
                )
            )
            await self._work(lanes)
        self._count()
        self._channel.close()
        await self._gone.wait()

    def _host(self, setup: Setup, number: int) -> AbstractAsyncContextManager[Host]:
        route, link = setup.routes[number], self._link
        return join_host(
            route.endpoint,
            RemoteCredentials(link, number, self._clock) if route.authorized else NoCredentials(),
            gate=RemoteGate(link, number),
            quota=RemoteQuota(link, number) if route.metered else None,
            line=RemoteLine(link, self._clock, limited=setup.limited),
            clock=self._clock,
            observer=self._observe,
            tally=self._tally,
        )

    async def _work(self, lanes: list[Lane]) -> None:
        self._lanes = lanes
        async with anyio.create_task_group() as group:
            self._group = group
            for message in self._begun:
                group.start_soon(self._haul, message)
            group.start_soon(self._count_now_and_then)
            await self._closing.wait()
            group.cancel_scope.cancel()

    def _hear(self, message: ToHand) -> None:
        match message:
            case Reply():
                self._link.heard(message)
            case Begin():
                if self._group is None:
                    self._begun.append(message)
                else:
                    self._group.start_soon(self._haul, message)
            case Cancel(haul):
                if haul in self._scopes:
                    self._scopes[haul].cancel()
            case Setup():
                self._setup.set_result(message)
            case Close():
                self._closing.set()

    async def _haul(self, begin: Begin) -> None:
        haul = self._lanes[begin.route].open_haul(begin.work, begin.known)
        outcome: SeriesOutcome | HaulError
        with anyio.CancelScope() as scope:
            self._scopes[begin.haul] = scope
            try:
                outcome = await haul.run()
            except HaulError as error:
                outcome = error
            finally:
                del self._scopes[begin.haul]
            self._count()
            self._say(Ended(begin.haul, outcome, len(haul.landed)))

    def _observe(self, event: Event) -> None:
        self._say(Happened(event))

    async def _count_now_and_then(self) -> None:
        while True:
            await self._clock.sleep(_COUNT_S)
            self._count()

    def _count(self) -> None:
        now, told = dataclasses.asdict(self._tally), dataclasses.asdict(self._told)
        grown = {name: now[name] - told[name] for name in now if now[name] != told[name]}
        if grown:
            self._told = Tally(**now)
            self._say(Counted(grown))

    def _say(self, message: object) -> None:
        assert self._channel is not None  # noqa: S101 - open before anything is done
        self._channel.say(message)

    # -- as a Teller ----------------------------------------------------------------------------------------------

    def staged(self, batch: list[Staged]) -> None:
        """See `build.Teller`."""
        self._say(Landed(batch))

    def noted(self, note: Note) -> None:
        """See `build.Teller`."""
        self._say(note)

    def stems(self, series_id: int, stems: Mapping[str, str]) -> None:
        """See `build.Teller`."""
        self._say(Stems(series_id, dict(stems)))

    def wanted(self, series_id: int, sops: Sequence[str]) -> None:
        """See `build.Teller`."""
        self._say(Wanted(series_id, list(sops)))


async def _main(descriptor: int) -> None:
    await _Hand(socket.socket(fileno=descriptor)).run()


if __name__ == "__main__":
    end_with_parent()
    anyio.run(_main, int(sys.argv[1]))
