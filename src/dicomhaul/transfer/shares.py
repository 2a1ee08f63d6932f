"""How many exchanges the series of one lane may want together."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class Shares:
    """A number of shares; who wants several gets them together, first come first served.

    Without it every worker would begin a series, and a hundred half-done series would share a host that could finish
    two of them at a time.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = anyio.Semaphore(total)
        self._turn = anyio.Lock(fast_acquire=True)

    @asynccontextmanager
    async def of(self, count: int) -> AsyncIterator[None]:
        """Hold `count` shares, or all there are."""
        taken = 0
        try:
            async with self._turn:
                for _ in range(min(max(1, count), self._total)):
                    await self._free.acquire()
                    taken += 1
            yield
        finally:
            for _ in range(taken):
                self._free.release()
