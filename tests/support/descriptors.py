"""How many files this process has open."""

import errno
import os


def open_descriptors() -> int:
    """Count the open descriptors below 256."""
    count = 0
    for fd in range(256):
        try:
            os.fstat(fd)
        except OSError as error:
            assert error.errno == errno.EBADF  # noqa: PT017 - any other would be news
        else:
            count += 1
    return count
