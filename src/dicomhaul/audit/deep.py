"""Parses every instance with pydicom, in worker processes, and holds its UIDs against the ledger's.

`tree` proves that a file holds the bytes that landed; this asks whether those bytes are the instance they
stand for. pydicom is imported in the workers alone, which are spawned, so that they inherit neither threads
nor locks. Values over 1 MiB are skipped, not read: a worker's memory doesn't grow with the size of an
instance.

Messages name the kind of an error and never its text, which may quote patient data.
"""

import logging
import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

from dicomhaul.audit.findings import Checked, Finding, Problem
from dicomhaul.errors import HaulError
from dicomhaul.model import is_uid

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

_TASK_FILES = 32
_DEFER_BYTES = 1 << 20
_MEMORY_BYTES = 4 << 30  # of a worker: more is a file that grows when it is parsed


_UID_NAMES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")


class ExpectedInstance(NamedTuple):
    """One landed instance and who it should be."""

    series_id: int
    path: str  # relative to the destination, '/'-separated
    study: str
    series: str
    sop: str


def verify_deep(
    dest: Path,
    expected: Iterable[ExpectedInstance],
    *,
    processes: int | None = None,
    checked: Checked | None = None,
) -> Iterator[Finding]:
    """Parse every file of `expected`; yield those that do not parse or are another instance, in order.

    A file that is gone or cannot be read is a finding too: this can run without `verify_tree` before it.

    Args:
        dest: the destination.
        expected: what to parse.
        processes: how many workers; None: one a core.
        checked: totals to add to; `size_bytes` stays as it is.

    Raises:
        HaulError: a worker was killed from outside.
    """
    checked = checked if checked is not None else Checked()
    rows = iter(expected)
    workers = processes or os.cpu_count() or 1
    pending: deque[tuple[int, Future[list[Finding]]]] = deque()
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker)
    try:
        while True:
            while len(pending) < workers * 4 and (task := list(islice(rows, _TASK_FILES))):
                pending.append((len(task), pool.submit(_parse_files, os.fspath(dest), task)))
            if not pending:
                return
            count, future = pending.popleft()
            findings = future.result()
            checked.instances += count
            checked.findings += len(findings)
            yield from findings
    except BrokenProcessPool:
        raise HaulError("a worker process of the deep verification was killed, perhaps for want of memory") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group; the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.disable()  # pydicom quotes values in what it logs
    if resource is not None:  # a deflated data set is inflated whole, whatever it comes to
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = _MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, _MEMORY_BYTES)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))


def _parse_files(dest: str, rows: list[ExpectedInstance]) -> list[Finding]:
    import warnings  # noqa: PLC0415 - a worker's business, like pydicom

    findings = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # values that pydicom finds odd are no damage
        for row in rows:
            wrong = _parse(dest, row)
            if wrong is not None:
                findings.append(Finding(wrong[0], row.path, row.series_id, row.sop, wrong[1]))
    return findings


def _parse(dest: str, row: ExpectedInstance) -> tuple[Problem, str] | None:
    import pydicom  # noqa: PLC0415 - heavy: 0.8 s and 60 MB, in the workers only

    try:
        # force: real archives hold bare data sets; what is no DICOM at all then has no UIDs
        with (Path(dest) / row.path).open("rb") as opened:
            dataset = pydicom.dcmread(opened, force=True, defer_size=_DEFER_BYTES)
            _convert(dataset)
            found = [str(dataset.get(name) or "") for name in _UID_NAMES]
    except FileNotFoundError:
        return Problem.MISSING, ""
    except OSError as error:
        return Problem.UNREADABLE, error.strerror or type(error).__name__
    except Exception as error:  # noqa: BLE001 - pydicom has no base class for what a damaged file makes it raise
        return Problem.NOT_DICOM, f"pydicom fails with {type(error).__name__}"
    if not any(found):
        return Problem.NOT_DICOM, "it holds no UID"
    for name, value, wanted in zip(_UID_NAMES, found, (row.study, row.series, row.sop), strict=True):
        if value != wanted:
            return Problem.WRONG_UID, f"its {name} is {value!r}" if is_uid(value) else f"its {name} is no UID"
    return None


def _convert(dataset: Any) -> None:
    """Make pydicom parse each value that it has read, in sequences too; it does so only when asked."""
    waiting = [dataset]
    while waiting:
        parsed = waiting.pop()
        for tag in list(parsed.keys()):
            if parsed.get_item(tag, keep_deferred=True).value is None:
                continue
            element = parsed[tag]
            if element.VR == "SQ":
                waiting.extend(element.value or ())
