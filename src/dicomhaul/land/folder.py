"""The destination: a folder on a filesystem, with staging beside it.

A part becomes an instance by one rename, from `DEST/.dicomhaul/staging/` to `DEST/<folder>/<SOP Instance UID>.dcm`, or
to the name of the object that it came from, as idc-index has it, where the destination names files so.
Both are on one filesystem, so a reader sees the whole file or none. A folder is synced after the renames into it, and
its parent when it was created: only then does the ledger say that the instance is there.

Nothing here follows a link below the destination, whoever put it there and when: folders are entered one after the
other by descriptor, files are made where nothing is. The ledger of a destination may be somebody else's work, so what
it says of folders is looked at before it becomes a path.
"""

import contextlib
import itertools
import os
import re
import shutil
import stat
import uuid
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from dicomhaul.durable import make_folders, sync_folder
from dicomhaul.errors import LedgerError, NotWritable
from dicomhaul.land.layout import apart
from dicomhaul.land.writer import Staged, landing_error
from dicomhaul.model import Partial
from dicomhaul.plan.estimate import Room

PRIVATE: Final = ".dicomhaul"
_STAGING: Final = "staging"
_BESIDE: Final = "beside"
_KNOWN_FOLDERS: Final = 10_000
_ENTER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)
_NO_LINK: Final = getattr(os, "O_NOFOLLOW", 0)
_LINKED: Final = "a folder below the destination is a symbolic link"
# A component that is empty, a dot or two, or that Windows would split; and our own folder.
_IMPOSSIBLE: Final = re.compile(r"(?:\A|/)\.{0,2}(?:/|\Z)|[\0\\]|\A\.dicomhaul(?:/|\Z)", re.IGNORECASE)
# Of our own, only those in which a new revision lands beside the old one.
_SIDE: Final = re.compile(rf"\.dicomhaul/(?:shard-[1-9][0-9]{{0,5}}-of-[1-9][0-9]{{0,5}}/)?{_BESIDE}/[0-9a-f]{{32}}\Z")


def instance_file(sop: str, stem: str | None = None) -> str:
    """Return the name of an instance's file; `stem` where files are named by the objects that they came from."""
    return f"{apart(stem or sop)}.dcm"


def instance_path(folder: str, file: str) -> str:
    """Return an instance's path relative to the destination, `/`-separated."""
    return f"{folder}/{file}" if folder else file


def check_below(folder: str) -> str:
    """Return a folder as a ledger has it, if it lies below the destination and is not our own, or is a side folder.

    Raises LedgerError.
    """
    if folder and _IMPOSSIBLE.search(folder) and not _SIDE.match(folder):
        raise LedgerError("the ledger holds a folder that does not lie below the destination")
    return folder


def beside_folder(apart: str) -> str:
    """Return where new revisions land, relative to the destination and with a `/` at its end; `apart` as `Folder`."""
    return "/".join(filter(None, (PRIVATE, apart, _BESIDE, ""))) + "/"


def free_name(folder: Path, name: str) -> str:
    """Return a name that nothing in a folder has: `name`, or the same with a number at its end."""
    if not os.path.lexists(folder / name):
        return name
    return next(each for number in itertools.count(2) if not os.path.lexists(folder / (each := f"{name}.{number}")))


def long_path(path: Path) -> Path:
    r"""Return the path in the form that has no 260-character limit on Windows (`\\?\`); elsewhere, as it is."""
    if os.name != "nt":
        return path
    return Path("\\\\?\\" + str(path.absolute()))


class Folder:
    """A destination. Used by one thread at a time (the recorder's), except `staging`, which never changes."""

    def __init__(self, root: Path, apart: str = "") -> None:
        """`apart`: the private folder below the private one of a part of the cohort that is pulled by itself."""
        self.root = long_path(root)
        self.apart = apart
        self.private = self.root / PRIVATE
        self.staging = self.private / apart / _STAGING
        self._folders: set[str] = set()  # made and checked

    def prepare(self) -> None:
        """Create the destination and its private folder, which stays private (0700). Raises NotWritable or DiskFull."""
        try:
            make_folders(self.root)
            for folder in (self.private, self.staging.parent, self.staging):
                make_folders(folder, 0o700)
                _keep_private(folder)
            probe = self.staging / f"probe-{uuid.uuid4().hex}"
            probe.touch(exist_ok=False)
            probe.unlink()
        except OSError as error:
            raise landing_error(error, f"use {self.root} as a destination") from error

    def room(self) -> Room:
        """What the filesystem of the destination, or of its nearest existing parent, has left."""
        place = self.root.absolute()
        while not place.exists():
            place = place.parent
        inodes = None
        if hasattr(os, "statvfs"):
            status = os.statvfs(place)
            inodes = status.f_favail if status.f_files else None
        return Room(shutil.disk_usage(place).free, inodes)

    def move(self, batch: Iterable[Staged]) -> None:
        """Give staged instances their final path, and sync every folder that this touched.

        Raises LandingError; LedgerError for a folder that cannot be one below the destination.
        """
        by_folder: dict[str, list[Staged]] = {}
        for staged in batch:
            by_folder.setdefault(staged.folder, []).append(staged)
        parents: dict[str, None] = {}  # of folders that are new to us
        try:
            for folder, parts in by_folder.items():
                self._fill(folder, parts, parents)
            for parent in parents:  # also one that was synced as a folder: perhaps before this one was made in it
                self._sync(parent)
        except OSError as error:
            self._folders.clear()
            raise landing_error(error, "move an instance to its place in the destination") from error

    def sync(self, folders: Iterable[str]) -> None:
        """Sync folders whose renames an interrupted run may not have synced, and those above. Raises LandingError."""
        try:
            for folder in {parent: None for each in folders for parent in (*_below(each), "")}:
                self._sync(folder)
        except OSError as error:
            raise landing_error(error, "sync a folder of the destination") from error

    def sweep(self, keep: Collection[str] = ()) -> int:
        """Delete what an interrupted run left in staging, except `keep`; return how many files. Raises LandingError."""
        swept = 0
        try:
            with os.scandir(self.staging) as entries:
                for entry in entries:
                    if entry.name in keep:
                        continue
                    with contextlib.suppress(FileNotFoundError):
                        Path(entry.path).unlink()
                        swept += 1
        except OSError as error:
            raise landing_error(error, f"clear {self.staging}") from error
        return swept

    def holds(self, partial: Partial) -> bool:
        """Say whether staging has at least those bytes of an object that were recorded; nobody has looked at them."""
        path = self.staging / partial.name
        try:
            status = path.lstat()
        except OSError:
            return False
        return path.parent == self.staging and stat.S_ISREG(status.st_mode) and status.st_size >= partial.offset

    def path(self, folder: str, file: str) -> Path:
        """Return an instance's absolute path. Raises LedgerError for a folder that lies elsewhere."""
        return self.root / instance_path(check_below(folder), file)

    def forget(self) -> None:
        """Folders may have gone, or changed their names: look at each again."""
        self._folders.clear()

    def real(self, folder: str) -> Path | None:
        """Return a folder below the destination; None where it, or one above it, is no folder or a link."""
        for each in reversed(list(_below(folder))):
            path = self.root / each
            if path.is_symlink() or not path.is_dir():
                return None
        return self.root / folder

    @contextlib.contextmanager
    def entered(self, folder: str) -> Iterator[int]:
        """Hold a folder below the destination open, made where it was not there, its name synced. Raises OSError.

        On Windows, whose folders have no descriptors, it is only made.
        """
        if os.name == "nt":
            self._make_by_path(folder)
            yield -1
            return
        parents: dict[str, None] = {}
        with self._entered(folder, parents) as there:
            for parent in parents:
                self._sync(parent)
            yield there

    def _fill(self, folder: str, parts: Iterable[Staged], parents: dict[str, None]) -> None:
        """Move what belongs into one folder there, and sync it; `parents` are to be synced, too."""
        check_below(folder)
        if len(self._folders) >= _KNOWN_FOLDERS:
            self._folders.clear()
        if os.name == "nt":  # its folders have no descriptors, and NTFS journals them
            self._make_by_path(folder)
            for staged in parts:
                os.replace(self.staging / staged.name, self.path(folder, staged.file))  # noqa: PTH105 - as below
            return
        with self._entered(folder, parents) as there:
            for staged in parts:
                os.replace(self.staging / staged.name, staged.file, dst_dir_fd=there)
            os.fsync(there)

    @contextlib.contextmanager
    def _entered(self, folder: str, parents: dict[str, None]) -> Iterator[int]:
        """Hold a folder below the destination open by its descriptor, making it where it is not there."""
        there = os.open(self.root, _ENTER)
        try:
            for path in reversed(list(_below(folder))):
                parent, _, name = path.rpartition("/")
                if path not in self._folders:
                    with contextlib.suppress(FileExistsError):
                        os.mkdir(name, dir_fd=there)
                    # Also of one that was there: whoever made it may have died before this.
                    parents[parent] = None
                above = there
                there = _enter(name, above)
                os.close(above)
                self._folders.add(path)
            yield there
        finally:
            os.close(there)

    def _make_by_path(self, folder: str) -> None:
        for parent in reversed(list(_below(folder))):
            path = self.root / parent
            path.mkdir(exist_ok=True)
            if path.is_symlink():
                raise NotWritable(_LINKED)

    def _sync(self, folder: str) -> None:
        sync_folder(self.root / folder)


def _enter(name: str, above: int) -> int:
    """Open a folder in an open folder, unless it is a link. Raises NotWritable, OSError."""
    try:
        return os.open(name, _ENTER | _NO_LINK, dir_fd=above)
    except OSError:
        if stat.S_ISLNK(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode):
            raise NotWritable(_LINKED) from None
        raise


def _keep_private(folder: Path) -> None:
    """See that one of our own folders is one, and for nobody else. Raises NotWritable, OSError."""
    mode = folder.lstat().st_mode
    if not stat.S_ISDIR(mode):
        raise NotWritable(f"{folder} is a symbolic link; to keep the ledger elsewhere, use --state-dir")
    if mode & 0o077:
        with contextlib.suppress(PermissionError):  # it is not ours, or this filesystem knows no modes
            folder.chmod(0o700)


def _below(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
