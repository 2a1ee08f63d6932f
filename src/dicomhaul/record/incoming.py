"""A cohort's rows as they come from planning: loaded beside the ledger's own tables, and judged against them.

Nothing here changes what the ledger holds, but for the table `route`. What follows of it is `merge`.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from dicomhaul.land.folder import instance_file
from dicomhaul.model import Routing, Series
from dicomhaul.plan.difference import Action, Held, Wanted, judge
from dicomhaul.plan.order import weight
from dicomhaul.record.keys import unpack_stem

_BATCH: Final = 10_000
_NOBODY: Final = Routing((), "no source was chosen")


class Routes:
    """The rows of the table `route`: each distinct choice once."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self._ids: dict[Routing, int] = {}

    def id_of(self, routing: Routing) -> int:
        """Return the row of a choice, making it where it is new."""
        known = self._ids.get(routing)
        if known is not None:
            return known
        names, first = json.dumps(routing.routes), routing.routes[0] if routing.routes else ""
        self._db.execute(
            "INSERT OR IGNORE INTO route (first, names, reason) VALUES (?, ?, ?)", (first, names, routing.reason)
        )
        (route_id,) = self._db.execute(
            "SELECT id FROM route WHERE names = ? AND reason = ?", (names, routing.reason)
        ).fetchone()
        self._ids[routing] = int(route_id)
        return int(route_id)


def load_incoming(db: sqlite3.Connection, rows: Iterable[Series]) -> None:
    """Put the rows of a cohort into the temporary tables `incoming` and `selected`, a batch at a time."""
    db.execute("DROP TABLE IF EXISTS temp.incoming")
    db.execute("DROP TABLE IF EXISTS temp.selected")
    db.execute(
        "CREATE TEMP TABLE incoming (study, series, collection, patient, modality, revision, bucket, license, "
        "expected, size_bytes, folder, whole, weight, prior, route)"
    )
    db.execute("CREATE TEMP TABLE selected (study, series, sop)")
    selected: list[tuple[str, str, str]] = []
    routes = Routes(db)

    def values() -> Iterator[tuple[Any, ...]]:
        for row in rows:
            if row.instances is not None:
                selected.extend((row.study, row.series, sop) for sop in row.instances)
            route_id = routes.id_of(row.routing or _NOBODY)
            yield (*row[:11], row.instances is None, weight(row.expected, row.size_bytes), row.prior, route_id)

    batches = values()
    while batch := list(islice(batches, _BATCH)):
        db.executemany("INSERT INTO incoming VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)", batch)
        if selected:
            db.executemany("INSERT INTO selected VALUES (?, ?, ?)", selected)
            selected.clear()


def judge_incoming(db: sqlite3.Connection, *, searched: bool, following: bool) -> None:
    """Note in the temporary table `changed` what the cohort changes of the series that are held.

    A cohort that names a series twice, as a whole and by instances, wants it as a whole.
    """
    db.create_function("judge", 10, _judge, deterministic=True)
    said = "s.revision, s.expected, s.whole, s.state = 1, n.revision, n.expected, n.whole, :mode"
    where = (
        "coalesce((SELECT w.folder FROM swap w WHERE w.series_id = s.id), s.folder), "
        "CASE WHEN NOT n.prior THEN n.folder END"
    )
    db.execute("DROP TABLE IF EXISTS temp.changed")
    db.execute(
        "CREATE TEMP TABLE changed AS SELECT s.id, n.*, max(n.whole) AS any_whole, "  # noqa: S608 - our own words
        f"s.whole AND NOT max(n.whole) AS partly, judge({said}, {where}) AS action "
        "FROM incoming n JOIN series s ON s.series = n.series AND s.study = n.study "
        f"WHERE judge({said}, {where}) <> 0 GROUP BY s.id",
        {"mode": searched + 2 * following},
    )
    db.execute("CREATE UNIQUE INDEX temp.changed_id ON changed (id)")


def add_functions(db: sqlite3.Connection) -> None:
    """Teach SQL how an instance's file is called: `file_of(sop, stem)`, with the stem NULL where it names none."""
    db.create_function("file_of", 2, lambda sop, stem: instance_file(sop, unpack_stem(stem)), deterministic=True)


def _judge(  # noqa: PLR0917 - as SQL calls it
    revision: str | None,
    expected: int | None,
    whole: int,
    complete: int,
    new_revision: str | None,
    new_expected: int | None,
    new_whole: int,
    mode: int,
    folder: str,
    new_folder: str | None,
) -> int:
    same = revision == new_revision and expected == new_expected and new_folder in {None, folder}
    if same and whole and new_whole and expected is not None:
        return Action.KEEP  # nearly all of a million; the table says so, too
    held = Held(revision, expected, bool(whole), bool(complete), folder=folder)
    wanted = Wanted(new_revision, new_expected, bool(new_whole), new_folder)
    return int(judge(held, wanted, searched=bool(mode & 1), following=bool(mode & 2)))
