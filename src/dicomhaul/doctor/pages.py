"""Pages of a search: which `limit` is honoured, where a page is cut, whether pages follow one another. Pure.

`PageProbe` says what to ask for next and is told what came. Small pages come first, and larger ones only while they
come full: a server that has little is asked for little. Once all rows are known, a large limit costs nothing, and shows
whether it would be refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

RUNGS: Final = (100, 200, 1000, 5000)
_BELOW: Final = (50, 20, 10, 1)  # where the lowest rung is refused already

Paging = Literal["steady", "shifting", "repeating"]


class Ask(NamedTuple):
    """One page to ask for."""

    limit: int
    offset: int


class Pages(NamedTuple):
    """What is known of the pages of one search.

    Attributes:
        full: the largest limit for which as many rows came; 0: none did.
        accepted: the largest limit that was not refused; 0: all were.
        cut_at: rows of a page that was cut below the limit although there are more; None: none was.
        refused_at: the smallest limit that was refused; None: none was.
        total: how many rows there are, where all of them came.
        ignored: more rows came than were asked for.
    """

    full: int = 0
    accepted: int = 0
    cut_at: int | None = None
    refused_at: int | None = None
    total: int | None = None
    ignored: bool = False


class PageProbe:
    """Finds out about the pages of one search. `next` until it is None; each time `take` what came."""

    def __init__(self, rungs: Sequence[int] = RUNGS) -> None:
        self._rungs = tuple(rungs)
        self._left = list(rungs)  # still to be tried, upwards
        self._down: list[int] = []  # still to be tried, downwards, after a refusal
        self._asked: Ask | None = None
        self._behind = 0  # rows of a short page, behind which we look
        self.pages = Pages()

    def next(self) -> Ask | None:
        """Return the page to ask for; None: enough is known."""
        if self._behind:
            self._asked = Ask(1, self._behind)
        elif self._down:
            self._asked = Ask(self._down.pop(0), 0)
        elif self._left:
            self._asked = Ask(self._left.pop(0), 0)
        else:
            self._asked = None
        return self._asked

    def take(self, rows: int | None) -> None:
        """Say how many rows came; None: the limit was refused."""
        assert self._asked is not None  # noqa: S101 - what was asked for is what is answered
        limit, offset = self._asked
        pages = self.pages
        if offset:
            self._look_behind(rows or 0)
        elif rows is None:
            refused_at = limit if pages.refused_at is None else min(limit, pages.refused_at)
            self.pages = pages._replace(refused_at=refused_at)
            self._step_down(limit)
        else:
            full = max(pages.full, limit if rows == limit else 0)
            self.pages = pages._replace(full=full, accepted=max(pages.accepted, limit), ignored=rows > limit)
            self._step_on(limit, rows)

    def stop(self) -> None:
        """What comes is too much, or too slow: leave it at what is known."""
        self._left, self._down, self._behind = [], [], 0

    def _step_on(self, limit: int, rows: int) -> None:
        descending, self._down = bool(self._down) or self.pages.refused_at is not None, []
        if rows > limit or descending:
            self.stop()
        elif rows < limit:
            if rows and self.pages.total is None:
                self._behind = rows
            else:
                self._know_all(rows)

    def _step_down(self, limit: int) -> None:
        if self._down:
            return
        tried_up = [rung for rung in self._rungs if rung < limit and rung > self.pages.accepted]
        if self.pages.total is not None:
            self._down = sorted(tried_up, reverse=True)
        elif self.pages.accepted == 0:
            self._down = [below for below in _BELOW if below < limit]
        self._left = []

    def _look_behind(self, rows: int) -> None:
        short, self._behind = self._behind, 0
        if rows:
            self.pages = self.pages._replace(cut_at=short)
            self.stop()
        else:
            self._know_all(short)

    def _know_all(self, rows: int) -> None:
        self.pages = self.pages._replace(total=rows)
        higher = [rung for rung in self._left if rung > self.pages.accepted]
        self._left = [max(higher)] if higher else []  # one is enough, unless it is refused


def judge_paging(first: Sequence[str], second: Sequence[str], again: Sequence[str], *, offset: int) -> Paging | None:
    """Compare a page, the page `offset` rows further, and the first page once more, by the keys of their rows.

    None where there are too few rows to tell.
    """
    if len(first) <= offset:
        return None
    if list(again) != list(first):
        return "shifting"
    if not second:
        return None
    if list(second[: len(first) - offset]) == list(first[offset:]):
        return "steady"
    return "repeating" if list(second) == list(first) else "shifting"


def page_for(pages: Pages, at_present: int) -> int:
    """Return the page that a profile should ask for, which now says `at_present`."""
    if pages.cut_at is not None:
        return pages.cut_at
    if pages.refused_at is not None and at_present >= pages.refused_at:
        return max(1, pages.accepted)
    return max(at_present, pages.full)


@dataclass(frozen=True, slots=True)
class Level:
    """One search and its pages, with the page that comes where no limit is named (None: not known)."""

    name: str  # studies, series, instances
    pages: Pages
    default: int | None = None
    more_than_default: bool = False  # the page without a limit was too long to be read to its end


def describe_pages(level: Level) -> str:
    """Say in words what is known."""
    pages = level.pages
    said = []
    if pages.ignored:
        said.append("more rows come than the limit names")
    elif pages.cut_at is not None:
        said.append(f"pages are cut at {pages.cut_at:,} rows, whatever the limit")
    elif pages.full:
        said.append(f"{pages.full:,} rows come where the limit says so")
    if pages.total is not None:
        said.append(f"there are {pages.total:,} in all")
    if pages.refused_at is not None:
        accepted = f", {pages.accepted:,} is not" if pages.accepted else ""
        said.append(f"a limit of {pages.refused_at:,} is refused{accepted}")
    elif pages.total is not None and pages.accepted > pages.total:
        said.append(f"a limit of {pages.accepted:,} is accepted")
    if level.default is not None:
        more = "more than " if level.more_than_default else ""
        whole = " (all)" if level.default == pages.total else ""
        said.append(f"without a limit {more}{level.default:,} come{whole}")
    return f"{level.name}: {', '.join(said) or 'nothing is known'}"
