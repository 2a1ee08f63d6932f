"""The lock of a cohort that a run brings: checked before, written after, or named to who can add to it."""

from pathlib import Path

import anyio.to_thread

from dicomhaul.cohort.lock import LockHeader
from dicomhaul.cohort.locked import lock_target
from dicomhaul.config.source import Sources, index_version
from dicomhaul.errors import CohortError
from dicomhaul.model import Query
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.relock import lacks_digests, locked_rows, making_lock, new_header, write_lock_from_ledger
from dicomhaul.steps.question import searches


def lock_header(query: Query, source: Sources, created: str) -> LockHeader:
    """Return what a new lock of the cohort says of itself. `created`: a timestamp, ISO 8601."""
    return new_header(
        query,
        source=[spec.name for spec in source.specs],
        created=created,
        release=None if searches(source) else index_version(),
    )


async def check_lock(path: Path, ledger: Ledger, cohort_id: int, query: Query, fresh: LockHeader) -> None:
    """See that the lock at `path` loses nothing by being written. Raises CohortError, ConfigError, LandingError."""
    base = lock_target(query)

    def check() -> None:
        with making_lock(path, query=query, fresh=fresh, base=base) as lock:
            lock.check(locked_rows(ledger, cohort_id, digests=False))

    await anyio.to_thread.run_sync(check)


async def write_lock(path: Path, ledger: Ledger, cohort_id: int, query: Query, fresh: LockHeader) -> None:
    """Write the lock of a cohort, with the digests of all that is there. Errors as `check_lock`, and LedgerError."""
    base = lock_target(query)

    def write() -> None:
        write_lock_from_ledger(ledger, cohort_id, path, query=query, fresh=fresh, base=base)

    await anyio.to_thread.run_sync(write)


async def name_lock(ledger: Ledger, query: Query) -> str | None:
    """Return how a lock that is the TARGET would gain the digests of what came; None: it would gain nothing."""
    base = lock_target(query)
    if base is None or query.shard is not None or query.limit_series is not None:  # a part is not written to it
        return None
    try:
        gains = await anyio.to_thread.run_sync(lacks_digests, base, ledger)
    except CohortError:  # it was changed or removed since it was planned: then there is nothing to add to
        return None
    return (
        f"{base} lacks digests that are known now; to add them: the same `pull` with --lock {base}" if gains else None
    )
