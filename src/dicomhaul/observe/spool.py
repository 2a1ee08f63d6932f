"""A queue that takes whatever comes, at once, and holds only so much of it in memory; the rest waits in a file.

First in, first out. Of one thread.
"""

import json
import tempfile
from collections import deque
from typing import IO, Final

Item = tuple[str | int, ...]

_IN_MEMORY: Final = 1_000


class Spool:
    """The queue; a context manager, whose end drops what is left.

    Args:
        in_memory: the most items that wait in memory.
    """

    def __init__(self, in_memory: int = _IN_MEMORY) -> None:
        self._in_memory = in_memory
        self._first: deque[Item] = deque()
        self._file: IO[bytes] | None = None
        self._read_at = 0
        self._in_file = 0

    def __len__(self) -> int:
        return len(self._first) + self._in_file

    def put(self, item: Item) -> None:
        """Take an item. Raises OSError where the temporary file cannot hold it."""
        if not self._in_file and len(self._first) < self._in_memory:
            self._first.append(item)
            return
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115 - closed by `close`
        self._file.seek(0, 2)
        before = self._file.tell()
        try:
            self._file.write(json.dumps(item).encode() + b"\n")
            self._file.flush()
        except OSError:
            self._file.truncate(before)
            raise
        self._in_file += 1

    def take(self) -> Item:
        """Return the oldest item. Raises IndexError where there is none, OSError where the file cannot be read."""
        if not self._first and self._in_file:
            self._fetch()
        return self._first.popleft()

    def close(self) -> None:
        """Drop what is left."""
        self._first.clear()
        self._in_file = 0
        if self._file is not None:
            self._file.close()
            self._file = None

    def _fetch(self) -> None:
        assert self._file is not None  # noqa: S101 - it holds items
        self._file.seek(self._read_at)
        for _ in range(min(self._in_memory, self._in_file)):
            self._first.append(tuple(json.loads(self._file.readline())))
            self._in_file -= 1
        self._read_at = self._file.tell()
        if not self._in_file:  # what was read need not stay
            self._file.seek(0)
            self._file.truncate()
            self._read_at = 0
