"""Locks of cohorts: `cohort.lock`.

An input is the content of a lock. Then it is read once more, as the plan of a lock whose series are known.

* Nothing but CohortError leaves: one line that names the lock.
* What comes is sorted, each series once, as many as the first line says; every UID is an identifier. Written and read
  again it is the same.
* A lock that lost a line, or got one twice, is refused.
"""

import io
import re
import tempfile
from dataclasses import replace
from pathlib import Path

from dicomhaul.cohort.lock import Lock, LockedSeries, LockHeader, looks_locked, open_lock, write_lock
from dicomhaul.errors import CohortError
from dicomhaul.model import is_identifier
from fuzz.script import Script
from fuzz.target import Target

_PATH = Path("a.lock")
_MEMORY = Path("/dev/shm")  # noqa: S108 - the folder in it is made by tempfile; what a sync is worth is tried elsewhere; here it only takes time
_FOLDER = tempfile.TemporaryDirectory(prefix="fuzz-lock-", dir=_MEMORY if _MEMORY.is_dir() else None)
_MOST = 1 << 53
_TEXTS = ("CT", "", "a b", "\xe4\u2028", '"', "CC BY 4.0", "\x7f")


def check(data: bytes) -> None:
    """Attack it with one input."""
    read = _read(data)
    if read is not None:
        header, rows = read
        assert looks_locked(data[:200]) or data.lstrip()[:1] == b"{"
        _check_rows(header, rows)
        if all(char < "\ud800" or char > "\udfff" for char in str((header, rows))):
            assert _written(header, rows) == (header, rows)
    _check_made(Script(data))


def _read(data: bytes) -> tuple[LockHeader, list[LockedSeries]] | None:
    try:
        lock = Lock(_PATH, io.BytesIO(data))
        return lock.header, list(lock)
    except CohortError as error:
        message = str(error)
        assert str(_PATH) in message
        assert message.isprintable(), message
        assert len(message) < 400, message
        return None


def _check_rows(header: LockHeader, rows: list[LockedSeries]) -> None:
    assert len(rows) == header.series
    assert [row.key for row in rows] == sorted({row.key for row in rows})
    for row in rows:
        assert all(is_identifier(uid) for uid in (row.series, row.study, *(row.sops or ()), *(row.xxh3 or ())))
        assert header.idc_version is None or row.revision is not None
        for count in (row.instances, row.size_bytes):
            assert count is None or 0 <= count <= _MOST
        assert all(re.fullmatch(r"[0-9a-f]{32}", digest) for digest in (row.xxh3 or {}).values())


def _written(header: LockHeader, rows: list[LockedSeries]) -> tuple[LockHeader, list[LockedSeries]]:
    path = Path(_FOLDER.name, "written.lock")
    write_lock(path, header, rows)
    with open_lock(path) as lock:
        return lock.header, list(lock)


def _check_made(script: Script) -> None:
    made = {}
    for _ in range(script.number(0, 4)):
        row = _row(script)
        made[row.key] = row
    rows = [made[key] for key in sorted(made)]
    header = LockHeader(
        created="2026-01-02T03:04:05+00:00",
        query={"collection": [script.pick(_TEXTS)]},
        series=len(rows),
        idc_version=script.pick((None, 25)),
        size_bytes=script.pick((None, script.number(0, _MOST))),
        licenses={script.pick(_TEXTS): 1},
    )
    assert _written(header, rows) == (header, rows)
    lines = Path(_FOLDER.name, "written.lock").read_bytes().splitlines(keepends=True)
    if rows:
        at = script.number(1, len(lines) - 1)
        assert _read(b"".join(lines[:at] + lines[at + 1 :])) is None
        _check_twice(header, rows, rows[at - 1])
        assert _read(b"".join(lines)[: -script.number(2, len(lines[-1]))]) is None


def _check_twice(header: LockHeader, rows: list[LockedSeries], row: LockedSeries) -> None:
    for wrong in (sorted([row, *rows], key=lambda each: each.key), [*rows, row]):
        try:
            _written(replace(header, series=len(wrong)), wrong)
        except CohortError as error:
            assert "not in the order of their UIDs, each once" in str(error), error
        else:
            raise AssertionError(wrong)


def _row(script: Script) -> LockedSeries:
    sops = tuple(sorted({f"4.{script.number(0, 99)}" for _ in range(script.number(1, 3))})) if script.flag() else None
    digests = {sop: script.raw(16).hex().ljust(32, "0") for sop in sops or ("4.1",)} if script.flag() else None
    return LockedSeries(
        f"1.{script.number(0, 20)}",
        f"2.{script.number(0, 3)}",
        "0190bd21-75d4-4b5f-9e0c-0f1a2b3c4d5e",
        script.pick((None, "idc-open-data")),
        patient=script.pick((None, *_TEXTS)),
        modality=script.pick((None, *_TEXTS)),
        instances=script.pick((None, script.number(0, _MOST))),
        routes=script.pick((None, (), ("idc-bucket", "idc-proxy"))),
        sops=sops,
        xxh3=digests,
    )


TARGET = Target(
    "lock",
    check,
    (
        b'{"dicomhaul_lock":1,"written_by":"x","created":"x","query":{},"series":1}\n',
        *(b'{"series":"1.2","study":"1"}\n', b"\n", b'"sops":["1.2"],'),
        *(b'"xxh3":{"1.2":"00112233445566778899aabbccddeeff"},', b'"instances":3,', b'"idc_version":25,', b"null"),
        *(b'"revision":"0190bd21-75d4-4b5f-9e0c-0f1a2b3c4d5e",', b'"bucket":"b",', b'"routes":["a"],', b"\\ud800"),
        *(b"\xff", b"1e3", b'"licenses":{"":1},', b'"patient":"\\u0000"', b"[" * 300, b"9" * 30, b"\xef\xbb\xbf"),
        *(b"\r", b'"source":["a"],', b"-1", b"true"),
    ),
)  # fmt: skip
