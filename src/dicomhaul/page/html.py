"""The page: the figures, put into the template.

Everything that is not ours is escaped by the template engine; what is marked as safe comes from `charts` alone. The
policy in the page allows one style sheet, by its digest, and nothing else: whatever a name of a collection may hold, no
script runs, no request leaves, no other style applies.
"""

import base64
import hashlib
from functools import cache
from importlib import resources
from typing import Final

from jinja2 import Environment, StrictUndefined, Template
from markupsafe import Markup

from dicomhaul.observe.figures import duration, size
from dicomhaul.page.charts import Canvas, Column, columns, share_bar, throughput
from dicomhaul.page.figures import Figures, Group, Run

_WIDE: Final = Canvas(880, 240)
_NARROW: Final = Canvas(328, 220)
_STATES: Final = {
    "complete": "Complete: everything that was asked for is here, and proven.",
    "partial": "Finished, but not complete: some of it could not be had.",
    "paused": "Not finished: work is left.",
}
_RUN_STATES: Final = frozenset({"complete", "partial", "paused"})
_CHECKS: Final = {"md5": "MD5 that the source states", "crc32c": "CRC32C that the source states",
                  "size": "size that the source states", "framing": "framing of the answer alone"}  # fmt: skip
_PROOFS: Final = {
    "inventory": "the source's own list, instance by instance",
    "count": "the number of instances that is stated",
    "framing": "an answer that ended as it should; nobody states a number",
}


def page(figures: Figures) -> str:
    """Return the page."""
    style = _read("style.css").strip()
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return _template().render(
        figures=figures,
        style=Markup(style),  # noqa: S704 - our own file
        style_digest=digest,
        sentence=_STATES[figures.state],
        drawings=_drawings(figures.runs),
        history=_history(figures.runs),
        checks=[(_CHECKS[name], count) for name, count in figures.checks if count],
        changed=[run for run in reversed(figures.runs) if run.changed],
        whole_bar=_whole_bar(figures),
        legend=[(kind, label, value) for kind, label, value in _parts(figures) if value or label == "complete"],
        proofs=[(_PROOFS[name], count) for name, count in figures.proofs if count],
    )


@cache
def _template() -> Template:
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"size": size, "duration": duration, "count": "{:,}".format, "when": _when}
    environment.globals |= {"bar_of": _bar_of}
    return environment.from_string(_read("report.html.jinja"))


def _read(name: str) -> str:
    return (resources.files("dicomhaul.page") / name).read_text(encoding="utf-8")


def _drawings(runs: tuple[Run, ...]) -> list[tuple[Run, Markup, Markup]]:
    """Return the newest runs that can be drawn, each wide and narrow; the newest first."""
    found = []
    for run in reversed(runs):
        if len(run.samples) > 1:
            name = f"run {run.number}"
            wide = throughput(run.samples, _WIDE, name=name, key=f"run-{run.number}-wide")
            narrow = throughput(run.samples, _NARROW, name=name, key=f"run-{run.number}-narrow")
            found.append((run, Markup(wide), Markup(narrow)))  # noqa: S704 - drawn of numbers
    return found


def _history(runs: tuple[Run, ...]) -> tuple[Markup, Markup] | None:
    """Return what each run has brought, wide and narrow; None where that says no more than the table."""
    if len(runs) < 2 or not any(run.bytes for run in runs):
        return None
    bars = [Column(str(run.number), run.bytes, run.state in _RUN_STATES) for run in runs]
    wide, narrow = (
        Markup(columns(bars, canvas, title="Bytes brought by each run", axis="number of the run", key=f"runs-{name}"))  # noqa: S704 - drawn of numbers
        for canvas, name in ((_WIDE._replace(height=180), "wide"), (_NARROW._replace(height=180), "narrow"))
    )
    return wide, narrow


def _parts(figures: Figures) -> list[tuple[str, str, int]]:
    """Return (class, what, series) for each state of a series."""
    left = figures.series - figures.complete - figures.failed
    return [
        ("part-complete", "complete", figures.complete),
        ("part-failed", "failed", figures.failed),
        ("part-left", "to come", left),
    ]


def _whole_bar(figures: Figures) -> Markup:
    parts = [(kind, value) for kind, _, value in _parts(figures)]
    return Markup(share_bar(parts, figures.series))  # noqa: S704 - drawn of numbers


def _bar_of(group: Group, groups: tuple[Group, ...]) -> Markup:
    """Return a bar as long as the group has bytes, against the largest; of series where nothing has bytes."""
    most = max(each.bytes for each in groups)
    if most:
        return Markup(share_bar([("part-complete", group.bytes)], most))  # noqa: S704 - drawn of numbers
    parts = [("part-complete", group.complete), ("part-failed", group.failed), ("part-left", group.left)]
    return Markup(share_bar(parts, max(each.series for each in groups)))  # noqa: S704 - likewise


def _when(text: str) -> str:
    """Write a time of the ledger for people: `2026-11-22 19:45 UTC`."""
    day, _, rest = text.partition("T")
    return f"{day} {rest[:5]} UTC" if rest.endswith(("+00:00", "Z")) else text
