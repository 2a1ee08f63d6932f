"""A cohort that was planned is written into the ledger, in the place of what asked the same before."""

import json
import sqlite3
from collections.abc import Iterable
from typing import NamedTuple

from dicomhaul.land.folder import beside_folder
from dicomhaul.model import Failure, Series
from dicomhaul.plan.difference import Difference
from dicomhaul.record import departing
from dicomhaul.record.departing import Following, drop_cohorts, let_go, note_former
from dicomhaul.record.incoming import load_incoming
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.merge import merge_incoming, want
from dicomhaul.record.reader import guard


class PlannedCohort(NamedTuple):
    """A cohort that was planned, and what that changed."""

    cohort_id: int
    difference: Difference


def plan_cohort(
    ledger: Ledger,
    *,
    name: str,
    fingerprint: str,
    query: str,
    source: str,
    profile: str | None = None,
    planned_at: str,
    layout: str,
    searched: bool = False,
    rows: Iterable[Series],
    missing: Iterable[Failure] = (),
    following: Following | None = None,
    beside: str = beside_folder(""),
) -> PlannedCohort:
    """Write a cohort and merge its series into those that are wanted here.

    All in one transaction: a plan that is interrupted, or refused, leaves no trace. It takes the place of what
    asked the same (query and source), whatever the fingerprint was. What then no cohort wants any more leaves,
    where removals are followed; else what has landed of it stays, and is wanted no more.

    Args:
        ledger: where to.
        name: of the cohort, for the reader.
        fingerprint: tells this plan from another.
        query: as JSON.
        source: whom it was asked of.
        profile: with which profile.
        planned_at: when.
        layout: of the destination.
        searched: the rows are a server's answer of now, which may be another than last time.
        rows: its series.
        missing: what was named and nobody has; read after the rows.
        following: how removals are followed; None: nothing is removed.
        beside: the folder of ours, relative to the destination, below which new revisions land.

    Raises SyncRefused where `following` would remove too much, or where nothing came at all.
    """
    with ledger.transaction():
        db = ledger._db  # noqa: SLF001 - a step of the ledger's own, in a module of its own
        same = departing.same_question(db, query, source, following=following is not None)
        note_former(db, same)
        (alone,) = db.execute("SELECT NOT EXISTS (SELECT 1 FROM series)").fetchone()
        cohort_id = _take_place(db, same, fingerprint)
        db.execute(
            "UPDATE cohort SET name = ?, query = ?, source = ?, profile = ?, planned_at = ? WHERE id = ?",
            (name, query, source, profile, planned_at, cohort_id),
        )
        db.execute("INSERT OR REPLACE INTO meta VALUES ('layout', ?)", (layout,))
        load_incoming(db, rows)
        (came,) = db.execute("SELECT EXISTS (SELECT 1 FROM incoming)").fetchone()
        if following is not None and not came:
            departing.refuse_nothing(db, name)
        # Only now: what is missing may become known while the rows come.
        named = json.dumps([(each.study, each.series, each.sop, each.reason) for each in missing])
        db.execute("UPDATE cohort SET missing = ? WHERE id = ?", (named, cohort_id))
        by_stem = ledger.names_by_stem()
        merged = merge_incoming(db, searched=searched, following=following is not None, by_stem=by_stem, beside=beside)
        want(db, cohort_id, alone=bool(alone))
        gone = let_go(db, following, by_stem=by_stem)
    return PlannedCohort(cohort_id, merged._replace(withdrawn=gone.series))


def same_question(ledger: Ledger, query: str, source: str) -> list[int]:
    """Return the cohorts that asked the same (a query as JSON, a source), to who follows it, oldest first."""
    with guard(ledger.path):
        return departing.same_question(ledger._db, query, source, following=True)  # noqa: SLF001 - as above


def refuse_nothing(ledger: Ledger, name: str, query: str, source: str) -> None:
    """Raise SyncRefused where something is here of a question to which the answer is nothing now."""
    with guard(ledger.path):
        db = ledger._db  # noqa: SLF001 - as above
        note_former(db, departing.same_question(db, query, source, following=True))
        departing.refuse_nothing(db, name)


def _take_place(db: sqlite3.Connection, same: list[int], fingerprint: str) -> int:
    """Return the one row of a cohort whose question `same` have asked before; the others go."""
    known = db.execute("SELECT id FROM cohort WHERE fingerprint = ?", (fingerprint,)).fetchone()
    if known is not None:
        cohort_id = int(known[0])
    elif same:
        cohort_id = same[0]
        db.execute("UPDATE cohort SET fingerprint = ? WHERE id = ?", (fingerprint, cohort_id))
    else:
        row = db.execute(
            "INSERT INTO cohort (name, fingerprint, query, source, planned_at, missing) "
            "VALUES ('', ?, '{}', '', '', '[]')",
            (fingerprint,),
        )
        cohort_id = int(row.lastrowid or 0)
    drop_cohorts(db, [each for each in same if each != cohort_id])
    return cohort_id
