"""When a run notes how far it is, so that its report can draw a line over time. Pure.

A row about every ten seconds, fewer than `MOST` a run: before they are that many, every second one goes, and the run
notes half as often from then on. A run of a minute and one of a week both leave a line that can be drawn.
"""

from typing import Final, NamedTuple

MOST: Final = 360
FIRST_INTERVAL_S: Final = 10.0


class Rhythm(NamedTuple):
    """How often a run notes how far it is, and when it did; `times` in seconds since it began, ascending."""

    interval_s: float = FIRST_INTERVAL_S
    times: tuple[float, ...] = ()


class Beat(NamedTuple):
    """What a sample does: the rhythm that goes on, and the times of older samples that go."""

    rhythm: Rhythm
    dropped: tuple[float, ...]


def beat(rhythm: Rhythm, at_s: float, *, last: bool = False) -> Beat | None:
    """Say what a sample at `at_s` does; None: it is too early for one. The `last` one may come at any time."""
    before = rhythm.times[-1] if rhythm.times else 0.0
    if at_s <= before or (at_s - before < rhythm.interval_s and not last):
        return None
    interval_s, times = rhythm.interval_s, (*rhythm.times, at_s)
    dropped: tuple[float, ...] = ()
    if len(times) == MOST:
        interval_s, times, dropped = interval_s * 2, times[1::2], times[0::2]
    return Beat(Rhythm(interval_s, times), dropped)
