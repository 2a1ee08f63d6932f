"""Range and If-Match, by RFC 9110."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.origin.ranges import Span, matches, parse_range


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("", None),
        ("bytes=0-", Span(0, 100)),
        ("bytes=0-0", Span(0, 1)),
        ("bytes=10-19", Span(10, 20)),
        ("bytes=99-", Span(99, 100)),
        ("bytes=90-500", Span(90, 100)),  # the end is what there is
        ("bytes=-1", Span(99, 100)),
        ("bytes=-500", Span(0, 100)),
        ("Bytes=5-6", Span(5, 7)),
        *((ignored, None) for ignored in ("bytes=20-10", "bytes=1-2,5-6", "lines=1-2", "bytes=", "bytes=a-b", "junk")),
    ],
)
def test_the_bytes_that_are_meant(header: str, expected: Span | None) -> None:
    assert parse_range(header, 100) == expected


@pytest.mark.parametrize(
    ("header", "size_bytes"), [("bytes=100-", 100), ("bytes=500-600", 100), ("bytes=-0", 100), ("bytes=0-", 0)]
)
def test_ranges_that_cannot_be_satisfied(header: str, size_bytes: int) -> None:
    with pytest.raises(ValueError, match="bytes="):
        parse_range(header, size_bytes)


@given(first=st.integers(0, 300), last=st.integers(0, 300), size=st.integers(1, 200))
def test_a_range_is_what_slicing_gives(first: int, last: int, size: int) -> None:
    whole = bytes(index % 251 for index in range(size))
    if first >= size and last >= first:
        with pytest.raises(ValueError, match="bytes="):
            parse_range(f"bytes={first}-{last}", size)
    else:
        span = parse_range(f"bytes={first}-{last}", size)
        assert (whole if span is None else whole[span.begin : span.end]) == (
            whole if last < first else whole[first : last + 1]
        )


@pytest.mark.parametrize("header", ["", "*", '"abc"', '"x", "abc"'])
def test_if_match_lets_pass(header: str) -> None:
    assert matches(header, '"abc"')


@pytest.mark.parametrize("header", ['"x"', "abc", 'W/"abc"'])
def test_if_match_stops(header: str) -> None:
    assert not matches(header, '"abc"')
