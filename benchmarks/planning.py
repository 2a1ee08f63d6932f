"""Whole commands that plan on the real IDC index: time, and the memory of the largest process they start.

    python benchmarks/planning.py [--runs 5]

The first run of each is not counted: it brings the index into the page cache.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time

from rich.console import Console
from rich.table import Table

COHORTS = {
    "NLST CT (203,111 series)": ["--collection", "nlst", "--modality", "CT"],
    "all of IDC (1,044,191 series)": ["--where", "true"],
}


def measure(words: list[str]) -> tuple[float, float]:
    """Run `dicomhaul plan`; return seconds, and MB of the largest process."""
    began = time.monotonic()
    command = [sys.executable, "-m", "dicomhaul", "plan", *words, "--json"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.exit(f"{' '.join(command)}: exit {process.returncode}")
    return time.monotonic() - began, usage.ru_maxrss / 1000


def main() -> None:
    """Print a table."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--runs", type=int, default=5)
    options = arguments.parse_args()
    table = Table("cohort", "median", "min-max", "peak MB")
    for title, words in COHORTS.items():
        runs = [measure(words) for _ in range(options.runs + 1)][1:]
        walls = [wall for wall, _ in runs]
        spread = f"{min(walls):.2f}-{max(walls):.2f} s"
        table.add_row(title, f"{statistics.median(walls):.2f} s", spread, f"{max(peak for _, peak in runs):.0f}")
    Console().print(table)


if __name__ == "__main__":
    main()
