"""What no cohort of a destination wants any more: it leaves, or stays. Inside the transaction that plans.

One question is one cohort: the same query of the same source, whatever the index or the manifest said of it before,
replaces its row. A series that is left without any cohort is withdrawn by a sync, if it may remove so much; a pull,
which removes nothing, keeps what has landed of it and forgets the rest.
"""

import sqlite3
from collections.abc import Mapping
from typing import Final, NamedTuple

from dicomhaul.errors import SyncRefused
from dicomhaul.plan.removal import RemovalLimits, refusal
from dicomhaul.record.asked import question
from dicomhaul.record.incoming import add_functions
from dicomhaul.record.reader import REVISING

WITHDRAWN: Final = "no cohort wants it any more"
# `member` can be looked up by cohort and series, not by series alone.
_WANTED: Final = "EXISTS (SELECT 1 FROM cohort k CROSS JOIN member m ON m.cohort_id = k.id AND m.series_id = {0}.id)"
# What a reader sees of a series in the middle of a swap is its old revision.
STANDING: Final = (
    "SELECT s.id, i.size_bytes FROM series s JOIN instance i ON i.series_id = s.id AND i.state = 1 "  # noqa: S608 - our own words
    f"WHERE NOT {REVISING} AND s.id IN ({{0}}) UNION ALL "
    "SELECT o.after, o.size_bytes FROM outgoing o WHERE o.after IN ({0})"
)
_LEAVE: Final = (  # with the first column and its value, the stem that names files, and which they are
    "INSERT INTO outgoing ({0}agreed, study, series, revision, sop, folder, file, size_bytes, xxh3, checked, stem, "
    "reason) SELECT {1}:agreed, s.study, s.series, s.revision, i.sop, s.folder, file_of(i.sop, {2}), i.size_bytes, "
    "i.xxh3, i.checked, i.stem, :reason FROM series s JOIN instance i ON i.series_id = s.id "
    "AND (i.state = 1 OR i.xxh3 IS NOT NULL) WHERE {3} ORDER BY i.series_id, i.sop"
)
_RETURN: Final = (  # to `instance`, of the files that wait for these series
    "INSERT INTO instance (series_id, sop, size_bytes, xxh3, state, checked, stem) "
    "SELECT after, sop, size_bytes, xxh3, 1, checked, stem FROM outgoing WHERE after IN ({0})"
)


class Following(NamedTuple):
    """A mirror that follows its source.

    Attributes:
        removal: how much may leave at once.
        keep_withdrawn: what no cohort wants any more stays.
    """

    removal: RemovalLimits
    keep_withdrawn: bool = False


class Withdrawn(NamedTuple):
    """What leaves: series, instances of them that have landed, their bytes."""

    series: int = 0
    instances: int = 0
    size_bytes: int = 0


def same_question(db: sqlite3.Connection, query: str, source: str, *, following: bool) -> list[int]:
    """Return the cohorts that asked the same, oldest first; see `asked.question`."""
    ours = question(query, following=following)
    rows = db.execute("SELECT id, query FROM cohort WHERE source = ? ORDER BY id", (source,)).fetchall()
    return [cohort_id for cohort_id, text in rows if question(text, following=following) == ours]


def note_former(db: sqlite3.Connection, cohorts: list[int]) -> None:
    """Note in the temporary table `former` what these cohorts wanted until now."""
    db.execute("DROP TABLE IF EXISTS temp.former")
    db.execute("CREATE TEMP TABLE former (id INTEGER PRIMARY KEY)")
    db.executemany(
        "INSERT OR IGNORE INTO former SELECT series_id FROM member WHERE cohort_id = ?", ((each,) for each in cohorts)
    )


def refuse_nothing(db: sqlite3.Connection, name: str) -> None:
    """Refuse an answer that names nothing where a mirror holds something. Raises SyncRefused."""
    (instances,) = db.execute(f"SELECT count(*) FROM ({STANDING.format('SELECT id FROM former')})").fetchone()  # noqa: S608 - our own words
    if instances:
        raise SyncRefused(
            f"the source has nothing at all of {name} now, and {instances:,} instances of it are here: nothing was "
            "changed. Such an answer is never obeyed; to give the mirror up, remove its folder"
        )


def drop_cohorts(db: sqlite3.Connection, cohorts: list[int]) -> None:
    """Forget cohorts, and what they wanted."""
    for table, key in (("member", "cohort_id"), ("cohort", "id")):
        db.executemany(f"DELETE FROM {table} WHERE {key} = ?", ((each,) for each in cohorts))  # noqa: S608 - our own words


def want_again(db: sqlite3.Connection) -> None:
    """What a cohort wants is not merely kept."""
    db.execute(f"UPDATE series SET kept = 0 WHERE kept AND {_WANTED.format('series')}")  # noqa: S608 - our own words


def let_go(db: sqlite3.Connection, following: Following | None, *, by_stem: bool) -> Withdrawn:
    """Settle what becomes of series that no cohort wants. Raises SyncRefused where too much would leave."""
    want_again(db)
    db.execute("DROP TABLE IF EXISTS temp.orphan")
    db.execute(
        "CREATE TEMP TABLE orphan AS SELECT s.id, "  # noqa: S608 - our own words
        "EXISTS (SELECT 1 FROM instance i WHERE i.series_id = s.id AND i.state = 1) OR "
        "EXISTS (SELECT 1 FROM outgoing o WHERE o.after = s.id) AS here "
        f"FROM series s WHERE NOT {_WANTED.format('s')}"
    )
    withdrawn = Withdrawn()
    if following is None or following.keep_withdrawn:
        db.execute("UPDATE series SET kept = 1 WHERE id IN (SELECT id FROM orphan WHERE here)")
        _restore_swapped(db)
        db.execute("DELETE FROM orphan WHERE here")
    else:
        withdrawn = _withdraw(db, following.removal, by_stem=by_stem)
    for table in ("instance", "partial", "version", "swap"):
        db.execute(f"DELETE FROM {table} WHERE series_id IN (SELECT id FROM orphan)")  # noqa: S608 - our own words
    db.execute("DELETE FROM series WHERE id IN (SELECT id FROM orphan)")
    db.execute("DROP TABLE temp.orphan")
    db.execute("DROP TABLE temp.former")
    return withdrawn


def _withdraw(db: sqlite3.Connection, removal: RemovalLimits, *, by_stem: bool) -> Withdrawn:
    (found,) = db.execute("SELECT EXISTS (SELECT 1 FROM orphan)").fetchone()
    if not found:
        return Withdrawn()
    leaving, before = "SELECT id FROM orphan", "SELECT id FROM former UNION SELECT id FROM orphan"
    series, instances, size = db.execute(
        f"SELECT count(DISTINCT id), count(*), coalesce(sum(size_bytes), 0) FROM ({STANDING.format(leaving)})"  # noqa: S608 - our own words
    ).fetchone()
    (present,) = db.execute(f"SELECT count(*) FROM ({STANDING.format(before)})").fetchone()  # noqa: S608 - likewise
    reason = refusal(instances, present, removal)
    if reason is not None:
        raise SyncRefused(reason)
    db.execute("UPDATE outgoing SET after = NULL, reason = ? WHERE after IN (SELECT id FROM orphan)", (WITHDRAWN,))
    whose = "s.id IN (SELECT id FROM orphan) AND s.id NOT IN (SELECT series_id FROM swap)"
    send_away(db, whose, WITHDRAWN, by_stem=by_stem)
    return Withdrawn(series, instances, size)


def send_away(
    db: sqlite3.Connection,
    whose: str,
    reason: str,
    *,
    by_stem: bool,
    after: bool = False,
    agreed: bool = True,
    values: Mapping[str, object] | None = None,
) -> None:
    """Note landed files as outgoing, and former versions of what was to come anew: their digest is still known.

    Their rows in `instance` are the caller's to remove.

    Args:
        db: the ledger's.
        whose: SQL that picks instances `i` of series `s`.
        reason: why they leave.
        by_stem: files are named by their objects.
        after: only when the series, which has another revision now, is complete.
        agreed: what a sync may remove was held against them.
        values: of the parameters in `whose`.
    """
    add_functions(db)
    first = ("after, ", "s.id, ") if after else ("", "")
    db.execute(
        _LEAVE.format(*first, "i.stem" if by_stem else "NULL", whose),
        {**(values or {}), "reason": reason, "agreed": agreed},
    )
    db.execute("INSERT OR REPLACE INTO meta VALUES ('index', 'stale')")


def take_back(db: sqlite3.Connection, series: str) -> None:
    """The files that wait for these series (SQL that picks their ids) to be complete do not leave: they are theirs."""
    db.execute(f"DELETE FROM instance WHERE series_id IN ({series})")  # noqa: S608 - our own words
    db.execute(f"DELETE FROM partial WHERE series_id IN ({series})")  # noqa: S608 - our own words
    db.execute(_RETURN.format(series))
    db.execute(
        "UPDATE series SET folder = o.folder, revision = o.revision, state = 0, proof = NULL, came_by = NULL "  # noqa: S608 - our own words
        f"FROM outgoing o WHERE o.after = series.id AND series.id IN ({series})"
    )
    db.execute(f"DELETE FROM outgoing WHERE after IN ({series})")  # noqa: S608 - our own words
    db.execute(f"DELETE FROM swap WHERE series_id IN ({series})")  # noqa: S608 - our own words


def _restore_swapped(db: sqlite3.Connection) -> None:
    """What stays of a series in the middle of a swap is its old revision; the new one is wanted no more."""
    take_back(db, "SELECT o.id FROM orphan o JOIN swap w ON w.series_id = o.id WHERE o.here")
