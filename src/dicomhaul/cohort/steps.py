"""The conditions that narrow a cohort, one after the other, as SQL on the rows of haul.pool (alias p). Pure.

Kept apart from each other, so that an empty cohort can say which of them emptied it.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dicomhaul.cohort.dates import DateRange
from dicomhaul.cohort.manifest import Entry
from dicomhaul.cohort.sandbox import quoted


class Step(NamedTuple):
    """One condition."""

    label: str  # as in a message; without values that name patients
    condition: str  # on a row of haul.pool
    column: str | None = None  # whose remaining values help when nothing is left
    wanted: str = ""  # what was asked of that column


def describe_missing(missing: Sequence[Entry]) -> str:
    """Say in one line what was named and is not there: how many, and the first few."""
    first = ", ".join(str(entry) for entry in missing[:3])
    return first if len(missing) <= 3 else f"{len(missing):,} ({first}, …)"


def sql_list(values: Iterable[str]) -> str:
    """Write texts as an SQL list of text."""
    return f"CAST([{', '.join(map(quoted, values))}] AS VARCHAR[])"


def select(what: str, steps: Sequence[Step], tail: str) -> str:
    """Write the query for the rows that meet all steps; without any, the whole current index."""
    conditions = " AND ".join(step.condition for step in steps) or "p.row >= 0"
    return f"SELECT {what} FROM haul.pool p WHERE {conditions}{tail}"  # noqa: S608 (our own words)


def date_step(text: str, dates: DateRange) -> Step:
    """Turn --study-date, as it was typed and as it was read, into a condition."""
    # The index writes days as YYYY-MM-DD, so that text compares as days do; no day matches no range.
    conditions = []
    if dates.first is not None:
        conditions.append(f"p.StudyDate >= '{dates.first.isoformat()}'")
    if dates.last is not None:
        conditions.append(f"p.StudyDate <= '{dates.last.isoformat()}'")
    return Step(f"--study-date {text.strip()}", " AND ".join(conditions))
