"""Files of one destination become files of another: linked where possible, else copied and held to their digest.

They are staged first and then given their place by `Folder.move`, as everything that lands is: a reader sees a whole
file or none, folders are synced, and a link that somebody put into the tree is not followed. Nothing is changed where
they come from. A landed file is never written again, only replaced, so that two trees can share one.
"""

import errno
import os
import stat
import uuid
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Final

import xxhash

from dicomhaul.land.folder import Folder, instance_file
from dicomhaul.land.writer import Staged, landing_error
from dicomhaul.model import Check
from dicomhaul.record.unite import Begun, Taken

_BATCH: Final = 1_000
_PIECE_BYTES: Final = 1 << 20
_UNLINKABLE: Final = frozenset(
    {errno.EXDEV, errno.EPERM, errno.EACCES, errno.EMLINK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP}
)


class Bringer:
    """Brings files to one destination. `linked`, `copied`: how many so far.

    `by_stem`: whether its files are named by the objects that they came from; asked when they come.
    """

    def __init__(self, folder: Folder, *, by_stem: Callable[[], bool]) -> None:
        self._folder = folder
        self._by_stem = by_stem
        self.linked = 0
        self.copied = 0

    def bring(self, there: Folder, taken: Iterable[Taken]) -> Iterator[tuple[int, str]]:
        """Bring instances; yield (series id, SOP Instance UID) of those that are not there, or not what was recorded.

        Raises LandingError where they cannot be written.
        """
        left, by_stem = iter(taken), self._by_stem()
        while batch := list(islice(left, _BATCH)):
            staged: list[Staged] = []
            in_place: dict[str, None] = {}
            for each in batch:
                file = instance_file(each.sop, each.stem if by_stem else None)
                source, place = there.path(each.there, file), self._folder.path(each.folder, file)
                if not _is_there(source, each.size_bytes):
                    yield each.series_id, each.sop
                elif _is_same(source, place):  # an earlier try came so far
                    in_place[each.folder] = None
                elif (name := self._stage(source, each.xxh3)) is None:
                    yield each.series_id, each.sop
                else:
                    staged.append(_staged(each, file, name))
            self._folder.move(staged)
            self._folder.sync(in_place)

    def carry(self, there: Folder, begun: Begun, *, link: bool) -> str | None:
        """Bring the beginning of an object into staging; return its name there. `link` only if nobody else goes on."""
        source, name = there.staging / begun.name, new_name()
        if source.parent != there.staging or not _is_there(source, begun.offset, at_least=True):
            return None
        try:
            if not (link and link_file(source, self._folder.staging / name)):
                copy_file(source, self._folder.staging / name)
        except OSError as error:
            raise landing_error(error, "bring what is begun of an object") from error
        return name

    def _stage(self, source: Path, xxh3: bytes) -> str | None:
        name = new_name()
        try:
            if link_file(source, self._folder.staging / name):
                self.linked += 1
                return name
            digest = copy_file(source, self._folder.staging / name)
        except OSError as error:
            raise landing_error(error, "bring an instance to the destination") from error
        if digest != xxh3:
            return None  # left to the sweep of staging
        self.copied += 1
        return name


def new_name() -> str:
    """Return a name in staging that nothing has."""
    return f"brought-{uuid.uuid4().hex}"


def _staged(taken: Taken, file: str, name: str) -> Staged:
    return Staged(
        taken.series_id,
        taken.folder,
        file,
        taken.sop,
        taken.size_bytes,
        taken.xxh3,
        name,
        Check(taken.checked),
        taken.stem,
    )


def _is_there(path: Path, size_bytes: int, *, at_least: bool = False) -> bool:
    try:
        status = path.lstat()
    except OSError:
        return False
    fits = status.st_size >= size_bytes if at_least else status.st_size == size_bytes
    return stat.S_ISREG(status.st_mode) and fits


def _is_same(source: Path, place: Path) -> bool:
    try:
        return os.path.samestat(source.lstat(), place.lstat())
    except OSError:
        return False


def link_file(source: Path, place: Path) -> bool:
    """Link a file; False where only a copy will do."""
    try:
        os.link(source, place, follow_symlinks=False)
    except NotImplementedError:
        return False
    except OSError as error:
        if error.errno in _UNLINKABLE:
            return False
        raise
    return True


def copy_file(source: Path, place: Path) -> bytes:
    """Copy a file, synced; return the XXH3-128 of what was written."""
    digest = xxhash.xxh3_128()
    with source.open("rb") as reading, place.open("xb") as writing:
        while piece := reading.read(_PIECE_BYTES):
            digest.update(piece)
            writing.write(piece)
        writing.flush()
        os.fsync(writing.fileno())
    return digest.digest()
