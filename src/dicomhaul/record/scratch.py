"""Folders that are needed for a while beside a destination, and removed again: at the end, or by whoever comes next.

Its maker holds a kernel lock in it, so one whose lock is free has lost its maker. Only what is surely such a folder is
removed: by its name, of this user, with its lock file, and with the private folder of a destination, which is made
after the lock is held.
"""

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from dicomhaul.errors import HaulError
from dicomhaul.land.folder import PRIVATE
from dicomhaul.land.writer import landing_error
from dicomhaul.record.lock import exclusive

_PREFIX: Final = ".dicomhaul-probe-"
_LOCK: Final = ".lock"


@contextmanager
def scratch(place: Path) -> Iterator[Path]:
    """Make a folder in `place`, which is removed at the end. Raises LandingError."""
    try:
        folder = tempfile.TemporaryDirectory(prefix=_PREFIX, dir=place)
    except OSError as error:
        raise landing_error(error, "make a folder for the probe") from error
    with folder as name, exclusive(Path(name, _LOCK)):
        yield Path(name)


def sweep_scratch(place: Path) -> None:
    """Remove what makers that were killed left in this folder, or above it while it was not there yet.

    What cannot be removed stays.
    """
    place = place.absolute()
    for each in (place, place.parent):
        try:
            found = [Path(entry) for entry in os.scandir(each) if entry.name.startswith(_PREFIX) and _is_ours(entry)]
        except OSError:  # it is not there, or nobody may look into it: whoever needs it says so
            continue
        for folder in found:
            try:
                with exclusive(folder / _LOCK):
                    shutil.rmtree(folder / PRIVATE, ignore_errors=True)
                shutil.rmtree(folder, ignore_errors=True)
            except HaulError:  # its maker lives
                continue


def _is_ours(entry: "os.DirEntry[str]") -> bool:
    if not entry.is_dir(follow_symlinks=False):
        return False
    mine = not hasattr(os, "getuid") or entry.stat(follow_symlinks=False).st_uid == os.getuid()
    return mine and all(Path(entry, name).exists() for name in (_LOCK, PRIVATE))
