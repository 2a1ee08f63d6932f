"""Azure's change feed v1: windows of numbers. `offset` and `limit` name the numbers above `offset`, not rows.

A window may be empty although later ones are not, so reading goes on, `limit` numbers at a time, to the number of
`/changefeed/latest`. Numbers are given before entries become visible, so the last 500 are read again; what was told of
them is known.
"""

import json
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from typing import Any, Final

from dicomhaul.feed.asking import MOST_PAGES
from dicomhaul.feed.azure import Entries
from dicomhaul.feed.numbers import Numbers, number_of
from dicomhaul.feed.stored import read_position
from dicomhaul.feed.told import Window
from dicomhaul.plan.changes import Change

LIMIT: Final = 100  # more is a 400
OVERLAP: Final = 500
_CHUNK: Final = 10_000
_KEPT_RANGES: Final = 1_000


@dataclass(frozen=True, slots=True)
class Position:
    """How far it was read: all up to `number`; and of the last numbers before, those that were told."""

    number: int = 0
    seen: Numbers = field(default_factory=Numbers)

    def to_json(self) -> str:
        """Write it."""
        return json.dumps({"number": self.number, "seen": self.seen.ranges(_KEPT_RANGES)})

    @classmethod
    def from_json(cls, text: str) -> "Position":
        """Read it. Raises LedgerError."""
        return read_position(text, cls._stored)

    @classmethod
    def _stored(cls, stored: Any) -> "Position":
        return cls(number_of(stored["number"]), Numbers.from_json(stored["seen"]))


class AzureV1:
    """The feed of a service that speaks v1. See `feed.choose.Feed`."""

    def __init__(self, entries: Entries) -> None:
        self._entries = entries

    async def begin(self) -> str:
        """See `feed.choose.Feed`."""
        latest = await self._entries.latest()
        position = Position(0 if latest is None else latest.number).to_json()
        async for window in self.read(position):
            position = window.position
        return position

    async def read(self, position: str) -> AsyncGenerator[Window, None]:
        """See `feed.choose.Feed`."""
        before = Position.from_json(position)
        latest = await self._entries.latest()
        end = 0 if latest is None else latest.number
        if end < before.number:
            raise self._entries.senseless("it ends before where it was read to: it is another one now")
        offset = max(0, before.number - OVERLAP)
        if (end - offset) // LIMIT > MOST_PAGES:
            raise self._entries.senseless("it does not end")
        seen, fresh = Numbers(), list[Change]()
        while offset < end:
            for each in await self._entries.page([("offset", str(offset)), ("limit", str(LIMIT))]):
                if not offset < each.number <= offset + LIMIT:
                    raise self._entries.senseless("it answers with other numbers than it was asked for")
                if each.change is not None and each.number not in before.seen and each.number not in seen:
                    fresh.append(each.change)
                seen.add(each.number)
            offset += LIMIT
            if len(fresh) >= _CHUNK and offset < end:
                yield Window(tuple(fresh), Position(max(offset, before.number), before.seen.united(seen)).to_json())
                fresh = []
        # Above `end` something may have been told by the last window; its number is known.
        yield Window(tuple(fresh), Position(end, seen).to_json())
