"""A cohort's rows, merged into what a destination wants. Statements over whole tables, inside the caller's transaction.

A series that is there already stays as it is, unless more of it is wanted now, its count changed, or its revision is
another: then it is planned again. A new revision has other instances, so what the ledger knew of the old ones goes.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Final

from dicomhaul.errors import CohortError
from dicomhaul.model import Routing, Series
from dicomhaul.plan.order import weight

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
    """Put the rows of a cohort into temporary tables, a batch at a time."""
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


def _reroute(db: sqlite3.Connection) -> None:
    """Whoever asks last says by which routes what is here comes, should any of it be wanted.

    A few instances of a series that is wanted as a whole leave it its routes, where all of these are chosen now too.
    """
    (selected,) = db.execute("SELECT EXISTS (SELECT 1 FROM selected)").fetchone()
    both = "(SELECT study, series, max(whole) AS whole, route, prior, bucket FROM incoming GROUP BY series, study)"
    lost = (
        "EXISTS (SELECT value FROM json_each((SELECT names FROM route WHERE id = series.route)) "
        "EXCEPT SELECT value FROM json_each((SELECT names FROM route WHERE id = n.route)))"
    )
    db.execute(
        "UPDATE series SET prior = n.prior, bucket = coalesce(n.bucket, series.bucket), "  # noqa: S608 - our own words
        f"route = CASE WHEN n.whole OR NOT series.whole OR {lost} THEN n.route "
        f"ELSE series.route END FROM {both if selected else 'incoming'} n "
        "WHERE n.series = series.series AND n.study = series.study AND (series.route <> n.route "
        "OR series.prior <> n.prior OR (n.bucket IS NOT NULL AND n.bucket IS NOT series.bucket))"
    )


def merge_incoming(db: sqlite3.Connection, cohort_id: int, *, searched: bool) -> None:
    """Merge what `load_incoming` loaded into the series that are wanted here, and note them as the cohort's.

    Where a search (`searched`) states no count, a complete series may have grown since: it is planned again, cut, so
    that its inventory is asked for, and nothing is retrieved unless something is missing.
    """
    # 1. What is here already: only what the cohort changes. A revision that is another brings other instances.
    (populated,) = db.execute("SELECT EXISTS (SELECT 1 FROM series)").fetchone()
    if populated:
        db.execute(
            "CREATE TEMP TABLE changed AS SELECT s.id, n.revision, n.license, n.expected, n.size_bytes, "
            "max(n.whole) AS whole, n.weight, "
            "n.revision IS NOT NULL AND s.revision IS NOT NULL AND n.revision <> s.revision AS revised, "
            "s.whole AND NOT max(n.whole) AS partly, "
            "s.whole AND max(n.whole) AND n.expected IS NULL AND n.revision IS NULL AS unsure "
            "FROM incoming n JOIN series s ON s.series = n.series AND s.study = n.study "
            "WHERE n.whole > s.whole OR (n.revision IS NOT NULL AND n.revision IS NOT s.revision) "
            "OR (n.whole AND n.expected IS NOT NULL AND n.expected IS NOT s.expected) "
            "OR (:searched AND n.whole AND n.expected IS NULL AND n.revision IS NULL AND s.state = 1) GROUP BY s.id",
            {"searched": searched},
        )
        # Single instances that were wanted stay wanted: by name, whatever the revision.
        db.execute(
            "UPDATE instance SET state = 0, size_bytes = NULL, xxh3 = NULL, reason = NULL WHERE series_id IN "
            "(SELECT c.id FROM changed c JOIN series s ON s.id = c.id WHERE c.revised AND NOT s.whole AND NOT c.whole)"
        )
        db.execute(
            "DELETE FROM instance WHERE series_id IN "
            "(SELECT c.id FROM changed c JOIN series s ON s.id = c.id WHERE c.revised AND (s.whole OR c.whole))"
        )
        db.execute("DELETE FROM partial WHERE series_id IN (SELECT id FROM changed WHERE revised)")
        # What a selection states is not true of the whole series: of a revised one nobody knows the numbers.
        db.execute(
            "UPDATE series SET revision = coalesce(c.revision, series.revision), "
            "license = CASE WHEN c.revised THEN c.license ELSE series.license END, "
            "expected = CASE WHEN NOT c.partly THEN c.expected WHEN NOT c.revised THEN series.expected END, "
            "size_bytes = CASE WHEN NOT c.partly THEN coalesce(c.size_bytes, series.size_bytes) "
            "WHEN NOT c.revised THEN series.size_bytes END, "
            "weight = CASE WHEN c.partly THEN series.weight ELSE c.weight END, whole = max(series.whole, c.whole), "
            "cut = CASE WHEN c.unsure THEN 1 WHEN c.partly THEN series.cut ELSE 0 END, "
            "state = 0, proof = NULL, reason = NULL, came_by = NULL FROM changed c WHERE c.id = series.id"
        )
        _reroute(db)
        db.execute("INSERT OR REPLACE INTO meta SELECT 'index', 'stale' FROM changed WHERE revised LIMIT 1")
        db.execute("DROP TABLE temp.changed")
    # 2. What is new; a cohort that names a series twice wants it once.
    new = "NOT EXISTS (SELECT 1 FROM series s WHERE s.series = n.series AND s.study = n.study)"
    db.execute(
        "INSERT INTO series (study, series, collection, patient, modality, revision, bucket, license, expected, "  # noqa: S608 - our own words
        "size_bytes, folder, whole, weight, prior, route) "
        "SELECT study, series, collection, patient, modality, revision, bucket, license, expected, "
        "size_bytes, folder, max(whole), weight, prior, route "
        f"FROM incoming n WHERE {new if populated else 'true'} GROUP BY series, study"
    )
    # Indexes are built after the first load: half the time of keeping them up row by row.
    db.execute("CREATE UNIQUE INDEX IF NOT EXISTS series_uid ON series (series, study)")
    db.execute("CREATE INDEX IF NOT EXISTS series_todo ON series (route, weight) WHERE state = 0")
    # 3. Single instances; one that is new to a series that was complete opens it again.
    (selected,) = db.execute("SELECT EXISTS (SELECT 1 FROM selected)").fetchone()
    if selected:
        db.execute(
            "INSERT OR IGNORE INTO instance (series_id, sop, state) SELECT s.id, n.sop, 0 FROM selected n "
            "JOIN series s ON s.series = n.series AND s.study = n.study"
        )
        db.execute(
            "UPDATE series SET state = 0, proof = NULL, came_by = NULL WHERE whole AND state <> 0 AND "
            "(series, study) IN (SELECT series, study FROM selected) AND "
            "EXISTS (SELECT 1 FROM instance i WHERE i.series_id = series.id AND i.state = 0)"
        )
        db.execute(
            "UPDATE series SET expected = (SELECT count(*) FROM instance i WHERE i.series_id = series.id), "
            "state = CASE WHEN EXISTS (SELECT 1 FROM instance i WHERE i.series_id = series.id AND i.state = 0) "
            "THEN 0 ELSE state END WHERE NOT whole AND (series, study) IN (SELECT series, study FROM selected)"
        )
    shared = db.execute(
        "SELECT one.series FROM series one JOIN series other ON other.series = one.series AND other.id > one.id "
        "AND other.folder = one.folder COLLATE NOCASE WHERE one.series IN "
        "(SELECT series FROM series GROUP BY series HAVING count(*) > 1) LIMIT 1"
    ).fetchone()
    if shared is not None:
        raise CohortError(
            f"two studies hold the series {shared[0]}, and the layout gives both the same folder: "
            "name {StudyInstanceUID} in it"
        )
    db.execute("DELETE FROM member WHERE cohort_id = ?", (cohort_id,))
    # The first cohort of a destination has all of its series, and needs no join.
    rows = "incoming n JOIN series s ON s.series = n.series AND s.study = n.study" if populated else "series n"
    key = "s.id" if populated else "n.id"
    db.execute(
        f"INSERT OR IGNORE INTO member (cohort_id, series_id, expected) SELECT ?, {key}, n.expected FROM {rows}",  # noqa: S608 - our own words
        (cohort_id,),
    )
    db.execute("DROP TABLE temp.incoming")
    db.execute("DROP TABLE temp.selected")
