"""A disk on which a process can be killed, or the power cut, at any call that changes something. Linux, as root.

The calls are counted where they arrive, so those of SQLite and pyarrow count like our own, and what is tried needs no
hooks: on the disk, a process that was killed differs from one that was not by how many calls it had made, and by
nothing else.
"""

import contextlib
import ctypes
import json
import os
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from ctypes.util import find_library
from pathlib import Path
from typing import IO

import psutil
import pytest

from support.command import TIMEOUT_S, Ended, Running, Word, start_command

ANY = "any"  # kind of call
LOCAL = "volatile"
NETWORK = "sshfs"  # one of those on which a ledger has no WAL
_DETACH = 2  # MNT_DETACH of umount2(2)
_LIBC = ctypes.CDLL(None, use_errno=True)


class Disk:
    """A mounted disk. `root`: where."""

    def __init__(self, root: Path, process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        assert process.stdout is not None
        self.root = root
        self._process = process
        self._in: IO[bytes] = process.stdin
        self._out: IO[bytes] = process.stdout
        self._expect("mounted")

    def calls(self) -> Counter[str]:
        """Return how many calls there were of each kind ("write part", "fsync folder") since this was last asked."""
        return Counter(json.loads(self._order("count")))

    def kill_at(self, kind: str, nth: int, folder: Path, *words: Word, alone: bool = False) -> "str | Ended":
        """Run a command until the n-th call of a kind, then kill it; return which kind it was.

        The call is not carried out, and all that the command had started is killed, too; unless it is killed `alone`:
        then whatever the others do goes on, this call included. Returns the command's end if it came before.
        """
        with self._stopped_at(kind, nth, folder, words) as (running, found):
            if isinstance(found, Ended):
                return found
            if alone:
                running.process.kill()
            else:
                _kill_all(running)
            self._order("lives" if alone else "died")
            running.process.wait(TIMEOUT_S)
        return found

    def cut_at(self, kind: str, nth: int, seed: int, folder: Path, *words: Word) -> "str | Ended":
        """Likewise, but cut the power; `seed` says what is left of what was not synced, 0: nothing."""
        with self._stopped_at(kind, nth, folder, words) as (running, found):
            if isinstance(found, Ended):
                return found
            self._order(f"cut {seed}")
            killed = _kill_all(running)
            psutil.wait_procs(killed, TIMEOUT_S)
        self._mount_again()
        return found

    def cut(self, seed: int) -> None:
        """Cut the power while nobody is at work."""
        self._order(f"cut {seed}")
        self._mount_again()

    def settle(self) -> None:
        """Make safe all that is there."""
        self._order("settle")

    @contextmanager
    def _stopped_at(
        self, kind: str, nth: int, folder: Path, words: tuple[Word, ...]
    ) -> Iterator[tuple[Running, "str | Ended"]]:
        self._order(f"await {nth} {kind}")
        with start_command(folder, *words) as running:
            end = os.pidfd_open(running.process.pid)
            try:
                ready, _, _ = select.select([self._out.fileno(), end], [], [], TIMEOUT_S)
            finally:
                os.close(end)
            assert ready, f"neither {kind} nor an end"
            if self._out.fileno() in ready:
                yield running, self._expect("hit ")
            else:
                self.calls()
                yield running, running.wait()

    def _mount_again(self) -> None:
        unmount(self.root)
        self._expect("mounted")

    def _order(self, words: str) -> str:
        self._in.write(f"{words}\n".encode())
        self._in.flush()
        return self._expect("")

    def _expect(self, begin: str) -> str:
        line = self._out.readline().decode().rstrip("\n")
        assert line.startswith(begin), f"{line!r} instead of {begin!r}; exit code {self._process.poll()}"
        assert line, "the disk is gone"
        return line.removeprefix(begin)


def require_disk() -> None:
    """Skip the test where no disk can be mounted; fail it under CI."""
    if sys.platform == "linux" and os.geteuid() == 0 and Path("/dev/fuse").exists() and find_library("fuse3"):
        return
    reason = "needs Linux, root, /dev/fuse and the Debian package fuse3"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def open_disk(folder: Path, kind: str = LOCAL) -> Iterator[Disk]:
    """Mount an empty disk in `folder`, and unmount it at the end. `kind`: what it says to be, such as `NETWORK`."""
    require_disk()
    root = folder / "disk"
    root.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-m", "support.disk_process", str(root), kind],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        cwd=Path(__file__).parents[1],
    )
    with process:
        try:
            yield Disk(root, process)
        finally:
            assert process.stdin is not None
            process.stdin.close()
            unmount(root)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(TIMEOUT_S)
            process.kill()


def unmount(root: Path) -> None:
    """Unmount, whoever still uses it."""
    _LIBC.umount2(os.fsencode(root), _DETACH)


def _kill_all(running: Running) -> list[psutil.Process]:
    """Kill a command and whatever it started; it dies as soon as the call that it waits for has an answer."""
    own = psutil.Process(running.process.pid)
    found = [own, *own.children(recursive=True)]
    for each in found:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.kill()
    return found
