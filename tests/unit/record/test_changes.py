"""What a feed says, applied to a ledger with the position that covers it: once, whole, and never too much."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from dicomhaul.errors import SyncRefused
from dicomhaul.model import Proof, Receipt, Series, SopUID
from dicomhaul.plan.changes import Change, Instance, Standing, last_words
from dicomhaul.plan.removal import RemovalLimits
from dicomhaul.record.changes import (
    Applied,
    Cursor,
    Name,
    add_found,
    apply_changes,
    cursor_name,
    note_cursor,
    read_cursor,
    to_ask_for,
)
from dicomhaul.record.departing import Following
from dicomhaul.record.ledger import Ledger
from support.fakes import STUDY, series_row, write_cohort

FEED = cursor_name("azure https://pacs.example/v2", "everything there is")
ANY = Following(RemovalLimits(instances=1_000))


class Mirror:
    """A ledger that follows a feed."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.cohort = write_cohort(ledger, [series_row("1.1"), series_row("1.2")], name="everything there is")
        self.land("1.1", "a", "b")
        self.land("1.2", "c")

    def ask(self, query: str) -> list[Any]:
        rows = self.ledger._db.execute(query).fetchall()
        return [row[0] if len(row) == 1 else row for row in rows]

    def land(self, series: str, *sops: str) -> None:
        (key,) = self.ask(f"SELECT id FROM series WHERE series = '{series}'")
        with self.ledger.transaction():
            self.ledger.add_receipts(Receipt(key, SopUID(sop), 10, bytes(16)) for sop in sops)
            self.ledger.complete_series(key, Proof.COUNT, len(sops), "fake")

    def tell(
        self,
        *told: tuple[int, Standing, str, str],
        rows: Sequence[Series] = (),
        following: Following = ANY,
        position: str = "there",
    ) -> tuple[list[Name], Applied]:
        words = last_words(Change(Instance(STUDY, series, sop), at, how) for at, how, series, sop in told)
        asked = to_ask_for(self.ledger, self.cohort, words, keep=following.keep_withdrawn)
        applied = apply_changes(
            self.ledger,
            self.cohort,
            words,
            asked=asked,
            rows=rows,
            following=following,
            beside=".dicomhaul/beside/",
            cursor=Cursor(FEED, position),
            now_s=1_700_000_000.0,
        )
        return asked, applied

    @property
    def states(self) -> dict[str, int]:
        return dict(self.ask("SELECT sop, state FROM instance"))

    @property
    def leaving(self) -> list[str]:
        return self.ask("SELECT sop FROM outgoing WHERE NOT agreed AND after IS NULL ORDER BY sop")


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    yield Mirror(ledger)
    ledger.close()


def test_a_new_version_comes_again_and_its_series_is_asked_for(mirror: Mirror) -> None:
    asked, applied = mirror.tell((5, "current", "1.1", "a"), (6, "current", "1.1", "new"))
    assert (asked, applied.wanted, applied.leaving) == ([], 2, 0)
    assert mirror.states == {"a": 0, "b": 1, "c": 1, "new": 0}
    assert mirror.ask("SELECT series, state, cut, expected FROM series ORDER BY series") == [
        ("1.1", 0, 1, None),
        ("1.2", 1, 0, 1),
    ]
    assert read_cursor(mirror.ledger, FEED) == "there"


def test_a_word_counts_once(mirror: Mirror) -> None:
    mirror.tell((5, "current", "1.1", "a"))
    mirror.land("1.1", "a", "b")
    for late in ((5, "current", "1.1", "a"), (4, "deleted", "1.1", "a"), (3, "current", "1.1", "a")):
        assert mirror.tell(late)[1] == Applied()
    assert mirror.states["a"] == 1
    assert mirror.ask("SELECT count(*) FROM series WHERE state = 1") == [2]
    assert mirror.tell((6, "replaced", "1.1", "a"))[1] == Applied()
    assert mirror.tell((7, "deleted", "1.1", "a"))[1].leaving == 1


def test_what_was_deleted_leaves_once_that_is_agreed(mirror: Mirror) -> None:
    _, applied = mirror.tell((5, "deleted", "1.1", "a"), (6, "deleted", "1.1", "never here"))
    assert (applied.wanted, applied.leaving) == (0, 1)
    assert mirror.leaving == ["a"]
    assert mirror.states == {"b": 1, "c": 1}
    assert mirror.ask("SELECT value FROM meta WHERE key = 'index'") == ["stale"]


def test_what_is_stored_again_before_it_left_is_written_over(mirror: Mirror) -> None:
    mirror.tell((5, "deleted", "1.1", "a"))
    mirror.tell((6, "current", "1.1", "a"))
    assert mirror.leaving == []
    assert mirror.states["a"] == 0
    mirror.tell((7, "deleted", "1.1", "a"))  # and its file is there still
    assert mirror.leaving == ["a"]


def test_a_file_whose_new_version_never_came_leaves_too(mirror: Mirror) -> None:
    """It is in the tree still, although what it holds has not counted for a while."""
    mirror.tell((5, "current", "1.1", "a"))
    mirror.tell((6, "deleted", "1.1", "a"))
    assert mirror.leaving == ["a"]
    assert "a" not in mirror.states


def test_more_than_may_leave_is_refused_and_nothing_is_recorded(mirror: Mirror) -> None:
    mirror.tell((4, "current", "1.2", "c"), position="before")
    states = mirror.states
    for limits in (RemovalLimits(instances=1), RemovalLimits(fraction=0.5)):
        for _ in range(2):
            with pytest.raises(SyncRefused, match=r"2 of 3 instances.*--max-delete 2"):
                mirror.tell((5, "deleted", "1.1", "a"), (6, "deleted", "1.1", "b"), following=Following(limits))
            assert (mirror.states, mirror.leaving, read_cursor(mirror.ledger, FEED)) == (states, [], "before")
    mirror.tell((5, "deleted", "1.1", "a"), following=Following(RemovalLimits(instances=1)))
    with pytest.raises(SyncRefused):  # what was noted before and has not left yet counts, too
        mirror.tell((6, "deleted", "1.1", "b"), following=Following(RemovalLimits(instances=1)))


def test_what_is_kept_stays_whatever_its_version(mirror: Mirror) -> None:
    keep = Following(RemovalLimits(instances=0), keep_withdrawn=True)
    mirror.tell((5, "current", "1.1", "a"), following=keep)
    asked, applied = mirror.tell((6, "deleted", "1.1", "a"), (7, "deleted", "1.2", "c"), following=keep)
    assert (asked, applied.leaving, mirror.leaving) == ([], 0, [])
    assert mirror.states == {"a": 1, "b": 1, "c": 1}


def test_a_series_that_nobody_knew_is_asked_for(mirror: Mirror) -> None:
    told: tuple[tuple[int, Standing, str, str], ...] = ((5, "current", "1.3", "d"), (6, "deleted", "1.4", "e"))
    asked, applied = mirror.tell(*told)
    assert asked == [(STUDY, "1.3")]  # of what is deleted there is nothing to ask
    assert applied == Applied()
    asked, applied = mirror.tell(*told, rows=[series_row("1.3")])
    assert (asked, applied.difference.added) == ([(STUDY, "1.3")], 1)
    assert mirror.ask("SELECT state, cut FROM series WHERE series = '1.3'") == [(0, 0)]  # it comes as a whole
    assert mirror.ask("SELECT count(*) FROM member") == [3]
    assert mirror.tell(*told)[0] == []


def test_a_series_of_which_nothing_is_left_is_asked_for_and_goes(mirror: Mirror) -> None:
    asked, applied = mirror.tell((5, "deleted", "1.1", "a"), (6, "deleted", "1.1", "b"))
    assert (asked, applied.difference.withdrawn) == ([(STUDY, "1.1")], 1)
    assert mirror.ask("SELECT series FROM series") == ["1.2"]
    assert mirror.leaving == ["a", "b"]
    assert mirror.ask("SELECT count(*) FROM version") == [0]
    mirror.ledger.check()


def test_a_series_that_another_cohort_wants_stays(mirror: Mirror) -> None:
    write_cohort(mirror.ledger, [series_row("1.2")], name="another")
    mirror.tell((5, "deleted", "1.2", "c"))
    assert mirror.ask("SELECT series FROM series ORDER BY series") == ["1.1", "1.2"]
    assert mirror.ask("SELECT count(*) FROM member") == [2]


def test_a_series_that_is_listed_still_comes_as_a_whole(mirror: Mirror) -> None:
    asked, _ = mirror.tell((5, "deleted", "1.2", "c"), rows=[series_row("1.2")])
    assert asked == [(STUDY, "1.2")]
    assert mirror.ask("SELECT state, cut, expected FROM series WHERE series = '1.2'") == [(0, 0, None)]


def test_a_part_of_the_search_adds_and_takes_nothing_away(mirror: Mirror) -> None:
    rows = [series_row("1.2", expected=1), series_row("1.3", expected=4)]
    found = add_found(mirror.ledger, mirror.cohort, rows, following_removals=True, beside="")
    assert (found.added, found.withdrawn) == (1, 0)
    assert mirror.ask("SELECT series, state FROM series ORDER BY series") == [("1.1", 1), ("1.2", 1), ("1.3", 0)]
    assert mirror.ask("SELECT count(*) FROM member") == [3]


def test_cursors_of_cohorts_that_are_gone_are_forgotten(mirror: Mirror) -> None:
    note_cursor(mirror.ledger, Cursor(cursor_name("orthanc http://there", "everything there is"), "1"), 0.0)
    note_cursor(mirror.ledger, Cursor(FEED, "2"), 0.0)
    assert mirror.ask("SELECT count(*) FROM cursor") == [2]
    mirror.ledger._db.execute("UPDATE cohort SET fingerprint = 'something else'")
    note_cursor(mirror.ledger, Cursor(cursor_name("orthanc http://there", "something else"), "3"), 60.0)
    assert mirror.ask("SELECT position, moved_at FROM cursor") == [("3", "1970-01-01T00:01:00+00:00")]
