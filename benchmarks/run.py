"""The benchmark: dicomhaul and its peers on the same bytes, in turn.

    python -m benchmarks.run [--workload a b ...] [--runs 5] [--quick]

Each round runs every contender of a workload once; the first round warms up and does not count. What one leaves is
removed before the next begins. Writes `benchmarks/results/DATE.json` and `latest.svg`, and prints the table. The whole
of it takes about two hours on two cores, and 18 GB of free memory, most of it below `--folder`: on a disk, the disk
would be what is measured.
"""

import argparse
import json
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from benchmarks import machine, peers, plot, report
from benchmarks.figures import Result, bars_of, ratios_of, rows_of
from benchmarks.origin_orthanc import is_installed
from benchmarks.resume import resume
from benchmarks.stages import Run, Stage, needed_bytes, problem_of, run_command, transfer
from benchmarks.workloads import TRANSFERS

_HERE: Final = Path(__file__).resolve().parent
_KEPT: Final = _HERE / ".cache"
_RESULTS: Final = _HERE / "results"
_ALIKE: Final = ("machine", "versions", "runs", "quick", "dicomhaul_options")  # in what is added to
_MARGIN_BYTES: Final = 2 << 30  # for those who run
_BY_KEY: Final = {each.key: each for each in TRANSFERS}
_KEYS: Final = (*_BY_KEY, "h", "i")


@contextmanager
def planning() -> Iterator[Stage]:
    """Workload (i): all of IDC is planned."""

    def run_of(command: peers.Command) -> Callable[[], Run]:
        def run() -> Run:
            measured = run_command(command)
            return Run(measured, problem_of(measured))

        return run

    yield Stage("plan all of IDC", 0, 0, {name: run_of(command) for name, command in peers.planning().items()})


def _open(key: str, root: Path, options: argparse.Namespace) -> AbstractContextManager[Stage]:
    words = tuple(options.dicomhaul.split())
    if key == "h":
        return resume(root, _KEPT, quick=options.quick, options=words)
    if key == "i":
        return planning()
    return transfer(_BY_KEY[key], root, quick=options.quick, options=words)


def _check_room(keys: list[str], folder: Path, *, quick: bool) -> None:
    room = machine.room_bytes(folder)
    for key in keys:
        workload = _BY_KEY.get(key)
        if workload is None:
            continue
        need = needed_bytes(workload, workload.quick if quick else workload.shapes) + _MARGIN_BYTES
        if need > room:
            sys.exit(
                f"({key}) takes {need / 1e9:.1f} GB in {folder}, and {room / 1e9:.1f} are free: name another --folder"
            )


def _check_tools(keys: list[str]) -> None:
    """Whatever is not installed is known before an hour has passed."""
    workloads = [_BY_KEY[key] for key in keys if key in _BY_KEY]
    absent = peers.missing(sorted({name for each in workloads for name in each.contenders}))
    if any(each.server == "nginx" for each in workloads) and shutil.which("nginx") is None:
        absent.append("nginx (Debian: nginx-light)")
    if any(each.server == "orthanc" for each in workloads) and not is_installed():
        absent.append("Orthanc (Debian: orthanc orthanc-dicomweb)")
    if absent:
        sys.exit(f"not installed: {', '.join(absent)}")


def _measure(key: str, options: argparse.Namespace) -> Result:
    with (
        tempfile.TemporaryDirectory(dir=options.folder, prefix="bench-") as root,
        _open(key, Path(root), options) as stage,
    ):
        rounds: list[dict[str, Run]] = []
        for number in range(options.runs + 1):
            rounds.append({})
            for name, run in stage.contenders.items():
                done = rounds[-1][name] = run()
                said = f"{done.measured.wall_s:7.2f} s  {done.problem}"
                print(f"({key}) round {number} of {options.runs}  {name:24} {said}", file=sys.stderr, flush=True)
        return Result(key, stage, rounds[1:])


def main() -> None:
    """Measure, write, print."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--workload", nargs="+", choices=_KEYS, default=list(_KEYS))
    arguments.add_argument("--runs", type=int, default=5, help="rounds that count")
    arguments.add_argument("--quick", action="store_true", help="small data, to try things out; writes nothing")
    arguments.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    arguments.add_argument("--results", type=Path, default=_RESULTS)
    arguments.add_argument("--add", action="store_true", help="keep what today's file has of other workloads")
    arguments.add_argument("--dicomhaul", default="", metavar="OPTIONS", help="more options for dicomhaul")
    options = arguments.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # servers and data go, too
    _check_tools(options.workload)
    _check_room(options.workload, options.folder, quick=options.quick)
    document: dict[str, Any] = {
        "date": datetime.now(UTC).date().isoformat(),
        "machine": machine.describe(),
        "versions": machine.versions(),
        "runs": options.runs,
        "quick": options.quick,
        "load_before": round(machine.load(), 2),
        "dicomhaul_options": options.dicomhaul,
        "rows": [],
        "ratios": [],
        "bars": [],
    }
    done = _take_over(document, options) if options.add else []
    for key in options.workload:
        result = _measure(key, options)
        done.append(key)
        document["rows"] += rows_of(result)
        document["ratios"] += ratios_of(result)
        document["bars"] = bars_of(done, document["rows"], document["ratios"])
        if not options.quick or options.results != _RESULTS:
            _write(document, options.results)  # each time: an hour is long
    report.show(document)


def _take_over(document: dict[str, Any], options: argparse.Namespace) -> list[str]:
    """Add what today's file has of workloads that are not run now; return which these are."""
    path = options.results / f"{document['date']}.json"
    if not path.is_file():
        return []
    earlier = json.loads(path.read_text(encoding="utf-8"))
    if any(earlier[name] != document[name] for name in _ALIKE):
        sys.exit(f"{path.name} differs in its {', '.join(_ALIKE)}: nothing can be added to it")
    for name in ("rows", "ratios"):
        document[name] += [each for each in earlier[name] if each["workload"] not in options.workload]
    return list(dict.fromkeys(each["workload"] for each in document["rows"]))


def _write(document: dict[str, Any], folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, indent=1) + "\n"
    (folder / f"{document['date']}.json").write_text(text, encoding="utf-8")
    (folder / "latest.svg").write_text(plot.ratios(document), encoding="utf-8")


if __name__ == "__main__":
    main()
