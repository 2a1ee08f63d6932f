"""A lock of an IDC cohort, held against the installed index, which may be of another release.

The lock says what is wanted. The index says only where it lies today, where it knows the revision: in which bucket, and
whether it is still the present one. A revision that is not can come from buckets alone (`Series.prior`): every other
store has only the present one. What a layout names besides the lock's own values is known of present revisions alone.
"""
# ruff: noqa: S608 (all of it is SQL of our own words; every value goes through `quoted`)

from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, Final

from dicomhaul.cohort.licenses import known_licenses, refuse_others
from dicomhaul.cohort.lock import Lock, LockedSeries, LockHeader, open_lock
from dicomhaul.cohort.locked import as_series, check_source, falls_into, iter_wanted
from dicomhaul.cohort.pool import licenses, pool_of_present
from dicomhaul.cohort.sandbox import Sandbox, quoted, reading
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import EmptyCohort
from dicomhaul.model import Query, Series

_CHUNK: Final = 5_000
# How the layout calls what stands in a lock.
_OWN: Final = {
    "collection_id": "collection",
    "PatientID": "patient",
    "StudyInstanceUID": "study",
    "SeriesInstanceUID": "series",
    "Modality": "modality",
    "crdc_series_uuid": "revision",
}


class LockedCohort:
    """The series of a lock. Made by `open_locked`.

    Attributes:
        header: the lock's.
        moved: how many of the wanted revisions are not the present ones of the installed index.
    """

    def __init__(self, lock: Lock, query: Query, box: Sandbox) -> None:
        self.header: LockHeader = lock.header
        self._lock = lock
        self._query = query
        self._db = box.db
        (self.moved,) = self._rows(
            "SELECT count(*) FROM haul.locked l WHERE NOT EXISTS "
            "(SELECT 1 FROM haul.pool p WHERE p.crdc_series_uuid = l.uuid AND NOT p.prior)"
        )[0]

    @property
    def empty(self) -> bool:
        """Say whether there is no series; a shard can be without one."""
        return not self._rows("SELECT 1 FROM haul.locked LIMIT 1")

    def iter_rows(
        self, *, fields: Sequence[str] = (), batch: int = 2_000
    ) -> Iterator[list[tuple[Series, tuple[Any, ...]]]]:
        """Yield the series in batches, each with the values of the index columns `fields`; None where nobody knows.

        `folder` of a row is still ''.
        """
        asked = [name for name in fields if name not in _OWN]
        extra = "".join(f', CAST(p."{name}" AS VARCHAR)' for name in asked)
        sql = f"""
            SELECT p.aws_bucket, coalesce(p.prior, true),
                CAST(round(p.series_size_MB * 1e6 / nullif(p.instanceCount, 0)) AS BIGINT){extra}
            FROM haul.locked l LEFT JOIN haul.pool p ON p.crdc_series_uuid = l.uuid ORDER BY l.n
        """
        wanted = iter_wanted(self._lock, self._query)
        with reading(), self._db.cursor() as cursor:
            cursor.execute(sql)
            while rows := list(islice(wanted, batch)):
                found = cursor.fetchmany(len(rows))
                yield [_placed(row, known, fields, asked) for row, known in zip(rows, found, strict=True)]

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        with reading():
            return self._db.execute(sql).fetchall()


def _placed(
    row: LockedSeries, known: tuple[Any, ...], fields: Sequence[str], asked: Sequence[str]
) -> tuple[Series, tuple[Any, ...]]:
    bucket, prior, average, *values = known
    of_index = dict(zip(asked, values, strict=True))
    series = as_series(row)._replace(
        bucket=bucket or row.bucket, prior=prior, instance_bytes=None if row.sops is None else average
    )
    return series, tuple(getattr(row, _OWN[name]) if name in _OWN else of_index[name] for name in fields)


@contextmanager
def open_locked(path: Path, query: Query, *, shelf: Shelf | None = None) -> Iterator[LockedCohort]:
    """Open the lock at `path` as a cohort of IDC, as far as `query` leaves it.

    Raises:
        CohortError: the lock is damaged, nothing of it is left, or it holds a licence that is not allowed.
        ConfigError: it is no lock of an IDC cohort.
    """
    shelf = Shelf() if shelf is None else shelf
    with open_lock(path) as lock:
        check_source(lock.header, path, indexed=True)
        box = Sandbox(shelf)
        try:
            with reading():
                _load(lock, query, box, shelf)
            yield LockedCohort(lock, query, box)
        finally:
            box.close()


def _load(lock: Lock, query: Query, box: Sandbox, shelf: Shelf) -> None:
    """Fill haul.locked(n, uuid) with the wanted revisions, and make haul.pool, which knows them."""
    db = box.db
    db.execute("CREATE TABLE haul.locked (n BIGINT, uuid VARCHAR)")
    held: Counter[str | None] = Counter()

    def revisions() -> Iterator[str]:
        for row in iter_wanted(lock, replace(query, shard=None)):
            held[row.license] += 1  # each shard is refused as the cohort is
            if falls_into(query.shard, row):
                yield row.revision or ""

    wanted = revisions()
    at = 0
    while chunk := list(islice(wanted, _CHUNK)):
        uuids = quoted(",".join(chunk))
        db.execute(
            f"INSERT INTO haul.locked SELECT {at:d} + unnest(range({len(chunk):d})), unnest(string_split({uuids}, ','))"
        )
        at += len(chunk)
    if not held:
        raise EmptyCohort(f"nothing is left of the lock {lock.path}")
    db.execute("CREATE VIEW haul.crdc AS SELECT uuid FROM haul.locked")
    pool_of_present(box, shelf)
    if query.licenses_allowed:
        names = [*licenses(box, shelf), *(name for name in held if name)]
        refuse_others(held, known_licenses(query.licenses_allowed, names), narrows=False)
