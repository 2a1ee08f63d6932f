"""How fast a host is asked: how many requests at once, and how many a second. Pure state; the caller brings the time.

Both go up by steps while requests succeed and the limit is what holds them, and are halved when the host throttles
(additive increase, multiplicative decrease). Requests that began before a cut do not cause another one: they were sent
at the old pace, and sixteen of them refused together are one signal.

Fewer at once comes first. A host that still throttles when it is asked one thing at a time counts requests by the
second (one slot at 5 ms is too fast for a host that allows 50 requests a second): then the rate just observed is
halved, and probed upwards from there.
"""

from collections import deque

CREDIT_S = 0.05  # how much lateness of the event loop is made up for by asking sooner the next time
_CLIMB_S = 60.0  # a halved rate is back where it was after half of this, without another throttle
_CLIMB_FROM_PER_S = 10.0  # a rate lower than this climbs as if it had been this, so that it gets away from the ground
_SLOWEST_PER_S = 1.0  # slower than this is the work of pauses
_OBSERVED = 64  # starts that the observed rate is taken from
_OBSERVED_S = 1.0  # and how long ago they may lie


class Pace:
    """The pace of one host.

    Args:
        start: requests at once, to begin with.
        ceiling: requests at once, never more.
        per_s: requests a second, never more; None for no such limit.
    """

    def __init__(self, *, start: int, ceiling: int, per_s: float | None) -> None:
        self._ceiling = ceiling
        self._limit = float(min(start, ceiling))
        self._most_per_s = per_s
        self._per_s = per_s
        self._climb_per_s2 = 0.0
        self._next_at = float("-inf")
        self._cut_at = float("-inf")
        self._starts: deque[float] = deque(maxlen=_OBSERVED)

    @property
    def at_once(self) -> int:
        """How many requests may run at once now."""
        return int(self._limit)

    @property
    def per_s(self) -> float | None:
        """How many may begin each second now; None: as many as like."""
        return self._per_s

    def wait_s(self, now: float) -> float:
        """Seconds until the next request may begin; 0.0 if it may now."""
        if self._per_s is None:
            return 0.0
        return max(0.0, self._next_at - now)

    def began(self, now: float) -> None:
        """A request begins."""
        self._starts.append(now)
        if self._per_s is not None:
            self._next_at = max(self._next_at, now - CREDIT_S) + 1.0 / self._per_s

    def succeeded(self, *, saturated: bool) -> None:
        """A request did what it should. `saturated`: all slots were taken, so that one more would have been used."""
        if saturated:
            self._limit = min(float(self._ceiling), self._limit + 1.0 / self._limit)
        if self._per_s is not None and self._climb_per_s2:
            grown = self._per_s + self._climb_per_s2 / self._per_s
            self._per_s = grown if self._most_per_s is None else min(grown, self._most_per_s)

    def throttled(self, *, began_at: float, now: float) -> bool:
        """A request that began at `began_at` was throttled. Returns whether the pace was cut for it."""
        if began_at <= self._cut_at:
            return False
        self._cut_at = now
        was_single = self._limit < 2.0
        self._limit = max(1.0, self._limit / 2.0)
        before = self._per_s
        if before is None and was_single:
            before = self._observed_per_s(now)
        if before is not None:
            self._per_s = max(min(_SLOWEST_PER_S, before), before / 2.0)
            self._climb_per_s2 = max(before, _CLIMB_FROM_PER_S) / _CLIMB_S
            self._next_at = now + 1.0 / self._per_s
        return True

    def _observed_per_s(self, now: float) -> float | None:
        """The rate of the latest starts; None where there are too few to say."""
        recent = [at for at in self._starts if now - at <= _OBSERVED_S]
        if len(recent) < _OBSERVED:
            return len(recent) / _OBSERVED_S if len(recent) > _SLOWEST_PER_S else None
        return len(recent) / max(now - recent[0], 1e-6)
