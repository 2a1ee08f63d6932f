"""A lock as a TARGET: it says by itself which series are wanted, so nothing else may say so too.

Only what takes less of it goes with a lock: a shard, a number of series, licences that are allowed.
"""

from collections.abc import Iterator
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Final

from dicomhaul.cohort.lock import Lock, LockedSeries, LockHeader, check_writable, is_lock, looks_locked
from dicomhaul.cohort.target import Kind, recognise
from dicomhaul.config.words import is_file
from dicomhaul.errors import CohortError, ConfigError
from dicomhaul.model import Query, Series, SeriesUID, Shard, SopUID, StudyUID
from dicomhaul.plan.shard import shard_of

_BESIDE: Final = frozenset({"targets", "limit_series", "licenses_allowed", "shard"})
_NOTHING: Final = Query()


def lock_target(query: Query) -> Path | None:
    """Return the lock that a query names as its TARGET; None if it names none.

    Raises:
        ConfigError: something else is asked for besides.
        CohortError: a lock comes by standard input, where it could not be read twice.
    """
    if query.manifest is not None and looks_locked(query.manifest[:200].encode(errors="replace")):
        raise CohortError("a lock is named by its file; it cannot come by standard input")
    locks = [word for word in query.targets if recognise(word, is_file) is Kind.MANIFEST and is_lock(Path(word))]
    if not locks:
        return None
    beside = [
        each.name
        for each in fields(Query)
        if each.name not in _BESIDE and getattr(query, each.name) != getattr(_NOTHING, each.name)
    ]
    if len(query.targets) > 1 or beside:
        raise ConfigError(
            f"{locks[0]} is a lock, which says by itself what is wanted: no other TARGET and no filter goes with it, "
            "only --shard, --limit-series and --license-allow"
        )
    return Path(locks[0])


def check_lock_option(path: Path, query: Query) -> None:
    """See that a lock of what `query` asks for may be written to `path`. Raises ConfigError as `check_writable`.

    A lock that is its own TARGET must stay whole: a part of it would take its place.
    """
    check_writable(path)
    base = lock_target(query)
    narrowed = query.shard is not None or query.limit_series is not None
    if base is not None and narrowed and path.exists() and path.samefile(base):
        raise ConfigError(f"--lock {path}: only a part of it is asked for; write the lock of a part to another file")


def check_source(header: LockHeader, path: Path, *, indexed: bool) -> None:
    """Raise ConfigError where a lock cannot be had from the sources that were chosen.

    `indexed`: they hold IDC. Only there a revision means something.
    """
    if header.idc_version is not None and not indexed:
        raise ConfigError(f"{path} is the lock of an IDC cohort, which this source does not hold: use --source idc")
    if header.idc_version is None and indexed:
        named = ", ".join(header.source) or "another server"
        raise ConfigError(f"{path} is the lock of a cohort of {named}, not of IDC: say where it is: --source URL")


def iter_wanted(lock: Lock, query: Query) -> Iterator[LockedSeries]:
    """Yield the series of a lock that the query leaves, in the lock's order. Errors as `Lock`."""
    rows: Iterator[LockedSeries] = iter(lock)
    if query.limit_series is not None:
        rows = islice(rows, query.limit_series)
    return (row for row in rows if falls_into(query.shard, row))


def falls_into(shard: Shard | None, row: LockedSeries) -> bool:
    """Say whether a series falls into a shard; without one, everything does."""
    return shard is None or shard_of(row.series, shard.of) == shard.number


def as_series(row: LockedSeries) -> Series:
    """Return a series of a lock as a row of a cohort, without folder."""
    return Series(
        StudyUID(row.study),
        SeriesUID(row.series),
        collection=row.collection,
        patient=row.patient,
        modality=row.modality,
        revision=row.revision,
        bucket=row.bucket,
        license=row.license,
        expected=row.instances,
        size_bytes=row.size_bytes,
        instances=None if row.sops is None else tuple(map(SopUID, row.sops)),
    )
