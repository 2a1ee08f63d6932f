"""When the bytes of a plan come: a walk through the slots of a timetable and the days of quotas, from now on. Pure.

One line brings them, one route after the other. Each day (UTC) begins with the routes that have a quota, up to what is
left of it; the rest of the day is for the others. A rate is a route's own, or that of the timetable's slot where that
is less. Timetables are local: that the clock is put forward or back meanwhile is left out.
"""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

_DAY_S: Final = 86_400
_WEEK_DAYS: Final = 7
_WEEK_S: Final = _WEEK_DAYS * _DAY_S

Limits = Sequence[tuple[int, int | None]]  # minute of the week at which it begins, bytes a second (None: no limit)


class Quota(NamedTuple):
    """What a route may give a day (UTC), above 0, and what of it is used today."""

    bytes_per_day: int
    used_bytes: int = 0


class Flow(NamedTuple):
    """What comes by a route: bytes, its rate (infinite: only the timetable holds it), its quota."""

    size_bytes: int
    bytes_per_s: float
    quota: Quota | None = None


class Timeline(NamedTuple):
    """How it went.

    Attributes:
        seconds: from now to the last byte.
        flowing_s: of these, how long something came.
        quota_days: days (UTC) up to the last byte of a route with a quota, today included; 0 without such bytes.
    """

    seconds: float
    flowing_s: float
    quota_days: int


@dataclass(slots=True)
class _Span:
    """A part of a day in which one limit holds, as far as it is not used."""

    seconds: float
    bytes_per_s: float


def walk(flows: Sequence[Flow], *, day_left_s: float, week_s: float, limits: Limits) -> Timeline:
    """Bring everything.

    Args:
        flows: what comes; in this order, but those with a quota first.
        day_left_s: seconds until the next 00:00 UTC.
        week_s: seconds since Monday 00:00, local time.
        limits: a timetable, sorted by minute.
    """
    ordered = sorted((flow for flow in flows if flow.size_bytes), key=lambda flow: flow.quota is None)
    left = [float(flow.size_bytes) for flow in ordered]
    seconds, flowing_s, quota_days = 0.0, 0.0, 0
    day, week = 0, _Week(len(left))
    while any(left):
        begins_s = day_left_s + (day - 1) * _DAY_S if day else 0.0
        length_s = _DAY_S if day else day_left_s
        spans = _spans((week_s + begins_s) % _WEEK_S, length_s, limits)
        spent_s = 0.0
        for at, flow in enumerate(ordered):
            came, took_s = _bring(min(left[at], _allowance(flow.quota, day)), flow.bytes_per_s, spans)
            left[at] -= came
            week.came[at] += came
            spent_s += took_s
            if came and flow.quota is not None:
                quota_days = day + 1
        flowing_s += spent_s
        week.flowing_s += spent_s
        seconds = begins_s + spent_s
        if day % _WEEK_DAYS == 0:  # the first after today's: from here on a week is like another while nothing ends
            weeks = 0 if day == 0 else week.repeats(left)
            left = [rest - weeks * came for rest, came in zip(left, week.came, strict=True)]
            flowing_s += weeks * week.flowing_s
            day += weeks * _WEEK_DAYS
            week = _Week(len(left))
        day += 1
    return Timeline(seconds, flowing_s, quota_days)


class _Week:
    """What came in seven whole days."""

    def __init__(self, flows: int) -> None:
        self.came = [0.0] * flows
        self.flowing_s = 0.0

    def repeats(self, left: Sequence[float]) -> int:
        """Return how many more such weeks there are at least, before something ends."""
        if any(came and not rest for rest, came in zip(left, self.came, strict=True)):
            return 0
        return max(0, min(int(rest // came) for rest, came in zip(left, self.came, strict=True) if came) - 1)


def _allowance(quota: Quota | None, day: int) -> float:
    if quota is None:
        return math.inf
    return quota.bytes_per_day if day else max(0, quota.bytes_per_day - quota.used_bytes)


def _spans(week_s: float, length_s: float, limits: Limits) -> list[_Span]:
    """The limits of a day that begins at a second of the local week, the last one first."""
    if length_s <= 0:
        return []
    if not limits:
        return [_Span(length_s, math.inf)]
    edges = [minute * 60 + week for week in (0, _WEEK_S) for minute, _ in limits]
    rates = [math.inf if most is None else float(most) for _, most in limits] * 2
    first = bisect_right(edges, week_s)
    last = bisect_right(edges, week_s + length_s)
    begins = [week_s, *edges[first:last]]
    ends = [*edges[first:last], week_s + length_s]
    spans = [_Span(end - begin, rates[at - 1]) for at, (begin, end) in enumerate(zip(begins, ends, strict=True), first)]
    return [span for span in reversed(spans) if span.seconds > 0]


def _bring(size_bytes: float, bytes_per_s: float, spans: list[_Span]) -> tuple[float, float]:
    """Take what is to come out of the spans; return the bytes that came, and how long it took."""
    came, took_s = 0.0, 0.0
    while came < size_bytes and spans:
        span = spans[-1]
        rate = min(bytes_per_s, span.bytes_per_s)
        need_s = (size_bytes - came) / rate
        if need_s <= span.seconds:
            span.seconds -= need_s
            return size_bytes, took_s + need_s
        came += rate * span.seconds
        took_s += span.seconds
        spans.pop()
    return min(came, size_bytes), took_s
