"""What a feed says of instances, and the last word on each. Pure.

| the highest number of an instance says | then |
|---|---|
| current | the source has it, with bytes that may be others than before: it is to come |
| replaced | a later entry tells what it is now: nothing, until that one comes |
| deleted | the source has it no more |

Numbers decide, never the order in which entries come: an entry that comes late, twice or out of order says no more than
the number it has. What counted for an instance is kept with its number, and only a higher one counts again.
"""

from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

Standing = Literal["current", "replaced", "deleted"]


class Instance(NamedTuple):
    """What an entry is about."""

    study: str
    series: str
    sop: str


class Change(NamedTuple):
    """One entry of a feed."""

    instance: Instance
    number: int  # entries count upwards; the highest of an instance has the last word
    standing: Standing


def last_words(changes: Iterable[Change]) -> dict[Instance, Change]:
    """Return the change with the highest number of each instance; of equal numbers the first."""
    last: dict[Instance, Change] = {}
    for change in changes:
        known = last.get(change.instance)
        if known is None or change.number > known.number:
            last[change.instance] = change
    return last


def counting(words: Iterable[Change], counted: Mapping[Instance, int]) -> list[Change]:
    """Return the changes that change something, given the number that counted last for an instance."""
    return [
        change for change in words if change.standing != "replaced" and change.number > counted.get(change.instance, -1)
    ]
