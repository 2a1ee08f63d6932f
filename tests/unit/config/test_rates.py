"""Sizes, times, rates and timetables, as people write them."""

import random
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.config.rates import Slot, Timetable, parse_duration_s, parse_size, parse_timetable
from dicomhaul.errors import ConfigError

DAY = 24 * 60
WEEK_MINUTES = 7 * DAY
MONDAY, SATURDAY, SUNDAY = 0, 5 * DAY, 6 * DAY
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
FACTORS = {"": 1, "B": 1, "k": 1 << 10, "KiB": 1 << 10, "ki": 1 << 10, "KB": 1000, "M": 1 << 20, "mb": 10**6,
           "G": 1 << 30, "GB": 10**9, "t": 1 << 40, "TiB": 1 << 40, "P": 1 << 50}  # fmt: skip


@given(number=st.integers(1, 10**12), suffix=st.sampled_from(sorted(FACTORS)))
def test_a_size_is_its_number_times_its_suffix(number: int, suffix: str) -> None:
    assert parse_size(f"{number}{suffix}") == number * FACTORS[suffix]


@pytest.mark.parametrize(("text", "size"), [("1.5TiB", 3 << 39), (" 500 M ", 500 << 20), ("0.1", 1), ("2.5KB", 2500)])
def test_a_size_may_have_a_fraction(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize(
    "text",
    ["", "0", "0M", "off", "-1", "M", "1e9", "1X", "1 000", "1MM", "1iB", "9" * 16, "nan", "١٢", "1.2.3", "5G/day"],
)
def test_what_is_no_size_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a size: say for example 500M"):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("2d", 172_800), ("1.5h", 5400), ("1H 5S", 3605)],
)
def test_a_time_is_the_sum_of_its_parts(text: str, seconds: float) -> None:
    assert parse_duration_s(text) == seconds


@given(st.integers(0, 99), st.integers(0, 99), st.integers(0, 9999), st.integers(1, 9999))
def test_a_time_adds_up(days: int, hours: int, minutes: int, seconds: int) -> None:
    written = f"{days}d{hours}h{minutes}m{seconds}s"
    assert parse_duration_s(written) == ((days * 24 + hours) * 60 + minutes) * 60 + seconds


@pytest.mark.parametrize("text", ["", "0", "0s", "-5m", "m", "10x", "1h30", "1:30", "inf", "1e3", "off"])
def test_what_is_no_time_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ConfigError, match="is not a time: say for example 90s"):
        parse_duration_s(text)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10M", 10 << 20), ("512", 512 << 10), ("512b", 512), ("1.5k", 1536), ("off", None), ("OFF", None), ("0", None)],
)
def test_a_single_rate_holds_always_and_a_bare_number_is_kib(text: str, rate: int | None) -> None:
    table = parse_timetable(text)
    assert table == Timetable((Slot(0, rate),))
    assert {table.rate_at(minute) for minute in range(0, WEEK_MINUTES, 97)} == {rate}


def test_a_rate_below_one_byte_is_not_no_limit() -> None:
    assert parse_timetable("0.0001k").rate_at(0) == 1


def test_a_timetable_without_weekdays_holds_each_day() -> None:
    table = parse_timetable("08:00,10M 19:00,off")
    for day in range(7):
        assert table.rate_at(day * DAY + 7 * 60 + 59) is None  # since 19:00 of the day before
        assert table.rate_at(day * DAY + 8 * 60) == 10 << 20
        assert table.rate_at(day * DAY + 18 * 60 + 59) == 10 << 20
        assert table.rate_at(day * DAY + 19 * 60) is None


def test_a_timetable_with_weekdays_wraps_round_the_week() -> None:
    table = parse_timetable("Mon-08:00,512k  friday-23:59,10M Sat-10:00,1M Sun-20:00,off")  # as rclone's manual has it
    assert table.rate_at(MONDAY) is None  # since Sunday
    assert table.rate_at(MONDAY + 8 * 60) == 512 << 10
    assert table.rate_at(SATURDAY) == 10 << 20
    assert table.rate_at(SATURDAY + 10 * 60) == 1 << 20
    assert table.rate_at(SUNDAY + 20 * 60) is None


@given(
    slots=st.dictionaries(st.integers(0, WEEK_MINUTES - 1), st.integers(1, 1 << 20), min_size=1, max_size=12),
    minute=st.integers(0, WEEK_MINUTES - 1),
    shuffled=st.randoms(use_true_random=False),
)
def test_the_slot_that_began_last_holds(slots: dict[int, int], minute: int, shuffled: random.Random) -> None:
    words = [f"{WEEKDAYS[at // DAY]}-{at % DAY // 60:02}:{at % 60:02},{rate}k" for at, rate in slots.items()]
    shuffled.shuffle(words)
    latest = min(slots, key=lambda at: (minute - at) % WEEK_MINUTES)
    assert parse_timetable(" ".join(words)).rate_at(minute) == slots[latest] << 10


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "fast",
        "-1",
        "10M:1M",
        "08:00",
        "08:00,",
        "24:00,1M",
        "08:60,1M",
        "8,1M",
        "Mo-08:00,1M",
        "08:00,10M 5M",
        "08:00,x",
        "08:00,1M,2M",
        "Mon-,1M",
        ",1M",
    ],
)
def test_what_is_no_bandwidth_is_refused_with_examples(text: str) -> None:
    with pytest.raises(ConfigError, match="say for example 10M"):
        parse_timetable(text)


@pytest.mark.parametrize("text", ["08:00,1M 08:00,2M", "08:00,1M Tue-08:00,off"])
def test_a_moment_named_twice_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="names one moment twice"):
        parse_timetable(text)


@given(st.text(max_size=40))
def test_any_text_gives_a_value_or_a_config_error(text: str) -> None:
    for parse in (parse_size, parse_duration_s, parse_timetable):
        with suppress(ConfigError):
            parse(text)
