"""Files that are to be adopted get their place: linked, copied or moved into staging, and from there as all that lands.

    came, announced = placer.stage(batch)     # linked and copied
    ...                                       # `announced` is committed
    came |= placer.place(batch, came)         # everything to its place, and synced
    ...                                       # receipts are committed
    came = placer.clear(taken, came)          # of each: what was moved loses its old name

So a file that is moved has two names until it is recorded: no crash loses it. Where the filesystem knows no links it is
renamed into staging, and only after the intent that names it was committed: from then on recovery finds it there. What
changed since it was read is none that was read, and stays where it is.
"""

import enum
import os
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, NamedTuple

from dicomhaul.durable import sync_folder
from dicomhaul.errors import NotWritable
from dicomhaul.land.folder import Folder
from dicomhaul.land.found import Found, version_of
from dicomhaul.land.writer import Staged, landing_error
from dicomhaul.record.bring import copy_file, link_file

How = Literal["any", "link", "copy", "move"]  # any: linked where possible, else copied


class Came(enum.Enum):
    """How an instance came to its place."""

    LAY_RIGHT = "lay right"
    LINKED = "linked"
    COPIED = "copied"
    MOVED = "moved"


class Taken(NamedTuple):
    """A file that is to be adopted. `part.name` is '' where it lies in its place already."""

    part: Staged
    found: Found


class Placer:
    """Gives files their place in one destination, `how` for those that do not lie there."""

    def __init__(self, folder: Folder, how: How) -> None:
        self._folder = folder
        self._how = how
        self._device = _device_of(folder.staging)

    def foresee(self, taken: Taken) -> Came:
        """Say how a file would come."""
        if not taken.part.name:
            return Came.LAY_RIGHT
        if self._how == "move":
            return Came.MOVED
        return Came.COPIED if self._how == "copy" or not self._is_near(taken.found) else Came.LINKED

    def stage(self, batch: Sequence[Taken]) -> tuple[dict[str, Came], list[Staged]]:
        """Link or copy into staging what can be; return how each came, by path, and all that is to be announced.

        Raises LandingError.
        """
        came: dict[str, Came] = {}
        announced: list[Staged] = []
        for each in batch:
            if not each.part.name:
                came[each.found.path] = Came.LAY_RIGHT
                continue
            how = self._stage(each)
            if how is not None:
                came[each.found.path] = how
            if how is not None or self._is_renamed(each):
                announced.append(each.part)
        return came, announced

    def place(self, batch: Sequence[Taken], came: Mapping[str, Came]) -> dict[str, Came]:
        """Rename into staging what is left, and give all of it its place; return the former. Raises LandingError."""
        moved: dict[str, Came] = {}
        for each in batch:
            if each.found.path not in came and self._is_renamed(each) and _is_unchanged(each.found):
                try:
                    os.rename(each.found.path, self._folder.staging / each.part.name)  # noqa: PTH104 - as it was listed
                except OSError as error:
                    raise landing_error(error, "move an instance to its place in the destination") from error
                moved[each.found.path] = Came.MOVED
        self._folder.move(
            each.part for each in batch if each.part.name and (each.found.path in came or each.found.path in moved)
        )
        self._folder.sync({each.part.folder: None for each in batch if not each.part.name})
        return moved

    def clear(self, taken: Taken, came: Came) -> Came:
        """Take from what is moved its old name, now that it is recorded; return how it came. Raises LandingError."""
        if self._how != "move" or came is Came.LAY_RIGHT:
            return came
        remove_unchanged(taken.found)
        return Came.MOVED

    def _is_renamed(self, taken: Taken) -> bool:
        return self._how == "move" and self._is_near(taken.found)

    def _is_near(self, found: Found) -> bool:
        return found.version.device == self._device

    def _stage(self, taken: Taken) -> Came | None:
        """Link or copy a file into staging; None: it is not any more what was read."""
        source, target = Path(taken.found.path), self._folder.staging / taken.part.name
        try:
            if self._how != "copy" and link_file(source, target):
                if version_of(target.lstat()) == taken.found.version:
                    return Came.LINKED
                target.unlink()
                return None
            if self._how == "link":
                raise NotWritable(
                    "an instance cannot be linked into the destination: leave --link out, and it is copied"
                )
            if self._is_renamed(taken):
                return None
            return Came.COPIED if copy_file(source, target) == taken.found.xxh3 else None
        except FileNotFoundError:
            return None
        except OSError as error:
            raise landing_error(error, "bring an instance to the destination") from error


def sync_above(paths: Iterable[str]) -> None:
    """Make safe that what was moved has lost these old names. Raises LandingError."""
    try:
        for folder in {os.path.dirname(path) for path in paths}:  # noqa: PTH120 - as it was listed
            sync_folder(Path(folder))
    except OSError as error:
        raise landing_error(error, "sync a folder whose files were moved") from error


def remove_unchanged(found: Found) -> None:
    """Remove a file whose bytes the destination has, unless it changed since it was read. Raises LandingError."""
    if _is_unchanged(found):
        try:
            with suppress(FileNotFoundError):
                os.unlink(found.path)  # noqa: PTH108 - as it was listed
        except OSError as error:
            raise landing_error(error, "remove what was moved to the destination") from error


def _device_of(place: Path) -> int:
    """Return the filesystem of a folder that need not be there yet."""
    place = place.absolute()
    while not place.exists():
        place = place.parent
    return place.stat().st_dev


def _is_unchanged(found: Found) -> bool:
    try:
        return version_of(Path(found.path).lstat()) == found.version
    except OSError:
        return False
