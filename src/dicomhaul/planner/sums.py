"""Rows added up, one at a time, into the groups that a plan shows."""

from collections import Counter

from dicomhaul.model import Routing, Series
from dicomhaul.plan.estimate import Group

_Key = tuple[str | None, str | None, str | None, Routing]


class Sums:
    """Amounts of series, by everything that a plan tells apart."""

    def __init__(self) -> None:
        self._totals: dict[_Key, list[int]] = {}
        self._uncounted: Counter[_Key] = Counter()
        self._unsized: Counter[_Key] = Counter()

    def add(self, row: Series, routing: Routing) -> None:
        """Count one series."""
        key = (row.collection, row.license, row.modality, routing)
        sums = self._totals.setdefault(key, [0, 0, 0])
        sums[0] += 1
        sums[1] += row.expected or 0
        sums[2] += row.size_bytes or 0
        if row.expected is None:
            self._uncounted[key] += 1
        if row.size_bytes is None:
            self._unsized[key] += 1

    def groups(self) -> list[Group]:
        """Return what was counted."""
        return [
            Group(*key, series, None if self._uncounted[key] else instances, None if self._unsized[key] else size)
            for key, (series, instances, size) in self._totals.items()
        ]
