"""How soon the number of requests at once is right, wherever it begins.

    python -m benchmarks.ramp [--workload a a-bucket e e-bucket f] [--results FOLDER]

Fixed numbers of requests at once run first, then the adaptive one from several starts, with the ceiling of the profile
(16 for a server, 64 for a bucket). What counts is what landed a second after the first ten, as the samples in the
ledger have it; the aim is nine tenths of the best fixed number. Writes `benchmarks/results/ramp.json`, with what it has
of other workloads.
"""

import argparse
import dataclasses
import json
import signal
import sqlite3
import sys
import tempfile
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from benchmarks import machine, peers
from benchmarks.data import Shape
from benchmarks.peers import Scene
from benchmarks.stages import problem_of, room, run_command, served_scene
from benchmarks.workloads import CT_BYTES, DICOMHAUL, DICOMHAUL_BUCKET, MR_BYTES, TRANSFERS

_SETTLED_S: Final = 10.0


@dataclass(frozen=True)
class _Case:
    """Who runs what, and how much of it; fixed numbers at once, and starts of the adaptive one."""

    workload: str
    who: str
    shapes: tuple[Shape, ...]
    fixed: tuple[int, ...]
    starts: tuple[int, ...]


_LOOPBACK: Final = (Shape(120, CT_BYTES),) * 128
_DISTANT: Final = (Shape(120, CT_BYTES),) * 40
_CASES: Final = {
    "a": _Case("a", DICOMHAUL, _LOOPBACK, (2, 4, 8, 16, 32), (1, 4, 16)),
    "a-bucket": _Case("a", DICOMHAUL_BUCKET, _LOOPBACK, (4, 8, 16, 32, 64), (1, 32, 64)),
    "e": _Case("e", DICOMHAUL, _DISTANT, (2, 4, 8, 16, 32), (1, 4, 16)),
    "e-bucket": _Case("e", DICOMHAUL_BUCKET, _DISTANT, (4, 8, 16, 32, 64), (1, 32, 64)),
    "f": _Case("f", DICOMHAUL, (Shape(1, MR_BYTES),) * 1_500, (2, 4, 8, 16, 32), (1, 4, 16)),
}
_RESULTS: Final = Path(__file__).resolve().parent / "results"
_AIM: Final = 0.9


def main() -> None:
    """Measure, print; exit 1 where the aim is missed."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--workload", nargs="+", choices=tuple(_CASES), default=list(_CASES))
    arguments.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    arguments.add_argument("--results", type=Path, default=_RESULTS)
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and data go, too
    path = options.results / "ramp.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    missed = False
    for key in options.workload:
        measured = _measure(key, _CASES[key], options.folder)
        missed = missed or any(row["share"] < _AIM for row in measured if not row["fixed"])
        rows = [row for row in rows if row["workload"] != key] + measured
        options.results.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"machine": machine.describe(), "rows": rows}, indent=1) + "\n", encoding="utf-8")
    if missed:
        sys.exit(1)


def _measure(key: str, case: _Case, folder: Path) -> list[dict[str, Any]]:
    workload = dataclasses.replace(
        next(each for each in TRANSFERS if each.key == case.workload), contenders=(case.who,)
    )
    with (
        tempfile.TemporaryDirectory(dir=folder, prefix="ramp-") as root,
        served_scene(workload, case.shapes, Path(root)) as (scene, _),
    ):
        fixed = {number: _per_s(scene, case.who, number, number) for number in case.fixed}
        best = max(fixed.values())
        rows = [_row(key, f"{number} at once", per_s, best, fixed=True) for number, per_s in fixed.items()]
        for start in case.starts:
            per_s = _per_s(scene, case.who, start, None)
            rows += [_row(key, f"begins with {start}", per_s, best, fixed=False)]
        return rows


def _row(key: str, setting: str, per_s: float, best: float, *, fixed: bool) -> dict[str, Any]:
    print(f"({key}) {setting:15} {per_s:8,.1f} instances/s  {per_s / best:.2f} of the best fixed", flush=True)
    return {"workload": key, "setting": setting, "fixed": fixed, "per_s": per_s, "share": per_s / best}


def _per_s(scene: Scene, who: str, start: int, most: int | None) -> float:
    """Run once; return how many instances landed a second, once ten seconds had passed."""
    limits = f"[limits]\nconcurrency_start = {start}\n"
    if most is not None:
        limits += f"concurrency_max = {most}\n"
    if who == DICOMHAUL:
        profile = scene.data.root / "ramp.toml"
        head = f'name = "ramp"\nextends = "generic"\nurl = "{scene.dicomweb}"\n'
        profile.write_text(head + limits, encoding="utf-8")
        command = peers.COMMANDS[who](dataclasses.replace(scene, dicomweb=str(profile)))
    else:
        command = peers.COMMANDS[who](scene)
        profile = peers.bucket_profile(scene.data.root, scene.url)
        profile.write_text(profile.read_text(encoding="utf-8") + limits, encoding="utf-8")
    with room(scene):
        measured = run_command(command)
        problem = problem_of(measured)
        if problem:
            sys.exit(problem)
        with closing(sqlite3.connect(scene.out / ".dicomhaul" / "ledger.sqlite3")) as db:
            samples = db.execute("SELECT at_s, instances FROM sample ORDER BY at_s").fetchall()
    settled = [(at_s, landed) for at_s, landed in samples if at_s >= _SETTLED_S]
    if len(settled) < 2:
        sys.exit(f"all was there after {samples[-1][0]:.0f} s: too little data for this machine")
    (at_s, landed), (end_s, total) = settled[0], settled[-1]
    return float((total - landed) / (end_s - at_s))


if __name__ == "__main__":
    main()
