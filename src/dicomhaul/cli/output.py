"""What commands print: sentences on stderr, results on stdout; with `--json`, one object as the last line.

What a server or a file name says may stand in a line: no line holds anything that a terminal would obey.
"""

import json
import sys
from collections.abc import Sequence
from typing import Any, Final

from dicomhaul.errors import HaulError
from dicomhaul.model import Failure
from dicomhaul.observe.figures import size
from dicomhaul.observe.wording import printable
from dicomhaul.report import Report

EXIT_CODES: Final = {"complete": 0, "partial": 3, "paused": 4}  # by the state of a report; of any other state: 1
_SHOWN_FAILURES: Final = 20


def human_bytes(count: float | None) -> str:
    """Write a number of bytes for people."""
    return "an unknown number of bytes" if count is None else size(count)


def human_count(count: int | None, noun: str) -> str:
    """Write a number of things; `noun` is their plural, which "series" and "instances" share with nothing else."""
    if count is None:
        return f"an unknown number of {noun}"
    return f"{count:,} {noun.removesuffix('s') if count == 1 and noun != 'series' else noun}"


def say(line: str = "") -> None:
    """Print a line of result."""
    sys.stdout.write(f"{printable(line)}\n")


def tell(line: str) -> None:
    """Print a line for the person who watches."""
    sys.stderr.write(f"{printable(line)}\n")
    sys.stderr.flush()


def emit_json(value: dict[str, Any]) -> None:
    """Print the one JSON object, in ASCII: whatever it holds, every terminal and every encoding can take it."""
    say(json.dumps(value))


def complain(error: Exception) -> None:
    """Say what went wrong, in one message."""
    tell(f"dicomhaul: {error}")


def print_report(report: Report) -> None:
    """Say what became of a run."""
    rate = f", {human_bytes(report.bytes_landed / report.elapsed_s)}/s" if report.elapsed_s > 0.5 else ""
    say(
        f"{report.state}: {human_count(report.instances_landed, 'instances')} landed "
        f"({human_bytes(report.bytes_landed)} in {report.elapsed_s:.1f} s{rate}); "
        f"{report.series_complete:,} of {human_count(report.series_planned, 'series')} complete, "
        f"{human_count(report.instances_present, 'instances')} present in {report.dest}"
    )
    if report.series_added or report.series_revised or report.series_withdrawn or report.instances_removed:
        say(
            f"  series: {report.series_added:,} new, {report.series_revised:,} revised, {report.series_withdrawn:,} "
            f"withdrawn; {human_count(report.instances_removed, 'instances')} "
            f"({human_bytes(report.bytes_removed)}) left for the trash"
        )
    if report.reason and report.state != "partial":
        say(f"  {report.reason}")
    if len(report.routes) > 1 or report.series_moved:
        shares = [
            f"{name} {human_count(amount.series, 'series')} ({human_bytes(amount.size_bytes)})"
            for name, amount in report.routes.items()
        ]
        moved = f"; {human_count(report.series_moved, 'series')} moved to another route" if report.series_moved else ""
        say(f"  by route: {', '.join(shares) or 'none yet'}{moved}")
    if report.bytes_discarded or report.retries or report.throttled:
        say(
            f"  {human_count(report.requests, 'requests')}, {report.retries:,} tried again, "
            f"{report.throttled:,} throttled; "
            f"{human_bytes(report.bytes_discarded)} came twice or damaged and were not kept"
        )
    if report.failures_accepted:
        say(f"  {human_count(report.failures_accepted, 'failures')} besides, as accepted")
    print_failures(report.failures)


def print_failures(failures: Sequence[Failure]) -> None:
    """Name what is missing, as far as somebody would read it."""
    for failure in failures[:_SHOWN_FAILURES]:
        what = f"series {failure.series}" if failure.series else f"study {failure.study}"
        what = f"instance {failure.sop}" if failure.sop else what
        say(f"  missing: {what}: {failure.reason}")
    if len(failures) > _SHOWN_FAILURES:
        say(f"  ... and {len(failures) - _SHOWN_FAILURES:,} more; `--json` lists them all")


def failed_json(error: Exception) -> dict[str, Any]:
    """Return the object of a command that an error ended; with the report of the run, if there is one."""
    report = error.report if isinstance(error, HaulError) else None
    table: dict[str, Any] = report.as_json() if report is not None else {}
    return {**table, "state": "failed", "reason": str(error), "error": type(error).__name__}
