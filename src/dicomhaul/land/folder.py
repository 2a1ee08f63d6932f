"""The destination: a folder on a filesystem, with staging beside it.

A part becomes an instance by one rename, from `DEST/.dicomhaul/staging/` to `DEST/<folder>/<SOP Instance UID>.dcm`, or
to the name of the object that it came from, as idc-index has it, where the destination names files so.
Both are on one filesystem, so a reader sees the whole file or none. A folder is synced after the renames into it, and
its parent when it was created: only then does the ledger say that the instance is there.
"""

import contextlib
import os
import shutil
import stat
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path
from typing import Final

from dicomhaul.errors import NotWritable
from dicomhaul.land.writer import Staged, landing_error
from dicomhaul.model import Partial
from dicomhaul.plan.estimate import Room

PRIVATE: Final = ".dicomhaul"
_STAGING: Final = "staging"
_KNOWN_FOLDERS: Final = 10_000


def instance_file(sop: str, stem: str | None = None) -> str:
    """Return the name of an instance's file; `stem` where files are named by the objects that they came from."""
    return f"{stem or sop}.dcm"


def instance_path(folder: str, file: str) -> str:
    """Return an instance's path relative to the destination, `/`-separated."""
    return f"{folder}/{file}" if folder else file


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
        self.private = self.root / PRIVATE
        self.staging = self.private / apart / _STAGING
        self._folders: set[str] = set()  # made and checked

    def prepare(self) -> None:
        """Create the destination and its private folder (0700). Raises NotWritable or DiskFull."""
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            for folder in (self.private, self.staging.parent, self.staging):
                folder.mkdir(mode=0o700, exist_ok=True)
            probe = self.staging / f"probe-{os.getpid()}"
            probe.write_bytes(b"")
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
        """Give staged instances their final path, and sync every folder that this touched. Raises LandingError."""
        touched: dict[str, None] = {}
        try:
            for staged in batch:
                if staged.folder not in self._folders:
                    self._make(staged.folder, touched)
                os.replace(self.staging / staged.name, self.path(staged.folder, staged.file))  # noqa: PTH105 - 1 us less
                touched[staged.folder] = None
            for folder in touched:
                self._sync(folder)
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
        """Return an instance's absolute path."""
        return self.root / instance_path(folder, file)

    def _make(self, folder: str, touched: dict[str, None]) -> None:
        if len(self._folders) >= _KNOWN_FOLDERS:
            self._folders.clear()
        for parent in reversed(list(_below(folder))):
            if parent in self._folders:
                continue
            path = self.root / parent
            try:
                path.mkdir()
            except FileExistsError:
                # A link that somebody put into the tree could lead out of it.
                if path.is_symlink():
                    raise NotWritable("a folder below the destination is a symbolic link") from None
            # Also one that was there: whoever made it may have died before this.
            touched[parent.rpartition("/")[0]] = None
            self._folders.add(parent)

    def _sync(self, folder: str) -> None:
        if os.name == "nt":  # NTFS journals its directories; they cannot be opened
            return
        fd = os.open(f"{self.root}/{folder}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _below(folder: str) -> Iterator[str]:
    while folder:
        yield folder
        folder = folder.rpartition("/")[0]
