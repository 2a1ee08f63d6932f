"""Writes a lock from what a ledger knows: the series of one cohort, with the digests of all that has landed.

Rules: streamed, series by series; changes nothing in the ledger. A cohort that came from a lock keeps that lock's query
and release, and every digest that it stated: who reads the new one finds the same cohort in it, with more known of it.
So does a lock that takes the place of another, which must be of the same cohort.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dicomhaul.cohort.lock import (
    Lock,
    LockedSeries,
    LockHeader,
    is_lock,
    kept,
    open_lock,
    said,
    said_of_lock,
    write_lock,
)
from dicomhaul.cohort.locked import check_only_gains, check_same_question, is_target
from dicomhaul.model import Query, State
from dicomhaul.record.reader import LedgerReader, MemberRow


def new_header(query: Query, *, source: Iterable[str], created: str, release: str | None) -> LockHeader:
    """Return the header of a new cohort, without totals.

    Args:
        query: what was asked for.
        source: names of the sources.
        created: now, ISO 8601.
        release: the version of idc-index-data whose index said so; None: no index did.
    """
    return LockHeader(
        created=created,
        query=said(query),
        source=tuple(source),
        idc_version=None if release is None else query.idc_version or int(release.partition(".")[0]),
        index_version=release,
        series=0,
    )


def header_after(base: Lock, query: Query, fresh: LockHeader) -> LockHeader:
    """Return the header of a lock whose cohort came from the lock `base`, as far as `query` narrows it."""
    return dataclasses.replace(
        base.header, query=said_of_lock(base.header, query), written_by=fresh.written_by, source=fresh.source
    )


def with_totals(header: LockHeader, rows: Iterable[LockedSeries]) -> LockHeader:
    """Return `header` with what instances, bytes and licences of `rows` add up to."""
    series, instances, size = 0, 0, 0
    counted = sized = True
    licenses: Counter[str] = Counter()
    for row in rows:
        series += 1
        instances += row.instances or 0
        size += row.size_bytes or 0
        counted, sized = counted and row.instances is not None, sized and row.size_bytes is not None
        licenses[row.license or ""] += 1
    return dataclasses.replace(
        header,
        series=series,
        instances=instances if counted else None,
        size_bytes=size if sized else None,
        licenses=dict(sorted(licenses.items())),
    )


def locked_row(ledger: LedgerReader, row: MemberRow, *, digests: bool = True) -> LockedSeries:
    """Return a series of the ledger as a lock states it; without `digests`, as far as its totals go."""
    xxh3 = {sop: digest.hex() for sop, digest in ledger.digests(row.series_id).items()} if digests else {}
    sops = None
    if not row.whole:
        known = ledger.known(row.series_id)
        sops = tuple(sorted([*known.landed, *known.wanted])) or None
    return LockedSeries(
        series=row.series,
        study=row.study,
        revision=row.revision,
        bucket=row.bucket,
        collection=row.collection,
        patient=row.patient,
        modality=row.modality,
        license=row.license,
        instances=row.expected,
        size_bytes=row.size_bytes,
        routes=row.routes,
        sops=sops,
        xxh3=xxh3 or None,
    )


class LockInMaking:
    """A lock before it is written: what it will say, given the locks that were there before it.

    Made by `making_lock`.

    Attributes:
        header: its first line, without totals.
    """

    def __init__(self, path: Path, header: LockHeader, base: Lock | None, before: Lock | None) -> None:
        self.header = header
        self._path = path
        self._before = before
        self._old = [lock for lock in (base, before) if lock is not None]  # of two that differ the last has its way

    def check(self, rows: Iterable[LockedSeries]) -> None:
        """See that what is at its path loses nothing if these take its place. Raises ConfigError, CohortError."""
        if self._before is not None:
            check_same_question(self._before, self.header.query)
            check_only_gains(self._before, rows, idc_version=self.header.idc_version)

    def write(self, rows: Callable[[bool], Iterator[LockedSeries]]) -> None:
        """Write it: `rows(False)` gives its series for its totals, `rows(True)` with their digests.

        Raises NotWritable; errors as `check`.
        """
        self.check(rows(False))

        def joined(found: Iterator[LockedSeries]) -> Iterator[LockedSeries]:
            for lock in self._old:
                found = kept(lock, found)
            return found

        write_lock(self._path, with_totals(self.header, joined(rows(False))), joined(rows(True)))


@contextmanager
def making_lock(path: Path, *, query: Query, fresh: LockHeader, base: Path | None) -> Iterator[LockInMaking]:
    """Prepare a lock.

    Args:
        path: where it goes. A lock that is there is added to, and must be of the same cohort.
        query: what was asked for.
        fresh: as `new_header` makes it.
        base: the lock that was the cohort's TARGET; may be `path`.

    Raises CohortError if one of the locks cannot be read.
    """
    with ExitStack() as stack:
        lock = None if base is None else stack.enter_context(open_lock(base))
        before = None
        if is_lock(path) and not is_target(path, base):
            before = stack.enter_context(open_lock(path))
        yield LockInMaking(path, fresh if lock is None else header_after(lock, query, fresh), lock, before)


def locked_rows(ledger: LedgerReader, cohort_id: int, *, digests: bool) -> Iterator[LockedSeries]:
    """Yield the series of a cohort as a lock states them, as `locked_row`."""
    return (locked_row(ledger, row, digests=digests) for row in ledger.iter_members(cohort_id))


def lacks_digests(path: Path, ledger: LedgerReader) -> bool:
    """Say whether a lock lacks digests of a series that is complete here. Raises CohortError, LedgerError."""
    with open_lock(path) as lock:
        for row in lock:
            wanted = row.instances if row.sops is None else len(row.sops)
            stated = len(row.xxh3 or ())
            if not (stated if wanted is None else stated >= wanted):
                there = ledger.find_series(row.series, row.study)
                if there is not None and there.state is State.LANDED and there.revision == row.revision:
                    return True
    return False


def write_lock_from_ledger(
    ledger: LedgerReader, cohort_id: int, path: Path, *, query: Query, fresh: LockHeader, base: Path | None = None
) -> None:
    """Write the lock of a cohort to `path`, with the digests of all of it that has landed.

    Args:
        ledger: where the cohort stands.
        cohort_id: its key there.
        path: as `making_lock`, like those that follow.
        query: what was asked for.
        fresh: its header.
        base: the cohort's TARGET, if that is a lock.

    Raises NotWritable, LedgerError; ConfigError if what is at `path` is the lock of something else; CohortError if a
    lock is damaged.
    """
    with making_lock(path, query=query, fresh=fresh, base=base) as lock:
        lock.write(lambda digests: locked_rows(ledger, cohort_id, digests=digests))
