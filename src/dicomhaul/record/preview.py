"""What a sync would do, without doing it: the ledger is only read, and what is loaded lies in memory.

The same judgement as a sync's (`incoming`, `plan.difference`); the SQL reads the ledger beside a database of its own.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, Final

from dicomhaul.model import Series
from dicomhaul.plan.difference import REASONS, Action, Held, Wanted, judge
from dicomhaul.plan.estimate import Amount
from dicomhaul.plan.removal import refusal
from dicomhaul.record.departing import STANDING, Following, note_former, refuse_nothing, same_question
from dicomhaul.record.incoming import judge_incoming, load_incoming
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.opening import attach_uri
from dicomhaul.record.reader import guard

_UNKNOWN: Final = "NOT EXISTS (SELECT 1 FROM series s WHERE s.series = n.series AND s.study = n.study)"


@dataclass(frozen=True, slots=True)
class Step:
    """What would happen to one series.

    Attributes:
        action: in a word: add, restore, revise, grow, ask, move or withdraw.
        study: Study Instance UID.
        series: Series Instance UID.
        instances: that would come, or leave; None where nobody states it.
        size_bytes: their bytes, likewise.
        reason: why, in words.
    """

    action: str
    study: str
    series: str
    instances: int | None
    size_bytes: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Preview:
    """What a sync would do.

    Attributes:
        totals: by action.
        steps: the first ones; withdrawals before the others.
        refused: why it would not be done at all; None: it would be.
    """

    totals: dict[str, Amount]
    steps: tuple[Step, ...]
    refused: str | None = None


def foresee(
    ledger: Path | None,
    rows: Iterable[Series],
    *,
    name: str,
    query: str,
    source: str,
    searched: bool,
    following: Following,
    most: int,
) -> Preview:
    """Say what a sync would do.

    Args:
        ledger: of the destination; None: there is none.
        rows: the cohort as it is now.
        name: of the cohort, for the reader.
        query: what is asked, as JSON.
        source: whom.
        searched: `rows` are a server's answer of now.
        following: how removals are followed.
        most: so many steps are listed.

    Raises LedgerError; SyncRefused where nothing came and something is here.
    """
    schema = (resources.files("dicomhaul.record") / "schema.sql").read_text(encoding="utf-8")
    there = ledger if ledger is not None and Ledger.is_there(ledger) else None
    with guard(ledger or Path()), closing(sqlite3.connect(":memory:", isolation_level=None, uri=True)) as db:
        db.execute("PRAGMA temp_store=FILE")
        if there is None:
            db.executescript(schema)
        else:
            db.execute("CREATE TABLE route (id INTEGER PRIMARY KEY, first, names, reason, UNIQUE (names, reason))")
            db.execute("ATTACH ? AS there", (attach_uri(there),))
        same = same_question(db, query, source, following=True)
        note_former(db, same)
        load_incoming(db, rows)
        if not db.execute("SELECT EXISTS (SELECT 1 FROM incoming)").fetchone()[0]:
            refuse_nothing(db, name)
        judge_incoming(db, searched=searched, following=True)
        _find_orphans(db, same)
        found = _Found(most)
        refused = None if following.keep_withdrawn else _leaving(db, following, found)
        _coming(db, found)
    return Preview(found.totals, tuple(found.steps), refused)


class _Found:
    """Steps as they are found: all are added up, the first are kept."""

    def __init__(self, most: int) -> None:
        self.totals: dict[str, Amount] = {}
        self.steps: list[Step] = []
        self._most = most

    def add(self, action: Action, study: str, series: str, instances: int | None, size_bytes: int | None) -> None:
        name = action.name.lower()
        self.totals[name] = self.totals.get(name, Amount()).plus(Amount(1, instances, size_bytes))
        if len(self.steps) < self._most:
            self.steps.append(Step(name, study, series, instances, size_bytes, REASONS[action]))


def _find_orphans(db: sqlite3.Connection, same: list[int]) -> None:
    db.execute("CREATE INDEX temp.incoming_uid ON incoming (series, study)")
    marks = ", ".join("?" * len(same))
    db.execute(
        "CREATE TEMP TABLE orphan AS SELECT s.id FROM series s WHERE NOT EXISTS "  # noqa: S608 - our own words
        "(SELECT 1 FROM incoming n WHERE n.series = s.series AND n.study = s.study) AND NOT EXISTS "
        f"(SELECT 1 FROM cohort k CROSS JOIN member m ON m.cohort_id = k.id AND m.series_id = s.id "
        f"WHERE k.id NOT IN ({marks}))",
        same,
    )


def _leaving(db: sqlite3.Connection, following: Following, found: _Found) -> str | None:
    leaving, before = "SELECT id FROM orphan", "SELECT id FROM former UNION SELECT id FROM orphan"
    rows = db.execute(
        f"SELECT s.study, s.series, count(*), sum(t.size_bytes) FROM ({STANDING.format(leaving)}) t "  # noqa: S608 - our own words
        "JOIN series s ON s.id = t.id GROUP BY t.id"
    )
    removing = 0
    for study, series, instances, size_bytes in rows:
        found.add(Action.WITHDRAW, study, series, instances, size_bytes)
        removing += instances
    (present,) = db.execute(f"SELECT count(*) FROM ({STANDING.format(before)})").fetchone()  # noqa: S608 - likewise
    return refusal(removing, present, following.removal)


def _coming(db: sqlite3.Connection, found: _Found) -> None:
    fresh = db.execute(
        "SELECT n.study, n.series, n.expected, n.size_bytes, n.revision, "  # noqa: S608 - our own words
        "(SELECT max(coalesce(o.revision, '')) FROM outgoing o WHERE o.series = n.series AND o.study = n.study "
        f"AND o.after IS NULL AND o.lies IS NULL) FROM incoming n WHERE {_UNKNOWN} GROUP BY n.series, n.study"
    )
    for study, series, expected, size_bytes, revision, leaving in fresh:
        held = None if leaving is None else Held(leaving or None, leaving=True)
        found.add(judge(held, Wanted(revision, expected)), study, series, expected, size_bytes)
    for action, *what in db.execute("SELECT action, study, series, expected, size_bytes FROM changed ORDER BY action"):
        values: list[Any] = what
        found.add(Action(action), *values)
