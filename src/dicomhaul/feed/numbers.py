"""Which entries of a feed have been told: whole numbers, kept as ranges, since a feed counts upwards. Pure."""

from bisect import bisect_right
from collections.abc import Iterable
from typing import Any, Final, Self

MOST: Final = 1 << 63  # numbers of entries are below
_MOST_RANGES: Final = 100_000


class Numbers:
    """A set of numbers. Of more than `most` ranges the lowest are forgotten: that entry would be told twice."""

    def __init__(self, ranges: Iterable[tuple[int, int]] = (), *, most: int = _MOST_RANGES) -> None:
        self._first: list[int] = []
        self._last: list[int] = []
        self._most = most
        for first, last in sorted(ranges):
            self._add(first, last)

    def __contains__(self, number: int) -> bool:
        """Say whether a number is there."""
        at = bisect_right(self._first, number) - 1
        return at >= 0 and number <= self._last[at]

    def add(self, number: int) -> None:
        """Add one number."""
        if number not in self:
            self._add(number, number)

    def _add(self, first: int, last: int) -> None:
        at = bisect_right(self._first, first)
        begin = at - 1 if at and self._last[at - 1] >= first - 1 else at
        end = at
        while end < len(self._first) and self._first[end] <= last + 1:
            end += 1
        if begin < end:
            first, last = min(first, self._first[begin]), max(last, self._last[end - 1])
        self._first[begin:end], self._last[begin:end] = [first], [last]
        if len(self._first) > self._most:
            del self._first[0], self._last[0]

    def united(self, other: "Numbers") -> "Numbers":
        """Return both together."""
        return Numbers([*self.ranges(), *other.ranges()], most=self._most)

    def ranges(self, highest: int | None = None) -> list[tuple[int, int]]:
        """Return the ranges, first and last number of each, rising; or the `highest` so many of them."""
        pairs = list(zip(self._first, self._last, strict=True))
        return pairs if highest is None else pairs[-highest:]

    @classmethod
    def from_json(cls, ranges: Any) -> Self:
        """Read what `ranges` gave, as JSON has it. Raises ValueError for anything else."""
        if not isinstance(ranges, list) or len(ranges) > _MOST_RANGES:
            raise ValueError("no list of ranges")
        pairs = [tuple(pair) for pair in ranges if isinstance(pair, list) and len(pair) == 2]
        if len(pairs) < len(ranges):
            raise ValueError("no ranges of numbers")
        return cls((first, last) for first, last in pairs if number_of(first) <= number_of(last))


def number_of(value: Any) -> int:
    """Return a number as it was stored. Raises ValueError for anything else."""
    if not is_number(value):
        raise ValueError("no number")
    return int(value)


def is_number(value: Any) -> bool:
    """Say whether a value from elsewhere can number an entry."""
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < MOST
