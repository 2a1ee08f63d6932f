"""Numbers as people read them, and rates that follow the last seconds."""

import pytest

from dicomhaul.observe.figures import Speed, duration, size


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1_000, "1.00 kB"),
        (12_345, "12.3 kB"),
        (99_960, "100 kB"),
        (999_400, "999 kB"),
        (999_600, "1.00 MB"),
        (246_000_000, "246 MB"),
        (99_940_000_000_000, "99.9 TB"),
        (10**19, "10000 PB"),
    ],
)
def test_sizes_have_three_digits(count: int, text: str) -> None:
    assert size(count) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-1, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (185, "3 min 05 s"),
        (7_620, "2 h 07 min"),
        (100 * 3_600, "4 d 04 h"),
    ],
)
def test_durations_have_two_units_at_most(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_speed_is_that_of_the_last_seconds() -> None:
    speed = Speed()
    assert speed.per_s is None
    speed.add(0, 0)
    assert speed.per_s is None
    speed.add(10, 1_000)
    assert speed.per_s == 100
    for second in range(11, 40):
        speed.add(second, 1_000 + (second - 10) * 7)
    assert speed.per_s == 7


def test_the_time_left_is_unknown_where_nothing_moves_or_nobody_states_an_end() -> None:
    speed = Speed()
    assert speed.left_s(100) is None
    speed.add(0, 50)
    speed.add(1, 50)
    assert speed.left_s(100) is None
    speed.add(2, 60)
    assert speed.left_s(None) is None
    assert speed.left_s(100) == 8
    assert speed.left_s(10) == 0


def test_samples_of_one_moment_do_not_divide_by_nothing() -> None:
    speed = Speed()
    speed.add(5, 1)
    speed.add(5, 9)
    assert speed.per_s is None
