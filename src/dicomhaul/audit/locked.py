"""Holds a destination's ledger against a lock: is each series there, complete, of that revision, with that count?

`tree` proves that the files are what the ledger says; this, that what the ledger says is what the lock says. Together
they prove the tree against the lock. What else the destination holds is counted and harms nothing.

Bytes are proven by the digests that a lock states. Where it lacks some of a series, its size is compared, if all of it
came from buckets: there a revision is the same bytes for everybody. A DICOMweb server encodes as it likes.
"""

import enum
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicomhaul.audit.findings import Finding, Problem
from dicomhaul.cohort.lock import LockedSeries, open_lock
from dicomhaul.cohort.locked import falls_into
from dicomhaul.model import Shard, State
from dicomhaul.record.reader import LedgerReader, MemberRow

# The coarsest that a size can be: IDC's index states those of earlier revisions in MB with two digits.
ROUNDED_BYTES: Final = 10_000


class Breach(enum.StrEnum):
    """How what is there differs from what a lock says."""

    ABSENT = "series not here"
    INCOMPLETE = "series not complete"
    REVISION = "another revision"
    COUNT = "another number of instances"
    SIZE = "another size"
    MISSING = "instance not here"
    CONTENT = "other bytes"
    DAMAGED = "damaged or gone"


@dataclass(frozen=True, slots=True)
class LockFinding:
    """One thing that is not as the lock says; `sop` is None where it is the series."""

    breach: Breach
    study: str
    series: str
    sop: str | None = None
    detail: str = ""

    def as_json(self) -> dict[str, str | None]:
        """Return it as `--json` lists it."""
        return {
            "problem": str(self.breach),
            "study": self.study,
            "series": self.series,
            "sop": self.sop,
            "detail": self.detail,
        }


@dataclass(frozen=True, slots=True)
class LockProof:
    """What holding a destination against a lock gave.

    Attributes:
        path: the lock.
        series: how many series it has, or that shard of it.
        proven: how many of them are there as it says.
        digests: how many instances were held against a digest that it states.
        sizes: how many series were held against the size that it states, for want of digests.
        counted: how many of those proven are so by the number of instances alone: no digest, and no size to compare.
        besides: how many other series the destination holds.
        findings: everything that is wrong, in the lock's order.
    """

    path: Path
    series: int
    proven: int
    digests: int
    sizes: int
    counted: int
    besides: int
    findings: tuple[LockFinding, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as `--json` prints it."""
        return {
            "file": str(self.path),
            "series": self.series,
            "series_proven": self.proven,
            "series_besides": self.besides,
            "digests_compared": self.digests,
            "sizes_compared": self.sizes,
            "series_by_count": self.counted,
            "findings": [finding.as_json() for finding in self.findings],
        }


def prove_lock(
    path: Path, ledger: LedgerReader, *, damaged: Iterable[Finding] = (), shard: Shard | None = None
) -> LockProof:
    """Hold a ledger against the lock at `path`.

    Args:
        path: the lock.
        ledger: the destination's.
        damaged: what verifying its files found.
        shard: only that part of the lock.

    Raises CohortError where the lock cannot be read or is damaged; LedgerError.
    """
    harmed = Counter(
        finding.series_id
        for finding in damaged
        if finding.series_id is not None and finding.problem is not Problem.FOREIGN
    )
    findings: list[LockFinding] = []
    series = proven = digests = sizes = counted = here = 0
    with open_lock(path) as lock:
        for row in lock:
            if not falls_into(shard, row):
                continue
            series += 1
            there = ledger.find_series(row.series, row.study)
            here += there is not None
            landed = {} if there is None else ledger.digests(there.series_id)
            wrong = list(_compare(row, there, landed))
            covered = landed.keys() <= (row.xxh3 or {}).keys()
            size = None if there is None or covered or wrong else _size(row, there, ledger)
            sizes += size is not None
            wrong += _compare_size(row, size)
            if there is not None and harmed[there.series_id]:
                wrong.append(_finding(Breach.DAMAGED, row, detail=f"{harmed[there.series_id]:,} instances"))
            digests += sum(sop in landed for sop in row.xxh3 or ())
            proven += not wrong
            counted += not wrong and not covered and size is None
            findings += wrong
    besides = ledger.standing().series_planned - here
    return LockProof(path, series, proven, digests, sizes, counted, besides, tuple(findings))


def _compare_size(row: LockedSeries, size: int | None) -> Iterator[LockFinding]:
    if size is not None and row.size_bytes is not None and abs(size - row.size_bytes) > ROUNDED_BYTES:
        yield _finding(Breach.SIZE, row, detail=f"{size:,} bytes instead of {row.size_bytes:,}")


def _size(row: LockedSeries, there: MemberRow, ledger: LedgerReader) -> int | None:
    """Return the bytes of a whole series that can be held against its size; None: nothing can."""
    return None if row.sops is not None or row.size_bytes is None else ledger.bucket_bytes(there.series_id)


def _compare(row: LockedSeries, there: MemberRow | None, landed: dict[str, bytes]) -> Iterator[LockFinding]:
    if there is None:
        yield _finding(Breach.ABSENT, row)
        return
    if row.revision is not None and there.revision != row.revision:
        yield _finding(Breach.REVISION, row, detail=f"here is {there.revision or 'one that nobody named'}")
        return
    if there.state is not State.LANDED or (row.sops is None and not there.whole):
        yield _finding(Breach.INCOMPLETE, row, detail=f"{len(landed):,} instances are here")
    elif row.sops is None and row.instances is not None and len(landed) != row.instances:
        yield _finding(Breach.COUNT, row, detail=f"{len(landed):,} instead of {row.instances:,}")
    stated = row.xxh3 or {}
    for sop in sorted({*stated, *(row.sops or ())}):
        if sop not in landed:
            yield _finding(Breach.MISSING, row, sop)
        elif sop in stated and landed[sop].hex() != stated[sop]:
            yield _finding(Breach.CONTENT, row, sop)


def _finding(breach: Breach, row: LockedSeries, sop: str | None = None, detail: str = "") -> LockFinding:
    return LockFinding(breach, row.study, row.series, sop, detail)
