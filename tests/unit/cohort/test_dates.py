"""--study-date."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.cohort.dates import DateRange, parse_date_range
from dicomhaul.errors import CohortError

DAYS = st.dates(min_value=dt.date(1000, 1, 1))


def written(day: dt.date | None, *, dashes: bool) -> str:
    if day is None:
        return ""
    return day.isoformat() if dashes else day.isoformat().replace("-", "")


@given(
    days=st.lists(DAYS, min_size=2, max_size=2), opened=st.sampled_from(["", "first", "last"]), form=st.integers(0, 3)
)
def test_a_range_reads_back_as_it_was_written(days: list[dt.date], opened: str, form: int) -> None:
    first, last = sorted(days)
    wanted = DateRange(None if opened == "first" else first, None if opened == "last" else last)
    text = written(wanted.first, dashes=form in {1, 3}) + "-" + written(wanted.last, dashes=form in {2, 3})
    assert parse_date_range(text) == wanted
    assert parse_date_range(wanted.dicom()) == wanted


@given(DAYS)
def test_one_day_is_a_range_of_its_own(day: dt.date) -> None:
    assert parse_date_range(written(day, dashes=True)) == DateRange(day, day)
    assert parse_date_range(written(day, dashes=False)) == DateRange(day, day)


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", "2020", "2020-01", "20200230", "20201231-20200101", "x-20200101", "20200101-20200102-20200103"),
        "\uff12\uff10\uff12\uff10\uff10\uff11\uff10\uff11",  # digits, but not ASCII ones
    ],
)
def test_what_is_no_range_is_an_error(text: str) -> None:
    with pytest.raises(CohortError, match="--study-date"):
        parse_date_range(text)


@given(st.text(max_size=30))
def test_any_text_is_a_range_or_a_cohort_error(text: str) -> None:
    message = ""
    try:
        assert any(parse_date_range(text))
    except CohortError as error:
        message = str(error)
    assert "\n" not in message
