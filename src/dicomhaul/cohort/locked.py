"""A lock as a TARGET: it says by itself which series are wanted, so nothing else may say so too.

Only what takes less of it goes with a lock: a shard, a number of series, licences that are allowed.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any, Final

from dicomhaul.cohort.lock import (
    Lock,
    LockedSeries,
    LockHeader,
    check_writable,
    is_lock,
    looks_locked,
    open_lock,
    said,
    said_of_lock,
)
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
    """See that a lock of what `query` asks for may be written to `path`, before anything is planned.

    A lock that is there is only ever added to: another cohort, or a part of it, would take its place.

    Raises ConfigError as `check_writable` and `check_same_question`; CohortError if a lock cannot be read.
    """
    check_writable(path)
    base = lock_target(query)
    if is_target(path, base):
        if query.shard is not None or query.limit_series is not None:
            raise ConfigError(
                f"--lock {path}: only a part of it is asked for; write the lock of a part to another file"
            )
    elif is_lock(path):
        with open_lock(path) as before:
            check_same_question(before, _asked(base, query))


def is_target(path: Path, base: Path | None) -> bool:
    """Say whether the lock that is to be written is its own TARGET."""
    return base is not None and path.exists() and path.samefile(base)


def _asked(base: Path | None, query: Query) -> dict[str, Any]:
    if base is None:
        return said(query)
    with open_lock(base) as lock:
        return said_of_lock(lock.header, query)


def check_same_question(before: Lock, asked: Mapping[str, Any]) -> None:
    """Raise ConfigError unless the lock that is there, `before`, was asked for as `asked` says.

    The message names the fields that differ, not their values, which may be about patients.
    """
    was = before.header.query
    differ = sorted(name for name in {*was, *asked} if was.get(name) != asked.get(name))
    if not differ:
        return
    what = "it is the lock of another shard" if differ == ["shard"] else "it is the lock of something else"
    advice = "write this one to another file"
    if "shard" in differ:
        advice = "give each shard a file of its own, or write the lock of the whole with `plan`, without --shard"
    raise ConfigError(f"--lock {before.path}: {what} (not the same: {', '.join(differ)}), and stays as it is; {advice}")


def check_only_gains(before: Lock, rows: Iterable[LockedSeries], *, idc_version: int | None) -> None:
    """Raise ConfigError unless each series of the lock that is there, `before`, is in `rows`, in the same revision.

    The same question can have another answer: by another release, another server, an edited manifest.

    Args:
        before: the lock that is there.
        rows: what is to take its place, sorted by `key`.
        idc_version: their IDC release.
    """
    stays = f"and stays as it is; write this one to another file (`pull {before.path}` brings what it names)"
    if before.header.idc_version != idc_version:
        was, now = (_release(number) for number in (before.header.idc_version, idc_version))
        raise ConfigError(f"--lock {before.path}: it is the lock of {was}, not of {now}, {stays}")
    found = iter(rows)
    at = next(found, None)
    count, first = 0, ""
    for row in before:
        while at is not None and at.key < row.key:
            at = next(found, None)
        if at is None or at.key != row.key or at.revision != row.revision or not _holds(at, row):
            count, first = count + 1, first or row.series
    if count:
        raise ConfigError(
            f"--lock {before.path}: {count:,} of its {before.header.series:,} series are not in this cohort as it "
            f"names them (the first: {first}); it is the lock of something else, {stays}"
        )


def _holds(now: LockedSeries, before: LockedSeries) -> bool:
    """Say whether all instances that were wanted of a series still are."""
    return now.sops is None or (before.sops is not None and set(before.sops) <= set(now.sops))


def _release(number: int | None) -> str:
    return "no IDC cohort" if number is None else f"IDC v{number}"


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
