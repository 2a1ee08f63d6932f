"""A clock that tests own: sleeping takes no time, and time moves only by sleeping."""

import asyncio
import heapq
import itertools

QUIET_TURNS = 25  # of the event loop without a new sleeper, before time jumps


class FakeClock:
    """Jumps to the earliest sleeper's end as soon as the event loop has been quiet for some turns.

    Several may sleep at once; they wake in the order of their ends. `slept` lists the length of each sleep asked for.
    """

    def __init__(self, now: float = 1_700_000_000.0) -> None:
        self._started = now
        self._passed = 0.0
        self._sleepers: list[tuple[float, int, asyncio.Future[None]]] = []
        self._order = itertools.count()
        self._quiet = 0
        self._watching = False
        self.slept: list[float] = []

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        return self._started + self._passed

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._passed

    def advance(self, seconds: float) -> None:
        """Let time pass without anybody sleeping."""
        self._passed += seconds

    async def sleep(self, seconds: float) -> None:
        """Return once the others who sleep less have woken, and nobody else has anything to do."""
        self.slept.append(seconds)
        loop = asyncio.get_running_loop()
        end: asyncio.Future[None] = loop.create_future()
        heapq.heappush(self._sleepers, (self._passed + max(seconds, 0.0), next(self._order), end))
        self._quiet = 0
        if not self._watching:
            self._watching = True
            loop.call_soon(self._watch, loop)
        await end

    def _watch(self, loop: asyncio.AbstractEventLoop) -> None:
        while self._sleepers and self._sleepers[0][2].done():  # cancelled
            heapq.heappop(self._sleepers)
        if not self._sleepers:
            self._watching = False
            return
        self._quiet += 1
        if self._quiet > QUIET_TURNS:
            at, _order, end = heapq.heappop(self._sleepers)
            self._passed = max(self._passed, at)
            self._quiet = 0
            end.set_result(None)
        loop.call_soon(self._watch, loop)
