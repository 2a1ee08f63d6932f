"""What a feed says of instances, applied to the ledger together with the position that covers it: one transaction.

| the last word on an instance of a series that the cohort wants | then |
|---|---|
| it is current | it is wanted, whatever is here under its name |
| it was deleted, and is here | its file leaves, unless what is withdrawn is kept |
| it was deleted, and is not here | it is wanted no more |

A series that this touches is opened again, and its inventory asked for. One of which nothing is left is asked for like
one that nobody knew: what the source then does not list is wanted no more. Each word counts once, by its number. What
leaves waits, besides, for what a sync may remove to be held against it (`removals`).
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Final, NamedTuple

from dicomhaul.errors import SyncRefused
from dicomhaul.model import Series
from dicomhaul.plan.changes import Change, Instance, counting
from dicomhaul.plan.difference import Difference
from dicomhaul.plan.removal import refusal
from dicomhaul.record.departing import Following, let_go, note_former
from dicomhaul.record.incoming import load_incoming
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.merge import merge_incoming
from dicomhaul.record.reader import guard
from dicomhaul.record.removals import forget_returned

Name = tuple[str, str]  # of a series: its Study and its Series Instance UID
MARK_CHARS: Final = 12  # of a cohort's fingerprint, at the end of its cursors' names
_DELETED: Final = "the source says that it was deleted"
_CHANGED: Final = "the source has it anew"


class Cursor(NamedTuple):
    """How far a source of change was followed.

    Attributes:
        feed: the kind of feed, whom it is of, and for which cohort.
        position: JSON.
    """

    feed: str
    position: str


class Applied(NamedTuple):
    """What came of some changes: series that are new or gone; instances that come again, and that leave."""

    difference: Difference = Difference()
    wanted: int = 0
    leaving: int = 0


def read_cursor(ledger: Ledger, feed: str) -> str | None:
    """Return the position of a feed; None where it was never followed."""
    db = ledger._db  # noqa: SLF001 - a step of the ledger's own, in a module of its own
    with guard(ledger.path):
        row = db.execute("SELECT position FROM cursor WHERE feed = ?", (feed,)).fetchone()
    return None if row is None else str(row[0])


def note_cursor(ledger: Ledger, cursor: Cursor, now_s: float) -> None:
    """Record a position, where what it covers is recorded; those for cohorts that are gone are forgotten."""
    db = ledger._db  # noqa: SLF001 - as above
    moved_at = datetime.fromtimestamp(now_s, UTC).isoformat(timespec="seconds")
    with guard(ledger.path):
        db.execute("INSERT OR REPLACE INTO cursor (feed, position, moved_at) VALUES (?, ?, ?)", (*cursor, moved_at))
        db.execute(
            "DELETE FROM cursor WHERE NOT EXISTS (SELECT 1 FROM cohort c WHERE substr(cursor.feed, -?) = "
            "substr(c.fingerprint, 1, ?))",
            (MARK_CHARS, MARK_CHARS),
        )


def cursor_name(feed: str, fingerprint: str) -> str:
    """Return how the cursor of a feed is called, as a cohort follows it."""
    return f"{feed} cohort {fingerprint[:MARK_CHARS]}"


def holds(ledger: Ledger, cohort_id: int) -> bool:
    """Say whether any instance of a cohort has landed."""
    db = ledger._db  # noqa: SLF001 - as above
    with guard(ledger.path):
        (found,) = db.execute(
            "SELECT EXISTS (SELECT 1 FROM member m CROSS JOIN instance i ON i.series_id = m.series_id AND i.state = 1 "
            "WHERE m.cohort_id = ?)",
            (cohort_id,),
        ).fetchone()
    return bool(found)


class CompleteSeries(NamedTuple):
    """A series that is complete as a whole: the ledger's key, and which instances of it are here."""

    id: int
    study: str
    series: str
    sops: frozenset[str]


def complete_series(ledger: Ledger, cohort_id: int, *, after: int, most: int) -> list[CompleteSeries]:
    """Return complete series of a cohort whose keys are higher than `after`, in their order."""
    db = ledger._db  # noqa: SLF001 - as above
    with guard(ledger.path):
        rows = db.execute(
            "SELECT s.id, s.study, s.series FROM member m JOIN series s ON s.id = m.series_id "
            "WHERE m.cohort_id = ? AND m.series_id > ? AND s.state = 1 AND s.whole ORDER BY m.series_id LIMIT ?",
            (cohort_id, after, most),
        ).fetchall()
        sops = "SELECT sop FROM instance WHERE series_id = ? AND state = 1"
        return [
            CompleteSeries(key, study, series, frozenset(sop for (sop,) in db.execute(sops, (key,))))
            for key, study, series in rows
        ]


def open_again(ledger: Ledger, series: Iterable[int]) -> None:
    """Ask for the inventory of these series, and bring what is missing of it."""
    with ledger.transaction():
        for series_id in series:
            _open_again(ledger, series_id)


def to_ask_for(ledger: Ledger, cohort_id: int, words: Mapping[Instance, Change], *, keep: bool) -> list[Name]:
    """Return the series that nobody here can tell whether the cohort has: new ones, and those of which nothing is left.

    `keep`: what has landed stays.
    """
    asked = []
    with guard(ledger.path):
        for name, changes in _by_series(words.values()).items():
            series_id = _member(ledger, cohort_id, name)
            if series_id is None:
                unknown = any(change.standing == "current" for change in changes)
            else:
                unknown = _is_left_empty(ledger, series_id, changes, keep=keep)
            if unknown:
                asked.append(name)
    return asked


def apply_changes(
    ledger: Ledger,
    cohort_id: int,
    words: Mapping[Instance, Change],
    *,
    asked: Collection[Name],
    rows: Sequence[Series],
    following: Following,
    beside: str,
    cursor: Cursor,
    now_s: float,
) -> Applied:
    """Apply the last word on each instance to what a cohort wants, and record the position that covers them.

    Args:
        ledger: of the destination.
        cohort_id: whose feed it is.
        words: by instance, each the last one of its window.
        asked: the series that `to_ask_for` named.
        rows: those of them that the cohort has.
        following: how removals are followed.
        beside: as `plan_cohort`.
        cursor: what covers the changes.
        now_s: seconds since the epoch.

    Raises SyncRefused, with nothing recorded, where more would leave than may.
    """
    with ledger.transaction():
        difference = _add(ledger, cohort_id, rows, following_removals=True, beside=beside)
        fresh = {(row.study, row.series) for row in rows}
        wanted = leaving = 0
        for name, changes in _by_series(words.values()).items():
            series_id = _member(ledger, cohort_id, name)
            if series_id is not None:
                came, left = _touch(ledger, series_id, changes, keep=following.keep_withdrawn)
                wanted, leaving = wanted + came, leaving + left
        gone = _drop(ledger, cohort_id, [name for name in asked if name not in fresh], following)
        if leaving:
            _hold_against(ledger, following)
        note_cursor(ledger, cursor, now_s)
    return Applied(difference._replace(withdrawn=gone), wanted, leaving)


def add_found(
    ledger: Ledger, cohort_id: int, rows: Sequence[Series], *, following_removals: bool, beside: str
) -> Difference:
    """Add series that a part of the cohort's search found; those that are known are asked again where they differ."""
    with ledger.transaction():
        return _add(ledger, cohort_id, rows, following_removals=following_removals, beside=beside)


def _add(
    ledger: Ledger, cohort_id: int, rows: Iterable[Series], *, following_removals: bool, beside: str
) -> Difference:
    db = ledger._db  # noqa: SLF001 - as above
    load_incoming(db, rows)
    difference = merge_incoming(
        db, searched=True, following=following_removals, by_stem=ledger.names_by_stem(), beside=beside
    )
    db.execute(
        "INSERT OR IGNORE INTO member (cohort_id, series_id, expected) SELECT ?, s.id, n.expected FROM incoming n "
        "JOIN series s ON s.series = n.series AND s.study = n.study",
        (cohort_id,),
    )
    db.execute("UPDATE series SET kept = 0 WHERE kept AND (series, study) IN (SELECT series, study FROM incoming)")
    db.execute("DROP TABLE temp.incoming")
    db.execute("DROP TABLE temp.selected")
    return difference


def _by_series(changes: Iterable[Change]) -> dict[Name, list[Change]]:
    grouped: dict[Name, list[Change]] = {}
    for change in changes:
        grouped.setdefault((change.instance.study, change.instance.series), []).append(change)
    return grouped


def _member(ledger: Ledger, cohort_id: int, name: Name) -> int | None:
    """Return the key of a series that the cohort wants; None where it wants none of that name."""
    study, series = name
    db = ledger._db  # noqa: SLF001 - as above
    row = db.execute(
        "SELECT s.id FROM series s JOIN member m ON m.cohort_id = ? AND m.series_id = s.id "
        "WHERE s.series = ? AND s.study = ?",
        (cohort_id, series, study),
    ).fetchone()
    return None if row is None else int(row[0])


def _counting(ledger: Ledger, series_id: int, changes: Sequence[Change]) -> list[Change]:
    db = ledger._db  # noqa: SLF001 - as above
    names = {change.instance.sop: change.instance for change in changes}
    counted = {
        names[sop]: int(version)
        for sop, version in db.execute("SELECT sop, version FROM version WHERE series_id = ?", (series_id,))
        if sop in names
    }
    return counting(changes, counted)


def _is_left_empty(ledger: Ledger, series_id: int, changes: Sequence[Change], *, keep: bool) -> bool:
    news = _counting(ledger, series_id, changes)
    if not news or any(change.standing == "current" for change in news):
        return False
    deleted = {change.instance.sop for change in news}
    db = ledger._db  # noqa: SLF001 - as above
    known = {sop for (sop,) in db.execute("SELECT sop FROM instance WHERE series_id = ?", (series_id,))}
    return known <= deleted and not (keep and _here(ledger, series_id))


def _here(ledger: Ledger, series_id: int) -> set[str]:
    """Return the instances of which a file is here, be it that of a former version."""
    db = ledger._db  # noqa: SLF001 - as above
    rows = db.execute("SELECT sop FROM instance WHERE series_id = ? AND (state = 1 OR xxh3 IS NOT NULL)", (series_id,))
    return {sop for (sop,) in rows}


def _touch(ledger: Ledger, series_id: int, changes: Sequence[Change], *, keep: bool) -> tuple[int, int]:
    """Apply the words on one series; return how many instances come again, and how many that have landed leave."""
    db = ledger._db  # noqa: SLF001 - as above
    news = _counting(ledger, series_id, changes)
    db.executemany(
        "INSERT OR REPLACE INTO version (series_id, sop, version) VALUES (?, ?, ?)",
        ((series_id, change.instance.sop, change.number) for change in news),
    )
    current = [change.instance.sop for change in news if change.standing == "current"]
    deleted = [change.instance.sop for change in news if change.standing == "deleted"]
    here = _here(ledger, series_id)
    if keep:  # the file of a former version stays too
        db.executemany(
            "UPDATE instance SET state = 1, reason = NULL WHERE series_id = ? AND sop = ?",
            ((series_id, sop) for sop in here.intersection(deleted)),
        )
        deleted = [sop for sop in deleted if sop not in here]
    if not current and not deleted:
        return 0, 0
    leaving = here.intersection(deleted)
    ledger.withdraw_instances(series_id, deleted, _DELETED, agreed=False)
    for sop in current:
        _want_anew(ledger, series_id, sop)
    _open_again(ledger, series_id)
    return len(current), len(leaving)


def _open_again(ledger: Ledger, series_id: int) -> None:
    db = ledger._db  # noqa: SLF001 - as above
    db.execute("DELETE FROM partial WHERE series_id = ?", (series_id,))
    # Where nothing is left of it, it comes as a whole; else its inventory tells what is missing, and too much.
    db.execute(
        "UPDATE series SET state = 0, proof = NULL, came_by = NULL, reason = NULL, expected = NULL, "
        "cut = EXISTS (SELECT 1 FROM instance i WHERE i.series_id = series.id AND i.state = 1) WHERE id = ?",
        (series_id,),
    )
    db.execute(
        "UPDATE member SET expected = NULL WHERE cohort_id IN (SELECT id FROM cohort) AND series_id = ?", (series_id,)
    )


def _want_anew(ledger: Ledger, series_id: int, sop: str) -> None:
    """Want an instance, whatever lies under its name: that is written over.

    What is known of that file stays known: should the instance be deleted before it has come, the file leaves.
    """
    db = ledger._db  # noqa: SLF001 - as above
    there = (
        "FROM outgoing o JOIN series s ON s.id = :series_id AND s.series = o.series AND s.study = o.study "
        "WHERE o.after IS NULL AND o.lies IS NULL AND o.sop = :sop"
    )
    values = {"series_id": series_id, "sop": sop, "reason": _CHANGED}
    db.execute(
        "INSERT OR IGNORE INTO instance (series_id, sop, size_bytes, xxh3, state, checked, stem) "
        f"SELECT :series_id, :sop, o.size_bytes, o.xxh3, 0, o.checked, o.stem {there}",
        values,
    )
    db.execute(f"DELETE FROM outgoing WHERE id IN (SELECT o.id {there})", values)  # noqa: S608 - likewise
    db.execute(
        "INSERT INTO instance (series_id, sop, state) VALUES (:series_id, :sop, 0) "
        "ON CONFLICT (series_id, sop) DO UPDATE SET state = 0, reason = :reason",
        values,
    )


def _drop(ledger: Ledger, cohort_id: int, names: Iterable[Name], following: Following) -> int:
    """What the source does not list any more is wanted no more; return how many series that were."""
    held = [series_id for name in names if (series_id := _member(ledger, cohort_id, name)) is not None]
    if not held:
        return 0
    db = ledger._db  # noqa: SLF001 - as above
    note_former(db, [cohort_id])
    db.executemany(
        "DELETE FROM member WHERE cohort_id = ? AND series_id = ?", ((cohort_id, series_id) for series_id in held)
    )
    let_go(db, following, by_stem=ledger.names_by_stem())
    return len(held)


def _hold_against(ledger: Ledger, following: Following) -> None:
    db = ledger._db  # noqa: SLF001 - as above
    forget_returned(db)
    (removing,) = db.execute("SELECT count(*) FROM outgoing WHERE after IS NULL AND NOT agreed").fetchone()
    (present,) = db.execute("SELECT count(*) FROM instance WHERE state = 1 OR xxh3 IS NOT NULL").fetchone()
    reason = refusal(removing, present + removing, following.removal)
    if reason is not None:
        raise SyncRefused(reason.replace("nothing was changed", "nothing was removed"))
