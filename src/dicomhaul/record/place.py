"""Where a destination keeps its ledger, and whether SQLite may use WAL there."""

from pathlib import Path
from typing import Final, NamedTuple

import psutil

from dicomhaul.land.folder import PRIVATE

# WAL needs shared memory between processes, which these do not give (sqlite.org/wal.html).
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb", "smb2", "smb3", "smbfs", "afpfs", "lustre", "gpfs", "beegfs", "ceph", "9p",
     "fuse.sshfs", "fuse.glusterfs", "fuse.ceph-fuse", "fuse.s3fs", "fuse.rclone", "fuse.gcsfuse", "afs", "panfs"}
)  # fmt: skip


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


def place_of(dest: Path, state_dir: Path | None = None) -> Place:
    """Return where the ledger of `dest` lives: `DEST/.dicomhaul`, or the folder the user chose."""
    folder = state_dir if state_dir is not None else dest / PRIVATE
    return Place(folder, wal=filesystem_of(folder) not in _NETWORK)


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
