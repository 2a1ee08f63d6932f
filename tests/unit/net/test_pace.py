"""How many at once, and how many a second: what is learned of hosts that throttle."""

import heapq
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomhaul.net.pace import CREDIT_S, Pace


def test_doubles_with_each_round_until_the_host_throttles_and_goes_up_by_one_afterwards() -> None:
    pace = Pace(start=2, ceiling=16, per_s=None)
    for _ in range(2):
        pace.succeeded(saturated=True)
    assert pace.at_once == 4
    pace.began(0.0)
    pace.throttled(began_at=0.0, now=0.1)
    for _ in range(5):  # a little less than one more in 4: 1/4 + 1/4.25 + ...
        pace.succeeded(saturated=True)
    assert pace.at_once == 5
    for _ in range(200):
        pace.succeeded(saturated=True)
    assert pace.at_once == 16


def test_stays_where_it_is_while_nobody_waits() -> None:
    pace = Pace(start=4, ceiling=16, per_s=None)
    for _ in range(100):
        pace.succeeded(saturated=False)
    assert pace.at_once == 4


def test_requests_that_were_sent_together_are_one_signal() -> None:
    pace = Pace(start=16, ceiling=16, per_s=None)
    for began_at in (0.0, 0.1, 0.2):
        pace.began(began_at)
    for began_at in (0.0, 0.1, 0.2):
        assert pace.throttled(began_at=began_at, now=1.0) is (began_at == 0.0)
    pace.began(1.5)
    assert pace.throttled(began_at=1.5, now=2.0)


def test_a_host_that_gives_nothing_is_asked_for_ever_less_at_once_but_never_below_one() -> None:
    pace = Pace(start=8, ceiling=8, per_s=None)
    seen = []
    for n in range(10):
        pace.began(n + 0.5)
        pace.throttled(began_at=n + 0.5, now=n + 1.0)
        seen.append(pace.at_once)
    assert seen == [8, 4, 2, *[1] * 7]


def test_a_rate_spaces_requests_out() -> None:
    pace = Pace(start=1, ceiling=1, per_s=10.0)
    assert pace.wait_s(100.0) == 0.0
    pace.began(100.0)
    assert abs(pace.wait_s(100.0) - (0.1 - CREDIT_S)) < 1e-9
    assert pace.wait_s(100.1) == 0.0


@given(
    per_s=st.floats(1.0, 1000.0),
    late=st.lists(st.floats(0.0, 0.3), min_size=50, max_size=200),
)
def test_a_rate_is_kept_however_late_the_loop_is(per_s: float, late: list[float]) -> None:
    pace = Pace(start=1, ceiling=1, per_s=per_s)
    now, starts = 0.0, []
    for lateness in late:
        now += pace.wait_s(now)
        pace.began(now)
        starts.append(now)
        now += lateness
    for first in range(len(starts)):
        for last in range(first + 1, len(starts)):
            allowed = (starts[last] - starts[first] + CREDIT_S) * per_s + 1.0
            assert last - first <= allowed + 1e-6


class Answered(NamedTuple):
    """How a host was asked."""

    share: float  # of what it allows
    refused: float  # share of what was asked


class Bucket:
    """A host that lets `allowed_per_s` pass, and `burst` more at once."""

    def __init__(self, allowed_per_s: float, burst: float) -> None:
        self._allowed_per_s = allowed_per_s
        self._most = burst + 1.0
        self._tokens = self._most
        self._at = 0.0

    def admits(self, now: float, running: int) -> bool:
        self._tokens = min(self._most, self._tokens + self._allowed_per_s * (now - self._at))
        self._at = now
        admitted = self._tokens >= 1.0
        self._tokens -= admitted
        return admitted

    def gives(self, seconds: float) -> float:
        return self._most + self._allowed_per_s * seconds


class Counter:
    """A host that serves `at_once`, and refuses what comes besides."""

    def __init__(self, at_once: int, took_s: float) -> None:
        self._at_once = at_once
        self._took_s = took_s

    def admits(self, now: float, running: int) -> bool:
        return running < self._at_once

    def gives(self, seconds: float) -> float:
        return self._at_once * seconds / self._took_s


def ask(host: Bucket | Counter, *, took_s: float, seconds: float, retry_after_s: float | None) -> Answered:
    """Ask a host for so long, as the gate does: it closes for `retry_after_s`, or for pauses of its own."""
    pace = Pace(start=4, ceiling=16, per_s=None)
    running: list[tuple[float, float, bool]] = []  # when it ends, when it began, whether it is answered
    now, closed_until, answered, refused, in_a_row = 0.0, 0.0, 0, 0, 0
    while now < seconds:
        wait_s = max(closed_until - now, pace.wait_s(now))
        if len(running) < pace.at_once and wait_s <= 0.0:
            pace.began(now)
            admitted = host.admits(now, sum(each[2] for each in running))
            heapq.heappush(running, (now + (took_s if admitted else took_s / 2.0), now, admitted))
            continue
        coming = [running[0][0]] if running else []
        now = max(now, min([*coming, now + wait_s] if len(running) < pace.at_once else coming))
        while running and running[0][0] <= now:
            ended, began, admitted = heapq.heappop(running)
            if admitted:
                answered, in_a_row = answered + 1, 0
                pace.succeeded(saturated=len(running) + 1 >= pace.at_once)
                continue
            refused += 1
            first_s = 0.25 if pace.has_learned else 1.0
            in_a_row += pace.throttled(began_at=began, now=ended)
            pause_s = first_s * 2.0 ** (in_a_row - 1) if retry_after_s is None else retry_after_s
            closed_until = max(closed_until, ended + pause_s)
    return Answered(answered / host.gives(now), refused / (answered + refused))


@pytest.mark.parametrize("burst", [0, 10, 50, 100])
@pytest.mark.parametrize("took_s", [0.005, 0.1])
def test_of_a_host_that_allows_50_a_second_nearly_all_is_used_and_hardly_anything_refused(
    burst: int, took_s: float
) -> None:
    silent = ask(Bucket(50.0, burst), took_s=took_s, seconds=120.0, retry_after_s=None)
    assert silent.share > 0.94
    assert silent.refused < 0.01
    asking = ask(Bucket(50.0, burst), took_s=took_s, seconds=120.0, retry_after_s=1.0)
    assert asking.share > (0.94 if burst >= 10 and took_s < 0.1 else 0.89)  # each refusal costs a second
    assert asking.refused < 0.01


@pytest.mark.parametrize("at_once", [2, 6, 12])
def test_a_host_that_counts_what_it_serves_at_once_is_found_out_too(at_once: int) -> None:
    answered = ask(Counter(at_once, 0.05), took_s=0.05, seconds=120.0, retry_after_s=None)
    assert answered.share > 0.8
    assert answered.refused < 0.02


@settings(deadline=None, max_examples=30)
@given(
    allowed_per_s=st.floats(2.0, 120.0),
    burst_s=st.floats(0.0, 3.0),
    took_s=st.floats(0.004, 0.1),
    retry_after_s=st.sampled_from([None, 0.5, 1.0]),
)
def test_no_host_is_hammered_and_none_is_left_idle(
    allowed_per_s: float, burst_s: float, took_s: float, retry_after_s: float | None
) -> None:
    bucket = Bucket(allowed_per_s, allowed_per_s * burst_s)
    answered = ask(bucket, took_s=took_s, seconds=120.0, retry_after_s=retry_after_s)
    assert answered.share > 0.6
    assert answered.refused < 0.06


def test_a_host_that_allows_more_later_is_asked_for_more() -> None:
    pace, now = Pace(start=4, ceiling=16, per_s=None), 0.0
    for refused_after in (4, 8):
        for n in range(refused_after):
            pace.began(now + n * 0.25)
        now += refused_after * 0.25
        pace.throttled(began_at=now - 0.25, now=now)
        now += 1.0
    pace.began(now)
    first = pace.per_s(now)
    assert first is not None
    for _ in range(2_000):
        now += pace.wait_s(now)
        pace.began(now)
    last = pace.per_s(now)
    assert last is not None
    assert last > 4.0 * first


def test_what_nobody_wanted_for_a_while_is_not_taken_for_what_the_host_allows() -> None:
    pace, now = Pace(start=4, ceiling=16, per_s=None), 0.0
    for _ in range(2):
        for _ in range(200):
            pace.began(now)
            now += max(pace.wait_s(now), 0.01)
        pace.throttled(began_at=now - 0.01, now=now)
        now += 1.0
    pace.began(now)
    learned = pace.per_s(now)
    assert learned is not None
    now += 600.0  # another cohort is planned
    for _ in range(300):
        pace.began(now)
        now += pace.wait_s(now)
    pace.throttled(began_at=now - 0.001, now=now)
    again = pace.per_s(now)
    assert again is not None
    assert again > 0.6 * learned


def test_a_refusal_now_and_then_by_a_host_without_a_limit_costs_little() -> None:
    pace, now, busy_s = Pace(start=8, ceiling=8, per_s=250.0), 0.0, 0.0
    for spell in range(60):
        began_at = now
        for n in range(7_500):  # half a minute at the full rate
            now += pace.wait_s(now)
            pace.began(now)
            if spell % 6 == 1 and n == 3_000:
                pace.throttled(began_at=now, now=now)
                now += 1.0
        busy_s += now - began_at
        now += 9.0  # in which nobody asks
    assert 60 * 7_500 / busy_s > 0.9 * 250.0


def test_a_rate_that_was_asked_for_is_never_exceeded() -> None:
    pace = Pace(start=1, ceiling=1, per_s=20.0)
    now = 0.0
    for n in range(2_000):
        now += pace.wait_s(now)
        pace.began(now)
        if n in {100, 200}:
            pace.throttled(began_at=now, now=now + 0.001)
        rate = pace.per_s(now)
        assert rate is not None
        assert rate <= 20.0
    assert pace.per_s(now) == 20.0
