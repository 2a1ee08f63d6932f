"""Up by steps, down by half."""

from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.net.pace import CREDIT_S, Pace


def test_goes_up_by_one_a_round_while_saturated() -> None:
    pace = Pace(start=4, ceiling=6, per_s=None)
    for _ in range(4):
        pace.succeeded(saturated=True)
    assert pace.at_once == 4  # a little less than one more: 1/4 + 1/4.25 + ...
    pace.succeeded(saturated=True)
    assert pace.at_once == 5
    for _ in range(100):
        pace.succeeded(saturated=True)
    assert pace.at_once == 6


def test_stays_where_it_is_while_nobody_waits() -> None:
    pace = Pace(start=4, ceiling=16, per_s=None)
    for _ in range(100):
        pace.succeeded(saturated=False)
    assert pace.at_once == 4


def test_is_halved_once_for_requests_that_were_sent_together() -> None:
    pace = Pace(start=16, ceiling=16, per_s=None)
    for began_at in (0.0, 0.1, 0.2):
        assert pace.throttled(began_at=began_at, now=1.0) is (began_at == 0.0)
    assert pace.at_once == 8
    assert pace.throttled(began_at=1.5, now=2.0)
    assert pace.at_once == 4


def test_never_below_one() -> None:
    pace = Pace(start=2, ceiling=2, per_s=None)
    for n in range(10):
        pace.throttled(began_at=n + 0.5, now=n + 1.0)
    assert pace.at_once == 1


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


def throttled_at(pace: Pace, allowed_per_s: float, took_s: float, seconds: float) -> tuple[int, int]:
    """Ask one at a time a host that takes `took_s` and allows `allowed_per_s`: returns answered, throttled."""
    now, window, inside, answered, refused = 0.0, 0.0, 0, 0, 0
    while now < seconds:
        now += pace.wait_s(now)
        pace.began(now)
        began = now
        now += took_s
        if now - window >= 1.0:
            window, inside = now, 0
        inside += 1
        if inside > allowed_per_s:
            refused += 1
            pace.throttled(began_at=began, now=now)
            now += 1.0  # the gate's pause
        else:
            answered += 1
            pace.succeeded(saturated=False)
    return answered, refused


def test_a_host_that_allows_50_a_second_is_not_hammered_by_one_slot_of_5_ms() -> None:
    answered, refused = throttled_at(Pace(start=1, ceiling=1, per_s=None), 50.0, 0.005, 300.0)
    assert refused < 0.02 * answered
    assert answered > 0.6 * 50.0 * 300.0


def test_fewer_at_once_comes_before_fewer_a_second() -> None:
    pace = Pace(start=4, ceiling=4, per_s=None)
    for n in range(50):
        pace.began(n * 0.01)
    pace.throttled(began_at=0.4, now=0.5)
    pace.throttled(began_at=0.6, now=0.7)
    assert (pace.at_once, pace.per_s) == (1, None)
    pace.throttled(began_at=0.8, now=0.9)
    assert (pace.at_once, pace.per_s) == (1, 25.0)


def test_a_rate_that_was_asked_for_is_never_exceeded() -> None:
    pace = Pace(start=1, ceiling=1, per_s=20.0)
    pace.throttled(began_at=0.0, now=1.0)
    assert pace.per_s == 10.0
    for _ in range(10_000):
        pace.succeeded(saturated=True)
    assert pace.per_s == 20.0
