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
        # What is being measured, since the host was asked again after the latest refusal.
        self._since: float | None = None
        self._given = 0
        self._refilled_s = 0.0

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
        since = 0.0 if self._since is None else now - self._since
        exponent = min(self._growth * since + _CUBE * (since / _CUBE_S) ** 3, _LARGEST_GROWTH)
        rate = self._learned_per_s * math.exp(exponent)
        return rate if self._most_per_s is None else min(rate, self._most_per_s)

    def wait_s(self, now: float) -> float:
        """Seconds until the next request may begin; 0.0 if it may now."""
        return max(0.0, self._next_at - now)

    def began(self, now: float) -> None:
        """A request begins."""
        credit_s = CREDIT_S
        if self._since is None:
            self._measure(now, refilled_s=now - self._cut_at)
        elif self._learned_per_s is not None and now - self._next_at > _REFILL_S:  # nobody wanted anything meanwhile
            self._measure(now, refilled_s=_REFILL_S)
        self._given += 1
        rate = self.per_s(now)
        if rate is None:
            return
        if self._learned_per_s is not None:  # what is made up for comes at once, and must pass as a burst
            credit_s = min(CREDIT_S, max(0.0, self._burst - 1.0) / 2.0 / rate)
        self._next_at = max(self._next_at, now - credit_s) + 1.0 / rate

    def _measure(self, now: float, *, refilled_s: float) -> None:
        self._since = now
        self._given = 0
        self._refilled_s = min(refilled_s, _REFILL_S)
        if self._learned_per_s is not None:
            self._next_at = now

    def succeeded(self, *, saturated: bool) -> None:
        """A request did what it should. `saturated`: all slots were taken, so that one more would have been used."""
        if saturated:
            more = 1.0 if self._learned_per_s is None else 1.0 / self._limit
            self._limit = min(float(self._ceiling), self._limit + more)

    def throttled(self, *, began_at: float, now: float) -> bool:
        """A request that began at `began_at` was throttled. Returns whether the pace was changed for it."""
        if self._since is not None and began_at >= self._since:
            self._given -= 1
        elif self._refusals == 1:  # it was on its way when the first was refused
            self._burst = max(0.0, self._burst - 1.0)
        if began_at <= self._cut_at:
            return False
        self._learn(began_at)
        self._cut_at = now
        self._since = None
        self._given = 0
        return True

    def _learn(self, began_at: float) -> None:
        self._refusals += 1
        busy_s = 0.0 if self._since is None else began_at - self._since
        before = self._learned_per_s
        self._has_learned = before is not None and self._given > 0
        if before is None:
            self._burst = self._given / max(busy_s, 1.0)
            self._learned_per_s = max(_SLOWEST_PER_S, self._burst)
            self._growth = _FIRST_GROWTH
        elif self._given <= 0:
            self._learned_per_s = max(_SLOWEST_PER_S, before / 2.0)
            self._limit = max(1.0, self._limit / 2.0)
        else:
            rate = max(self._allowed_per_s(busy_s, self.per_s(began_at) or before), before / 2.0, _SLOWEST_PER_S)
            agrees = abs(rate - before) <= _AGREES * before
            self._growth = 0.0 if agrees or self._growth < _STILL else self._growth / _CALMER
            self._learned_per_s = rate

    def _allowed_per_s(self, busy_s: float, last_per_s: float) -> float:
        """What a bucket that was empty at the latest refusal, and is empty now, must have been filled with a second.

        It gave `self._given` tokens, which cannot be more than flowed in since then. If it was full when the rate came
        to exceed its own, what exceeded it since then was its burst; if the rate did so from the beginning, all but the
        burst has flowed in since. None of these can be too much.
        """
        learned = self._learned_per_s or 0.0
        flowed = self._given / max(self._refilled_s + busy_s, _SHORT_S)
        slope = self._growth + 3.0 * _CUBE * busy_s**2 / _CUBE_S**3
        crossed = _crossed_per_s(last_per_s, slope, self._burst)
        if crossed >= learned:
            return max(flowed, crossed)
        if busy_s > _SHORT_S:
            return max(flowed, (self._given - self._burst) / busy_s)
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
