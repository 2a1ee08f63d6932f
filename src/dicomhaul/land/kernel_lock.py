"""A kernel lock on an open file, which the kernel drops when its holder dies, however it dies. Does not wait."""

import errno
import os
from typing import Final

HELD: Final = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EACCES, errno.EDEADLK})  # somebody else has it

if os.name == "nt":
    import msvcrt

    def try_lock(fd: int) -> None:
        """Lock the file, for this process alone. Raises OSError, one of `HELD` where another process has it."""
        msvcrt.locking(fd, msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined]

    def unlock(fd: int) -> None:
        """Let go of it; the file stands where it stood when it was locked. Raises OSError."""
        msvcrt.locking(fd, msvcrt.LK_UNLCK, 1)  # type: ignore[attr-defined]
else:
    import fcntl

    def try_lock(fd: int) -> None:
        """Lock the file, for this process alone. Raises OSError, one of `HELD` where another process has it."""
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def unlock(fd: int) -> None:
        """Let go of it. Raises OSError."""
        fcntl.flock(fd, fcntl.LOCK_UN)
