"""A cohort's rows, merged into what a destination wants. Statements over whole tables, inside the caller's transaction.

A series that is there already stays as it is, unless `plan.difference` says otherwise. Of a revised one, what landed
stays in the tree until the new revision is complete: that lands in a folder of ours (`swap`), and the old files are
noted as `outgoing` after it. What no cohort wants any more is `departing`'s.
"""

import sqlite3
from typing import Final

from dicomhaul.errors import CohortError
from dicomhaul.plan.difference import Action, Difference
from dicomhaul.record.departing import send_away, take_back
from dicomhaul.record.incoming import add_functions, judge_incoming

REPLACED: Final = "another revision took its place"
_OURS: Final = "lower(hex(randomblob(16)))"  # a name that nobody else uses


def merge_incoming(
    db: sqlite3.Connection, *, searched: bool, following: bool, by_stem: bool, beside: str
) -> Difference:
    """Merge what `load_incoming` loaded into the series that are wanted here; return what came of it.

    Args:
        db: the ledger's.
        searched: where a search states no count, a complete series may have grown since: its inventory is asked for.
        following: what the source has no more is removed, too.
        by_stem: files are named by their objects.
        beside: the folder of ours, relative to the destination, below which new revisions land.
    """
    add_functions(db)
    revisions = 0
    # 1. What is here already: only what the cohort changes. A revision that is another brings other instances.
    (populated,) = db.execute("SELECT EXISTS (SELECT 1 FROM series)").fetchone()
    if populated:
        judge_incoming(db, searched=searched, following=following)
        if following:
            _describe(db)
            _file_elsewhere(db)  # before the table is about series that are planned again
        revised = f"(SELECT id FROM changed WHERE action = {Action.REVISE:d})"  # noqa: S608 - our own words
        _set_aside(db, revised, by_stem=by_stem, beside=beside)
        # Single instances that were wanted stay wanted: by name, whatever the revision.
        db.execute(
            "UPDATE instance SET state = 0, size_bytes = NULL, xxh3 = NULL, reason = NULL WHERE series_id IN "  # noqa: S608 - our own words
            f"(SELECT c.id FROM changed c JOIN series s ON s.id = c.id WHERE c.id IN {revised} "
            "AND NOT s.whole AND NOT c.any_whole)"
        )
        db.execute(
            "DELETE FROM instance WHERE series_id IN "  # noqa: S608 - our own words
            f"(SELECT c.id FROM changed c JOIN series s ON s.id = c.id WHERE c.id IN {revised} "
            "AND (s.whole OR c.any_whole))"
        )
        db.execute(f"DELETE FROM partial WHERE series_id IN {revised}")  # noqa: S608 - our own words
        db.execute(f"DELETE FROM version WHERE series_id IN {revised}")  # noqa: S608 - our own words
        _update(db)
        _reroute(db)
        _bring_back(db, following=following)
        (revisions,) = db.execute("SELECT count(*) FROM changed WHERE action = ?", (Action.REVISE,)).fetchone()
        db.execute("DROP TABLE temp.changed")
    # 2. What is new; a cohort that names a series twice wants it once.
    new = "NOT EXISTS (SELECT 1 FROM series s WHERE s.series = n.series AND s.study = n.study)"
    added = db.execute(
        "INSERT INTO series (study, series, collection, patient, modality, revision, bucket, license, expected, "  # noqa: S608 - our own words
        "size_bytes, folder, whole, weight, prior, route) "
        "SELECT study, series, collection, patient, modality, revision, bucket, license, expected, "
        "size_bytes, folder, max(whole), weight, prior, route "
        f"FROM incoming n WHERE {new if populated else 'true'} GROUP BY series, study"
    ).rowcount
    build_indexes(db)  # after the first load: half the time of keeping them up row by row
    _catch(db, beside, following=following)
    # 3. Single instances; one that is new to a series that was complete opens it again.
    (selected,) = db.execute("SELECT EXISTS (SELECT 1 FROM selected)").fetchone()
    if selected:
        _select(db)
    _refuse_one_folder(db)
    return Difference(added=added, revised=int(revisions))


def build_indexes(db: sqlite3.Connection) -> None:
    """Build the indexes that a ledger has once there are series."""
    db.execute("CREATE UNIQUE INDEX IF NOT EXISTS series_uid ON series (series, study)")
    db.execute("CREATE INDEX IF NOT EXISTS series_todo ON series (route, weight) WHERE state = 0")
    db.execute("CREATE INDEX IF NOT EXISTS series_failed ON series (id) WHERE state = 2")
    db.execute("CREATE INDEX IF NOT EXISTS series_kept ON series (id) WHERE kept")


def want(db: sqlite3.Connection, cohort_id: int, *, alone: bool) -> None:
    """Note the series that came as the cohort's, instead of those it wanted before; drop what was loaded.

    `alone`: all series that there are are this cohort's, which needs no join.
    """
    db.execute("DELETE FROM member WHERE cohort_id = ?", (cohort_id,))
    joined = "s.id, n.expected FROM incoming n JOIN series s ON s.series = n.series AND s.study = n.study"
    rows = "id, expected FROM series" if alone else joined
    db.execute(f"INSERT OR IGNORE INTO member (cohort_id, series_id, expected) SELECT ?, {rows}", (cohort_id,))
    db.execute("DROP TABLE temp.incoming")
    db.execute("DROP TABLE temp.selected")


def _describe(db: sqlite3.Connection) -> None:
    """What a mirror says of a revision that it holds is what its source says of it now."""
    names = ("collection", "patient", "modality", "license")
    db.execute(
        f"UPDATE series SET {', '.join(f'{name} = coalesce(n.{name}, series.{name})' for name in names)} "  # noqa: S608 - our own words
        "FROM incoming n WHERE n.series = series.series AND n.study = series.study AND n.revision = series.revision "
        f"AND ({' OR '.join(f'(n.{name} IS NOT NULL AND n.{name} IS NOT series.{name})' for name in names)})"
    )
    (changed,) = db.execute("SELECT changes()").fetchone()
    if changed:
        db.execute("INSERT OR REPLACE INTO meta VALUES ('index', 'stale')")


def _file_elsewhere(db: sqlite3.Connection) -> None:
    """Let series that belong into another folder go there, as a new revision takes its place."""
    moved = f"(SELECT id, folder FROM changed WHERE action = {Action.MOVE:d})"  # noqa: S608 - our own words
    db.execute(f"UPDATE swap SET folder = m.folder, inode = NULL FROM {moved} m WHERE m.id = swap.series_id")  # noqa: S608 - our own words
    db.execute(
        f"INSERT OR IGNORE INTO swap (series_id, folder) SELECT m.id, m.folder FROM {moved} m "  # noqa: S608 - our own words
        "WHERE EXISTS (SELECT 1 FROM instance i WHERE i.series_id = m.id AND (i.state = 1 OR i.xxh3 IS NOT NULL))"
    )
    db.execute(
        f"UPDATE series SET folder = m.folder FROM {moved} m WHERE m.id = series.id "  # noqa: S608 - our own words
        "AND series.id NOT IN (SELECT series_id FROM swap)"
    )
    db.execute("DELETE FROM changed WHERE action = ?", (Action.MOVE,))


def _set_aside(db: sqlite3.Connection, revised: str, *, by_stem: bool, beside: str) -> None:
    """Note the files of revised series as outgoing, and let the new revision land beside them."""
    fresh = f"s.id IN {revised} AND s.id NOT IN (SELECT series_id FROM swap)"  # noqa: S608 - our own words
    send_away(db, fresh, REPLACED, by_stem=by_stem, after=True)
    db.execute(
        "INSERT INTO swap (series_id, folder) SELECT s.id, s.folder FROM series s "  # noqa: S608 - our own words
        f"WHERE {fresh} AND EXISTS (SELECT 1 FROM instance i WHERE i.series_id = s.id AND i.state = 1)"
    )
    # One that is revised again before it was complete begins again: what is in its folder is swept.
    db.execute(
        "UPDATE swap SET folder = c.folder, inode = NULL FROM changed c "  # noqa: S608 - our own words
        f"WHERE c.id = swap.series_id AND c.id IN {revised} AND c.folder <> ''"
    )
    db.execute(
        f"UPDATE series SET folder = CASE WHEN id IN (SELECT series_id FROM swap) THEN ? || {_OURS} "  # noqa: S608 - our own words
        f"ELSE coalesce((SELECT nullif(c.folder, '') FROM changed c WHERE c.id = series.id), folder) END "
        f"WHERE id IN {revised}",
        (beside,),
    )


def _update(db: sqlite3.Connection) -> None:
    """Plan what changed again. What a selection states is not true of the whole series: of a revised one nobody knows
    the numbers.
    """
    revise, ask = f"(c.action = {Action.REVISE:d})", f"(c.action = {Action.ASK:d})"
    described = ", ".join(
        f"{name} = CASE WHEN {revise} THEN coalesce(c.{name}, series.{name}) ELSE series.{name} END"
        for name in ("collection", "patient", "modality")
    )
    db.execute(
        f"UPDATE series SET {described}, revision = coalesce(c.revision, series.revision), "  # noqa: S608 - our own words
        f"license = CASE WHEN {revise} THEN c.license ELSE series.license END, "
        f"expected = CASE WHEN {ask} THEN NULL WHEN NOT c.partly THEN c.expected "
        f"WHEN NOT {revise} THEN series.expected END, "
        "size_bytes = CASE WHEN NOT c.partly THEN coalesce(c.size_bytes, series.size_bytes) "
        f"WHEN NOT {revise} THEN series.size_bytes END, "
        "weight = CASE WHEN c.partly THEN series.weight ELSE c.weight END, whole = max(series.whole, c.any_whole), "
        f"cut = CASE WHEN {ask} THEN 1 WHEN c.partly THEN series.cut ELSE 0 END, "
        "state = 0, proof = NULL, reason = NULL, came_by = NULL FROM changed c WHERE c.id = series.id"
    )
    db.execute(
        f"INSERT OR REPLACE INTO meta SELECT 'index', 'stale' FROM changed WHERE action = {Action.REVISE:d} LIMIT 1"  # noqa: S608 - our own words
    )


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


def _bring_back(db: sqlite3.Connection, *, following: bool) -> None:
    """The revision that still lies in the tree is wanted again: what came of the other one is not wanted any more.

    `following`: it moves, should it belong elsewhere by now.
    """
    db.execute(
        "CREATE TEMP TABLE back AS SELECT DISTINCT s.id FROM changed c JOIN series s ON s.id = c.id "  # noqa: S608 - our own words
        f"JOIN outgoing o ON o.after = s.id WHERE c.action = {Action.REVISE:d} AND s.whole AND o.revision = s.revision"
    )
    take_back(db, "SELECT id FROM back")
    if following:
        db.execute(
            "INSERT INTO swap (series_id, folder) SELECT s.id, c.folder FROM back JOIN changed c USING (id) "
            "JOIN series s USING (id) WHERE s.folder <> c.folder AND NOT c.prior"
        )
    db.execute("DROP TABLE temp.back")


def _catch(db: sqlite3.Connection, beside: str, *, following: bool) -> None:
    """What is wanted again before its files have left is restored; of another revision, it comes beside them.

    `following`: what is restored moves, should it belong elsewhere by now.
    """
    (leaving,) = db.execute("SELECT EXISTS (SELECT 1 FROM outgoing WHERE after IS NULL)").fetchone()
    if not leaving:
        return
    db.execute(
        "CREATE TEMP TABLE caught AS SELECT s.id, o.folder, max(o.revision IS s.revision) AS same FROM outgoing o "
        "JOIN series s ON s.series = o.series AND s.study = o.study WHERE o.after IS NULL AND o.lies IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM instance i WHERE i.series_id = s.id) AND s.state = 0 GROUP BY s.id"
    )
    theirs = (
        "o.after IS NULL AND o.lies IS NULL AND EXISTS (SELECT 1 FROM caught c JOIN series s ON s.id = c.id "
        "WHERE s.series = o.series AND s.study = o.study AND c.same = ?)"
    )
    own = "(SELECT s.id FROM series s WHERE s.series = o.series AND s.study = o.study)"
    db.execute(
        "INSERT INTO instance (series_id, sop, size_bytes, xxh3, state, checked, stem) "  # noqa: S608 - our own words
        f"SELECT {own}, sop, size_bytes, xxh3, 1, checked, stem FROM outgoing o WHERE {theirs}",
        (1,),
    )
    db.execute(f"DELETE FROM outgoing AS o WHERE {theirs}", (1,))  # noqa: S608 - our own words
    db.execute(f"UPDATE outgoing AS o SET after = {own} WHERE {theirs}", (0,))  # noqa: S608 - our own words
    db.execute(
        "INSERT INTO swap (series_id, folder) SELECT s.id, s.folder FROM caught c JOIN series s USING (id) "
        "WHERE NOT same OR (? AND s.revision IS NOT NULL AND s.folder <> c.folder AND NOT s.prior)",
        (following,),
    )
    db.execute(
        f"UPDATE series SET folder = CASE WHEN c.same THEN c.folder ELSE ? || {_OURS} END, "  # noqa: S608 - our own words
        "cut = c.same AND series.revision IS NULL, "
        "expected = CASE WHEN c.same AND series.revision IS NULL THEN NULL ELSE expected END "
        "FROM caught c WHERE c.id = series.id",
        (beside,),
    )
    db.execute("DROP TABLE temp.caught")


def _select(db: sqlite3.Connection) -> None:
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


def _refuse_one_folder(db: sqlite3.Connection) -> None:
    place = "coalesce((SELECT folder FROM swap WHERE series_id = {0}.id), {0}.folder)"
    shared = db.execute(
        "SELECT one.series FROM series one JOIN series other ON other.series = one.series AND other.id > one.id "  # noqa: S608 - our own words
        f"AND {place.format('other')} = {place.format('one')} COLLATE NOCASE WHERE one.series IN "
        "(SELECT series FROM series GROUP BY series HAVING count(*) > 1) LIMIT 1"
    ).fetchone()
    if shared is not None:
        raise CohortError(
            f"two studies hold the series {shared[0]}, and the layout gives both the same folder: "
            "name {StudyInstanceUID} in it"
        )
