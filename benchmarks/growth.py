"""Whether a run's memory, its ledger and its cost grow with the number of instances that are planned.

    python -m benchmarks.growth [--planned 1000 100000 10000000]

The real engine, recorder and ledger haul a synthetic plan of series of 100 instances, whose UIDs have 64 characters in
no order, as TCIA's have. The source is one that only names instances; the sink hands them to the recorder, whose folder
moves no file. So nothing but the machinery is measured. Planning and hauling run in processes of their own, as they do
in `dicomhaul pull`. Writes `benchmarks/results/growth.json` and `growth.svg`.
"""

import argparse
import hashlib
import json
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final

import anyio
from rich.console import Console
from rich.table import Table

from benchmarks import machine, plot
from dicomhaul.events import Tally
from dicomhaul.land.folder import Folder
from dicomhaul.land.writer import Staged
from dicomhaul.model import (
    Identity,
    InstanceRef,
    Job,
    Known,
    Partial,
    Routing,
    Series,
    SeriesUID,
    Stated,
    StudyUID,
    Work,
)
from dicomhaul.net.clock import SystemClock
from dicomhaul.ports import Sink
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.planned import plan_cohort
from dicomhaul.record.recorder import Recorder
from dicomhaul.transfer.engine import Engine, Lane
from dicomhaul.transfer.series import SeriesHaul

_RESULTS: Final = Path(__file__).resolve().parent / "results"
_EACH: Final = 100  # instances of a series
_INSTANCE_BYTES: Final = 525_000
_AT_ONCE: Final = 16
_ROUTE: Final = "null"
_ROOT_UID: Final = "1.3.6.1.4.1.14519.5.2.1.6279.6001"
_BAR_BYTES: Final = 130  # of the ledger, for an instance


def _uid(*words: object) -> str:
    """Return a UID of 64 characters that nothing orders."""
    digest = hashlib.blake2b(repr(words).encode(), digest_size=16).digest()
    return f"{_ROOT_UID}.{10**29 + int.from_bytes(digest, 'big') % 10**29}"


def _plan(ledger: Ledger, planned: int) -> int:
    """Write the plan; return the cohort's id."""

    def rows() -> Iterator[Series]:
        for number in range(planned // _EACH):
            study, series = StudyUID(_uid("study", number // 4)), SeriesUID(_uid("series", number))
            yield Series(
                study,
                series,
                collection="growth",
                patient=f"growth-{number // 8:06}",
                modality="CT",
                license="CC BY 4.0",
                expected=_EACH,
                size_bytes=_EACH * _INSTANCE_BYTES,
                folder=f"growth/growth-{number // 8:06}/{study}/CT_{series}",
                routing=Routing((_ROUTE,), "there is no other"),
            )

    return plan_cohort(
        ledger,
        name="growth",
        fingerprint="growth",
        query="{}",
        source="http://127.0.0.1",
        planned_at="2024-01-01T00:00:00+00:00",
        layout="{StudyInstanceUID}/{SeriesInstanceUID}",
        rows=rows(),
    ).cohort_id


class _NullSource:
    """A `ports.Source` that names every instance of a series and sends no byte."""

    name = _ROUTE

    async def exchange(self, job: Job, sink: Sink) -> None:
        """Push the instances' names."""
        for number in range(_EACH):
            sink.begin()
            sink.end(Identity(job.study, job.series, _uid(job.series, number)))
            if not number % 16:
                await anyio.lowlevel.checkpoint()
        await sink.drain()

    async def inventory(self, job: Job) -> list[InstanceRef] | None:  # noqa: ARG002 - it cannot list
        """Say that it cannot list."""
        return None


class _NullSink:
    """A `ports.SettlingSink` that hands every instance to the recorder as if it had been written."""

    def __init__(self, job: Job, folder: str, known: Collection[str], staged: Callable[[list[Staged]], None]) -> None:
        self._job = job
        self._folder = folder
        self._known = known
        self._hand_over = staged
        self._parts: list[Staged] = []
        self.landed: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.stems: dict[str, str] = {}
        self.repeated: dict[str, bytes | None] = {}

    def begin(self, stated: Stated | None = None) -> None:
        """A part begins."""

    async def reopen(self, stated: Stated, partial: Partial, skim: Callable[[memoryview], None]) -> bool:  # noqa: ARG002 - nothing was left
        """Say that nothing was left."""
        return False

    def suspend(self) -> None:
        """Nothing is open."""

    def write(self, view: memoryview) -> None:
        """Drop it."""

    def wants(self, sop: str) -> bool:
        """Say whether it is not there."""
        return sop not in self._known and sop not in self.landed

    def gone_by(self) -> None:
        """Nothing was begun."""

    def end(self, identity: Identity) -> None:
        """Take an instance."""
        sop = identity.sop
        digest = hashlib.blake2b(sop.encode(), digest_size=16).digest()
        part = Staged(self._job.series_id, self._folder, f"{sop}.dcm", sop, _INSTANCE_BYTES, digest, f"{sop}.part")
        self._parts.append(part)
        self.landed[sop] = _INSTANCE_BYTES

    def discard(self) -> None:
        """Nothing is open."""

    def progressed(self) -> bool:
        """Say whether an instance was taken."""
        return bool(self.landed)

    async def drain(self) -> None:
        """There is always room."""

    async def settle(self) -> None:
        """Hand everything over."""
        self.abandon()

    def abandon(self) -> None:
        """Hand everything over."""
        if self._parts:
            self._hand_over(self._parts)
            self._parts = []


class _Nowhere(Folder):
    """A folder into which nothing is moved."""

    def move(self, batch: Iterable[Staged]) -> None:
        """Move nothing."""


async def _haul(ledger: Ledger, root: Path) -> Tally:
    folder = _Nowhere(root)
    folder.prepare()
    tally = Tally()
    recorder = Recorder(ledger, folder, tally)

    def open_haul(work: Work, known: Known) -> SeriesHaul:
        return SeriesHaul(
            work,
            known,
            source=_NullSource(),
            open_sink=lambda job, folder, known: _NullSink(job, folder, known, recorder.staged),
            add_wanted=lambda series_id, sops: recorder.change(lambda ledger: ledger.add_wanted(series_id, sops)),
            at_once=_AT_ONCE,
            cut_above_bytes=1 << 40,
        )

    recorder.start()
    engine = Engine(
        lanes=[Lane(_ROUTE, _AT_ONCE, open_haul)],
        stopped={},
        recorder=recorder,
        clock=SystemClock(),
        wait=False,
        observer=lambda _: None,
        tally=tally,
    )
    try:
        await engine.run()
    finally:
        await anyio.to_thread.run_sync(recorder.close)
    return tally


def _one(step: str, planned: int, folder: Path) -> dict[str, float]:
    """Plan, or haul, in this process; return what it cost."""
    began, began_cpu = time.monotonic(), time.process_time()
    with closing(Ledger.open(folder / "ledger.sqlite3")) as ledger:
        if step == "plan":
            _plan(ledger, planned)
        else:
            (cohort,) = ledger.cohorts()
            ledger.begin_leasing(cohort.id)
            tally = anyio.run(_haul, ledger, folder / "out")
            if tally.instances_landed != planned or tally.series_complete != planned // _EACH:
                sys.exit(f"{tally.instances_landed:,} of {planned:,} instances landed")
    return {"wall_s": time.monotonic() - began, "cpu_s": time.process_time() - began_cpu, "peak_mb": _peak_mb()}


def _peak_mb() -> float:
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) / 1000
    return 0.0


def _measure(planned: int, folder: Path) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(dir=folder, prefix="growth-") as name:
        steps = {}
        for step in ("plan", "haul"):
            command = [
                sys.executable,
                "-m",
                "benchmarks.growth",
                "--step",
                step,
                "--planned",
                str(planned),
                "--folder",
                name,
            ]
            steps[step] = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        path, empty = Path(name) / "ledger.sqlite3", Path(name) / "empty.sqlite3"
        Ledger.open(empty).close()
        with closing(sqlite3.connect(path)) as db:
            (there,) = db.execute("SELECT count(*) FROM instance WHERE state = 1").fetchone()
            # Pages that a batch took while it was announced are free again, and are used for the next one.
            (free_bytes,) = db.execute(
                "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
            ).fetchone()
        if there != planned:
            sys.exit(f"the ledger holds {there:,} of {planned:,} instances")
        plan, haul = steps["plan"], steps["haul"]
        return {
            "planned": planned,
            "peak_mb": round(haul["peak_mb"], 1),
            "plan_peak_mb": round(plan["peak_mb"], 1),
            "ledger_bytes": round((path.stat().st_size - empty.stat().st_size - free_bytes) / planned, 1),
            "cpu_us": round(haul["cpu_s"] / planned * 1e6, 2),
            "wall_s": round(haul["wall_s"], 2),
            "plan_us_a_series": round(plan["cpu_s"] / planned * _EACH * 1e6, 1),
        }


def main() -> None:
    """Measure each number of instances, print a table, write the plot; or do one step (`--step`, for itself)."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--planned", type=int, nargs="+", default=[1_000, 100_000, 10_000_000])
    arguments.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    arguments.add_argument("--results", type=Path, default=_RESULTS)
    arguments.add_argument("--step", choices=("plan", "haul"), help=argparse.SUPPRESS)
    options = arguments.parse_args()
    if options.step:
        print(json.dumps(_one(options.step, options.planned[0], options.folder)))
        return
    described = machine.describe()
    rows = [_measure(planned, options.folder) for planned in options.planned]
    table = Table(
        "planned", "peak MB", "ledger, bytes an instance", "CPU us an instance", "wall", "CPU us a series planned"
    )
    for row in rows:
        table.add_row(
            f"{row['planned']:,}",
            f"{row['peak_mb']:.0f}",
            f"{row['ledger_bytes']:.0f}",
            f"{row['cpu_us']:.1f}",
            f"{row['wall_s']:.1f} s",
            f"{row['plan_us_a_series']:.0f}",
        )
    console = Console()
    console.print(table)
    most = max(row["ledger_bytes"] for row in rows)
    console.print(f"at most {_BAR_BYTES} bytes of the ledger an instance: {'met' if most <= _BAR_BYTES else 'NOT MET'}")
    options.results.mkdir(parents=True, exist_ok=True)
    document = {"machine": described, "rows": rows}
    (options.results / "growth.json").write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    panels = [
        (title, [(row["planned"], row[name]) for row in rows])
        for name, title in (
            ("peak_mb", "peak memory, MB"),
            ("ledger_bytes", "ledger, bytes an instance"),
            ("cpu_us", "CPU, µs an instance"),
        )
    ]
    svg = plot.growth("A run's cost against the number of planned instances", panels)
    (options.results / "growth.svg").write_text(svg, encoding="utf-8")


if __name__ == "__main__":
    main()
