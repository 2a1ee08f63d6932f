"""Where a destination keeps its ledger, and whether SQLite may use WAL there.

A shard has a ledger, a lock and a staging folder of its own, in `shard-I-of-N/` beside those of the destination: so
jobs on several machines can fill one destination at the same time, and none sees what another has not finished.
"""

import re
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

import psutil

from dicomhaul.durable import make_folders
from dicomhaul.errors import NotWritable
from dicomhaul.land.folder import PRIVATE
from dicomhaul.model import Shard

# WAL needs shared memory between processes, which these do not give (sqlite.org/wal.html).
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "lustre", "gpfs", "beegfs", "ceph", "9p",
     "fuse.sshfs", "fuse.glusterfs", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "afs", "panfs"}
)  # fmt: skip


_SHARD_FOLDER: Final = re.compile(r"shard-([1-9][0-9]{0,5})-of-([1-9][0-9]{0,5})\Z")
_OURS: Final = re.compile(rf"(?:lock|ledger\.sqlite3(?:-wal|-shm|-journal)?)\Z|{_SHARD_FOLDER.pattern}")


class Place(NamedTuple):
    """The folder of a destination's ledger and lock."""

    folder: Path
    wal: bool

    @property
    def ledger(self) -> Path:
        """The SQLite file."""
        return self.folder / "ledger.sqlite3"

    @property
    def lock(self) -> Path:
        """The lock file."""
        return self.folder / "lock"


def place_of(dest: Path, state_dir: Path | None = None, shard: Shard | None = None) -> Place:
    """Return where the ledger of `dest`, or of one shard, lives: in `DEST/.dicomhaul`, or where the user chose."""
    folder = (state_dir if state_dir is not None else dest / PRIVATE) / shard_folder(shard)
    return Place(folder, wal=filesystem_of(folder) not in _NETWORK)


def make_folder(state_dir: Path, place: Place) -> None:
    """Make the folder that the user chose for the ledger, or that of a shard in it, private (0700). Raises OSError.

    One that is there is made so, too, unless it holds what is none of ours: it is then the user's, for other things as
    well, and only our files in it are private.
    """
    for folder in dict.fromkeys((state_dir, place.folder)):
        make_folders(folder, 0o700)
        if folder.stat().st_mode & 0o077 and all(_OURS.match(entry.name) for entry in folder.iterdir()):
            with suppress(PermissionError):  # it is another user's, or this filesystem knows no modes
                folder.chmod(0o700)


def shard_folder(shard: Shard | None) -> str:
    """Return the name of a shard's folder; '' for a destination that is pulled as a whole."""
    return "" if shard is None else f"shard-{shard.number}-of-{shard.of}"


def is_shard_folder(name: str) -> bool:
    """Say whether a shard's folder can have this name."""
    return _SHARD_FOLDER.match(name) is not None


def shards_at(dest: Path, state_dir: Path | None = None) -> list[Shard]:
    """Return the shards of a destination that have a ledger, in order. Raises NotWritable if they cannot be listed."""
    folder = place_of(dest, state_dir).folder
    try:
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
    except OSError as error:
        raise NotWritable(f"cannot list {folder}: {error.strerror}") from error
    matches = [match for name in names if (match := _SHARD_FOLDER.match(name))]
    shards = [Shard(int(match[1]), int(match[2])) for match in matches]
    return sorted(
        (shard for shard in shards if place_of(dest, state_dir, shard).ledger.is_file()),
        key=lambda shard: (shard.of, shard.number),
    )


def filesystem_of(path: Path) -> str:
    """Return the type of the filesystem that holds `path`, lower case; '' if the system does not say."""
    place = path.absolute()
    while not place.exists() and place != place.parent:
        place = place.parent
    place = place.resolve()
    best = ("", "")
    for partition in psutil.disk_partitions(all=True):
        mount = Path(partition.mountpoint)
        if (place == mount or mount in place.parents) and len(partition.mountpoint) >= len(best[0]):
            best = (partition.mountpoint, partition.fstype.lower())
    return best[1]
