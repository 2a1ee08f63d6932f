"""The plots, as SVG that needs nothing from elsewhere. Pure: values in, text out."""

from collections.abc import Mapping, Sequence
from html import escape
from math import log10
from typing import Any, Final

from benchmarks.workloads import way_of

_WIDTH: Final = 860
_LEFT: Final = 330  # where bars begin
_RIGHT: Final = 130  # what is left for numbers
_ROW: Final = 22
_TOP: Final = 64
_TEXT: Final = "#24292f"
_MUTED: Final = "#6e7781"
_AHEAD: Final = "#1f6feb"
_BEHIND: Final = "#d1742f"
_TICKS: Final = (0.03125, 0.0625, 0.125, 0.25, 0.5, 1, 2, 4, 8, 16, 32, 64)


def ratios(document: Mapping[str, Any]) -> str:
    """Draw how many times as fast each of ours is as each peer, on a logarithmic scale, with bars as marks."""
    shown = document["ratios"]
    bounds = {
        (bar["workload"], bar["ours"], bar["peer"]): bar["bound"]
        for bar in document["bars"]
        if bar["metric"] == "speed"
    }
    speeds = [speed for each in shown for speed in each["speeds"]]
    ticks = (
        [tick for tick in _TICKS if min(0.5, *speeds) / 2 <= tick <= max(2.0, *speeds) * 2] if speeds else [0.5, 1, 2]
    )

    def x(value: float) -> float:
        inside = log10(max(value, ticks[0]) / ticks[0]) / log10(ticks[-1] / ticks[0])
        return _LEFT + min(1.0, inside) * (_WIDTH - _LEFT - _RIGHT)

    lines = []
    bottom = _TOP + _ROW * len(shown)
    for tick in ticks:
        lines.append(_line(x(tick), _TOP - 6, x(tick), bottom, "#d0d7de" if tick != 1 else _TEXT))
        lines.append(
            _text(x(tick), _TOP - 12, f"1/{1 / tick:g}" if tick < 1 else f"{tick:g}x", anchor="middle", fill=_MUTED)
        )
    title = ""
    for number, each in enumerate(shown):
        y = _TOP + _ROW * number
        if each["title"] != title:
            title = each["title"]
            lines.append(_text(12, y + 15, title, weight="bold"))
        colour = _AHEAD if each["speed"] >= 1 else _BEHIND
        begin, end = sorted((x(1), x(each["speed"])))
        name = " / ".join(filter(None, (way_of(each["ours"]), each["peer"])))
        lines.append(_text(_LEFT - 8, y + 15, name, anchor="end"))
        lines.append(
            f'<rect x="{begin:.1f}" y="{y + 4}" width="{max(end - begin, 1):.1f}" height="14" fill="{colour}"/>'
        )
        lines.append(_line(x(min(each["speeds"])), y + 11, x(max(each["speeds"])), y + 11, _TEXT))
        bound = bounds.get((each["workload"], each["ours"], each["peer"]))
        if bound is not None:
            lines.append(_line(x(bound), y + 1, x(bound), y + 21, "#cf222e", width=2.5))
        lines.append(_text(_WIDTH - _RIGHT + 14, y + 15, f"{each['speed']:.2f}x"))
    machine = document["machine"]
    where = f"{machine['processor']}, {machine['cores']} cores shared with the server, TLS, tmpfs; {document['date']}"
    foot = "Blue: dicomhaul is faster. Orange: the peer is. Thin: least and most of the pairs. Red: the bar to reach."
    how = "dicomhaul over WADO-RS, or from a bucket with XXH3 alone or with MD5 compared as well."
    for number, text in enumerate((foot, how, where)):
        lines.append(_text(12, bottom + 22 + 18 * number, text, fill=_MUTED))
    return _svg("How many times as fast as its peers dicomhaul is", bottom + 72, lines)


def growth(title: str, panels: Sequence[tuple[str, Sequence[tuple[int, float]]]]) -> str:
    """Draw one small plot for each of `panels`: what it shows, and (instances planned, value) pairs."""
    width, height, gap = 240, 150, 36
    lines = []
    for number, (name, points) in enumerate(panels):
        left, top = 24 + number * (width + gap), _TOP
        most = max((value for _, value in points), default=1.0) * 1.15
        first, last = log10(points[0][0]), log10(points[-1][0])
        lines.append(f'<rect x="{left}" y="{top}" width="{width}" height="{height}" fill="none" stroke="#d0d7de"/>')
        lines.append(_text(left, top - 8, name, weight="bold"))
        placed = []
        for count, value in points:
            x = left + 24 + (log10(count) - first) / max(last - first, 1e-9) * (width - 56)
            y = top + height - value / most * height
            placed.append(f"{x:.1f},{y:.1f}")
            lines.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{_AHEAD}"/>')
            lines.append(_text(x, y - 8, f"{value:,.1f}", anchor="middle"))
            lines.append(_text(x, top + height + 16, f"1e{log10(count):.0f}", anchor="middle", fill=_MUTED))
        lines.append(f'<polyline points="{" ".join(placed)}" fill="none" stroke="{_AHEAD}"/>')
    return _svg(title, _TOP + height + 34, lines)


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, *, width: float = 1) -> str:
    return f'<line x1="{x1:.1f}" y1="{y1}" x2="{x2:.1f}" y2="{y2}" stroke="{colour}" stroke-width="{width}"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start", fill: str = _TEXT, weight: str = "normal") -> str:
    style = f'text-anchor="{anchor}" fill="{fill}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _svg(title: str, height: int, lines: Sequence[str]) -> str:
    inside = "\n".join(lines)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}" height="{height}" '
        f'font-family="system-ui, sans-serif" font-size="13" role="img"><title>{escape(title)}</title>\n'
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>\n'
        f"{_text(12, 24, title, weight='bold')}\n{inside}\n</svg>\n"
    )
