"""Files that lie somewhere already, read to their end: who each is, whether it is whole, and its XXH3-128.

    for found in iter_found(folder): ...

Whoever brought them left no record, so nothing is believed but their bytes: names and folders say nothing, and a file
that ends before its data set does is found out. Links are not followed and devices not opened, wherever they lead.
Files are read and hashed in threads, many small ones to a task; memory holds the names of one folder, the folders that
are still to be looked at, and a few files' first bytes.

What must not be here: what is wanted, and what becomes of a file (`record.adopt`).
"""

import enum
import os
import stat
import threading
from collections import deque
from collections.abc import Collection, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import Final, NamedTuple

import xxhash

from dicomhaul.errors import NotDicom, NotWritable, Truncated
from dicomhaul.land.folder import PRIVATE
from dicomhaul.model import Identity
from dicomhaul.wire.part10 import Skimmer

_BUFFER_BYTES: Final = 1 << 20
_TASK_BYTES: Final = 8 << 20
_TASK_FILES: Final = 64
_PREFIX: Final = slice(128, 132)
_SUFFIX: Final = ".dcm"
_NO_FILE: Final = "a link or a device"
_OPEN_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO that took a file's place must not hold us
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


class Flaw(enum.StrEnum):
    """Why a file is no instance that could be taken."""

    NOT_A_FILE = "not a file"  # a link, a device, a socket: not opened
    NOT_DICOM = "not DICOM"
    DAMAGED = "damaged"  # it ends too early, cannot be followed to its end, or cannot be read


class Version(NamedTuple):
    """What tells a file from another one that took its place, and from itself before it was written to."""

    device: int
    inode: int
    size_bytes: int
    modified_ns: int


class Found(NamedTuple):
    """One file. Where it has a flaw, the rest counts for nothing."""

    path: str
    flaw: Flaw | None = None
    reason: str = ""  # never content
    version: Version = Version(0, 0, 0, 0)
    xxh3: bytes = b""
    identity: Identity = Identity()

    @property
    def name(self) -> str:
        """The file's name, without `.dcm`."""
        return os.path.basename(self.path).removesuffix(_SUFFIX)  # noqa: PTH119 - a Path a file costs as much as its hash

    @property
    def size_bytes(self) -> int:
        """How many bytes it has."""
        return self.version.size_bytes


def version_of(status: os.stat_result) -> Version:
    """Return what tells a file from another."""
    return Version(status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)


def iter_found(
    root: Path,
    *,
    leave_out: Collection[Path] = (),
    own: Collection[str] = (),
    sync: bool = False,
    threads: int | None = None,
) -> Generator[Found]:
    """Yield every file below a folder, at any depth: folder by folder, each by name, whatever it is called.

    Args:
        root: the folder; it may be a link itself.
        leave_out: folders that are not entered, resolved. One called `.dicomhaul` never is.
        own: names in `root` that are not looked at.
        sync: see that the bytes of each outlast a power cut: for who will have it somewhere else under another name.
        threads: how many read and hash; None: one a core, at most 8.

    Raises NotWritable where the folder itself cannot be listed. One below that cannot is `damaged`.
    """
    count = threads or min(8, os.cpu_count() or 1)
    pending: deque[Future[list[Found]]] = deque()
    with ThreadPoolExecutor(count, thread_name_prefix="found") as pool:
        try:
            with closing(_iter_tasks(root, frozenset(leave_out), frozenset(own))) as tasks:
                for task in tasks:
                    if isinstance(task, Found):
                        yield task
                        continue
                    pending.append(pool.submit(_read_all, task, sync=sync))
                    while len(pending) > count * 4:
                        yield from pending.popleft().result()
            while pending:
                yield from pending.popleft().result()
        finally:
            pool.shutdown(cancel_futures=True)


def _iter_tasks(root: Path, leave_out: frozenset[Path], own: frozenset[str]) -> Generator[Found | list[str]]:
    """Yield paths to read, some at a time, and what need not be opened to be judged."""
    waiting = [os.fspath(root)]
    while waiting:
        folder = waiting.pop()
        try:
            with os.scandir(folder) as listed:
                entries = sorted(listed, key=lambda entry: entry.name)
        except OSError as error:
            if folder == os.fspath(root):
                raise NotWritable(f"cannot list {root}: {error.strerror or error}") from error
            yield Found(folder, Flaw.DAMAGED, f"the folder cannot be listed: {error.strerror or error}")
            continue
        folders: list[str] = []
        files: list[os.DirEntry[str]] = []
        for entry in entries:
            if entry.name == PRIVATE or (entry.name in own and folder == os.fspath(root)):
                continue
            if entry.is_dir(follow_symlinks=False):
                if not leave_out or Path(entry.path).resolve() not in leave_out:
                    folders.append(entry.path)
            elif entry.is_file(follow_symlinks=False):
                files.append(entry)
            else:
                yield Found(entry.path, Flaw.NOT_A_FILE, _NO_FILE)
        yield from _split(files)
        waiting.extend(reversed(folders))


def _split(files: list["os.DirEntry[str]"]) -> Iterator[list[str]]:
    """Cut the files of one folder into tasks."""
    task: list[str] = []
    task_bytes = 0
    for entry in files:
        task.append(entry.path)
        with suppress(OSError):  # it has gone meanwhile, of which its reader tells
            task_bytes += entry.stat(follow_symlinks=False).st_size
        if task_bytes >= _TASK_BYTES or len(task) >= _TASK_FILES:
            yield task
            task, task_bytes = [], 0
    if task:
        yield task


def _read_all(paths: list[str], *, sync: bool) -> list[Found]:
    return [read_found(path, sync=sync) for path in paths]


_local = threading.local()


def read_found(path: str, *, sync: bool = False) -> Found:
    """Read one file to its end; see `iter_found`."""
    buffer: bytearray | None = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = bytearray(_BUFFER_BYTES)
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
        with open(descriptor, "rb", buffering=0) as opened:  # noqa: PTH123 - a descriptor has no path
            before = os.fstat(descriptor)
            if not stat.S_ISREG(before.st_mode):
                return Found(path, Flaw.NOT_A_FILE, _NO_FILE)
            skimmer, digest, head = Skimmer(), xxhash.xxh3_128(), b""
            view = memoryview(buffer)
            try:
                while count := opened.readinto(buffer):
                    head = head or bytes(view[: min(count, _PREFIX.stop)])
                    digest.update(view[:count])
                    skimmer.feed(view[:count])
                identity = skimmer.finish()
            except (NotDicom, Truncated) as error:
                return _flawed(path, head, before.st_size, error)
            if skimmer.lost_at is not None:  # no answer's framing vouches for the end of a file
                return Found(path, Flaw.DAMAGED, f"it cannot be followed from byte {skimmer.lost_at:,} of its data set")
            if sync:
                os.fsync(descriptor)
            version = version_of(os.fstat(descriptor))
    except OSError as error:
        return Found(path, Flaw.DAMAGED, f"it cannot be read: {error.strerror or type(error).__name__}")
    if version != version_of(before) or skimmer.size != version.size_bytes:
        return Found(path, Flaw.DAMAGED, "it was written to while it was read")
    return Found(path, None, "", version, digest.digest(), identity)


def _flawed(path: str, head: bytes, size_bytes: int, error: NotDicom | Truncated) -> Found:
    """Tell what has nothing to do with DICOM from an instance that was cut."""
    begun = head[_PREFIX] == b"DICM" or (isinstance(error, Truncated) and len(head) == _PREFIX.stop)
    if begun or (size_bytes < _PREFIX.stop and path.endswith(_SUFFIX) and isinstance(error, Truncated)):
        return Found(path, Flaw.DAMAGED, str(error))
    return Found(path, Flaw.NOT_DICOM)
