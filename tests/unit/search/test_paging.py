"""Pages are read to the end on every server, and where the end cannot be known, that is an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.cohort.paging import Page, Pager, iter_pages, parse_remaining
from dicomhaul.errors import CohortError, Truncated


async def read_all(pager: Pager[int], rows: list[int], *, cap: int = 10**9, shift: int = 0) -> tuple[list[int], int]:
    """Page through `rows` on a server with a silent cap, whose pages come `shift` rows early; count the requests."""
    requests = 0

    async def fetch(limit: int, offset: int) -> Page[int]:
        nonlocal requests
        requests += 1
        assert requests < 1_000
        start = max(0, offset - shift) if offset else 0
        page = rows[start : start + min(limit, cap)]
        return Page([(str(number), number) for number in page])

    found = [number async for page in iter_pages(fetch, pager) for number in page]
    return found, requests


@given(
    total=st.integers(0, 60),
    limit=st.integers(1, 30),
    cap=st.integers(1, 30),
    shift=st.integers(0, 30),
    stated=st.booleans(),
)
@pytest.mark.anyio
async def test_every_row_comes_once(*, total: int, limit: int, cap: int, shift: int, stated: bool) -> None:
    """A page that comes early by less than its length repeats rows and hides none."""
    size = min(limit, cap)
    shift = min(shift, size - 1)
    pager: Pager[int] = Pager("rows", limit=limit, max_offset=None, stated=total if stated else None)
    found, _ = await read_all(pager, list(range(total)), cap=cap, shift=shift)
    if shift == 0:
        assert found == list(range(total))
    else:
        assert len(set(found)) == len(found)
        assert set(found) == set(range(total)) or total > size


@pytest.mark.anyio
async def test_the_page_after_the_last_is_asked_for_unless_the_count_is_known() -> None:
    rows = list(range(7))
    assert await read_all(Pager("rows", limit=5, max_offset=None), rows) == (rows, 3)
    assert await read_all(Pager("rows", limit=5, max_offset=None, stated=7), rows) == (rows, 2)


@pytest.mark.anyio
async def test_a_stated_count_that_is_too_low_does_not_end_a_full_page() -> None:
    rows = list(range(12))
    found, _ = await read_all(Pager("rows", limit=5, max_offset=None, stated=5), rows)
    assert found == rows


def take(pager: Pager[str], keys: str, remaining: int | None = None) -> list[str]:
    return pager.take(Page([(key, key) for key in keys], remaining))


def test_rows_that_say_the_same_count_once_and_the_offset_counts_them_all() -> None:
    pager: Pager[str] = Pager("rows", limit=10, max_offset=None)
    assert take(pager, "aab") == ["a", "b"]
    assert pager.offset == 3
    assert take(pager, "bc") == ["c"]
    assert (pager.offset, pager.count, pager.done) == (5, 3, False)


def test_a_server_that_gives_all_whatever_the_offset_ends() -> None:
    pager: Pager[str] = Pager("rows", limit=2, max_offset=None)
    take(pager, "abc")
    assert take(pager, "abc") == []
    assert pager.done


def test_a_first_page_repeated_for_ever_may_hide_the_rest() -> None:
    pager: Pager[str] = Pager("studies", limit=3, max_offset=None)
    take(pager, "abc")
    with pytest.raises(CohortError, match="repeats its first 3 studies"):
        take(pager, "abc")


def test_a_first_page_repeated_for_ever_is_all_if_the_server_states_so_many() -> None:
    pager: Pager[str] = Pager("studies", limit=3, max_offset=None, stated=3)
    take(pager, "abc")
    assert not pager.done
    take(pager, "abc")
    assert pager.done


def test_pages_that_go_round_in_circles_end() -> None:
    pager: Pager[str] = Pager("rows", limit=2, max_offset=None)
    for keys in ("ab", "cd", "ba", "dc"):
        take(pager, keys)
        assert not pager.done
    take(pager, "ab")
    assert pager.done


def test_one_page_of_old_rows_is_a_shift_and_not_the_end() -> None:
    pager: Pager[str] = Pager("rows", limit=2, max_offset=None)
    take(pager, "abcd")
    assert take(pager, "dc") == []
    assert not pager.done
    assert take(pager, "e") == ["e"]


def test_results_beyond_the_largest_offset_are_an_error() -> None:
    pager: Pager[str] = Pager("studies", limit=2, max_offset=3)
    take(pager, "ab")
    with pytest.raises(CohortError, match="at most 3 studies"):
        take(pager, "cd")


def test_the_largest_offset_is_no_error_where_the_end_is_known() -> None:
    warned: Pager[str] = Pager("studies", limit=2, max_offset=3)
    take(warned, "ab", 2)
    take(warned, "cd")
    assert warned.done
    stated: Pager[str] = Pager("studies", limit=3, max_offset=3, stated=4)
    take(stated, "abc")
    take(stated, "d")
    assert stated.done


def test_announced_results_that_never_come_are_an_error() -> None:
    pager: Pager[str] = Pager("studies", limit=2, max_offset=None)
    take(pager, "ab", 5)
    with pytest.raises(Truncated, match="announces 5 more studies after the first 2"):
        take(pager, "")
    again: Pager[str] = Pager("studies", limit=2, max_offset=None)
    take(again, "ab", 5)
    with pytest.raises(Truncated):
        take(again, "ab", 5)


@pytest.mark.parametrize(
    ("warning", "remaining"),
    [
        (None, None),
        ("", None),
        ('299 dcm4chee "There are 17 additional results that can be requested"', 17),
        ("299 host: There are 2000 additional results that can be requested", 2000),
        ("299 host: the fuzzymatching parameter is not supported", None),
        (f"299 host: There are {'9' * 5_000} additional results that can be requested", None),
        ("299 host: There are \u0663 additional results that can be requested", None),
    ],
)
def test_the_warning_says_how_many_remain(warning: str | None, remaining: int | None) -> None:
    assert parse_remaining(warning) == remaining


def test_the_offset_never_stands_still() -> None:
    """Whatever a server does, the number of requests is bounded by what it returns."""
    pager: Pager[str] = Pager("rows", limit=1, max_offset=None)
    offsets = []
    for key in "abcdefg":
        offsets.append(pager.offset)
        take(pager, key)
    assert offsets == list(range(7))
