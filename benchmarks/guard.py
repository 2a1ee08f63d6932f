"""Fails where dicomhaul has become many times slower than curl. A ratio in one run, not a time.

    python -m benchmarks.guard [--least 0.15]

CT over TLS to memory, as workload (a) has it and smaller; each runs once to warm up and then three times in turn, and
the best pair counts: other work on the machine only ever makes a pair look worse for one of them. curl only saves the
raw bodies. The start of Python, planning and the index are in it: on data this small they weigh more than in (a).
"""

import argparse
import dataclasses
import signal
import sys
import tempfile
from pathlib import Path
from typing import Final

from benchmarks.data import Shape
from benchmarks.stages import Run, transfer
from benchmarks.workloads import CT_BYTES, CURL, DICOMHAUL, TRANSFERS

_SHAPES: Final = (Shape(120, CT_BYTES),) * 8  # 0.5 GB
_ROUNDS: Final = 3


def main() -> None:
    """Exit with 1 if the best ratio is below `--least`, or what came is not whole."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--least", type=float, default=0.15)
    arguments.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and data go, too
    folder = options.folder if options.folder.is_dir() else None
    workload = dataclasses.replace(next(each for each in TRANSFERS if each.key == "a"), shapes=_SHAPES)
    ratios = []
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="guard-") as root,
        transfer(workload, Path(root), quick=False, contenders=(DICOMHAUL, CURL)) as stage,
    ):
        for _ in range(_ROUNDS + 1):
            done: dict[str, Run] = {name: run() for name, run in stage.contenders.items()}
            for name, run in done.items():
                if run.problem:
                    sys.exit(f"{name}: {run.problem}")
            ratios.append(done[CURL].measured.wall_s / done[DICOMHAUL].measured.wall_s)
    best = max(ratios[1:])
    said = ", ".join(f"{each:.2f}" for each in ratios[1:])
    print(f"dicomhaul reaches {best:.2f} of curl's speed ({said}); at least {options.least:.2f} is wanted")
    if best < options.least:
        sys.exit(1)


if __name__ == "__main__":
    main()
