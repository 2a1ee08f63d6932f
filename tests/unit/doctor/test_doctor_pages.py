"""What doctor makes of pages: a server that is simulated by a rule, asked as the probe says."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.doctor.pages import Level, PageProbe, Pages, describe_pages, judge_paging, page_for

Server = Callable[[int, int], int | None]


def server(total: int, *, cap: int | None = None, refuses_over: int | None = None, ignores: bool = False) -> Server:
    """Answer (limit, offset) with the number of rows, or None for a refusal."""

    def answer(limit: int, offset: int) -> int | None:
        if refuses_over is not None and limit > refuses_over:
            return None
        left = max(0, total - offset)
        return left if ignores else min(left, limit, cap or limit)

    return answer


def ask(answer: Server) -> tuple[Pages, int]:
    probe = PageProbe()
    asked = 0
    while (wanted := probe.next()) is not None:
        asked += 1
        assert asked <= 10, "a probe must end"
        probe.take(answer(*wanted))
    return probe.pages, asked


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (server(1_000_000), Pages(full=5000, accepted=5000)),
        (server(1_000_000, cap=1000), Pages(full=1000, accepted=5000, cut_at=1000)),
        (server(20, cap=10), Pages(accepted=100, cut_at=10)),
        (server(1_000_000, refuses_over=200), Pages(full=200, accepted=200, refused_at=1000)),
        (server(12, refuses_over=200), Pages(accepted=200, refused_at=1000, total=12)),
        (server(12), Pages(accepted=5000, total=12)),
        (server(150), Pages(full=100, accepted=5000, total=150)),
        (server(0), Pages(accepted=5000, total=0)),
        (server(1_000_000, refuses_over=60), Pages(full=50, accepted=50, refused_at=100)),
        (server(1_000_000, refuses_over=0), Pages(refused_at=1)),
        (server(300, ignores=True), Pages(accepted=100, ignored=True)),
    ],
)
def test_what_is_found_out(answer: Server, expected: Pages) -> None:
    assert ask(answer)[0] == expected


@given(
    st.integers(0, 20_000),
    st.none() | st.integers(1, 9_000),
    st.none() | st.integers(1, 9_000),
)
def test_what_is_found_out_is_true(total: int, cap: int | None, refuses_over: int | None) -> None:
    pages, _ = ask(server(total, cap=cap, refuses_over=refuses_over))
    assert pages.full <= min(total, cap or total)
    assert pages.cut_at in {None, cap}
    assert pages.total in {None, total}
    if refuses_over is not None:
        assert pages.accepted <= refuses_over
        assert pages.refused_at is None or pages.refused_at > refuses_over
    proposed = page_for(pages, 100)
    assert proposed >= 1
    assert refuses_over is None or pages.refused_at is None or proposed <= refuses_over


@given(st.lists(st.none() | st.integers(0, 10_000), max_size=30))
def test_it_ends_whatever_comes(answers: list[int | None]) -> None:
    left = iter(answers)
    probe = PageProbe()
    for _ in range(30):
        if probe.next() is None:
            return
        probe.take(next(left, None))
    raise AssertionError("it still asks")


def test_it_stops_where_it_is_told_to() -> None:
    probe = PageProbe()
    probe.next()
    probe.stop()
    assert probe.next() is None


@pytest.mark.parametrize(
    ("first", "second", "again", "expected"),
    [
        ("abcde", "cdefg", "abcde", "steady"),
        ("abc", "c", "abc", "steady"),
        ("abcde", "abcde", "abcde", "repeating"),
        ("abcde", "bcdef", "abcde", "shifting"),
        ("abcde", "cdefg", "xabcd", "shifting"),
        ("ab", "", "ab", None),
        ("abcde", "", "abcde", None),
    ],
)
def test_pages_are_compared(first: str, second: str, again: str, expected: str | None) -> None:
    assert judge_paging(list(first), list(second), list(again), offset=2) == expected


@pytest.mark.parametrize(
    ("pages", "at_present", "expected"),
    [
        (Pages(cut_at=1000, full=1000, accepted=5000), 5000, 1000),
        (Pages(cut_at=1000, full=1000, accepted=5000), 100, 1000),
        (Pages(refused_at=1000, accepted=200), 5000, 200),
        (Pages(refused_at=1000, accepted=200), 200, 200),
        (Pages(full=5000, accepted=5000), 100, 5000),
        (Pages(full=5000, accepted=5000), 50_000, 50_000),
        (Pages(accepted=5000, total=3), 100, 100),
        (Pages(), 100, 100),
    ],
)
def test_a_page_is_proposed(pages: Pages, at_present: int, expected: int) -> None:
    assert page_for(pages, at_present) == expected


def test_words() -> None:
    assert describe_pages(Level("studies", Pages())) == "studies: nothing is known"
    said = describe_pages(Level("series", Pages(refused_at=1000, accepted=200, total=12), default=12))
    assert said == "series: there are 12 in all, a limit of 1,000 is refused, 200 is not, without a limit 12 come (all)"
    assert "pages are cut at 10 rows" in describe_pages(Level("studies", Pages(cut_at=10)))
    assert "more than 100 come" in describe_pages(Level("studies", Pages(full=100), 100, more_than_default=True))
