"""`Retry-After`, in seconds, as a date, and as nonsense."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.net.retry_after import LONGEST_S, parse_retry_after

NOW_S = 1_445_412_480.0  # Wed, 21 Oct 2015 07:28:00 GMT


@pytest.mark.parametrize(
    ("value", "wait_s"),
    [
        ("0", 0.0),
        ("120", 120.0),
        (" 7 ", 7.0),
        ("1.5", 1.5),
        ("Wed, 21 Oct 2015 07:28:30 GMT", 30.0),
        ("Wednesday, 21-Oct-15 07:28:30 GMT", 30.0),  # RFC 850
        ("Wed Oct 21 07:28:30 2015", 30.0),  # asctime: no zone, and UTC all the same
        ("Wed, 21 Oct 2015 09:28:30 +0200", 30.0),
        ("Wed, 21 Oct 2015 07:00:00 GMT", 0.0),  # past
        ("999999", LONGEST_S),
        ("Wed, 21 Oct 2115 07:28:00 GMT", LONGEST_S),
    ],
)
def test_understood(value: str, wait_s: float) -> None:
    assert parse_retry_after(value, now_s=NOW_S) == wait_s


@pytest.mark.parametrize(
    "value",
    [
        None, "", "soon", "-5", "1e9", "inf", "nan", "0x10", "12 seconds", "٣", "9" * 400,
        "Wed, 99 Oct 2015 07:28:00 GMT", "21 Oct", "Wed, 21 Oct 99999999999 07:28:00 GMT",
    ],
)  # fmt: skip
def test_nonsense_is_none(value: str | None) -> None:
    assert parse_retry_after(value, now_s=NOW_S) is None


@given(st.text(max_size=60))
def test_whatever_a_server_sends_is_none_or_within_bounds(value: str) -> None:
    wait_s = parse_retry_after(value, now_s=NOW_S)
    assert wait_s is None or (0.0 <= wait_s <= LONGEST_S and not math.isnan(wait_s))
