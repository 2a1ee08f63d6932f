"""The gate of a host: every request to it passes here, whoever makes it.

It holds requests back for three reasons: enough run at once, enough have begun this second (`pace`), or the host is
left alone for a while (it asked for rest, or does not answer: `breaker`). Long waits happen here and nowhere else, for
all alike and first come first served; who waits holds no slot.

Deciding is done in `pace` and `breaker`; this module only waits, counts and tells.
"""

from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

import anyio

from dicomhaul.errors import (
    DamagedError,
    HaulError,
    QuotaExhausted,
    RefusedError,
    RetryableError,
    ServerFailed,
    SourceDown,
    SourceError,
    Throttled,
)
from dicomhaul.events import GateClosed, Observer, Tally
from dicomhaul.net.breaker import Breaker
from dicomhaul.net.line import Line
from dicomhaul.net.pace import Pace
from dicomhaul.ports import Clock

_THROTTLE_PAUSE_S = 1.0  # where the host names no time; doubled each time until something succeeds
_PACED_PAUSE_S = 0.25  # the first of them, where the rate that it allows is known: that is what it gets then
_THROTTLE_PAUSE_MAX_S = 32.0
_THROTTLES_DOWN = 20  # cuts in a row, without one success: about eight minutes


@dataclass(frozen=True, slots=True)
class GateStatistics:
    """A gate at one moment."""

    at_once: int  # requests that may run at once now
    running: int
    waiting: int  # requests that are held back
    per_s: float | None  # requests that may begin each second now; None: no limit
    closed_for_s: float  # 0.0: open
    throttled: int  # times that the pace was cut
    probing: bool  # the host fails: one request at a time


class _Slot:
    """A class and not a generator, which costs twice as much: every request holds one."""

    __slots__ = ("_gate", "_probe")

    def __init__(self, gate: "Gate") -> None:
        self._gate = gate
        self._probe = False

    async def __aenter__(self) -> float:
        began_at, self._probe = await self._gate.enter()
        return began_at

    async def __aexit__(self, *_: object) -> None:
        self._gate.leave(probe=self._probe)


class Gate:
    """The gate of one host.

    Args:
        host: its name, for events and errors.
        pace: how fast it may be asked.
        clock: whose monotonic seconds count, and whose sleep is slept.
        observer: told when the gate closes.
        tally: its `throttled` is counted up here.
        line: says how many at once its bandwidth feeds; None: as many as like.
    """

    def __init__(
        self, host: str, *, pace: Pace, clock: Clock, observer: Observer, tally: Tally, line: Line | None = None
    ) -> None:
        self._host = host
        self._pace = pace
        self._clock = clock
        self._observer = observer
        self._tally = tally
        self._line = line
        self._breaker = Breaker()
        self._turn = anyio.Lock(fast_acquire=True)
        self._changed = anyio.Event()
        self._running = 0
        self._waiting = 0
        self._probes = 0
        self._closed_until = float("-inf")
        self._cuts = 0
        self._cuts_in_a_row = 0
        self._stopped: SourceError | None = None

    def slot(self) -> AbstractAsyncContextManager[float]:
        """Hold the right to run one request; gives when it began. Raises SourceError once the source is given up."""
        return _Slot(self)

    async def enter(self) -> tuple[float, bool]:
        """Wait for a slot and take it; returns when it began, and whether it is a probe. See `slot`."""
        if self._turn.locked() or self._obstacle() is not None:
            self._waiting += 1
            try:
                async with self._turn:
                    await self._wait_until_free()
            finally:
                self._waiting -= 1
        began_at = self._clock.monotonic()
        self._pace.began(began_at)
        self._running += 1
        probe = self._breaker.is_open
        self._probes += probe
        return began_at, probe

    def leave(self, *, probe: bool) -> None:
        """Give a slot back."""
        self._running -= 1
        self._probes -= probe
        self._wake()

    def answered(self) -> None:
        """Any HTTP response came."""
        self._breaker.answered()

    def succeeded(self) -> None:
        """A request did what it should."""
        was_open = self._breaker.is_open
        self._breaker.succeeded()
        self._cuts_in_a_row = 0
        self._pace.succeeded(saturated=self._running >= self._pace.at_once)
        if was_open:
            self._closed_until = float("-inf")
            self._wake()

    async def failed(self, error: HaulError, *, job: str, began_at: float, progressed: bool = False) -> bool:
        """A request failed. Returns whether that uses up one of the job's attempts.

        `progressed`: it brought the job forward first, so the host is neither lost nor sick. Raises SourceDown when
        the host is given up for this failure; all who wait then get the same.
        """
        match error:
            case SourceError():
                self._stop(error)
            case Throttled():
                self._breaker.answered()
                self._throttled(began_at, error.retry_after_s, str(error))
            case ServerFailed(retry_after_s=float() as wait_s):
                self._breaker.answered()
                self._throttled(began_at, wait_s, str(error))
            case RetryableError() if not progressed:
                return self._broke(began_at, error, job)
            case RetryableError() | RefusedError() | DamagedError():  # the host is well
                self.succeeded()
            case _:  # ours, not the host's: says nothing about it
                pass
        return True

    def statistics(self) -> GateStatistics:
        """Return how the gate stands now."""
        return GateStatistics(
            at_once=self._at_once(),
            running=self._running,
            waiting=self._waiting,
            per_s=self._pace.per_s(self._clock.monotonic()),
            closed_for_s=max(0.0, self._closed_until - self._clock.monotonic()),
            throttled=self._cuts,
            probing=self._breaker.is_open,
        )

    async def _wait_until_free(self) -> None:
        while (wait_s := self._obstacle()) is not None:
            self._changed = anyio.Event()
            if wait_s <= 0.0:
                await self._changed.wait()
            else:
                await self._sleep_or_change(wait_s)

    def _obstacle(self) -> float | None:
        """Return None if a request may begin now, 0.0 if a slot must come free first, else the seconds to wait."""
        self._raise_if_stopped()
        if self._running >= self._at_once() or (self._breaker.is_open and self._probes > 0):
            return 0.0
        now = self._clock.monotonic()
        wait_s = max(self._closed_until - now, self._pace.wait_s(now))
        return wait_s if wait_s > 0.0 else None

    def _at_once(self) -> int:
        fed = None if self._line is None else self._line.most_at_once()
        return self._pace.at_once if fed is None else min(fed, self._pace.at_once)

    async def _sleep_or_change(self, wait_s: float) -> None:
        """Sleep, but no longer than until something changes: a closed gate can open early, or the source stop."""
        async with anyio.create_task_group() as group:

            async def sleep() -> None:
                await self._clock.sleep(wait_s)
                group.cancel_scope.cancel()

            group.start_soon(sleep)
            await self._changed.wait()
            group.cancel_scope.cancel()

    def _wake(self) -> None:
        self._changed.set()

    def _throttled(self, began_at: float, retry_after_s: float | None, reason: str) -> None:
        now = self._clock.monotonic()
        self._tally.throttled += 1
        cut = self._pace.throttled(began_at=began_at, now=now)
        if cut:
            self._cuts += 1
            self._cuts_in_a_row += 1
            if self._cuts_in_a_row >= _THROTTLES_DOWN:
                self._give_up(f"{self._host} throttles every request: {reason}")
        if retry_after_s:  # a server that asks for 0 s is still asking for less
            self._close(now, retry_after_s, reason)
        elif cut:
            first_s = _PACED_PAUSE_S if self._pace.has_learned else _THROTTLE_PAUSE_S
            pause_s = first_s * 2.0 ** (self._cuts_in_a_row - 1)
            self._close(now, min(pause_s, _THROTTLE_PAUSE_MAX_S), reason)

    def _broke(self, began_at: float, error: RetryableError, job: str) -> bool:
        now = self._clock.monotonic()
        reaction = self._breaker.failed(job=job, connected=error.connected, began_at=began_at, now=now)
        if reaction.down:
            self._give_up(f"{self._host} is down: {error}")
        if reaction.pause_s > 0.0:
            self._close(now, reaction.pause_s, str(error))
        return reaction.counts

    def _close(self, now: float, wait_s: float, reason: str) -> None:
        if now + wait_s <= self._closed_until:
            return
        self._closed_until = now + wait_s
        self._observer(GateClosed(self._host, wait_s, reason))

    def _give_up(self, message: str) -> None:
        error = SourceDown(message)
        self._stop(error)
        raise error

    def _stop(self, error: SourceError) -> None:
        self._stopped = error
        self._wake()

    def _raise_if_stopped(self) -> None:
        """A new error for each who waits: one exception must not collect the tracebacks of many tasks."""
        error = self._stopped
        if error is None:
            return
        if isinstance(error, QuotaExhausted):
            if self._clock.now() >= error.until_s:
                self._stopped = None
                return
            raise QuotaExhausted(str(error), until_s=error.until_s)
        raise type(error)(str(error))
