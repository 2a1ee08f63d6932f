"""What a destination holds of a series: what its ledger has as landed, and what the tree says of it. Opens no file
but to compute a digest that somebody asked for.
"""

import os
import stat
from pathlib import Path
from typing import Final

from dicomhaul.audit.findings import Problem
from dicomhaul.audit.tree import Listing, Tree
from dicomhaul.checking.compare import Here, InTree
from dicomhaul.errors import NotWritable
from dicomhaul.land.digests import hasher_for
from dicomhaul.land.folder import instance_path
from dicomhaul.model import Check
from dicomhaul.record.ledger import Ledger
from dicomhaul.wire.digests import stated_digest

_OF_A_FOLDER: Final[dict[Problem, InTree]] = {Problem.MISSING: "gone", Problem.UNREADABLE: "unreadable"}
_BUFFER_BYTES: Final = 1 << 20
_OPEN: Final = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO that took a file's place must not hold us
    | getattr(os, "O_BINARY", 0)
)


class Present:
    """A destination that is looked at. Used by one thread at a time. Raises NotWritable if it cannot be listed."""

    def __init__(self, dest: Path, ledger: Ledger) -> None:
        if not dest.is_dir():
            raise NotWritable(f"{dest} is not a folder that can be read")
        self.tree = Tree(dest)
        self._dest = dest
        self._ledger = ledger

    def look(self, series_id: int) -> list[Here]:
        """Return the instances of one series. Raises LedgerError."""
        rows = list(self._ledger.iter_files(series_id))
        if not rows:
            return []
        stems = {sop: stem for stem, sop in self._ledger.known(series_id).stems.items()}
        folder = rows[0].folder
        listed = self.tree.list_folder(folder)
        self.tree.note_others(folder, listed, {row.file for row in rows})
        base = os.path.join(self._dest, *folder.split("/"))  # noqa: PTH118 - a Path a file costs more than its status
        return [
            Here(
                row.sop,
                instance_path(folder, row.file),
                stems.get(row.sop),
                _in_tree(listed, base, row.file, row.size_bytes),
                row.size_bytes,
            )
            for row in rows
        ]


def _in_tree(listed: Listing, base: str, name: str, size_bytes: int) -> InTree:
    if listed.problem is not None:
        return _OF_A_FOLDER.get(listed.problem, "changed")
    regular = listed.regular.get(name)
    if not regular:
        return "gone" if regular is None else "changed"
    try:
        status = os.lstat(f"{base}{os.sep}{name}")
    except FileNotFoundError:
        return "gone"
    except OSError:
        return "unreadable"
    return "there" if stat.S_ISREG(status.st_mode) and status.st_size == size_bytes else "changed"


def same_bytes(dest: Path, path: str, etag: str) -> bool | None:
    """Say whether a file has the MD5 that an ETag is; None where the ETag is none. Raises OSError."""
    check, digest = stated_digest({}, [], etag)
    if check is not Check.MD5:
        return None
    hasher = hasher_for(check)
    view = memoryview(bytearray(_BUFFER_BYTES))
    descriptor = os.open(dest / path, _OPEN)
    with open(descriptor, "rb", buffering=0) as file:  # noqa: PTH123 - a descriptor has no path
        while count := file.readinto(view):
            hasher.update(view[:count])
    return hasher.digest() == digest
