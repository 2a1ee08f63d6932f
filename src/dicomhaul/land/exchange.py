"""A folder of ours takes the place of one in the tree, in one step: who looks there sees the old files or the new.

Linux and macOS can exchange two names; where the filesystem cannot, or the system, two renames do, between which
nothing is there. Whether it has happened the inode of our folder tells, which the ledger noted before. Nothing follows
a link.
"""

import ctypes
import errno
import os
import stat
import sys
from collections.abc import Collection
from typing import Final

from dicomhaul.durable import sync_folder
from dicomhaul.errors import NotWritable
from dicomhaul.land.folder import Folder, check_below, free_name
from dicomhaul.land.writer import landing_error

_EXCHANGE: Final = 2  # RENAME_EXCHANGE of renameat2(2), RENAME_SWAP of renameatx_np(2)
_CALLS: Final = {"linux": "renameat2", "darwin": "renameatx_np"}
_CANNOT: Final = frozenset({errno.EINVAL, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP, errno.EPERM})
_OLD: Final = "~"  # after the name of our folder: what was in its place, between two renames


def inode_of(folder: Folder, name: str) -> int | None:
    """Return the inode of a folder below the destination; None: there is none. Raises LandingError, LedgerError."""
    path = folder.root / check_below(name)
    try:
        status = path.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise landing_error(error, "look at a folder of the destination") from error
    return status.st_ino if stat.S_ISDIR(status.st_mode) else None


def take_place(folder: Folder, side: str, place: str, inode: int, known: Collection[str]) -> bool:
    """Let the folder `side`, of that inode, take the place of `place`; what was there lies in `side` then.

    Again, it goes on where it was interrupted. Files there that are not among `known` were put there by somebody
    else, and stay where they were; with a number, where a new one has their name.

    Returns:
        False where the folder of that inode is neither here nor there.

    Raises:
        LandingError: it cannot be done, or something that is no folder is in its place.
        LedgerError: one of the folders cannot be one below the destination.
    """
    there, here = inode_of(folder, place), inode_of(folder, side)
    if inode not in {there, here}:
        return False
    if there == here:  # one folder of two names, where case does not count
        return True
    above = place.rpartition("/")[0], side.rpartition("/")[0]
    old = folder.root / f"{side}{_OLD}"
    try:
        if there != inode:
            with folder.entered(above[0]):
                pass  # it is there now
            _put(folder, side, place)
        if old.is_dir() and not (folder.root / side).exists():
            old.rename(folder.root / side)
        _hand_over(folder, side, place, known)
        for name in dict.fromkeys(above):
            sync_folder(folder.root / name)
    except OSError as error:
        raise landing_error(error, "exchange a folder of the destination for its new revision") from error
    finally:
        folder.forget()
    return True


def _put(folder: Folder, side: str, place: str) -> None:
    there = folder.root / place
    if not os.path.lexists(there):
        (folder.root / side).rename(there)
    elif not stat.S_ISDIR(there.lstat().st_mode):
        raise NotWritable("something that is no folder has taken the place of one below the destination")
    elif not exchange_names(folder, side, place):
        there.rename(folder.root / f"{side}{_OLD}")
        (folder.root / side).rename(there)


def exchange_names(folder: Folder, one: str, other: str) -> bool:
    """Exchange two folders below the destination; False where this system or filesystem cannot. Raises OSError."""
    call = getattr(ctypes.CDLL(None, use_errno=True), _CALLS[sys.platform], None) if sys.platform in _CALLS else None
    if call is None:
        return False
    (above, name), (other_above, other_name) = ((each.rpartition("/")[::2]) for each in (one, other))
    with folder.entered(above) as here, folder.entered(other_above) as there:
        done = call(here, os.fsencode(name), there, os.fsencode(other_name), ctypes.c_uint(_EXCHANGE))
    if done == 0:
        return True
    code = ctypes.get_errno()
    if code in _CANNOT:
        return False
    raise OSError(code, os.strerror(code))


def _hand_over(folder: Folder, side: str, place: str, known: Collection[str]) -> None:
    old, new = folder.root / side, folder.root / place
    if not old.is_dir():
        return
    with os.scandir(old) as entries:
        foreign = [entry.name for entry in entries if entry.name not in known]
    for name in foreign:
        (old / name).rename(new / free_name(new, name))
    if foreign:
        sync_folder(new)
        sync_folder(old)
