"""The line: all bytes of bodies, from whichever host, pass here, so that they can be slowed down and counted.

* **Bandwidth**: what has come is let through at so many bytes a second over all streams together, first come first
  served, so that each of many streams gets its share. While nothing comes, at most `_BURST_S` of it is saved up. The
  timetable is read again every `_LOOK_S` seconds of waiting, so a change takes hold in the middle of a body.
* **Amount**: once so many bytes have come in a run, whoever runs it is told, and stops it.

A stream that waits here does not read, which makes the sender wait, too: no more requests run at once than leave each
`_STREAM_BYTES_PER_S`, since a sender that can send nothing for half a minute may hang up.

Nothing is done, and nothing awaited, while `limited` is False: that is to be asked before every call.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import anyio.lowlevel

from dicomhaul.ports import Clock

_BURST_S: Final = 0.25
_GRAIN_S: Final = 0.005  # shorter waits cost more than they are good for; what is owed is waited for by the next
_LOOK_S: Final = 1.0
_STREAM_BYTES_PER_S: Final = 16 << 10  # what one stream holds in buffers, 128 KiB, moves in 8 s


class Line:
    """The line of a run, or of a hauler with all its runs.

    Attributes:
        limited: whether `passed` has anything to do.
    """

    def __init__(self, *, clock: Clock, rate_at: Callable[[int], int | None] | None = None) -> None:
        """`rate_at` gives bytes a second at a minute of the week, local time (Monday 00:00 is 0); None: no limit."""
        self._clock = clock
        self._rate_at = rate_at
        self._rate: int | None = None
        self._look_at = float("-inf")
        self._at = clock.monotonic()
        self._asked = 0  # bytes that came, in all
        self._allowed = 0.0  # bytes that may have come by now
        self._most_bytes: int | None = None
        self._reached: Callable[[], None] | None = None
        self.limited = rate_at is not None

    @contextmanager
    def capped(self, most_bytes: int | None, reached: Callable[[], None]) -> Iterator[None]:
        """Call `reached`, once, when so many bytes have come while the block runs; None: never."""
        if most_bytes is None:
            yield
            return
        self._most_bytes, self._reached, self.limited = self._asked + most_bytes, reached, True
        try:
            yield
        finally:
            self._most_bytes = self._reached = None
            self.limited = self._rate_at is not None

    def most_at_once(self) -> int | None:
        """Return how many requests may run at once, so that none is starved; None: the line sets no limit."""
        if self._rate_at is None:
            return None
        self._refill()
        return None if self._rate is None else max(1, self._rate // _STREAM_BYTES_PER_S)

    async def passed(self, size_bytes: int) -> None:
        """So many bytes of a body came: wait until the next may be asked for."""
        self._refill()
        self._asked += size_bytes
        if self._most_bytes is not None and self._asked >= self._most_bytes and self._reached is not None:
            reached, self._reached = self._reached, None
            reached()
            await anyio.lowlevel.checkpoint()  # where a run that was stopped ends
        mine = self._asked
        while self._rate is not None and (owed := mine - self._allowed) > self._rate * _GRAIN_S:
            await self._clock.sleep(min(_LOOK_S, owed / self._rate))
            self._refill()

    def _refill(self) -> None:
        """Let what the time since the last call is worth come; at the rate that held meanwhile."""
        now = self._clock.monotonic()
        if self._rate is None:
            self._allowed = self._asked
        else:
            most = self._asked + self._rate * _BURST_S
            self._allowed = min(most, self._allowed + (now - self._at) * self._rate)
        self._at = now
        if self._rate_at is not None and now >= self._look_at:
            self._look_at = now + _LOOK_S
            self._rate = self._rate_at(_local_minute(self._clock.now()))


def _local_minute(now_s: float) -> int:
    """The minute of the week that the clock on the wall shows."""
    at = time.localtime(now_s)
    return (at.tm_wday * 24 + at.tm_hour) * 60 + at.tm_min
