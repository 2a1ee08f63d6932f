"""When bytes come: slots of a timetable, days of a quota, against a simulation minute by minute."""

import math
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomhaul.config.rates import parse_timetable
from dicomhaul.plan.timeline import Flow, Limits, Quota, Timeline, walk

MB = 1_000_000
MINUTE, HOUR, DAY, WEEK = 60, 3_600, 86_400, 7 * 86_400
OFFICE = parse_timetable("08:00,1MB 19:00,off").slots
EDGE = parse_timetable("Mon-00:00,1MB Sun-00:00,2MB").slots


def at(hour: float, minute: float = 0, *, day: int = 0) -> float:
    return day * DAY + hour * HOUR + minute * MINUTE


@pytest.mark.parametrize(
    ("size", "rate", "week_s", "limits", "seconds"),
    [
        pytest.param(246 * MB, 100.0 * MB, at(14, 51), OFFICE, 246, id="in a slow slot"),
        pytest.param(246 * MB, 100.0 * MB, at(19, 1), OFFICE, 2.46, id="in a quick one"),
        pytest.param(246 * MB, 100.0 * MB, at(3), OFFICE, 2.46, id="in the last of the week before"),
        pytest.param(160 * MB, 100.0 * MB, at(18, 59), OFFICE, 61, id="over an edge"),
        pytest.param(1_060 * MB, 1.0 * MB, at(18, 59), OFFICE, 1_060, id="slower than any slot"),
        pytest.param(160 * MB, 10.0 * MB, at(23, 59, day=6), EDGE, 100, id="over the end of the week"),
        pytest.param(60 * MB, math.inf, 0, [(0, MB)], 60, id="the timetable alone"),
        pytest.param(60 * MB, math.inf, 0, [], 0, id="nothing holds it"),
    ],
)  # fmt: skip
def test_a_timetable_from_now_on(size: int, rate: float, week_s: float, limits: Limits, seconds: float) -> None:
    told = walk([Flow(size, rate)], day_left_s=DAY - week_s % DAY or DAY, week_s=week_s, limits=limits)
    assert told == pytest.approx((seconds, seconds, 0))


def test_what_has_a_quota_comes_first_each_day() -> None:
    flows = [Flow(2 * 86_000 * MB, 1.0 * MB), Flow(500 * MB, 1.0 * MB, Quota(400 * MB))]
    assert walk(flows, day_left_s=DAY, week_s=0, limits=[]) == (172_500, 172_500, 2)


def test_centuries_take_no_time() -> None:
    flows = [Flow(10**15, 10.0, Quota(7)), Flow(10**12, 1.0)]
    told = walk(flows, day_left_s=DAY, week_s=0, limits=[(minute, 2 + minute % 3) for minute in range(0, 10_080, 7)])
    assert told.quota_days == math.ceil(10**15 / 7)
    assert told.seconds == pytest.approx(10**15 / 7 * DAY)


flows = st.lists(
    st.builds(
        Flow,
        st.integers(0, 2_000_000),
        st.integers(1, 9).map(float),
        st.none() | st.builds(Quota, st.integers(1, 400_000), st.integers(0, 400_000)),
    ),
    max_size=3,
)
timetables = st.dictionaries(
    st.integers(0, 7 * 24 * 60 - 1), st.none() | st.integers(1, 9), max_size=4
).map(lambda slots: sorted(slots.items()))  # fmt: skip


@settings(max_examples=60)
@given(flows=flows, limits=timetables, left_min=st.integers(1, 24 * 60), week_min=st.integers(0, 7 * 24 * 60 - 1))
def test_it_agrees_with_a_simulation(flows: list[Flow], limits: Limits, left_min: int, week_min: int) -> None:
    told = walk(flows, day_left_s=left_min * 60, week_s=week_min * 60, limits=limits)
    if told.seconds > 60 * DAY:
        return  # the simulation would take too long
    naive = simulated(flows, left_min, week_min, limits)
    assert told == pytest.approx(naive)


def simulated(flows: Sequence[Flow], left_min: int, week_min: int, limits: Limits) -> Timeline:
    """Minute by minute."""
    queue = [flow for flow in flows if flow.quota is not None] + [flow for flow in flows if flow.quota is None]
    left = [float(flow.size_bytes) for flow in queue]
    may = [math.inf if flow.quota is None else flow.quota.bytes_per_day - flow.quota.used_bytes for flow in queue]
    minute, seconds, flowing_s, quota_days = 0, 0.0, 0.0, 0
    while any(left):
        day = 0 if minute < left_min else 1 + (minute - left_min) // 1_440
        if minute >= left_min and (minute - left_min) % 1_440 == 0:
            may = [math.inf if flow.quota is None else flow.quota.bytes_per_day for flow in queue]
        shown = (week_min + minute) % 10_080
        begun = [most for begins, most in limits if begins <= shown] or [most for _, most in limits]
        most = (begun[-1] if begun else None) or math.inf
        free_s = 60.0
        for index, flow in enumerate(queue):
            rate = min(flow.bytes_per_s, most)
            came = max(0.0, min(left[index], may[index], rate * free_s))
            left[index] = 0.0 if left[index] - came < 1e-6 else left[index] - came
            may[index] -= came
            free_s -= came / rate
            flowing_s += came / rate
            if came:
                seconds = minute * 60 + 60 - free_s
            if came and flow.quota is not None:
                quota_days = day + 1
        minute += 1
    return Timeline(seconds, flowing_s, quota_days)
