"""Writer threads: each owns the parts given to it, from open to close.

A part's descriptor is opened, written, synced and closed by one thread and never seen by another, and a write is never
abandoned: an abandoned write has been seen to put its bytes into the next file that got the same descriptor number.
What asks a writer to do something, closing included, is a message in its queue.
"""

import contextlib
import errno
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import xxhash

from dicomhaul.errors import DiskFull, LandingError, NotWritable

_IOV_MAX: Final = 512  # the kernel takes 1,024 views at once; fewer keep the list small
_OPEN_FLAGS: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_DENIED: Final = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
)


def landing_error(error: OSError, doing: str) -> LandingError:
    """Say what an OSError at the destination means; `doing` names the action and never a patient's folder."""
    kind = DiskFull if error.errno in _FULL else NotWritable if error.errno in _DENIED else LandingError
    return kind(f"cannot {doing}: {error.strerror or error}")


@dataclass(frozen=True, slots=True)
class Staged:
    """A whole part in staging: written, hashed, synced and closed, not yet at its final path."""

    series_id: int
    folder: str
    sop: str
    size_bytes: int
    xxh3: bytes
    name: str  # of the file in staging


class Part:
    """One part on its way; after it was handed to a writer, only that writer touches it."""

    __slots__ = ("fd", "folder", "hash", "name", "series_id", "size_bytes", "sop")

    def __init__(self, series_id: int, folder: str, name: str) -> None:
        self.series_id = series_id
        self.folder = folder
        self.name = name
        self.sop = ""
        self.size_bytes = 0
        self.fd = -1
        self.hash: xxhash.xxh3_128 | None = None


class Segment:
    """Some of a part's bytes, and whether the part ends with them; `keep` says if it is wanted after all."""

    __slots__ = ("ended", "keep", "part", "views")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.views: list[memoryview] = []
        self.ended = False
        self.keep = True


Done = Callable[[], None]


class Writer(threading.Thread):
    """One thread, one queue of batches. `staged` is called, from the thread, with what each batch completed."""

    def __init__(self, staging: Path, staged: Callable[[list[Staged]], None], *, sync: bool = True) -> None:
        super().__init__(name="dicomhaul-writer", daemon=True)
        self._staging = staging
        self._staged = staged
        self._sync = sync
        self._queue: queue.SimpleQueue[tuple[list[Segment], Done] | None] = queue.SimpleQueue()
        self._open: set[Part] = set()
        self.error: LandingError | None = None  # the first; afterwards everything is dropped

    def submit(self, segments: list[Segment], done: Done) -> None:
        """Queue a batch; `done` is called from the thread once nothing of the batch is needed any more."""
        self._queue.put((segments, done))

    def close(self) -> None:
        """Ask the thread to drop what is unfinished and end; then join it."""
        self._queue.put(None)

    def run(self) -> None:
        """Write batches until `close`."""
        while (item := self._queue.get()) is not None:
            segments, done = item
            completed: list[Staged] = []
            try:
                for segment in segments:
                    self._segment(segment, completed)
            except OSError as error:
                self.error = self.error or landing_error(error, "write to the destination")
            except Exception as error:  # noqa: BLE001 - a thread must not die with somebody waiting
                self.error = self.error or LandingError(f"writing failed: {error}")
            finally:
                if completed:
                    self._staged(completed)
                # The loop may be gone when a run ends in a hurry; then nobody waits for this batch.
                with contextlib.suppress(RuntimeError):
                    done()
        for part in list(self._open):
            self._drop(part)

    def _segment(self, segment: Segment, completed: list[Staged]) -> None:
        part = segment.part
        if not segment.keep or self.error is not None:
            self._drop(part)
            return
        if part.fd < 0:
            part.fd = os.open(self._staging / part.name, _OPEN_FLAGS, 0o666)
            part.hash = xxhash.xxh3_128()
            self._open.add(part)
        assert part.hash is not None  # noqa: S101 - set together with fd
        views = segment.views
        if views:
            try:
                part.size_bytes += _write_all(part.fd, views)
            except OSError:
                self._drop(part)
                raise
            for view in views:
                part.hash.update(view)
        if segment.ended:
            try:
                if self._sync:
                    os.fsync(part.fd)
            except OSError:
                self._drop(part)
                raise
            try:
                self._close(part)
            except OSError:
                self._unlink(part)
                raise
            completed.append(
                Staged(part.series_id, part.folder, part.sop, part.size_bytes, part.hash.digest(), part.name)
            )

    def _drop(self, part: Part) -> None:
        if part.fd >= 0:
            with contextlib.suppress(OSError):  # what is dropped need not have arrived
                self._close(part)
            self._unlink(part)
        self._open.discard(part)

    def _close(self, part: Part) -> None:
        # Whatever close says, the number is free afterwards, and may be another file's already: never close it twice.
        fd, part.fd = part.fd, -1
        self._open.discard(part)
        os.close(fd)

    def _unlink(self, part: Part) -> None:
        with contextlib.suppress(OSError):  # a leftover in staging is swept by the next run
            (self._staging / part.name).unlink()


def _write_all(fd: int, views: list[memoryview]) -> int:
    """Write all the views, whatever the kernel takes at a time; return the number of bytes."""
    total = sum(map(len, views))
    if not hasattr(os, "writev"):  # Windows
        for view in views:
            while len(view):
                view = view[os.write(fd, view) :]  # noqa: PLW2901 - what is left of it
        return total
    at = 0
    while at < len(views):
        written = os.writev(fd, views[at : at + _IOV_MAX])
        while at < len(views) and written >= len(views[at]):
            written -= len(views[at])
            at += 1
        if written:
            views = [views[at][written:], *views[at + 1 :]]
            at = 0
    return total
