"""How fast a host is asked: how many requests at once, and how many a second. Pure state; the caller brings the time.

**At once** doubles with each round of answers until the host throttles for the first time, and goes up by one a round
afterwards, while requests succeed and the limit is what holds them.

**A second**: hosts that throttle mostly keep a bucket of tokens, which fills at the rate that they allow and holds what
they let pass in a burst. What has been given between two refusals says what that rate is, so it is learned and kept,
instead of being halved and tried for again and again:

* the first refusal tells the burst. Then the rate starts low and grows fourfold a second, until the second refusal;
* from then on each refusal gives the rate anew, as the largest of what it cannot be below (`_allowed_per_s`);
* a learned rate is tried upwards more slowly each time, and by the cube of the seconds since the last refusal (as
  RFC 9438 does with a window): hardly at all for half a minute, quickly after some: so a host that allows 50 requests
  a second refuses one or two of 2,500.

A host that counts how many it serves at once is met by the same means: its rate is how many it completes. Only one
that refuses when hardly anything is asked gets fewer at once.

Requests that began before a refusal do not count as another one: sixteen that are refused together are one signal.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

CREDIT_S: Final = 0.05  # how much lateness of the event loop is made up for by asking sooner the next time
_FIRST_GROWTH: Final = math.log(4.0)  # a second, until a rate is known
_CALMER: Final = 7.0  # by how much less it grows after each refusal
_AGREES: Final = 0.1  # a rate that is learned again within this needs no growth but the cube's
_STILL: Final = 0.02  # and neither does one that grows by no more than that
_CUBE_S: Final = 60.0  # after so many seconds
_CUBE: Final = 0.05  # the cube's part of the growth is this
_LARGEST_GROWTH: Final = 20.0  # of the exponent: beyond every rate
_SLOWEST_PER_S: Final = 1.0  # slower than this is the work of pauses
_REFILL_S: Final = 1.0  # a bucket rarely holds more than the tokens of one second
_SHORT_S: Final = 0.2  # what took no longer says nothing about a rate
_BISECTIONS: Final = 50


@dataclass(slots=True)
class _Window:
    """A time in which the host was asked and refused nothing, and what it gave in it.

    Attributes:
        since: when it began; later by as much as nobody wanted anything.
        per_s: requests that could begin each second then; 0.0: as many as liked.
        refilled_s: seconds in which the bucket filled and nobody asked, none of them counted as more than a second.
        fills: times that it may have been full.
    """

    since: float
    per_s: float
    refilled_s: float
    fills: int = 1
    given: int = 0


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
        self._next_at = float("-inf")
        self._cut_at = float("-inf")  # the latest refusal that counted
        # What has been learned: requests a second, how fast that still grows, and what passes in a burst.
        self._learned_per_s: float | None = None
        self._growth = 0.0
        self._burst = 0.0
        self._refusals = 0
        self._has_learned = False
        # What is being measured: since the host was asked again after the latest refusal, and since nobody asked last.
        self._whole: _Window | None = None
        self._latest: _Window | None = None

    @property
    def at_once(self) -> int:
        """How many requests may run at once now."""
        return int(self._limit)

    @property
    def has_learned(self) -> bool:
        """Whether the rate is the host's, and it still gives something at that rate."""
        return self._has_learned

    def per_s(self, now: float) -> float | None:
        """How many may begin each second at this moment; None: as many as like."""
        if self._learned_per_s is None:
            return self._most_per_s
        since = 0.0 if self._whole is None else now - self._whole.since
        exponent = min(self._growth * since + _CUBE * (since / _CUBE_S) ** 3, _LARGEST_GROWTH)
        rate = self._learned_per_s * math.exp(exponent)
        return rate if self._most_per_s is None else min(rate, self._most_per_s)

    def wait_s(self, now: float) -> float:
        """Seconds until the next request may begin; 0.0 if it may now."""
        return max(0.0, self._next_at - now)

    def began(self, now: float) -> None:
        """A request begins."""
        credit_s = CREDIT_S
        if self._whole is None or self._latest is None:
            self._whole = _Window(now, self._learned_per_s or 0.0, min(now - self._cut_at, _REFILL_S))
            self._latest = replace(self._whole)
            if self._learned_per_s is not None:
                self._next_at = now
        elif self._learned_per_s is not None and now - self._next_at > _REFILL_S:  # nobody wanted anything meanwhile
            self._whole.since += now - self._next_at
            self._whole.refilled_s += _REFILL_S
            self._whole.fills += 1
            self._latest = _Window(now, self.per_s(now) or 0.0, _REFILL_S)
            self._next_at = now
        self._whole.given += 1
        self._latest.given += 1
        rate = self.per_s(now)
        if rate is None:
            return
        if self._learned_per_s is not None:  # what is made up for comes at once, and must pass as a burst
            credit_s = min(CREDIT_S, max(0.0, self._burst - 1.0) / 2.0 / rate)
        self._next_at = max(self._next_at, now - credit_s) + 1.0 / rate

    def succeeded(self, *, saturated: bool) -> None:
        """A request did what it should. `saturated`: all slots were taken, so that one more would have been used."""
        if saturated:
            more = 1.0 if self._learned_per_s is None else 1.0 / self._limit
            self._limit = min(float(self._ceiling), self._limit + more)

    def throttled(self, *, began_at: float, now: float) -> bool:
        """A request that began at `began_at` was throttled. Returns whether the pace was changed for it."""
        if began_at <= self._cut_at:
            if self._refusals == 1:  # it was on its way when the first was refused
                self._burst = max(0.0, self._burst - 1.0)
            return False
        for window in (self._whole, self._latest):
            if window is not None and began_at >= window.since:
                window.given -= 1
        self._learn(began_at)
        self._cut_at = now
        self._whole = self._latest = None
        return True

    def _learn(self, began_at: float) -> None:
        self._refusals += 1
        before, whole, latest = self._learned_per_s, self._whole, self._latest
        given = 0 if whole is None else whole.given
        self._has_learned = before is not None and given > 0
        if before is None:
            busy_s = 0.0 if whole is None else began_at - whole.since
            self._burst = given / max(busy_s, 1.0)
            self._learned_per_s = max(_SLOWEST_PER_S, self._burst)
            self._growth = _FIRST_GROWTH
        elif whole is None or latest is None or given <= 0:
            self._learned_per_s = max(_SLOWEST_PER_S, before / 2.0)
            self._limit = max(1.0, self._limit / 2.0)
        else:
            allowed = max(self._allowed_per_s(window, began_at) for window in (whole, latest))
            rate = max(allowed, before / 2.0, _SLOWEST_PER_S)
            agrees = abs(rate - before) <= _AGREES * before
            self._growth = 0.0 if agrees or self._growth < _STILL else self._growth / _CALMER
            self._learned_per_s = rate

    def _allowed_per_s(self, window: _Window, began_at: float) -> float:
        """What a bucket that is empty now must have been filled with a second.

        What it gave cannot be more than flowed in. If it was full when the rate came to exceed its own, what exceeded
        it since then was its burst; if the rate did so from the beginning of the window, all but the burst has flowed
        in since. Each time that nobody asked, it was full once more. None of these can be too much.
        """
        busy_s, burst = began_at - window.since, self._burst * window.fills
        flowed = window.given / max(window.refilled_s + busy_s, _SHORT_S)
        since_s = began_at - self._whole.since if self._whole is not None else busy_s
        slope = self._growth + 3.0 * _CUBE * since_s**2 / _CUBE_S**3
        crossed = _crossed_per_s(self.per_s(began_at) or window.per_s, slope, burst)
        if crossed >= window.per_s:
            return max(flowed, crossed)
        if busy_s > _SHORT_S:
            return max(flowed, (window.given - burst) / busy_s)
        return flowed


def _crossed_per_s(last_per_s: float, slope: float, burst: float) -> float:
    """Return the rate that `burst` requests exceeded, of a rate that grew exponentially by `slope` to `last_per_s`.

    What exceeds a rate r is (last - r - r ln(last / r)) / slope, which falls as r grows.
    """
    if slope <= 0.0:
        return 0.0
    low, high = 0.0, last_per_s
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2.0
        exceeded = last_per_s - middle - middle * math.log(last_per_s / middle)
        low, high = (middle, high) if exceeded > burst * slope else (low, middle)
    return low
