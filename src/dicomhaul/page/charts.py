"""Charts as SVG, from numbers alone. Pure.

Each chart has a title and a description for who cannot see it, axes with units, and no colour of its own: classes,
which the page's style fills in for light, dark and paper. Text is escaped here; no attribute takes any. A chart is
drawn twice where widths differ, since letters must not shrink with the drawing.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import pairwise
from typing import Final, NamedTuple

from dicomhaul.observe.figures import size
from dicomhaul.record.account import SampleRow

_BYTES: Final = (("PB", 1e15), ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("B", 1.0))
_TIMES: Final = (("d", 86_400.0), ("h", 3_600.0), ("min", 60.0), ("s", 1.0))
_TIME_STEPS: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1_200, 1_800, 3_600, 7_200, 10_800, 14_400,
                      21_600, 43_200, 86_400, 172_800, 432_000, 864_000)  # fmt: skip
_SHORTEST_S: Final = 0.001
_LEFT: Final = 46
_RIGHT: Final = 14
_TOP: Final = 26
_BOTTOM: Final = 40


class Canvas(NamedTuple):
    """How large a chart is, in units of its letters' size: they are 12 high."""

    width: int
    height: int

    @property
    def right(self) -> int:
        """Where the drawing ends."""
        return self.width - _RIGHT

    @property
    def bottom(self) -> int:
        """Where the horizontal axis is."""
        return self.height - _BOTTOM


class Scale(NamedTuple):
    """An axis: where its marks are, in its own unit, and that unit."""

    ticks: tuple[float, ...]  # in base units: bytes or seconds
    unit: str
    per_unit: float

    def label(self, value: float) -> str:
        """Write a mark."""
        return f"{value / self.per_unit:.6g}"


def byte_scale(top: float, *, marks: int = 4) -> Scale:
    """Return an axis from 0 to at least `top` bytes, with about so many round marks."""
    top = max(top, 1.0)
    unit, per_unit = next((unit for unit in _BYTES if top >= unit[1]), _BYTES[-1])
    raw = top / per_unit / marks
    magnitude = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * magnitude for factor in (1, 2, 5, 10) if factor * magnitude >= raw * 0.999_999)
    count = max(1, math.ceil(top / per_unit / step - 1e-9))
    return Scale(tuple(step * per_unit * number for number in range(count + 1)), unit, per_unit)


def time_scale(span_s: float, *, marks: int = 6) -> Scale:
    """Return an axis over so many seconds; it ends where they end, and its last mark may be before."""
    span_s = max(span_s, 1.0)
    unit, per_unit = next((unit for unit in _TIMES if span_s >= 2 * unit[1]), _TIMES[-1])
    raw = span_s / marks
    step = next((step for step in _TIME_STEPS if step >= max(raw, per_unit if per_unit == 1 else 0)), None)
    if step is None:
        step = math.ceil(raw / 864_000) * 864_000
    return Scale(tuple(float(at) for at in range(0, int(span_s) + 1, int(step))), unit, per_unit)


def rates(samples: Sequence[SampleRow]) -> list[tuple[float, float, float]]:
    """Return (from, to, bytes a second) between the samples of a run, which began at 0 with nothing."""
    steps: list[tuple[float, float, float]] = []
    for before, after in pairwise([SampleRow(0.0, 0, 0), *samples]):
        if after.at_s - before.at_s >= _SHORTEST_S:  # somebody else may have written them
            rate = max(0, after.size_bytes - before.size_bytes) / (after.at_s - before.at_s)
            steps.append((before.at_s, after.at_s, rate))
    return steps


def throughput(samples: Sequence[SampleRow], canvas: Canvas, *, name: str, key: str) -> str:
    """Draw bytes a second over the time of a run. `key` tells its parts from those of other charts on the page."""
    steps = rates(samples)
    if not steps:
        return ""
    span_s, most = steps[-1][1], max(rate for *_, rate in steps)
    mean = sum(rate * (to - begin) for begin, to, rate in steps) / span_s
    across, up = time_scale(span_s, marks=6 if canvas.width > 500 else 4), byte_scale(most)

    def x(at_s: float) -> float:
        return _LEFT + (canvas.right - _LEFT) * at_s / span_s

    def y(rate: float) -> float:
        return canvas.bottom - (canvas.bottom - _TOP) * rate / up.ticks[-1]

    line = " ".join(f"{x(begin):.1f},{y(rate):.1f} {x(to):.1f},{y(rate):.1f}" for begin, to, rate in steps)
    area = f"{_LEFT},{canvas.bottom} {line} {x(span_s):.1f},{canvas.bottom}"
    said = f"Mean {size(mean)}/s, at most {size(most)}/s, over {across.label(span_s)} {across.unit}."
    parts = [
        *_frame(canvas, f"{up.unit}/s", f"time since the run began ({across.unit})"),
        *(_row_mark(canvas, y(tick), up.label(tick)) for tick in up.ticks),
        *(_column_mark(canvas, x(tick), across.label(tick)) for tick in across.ticks),
        f'<polygon class="area" points="{area}"/>',
        f'<polyline class="line" points="{line}"/>',
        f'<line class="mean" x1="{_LEFT}" x2="{canvas.right}" y1="{y(mean):.1f}" y2="{y(mean):.1f}"/>',
        _text(canvas.right, y(mean) - 5, f"mean {size(mean)}/s", kind="note", anchor="end"),
    ]
    return _svg(canvas, parts, title=f"Throughput of {name}", said=said, key=key)


class Column(NamedTuple):
    """One bar of a chart: what it is of, how much, and whether that went well."""

    label: str
    value: int
    is_well: bool


def columns(bars: Sequence[Column], canvas: Canvas, *, title: str, axis: str, key: str) -> str:
    """Draw bytes as upright bars, in the order given; what did not go well has a frame instead of a filling."""
    if not bars:
        return ""
    up = byte_scale(max(bar.value for bar in bars))
    room = (canvas.right - _LEFT) / len(bars)
    wide = min(room * 0.72, 36.0)
    every = max(1, math.ceil(len(bars) * 34 / (canvas.right - _LEFT)))

    def y(value: float) -> float:
        return canvas.bottom - (canvas.bottom - _TOP) * value / up.ticks[-1]

    def draw() -> Iterator[str]:
        for number, bar in enumerate(bars):
            middle = _LEFT + room * (number + 0.5)
            high = max(canvas.bottom - y(bar.value), 1.0)
            kind = "bar" if bar.is_well else "bar-open"
            yield (
                f'<rect class="{kind}" x="{middle - wide / 2:.1f}" y="{canvas.bottom - high:.1f}" width="{wide:.1f}" '
                f'height="{high:.1f}"/>'
            )
            if (len(bars) - 1 - number) % every == 0:
                yield _text(middle, canvas.bottom + 16, bar.label, anchor="middle")

    parts = [
        *_frame(canvas, up.unit, axis),
        *(_row_mark(canvas, y(tick), up.label(tick)) for tick in up.ticks),
        *draw(),
    ]
    said = f"From {bars[0].label} to {bars[-1].label}: {', '.join(size(bar.value) for bar in bars)}."
    return _svg(canvas, parts, title=title, said=said, key=key)


def share_bar(parts: Sequence[tuple[str, int]], whole: int) -> str:
    """Draw shares of `whole` side by side, (class, amount); decoration of a row whose numbers stand in words."""
    drawn, at = [], 0.0
    for kind, amount in parts:
        wide = 100.0 * amount / whole if whole else 0.0
        if wide > 0:
            drawn.append(f'<rect class="{kind}" x="{at:.2f}" y="0" width="{max(wide, 0.5):.2f}" height="8"/>')
        at += wide
    return (
        '<svg class="share" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true" focusable="false">'
        f"{''.join(drawn)}</svg>"
    )


def _svg(canvas: Canvas, parts: Iterable[str], *, title: str, said: str, key: str) -> str:
    return (
        f'<svg viewBox="0 0 {canvas.width} {canvas.height}" role="img" aria-labelledby="{key}-title {key}-desc">'
        f'<title id="{key}-title">{escape(title)}</title><desc id="{key}-desc">{escape(said)}</desc>'
        f"{''.join(parts)}</svg>"
    )


def _frame(canvas: Canvas, up: str, across: str) -> Iterator[str]:
    yield _text(0, 12, up, kind="axis-name")
    yield _text(canvas.right, canvas.height - 6, across, kind="axis-name", anchor="end")
    yield f'<line class="axis" x1="{_LEFT}" x2="{canvas.right}" y1="{canvas.bottom}" y2="{canvas.bottom}"/>'


def _row_mark(canvas: Canvas, y: float, label: str) -> str:
    line = f'<line class="grid" x1="{_LEFT}" x2="{canvas.right}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return line + _text(_LEFT - 8, y + 4, label, anchor="end")


def _column_mark(canvas: Canvas, x: float, label: str) -> str:
    line = f'<line class="axis" x1="{x:.1f}" x2="{x:.1f}" y1="{canvas.bottom}" y2="{canvas.bottom + 4}"/>'
    return line + _text(x, canvas.bottom + 18, label, anchor="middle")


def _text(x: float, y: float, text: str, *, kind: str = "mark", anchor: str = "start") -> str:
    return f'<text class="{kind}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
