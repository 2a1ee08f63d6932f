"""The parent's side of what hands ask of one host: its gate, its quota, who we are there.

Each hand has a desk for each host. What it holds there is given back when it is done, or dead.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from dicomhaul.crew.messages import (
    Admit,
    Answered,
    Authorize,
    Broke,
    Came,
    Enter,
    Leave,
    Release,
    Reply,
    Succeeded,
)
from dicomhaul.errors import HaulError, SourceError
from dicomhaul.net.host import Host, Shared
from dicomhaul.net.quota import Ticket

Question = Broke | Admit | Authorize
ForDesk = Enter | Leave | Answered | Succeeded | Release | Came | Question


def shared_of(host: Host) -> Shared:
    """Return what there is one of, of a host that was opened in this process."""
    assert host.shared is not None  # noqa: S101 - `open_host` made it
    return host.shared


class Desk:
    """What one hand has, and waits for, of one host.

    Args:
        host: opened in this process.
        reply: answers the hand.
    """

    def __init__(self, host: Host, reply: Callable[[Reply], None]) -> None:
        shared = shared_of(host)
        self._gate = shared.gate
        self._credentials = shared.credentials
        self._quota = host.quota
        self._read = host.usage_reader
        self._reply = reply
        self._waiting: dict[int, None] = {}  # for a slot, in this order
        self._some = asyncio.Event()
        self._slots: dict[int, bool] = {}  # question -> whether it is a probe
        self._tickets: dict[int, Ticket | None] = {}  # question -> None while it is waited for

    async def serve(self) -> None:
        """Give out slots, one after the other: so the hands take turns at the gate."""
        while True:
            while not self._waiting:
                self._some.clear()
                await self._some.wait()
            try:
                began_at, probe = await self._gate.enter()
            except SourceError as error:
                self._next(error)
                continue
            question = self._next(began_at)
            if question is None:
                self._gate.leave(probe=probe)
            else:
                self._slots[question] = probe

    def hear(self, message: ForDesk) -> Question | None:
        """Do what a message says; one whose reply may take time is returned, for `answer`."""
        match message:
            case Enter(_, question):
                self._waiting[question] = None
                self._some.set()
            case Leave(_, question):
                self._waiting.pop(question, None)
                if question in self._slots:
                    self._gate.leave(probe=self._slots.pop(question))
            case Answered():
                self._gate.answered()
            case Succeeded():
                self._gate.succeeded()
            case Came(_, size_bytes):
                assert self._quota is not None  # noqa: S101 - the hand was told that there is one
                self._quota.came(size_bytes)
            case Release(_, question):
                self._release(question)
            case Admit(_, question):
                self._tickets[question] = None
                return message
            case Broke() | Authorize():
                return message
        return None

    async def answer(self, message: Question) -> None:
        """Answer a question that `hear` gave back."""
        try:
            self._reply(Reply(message.question, await self._ask(message)))
        except HaulError as error:
            self._reply(Reply(message.question, error))

    def close(self) -> None:
        """The hand has gone: give back what it had."""
        self._waiting.clear()
        for probe in self._slots.values():
            self._gate.leave(probe=probe)
        self._slots.clear()
        for question in list(self._tickets):
            self._release(question)

    def _next(self, answer: Any) -> int | None:
        """Answer who waits first for a slot; None: nobody does any more."""
        question = next(iter(self._waiting), None)
        if question is not None:
            del self._waiting[question]
            self._reply(Reply(question, answer))
        return question

    async def _ask(self, message: Question) -> Any:
        match message:
            case Broke(_, _, error, job, began_at, progressed):
                return await self._gate.failed(error, job=job, began_at=began_at, progressed=progressed)
            case Authorize(_, _, stale):
                return await self._credentials.authorization(stale=stale)
            case Admit(_, question, size_bytes):
                return await self._admit(question, size_bytes)

    async def _admit(self, question: int, size_bytes: int | None) -> None:
        assert self._quota is not None  # noqa: S101 - the hand was told that there is one
        try:
            ticket = await self._quota.admit(size_bytes, self._read)
        except BaseException:
            self._tickets.pop(question, None)
            raise
        if question in self._tickets:
            self._tickets[question] = ticket
        else:
            self._quota.release(ticket)

    def _release(self, question: int) -> None:
        ticket = self._tickets.pop(question, None)
        if ticket is not None and self._quota is not None:
            self._quota.release(ticket)
