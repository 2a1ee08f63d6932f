"""Bounds that several series of one lane share: how many exchanges they want together, how many bytes they gather."""

from collections import deque
from contextlib import AbstractAsyncContextManager

import anyio


class _Held:
    """A class and not a generator, which costs twice as much: every object of a bucket holds one."""

    __slots__ = ("_count", "_shares")

    def __init__(self, shares: "Shares", count: int) -> None:
        self._shares = shares
        self._count = count

    async def __aenter__(self) -> None:
        await self._shares.take(self._count)

    async def __aexit__(self, *_: object) -> None:
        self._shares.give_back(self._count)


class Shares:
    """A number of shares; who wants several gets them together, first come first served.

    Of exchanges: without it every worker would begin a series, and a hundred half-done series would share a host that
    could finish two of them at a time. Of bytes: objects that are gathered whole take no more memory than this.
    """

    def __init__(self, total: int) -> None:
        self._total = total
        self._free = total
        self._waiting: deque[tuple[int, anyio.Event]] = deque()

    def of(self, count: int) -> AbstractAsyncContextManager[None]:
        """Hold `count` shares, or all there are."""
        return _Held(self, min(max(1, count), self._total))

    async def take(self, count: int) -> None:
        """Wait for `count` shares, at most all there are, and take them."""
        if self._waiting or count > self._free:
            await self._wait(count)
        else:
            self._free -= count

    def give_back(self, count: int) -> None:
        """Give `count` shares back, and to whoever waits for them."""
        self._free += count
        while self._waiting and self._waiting[0][0] <= self._free:
            wanted, event = self._waiting.popleft()
            self._free -= wanted
            event.set()

    async def _wait(self, count: int) -> None:
        entry = count, anyio.Event()
        self._waiting.append(entry)
        try:
            await entry[1].wait()
        except BaseException:
            if entry[1].is_set():
                self.give_back(count)
            else:
                self._waiting.remove(entry)
                self.give_back(0)  # who stood behind may fit now
            raise
