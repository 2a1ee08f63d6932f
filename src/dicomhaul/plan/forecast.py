"""How long a plan will take, on how many days of a quota, and what it will fill. Pure.

The model is plain, and errs towards the longer time: the routes share one line, so the times that each takes at its own
rate add up; a route with a quota brings what is left of it today, then a day's quota a day (UTC), the last day's at its
rate; where requests are limited, they take as long as the limit says. The longest of these is the time. Nothing fails,
and each byte comes once. Whatever was assumed is said in words.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from dicomhaul.plan.estimate import Amount, disk_bytes

_DAY_S: Final = 86_400
_WEEK_MINUTES: Final = 7 * 24 * 60

Limits = Sequence[tuple[int, int | None]]  # minute of the week at which it begins, bytes a second (None: no limit)


class Quota(NamedTuple):
    """What a route may give a day (UTC), and what of it is used today."""

    bytes_per_day: int
    used_bytes: int = 0


@dataclass(frozen=True, slots=True)
class Supply:
    """What is known of a route.

    Attributes:
        bytes_per_s: its rate, measured or said; None: nobody knows.
        quota: its allowance; None: it has none, or nobody knows it.
        requests: how many it takes; None: that cannot be told.
    """

    bytes_per_s: float | None = None
    quota: Quota | None = None
    requests: int | None = None


@dataclass(frozen=True, slots=True)
class Forecast:
    """What is predicted. None: it cannot be told from what is known.

    Attributes:
        seconds: from the start to the end, the waiting for quotas included.
        quota_days: days (UTC) on which something comes by a route with a quota, today included; 0 without such.
        files: instances that will lie at the destination.
        disk_bytes: what they take there, with what the filesystem and the ledger add.
        rate_bytes_per_s: over all routes, while bytes flow.
        assumptions: what was assumed, in sentences.
    """

    seconds: float | None
    quota_days: int | None
    files: int | None
    disk_bytes: int | None
    rate_bytes_per_s: float | None
    assumptions: tuple[str, ...]

    def as_json(self) -> dict[str, object]:
        """The object that `plan --json` lists as `forecast`."""
        return {
            "seconds": None if self.seconds is None else round(self.seconds, 1),
            "quota_days": self.quota_days,
            "files": self.files,
            "disk_bytes": self.disk_bytes,
            "rate_bytes_per_s": None if self.rate_bytes_per_s is None else round(self.rate_bytes_per_s),
            "assumptions": list(self.assumptions),
        }


def forecast(
    routes: Mapping[str, Amount],
    supplies: Mapping[str, Supply],
    *,
    day_left_s: float,
    limits: Limits = (),
    requests_per_s: float | None = None,
    basis: Sequence[str] = (),
) -> Forecast:
    """Predict.

    Args:
        routes: what will come, by route.
        supplies: what is known of these routes.
        day_left_s: seconds until the next 00:00 UTC.
        limits: the timetable of `--bwlimit`, sorted by minute.
        requests_per_s: the most requests a second.
        basis: in sentences, where the rates come from.
    """
    total = Amount()
    for amount in routes.values():
        total = total.plus(amount)
    assumptions = [*basis, *(["--bwlimit holds, on average over a week"] if limits else [])]
    rates = {name: capped(supplies.get(name, Supply()).bytes_per_s, limits) for name in routes}
    line_s, quota_s, days = _line_s(routes, rates), 0.0, 0
    tellable = total.size_bytes is not None
    if not tellable:
        assumptions.append("some series state no size: neither time nor disk can be told")
    elif line_s is None:
        assumptions.append("no rate is known: --rate 80M says one, --probe measures it")
    elif len([amount for amount in routes.values() if amount.size_bytes]) > 1:
        assumptions.append("the routes share one line: their times add up")
    for name, amount in routes.items():
        quota = supplies.get(name, Supply()).quota
        if quota is not None and amount.size_bytes:
            spread, last_bytes = _spread(amount.size_bytes, quota)
            days = max(days, spread)
            assumptions.append(
                f"{name} gives {quota.bytes_per_day:,} bytes a day (UTC), {quota.used_bytes:,} of them used today"
                + (", and somebody goes on each day (--wait, or a run a day)" if spread > 1 else "")
            )
            rate = rates[name]
            if rate is not None and spread > 1:
                quota_s = max(quota_s, day_left_s + (spread - 2) * _DAY_S + last_bytes / rate)
    requests_s = _requests_s(routes, supplies, requests_per_s)
    if requests_s:
        assumptions.append(f"at most {requests_per_s:g} requests a second")
    seconds = None if line_s is None else max(line_s, quota_s, requests_s)
    if seconds:
        assumptions.append("nothing fails, and each byte comes once")
    return Forecast(
        seconds,
        days if tellable else None,
        total.instances,
        disk_bytes(total),
        (total.size_bytes or 0) / line_s if line_s else None,
        tuple(assumptions),
    )


def capped(bytes_per_s: float | None, limits: Limits) -> float | None:
    """Return a rate as a timetable lets it be, on average over a week.

    An unknown rate stays unknown, unless there is a limit at each minute: then it is at best these.
    """
    if not limits:
        return bytes_per_s
    spans = [
        ((begins[0] - at) % _WEEK_MINUTES or _WEEK_MINUTES, most)
        for (at, most), begins in zip(limits, [*limits[1:], limits[0]], strict=True)
    ]
    if bytes_per_s is None and any(most is None for _, most in spans):
        return None
    fastest = math.inf if bytes_per_s is None else bytes_per_s
    return sum(minutes * (fastest if most is None else min(fastest, most)) for minutes, most in spans) / _WEEK_MINUTES


def _line_s(routes: Mapping[str, Amount], rates: Mapping[str, float | None]) -> float | None:
    seconds = 0.0
    for name, amount in routes.items():
        rate = rates[name]
        if amount.size_bytes is None or (amount.size_bytes and not rate):
            return None
        seconds += amount.size_bytes / rate if rate else 0.0
    return seconds


def _spread(size_bytes: int, quota: Quota) -> tuple[int, int]:
    """Return on how many days so many bytes come, counted from today, and how many of them on the last one."""
    left = max(0, quota.bytes_per_day - quota.used_bytes)
    if size_bytes <= left:
        return 1, size_bytes
    more = -(-(size_bytes - left) // quota.bytes_per_day)
    return 1 + more, size_bytes - left - (more - 1) * quota.bytes_per_day


def _requests_s(routes: Mapping[str, Amount], supplies: Mapping[str, Supply], requests_per_s: float | None) -> float:
    if requests_per_s is None:
        return 0.0
    return sum(supplies.get(name, Supply()).requests or 0 for name in routes) / requests_per_s
