"""What was measured, for people: a table, the bars, and the plot. All of it comes from the JSON of a run.

    python -m benchmarks.report benchmarks/results/DATE.json [--markdown]

shows a run again; `--markdown` prints the tables as the documentation has them.
"""

import argparse
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from rich.box import HEAVY_HEAD, MARKDOWN
from rich.console import Console
from rich.table import Table

from benchmarks.figures import OURS
from benchmarks.workloads import DICOMHAUL, way_of

Document = Mapping[str, Any]
_METRICS: Final = {
    "speed": "times as fast",
    "memory": "of its memory",
    "peak_mb": "peak MB",
    "line_share": "of what the line carries",
    "allowed_share": "of what is allowed",
    "wasted_share": "of the requests refused",
    "first_byte_s": "s to the first byte",
}
_WIDTH: Final = 200  # a table of this many columns makes no sense in fewer
_PAGE_WIDTH: Final = 1_000  # a row of Markdown is one line
_SHARES: Final = frozenset({"line_share", "allowed_share", "wasted_share"})


def show(document: Document, *, markdown: bool = False) -> None:
    """Print the machine, a row for each contender, and each bar."""
    console = Console(width=_PAGE_WIDTH if markdown else _WIDTH)
    machine, versions = document["machine"], document["versions"]
    console.print(", ".join(f"{name} {value}" for name, value in machine.items()))
    console.print(", ".join(f"{name} {value}" for name, value in versions.items()))
    if document["quick"]:
        console.print("[bold]Quick sizes: these figures mean nothing.[/bold]")
    box = MARKDOWN if markdown else HEAVY_HEAD
    rows = Table("workload", "who", "median", "MB/s", "instances/s", "CPU s/GB", "peak MB", "dicomhaul is", "", box=box)
    for each in document["rows"]:
        rows.add_row(*_cells(each, document))
    console.print(rows)
    bars = Table("workload", "bar", "measured", "", box=box)
    for each in document["bars"]:
        bars.add_row(each["workload"], _said(each), _number(each, each["value"]), "met" if each["met"] else "NOT MET")
    console.print(bars)


def _cells(row: Mapping[str, Any], document: Document) -> Iterator[str]:
    yield f"({row['workload']}) {row['title']}"
    yield row["contender"]
    yield f"{row['wall_s']:.2f} s"
    yield _or_nothing(row["mb_per_s"], "{:,.0f}")
    yield _or_nothing(row["instances_per_s"], "{:,.0f}")
    yield f"{row['cpu_s']:.1f} in all" if row["cpu_s_per_gb"] is None else f"{row['cpu_s_per_gb']:.1f}"
    yield f"{row['peak_mb']:,.0f}"
    yield _against(row, document)
    more = [f"{value:.1%} {_METRICS[name]}" if name in _SHARES else f"{value:,.2f} {_METRICS.get(name, name)}"
            for name, value in row["more"].items()]  # fmt: skip
    yield "; ".join([*row["problems"][:1], *more])


def _against(row: Mapping[str, Any], document: Document) -> str:
    """How many times as fast as this peer each way of dicomhaul is, with the least and the most of the pairs."""
    if row["contender"] in OURS:
        return ""
    said = []
    for each in document["ratios"]:
        if (each["workload"], each["peer"]) == (row["workload"], row["contender"]):
            spread = f"{each['speed']:.2f}x ({min(each['speeds']):.2f}-{max(each['speeds']):.2f})"
            said.append(" ".join(filter(None, (way_of(each["ours"]), spread))))
    return "; ".join(said)


def _said(bar: Mapping[str, Any]) -> str:
    words = "at most" if bar["most"] else "at least"
    who = [bar["ours"]] * (bar["ours"] != DICOMHAUL) + [bar["peer"]] * bool(bar["peer"])
    peer = f" ({' beside '.join(who)})" if who else ""
    return f"{words} {_number(bar, bar['bound'])} {_METRICS[bar['metric']]}{peer}"


def _number(bar: Mapping[str, Any], value: float | None) -> str:
    if value is None:
        return "nothing"
    return f"{value:.1%}" if bar["metric"] in _SHARES else f"{value:,.2f}"


def _or_nothing(value: float | None, pattern: str) -> str:
    return "" if value is None else pattern.format(value)


def main() -> None:
    """Show a run again."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("file", type=Path)
    arguments.add_argument("--markdown", action="store_true")
    options = arguments.parse_args()
    show(json.loads(options.file.read_text(encoding="utf-8")), markdown=options.markdown)


if __name__ == "__main__":
    main()
