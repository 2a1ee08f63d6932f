"""Writer threads: each owns the parts given to it, from open to close.

A part's descriptor is opened, written, synced and closed by one thread and never seen by another, and a write is never
abandoned: an abandoned write has been seen to put its bytes into the next file that got the same descriptor number.
What asks a writer to do something, closing included, is a message in its queue.

A part that is `kept` (a large object with an ETag) is not lost when it breaks off: every `KEPT_BYTES` it is synced and
noted, and what is noted stays in staging until the part is whole, is discarded, or is found not to be what was noted.
Only the writer that has such a part open touches its file; another may take it over once it was suspended.

What must not be here: what a part is, and who asked for it (`sink`); the ledger (`record`).
"""

import contextlib
import errno
import os
import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import xxhash

from dicomhaul.durable import sync_folder
from dicomhaul.errors import DamagedError, DiskFull, LandingError, NotWritable
from dicomhaul.land.digests import Hasher, hasher_for
from dicomhaul.model import Check, Partial, Stated

KEPT_BYTES: Final = 16 << 20  # an object up to this begins again; of a larger one no more than this is lost

_IOV_MAX: Final = 512  # the kernel takes 1,024 views at once; fewer keep the list small
_OPEN_FLAGS: Final = os.O_CREAT | os.O_EXCL | os.O_WRONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
_REOPEN_FLAGS: Final = (
    os.O_RDWR
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO that took a file's place must not hold us
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)
_PIECE_BYTES: Final = 1 << 20
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
    file: str  # its name at its final path
    sop: str
    size_bytes: int
    xxh3: bytes
    name: str  # of the file in staging
    check: Check = Check.FRAMING
    stem: str | None = None


class Note(NamedTuple):
    """What staging holds of an object that is not whole yet; `partial` None: nothing any more."""

    series_id: int
    stem: str
    partial: Partial | None


class Part:
    """One part on its way; after it was handed to a writer, only that writer touches it.

    Except `refused`, which the sink reads once the writer is done with the batch that ends the part: why its bytes are
    not those that the source states; '' if they are.
    """

    __slots__ = (
        "digest", "fd", "file", "folder", "hash", "name", "noted_bytes", "refused", "resumed_bytes", "series_id",
        "size_bytes", "sop", "stated",
    )  # fmt: skip

    def __init__(
        self, series_id: int, folder: str, name: str, stated: Stated | None = None, *, resumed_bytes: int = 0
    ) -> None:
        self.series_id = series_id
        self.folder = folder
        self.name = name
        self.stated = stated
        self.sop = ""
        self.file = ""
        self.refused = ""
        self.size_bytes = 0
        self.resumed_bytes = self.noted_bytes = resumed_bytes  # came before; of it that a note tells of
        self.fd = -1
        self.hash = xxhash.xxh3_128()
        self.digest: Hasher | None = None if stated is None or stated.digest is None else hasher_for(stated.check)

    @property
    def kept(self) -> bool:
        """Whether what is there of it is worth keeping, and can be told from another object's bytes."""
        return self.stated is not None and self.stated.etag is not None and self.stated.size_bytes > KEPT_BYTES

    @property
    def check(self) -> Check:
        """What its bytes are held against."""
        if self.stated is None:
            return Check.FRAMING
        return Check.SIZE if self.digest is None else self.stated.check

    def take(self, views: list[memoryview]) -> None:
        """Hash its next bytes."""
        for view in views:
            self.hash.update(view)
            self.size_bytes += len(view)
            if self.digest is not None:
                self.digest.update(view)

    def judge(self) -> str:
        """Say why it is not what the source states; '' if it is."""
        stated = self.stated
        if stated is None:
            return ""
        if self.size_bytes != stated.size_bytes:
            return f"{self.size_bytes:,} bytes came, the source states {stated.size_bytes:,}"
        if self.digest is not None and self.digest.digest() != stated.digest:
            return f"its {stated.check.name} is not the one that the source states"
        return ""


class Segment:
    """Some of a part's bytes, and whether the part ends with them.

    `keep` says if it is wanted after all; `suspended`, that it stops here, for somebody to go on with.
    """

    __slots__ = ("ended", "keep", "part", "suspended", "views")

    def __init__(self, part: Part) -> None:
        self.part = part
        self.views: list[memoryview] = []
        self.ended = False
        self.keep = True
        self.suspended = False

    @property
    def size_bytes(self) -> int:
        """How many bytes it holds."""
        return sum(map(len, self.views))


Done = Callable[[], None]
Skim = Callable[[memoryview], None]


class Writer(threading.Thread):
    """One thread, one queue of messages.

    Args:
        staging: the folder that it writes into.
        staged: is called, from the thread, with what each batch completed.
        noted: likewise, with what became of a part that is kept.
        sync: whether parts are synced.
    """

    def __init__(
        self,
        staging: Path,
        staged: Callable[[list[Staged]], None],
        noted: Callable[[Note], None],
        *,
        sync: bool = True,
    ) -> None:
        super().__init__(name="dicomhaul-writer", daemon=True)
        self._staging = staging
        self._staged = staged
        self._noted = noted
        self._sync = sync
        self._queue: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._open: set[Part] = set()
        self.error: LandingError | None = None  # the first; afterwards everything is dropped

    def submit(self, segments: list[Segment], done: Done) -> None:
        """Queue a batch; `done` is called from the thread once nothing of the batch is needed any more."""
        self._queue.put(lambda: self._batch(segments, done))

    def reopen(self, part: Part, partial: Partial, skim: Skim, done: Callable[[bool], None]) -> None:
        """Open `part` with what `partial` says that staging holds of it.

        `done` is called from the thread: True if it is what was noted, and `skim` was given all of it; else the file
        and its note are gone.
        """
        self._queue.put(lambda: self._reopen(part, partial, skim, done))

    def close(self) -> None:
        """Ask the thread to leave what is unfinished and end; then join it."""
        self._queue.put(None)

    def run(self) -> None:
        """Do what is asked until `close`."""
        while (message := self._queue.get()) is not None:
            message()
        for part in list(self._open):
            with contextlib.suppress(OSError):  # then no more of it counts than what was noted before
                self._suspend(part)

    def _batch(self, segments: list[Segment], done: Done) -> None:
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

    def _segment(self, segment: Segment, completed: list[Staged]) -> None:
        part = segment.part
        if not segment.keep:
            self._drop(part)
            return
        if self.error is not None:
            self._leave(part)
            return
        if part.fd < 0:
            part.fd = os.open(self._staging / part.name, _OPEN_FLAGS, 0o666)
            self._open.add(part)
        try:
            if segment.views:
                _write_all(part.fd, segment.views)
                part.take(segment.views)
            if segment.ended:
                self._finish(part, completed)
            elif segment.suspended:
                self._suspend(part)
            elif part.kept and part.size_bytes - part.noted_bytes >= KEPT_BYTES:
                self._note(part)
        except OSError:
            self._leave(part)
            raise

    def _finish(self, part: Part, completed: list[Staged]) -> None:
        part.refused = part.judge()
        if part.refused:
            self._drop(part)
            return
        if self._sync:
            os.fsync(part.fd)
        try:
            self._close(part)
        except OSError:
            self._unlink(part)
            self._drop(part)
            raise
        stem = None if part.stated is None else part.stated.stem
        completed.append(
            Staged(
                part.series_id,
                part.folder,
                part.file,
                part.sop,
                part.size_bytes,
                part.hash.digest(),
                part.name,
                part.check,
                stem,
            )
        )

    def _note(self, part: Part) -> None:
        """Sync what is there of a kept part, and only then say so."""
        stated = part.stated
        assert stated is not None  # noqa: S101 - it is kept
        assert stated.etag is not None  # noqa: S101 - likewise
        os.fsync(part.fd)
        if not part.noted_bytes:
            sync_folder(self._staging)  # its name, too
        partial = Partial(stated.stem, stated.etag, part.name, part.size_bytes, part.hash.digest())
        part.noted_bytes = part.size_bytes
        self._noted(Note(part.series_id, stated.stem, partial))

    def _suspend(self, part: Part) -> None:
        """Close a part, and leave its file to whoever goes on with it."""
        if self.error is None and part.kept and part.size_bytes > part.noted_bytes:
            self._note(part)
        self._leave(part)

    def _reopen(self, part: Part, partial: Partial, skim: Skim, done: Callable[[bool], None]) -> None:
        same = False
        try:
            same = self.error is None and self._is_what_was_noted(part, partial, skim)
            if not same and self.error is None:
                self._drop(part)
        except Exception as error:  # noqa: BLE001 - a thread must not die with somebody waiting
            self.error = self.error or LandingError(f"going on with a part failed: {error}")
            self._leave(part)
        finally:
            with contextlib.suppress(RuntimeError):  # as in _batch
                done(same)

    def _is_what_was_noted(self, part: Part, partial: Partial, skim: Skim) -> bool:
        stated = part.stated
        if stated is None or partial.etag != stated.etag or partial.offset > stated.size_bytes:
            return False
        try:
            part.fd = os.open(self._staging / partial.name, _REOPEN_FLAGS)
            self._open.add(part)
            while part.size_bytes < partial.offset:
                piece = memoryview(os.read(part.fd, min(_PIECE_BYTES, partial.offset - part.size_bytes)))
                if not piece:
                    return False
                part.take([piece])
                skim(piece)
            if part.hash.digest() != partial.xxh3:
                return False
            os.ftruncate(part.fd, partial.offset)
        except (OSError, DamagedError):  # it is gone, cannot be read, or is no instance
            return False
        return True

    def _leave(self, part: Part) -> None:
        """Close a part that does not go on; what is noted of it stays, anything else goes."""
        if not part.noted_bytes:
            self._drop(part)
        elif part.fd >= 0:
            with contextlib.suppress(OSError):  # what is noted was synced
                self._close(part)

    def _drop(self, part: Part) -> None:
        if part.fd >= 0:
            with contextlib.suppress(OSError):  # what is dropped need not have arrived
                self._close(part)
            self._unlink(part)
        elif part.noted_bytes:
            self._unlink(part)
        if part.noted_bytes and part.stated is not None:
            part.noted_bytes = 0
            self._noted(Note(part.series_id, part.stated.stem, None))

    def _close(self, part: Part) -> None:
        # Whatever close says, the number is free afterwards, and may be another file's already: never close it twice.
        fd, part.fd = part.fd, -1
        self._open.discard(part)
        os.close(fd)

    def _unlink(self, part: Part) -> None:
        with contextlib.suppress(OSError):  # a leftover in staging is swept by the next run
            (self._staging / part.name).unlink()


def _write_all(fd: int, views: list[memoryview]) -> None:
    """Write all the views, whatever the kernel takes at a time."""
    if not hasattr(os, "writev"):  # Windows
        for view in views:
            while len(view):
                view = view[os.write(fd, view) :]  # noqa: PLW2901 - what is left of it
        return
    at = 0
    while at < len(views):
        written = os.writev(fd, views[at : at + _IOV_MAX])
        while at < len(views) and written >= len(views[at]):
            written -= len(views[at])
            at += 1
        if written:
            views = [views[at][written:], *views[at + 1 :]]
            at = 0
