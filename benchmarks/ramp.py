"""How soon the number of requests at once is right, wherever it begins.

    python -m benchmarks.ramp [--workload a e f] [--json FILE]

Fixed numbers of requests at once run first, then the adaptive one from several starts. What counts is what landed a
second after the first ten, as the samples in the ledger have it; the aim is nine tenths of the best fixed number.
"""

import argparse
import dataclasses
import json
import signal
import sqlite3
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

from benchmarks import machine, peers
from benchmarks.data import Shape, clear
from benchmarks.peers import Scene
from benchmarks.stages import make_room, problem_of, run_command, served_scene
from benchmarks.workloads import CT_BYTES, DICOMHAUL, MR_BYTES, TRANSFERS

_FIXED: Final = (2, 4, 8, 16, 32)
_STARTS: Final = (1, 4, 32)
_SETTLED_S: Final = 10.0
_SHAPES: Final = {
    "a": (Shape(120, CT_BYTES),) * 128,
    "e": (Shape(120, CT_BYTES),) * 40,
    "f": (Shape(1, MR_BYTES),) * 1_500,
}
_AIM: Final = 0.9


def main() -> None:
    """Measure, print; exit 1 where the aim is missed."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--workload", nargs="+", choices=tuple(_SHAPES), default=list(_SHAPES))
    arguments.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    arguments.add_argument("--json", type=Path)
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and data go, too
    rows = [row for key in options.workload for row in _measure(key, options.folder)]
    if options.json is not None:
        options.json.write_text(json.dumps({"machine": machine.describe(), "rows": rows}, indent=1) + "\n")
    if any(row["share"] < _AIM for row in rows if not row["fixed"]):
        sys.exit(1)


def _measure(key: str, folder: Path) -> list[dict[str, Any]]:
    workload = dataclasses.replace(next(each for each in TRANSFERS if each.key == key), contenders=(DICOMHAUL,))
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="ramp-") as root,
        served_scene(workload, _SHAPES[key], Path(root)) as (scene, _),
    ):
        fixed = {number: _per_s(scene, number, number) for number in _FIXED}
        best = max(fixed.values())
        rows = [_row(key, f"{number} at once", per_s, best, fixed=True) for number, per_s in fixed.items()]
        rows += [_row(key, f"begins with {start}", _per_s(scene, start, None), best, fixed=False) for start in _STARTS]
        return rows


def _row(key: str, setting: str, per_s: float, best: float, *, fixed: bool) -> dict[str, Any]:
    print(f"({key}) {setting:15} {per_s:8,.1f} instances/s  {per_s / best:.2f} of the best fixed", flush=True)
    return {"workload": key, "setting": setting, "fixed": fixed, "per_s": per_s, "share": per_s / best}


def _per_s(scene: Scene, start: int, most: int | None) -> float:
    """Run once; return how many instances landed a second, once ten seconds had passed."""
    make_room(scene)
    profile = scene.data.root / "ramp.toml"
    profile.write_text("\n".join(_profile(scene.dicomweb, start, most)), encoding="utf-8")
    measured = run_command(peers.COMMANDS[DICOMHAUL](dataclasses.replace(scene, dicomweb=str(profile))))
    problem = problem_of(measured)
    if problem:
        sys.exit(problem)
    with closing(sqlite3.connect(scene.out / ".dicomhaul" / "ledger.sqlite3")) as db:
        samples = db.execute("SELECT at_s, instances FROM sample ORDER BY at_s").fetchall()
    clear(scene.out)
    (at_s, landed), (end_s, total) = next(each for each in samples if each[0] >= _SETTLED_S), samples[-1]
    if end_s <= at_s:
        sys.exit(f"all was there after {end_s:.0f} s: too little data for this machine")
    return float((total - landed) / (end_s - at_s))


def _profile(url: str, start: int, most: int | None) -> Iterator[str]:
    yield f'name = "ramp"\nextends = "generic"\nurl = "{url}"\n[limits]\nconcurrency_start = {start}'
    if most is not None:
        yield f"concurrency_max = {most}"


if __name__ == "__main__":
    main()
