"""Workload (h): a destination of a million series, all but ten of which are done, is pulled again.

The ledger is what the command itself would have left: IDC's index, planned by the package's planner; then all series
but ten are set to landed, with one instance each. It is made once (a minute) and kept in a folder; each run has a copy.
"""

import hashlib
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from importlib import resources
from pathlib import Path
from typing import Final

import anyio
import idc_index_data

from benchmarks.data import BUCKET, Named, Shape, build, clear
from benchmarks.origin_nginx import Served, nginx
from benchmarks.peers import PLANS, Command, bucket_profile
from benchmarks.stages import Run, Stage, problem_of, run_command
from benchmarks.workloads import DICOMHAUL
from dicomhaul.config.source import resolve_sources
from dicomhaul.land.layout import IDC_LAYOUT
from dicomhaul.model import Query
from dicomhaul.planner.parent import plan
from dicomhaul.planner.request import Load, PlanRequest
from dicomhaul.record.ledger import Ledger
from dicomhaul.steps.question import fingerprint

_SERIES: Final = 1_000_000
_QUICK_SERIES: Final = 20_000
_LEFT: Final = 10
_INSTANCE_BYTES: Final = 9_000
_SMALL_BYTES: Final = 10**7  # what the index says of a series that is left, since room for it is looked for


@contextmanager
def resume(root: Path, kept: Path, *, quick: bool, options: tuple[str, ...] = ()) -> Iterator[Stage]:
    """Put the workload on below `root`; the ledger is kept in the folder `kept`."""
    query = Query(where="true", limit_series=_QUICK_SERIES if quick else _SERIES)
    ledger = _kept_ledger(kept, query)
    left = _left(ledger)
    shapes = [Shape(count, _INSTANCE_BYTES) for _, count in left]
    build(root, shapes, bodies=False, names=[named for named, _ in left])
    with nginx(root, logs=True) as served:
        profile = bucket_profile(root, served.url)
        words = [
            sys.executable,
            "-m",
            "dicomhaul",
            "pull",
            "--where",
            "true",
            "--limit-series",
            str(query.limit_series),
        ]
        words += ["--source", str(profile), "--ca-file", str(served.ca), "-o", str(root / "out"), "-q", *options]
        command = Command(words, aside=PLANS)
        # What tells this plan from another depends on where the server listens.
        source = resolve_sources(str(profile))
        mark = fingerprint(query, source, IDC_LAYOUT)

        def prepare(path: Path) -> None:
            shutil.copyfile(ledger, path)
            with closing(sqlite3.connect(path)) as db, db:
                db.execute("UPDATE cohort SET fingerprint = ?, source = ?", (mark, source.word))

        def run() -> Run:
            return _run(command, prepare, root / "out", served)

        yield Stage(f"resume, {len(left)} of {query.limit_series:,} series", 0, 0, {DICOMHAUL: run})


def _run(command: Command, prepare: Callable[[Path], None], out: Path, served: Served) -> Run:
    clear(out)
    private = out / ".dicomhaul"
    private.mkdir(parents=True, mode=0o700)
    prepare(private / "ledger.sqlite3")
    served.take_log()
    measured = run_command(command)
    objects = [each for each in served.take_log() if each.path.endswith(".dcm") and each.status == 200]
    with closing(sqlite3.connect(private / "ledger.sqlite3")) as db:
        (unfinished,) = db.execute("SELECT count(*) FROM series WHERE state <> 1").fetchone()
    clear(out)
    problem = problem_of(measured) or (f"{unfinished} series are not there" if unfinished else "")
    more = {"first_byte_s": objects[0].at_s - measured.began_s} if objects else {}
    return Run(measured, problem, more)


def _kept_ledger(folder: Path, query: Query) -> Path:
    """Return a ledger of `query` in which all but ten series are done, making it where it is not there."""
    schema = (resources.files("dicomhaul.record") / "schema.sql").read_bytes()
    mark = hashlib.sha256(schema + repr(query).encode() + idc_index_data.__version__.encode()).hexdigest()[:16]
    path = folder / f"resume-{query.limit_series}-{mark}.sqlite3"
    if path.is_file():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob(f"resume-{query.limit_series}-*"):
        old.unlink()
    growing = folder / f"resume-{query.limit_series}-growing.sqlite3"
    with closing(Ledger.open(growing)) as ledger:
        ledger.set_meta("name_by", "sop")
    source = resolve_sources(str(bucket_profile(folder, "https://127.0.0.1:1")))
    load = Load(growing, True, "everything", "benchmark", "2024-01-01T00:00:00+00:00")
    anyio.run(plan, PlanRequest(query=query, source=source, layout=IDC_LAYOUT, load=load))
    with closing(sqlite3.connect(growing)) as db, db:
        left = [key for key, *_ in _left_rows(db)]
        marks = ", ".join("?" * len(left))
        db.execute(f"UPDATE series SET state = 1, proof = 'count', came_by = 'bucket' WHERE id NOT IN ({marks})", left)
        db.execute(
            "INSERT INTO instance (series_id, sop, size_bytes, xxh3, state, checked, stem) "
            "SELECT id, '1.2.826.0.1.3680043.8.498.1.' || (100000000000 + id), 525000, randomblob(16), 1, 3, "
            "randomblob(16) FROM series WHERE state = 1 ORDER BY id"
        )
    with closing(sqlite3.connect(growing)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    growing.rename(path)
    return path


def _left(ledger: Path) -> list[tuple[Named, int]]:
    """Return the series that are left, with their numbers of instances."""
    with closing(sqlite3.connect(ledger)) as db:
        found = db.execute(
            "SELECT study, series, revision, expected FROM series WHERE state = 0 ORDER BY id"
        ).fetchall()
    return [(Named(study, series, revision), count) for study, series, revision, count in found]


def _left_rows(db: sqlite3.Connection) -> list[tuple[int]]:
    """Ten small ones from all over the cohort."""
    return db.execute(
        "SELECT id FROM series WHERE expected BETWEEN 2 AND 20 AND size_bytes < ? AND bucket = ? "
        "ORDER BY (id * 7919) % 1000003 LIMIT ?",
        (_SMALL_BYTES, BUCKET, _LEFT),
    ).fetchall()
