"""What a report on a destination asks of its ledger: sums by group, what failed and why, runs and their samples.

Every question is answered in SQL, and with a bounded number of rows where a server, or many years, decide how many
there are; only `iter_shares` yields a row for each distinct group. Nothing here writes, and nothing here names a
patient. Within `at_one_moment` all answers agree, although a run may be writing.
"""

import json
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, NamedTuple

from dicomhaul.errors import LedgerError
from dicomhaul.model import Check, State
from dicomhaul.record.reader import REVISING, LedgerReader, guard

_REASONS: Final = 10_000  # distinct ones that are read
_TALLIED: Final = ("instances_landed", "bytes_landed", "bytes_discarded", "requests", "retries", "throttled")


_KEYS: Final = "s.collection, s.modality, s.license, s.came_by, s.proof, s.state, s.kept"
_WANTED: Final = (
    "CASE WHEN s.whole THEN s.expected ELSE (SELECT count(*) FROM instance WHERE series_id = s.id) END AS expected, "
    "s.whole AND s.expected IS NULL AS unstated"
)
# Instances lie in the order of their series, so adding them up first needs no sorting: two seconds for a million
# series instead of four. Complete series of which nothing is there are not in either half, unless they are empty.
_SHARES: Final = (
    "SELECT collection, modality, license, came_by, proof, state, kept, count(*), sum(n), sum(size), "  # noqa: S608 - our own words
    "coalesce(sum(expected), 0), sum(unstated) = 0 FROM ("
    f"SELECT {_KEYS}, i.n, i.size, {_WANTED} FROM (SELECT series_id, count(*) AS n, sum(size_bytes) AS size "
    "FROM instance WHERE state = 1 GROUP BY series_id) i CROSS JOIN series s ON s.id = i.series_id UNION ALL "
    f"SELECT {_KEYS}, 0, 0, {_WANTED} FROM series s WHERE (s.state <> 1 OR s.expected = 0) "
    "AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.series_id = s.id AND i.state = 1)) GROUP BY 1, 2, 3, 4, 5, 6, 7"
)


class ShareRow(NamedTuple):
    """Series that have all of this in common, and what is there of them."""

    collection: str | None
    modality: str | None
    license: str | None
    came_by: str | None
    proof: str | None
    state: State
    is_kept: bool  # no cohort wants them any more, and what is there of them stays
    series: int
    instances: int
    size_bytes: int
    expected: int  # instances that are wanted of them, as far as somebody states it
    is_stated: bool  # of each of them


class CohortStanding(NamedTuple):
    """How far one cohort is."""

    cohort_id: int
    series: int
    complete: int
    failed: int
    absent: int  # named, and nobody has it


class FailureRow(NamedTuple):
    """One thing that is missing; `sop` is None where the whole series is."""

    study: str | None
    series: str | None
    sop: str | None
    reason: str


class RunRow(NamedTuple):
    """One run; `tally` holds the counters of `events.Tally` that it wrote, nothing if it was killed."""

    id: int
    command: str
    started_at: str
    ended_at: str | None
    state: str | None
    tally: dict[str, int]


class SampleRow(NamedTuple):
    """How far a run was: seconds since it began, and what had landed in it."""

    at_s: float
    instances: int
    size_bytes: int


class LeavingRow(NamedTuple):
    """Files that are to leave the tree for the same reason; `waits`: not before a new revision is complete."""

    reason: str
    waits: bool
    instances: int
    size_bytes: int


class RoutingRow(NamedTuple):
    """A choice of routes, why it was made, and for how many series."""

    names: tuple[str, ...]
    reason: str
    series: int


class Account:
    """The questions, of one moment."""

    def __init__(self, ledger: LedgerReader) -> None:
        self._db: sqlite3.Connection = ledger._db  # noqa: SLF001 - a step of the ledger's own, in a module of its own
        self._path = ledger.path

    @contextmanager
    def at_one_moment(self) -> Iterator[None]:
        """Within this, all answers are of the same moment. Raises LedgerError."""
        with guard(self._path):
            self._db.execute("BEGIN")
        try:
            yield
        finally:
            with guard(self._path):
                self._db.execute("ROLLBACK")

    def iter_shares(self) -> Iterator[ShareRow]:
        """Yield the groups of series. Raises LedgerError where they are not all that the ledger should have."""
        (wanted,) = self._one("SELECT count(*) FROM series")
        found = 0
        with guard(self._path):
            for row in self._db.execute(_SHARES):
                found += row[7]
                yield ShareRow._make((*row[:5], State(row[5]), bool(row[6]), *row[7:11], bool(row[11])))
        if found != wanted:
            raise LedgerError(f"the ledger {self._path} is damaged: some of what it recorded is gone")

    def checks(self) -> dict[Check, int]:
        """Count the instances that are there by what their bytes were held against as they landed."""
        sums = ", ".join(f"coalesce(sum(checked = {check.value}), 0)" for check in Check)
        return dict(zip(Check, self._one(f"SELECT {sums} FROM instance WHERE state = 1"), strict=True))  # noqa: S608 - our own words

    def cohorts(self) -> list[CohortStanding]:
        """Count how far each cohort is."""
        with guard(self._path):
            counted = {
                cohort_id: (series, complete, failed)
                for cohort_id, series, complete, failed in self._db.execute(
                    "SELECT m.cohort_id, count(*), sum(s.state = 1), sum(s.state = 2) "
                    "FROM member m JOIN series s ON s.id = m.series_id GROUP BY m.cohort_id"
                )
            }
            rows = self._db.execute(
                "SELECT id, CASE WHEN json_valid(missing) THEN json_array_length(missing) ELSE 0 END FROM cohort "
                "ORDER BY id"
            ).fetchall()
        return [CohortStanding(key, *counted.get(key, (0, 0, 0)), absent) for key, absent in rows]

    def reasons(self) -> list[tuple[str, int]]:
        """Count what failed by its reason, the most frequent first."""
        with guard(self._path):
            return self._db.execute(
                "SELECT reason, sum(n) FROM ("
                "SELECT coalesce(i.reason, s.reason, '') AS reason, count(*) AS n FROM series s "
                "LEFT JOIN instance i ON i.series_id = s.id AND i.state = 2 WHERE s.state = 2 AND NOT s.kept "
                "GROUP BY 1 UNION ALL "
                "SELECT coalesce(json_extract(value, '$[3]'), ''), count(*) FROM cohort, json_each(cohort.missing) "
                "GROUP BY 1) GROUP BY reason ORDER BY 2 DESC, 1 LIMIT ?",
                (_REASONS,),
            ).fetchall()

    def failures(self, most: int) -> list[FailureRow]:
        """Name what failed, as far as `most` of it."""
        with guard(self._path):
            rows = self._db.execute(
                "SELECT s.study, s.series, i.sop, coalesce(i.reason, s.reason, '') FROM series s "
                "LEFT JOIN instance i ON i.series_id = s.id AND i.state = 2 WHERE s.state = 2 AND NOT s.kept UNION ALL "
                "SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), json_extract(value, '$[2]'), "
                "coalesce(json_extract(value, '$[3]'), '') FROM cohort, json_each(cohort.missing) LIMIT ?",
                (most,),
            )
            return [FailureRow._make(row) for row in rows]

    def runs(self, most: int) -> list[RunRow]:
        """Return the newest runs, oldest first."""
        with guard(self._path):
            rows = self._db.execute(
                "SELECT id, command, started_at, ended_at, state, tally FROM run ORDER BY id DESC LIMIT ?", (most,)
            ).fetchall()
        return [RunRow._make((*row[:5], _tally(row[5]))) for row in reversed(rows)]

    def spent(self) -> tuple[int, dict[str, int]]:
        """Return how many runs there were, and what those that came to an end spent together, by counter."""
        sums = ", ".join(f"coalesce(sum(json_extract(tally, '$.{name}')), 0)" for name in _TALLIED)
        (count,) = self._one("SELECT count(*) FROM run")
        row = self._one(f"SELECT {sums} FROM run WHERE json_valid(tally)")  # noqa: S608 - our own words
        return count, {name: int(value) for name, value in zip(_TALLIED, row, strict=True)}

    def samples(self, run_id: int) -> list[SampleRow]:
        """Return the samples of a run, in order."""
        with guard(self._path):
            rows = self._db.execute(
                "SELECT at_s, instances, bytes FROM sample WHERE run_id = ? AND at_s BETWEEN 0 AND 1e10 "
                "AND typeof(instances) = 'integer' AND typeof(bytes) = 'integer' ORDER BY at_s LIMIT 1000",
                (run_id,),
            )
            return [SampleRow._make(row) for row in rows]

    def routings(self, most: int) -> list[RoutingRow]:
        """Return the choices of routes, those of most series first."""
        with guard(self._path):
            rows = self._db.execute(
                "SELECT r.names, r.reason, n FROM (SELECT route, count(*) AS n FROM series GROUP BY route) s "
                "JOIN route r ON r.id = s.route ORDER BY n DESC, r.id LIMIT ?",
                (most,),
            ).fetchall()
        return [RoutingRow(tuple(map(str, json.loads(names))), reason, n) for names, reason, n in rows]

    def leaving(self, most: int) -> list[LeavingRow]:
        """Add up the files that are to leave the tree, by their reason."""
        with guard(self._path):
            rows = self._db.execute(
                "SELECT reason, after IS NOT NULL, count(*), coalesce(sum(size_bytes), 0) FROM outgoing GROUP BY 1, 2 "
                "ORDER BY 3 DESC LIMIT ?",
                (most,),
            )
            return [LeavingRow(reason, bool(waits), count, size) for reason, waits, count, size in rows]

    def swaps(self) -> int:
        """Count the series whose new revision is still landing beside the old one."""
        return int(self._one(f"SELECT count(*) FROM swap w JOIN series s ON s.id = w.series_id WHERE {REVISING}")[0])  # noqa: S608 - our own words

    def cursors(self, most: int) -> list[tuple[str, str]]:
        """Return each source of change that is followed, and when its cursor last moved."""
        with guard(self._path):
            return self._db.execute("SELECT feed, moved_at FROM cursor ORDER BY feed LIMIT ?", (most,)).fetchall()

    def _one(self, question: str) -> tuple[Any, ...]:
        with guard(self._path):
            row: tuple[Any, ...] = self._db.execute(question).fetchone()
        return row


def _tally(text: str | None) -> dict[str, int]:
    try:
        said: Any = json.loads(text) if text is not None else {}
    except ValueError:
        return {}
    if not isinstance(said, dict):
        return {}
    return {str(name): value for name, value in said.items() if isinstance(value, int) and not isinstance(value, bool)}
