"""Runs a command and says what it cost: seconds, processor, memory.

Memory is looked at while it runs, 50 times a second: `ru_maxrss` would also know the size of the process that started
it. The peak is that of the largest process that transfers (VmHWM); what only plans, or waits for another, is told apart
by a word of its command line. The sum over the whole tree is taken too: there pages that are shared count twice.
"""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_LOOK_EVERY_S: Final = 0.02
_SAID: Final = 2_000  # characters of its complaint that are kept


@dataclass(frozen=True)
class Measured:
    """One run of one command.

    Attributes:
        began_s: seconds since the epoch.
        wall_s: until it ended.
        cpu_s: user and system, of it and all that it started.
        peak_mb: of the largest process that transfers.
        tree_mb: the largest sum over all of its processes at one time.
        code: how it exited; None: it was ended, as it took too long.
        said: the end of what it wrote to standard error.
    """

    began_s: float
    wall_s: float
    cpu_s: float
    peak_mb: float
    tree_mb: float
    code: int | None
    said: str


def measure(
    command: Sequence[str], *, environ: Mapping[str, str], aside: Sequence[str] = (), limit_s: float = 600.0
) -> Measured:
    """Run `command`. A process with one of the words `aside` in its command line is none that transfers."""
    began_s, began = time.time(), time.monotonic()
    watched = _Watched(aside)
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            env={**os.environ, **environ},
            start_new_session=True,
        )
        late = False
        while True:
            watched.look(process.pid)
            pid, status, usage = os.wait4(process.pid, os.WNOHANG)
            if pid:
                break
            if not late and time.monotonic() - began > limit_s:
                late = True
                os.killpg(process.pid, signal.SIGKILL)
            time.sleep(_LOOK_EVERY_S)
        wall_s = time.monotonic() - began
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        text = said.read().decode(errors="replace")[-_SAID:]
    return Measured(
        began_s=began_s,
        wall_s=wall_s,
        cpu_s=usage.ru_utime + usage.ru_stime,
        peak_mb=watched.peak_kb / 1000,
        tree_mb=watched.tree_kb / 1000,
        code=None if late else process.returncode,
        said=text,
    )


class _Watched:
    """The largest that was seen."""

    def __init__(self, aside: Sequence[str]) -> None:
        self._aside = aside
        self.peak_kb = 0
        self.tree_kb = 0

    def look(self, root: int) -> None:
        total_kb = 0
        for pid in _tree(root):
            resident_kb, highest_kb = _memory_kb(pid)
            total_kb += resident_kb
            if highest_kb > self.peak_kb and not self._is_aside(pid):
                self.peak_kb = highest_kb
        self.tree_kb = max(self.tree_kb, total_kb)

    def _is_aside(self, pid: int) -> bool:
        if not self._aside:
            return False
        words = _read(pid, "cmdline").replace("\0", " ")
        return not words or any(word in words for word in self._aside)


def _tree(root: int) -> Iterator[int]:
    yield root
    for child in _read(root, f"task/{root}/children").split():
        yield from _tree(int(child))


def _memory_kb(pid: int) -> tuple[int, int]:
    found = {"VmRSS": 0, "VmHWM": 0}
    for line in _read(pid, "status").splitlines():
        name, _, rest = line.partition(":")
        if name in found:
            found[name] = int(rest.split()[0])
    return found["VmRSS"], found["VmHWM"]


def _read(pid: int, name: str) -> str:
    """What /proc says; nothing, where the process has ended meanwhile."""
    try:
        return Path(f"/proc/{pid}/{name}").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
