"""One writer at a time: a kernel lock on a file, which the kernel drops when its holder dies, however it dies."""

import os
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dicomhaul.errors import LedgerError, NotWritable
from dicomhaul.land.kernel_lock import HELD, try_lock
from dicomhaul.land.writer import landing_error

_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # nor held by a FIFO in its place
_ORPHANS_S: Final = 3.0
_LOOK_S: Final = 0.02


@contextmanager
def exclusive(path: Path) -> Iterator[int]:
    """Hold the lock file at `path`, creating it; a link there, to a file that is none of ours, is not followed.

    Gives its descriptor: a process that inherits it holds the lock, too, until it ends.

    Raises:
        LedgerError: another process holds it.
        NotWritable, DiskFull, LandingError: the file cannot be made or written, or its filesystem knows no locks.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | _NO_LINK | getattr(os, "O_CLOEXEC", 0), 0o600)
    except OSError as error:
        raise landing_error(error, f"open {path}") from error
    try:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise NotWritable(f"cannot lock {path}: it is no file")
        try:
            _lock(fd)
        except OSError as error:
            if error.errno not in HELD:
                raise NotWritable(
                    f"cannot lock {path}: {error.strerror}; keep the ledger elsewhere with --state-dir"
                ) from error
            raise LedgerError(
                f"another dicomhaul (process {_holder(fd)}) is at work on this destination; wait for it or stop it"
            ) from None
        if os.name != "nt" and os.fstat(fd).st_mode & 0o077:
            with suppress(PermissionError):  # it is not ours, or this filesystem knows no modes
                os.fchmod(fd, 0o600)
        try:
            os.ftruncate(fd, 0)
            os.write(fd, str(os.getpid()).encode())
        except OSError as error:
            raise landing_error(error, f"write {path}") from error
        yield fd
    finally:
        with suppress(OSError):  # it is let go of whatever this says, and holds nothing that would be lost
            os.close(fd)


def _lock(fd: int) -> None:
    """Take the lock; of a run that was killed, wait for the processes that it had started: they end in a moment."""
    deadline = time.monotonic() + _ORPHANS_S
    while True:
        try:
            try_lock(fd)
        except OSError as error:
            if error.errno not in HELD or time.monotonic() >= deadline or not _is_gone(_holder(fd)):
                raise
            time.sleep(_LOOK_S)
        else:
            return


def _is_gone(process: str) -> bool:
    if os.name == "nt" or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


def _holder(fd: int) -> str:
    try:
        os.lseek(fd, 0, os.SEEK_SET)
        return os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
    except OSError:  # Windows keeps readers out of what is locked
        return "unknown"
