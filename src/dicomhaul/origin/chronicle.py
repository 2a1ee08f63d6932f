"""What happened to an archive, entry by entry, as a change feed tells it. Pure.

An entry never changes; what is said of its state is true when it is told: that of an instance which was stored again
is `replaced`, that of one which is gone `deleted`.
"""

import datetime as dt
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

Action = Literal["create", "update", "delete"]
State = Literal["current", "replaced", "deleted"]
BEGINNING: Final = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


class Name(NamedTuple):
    """An instance."""

    study: str
    series: str
    sop: str


@dataclass(frozen=True, slots=True)
class Happened:
    """One entry."""

    number: int  # from 1
    at: dt.datetime
    action: Action
    name: Name
    partition: str


class Chronicle:
    """Everything that happened.

    Args:
        step: the time between two entries.
        partition: where what happens happens, unless somebody says otherwise.

    Attributes:
        entries: oldest first.
        hidden: numbers of entries that nobody is told of yet.
    """

    def __init__(self, step: dt.timedelta = dt.timedelta(seconds=1), partition: str = "Microsoft.Default") -> None:
        self.entries: list[Happened] = []
        self.hidden: set[int] = set()
        self._step = step
        self._partition = partition
        self._newest: dict[tuple[str, Name], Happened] = {}

    def note(
        self, action: Action, name: Name, *, at: dt.datetime | None = None, partition: str | None = None
    ) -> Happened:
        """Write an entry."""
        number = len(self.entries) + 1
        entry = Happened(number, at or BEGINNING + self._step * number, action, name, partition or self._partition)
        self.entries.append(entry)
        self._newest[entry.partition, name] = entry
        return entry

    def told(self) -> list[Happened]:
        """Return what can be read, by time and number."""
        shown = (entry for entry in self.entries if entry.number not in self.hidden)
        return sorted(shown, key=lambda entry: (entry.at, entry.number))

    def state(self, entry: Happened) -> State:
        """Say what an entry's state is now."""
        newest = self._newest[entry.partition, entry.name]
        if newest.action == "delete":
            return "deleted"
        return "current" if newest is entry else "replaced"
