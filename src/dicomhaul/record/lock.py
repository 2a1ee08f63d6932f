"""One writer at a time: a kernel lock on a file, which the kernel drops when its holder dies, however it dies."""

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from dicomhaul.errors import LedgerError, NotWritable
from dicomhaul.land.writer import landing_error

if os.name == "nt":
    import msvcrt

    def _try_lock(fd: int) -> None:
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]
else:
    import fcntl

    def _try_lock(fd: int) -> None:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)


_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)  # nor held by a FIFO in its place
_HELD: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK})


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock file at `path`, creating it; a link there, to a file that is none of ours, is not followed.

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
            _try_lock(fd)
        except OSError as error:
            if error.errno not in _HELD:
                raise NotWritable(
                    f"cannot lock {path}: {error.strerror}; keep the ledger elsewhere with --state-dir"
                ) from error
            holder = _holder(fd)
            raise LedgerError(
                f"another dicomhaul (process {holder}) is at work on this destination; wait for it or stop it"
            ) from None
        if os.name != "nt" and os.fstat(fd).st_mode & 0o077:
            with suppress(PermissionError):  # it is not ours, or this filesystem knows no modes
                os.fchmod(fd, 0o600)
        try:
            os.ftruncate(fd, 0)
            os.write(fd, str(os.getpid()).encode())
        except OSError as error:
            raise landing_error(error, f"write {path}") from error
        yield
    finally:
        with suppress(OSError):  # it is let go of whatever this says, and holds nothing that would be lost
            os.close(fd)


def _holder(fd: int) -> str:
    try:
        return os.read(fd, 32).decode("ascii", "replace").strip() or "unknown"
    except OSError:  # Windows keeps readers out of what is locked
        return "unknown"
