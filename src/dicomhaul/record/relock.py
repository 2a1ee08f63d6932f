"""Writes a lock from what a ledger knows: the series of one cohort, with the digests of all that has landed.

Rules: streamed, series by series; changes nothing in the ledger. A cohort that came from a lock keeps that lock's query
and release, and every digest that it stated: who reads the new one finds the same cohort in it, with more known of it.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from pathlib import Path

from dicomhaul.cohort.lock import Lock, LockedSeries, LockHeader, kept, open_lock, said, write_lock
from dicomhaul.model import Query
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
    narrowed = {key: value for key, value in said(query).items() if key != "targets"}
    return dataclasses.replace(
        base.header, query={**base.header.query, **narrowed}, written_by=fresh.written_by, source=fresh.source
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


def write_lock_from_ledger(
    ledger: LedgerReader, cohort_id: int, path: Path, *, query: Query, fresh: LockHeader, base: Path | None = None
) -> None:
    """Write the lock of a cohort to `path`, with the digests of all of it that has landed.

    Args:
        ledger: where the cohort stands.
        cohort_id: its key there.
        path: where the lock goes; what is there is replaced in one step.
        query: what was asked for.
        fresh: as `new_header` makes it.
        base: the lock that was the cohort's TARGET; may be `path`.

    Raises NotWritable, LedgerError; CohortError if `base` is damaged.
    """
    with ExitStack() as stack:
        lock = None if base is None else stack.enter_context(open_lock(base))
        header = fresh if lock is None else header_after(lock, query, fresh)

        def rows(*, digests: bool) -> Iterator[LockedSeries]:
            found = (locked_row(ledger, row, digests=digests) for row in ledger.iter_members(cohort_id))
            return found if lock is None else kept(lock, found)

        write_lock(path, with_totals(header, rows(digests=False)), rows(digests=True))
