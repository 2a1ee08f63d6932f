"""Where the processors' time goes while a contender of a workload runs, by perf (Debian: linux-perf).

    python -m benchmarks.where [--workload a] [--who "dicomhaul, bucket"] [--folder /dev/shm]

Samples all processors a thousand times a second, the idle ones as well, and prints processor seconds by who ran
(the transferring process's first thread, which is the event loop of dicomhaul; its other threads; other processes; the
server; nobody) and by where: the kernel, OpenSSL, the interpreter, the rest.
"""

import argparse
import dataclasses
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

from benchmarks import peers
from benchmarks.peers import Command
from benchmarks.stages import room, served_scene
from benchmarks.workloads import DICOMHAUL, TRANSFERS

_PER_S: Final = 999
_SAMPLE: Final = re.compile(r"\s*(\S+)\s+(-?\d+)/(-?\d+)\s+[0-9a-f]+ .* \((.*)\)")
_ROLES: Final = ("its first thread", "its other threads", "other processes of it", "nginx", "the rest", "idle")
_PLACES: Final = ("kernel", "OpenSSL", "interpreter", "rest")


def main() -> None:
    """Run once to warm up and once under perf, and print the table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--workload", default="a", choices=[each.key for each in TRANSFERS])
    arguments.add_argument("--who", default=DICOMHAUL, choices=sorted(peers.COMMANDS))
    arguments.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and data go, too
    if shutil.which("perf") is None:
        sys.exit("perf is not installed (Debian: linux-perf)")
    workload = next(each for each in TRANSFERS if each.key == options.workload)
    workload = dataclasses.replace(workload, contenders=(options.who,))
    with (
        tempfile.TemporaryDirectory(dir=options.folder, prefix="where-") as root,
        served_scene(workload, workload.shapes, Path(root)) as (scene, _),
    ):
        command = peers.COMMANDS[options.who](scene)
        for counted in (False, True):
            with room(scene):
                samples = _sampled(command, Path(root) / "perf.data") if counted else _plain(command)
        _show(samples, scene.data.size_bytes)


def _plain(command: Command) -> list[str]:
    subprocess.run(command.words, env={**os.environ, **command.environ}, check=True, capture_output=True)
    return []


def _sampled(command: Command, file: Path) -> list[str]:
    record = ["perf", "record", "--quiet", "-a", "-e", "cpu-clock", "-F", str(_PER_S), "-o", str(file), "--"]
    subprocess.run([*record, *command.words], env={**os.environ, **command.environ}, check=True, capture_output=True)
    script = ["perf", "script", "-i", str(file), "-F", "comm,pid,tid,ip,sym,dso"]
    return subprocess.run(script, check=True, capture_output=True, text=True, errors="replace").stdout.splitlines()


def _show(samples: Iterable[str], size_bytes: int) -> None:
    found = [each.groups() for each in map(_SAMPLE.match, samples) if each is not None]
    ran = Counter((name, pid) for name, pid, *_ in found if name not in {"swapper", "nginx"})
    ((own_name, own_pid), _), *_ = ran.most_common(1)
    table: Counter[tuple[str, str]] = Counter()
    for name, pid, tid, library in found:
        if name == "swapper":
            role = "idle"
        elif name == "nginx":
            role = "nginx"
        elif pid == own_pid:
            role = "its first thread" if tid == pid else "its other threads"
        else:
            role = "other processes of it" if name == own_name else "the rest"
        table[role, _place(library)] += 1
    shown = Table("processor seconds", *_PLACES, "in all", "a GB")
    for role in _ROLES:
        seconds = [table[role, place] / _PER_S for place in _PLACES]
        total = sum(seconds)
        shown.add_row(role, *(f"{each:.2f}" for each in seconds), f"{total:.2f}", f"{total / size_bytes * 1e9:.2f}")
    Console(width=120).print(shown)


def _place(library: str) -> str:
    if "kernel" in library:
        return "kernel"
    if "libcrypto" in library or "libssl" in library:
        return "OpenSSL"
    return "interpreter" if "python" in library.rpartition("/")[2] else "rest"


if __name__ == "__main__":
    main()
