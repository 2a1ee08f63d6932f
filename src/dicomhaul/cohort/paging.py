"""Pages of a QIDO-RS search, to the end: whatever limit the server really applies.

Rules (PS3.18 section 8.3.4.4, and what servers make of it):

* `limit` and `offset` are always sent; the offset advances by what was *received*, because a server may
  answer with fewer rows than it was asked for, or with more.
* A short page is not the end. An empty page is (204, `[]`), or one that brings nothing new again and again,
  or as many rows as the server itself says there are.
* Rows with a key that was seen count once: pages shift while a server that sorts by "newest first" takes in
  more.
* Where results would remain that cannot be asked for, that is an error. A cohort is never cut in silence.
* A search that does not end is given up, with an error: so many rows, or so many pages, no archive has.

`Pager` decides and knows no I/O; `iter_pages` asks. What a row means is not known here.
"""

import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from dicomhaul.errors import CohortError, Truncated

Row = TypeVar("Row")

_MOST_PAGES = 100_000
_STALE_PAGES = 3  # pages in a row without a new key: the server goes round in circles
_ADDITIONAL = re.compile(r"There are ([0-9]{1,18}) additional results")


def parse_remaining(warning: str | None) -> int | None:
    """Return how many more results a Warning header announces (PS3.18 section 8.3.4.4.1); None if it doesn't
    say.

    Only dcm4chee is known to send it, so its absence means nothing.
    """
    found = _ADDITIONAL.search(warning or "")
    return int(found[1]) if found else None


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """One answer: rows by key, in the server's order, and what the server says is still to come, if it says
    so.
    """

    rows: Sequence[tuple[str, Row]]
    remaining: int | None = None


class Pager(Generic[Row]):
    """Which page to ask for next, and which rows of a page are new.

    Args:
        what: what is searched, for messages ("studies").
        limit: rows to ask for at once.
        max_offset: the largest offset that the server accepts; None if there is no largest.
        stated: how many rows there are, where the server has said so elsewhere. Saves the request for the
        page
            after the last.
        most: more rows than this are an error; the key of each that came is kept.

    Attributes:
        offset: the offset to ask for next.
        done: whether the end has been reached.
        count: distinct rows so far.
    """

    def __init__(
        self, what: str, *, limit: int, max_offset: int | None, stated: int | None = None, most: int = 5_000_000
    ) -> None:
        self.what = what
        self._most = most
        self._pages = 0
        self.limit = limit
        self.max_offset = max_offset
        self.stated = stated
        self.offset = 0
        self.done = False
        self._seen: set[str] = set()
        self._last: list[str] = []
        self._stale = 0
        self._announced: int | None = None

    @property
    def count(self) -> int:
        """Distinct rows so far."""
        return len(self._seen)

    def take(self, page: Page[Row]) -> list[Row]:
        """Take the page at `offset`; return its rows that are new.

        Raises:
            CohortError: results remain beyond the largest offset, the server shows its first page only, or the search
                does not end.
            Truncated: the server announces more results and gives none.
        """
        keys = [key for key, _ in page.rows]
        fresh: list[Row] = []
        for key, row in page.rows:
            if key not in self._seen:
                self._seen.add(key)
                fresh.append(row)
        self._pages += 1
        if self.count > self._most or self._pages > _MOST_PAGES:
            raise CohortError(
                f"the search does not end: {self.count:,} {self.what} in {self._pages:,} pages; narrow it, for "
                "instance by --study-date"
            )
        self._advance(keys, page.remaining, brought_new=bool(fresh))
        self._last = keys
        return fresh

    def _advance(self, keys: list[str], remaining: int | None, *, brought_new: bool) -> None:
        self.offset += len(keys)
        self._stale = 0 if brought_new else self._stale + 1
        repeated = bool(keys) and keys == self._last
        # An empty page doesn't take back what the page before it announced; a page of rows without a warning
        # does.
        last_of_announced = bool(keys) and bool(self._announced) and remaining is None and brought_new
        self._announced = remaining if keys else self._announced
        stated_reached = self.stated is not None and self.count >= self.stated and len(keys) < self.limit
        if last_of_announced or (stated_reached and not self._announced):
            self.done = True
        elif not keys or repeated or self._stale >= _STALE_PAGES:
            self.done = True
            self._refuse_a_cut(repeated_full_page=repeated and len(keys) == self.limit)
        elif self.max_offset is not None and self.offset > self.max_offset:
            raise CohortError(
                f"the server lists at most {self.max_offset:,} {self.what} of one search and there may be more: "
                "narrow the search, for instance by --study-date"
            )

    def _refuse_a_cut(self, *, repeated_full_page: bool) -> None:
        if self._announced:
            raise Truncated(
                f"the server announces {self._announced:,} more {self.what} after the first {self.count:,} "
                "and lists none of them"
            )
        if repeated_full_page and (self.stated is None or self.count < self.stated):
            raise CohortError(
                f"the server repeats its first {self.limit:,} {self.what} whatever page it is asked for, so there may "
                "be more that cannot be listed: narrow the search, or raise search.page in the profile"
            )


async def iter_pages(
    fetch: Callable[[int, int], Awaitable[Page[Row]]], pager: Pager[Row]
) -> AsyncGenerator[list[Row], None]:
    """Ask `fetch(limit, offset)` for page after page; yield the new rows of each, never an empty list.

    Raises what `fetch` and `Pager.take` raise.
    """
    while not pager.done:
        fresh = pager.take(await fetch(pager.limit, pager.offset))
        if fresh:
            yield fresh
