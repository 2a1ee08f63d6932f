"""A search on a server that never comes to an end."""

from itertools import count

import pytest

from dicomhaul.cohort import paging
from dicomhaul.cohort.paging import Page, Pager, iter_pages
from dicomhaul.errors import CohortError

pytestmark = pytest.mark.anyio


async def test_rows_that_are_always_new(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = count()
    asked = 0

    async def fetch(limit: int, offset: int) -> Page[int]:
        nonlocal asked
        asked += 1
        return Page([(str(number), number) for number in (next(numbers) for _ in range(limit))])

    with pytest.raises(CohortError, match="does not end"):
        async for _ in iter_pages(fetch, Pager("studies", limit=100, max_offset=None, most=1_000)):
            pass
    assert asked == 11

    monkeypatch.setattr(paging, "_MOST_PAGES", 50)  # one row a page takes long, too
    with pytest.raises(CohortError, match="does not end"):
        async for _ in iter_pages(fetch, Pager("studies", limit=1, max_offset=None)):
            pass
    assert asked == 11 + 51


async def test_the_same_pages_in_turn_for_ever() -> None:
    asked = 0

    async def fetch(limit: int, offset: int) -> Page[int]:
        nonlocal asked
        asked += 1
        return Page([(str(number), number) for number in range(asked % 3, asked % 3 + limit)])

    found = [row async for rows in iter_pages(fetch, Pager("studies", limit=10, max_offset=None)) for row in rows]
    assert asked < 10
    assert sorted(found) == list(range(12))
