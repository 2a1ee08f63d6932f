"""The trash of a destination: `DEST/.dicomhaul/trash/<day it came in>/<folder>/<file>`, and the folders of ours.

Files get there by a rename, so they cost nothing and nobody sees half of one. What has its name already keeps it: the
next gets a number. Nothing follows a link; what is no day is left alone.
"""

import os
import re
import shutil
from collections.abc import Collection, Iterable
from datetime import date
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple

from dicomhaul.durable import sync_folder
from dicomhaul.land.folder import PRIVATE, Folder, beside_folder, free_name, instance_path
from dicomhaul.land.writer import landing_error

_TRASH: Final = f"{PRIVATE}/trash"
_DAY: Final = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")
_SIDE: Final = re.compile(r"[0-9a-f]{32}~?\Z")


class Leaving(NamedTuple):
    """A file that leaves.

    Attributes:
        lies: the folder where it lies.
        file: its name.
        folder: where it belonged in the tree; of one that lies there, the same.
    """

    lies: str
    file: str
    folder: str


def discard(folder: Folder, day: date, files: Iterable[Leaving]) -> list[bool]:
    """Move files to the trash of a day; say of each whether it was there. Folders that this empties are removed.

    Raises LandingError; LedgerError for a folder that cannot be one below the destination.
    """
    there: list[bool] = []
    try:
        for (lies, home), group in groupby(files, key=lambda each: (each.lies, each.folder)):
            names = [each.file for each in group]
            there += _discard(folder, day, lies, home, names)
            clear_empty(folder, lies)
    except OSError as error:
        raise landing_error(error, "move a file to the trash") from error
    finally:
        folder.forget()
    return there


def _discard(folder: Folder, day: date, lies: str, home: str, names: list[str]) -> list[bool]:
    source, target = folder.real(lies), f"{_TRASH}/{day.isoformat()}/{home}".rstrip("/")
    if source is None:
        return [False] * len(names)
    with folder.entered(target):
        pass
    there = [_move(source / name, folder.root / target, name) for name in names]
    if any(there):
        sync_folder(folder.root / target)
        sync_folder(source)
    return there


def _move(source: Path, target: Path, name: str) -> bool:
    if not os.path.lexists(source):
        return False
    source.rename(target / free_name(target, name))
    return True


def clear_empty(folder: Folder, lies: str) -> None:
    """Remove a folder below the destination that is empty, and those above it that are. Raises OSError."""
    name = lies if folder.real(lies) is not None else ""
    while name and name != PRIVATE:
        try:
            (folder.root / name).rmdir()
        except OSError:  # it holds something
            return
        name = name.rpartition("/")[0]
        sync_folder(folder.root / name)


def purge(folder: Folder, today: date, days: int) -> int:
    """Remove, for good, what came into the trash `days` days ago or before; return how many days that were.

    Raises LandingError.
    """
    trash = folder.real(_TRASH)
    if trash is None:
        return 0
    purged = 0
    try:
        for entry in sorted(trash.iterdir()):
            day = _day_of(entry.name)
            if day is not None and (today - day).days >= days and entry.is_dir() and not entry.is_symlink():
                shutil.rmtree(entry)
                purged += 1
        if purged:
            sync_folder(trash)
    except OSError as error:
        raise landing_error(error, "empty the trash") from error
    return purged


def _day_of(name: str) -> date | None:
    if not _DAY.match(name):
        return None
    try:
        return date.fromisoformat(name)
    except ValueError:
        return None


def sweep_beside(folder: Folder, keep: Collection[str]) -> int:
    """Remove the folders of ours beside the tree that are not among `keep`; return how many. Raises LandingError."""
    above = beside_folder(folder.apart)
    place = folder.real(above.rstrip("/"))
    if place is None:
        return 0
    swept = 0
    try:
        for entry in sorted(place.iterdir()):
            mine = entry.is_dir() and not entry.is_symlink() and _SIDE.match(entry.name)
            if mine and instance_path(above.rstrip("/"), entry.name.rstrip("~")) not in keep:
                shutil.rmtree(entry)
                swept += 1
    except OSError as error:
        raise landing_error(error, "remove what a revision left that is not wanted any more") from error
    return swept
