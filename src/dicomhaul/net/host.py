"""One source host: its session, its gate, and retry round the call. What a source is given to speak through.

    retry( quota( gate( call( session ) ) ) )

The gate is inside retry, so that a call which waits to be tried again holds no slot, and so is the quota, outside the
gate for the same reason; the call encloses the whole body, so that a cut in its middle is a failure like any other.
"""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Final, Protocol, TypeVar

import anyio

from dicomhaul.errors import DamagedError, HaulError, ServerFailed, Throttled, TimedOut, TransferError
from dicomhaul.events import Noticed, Observer, Retrying, Tally
from dicomhaul.net.connecting import open_session
from dicomhaul.net.endpoint import Endpoint, fingerprint_of
from dicomhaul.net.gate import Gate
from dicomhaul.net.line import Line
from dicomhaul.net.pace import Pace
from dicomhaul.net.quota import USAGE_BYTES, Quota, Read, Ticket, Usage, parse_usage
from dicomhaul.net.retry import Failures, Retry
from dicomhaul.net.session import Session
from dicomhaul.ports import Clock, Credentials
from dicomhaul.profile import Profile

T = TypeVar("T")

_USAGE_S: Final = 10.0  # what comes later than that is not worth waiting for


class HostGate(Protocol):
    """What a host asks of its gate: `Gate`, or another process's by messages."""

    def slot(self) -> AbstractAsyncContextManager[float]:
        """See `Gate.slot`."""
        ...

    def answered(self) -> None:
        """See `Gate.answered`."""
        ...

    def succeeded(self) -> None:
        """See `Gate.succeeded`."""
        ...

    async def failed(self, error: HaulError, *, job: str, began_at: float, progressed: bool = False) -> bool:
        """See `Gate.failed`."""
        ...


class HostQuota(Protocol):
    """What a host asks of its quota: `Quota`, or another process's by messages."""

    async def admit(self, size_bytes: int | None, read: Read | None) -> Ticket:
        """See `Quota.admit`."""
        ...

    def release(self, ticket: Ticket) -> None:
        """See `Quota.release`."""
        ...

    def came(self, size_bytes: int) -> None:
        """See `Quota.came`."""
        ...


@dataclass(frozen=True, slots=True)
class Shared:
    """What of a host other processes that ask it, too, are given or ask for: there is one of each."""

    endpoint: Endpoint
    credentials: Credentials
    gate: Gate


class Host:
    """One host that is asked for many things at once. Made by `open_host` and `join_host`.

    Attributes:
        name: host and port, as messages call it.
        session: sends one GET; use it inside `attempt`.
        gate: what holds requests back.
        profile: what is known of the server.
        quota: what it gives us a day; None: it does not count, or another process does.
        shared: what other processes share of it; None where they cannot.
    """

    def __init__(
        self,
        name: str,
        *,
        session: Session,
        gate: HostGate,
        retry: Retry,
        profile: Profile,
        observer: Observer,
        tally: Tally,
        quota: HostQuota | None = None,
    ) -> None:
        self.name = name
        self.shared: Shared | None = None
        self.session = session
        self.gate = gate
        self.profile = profile
        self.quota = quota if isinstance(quota, Quota) else None
        self._quota = quota
        self._retry = retry
        self._observer = observer
        self._tally = tally

    @property
    def identity(self) -> str:
        """Whom the host takes us for, as far as we can tell, for an audit log; '' where another process asks for us."""
        if self.shared is None:
            return ""
        certificate = self.shared.endpoint.client_cert
        shown = "" if certificate is None else f"{fingerprint_of(certificate)}; "
        return f"{shown}{self.shared.credentials.identity}"

    async def attempt(
        self,
        call: Callable[[int], Awaitable[T]],
        *,
        label: str,
        progressed: Callable[[], bool] = lambda: False,
        size_bytes: int | None = None,
    ) -> T:
        """Return what `call` returns, trying it as often as the profile allows.

        Args:
            call: makes its requests through `session` and encloses their bodies; gets the number of the attempt,
                from 1.
            label: whose call it is, for messages, and to tell a failing job from a failing host.
            progressed: asked after an error; True: something has landed, so the same call would ask for it once
                more. The error is then raised at once, and the caller decides anew what to ask for; the next
                `attempt` counts from 1.
            size_bytes: what one try may bring, as far as somebody states it; held against the host's quota.

        Raises:
            TransferError: the last one, with `job`, `source` and `attempt` filled in.
            SourceError: the host is not to be asked any more; every later call raises the same.
        """
        failures = Failures()

        async def once(number: int) -> T:
            if self._quota is None:
                return await in_slot(number)
            async with self._admitted(self._quota, label, number, size_bytes):
                return await in_slot(number)

        async def in_slot(number: int) -> T:
            async with self.gate.slot() as began_at:
                try:
                    result = await call(number)
                except HaulError as error:
                    failures.progressed = progressed()
                    if isinstance(error, TransferError):
                        error.job, error.source, error.attempt = label, self.name, number
                    counts = await self.gate.failed(error, job=label, began_at=began_at, progressed=failures.progressed)
                    _note(failures, error, counts=counts)
                    raise
                self.gate.succeeded()
                return result

        def on_retry(number: int, wait_s: float, error: BaseException) -> None:
            self._tally.retries += 1
            self._observer(Retrying(label, number, wait_s, str(error)))

        return await self._retry.run(once, failures, on_retry=on_retry)

    @asynccontextmanager
    async def _admitted(self, quota: HostQuota, label: str, number: int, size_bytes: int | None) -> AsyncIterator[None]:
        try:
            ticket = await quota.admit(size_bytes, self.usage_reader)
        except HaulError as error:
            if isinstance(error, TransferError):
                error.job, error.source, error.attempt = label, self.name, number
            else:
                await self.gate.failed(error, job=label, began_at=0.0)  # so that all who wait get the same
            raise
        try:
            yield
        finally:
            quota.release(ticket)

    @property
    def usage_reader(self) -> Read | None:
        """What asks the host how much of its quota is used; None: it does not tell."""
        return self._read_usage if self.profile.quota.usage_path else None

    async def _read_usage(self) -> Usage:
        path = self.profile.quota.usage_path or "/"
        with anyio.move_on_after(_USAGE_S):
            async with self.session.get_from_root(path, accept="application/json") as response:
                return parse_usage(await response.read_json(USAGE_BYTES))
        raise TimedOut(f"{self.name} does not answer within {_USAGE_S:g} s")


def _note(failures: Failures, error: HaulError, *, counts: bool) -> None:
    failures.uncounted = not counts
    asked_to_wait = isinstance(error, ServerFailed) and error.retry_after_s is not None
    if isinstance(error, Throttled) or asked_to_wait:
        failures.throttled += 1
    elif counts:
        failures.counted += 1
        failures.damaged += isinstance(error, DamagedError)


@asynccontextmanager
async def open_host(
    endpoint: Endpoint,
    credentials: Credentials,
    *,
    clock: Clock,
    observer: Observer,
    tally: Tally,
    concurrency: int | None = None,
    requests_per_s: float | None = None,
    line: Line | None = None,
    quota_bytes: int | None = None,
) -> AsyncIterator[Host]:
    """Open one host; everything that asks it goes through what this yields.

    Args:
        endpoint: where it is; `max_connections` bounds requests at once, too.
        credentials: who we are there; closed at the end.
        clock: time for the gate, for backoff and for dates in headers.
        observer: gets Retrying and GateClosed.
        tally: `requests`, `retries` and `throttled` are counted up.
        concurrency: requests at once, from the start and at most; None: as the profile says.
        requests_per_s: at most; None: as the profile says.
        line: what all bodies pass; None: an unlimited one.
        quota_bytes: what the user lets a DICOMweb server give a day, besides what the profile and the host say.

    Raises ConfigError as `open_session`.
    """
    limits = endpoint.profile.limits
    pace = Pace(
        start=concurrency or limits.concurrency_start,
        ceiling=min(concurrency or limits.concurrency_max, endpoint.max_connections),
        per_s=requests_per_s or limits.requests_per_s,
    )
    line = line or Line(clock=clock)
    gate = Gate(endpoint.host, pace=pace, clock=clock, observer=observer, tally=tally, line=line)
    quota = _quota(endpoint, quota_bytes, clock, observer)
    async with join_host(
        endpoint, credentials, gate=gate, quota=quota, line=line, clock=clock, observer=observer, tally=tally
    ) as host:
        host.shared = Shared(endpoint, credentials, gate)
        yield host


@asynccontextmanager
async def join_host(
    endpoint: Endpoint,
    credentials: Credentials,
    *,
    gate: HostGate,
    quota: HostQuota | None,
    line: Line,
    clock: Clock,
    observer: Observer,
    tally: Tally,
) -> AsyncIterator[Host]:
    """Open a host whose gate and quota there are already. Arguments and errors as `open_host`."""
    async with open_session(
        endpoint,
        credentials,
        clock=clock,
        tally=tally,
        on_answer=gate.answered,
        line=line,
        charge=None if quota is None else quota.came,
    ) as session:
        yield Host(
            endpoint.host,
            session=session,
            gate=gate,
            retry=Retry(endpoint.profile.limits.attempts, sleep=clock.sleep),
            profile=endpoint.profile,
            observer=observer,
            tally=tally,
            quota=quota,
        )


def _quota(endpoint: Endpoint, quota_bytes: int | None, clock: Clock, observer: Observer) -> Quota | None:
    """The quota of a host that has one by its profile, or by the user's will."""
    if not endpoint.profile.is_metered(quota_bytes):
        return None
    return Quota(
        endpoint.host,
        limit_bytes=endpoint.profile.day_bytes(quota_bytes),
        clock=clock,
        notice=lambda message: observer(Noticed(message)),
    )
