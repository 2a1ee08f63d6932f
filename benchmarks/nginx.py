"""Whole commands against a local nginx that serves prebuilt WADO-RS bodies over TLS, to a tmpfs: dicomhaul beside curl.

    python benchmarks/nginx.py [--runs 5] [--workload ct mr] [--folder /dev/shm]

Needs nginx and curl. `dicomhaul pull` splits, skims, hashes, syncs, moves and records every instance; `curl -Z` saves
the raw bodies and does nothing else. The two run in turn, so that a ratio holds although the machine's speed drifts.
Peak memory is that of the one process that transfers (VmHWM).
"""

import argparse
import json
import resource
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import trustme
from rich.console import Console
from rich.table import Table
from wire import instance

BOUNDARY = "b" * 60
STUDY = "1.2.826.0.1.3680043.8.498.2"


@dataclass(frozen=True)
class Workload:
    """Series of equal instances."""

    title: str
    series: int
    instances: int  # of each series
    pixel_bytes: int


WORKLOADS = {
    "ct": Workload("CT, 525 KB", series=48, instances=120, pixel_bytes=518_000),
    "mr": Workload("MR, 9 KB", series=32, instances=2_000, pixel_bytes=6_400),
}


@dataclass(frozen=True)
class Measured:
    """One run of one command."""

    wall_s: float
    cpu_s: float
    peak_mb: float


def build(root: Path, workload: Workload) -> int:
    """Write one body for each series and a manifest; return the bytes of all instances."""
    template = instance(workload.pixel_bytes)
    total = 0
    folder = root / "www" / "studies" / STUDY / "series"
    folder.mkdir(parents=True)
    rows = ["StudyInstanceUID,SeriesInstanceUID,instanceCount"]
    for number in range(workload.series):
        series = f"1.2.826.0.1.3680043.8.498.{1000 + number}"
        rows.append(f"{STUDY},{series},{workload.instances}")
        with (folder / series).open("wb") as body:
            for index in range(workload.instances):
                sop = f"1.2.826.0.1.3680043.8.498.1.{1000 + number}.{100000 + index}".encode()
                part = _renamed(template, sop, series.encode())
                total += len(part)
                body.write(b"--" + BOUNDARY.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n" + part + b"\r\n")
            body.write(b"--" + BOUNDARY.encode() + b"--\r\n")
    (root / "manifest.csv").write_text("\n".join(rows) + "\n")
    return total


def _renamed(template: bytes, sop: bytes, series: bytes) -> bytes:
    """Give the template its own UIDs; each grows, so the lengths before them, and of the file meta, grow too."""
    old_sop, old_series = b"1.2.826.0.1.3680043.8.498.1", b"1.2.826.0.1.3680043.8.498.3"
    parts = []
    for old, new in ((old_sop, sop), (old_series, series)):
        parts.append((_ui(old), _ui(new)))
    for old, new in parts:
        template = template.replace(old, new)
    grown = len(_ui(sop)) - len(_ui(old_sop))
    length = int.from_bytes(template[140:144], "little") + grown
    return template[:140] + length.to_bytes(4, "little") + template[144:]


def _ui(uid: bytes) -> bytes:
    padded = uid + b"\0" * (len(uid) % 2)
    return b"UI" + len(padded).to_bytes(2, "little") + padded


@contextmanager
def nginx(root: Path, more: str = "", maps: str = "") -> Iterator[tuple[str, Path]]:
    """Serve `root`/www over TLS on a free port; yield the base URL and the file of its authority.

    `more` stands in the server's block of the configuration, `maps` before it.
    """
    authority = trustme.CA()
    certificate = authority.issue_cert("127.0.0.1")
    (root / "key.pem").write_bytes(certificate.private_key_pem.bytes())
    (root / "cert.pem").write_bytes(b"".join(pem.bytes() for pem in certificate.cert_chain_pems))
    (root / "ca.pem").write_bytes(authority.cert_pem.bytes())
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (root / "nginx.conf").write_text(f"""
        user root; daemon off; worker_processes 2; pid {root}/nginx.pid; error_log {root}/error.log;
        events {{ worker_connections 512; }}
        http {{
            access_log off; sendfile on; keepalive_requests 100000;
            client_body_temp_path {root}/t1; proxy_temp_path {root}/t2; fastcgi_temp_path {root}/t3;
            uwsgi_temp_path {root}/t4; scgi_temp_path {root}/t5;
            types {{}} default_type 'multipart/related; type="application/dicom"; boundary={BOUNDARY}';
            {maps}
            server {{
                listen 127.0.0.1:{port} ssl; root {root}/www; ssl_protocols TLSv1.3;
                ssl_certificate {root}/cert.pem; ssl_certificate_key {root}/key.pem;
                {more}
            }}
        }}""")
    process = subprocess.Popen(["nginx", "-c", str(root / "nginx.conf")], stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.02)
        yield f"https://127.0.0.1:{port}", root / "ca.pem"
    finally:
        process.terminate()
        process.wait()


def measure(command: list[str]) -> Measured:
    """Run a command; its CPU time includes its children's, its peak memory does not."""
    began = time.monotonic()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    peak_kb = 0
    while process.poll() is None:
        try:
            for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
                if line.startswith("VmHWM"):
                    peak_kb = max(peak_kb, int(line.split()[1]))
        except (FileNotFoundError, ProcessLookupError):
            break
        time.sleep(0.02)
    output, errors = process.communicate()
    wall_s = time.monotonic() - began
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}\n{output.decode()}{errors.decode()}")
    return Measured(wall_s, _cpu_of_children(), peak_kb / 1000)


_spent = 0.0


def _cpu_of_children() -> float:
    global _spent
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    now = usage.ru_utime + usage.ru_stime
    delta, _spent = now - _spent, now
    return delta


def main() -> None:
    """Print a table; with --json write the figures, too."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=5)
    arguments.add_argument("--workload", nargs="+", choices=sorted(WORKLOADS), default=sorted(WORKLOADS))
    arguments.add_argument("--folder", type=Path, default=Path("/dev/shm"))
    arguments.add_argument("--json", type=Path)
    arguments.add_argument("--series", type=int, help="instead of the workload's number; two sizes tell start-up apart")
    arguments.add_argument("--transfers", default="4")
    options = arguments.parse_args()
    for tool in ("nginx", "curl"):
        if shutil.which(tool) is None:
            sys.exit(f"{tool} is not installed")
    table = Table("workload", "command", "median", "instances/s", "MB/s", "CPU s/GB", "peak MB", "of curl (pairs)")
    figures = []
    for name in options.workload:
        workload = WORKLOADS[name]
        if options.series:
            workload = replace(workload, series=options.series)
        root = Path(tempfile.mkdtemp(dir=options.folder))
        try:
            total = build(root, workload)
            results: dict[str, list[Measured]] = {"curl -Z": [], "dicomhaul pull": []}
            with nginx(root) as (url, ca):
                for _ in range(options.runs + 1):  # the first warms up
                    results["curl -Z"].append(measure(_curl(root, url, ca, workload, options.transfers)))
                    results["dicomhaul pull"].append(measure(_dicomhaul(root, url, ca, options.transfers)))
            ratios = [a.wall_s / b.wall_s for a, b in zip(*results.values(), strict=True)][1:]
            for command, runs in results.items():
                wall = statistics.median(run.wall_s for run in runs[1:])
                row = {
                    "workload": workload.title,
                    "command": command,
                    "wall_s": wall,
                    "instances_per_s": workload.series * workload.instances / wall,
                    "mb_per_s": total / wall / 1e6,
                    "cpu_s_per_gb": statistics.median(run.cpu_s for run in runs[1:]) / total * 1e9,
                    "peak_mb": max(run.peak_mb for run in runs[1:]),
                    "of_curl": statistics.median(ratios) if command.startswith("dicom") else 1.0,
                }
                figures.append(row)
                spread = f"{row['of_curl']:.2f} ({min(ratios):.2f}-{max(ratios):.2f})"
                table.add_row(
                    workload.title,
                    command,
                    f"{wall:.2f} s",
                    f"{row['instances_per_s']:,.0f}",
                    f"{row['mb_per_s']:.0f}",
                    f"{row['cpu_s_per_gb']:.1f}",
                    f"{row['peak_mb']:.0f}",
                    spread if command.startswith("dicom") else "",
                )
        finally:
            shutil.rmtree(root)
    Console().print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")


def _curl(root: Path, url: str, ca: Path, workload: Workload, transfers: str) -> list[str]:
    shutil.rmtree(root / "raw", ignore_errors=True)
    (root / "raw").mkdir()
    words = ["curl", "-sS", "--fail", "-Z", "--parallel-max", transfers, "--cacert", str(ca)]
    for number in range(workload.series):
        series = f"1.2.826.0.1.3680043.8.498.{1000 + number}"
        words += ["-o", f"{root}/raw/{series}", f"{url}/studies/{STUDY}/series/{series}"]
    return words


def _dicomhaul(root: Path, url: str, ca: Path, transfers: str) -> list[str]:
    shutil.rmtree(root / "out", ignore_errors=True)
    words = [sys.executable, "-m", "dicomhaul", "pull", f"{root}/manifest.csv", "--source", url, "--ca-file", str(ca)]
    return [*words, "-o", f"{root}/out", "--transfers", transfers, "-q"]


if __name__ == "__main__":
    main()
