"""What a hand has of a host's gate, quota and credentials, and of the line: questions to the parent, which has them.

They behave as those of `net` do, to the error that is raised. Who is cancelled while it waits says so, and what it
waited for is given back, whether it had come or not.
"""

import asyncio
import itertools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from dicomhaul.crew.messages import (
    Admit,
    Answered,
    Authorize,
    Broke,
    Came,
    Enter,
    FromHand,
    Leave,
    Pass,
    Release,
    Reply,
    Succeeded,
)
from dicomhaul.errors import HaulError
from dicomhaul.net.line import Line
from dicomhaul.net.quota import Read, Ticket
from dicomhaul.ports import Clock

_AUTHORIZATION_S: Final = 1.0  # a token is renewed minutes before its end


class Link:
    """Questions, and who waits for their replies. `say` sends a message."""

    def __init__(self, say: Callable[[FromHand], None]) -> None:
        self.say = say
        self._numbers = itertools.count(1)
        self._waiting: dict[int, asyncio.Future[Any]] = {}

    def number(self) -> int:
        """A number for a question."""
        return next(self._numbers)

    async def ask(self, question: int, message: FromHand) -> Any:
        """Send a question and return its reply, or raise the error that is the reply."""
        future = self._waiting[question] = asyncio.get_running_loop().create_future()
        self.say(message)
        try:
            return await future
        finally:
            del self._waiting[question]

    def heard(self, reply: Reply) -> None:
        """A reply came."""
        future = self._waiting.get(reply.question)
        if future is None or future.done():
            return
        if isinstance(reply.answer, HaulError):
            future.set_exception(reply.answer)
        else:
            future.set_result(reply.answer)


class _Slot:
    __slots__ = ("_host", "_link", "_question")

    def __init__(self, link: Link, host: int) -> None:
        self._link = link
        self._host = host
        self._question = link.number()

    async def __aenter__(self) -> float:
        try:
            began_at: float = await self._link.ask(self._question, Enter(self._host, self._question))
        except BaseException:
            self._link.say(Leave(self._host, self._question))
            raise
        return began_at

    async def __aexit__(self, *_: object) -> None:
        self._link.say(Leave(self._host, self._question))


class RemoteGate:
    """Implements `net.host.HostGate`."""

    def __init__(self, link: Link, host: int) -> None:
        self._link = link
        self._host = host

    def slot(self) -> AbstractAsyncContextManager[float]:
        """See `Gate.slot`."""
        return _Slot(self._link, self._host)

    def answered(self) -> None:
        """See `Gate.answered`."""
        self._link.say(Answered(self._host))

    def succeeded(self) -> None:
        """See `Gate.succeeded`."""
        self._link.say(Succeeded(self._host))

    async def failed(self, error: HaulError, *, job: str, began_at: float, progressed: bool = False) -> bool:
        """See `Gate.failed`."""
        question = self._link.number()
        counts: bool = await self._link.ask(question, Broke(self._host, question, error, job, began_at, progressed))
        return counts


class RemoteQuota:
    """Implements `net.host.HostQuota`."""

    def __init__(self, link: Link, host: int) -> None:
        self._link = link
        self._host = host
        self._questions: dict[Ticket, int] = {}

    async def admit(self, size_bytes: int | None, read: Read | None) -> Ticket:  # noqa: ARG002 - the parent reads
        """See `Quota.admit`."""
        question = self._link.number()
        try:
            await self._link.ask(question, Admit(self._host, question, size_bytes))
        except BaseException:
            self._link.say(Release(self._host, question))
            raise
        ticket = Ticket(size_bytes or 0, 0)
        self._questions[ticket] = question
        return ticket

    def release(self, ticket: Ticket) -> None:
        """See `Quota.release`."""
        self._link.say(Release(self._host, self._questions.pop(ticket)))

    def came(self, size_bytes: int) -> None:
        """See `Quota.came`."""
        self._link.say(Came(self._host, size_bytes))


class RemoteCredentials:
    """Implements `ports.Credentials`. A value is kept for a moment, so that not every request has to ask."""

    identity = "the process that we haul for"

    def __init__(self, link: Link, host: int, clock: Clock) -> None:
        self._link = link
        self._host = host
        self._clock = clock
        self._value: str | None = None
        self._until = float("-inf")

    async def authorization(self, *, stale: str | None = None) -> str | None:
        """See `ports.Credentials.authorization`."""
        if self._clock.monotonic() >= self._until or (stale is not None and stale == self._value):
            question = self._link.number()
            self._value = await self._link.ask(question, Authorize(self._host, question, stale))
            self._until = self._clock.monotonic() + _AUTHORIZATION_S
        return self._value

    async def aclose(self) -> None:
        """Nothing to do: the parent has them."""


class RemoteLine(Line):
    """The line of the run, where it is `limited`."""

    def __init__(self, link: Link, clock: Clock, *, limited: bool) -> None:
        super().__init__(clock=clock)
        self._link = link
        self.limited = limited

    async def passed(self, size_bytes: int) -> None:
        """See `Line.passed`."""
        question = self._link.number()
        await self._link.ask(question, Pass(question, size_bytes))
