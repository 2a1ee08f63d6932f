"""`plan --lock`: the rows of a plan, gathered, sorted and written as a lock.

Rows come in any order and may be a million: they wait in a private database that SQLite keeps in a temporary file.
"""

import dataclasses
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from dicomhaul.cohort.lock import LockedSeries
from dicomhaul.cohort.locked import lock_target
from dicomhaul.errors import NotWritable
from dicomhaul.model import Series
from dicomhaul.planner.request import PlanRequest
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.reader import LedgerReader
from dicomhaul.record.relock import making_lock, new_header

_PLAIN = "series, study, revision, bucket, collection, patient, modality, license, instances, size_bytes"


class PlannedLock:
    """A lock in the making."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db = sqlite3.connect("", check_same_thread=False)  # a server's rows are added up in a thread
        self._db.execute(f"CREATE TABLE row ({_PLAIN}, routes, sops, PRIMARY KEY (series, study)) WITHOUT ROWID")

    def add(self, rows: Iterable[Series]) -> None:
        """Take rows with their routes. A series that comes twice is there once, as it came last."""
        try:
            self._db.executemany("INSERT OR REPLACE INTO row VALUES (?,?,?,?,?,?,?,?,?,?,?,?)", map(_values, rows))
        except sqlite3.Error as error:
            raise NotWritable(f"cannot gather the lock {self._path}: {error}") from error

    def write(self, request: PlanRequest, *, created: str, release: str | None) -> None:
        """Write the lock, with the digests of what has landed at the plan's destination.

        Args:
            request: what was planned.
            created: now, ISO 8601.
            release: the version of the index that was asked; None: none was.

        Raises NotWritable, LedgerError; ConfigError if the lock at its place is of something else; CohortError if that
        one, or the one that the cohort came from, is damaged.
        """
        base = lock_target(request.query)
        sources = (spec.name for spec in request.source.specs)
        header = new_header(request.query, source=sources, created=created, release=release)
        with ExitStack() as stack:
            stack.enter_context(closing(self._db))
            there: LedgerReader | None = None
            if request.present is not None and request.present.is_file():
                there = stack.enter_context(closing(Ledger.open(request.present, read_only=True)))
            lock = stack.enter_context(making_lock(self._path, query=request.query, fresh=header, base=base))
            lock.write(lambda digests: (_with_digests(row, there if digests else None) for row in self._sorted()))

    def _sorted(self) -> Iterator[LockedSeries]:
        for row in self._db.execute("SELECT * FROM row ORDER BY series, study"):
            sops = None if row[11] is None else tuple(json.loads(row[11]))
            yield LockedSeries(*[*row[:10], tuple(json.loads(row[10])), sops])


def _values(row: Series) -> tuple[object, ...]:
    return (
        row.series, row.study, row.revision, row.bucket, row.collection, row.patient, row.modality, row.license,
        row.expected, row.size_bytes, json.dumps(row.routing.routes if row.routing else ()),
        None if row.instances is None else json.dumps(row.instances),
    )  # fmt: skip


def _with_digests(row: LockedSeries, there: LedgerReader | None) -> LockedSeries:
    found = None if there is None else there.find_series(row.series, row.study)
    if there is None or found is None or found.revision != row.revision:
        return row
    digests = there.digests(found.series_id)
    wanted = digests if row.sops is None else row.sops
    known = {sop: digest.hex() for sop, digest in digests.items() if sop in wanted}
    return dataclasses.replace(row, xxh3=known or None)
