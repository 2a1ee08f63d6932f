"""Which shards of what was asked for are nowhere in some ledgers: a cohort is not whole without all of its parts. Pure.

A query is what counts, wherever it was asked: all N shards of it have to be there, or the query without a shard.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final, NamedTuple

from dicomhaul.config.options import QUERY_JSON
from dicomhaul.model import Query, Shard
from dicomhaul.record.reader import CohortRow

_SHOWN: Final = 4


class Absent(NamedTuple):
    """The shards of one cohort that nobody has asked for. It reads as `shard 2/3 of nlst`."""

    name: str
    shards: tuple[Shard, ...]

    def __str__(self) -> str:
        return f"shard{'s' * (len(self.shards) > 1)} {named(self.shards)} of {self.name}"


def named(shards: Sequence[Shard]) -> str:
    """Write the first few of some shards."""
    return ", ".join(map(str, shards[:_SHOWN])) + (", …" if len(shards) > _SHOWN else "")


def absent_shards(cohorts: Iterable[CohortRow]) -> list[Absent]:
    """Return the cohorts of which only some shards are among these, in the order in which they are met."""
    names: dict[tuple[Query, int], str] = {}
    there: dict[tuple[Query, int], set[int]] = {}
    wholes: set[Query] = set()
    for row in cohorts:
        query = QUERY_JSON.validate_json(row.query)
        whole = replace(query, shard=None)
        if query.shard is None:
            wholes.add(whole)
        else:
            key = whole, query.shard.of
            names.setdefault(key, row.name)
            there.setdefault(key, set()).add(query.shard.number)
    found = []
    for key, numbers in there.items():
        query, of = key
        lacking = tuple(Shard(number, of) for number in range(1, of + 1) if number not in numbers)
        if lacking and query not in wholes:
            found.append(Absent(names[key], lacking))
    return found
