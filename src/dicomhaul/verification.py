"""Proving a destination: its tree against its ledger, and on request each instance against the standard."""

import os
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from dicomhaul.audit.deep import ExpectedInstance, verify_deep
from dicomhaul.audit.findings import Checked, Expected, Finding, Problem
from dicomhaul.audit.locked import LockProof, prove_lock
from dicomhaul.audit.tree import verify_tree
from dicomhaul.destination import find_place
from dicomhaul.land.folder import instance_path
from dicomhaul.model import Failure, Shard
from dicomhaul.record.absent import Absent, absent_shards
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.reader import Standing


@dataclass(frozen=True, slots=True)
class Verification:
    """What a verification found.

    Attributes:
        dest: the destination.
        standing: what its ledger says.
        instances: files that were checked.
        size_bytes: their bytes.
        findings: everything that is wrong, in the order of the tree; foreign files last.
        failures: the same by UID, and what could not be had in the first place.
        elapsed_s: seconds it took.
        lock: what holding it against a lock gave; None: nobody asked.
        absent: shards that were never merged into it, by cohort.
    """

    dest: Path
    standing: Standing
    instances: int
    size_bytes: int
    findings: tuple[Finding, ...]
    failures: tuple[Failure, ...]
    elapsed_s: float
    lock: LockProof | None = None
    absent: tuple[Absent, ...] = ()

    @property
    def damaged(self) -> list[tuple[int, str]]:
        """What would have to come again: (ledger's series id, SOP Instance UID)."""
        return [
            (finding.series_id, finding.sop)
            for finding in self.findings
            if finding.series_id is not None and finding.sop is not None
        ]

    @property
    def foreign(self) -> list[str]:
        """Files in the tree that the ledger does not know; they harm nothing."""
        return [finding.path for finding in self.findings if finding.problem is Problem.FOREIGN]


def verify(
    dest: str | os.PathLike[str],
    *,
    deep: bool = False,
    state_dir: Path | None = None,
    shard: Shard | None = None,
    lock: str | os.PathLike[str] | None = None,
    checked: Checked | None = None,
    found: Callable[[Finding], None] = lambda _: None,
) -> Verification:
    """Read every instance at `dest` again and hold size and XXH3-128 against the ledger. Changes nothing.

    Args:
        dest: the destination.
        deep: parse every instance with pydicom, too, in worker processes.
        state_dir: where its ledger lives, if not in `DEST/.dicomhaul`.
        shard: which part of it, where it was pulled in shards that are not merged; others' files are not looked at.
        lock: hold the destination against this lock, too.
        checked: totals that grow while it runs.
        found: is told each finding as it is made.

    Raises ConfigError for shards that are not merged and none is named; LedgerError if there is no ledger or it is
    damaged; NotWritable if the destination cannot be listed; CohortError if the lock is damaged.
    """
    root, began = Path(dest), time.monotonic()
    checked = checked if checked is not None else Checked()
    findings: list[Finding] = []
    with closing(Ledger.open(find_place(root, state_dir, shard).ledger, read_only=True)) as ledger:
        ledger.check()
        cohorts = ledger.asked_for()
        for finding in verify_tree(root, _expected(ledger), leaving=ledger.iter_leaving(), checked=checked):
            if shard is not None and finding.problem is Problem.FOREIGN:
                continue  # another shard's
            findings.append(finding)
            found(finding)
        if deep:
            wrong = {(finding.series_id, finding.sop) for finding in findings}
            for finding in verify_deep(root, _instances(ledger, wrong)):
                findings.append(finding)
                found(finding)
        absent = () if shard is not None else tuple(absent_shards(cohorts))
        failures = list(ledger.iter_failures(*(cohort.id for cohort in cohorts)))
        failures += ledger.name_instances(
            (finding.series_id, finding.sop, str(finding.problem)) for finding in findings
        )
        standing = ledger.standing()
        proof = None if lock is None else prove_lock(Path(lock), ledger, damaged=findings, shard=shard)
    elapsed_s = time.monotonic() - began
    return Verification(
        root,
        standing,
        checked.instances,
        checked.size_bytes,
        tuple(findings),
        tuple(failures),
        elapsed_s,
        proof,
        absent,
    )


def _expected(ledger: Ledger) -> Iterator[Expected]:
    for row in ledger.iter_files():
        yield Expected(row.series_id, row.folder, row.sop, row.size_bytes, row.xxh3, row.stem)


def _instances(ledger: Ledger, wrong: set[tuple[int | None, str | None]]) -> Iterator[ExpectedInstance]:
    for row in ledger.iter_files():
        if (row.series_id, row.sop) not in wrong:
            yield ExpectedInstance(row.series_id, instance_path(row.folder, row.file), row.study, row.series, row.sop)
