"""Which series goes next: the largest first, and now and then a small one. Pure.

Largest first, so that no giant is left to run alone at the end. A small one at every fourth turn, so that the line has
something to do while giants wait for their first byte, and so that finished series appear early.
"""

from itertools import cycle
from typing import Final

from dicomhaul.model import End

TURNS: Final[tuple[End, ...]] = ("largest", "largest", "largest", "smallest")

_GUESSED_INSTANCE_BYTES = 500_000  # IDC's average CT instance is 0.45 MB


def turns() -> "cycle[End]":
    """From which end of the work the next series is taken, for ever."""
    return cycle(TURNS)


def weight(expected: int | None, size_bytes: int | None) -> int:
    """Return what orders a series: its bytes, or a guess from its instances where nobody states the bytes."""
    if size_bytes is not None:
        return size_bytes
    return (expected or 1) * _GUESSED_INSTANCE_BYTES
