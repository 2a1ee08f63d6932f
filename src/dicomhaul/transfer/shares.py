"""Bounds that several series of one lane share: how many exchanges they want together, how many bytes they gather."""

from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio


class Shares:
    """A number of shares; who wants several gets them together, first come first served.

    Of exchanges: without it every worker would begin a series, and a hundred half-done series would share a host that
    could finish two of them at a time. Of bytes: objects that are gathered whole take no more memory than this.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    @asynccontextmanager
    async def of(self, count: int) -> AsyncIterator[None]:
        """Hold `count` shares, or all there are."""
        count = min(max(1, count), self._total)
        if self._waiting or count > self._free:
            await self._wait(count)
        else:
            self._free -= count
        try:
            yield
        finally:
            self._give_back(count)

    async def _wait(self, count: int) -> None:
        entry = count, anyio.Event()
        self._waiting.append(entry)
        try:
            await entry[1].wait()
        except BaseException:
            if entry[1].is_set():
                self._give_back(count)
            else:
                self._waiting.remove(entry)
                self._give_back(0)  # who stood behind may fit now
            raise

    def _give_back(self, count: int) -> None:
        self._free += count
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, event = self._waiting.popleft()
            self._free -= wanted
            event.set()
