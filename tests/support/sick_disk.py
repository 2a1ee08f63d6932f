"""A disk that fails on request: every call of a command, and of all that it starts, below one folder.

`sick_disk.c` is compiled by the system's C compiler and loaded by LD_PRELOAD, so nothing escapes it that goes through
the C library: what Python does, SQLite, and the children that plan and write the index. Linux only; needs no rights.
"""

import ctypes
import mmap
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple

# In the order of the enums in sick_disk.c.
ACTS: Final = ("open", "create", "read", "write", "sync", "close", "cut", "rename", "mkdir", "unlink")
THINGS: Final = ("ledger", "wal", "shm", "journal", "lock", "staged", "index", "private", "tree")
ANY_ROOM: Final = "room"  # whatever takes room on a disk: create, write, mkdir
ANY: Final = "any"
SHORT: Final = 0  # no error: a write takes half of what it is given


class _Control(ctypes.Structure):
    _fields_ = (
        ("root", ctypes.c_char * 512),
        ("act", ctypes.c_int32),
        ("thing", ctypes.c_int32),
        ("nth", ctypes.c_int64),
        ("error", ctypes.c_int32),
        ("lasting", ctypes.c_int32),
        ("struck", ctypes.c_int64),
        ("met", ctypes.c_int64),
        ("counts", ctypes.c_int64 * len(THINGS) * len(ACTS)),
    )


class Strike(NamedTuple):
    """What fails: the n-th `act` on a `thing` (from 1), with `error`; `lasting`: and each one after it."""

    act: str
    thing: str
    nth: int
    error: int
    lasting: bool = False


class SickDisk:
    """Has processes whose environment holds `environ` fail as `struck_by` says; else it only counts."""

    def __init__(self, folder: Path, control: _Control) -> None:
        self.environ = {"LD_PRELOAD": str(folder / "sick_disk.so"), "SICK_DISK": str(folder / "control")}
        self._control = control

    @contextmanager
    def over(self, root: Path, strike: Strike | None = None) -> Iterator[None]:
        """Count from nothing all that is done below `root`, and strike, until the block is left."""
        control = self._control
        ctypes.memset(ctypes.addressof(control), 0, ctypes.sizeof(control))
        control.act = control.thing = -1
        if strike is not None:
            control.act = -1 if strike.act == ANY_ROOM else ACTS.index(strike.act)
            control.thing = -1 if strike.thing == ANY else THINGS.index(strike.thing)
            control.error, control.lasting, control.nth = strike.error, strike.lasting, strike.nth
        control.root = str(root.resolve()).encode()
        try:
            yield
        finally:
            control.root = b""

    @property
    def struck(self) -> int:
        """How many calls have failed since `over`."""
        return int(self._control.struck)

    def counted(self) -> dict[tuple[str, str], int]:
        """Return how many calls there were since `over`, by act and thing; those that there were none of left out."""
        table = self._control.counts
        return {
            (act, thing): int(table[i][j])
            for i, act in enumerate(ACTS)
            for j, thing in enumerate(THINGS)
            if table[i][j]
        }


@contextmanager
def sick_disk(folder: Path) -> Iterator[SickDisk]:
    """Compile it, into `folder`, and yield it; it strikes nothing yet."""
    source = Path(__file__).with_suffix(".c")
    command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(folder / "sick_disk.so"), str(source), "-ldl"]
    subprocess.run(command, check=True, capture_output=True)
    (folder / "control").write_bytes(bytes(ctypes.sizeof(_Control)))
    with (folder / "control").open("r+b") as file:
        yield SickDisk(folder, _Control.from_buffer(mmap.mmap(file.fileno(), 0)))
