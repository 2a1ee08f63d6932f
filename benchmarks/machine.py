"""Names the machine and everything on it that a figure depends on. No host's name, no path."""

import os
import platform
import ssl
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import psutil

from benchmarks import origin_nginx, peers

_BLOCK: Final = bytes(1 << 20)
_AHEAD_BYTES: Final = 512 << 20  # what may be written before more is given up
_GIVE_UP_EVERY_S: Final = 0.02


def describe() -> dict[str, str]:
    """Return the machine, by what a reader wants to know of it."""
    return {
        "processor": _processor(),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "openssl": ssl.OPENSSL_VERSION,
        "nginx": origin_nginx.version(),
    }


def versions() -> dict[str, str]:
    """Return the versions of dicomhaul and its peers."""
    return peers.versions()


def room_bytes(folder: Path) -> int:
    """Return how much fits into `folder`, which may be memory."""
    return min(psutil.disk_usage(str(folder)).free, psutil.virtual_memory().available)


@contextmanager
def memory_at_hand(folder: Path, size_bytes: int) -> Iterator[None]:
    """Have memory at hand for `size_bytes` that are written to `folder` in the block.

    A virtual machine gives memory that nobody uses back to its host within seconds, and gets it again page by page:
    writing to such memory takes six times as long (2.4 s/GB instead of 0.4), which would be the luck of who runs when.
    So a file takes the memory first, and gives it up as the folder fills.
    """
    with tempfile.TemporaryFile(dir=folder, buffering=0) as file:
        for _ in range(size_bytes // len(_BLOCK) + 1):
            file.write(_BLOCK)
        taken = file.tell()
        others = _used_bytes(folder) - taken
        ended = threading.Event()

        def give_up(left: int) -> None:
            while left and not ended.wait(_GIVE_UP_EVERY_S):
                written = _used_bytes(folder) - others - left
                keep = max(0, size_bytes - written - _AHEAD_BYTES)
                if keep < left:
                    left = file.truncate(keep)

        giver = threading.Thread(target=give_up, args=(taken,))
        giver.start()
        try:
            yield
        finally:
            ended.set()
            giver.join()


def _used_bytes(folder: Path) -> int:
    return psutil.disk_usage(str(folder)).used


def load() -> float:
    """Return how many processes wanted to run in the last minute: a figure from a busy machine says little."""
    return os.getloadavg()[0]


def _processor() -> str:
    if sys.platform == "linux":
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
