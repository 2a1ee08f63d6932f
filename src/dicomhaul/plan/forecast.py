"""How long a plan will take, on how many days of a quota, and what it will fill. Pure.

The model is plain, and errs towards the longer time: the routes share one line, so the times that each takes at its own
rate, or at the timetable's where that is less, add up. Each day (UTC) the routes with a quota come first, with what is
left of it, as far as the day is long enough; the rest of the day is for the others (`timeline`). Where requests are
limited, it takes at least as long as the limit says. Nothing fails, and each byte comes once. Whatever was assumed is
said in words.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dicomhaul.plan.estimate import Amount, disk_bytes
from dicomhaul.plan.timeline import Flow, Limits, Quota, walk


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
    week_s: float = 0.0,
    limits: Limits = (),
    requests_per_s: float | None = None,
    basis: Sequence[str] = (),
) -> Forecast:
    """Predict.

    Args:
        routes: what will come, by route.
        supplies: what is known of these routes.
        day_left_s: seconds until the next 00:00 UTC.
        week_s: seconds since Monday 00:00, local time; for `limits`.
        limits: the timetable of `--bwlimit`, sorted by minute.
        requests_per_s: the most requests a second.
        basis: in sentences, where the rates come from.
    """
    total = Amount()
    for amount in routes.values():
        total = total.plus(amount)
    assumptions = [*basis, *(["--bwlimit holds as its timetable goes on from now"] if limits else [])]
    known = {name: supplies.get(name, Supply()) for name in routes}
    bringing = [name for name, amount in routes.items() if amount.size_bytes]
    told = walk(
        [
            Flow(routes[name].size_bytes or 0, known[name].bytes_per_s or math.inf, known[name].quota)
            for name in bringing
        ],
        day_left_s=day_left_s,
        week_s=week_s,
        limits=limits,
    )
    endless = not limits or any(most is None for _, most in limits)  # at times nothing but its own rate holds a route
    tellable = total.size_bytes is not None
    timed = tellable and not (endless and any(not known[name].bytes_per_s for name in bringing))
    if not tellable:
        assumptions.append("some series state no size: neither time nor disk can be told")
    elif not timed:
        assumptions.append("no rate is known: --rate 80M says one, --probe measures it")
    elif len(bringing) > 1:
        assumptions.append("the routes share one line: their times add up")
    for name in bringing:
        quota = known[name].quota
        if quota is not None:
            assumptions.append(
                f"{name} gives {quota.bytes_per_day:,} bytes a day (UTC), {quota.used_bytes:,} of them used today"
                + (", and somebody goes on each day (--wait, or a run a day)" if told.quota_days > 1 else "")
            )
    requests_s = _requests_s(known, requests_per_s)
    if requests_s:
        assumptions.append(f"at most {requests_per_s:g} requests a second")
    seconds = max(told.seconds, requests_s) if timed else None
    if seconds:
        assumptions.append("nothing fails, and each byte comes once")
    return Forecast(
        seconds,
        told.quota_days if tellable else None,
        total.instances,
        disk_bytes(total),
        (total.size_bytes or 0) / told.flowing_s if timed and told.flowing_s else None,
        tuple(assumptions),
    )


def _requests_s(supplies: Mapping[str, Supply], requests_per_s: float | None) -> float:
    if requests_per_s is None:
        return 0.0
    return sum(supply.requests or 0 for supply in supplies.values()) / requests_per_s
