"""Azure's change feed v2: windows of time, `startTime` included and `endTime` not, paged by offset.

Entries become visible in another order than their times say, so reading ends a little before now, and begins again
15 minutes before the newest entry that was told; what was told then is known by its number. The position follows the
entries' own times, never the clock: a feed that is hours behind is caught up with, and a clock that is wrong skips
nothing. A long window is read in chunks, each from the last entry's time on, since an offset costs the service what it
skips; where times do not rise, by offset alone.
"""

import datetime as dt
import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final

from dicomhaul.feed.asking import MOST_PAGES
from dicomhaul.feed.azure import Entries, Told, parse_time
from dicomhaul.feed.numbers import Numbers
from dicomhaul.feed.stored import read_position
from dicomhaul.feed.told import Window
from dicomhaul.plan.changes import Change
from dicomhaul.ports import Clock

LIMIT: Final = 200  # more is a 400
LAG: Final = dt.timedelta(seconds=10)
OVERLAP: Final = dt.timedelta(minutes=15)
_CHUNK: Final = 10_000
_STALE_PAGES: Final = 3  # in a row, of nothing but what was read already: the feed goes round in circles
_KEPT_RANGES: Final = 1_000
_BEGINNING: Final = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True)
class Position:
    """How far it was read.

    Attributes:
        until: the newest time that was told; None: nothing was.
        seen: what was told of the last minutes before.
    """

    until: dt.datetime | None = None
    seen: Numbers = field(default_factory=Numbers)

    def to_json(self) -> str:
        """Write it."""
        until = None if self.until is None else self.until.isoformat()
        return json.dumps({"until": until, "seen": self.seen.ranges(_KEPT_RANGES)})

    @classmethod
    def from_json(cls, text: str) -> "Position":
        """Read it. Raises LedgerError."""
        return read_position(text, cls._stored)

    @classmethod
    def _stored(cls, stored: Any) -> "Position":
        until = parse_time(stored["until"])
        if until is None and stored["until"] is not None:
            raise ValueError("no time")
        return cls(until, Numbers.from_json(stored["seen"]))


class AzureV2:
    """The feed of one partition. See `feed.choose.Feed`."""

    def __init__(self, entries: Entries, *, clock: Clock) -> None:
        self._entries = entries
        self._clock = clock

    async def begin(self) -> str:
        """See `feed.choose.Feed`."""
        latest = await self._entries.latest()
        position = Position().to_json()
        if latest is None:
            return position
        position = Position(min(latest.at, self._end())).to_json()
        async for window in self.read(position):  # what is told of the last minutes is covered, too
            position = window.position
        return position

    async def read(self, position: str) -> AsyncGenerator[Window, None]:
        """See `feed.choose.Feed`."""
        before, end = Position.from_json(position), self._end()
        begin = _BEGINNING if before.until is None else max(_BEGINNING, before.until - OVERLAP)
        if begin >= end:
            return
        reading = _Reading(begin, end)
        fresh: list[Change] = []
        for _ in range(MOST_PAGES):
            told = await self._entries.page(reading.params())
            if not told:
                until = before.until if reading.newest is None else max(reading.newest, before.until or _BEGINNING)
                yield Window(tuple(fresh), Position(until, reading.seen).to_json())
                return
            fresh += (
                each.change
                for each in told
                if each.change is not None and each.number not in before.seen and each.number not in reading.seen
            )
            if not reading.take(told):
                raise self._entries.senseless("it repeats itself for ever")
            if len(fresh) >= _CHUNK:
                until = before.until if reading.shuffled else reading.newest
                yield Window(tuple(fresh), Position(until, before.seen.united(reading.seen)).to_json())
                fresh = []
        raise self._entries.senseless("it does not end")

    def _end(self) -> dt.datetime:
        return dt.datetime.fromtimestamp(self._clock.now(), dt.UTC) - LAG


class _Reading:
    """One pass through the feed, from `begin` to `end`.

    Attributes:
        seen: the numbers that have come.
        newest: the latest time among them, no later than `end`.
        shuffled: whether a time came after a later one.
    """

    def __init__(self, begin: dt.datetime, end: dt.datetime) -> None:
        self.seen = Numbers()
        self.newest: dt.datetime | None = None
        self.shuffled = False
        self._begin = begin
        self._end = end
        self._offset = 0
        self._chunk = 0
        self._stale = 0

    def params(self) -> list[tuple[str, str]]:
        """Return what to ask for next."""
        times = [("startTime", _written(self._begin)), ("endTime", _written(self._end))]
        return [*times, ("offset", str(self._offset)), ("limit", str(LIMIT))]

    def take(self, told: list[Told]) -> bool:
        """Take a page that is not empty; False where the feed goes round in circles."""
        new = [each for each in told if each.number not in self.seen]
        self._stale = 0 if new else self._stale + 1
        for each in told:
            at = min(each.at, self._end)
            self.shuffled = self.shuffled or (self.newest is not None and at < self.newest)
            self.newest = at if self.newest is None else max(at, self.newest)
            self.seen.add(each.number)
        self._offset += len(told)
        self._chunk += len(told)
        if self._chunk >= _CHUNK and not self.shuffled:
            self._begin_again(told)
        return self._stale < _STALE_PAGES

    def _begin_again(self, told: list[Told]) -> None:
        """Go on from the last entry's time, behind those that have that time too."""
        assert self.newest is not None  # noqa: S101 - a page has been taken
        if self._begin < self.newest < self._end and told[0].at < self.newest:
            self._begin = self.newest
            self._offset = sum(each.at == self.newest for each in told)
            self._chunk = 0


def _written(at: dt.datetime) -> str:
    return at.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
