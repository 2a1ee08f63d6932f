"""Re-reads the tree below a destination against the ledger, and names what the ledger doesn't know.

Expected files come folder by folder. A folder is listed once: what is missing, is no file, has another size
or is foreign shows there, without opening anything. The rest is read and hashed in threads (reading and
hashing release the interpreter lock), many small files to a task. Memory holds the names of one folder and a
digest of each folder's path.

Links are not followed, neither for a file nor for a folder below the destination: bytes that lie elsewhere
are not what was landed here. The destination itself may be a link.
"""

import os
import stat
import threading
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Final

import xxhash

from dicomhaul.audit.findings import Checked, Expected, Finding, Problem
from dicomhaul.errors import LedgerError, NotWritable

OWN_NAMES: Final = frozenset({".dicomhaul", "index.parquet", ".index.parquet.part"})  # ours, at the destination's root

_BUFFER_BYTES = 1 << 20
_TASK_BYTES = 8 << 20
_TASK_FILES = 64
_OPEN_FLAGS: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO that took a file's place must not hold us
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
)


def verify_tree(
    dest: Path,
    expected: Iterable[Expected],
    *,
    leaving: Iterable[tuple[str, str]] = (),
    threads: int | None = None,
    checked: Checked | None = None,
) -> Iterator[Finding]:
    """Check every expected file, then look for foreign ones; yield what is wrong, in the order of `expected`.

    Args:
        dest: the destination.
        expected: what the ledger holds as landed. Rows of one folder should be adjacent, for then it is listed once;
            where several series share a folder, it is listed for each.
        leaving: folder and name of files that are on their way out: whether there or not, they are no strangers.
        threads: how many read and hash; None: one a core, at most 8.
        checked: totals to add to.

    Raises:
        NotWritable: the destination itself cannot be listed.
        LedgerError: the ledger holds a path that leads out of the destination.
    """
    checked = checked if checked is not None else Checked()
    if not dest.is_dir():
        raise NotWritable(f"{dest} is not a folder that can be read")
    tree = Tree(dest)
    for finding in _check_all(tree, expected, threads or min(8, os.cpu_count() or 1), checked):
        checked.findings += 1
        yield finding
    for folder, rows in groupby(leaving, key=lambda row: row[0]):
        tree.note_others(folder, tree.list_folder(folder), {name for _, name in rows})
    for path in tree.iter_foreign():
        checked.findings += 1
        yield Finding(Problem.FOREIGN, path)


def _check_all(tree: "Tree", expected: Iterable[Expected], threads: int, checked: Checked) -> Iterator[Finding]:
    pending: deque[Future[_Result]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="verify") as pool:
        try:
            for folder, rows in groupby(expected, key=lambda row: row.folder):
                listed = tree.list_folder(folder)
                names: set[str] = set()
                task: list[Expected] = []
                task_bytes = 0
                for row in rows:
                    names.add(row.file)
                    task.append(row)
                    task_bytes += row.size_bytes
                    if task_bytes >= _TASK_BYTES or len(task) >= _TASK_FILES:
                        pending.append(pool.submit(_check_files, tree.dest, listed, task))
                        task, task_bytes = [], 0
                        while len(pending) > threads * 4:
                            yield from pending.popleft().result().add_to(checked)
                if task:
                    pending.append(pool.submit(_check_files, tree.dest, listed, task))
                while len(pending) > threads * 4:
                    yield from pending.popleft().result().add_to(checked)
                tree.note_others(folder, listed, names)
            while pending:
                yield from pending.popleft().result().add_to(checked)
        finally:
            pool.shutdown(cancel_futures=True)


@dataclass(frozen=True, slots=True)
class _Result:
    instances: int
    size_bytes: int
    findings: list[Finding]

    def add_to(self, checked: Checked) -> list[Finding]:
        checked.instances += self.instances
        checked.size_bytes += self.size_bytes
        return self.findings


@dataclass(frozen=True, slots=True)
class Listing:
    """What a folder holds by name: True for a regular file. `problem` says why it could not be listed."""

    regular: dict[str, bool]
    folders: frozenset[str]
    problem: Problem | None = None
    detail: str = ""

    def others(self, expected: set[str]) -> set[str]:
        return self.regular.keys() - expected - self.folders


class Tree:
    """The folders below a destination: each listed once, links never followed."""

    def __init__(self, dest: Path) -> None:
        self.dest = dest
        self._known: set[bytes] = set()  # digests of the folders where the ledger has files
        self._others: dict[
            str, set[str]
        ] = {}  # names in those folders that nothing expected so far, where there are any
        self._parent: tuple[str, Listing | None] = (
            "",
            None,
        )  # the last parent looked at, and what is wrong with it

    def list_folder(self, folder: str) -> Listing:
        """List a folder of the ledger's. Raises LedgerError for one that leads out of the destination."""
        parts = folder.split("/") if folder else []
        if any(part in {"", ".", ".."} or os.sep in part or "\0" in part for part in parts):
            raise LedgerError(f"the ledger holds the impossible folder {folder[:80]!r}")
        parent = folder.rpartition("/")[0]
        if self._parent[0] != parent or self._parent[1] is None:
            self._parent = (parent, self._problem_above(parts[:-1]))
        above = self._parent[1]
        if above is None and parts:
            above = self._problem_above(parts, start=len(parts) - 1)
        return above or _list(self.dest.joinpath(*parts), at_root=not parts)

    def _problem_above(self, parts: list[str], start: int = 0) -> Listing | None:
        for end in range(start + 1, len(parts) + 1):
            path = self.dest.joinpath(*parts[:end])
            try:
                mode = path.lstat().st_mode
            except FileNotFoundError:
                return Listing({}, frozenset(), Problem.MISSING)
            except OSError as error:
                return Listing({}, frozenset(), Problem.UNREADABLE, error.strerror or "")
            if stat.S_ISLNK(mode):
                return Listing({}, frozenset(), Problem.NOT_A_FILE, "its folder is a symbolic link")
            if not stat.S_ISDIR(mode):
                return Listing({}, frozenset(), Problem.MISSING)
        return None

    def note_others(self, folder: str, listed: Listing, expected: set[str]) -> None:
        """Remember what a folder holds beside the expected names; one that comes again has fewer each time."""
        key = _key(folder)
        others = listed.others(expected)
        if key in self._known:
            others &= self._others.pop(folder, set())
        self._known.add(key)
        if others:
            self._others[folder] = others

    def iter_foreign(self) -> Iterator[str]:
        """Walk the tree and yield the path of what no row of the ledger stands for, folders excepted."""
        waiting = [""]
        while waiting:
            folder = waiting.pop()
            listing = _list(self.dest / folder, at_root=not folder)
            prefix = f"{folder}/" if folder else ""
            known = _key(folder) in self._known
            for name in sorted(self._others.get(folder, set()) if known else listing.others(set())):
                yield prefix + name
            waiting.extend(prefix + name for name in sorted(listing.folders, reverse=True))


def _key(folder: str) -> bytes:
    # macOS may list a name in another normal form than it was made with.
    return xxhash.xxh3_128_digest(unicodedata.normalize("NFC", folder).encode("utf-8", "surrogatepass"))


def _list(path: Path, *, at_root: bool) -> Listing:
    regular: dict[str, bool] = {}
    folders: set[str] = set()
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                if at_root and entry.name in OWN_NAMES:
                    continue
                regular[entry.name] = entry.is_file(follow_symlinks=False)
                if entry.is_dir(follow_symlinks=False):
                    folders.add(entry.name)
    except FileNotFoundError:
        return Listing({}, frozenset(), Problem.MISSING)
    except OSError as error:
        return Listing({}, frozenset(), Problem.UNREADABLE, error.strerror or "")
    return Listing(regular, frozenset(folders))


def _check_files(dest: Path, listed: Listing, rows: list[Expected]) -> _Result:
    findings = []
    read_bytes = 0
    base = os.path.join(dest, *rows[0].folder.split("/"))  # noqa: PTH118 - a Path a file costs as much as its hash
    for row in rows:
        name = row.file
        problem, detail, size_bytes = listed.problem, listed.detail, 0
        if problem is None:
            regular = listed.regular.get(name)
            if regular is None:
                problem = Problem.MISSING
            elif not regular:
                problem, detail = Problem.NOT_A_FILE, "a link, a folder or a device has taken its place"
            else:
                problem, detail, size_bytes = _check_file(f"{base}{os.sep}{name}", row)
        read_bytes += size_bytes
        if problem is not None:
            findings.append(Finding(problem, row.path, row.series_id, row.sop, detail))
    return _Result(len(rows), read_bytes, findings)


_local = threading.local()


def _check_file(  # noqa: PLR0911 - one way out for each thing that can be wrong
    path: str, row: Expected
) -> tuple[Problem | None, str, int]:
    """Read one file; return what is wrong with it, if anything, some detail, and how many bytes were read."""
    buffer: bytearray | None = getattr(_local, "buffer", None)
    if buffer is None:
        buffer = _local.buffer = bytearray(_BUFFER_BYTES)
    view = memoryview(buffer)
    read_bytes = 0
    try:
        descriptor = os.open(path, _OPEN_FLAGS)
        with open(descriptor, "rb", buffering=0) as opened:  # noqa: PTH123 - a descriptor has no path
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                return Problem.NOT_A_FILE, "a link, a folder or a device has taken its place", 0
            if status.st_size != row.size_bytes:
                return Problem.SIZE, f"{status.st_size:,} bytes instead of {row.size_bytes:,}", 0
            hasher = xxhash.xxh3_128()
            while count := opened.readinto(buffer):
                hasher.update(view[:count])
                read_bytes += count
    except FileNotFoundError:
        return Problem.MISSING, "", read_bytes
    except OSError as error:
        return Problem.UNREADABLE, error.strerror or type(error).__name__, read_bytes
    if read_bytes != row.size_bytes:
        return Problem.SIZE, f"{read_bytes:,} bytes instead of {row.size_bytes:,}", read_bytes
    if hasher.digest() != row.xxh3:
        return Problem.CONTENT, "", read_bytes
    return None, "", read_bytes
