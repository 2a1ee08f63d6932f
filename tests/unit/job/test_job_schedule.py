"""When a job is due, whatever the wall clock does."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.errors import ConfigError
from dicomhaul.job.schedule import Schedule, schedule_of

MINUTE = 60.0
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
CRONS = (
    "30 2 * * *",
    "*/15 * * * *",
    "0 */6 * * *",
    "0 3 * * *",
    "5 2 * * sun",
    "0 0 1 * *",
    "59 1 * * 1-5",
    "0 2 l * *",
)


def at(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def slots(schedule: Schedule, after: str, count: int) -> list[str]:
    moment, found = at(after), []
    for _ in range(count):
        moment = schedule.next_slot(moment)
        found.append(datetime.fromtimestamp(moment, UTC).strftime("%d %H:%M"))
    return found


def test_a_time_that_falls_into_the_gap_comes_once_when_the_gap_ends() -> None:
    nightly = schedule_of("30 2 * * *", "Europe/Berlin")
    assert slots(nightly, "2026-03-28T00:00Z", 3) == ["28 01:30", "29 01:00", "30 00:30"]


def test_several_times_in_the_gap_are_one() -> None:
    often = schedule_of("*/20 * * * *", "Europe/Berlin")
    assert slots(often, "2026-03-29T00:30Z", 4) == ["29 00:40", "29 01:00", "29 01:20", "29 01:40"]


def test_a_time_that_comes_twice_counts_the_first_time() -> None:
    nightly = schedule_of("30 2 * * *", "Europe/Berlin")
    assert slots(nightly, "2026-10-24T12:00Z", 2) == ["25 00:30", "26 01:30"]
    often = schedule_of("*/30 * * * *", "Europe/Berlin")
    assert slots(often, "2026-10-24T23:45Z", 4) == ["25 00:00", "25 00:30", "25 02:00", "25 02:30"]


def test_in_the_hour_that_comes_again_the_last_time_was_in_the_first_of_the_two() -> None:
    often = schedule_of("*/30 * * * *", "Europe/Berlin")
    assert often.last_slot(at("2026-10-25T01:10Z")) == at("2026-10-25T00:30Z")


moments = st.integers(1_750_000_000, 1_900_000_000).map(float)
schedules = st.builds(
    schedule_of,
    st.sampled_from(CRONS),
    st.sampled_from(ZONES),
    st.sampled_from((0.0, 90.0, 1800.0, 86_400.0)),
)


@given(schedules, moments)
def test_next_and_last_agree(schedule: Schedule, moment: float) -> None:
    following = schedule.next_slot(moment)
    assert following > moment
    assert schedule.last_slot(following) == following
    assert schedule.last_slot(following - 1.0) <= moment
    assert schedule.next_slot(schedule.last_slot(moment)) == following


@given(schedules, moments)
def test_jitter_never_changes_the_order_and_is_the_same_again(schedule: Schedule, moment: float) -> None:
    slot = schedule.next_slot(moment)
    due = schedule.due_at(slot, "a job")
    assert slot <= due < schedule.next_slot(slot)
    assert due - slot <= schedule.jitter_s
    assert due == schedule_of(schedule.cron, schedule.zone.key, schedule.jitter_s).due_at(slot, "a job")
    assert schedule.last_due(due, "a job") == slot
    assert schedule.last_due(due - 0.001, "a job") < slot
    assert schedule.next_due(due - 0.001, "a job") == due
    assert schedule.next_due(due, "a job") > due


def test_jitter_spreads_jobs() -> None:
    nightly = schedule_of("0 2 * * *", jitter_s=600.0)
    slot = nightly.next_slot(at("2026-01-01T12:00Z"))
    delays = {nightly.due_at(slot, f"job {number}") - slot for number in range(100)}
    assert len(delays) == 100
    assert max(delays) - min(delays) > 400.0


def test_counting_is_bounded() -> None:
    often = schedule_of("* * * * *")
    now = at("2026-01-01T00:00Z")
    assert often.count(now, now + 5 * MINUTE) == 5
    assert often.count(now, now + 10_000 * MINUTE) == 100


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("", "UTC"),
        ("@daily", "UTC"),
        ("0 2 * * * *", "UTC"),
        ("61 2 * * *", "UTC"),
        ("0 0 30 2 *", "UTC"),
        ("R 2 * * *", "UTC"),
        ("h(0-9) 2 * * *", "UTC"),
        ("a b c d e", "UTC"),
        ("0 2 * * *", "Europe/Nowhere"),
        ("0 2 * * *", "../../etc/passwd"),
        ("0 2 * * *", ""),
    ],
)
def test_what_makes_no_sense_is_refused(cron: str, zone: str) -> None:
    with pytest.raises(ConfigError):
        schedule_of(cron, zone)
