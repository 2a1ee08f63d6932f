"""Appending to an audit log. Nothing that is in the file is ever changed or cut: it may be append-only to the kernel.

Several processes may append to one log: each batch is written, and synced, under a kernel lock on the file, after what
others appended since was read. A log that was renamed (logrotate) is left at the next batch; the new file's first line
names the line that it goes on from. What a crash left of a line stays, closed by a line end, and the line behind it
tells of it.

Whoever appends remembers where it was (`Head`): a log that does not hold that line any more is not appended to.
"""

import os
import stat
import time
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO, Final

from dicomhaul.durable import sync_folder
from dicomhaul.errors import AuditError, ConfigError
from dicomhaul.land.kernel_lock import HELD, try_lock, unlock
from dicomhaul.trail.chain import BEFORE, MOST_LINE_BYTES, BrokenError, Head, seal, seal_first, torn_facts, unseal
from dicomhaul.trail.follow import Line, Rest, follow

_FLAGS: Final = (
    os.O_RDWR
    | os.O_APPEND
    | os.O_CREAT
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO in its place must not hold us
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_BINARY", 0)
)
_LOCKED_AT: Final = 1 << 40  # Windows locks a range of bytes, which nobody else may read: none that there are
_PATIENCE_S: Final = 60.0
_LOOK_S: Final = 0.01


def check_outside(path: Path, dest: Path) -> None:
    """Raise ConfigError where a log would lie in the destination that it tells of: who may write there may write it."""
    if path.resolve().is_relative_to(dest.resolve()):
        raise ConfigError(f"the audit log {path} would lie in the destination that it tells of: keep it elsewhere")


def timestamp() -> str:
    """Return the time as a log has it: UTC, ISO 8601, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class AuditLog:
    """A log that is open for appending. Used by one thread at a time.

    Attributes:
        head: its last line, as far as this process knows.
        told: the last outbox number of this teller that the log holds; 0: none.
    """

    def __init__(self, path: Path, teller: str, known: Head | None, told: int = 0) -> None:
        """Open the log at `path`, or make it.

        Args:
            path: of the file.
            teller: who appends: the id of a ledger.
            known: the last line that this teller knows of this log, or of the one that it wrote to before.
            told: the last outbox number that it knows to be in either.

        Raises AuditError where the file cannot be used, is damaged, or lacks the line that is `known`.
        """
        self.path = path
        self.head = known or BEFORE
        self.told = told
        self._teller = teller
        self._fd: int | None = None
        try:
            with self._held():
                pass
        except BaseException:
            self.close()
            raise

    def append(self, entries: Iterable[tuple[int, str]]) -> None:
        """Append entries of this teller, and sync them; those that are there already are left out.

        Args:
            entries: outbox number, growing, and a JSON object that is not empty.

        Raises AuditError.
        """
        with self._held() as fd:
            head, told, lines = self.head, self.told, []
            for number, facts in entries:
                if number <= self.told:
                    continue
                line, head = seal(head, f'{{"from":["{self._teller}",{number}],{facts[1:]}')
                if len(line) > MOST_LINE_BYTES:
                    raise AuditError(f"an entry for the audit log {self.path} is longer than a line may be")
                lines.append(line)
                told = number
            self._write(fd, b"".join(lines))
            self.head, self.told = head, told

    def close(self) -> None:
        """Close the file."""
        if self._fd is not None:
            fd, self._fd = self._fd, None
            with suppress(OSError):  # all that counts was synced
                os.close(fd)

    @contextmanager
    def _held(self) -> Iterator[int]:
        """Hold the file that is at the path now, alone, with `head` at its end."""
        try:
            fresh = False
            while True:
                if self._fd is None:
                    self._fd, fresh = self._open(), True
                self._lock(self._fd)
                if self._is_in_place(self._fd):
                    break
                self.close()
            try:
                if fresh:
                    self._join(self._fd)
                else:
                    self._read_on(self._fd)
                yield self._fd
            finally:
                self._unlock(self._fd)
        except OSError as error:
            raise AuditError(f"the audit log {self.path} cannot be used: {error.strerror or error}") from error

    def _open(self) -> int:
        fd = os.open(self.path, _FLAGS, 0o600)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise AuditError(f"the audit log {self.path} cannot be used: it is no file")
        return fd

    def _lock(self, fd: int) -> None:
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            os.lseek(fd, _LOCKED_AT, os.SEEK_SET)
            try:
                try_lock(fd)
            except OSError as error:
                if error.errno not in HELD:
                    raise
                if time.monotonic() > deadline:
                    raise AuditError(f"another process holds the audit log {self.path}, and does not let go") from None
                time.sleep(_LOOK_S)
            else:
                return

    def _unlock(self, fd: int) -> None:
        with suppress(OSError):  # it is let go of when the file is closed, at the latest
            os.lseek(fd, _LOCKED_AT, os.SEEK_SET)
            unlock(fd)

    def _is_in_place(self, fd: int) -> bool:
        try:
            there, ours = self.path.stat(follow_symlinks=False), os.fstat(fd)
        except FileNotFoundError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

    def _join(self, fd: int) -> None:
        """Begin the log where the file is empty; else find in it where to go on."""
        known = self.head
        if os.fstat(fd).st_size == 0:
            line, head = seal_first(uuid.uuid4().hex, timestamp(), known if known.number >= 0 else None)
            self._write(fd, line)
            sync_folder(self.path.parent)
            self.head = head
            return
        with _reading(fd, 0) as file:
            first = next(follow(file, BEFORE))
        if isinstance(first, Rest):
            raise AuditError(f"{self.path} is no audit log that could be gone on with: of its first line, {first.why}")
        if first.head.log != known.log:
            self.head = first.head  # somebody else's so far, or another one than before: all of it is read once
        elif not _holds(fd, known):
            raise AuditError(
                f"the audit log {self.path} was changed or cut: line {known.number} is not there any more as it was "
                "written; keep the file, and name another one"
            )
        self._read_on(fd)

    def _read_on(self, fd: int) -> None:
        """Make `head` the last line of the file, reading what others have appended, and what a crash has left."""
        size_bytes = os.fstat(fd).st_size
        if size_bytes == self.head.end:
            return
        if size_bytes < self.head.end:
            raise AuditError(f"the audit log {self.path} was cut while it was written; keep it, and name another one")
        with _reading(fd, self.head.end) as file:
            for found in follow(file, self.head):
                if isinstance(found, Line):
                    self._take(found.entry, found.head)
                elif found.size_bytes:
                    self._close_torn(fd, found)

    def _take(self, entry: dict[str, Any], head: Head) -> None:
        match entry.get("from"):
            case [self._teller, int(number)]:
                self.told = max(self.told, number)
        self.head = head

    def _close_torn(self, fd: int, rest: Rest) -> None:
        """Go on behind what a crash left of a line. Raises AuditError where that is not what it was."""
        torn = rest.bytes_
        if len(torn) < rest.size_bytes or b"\n" in torn[:-1]:
            raise AuditError(f"the audit log {self.path} is damaged: of line {rest.head.number + 1}, {rest.why}")
        end = b"" if torn.endswith(b"\n") else b"\n"
        try:
            entry, head = unseal(torn + end, self.head)
        except BrokenError:
            before = self.head._replace(end=self.head.end + len(torn + end))
            line, head = seal(before, torn_facts(timestamp(), torn + end))
            self._write(fd, end + line)
            self.head = head
        else:  # all of it came but its end
            self._write(fd, end)
            self._take(entry, head)

    def _write(self, fd: int, lines: bytes) -> None:
        left = memoryview(lines)
        while left:
            left = left[os.write(fd, left) :]
        os.fsync(fd)


@contextmanager
def _reading(fd: int, offset: int) -> Iterator[BinaryIO]:
    os.lseek(fd, offset, os.SEEK_SET)
    with open(fd, "rb", closefd=False) as file:
        yield file


def _holds(fd: int, head: Head) -> bool:
    """Say whether the line that ends where `head` says has its seal."""
    seal_ = f'"sha256":"{head.sha256}"}}\n'.encode()
    os.lseek(fd, max(0, head.end - len(seal_)), os.SEEK_SET)
    return os.read(fd, len(seal_)) == seal_
