"""Several ledgers become one: what each was asked for, what landed, and what happened.

All in one transaction of the ledger that takes the others in, so that whoever reads it sees the old state or the new.
Files are brought by the caller before that transaction ends: land, then record. The other ledgers are only read.

* A series that only one ledger knows is copied as it is; of one that several know, `copies.combine` makes one.
* Cohorts that are the same (fingerprint) become one, and so do the N shards of one query, once all of them are there.
* What was united is noted in `meta`, so that doing it again adds no run and no byte of a quota twice.
"""

import json
import sqlite3
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Final, NamedTuple

from dicomhaul.errors import ConfigError
from dicomhaul.model import Routing
from dicomhaul.record.asked import Fingerprint, History, join_shards, take_cohorts, take_history
from dicomhaul.record.copies import Copy, combine
from dicomhaul.record.departing import want_again
from dicomhaul.record.incoming import Routes
from dicomhaul.record.keys import unpack_stem
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.merge import build_indexes
from dicomhaul.record.reader import guard
from dicomhaul.record.rows import insert_rows, named_rows

_AGREED: Final = {"layout": "layouts", "name_by": "ways to name files"}  # in `meta`: two trees that differ stay two
_DEFAULT: Final = {"layout": "", "name_by": "sop"}
_SHOWN: Final = 3
_BATCH: Final = 10_000
_NEVER: Final = ""  # before every time


class Other(NamedTuple):
    """A ledger to be taken in. `one_tree`: its files lie in the same tree as those of the ledger that takes it in."""

    path: Path
    name: str  # for messages
    one_tree: bool


class Taken(NamedTuple):
    """A landed instance that another ledger brings: where its file lies, and where it belongs."""

    there: str  # folder below the other's destination
    series_id: int
    folder: str
    sop: str
    stem: str | None  # unpacked; what names the file in a destination that names by it
    size_bytes: int
    xxh3: bytes
    checked: int


class Begun(NamedTuple):
    """The beginning of a large object that another ledger's staging holds."""

    name: str
    offset: int


# Brings files of one of the others (by position); yields (series id, SOP Instance UID) of those that are not there.
Bring = Callable[[int, Iterable[Taken]], Iterable[tuple[int, str]]]
# Brings what is begun of an object, and returns its name in our staging; None: it is not there.
Carry = Callable[[int, Begun], str | None]


@dataclass(slots=True)
class United:
    """What came of it.

    Attributes:
        ledgers: how many were taken in.
        series: how many were new to the ledger.
        contested: Series Instance UIDs of which the ledgers disagreed, each once.
        lost: instances whose files were not there; they are wanted again.
        unfinished: in sentences, what keeps shards that are all there from having become one cohort.
    """

    ledgers: int = 0
    series: int = 0
    contested: list[str] = field(default_factory=list)
    lost: int = 0
    unfinished: list[str] = field(default_factory=list)


def unite(ledger: Ledger, others: Sequence[Other], *, bring: Bring, carry: Carry, fingerprint: Fingerprint) -> United:
    """Take other ledgers, to which nobody is writing, into `ledger`. Raises ConfigError, LandingError, LedgerError."""
    united = United()
    agreed = _agree(ledger, others)
    db = ledger._db  # noqa: SLF001 - a step of the ledger's own, in a module of its own
    # 1. What the ledger vouches for and another file will replace is not vouched for any more.
    with ledger.transaction():
        build_indexes(db)
        for other in others:
            with _reading(other) as source:
                united.contested += _clear_way(db, source._db, other)  # noqa: SLF001 - likewise
    # 2. All the rest.
    with ledger.transaction():
        runs: list[History] = []
        db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", agreed.items())
        for number, other in enumerate(others):
            with _reading(other) as source:
                step = _Step(db, source._db, other, united)  # noqa: SLF001 - likewise
                step.take_series()
                united.lost += _want(db, bring(number, step.taken()), "its file was not there")
                step.take_partials(partial(carry, number))
                take_cohorts(db, step.db, step.ours)
                runs += take_history(db, step.db)
            united.ledgers += 1
        for each in sorted(runs, key=lambda each: str(each.run[1])):
            each.put(db)
        want_again(db)
        united.unfinished = join_shards(db, fingerprint)
        # What came from elsewhere may be older than where a feed was read to: all is to be compared once.
        db.execute("DELETE FROM cursor")
        db.execute("DELETE FROM version")
        db.execute("INSERT OR REPLACE INTO meta VALUES ('index', 'stale')")
    united.contested = sorted(set(united.contested))
    return united


@contextmanager
def _reading(other: Other) -> Iterator[Ledger]:
    with closing(Ledger.open(other.path, read_only=True)) as source, guard(other.path):
        yield source


def _agree(ledger: Ledger, others: Sequence[Other]) -> dict[str, str]:
    """Return what all of them have in `meta`. Raises ConfigError where they differ."""
    agreed: dict[str, str] = {}
    for key, what in _AGREED.items():
        there = {"the destination": ledger.meta(key)} if ledger.cohorts() else {}
        for other in others:
            with _reading(other) as source:
                if source.cohorts():
                    there[other.name] = source.meta(key)
        values = {name: value or _DEFAULT[key] for name, value in there.items()}
        if len(set(values.values())) > 1:
            said = "; ".join(f"{name}: {value}" for name, value in list(values.items())[:_SHOWN])
            raise ConfigError(f"these cannot become one destination, for their {what} differ ({said})")
        for value in values.values():
            agreed[key] = value
    return agreed


def _clear_way(db: sqlite3.Connection, source: sqlite3.Connection, other: Other) -> list[str]:
    """Want those instances again of which another ledger's file will take the place of ours; return their series."""
    cleared: list[str] = []
    if other.one_tree:
        return cleared
    for theirs, study, series in source.execute("SELECT id, study, series FROM series ORDER BY id"):
        ours = _find(db, study, series)
        if ours is not None and _contents(db, ours) != _contents(source, theirs):
            replaced = combine(_copy(db, ours), _copy(source, theirs), one_tree=False).replaced
            if _want(db, ((ours, sop) for sop in replaced), "another destination has it with other bytes"):
                cleared.append(series)
    return cleared


def _find(db: sqlite3.Connection, study: str, series: str) -> int | None:
    row = db.execute("SELECT id FROM series WHERE series = ? AND study = ?", (series, study)).fetchone()
    return None if row is None else int(row[0])


def _contents(db: sqlite3.Connection, series_id: int) -> tuple[Any, ...]:
    """What a ledger says of a series, as far as it matters here: two that say the same need not be combined."""
    row = db.execute(
        "SELECT revision, folder, expected, size_bytes, whole, cut, state FROM series WHERE id = ?", (series_id,)
    ).fetchone()
    instances = db.execute(
        "SELECT sop, xxh3, state, checked FROM instance WHERE series_id = ? ORDER BY sop", (series_id,)
    ).fetchall()
    return row, instances


def _copy(db: sqlite3.Connection, series_id: int) -> Copy:
    (row,) = named_rows(db, "SELECT * FROM series WHERE id = ?", series_id)
    instances = {each["sop"]: each for each in named_rows(db, "SELECT * FROM instance WHERE series_id = ?", series_id)}
    for each in instances.values():
        del each["series_id"]
    (asked_at,) = db.execute(
        # In this order: `member` can be looked up by cohort and series, not by series alone.
        "SELECT max(planned_at) FROM cohort c CROSS JOIN member m ON m.cohort_id = c.id AND m.series_id = ?",
        (series_id,),
    ).fetchone()
    return Copy(row, instances, asked_at or _NEVER)


def _want(db: sqlite3.Connection, lost: Iterable[tuple[int, str]], reason: str) -> int:
    """Want these instances again, and their series; return how many."""
    count = 0
    for series_id, sop in lost:
        db.execute(
            "UPDATE instance SET state = 0, reason = ?, size_bytes = NULL, xxh3 = NULL, checked = 0 "
            "WHERE series_id = ? AND sop = ?",
            (reason, series_id, sop),
        )
        db.execute("UPDATE series SET state = 0, proof = NULL, came_by = NULL WHERE id = ?", (series_id,))
        count += 1
    return count


class _Step:
    """One other ledger, being taken in. `ours`: their series' id -> ours."""

    def __init__(self, ours: sqlite3.Connection, theirs: sqlite3.Connection, other: Other, united: United) -> None:
        self._db = ours
        self.db = theirs
        self._other = other
        self._united = united
        (most,) = theirs.execute("SELECT coalesce(max(id), 0) FROM series").fetchone()
        self.ours = array("q", bytes(8 * (most + 1)))
        self._fresh = bytearray(most + 1)  # their series' id -> 1 where we had none
        self._combined: list[tuple[int, str, frozenset[str]]] = []  # ours, their folder, whose files are theirs

    def take_series(self) -> None:
        """Take in series and instances."""
        (first,) = self._db.execute("SELECT coalesce(max(id), 0) + 1 FROM series").fetchone()
        routes = Routes(self._db)
        theirs = {
            key: routes.id_of(Routing(tuple(json.loads(names)), reason))
            for key, names, reason in self.db.execute("SELECT id, names, reason FROM route")
        }
        cursor = self.db.execute("SELECT * FROM series ORDER BY id")
        names = [column[0] for column in cursor.description]
        at = {name: place for place, name in enumerate(names)}
        shared: list[int] = []
        while batch := cursor.fetchmany(_BATCH):
            fresh: list[list[Any]] = []
            for values in batch:
                row, key = list(values), values[at["id"]]
                ours = _find(self._db, row[at["study"]], row[at["series"]])
                if ours is None:
                    ours, first = first, first + 1
                    self._fresh[key] = 1
                    row[at["id"]], row[at["route"]] = ours, theirs[row[at["route"]]]
                    fresh.append(row)
                else:
                    shared.append(key)
                self.ours[key] = ours
            insert_rows(self._db, "series", names, fresh)
            self._united.series += len(fresh)
        self._instances()
        for key in shared:
            self._combine(key, theirs)

    def _instances(self) -> None:
        cursor = self.db.execute("SELECT * FROM instance ORDER BY series_id, sop")
        names = [column[0] for column in cursor.description]
        at = names.index("series_id")
        ours, fresh = self.ours, self._fresh
        rows = ((*row[:at], ours[row[at]], *row[at + 1 :]) for row in cursor if fresh[row[at]])
        insert_rows(self._db, "instance", names, rows)

    def _combine(self, key: int, routes: dict[int, int]) -> None:
        series_id = self.ours[key]
        if _contents(self._db, series_id) == _contents(self.db, key):
            return  # as it mostly is, when it is done again
        ours, theirs = _copy(self._db, series_id), _copy(self.db, key)
        theirs = replace(theirs, row={**theirs.row, "route": routes[theirs.row["route"]]})
        made = combine(ours, theirs, one_tree=self._other.one_tree and ours.row["folder"] == theirs.row["folder"])
        if made.contested:
            self._united.contested.append(str(made.row["series"]))
        if made.row != ours.row:
            changes = ", ".join(f"{name} = ?" for name in made.row)
            self._db.execute(f"UPDATE series SET {changes} WHERE id = ?", (*made.row.values(), series_id))  # noqa: S608 - the schema's words
        if made.instances != ours.instances:
            self._db.execute("DELETE FROM instance WHERE series_id = ?", (series_id,))
            for row in made.instances.values():
                insert_rows(self._db, "instance", ["series_id", *row], [[series_id, *row.values()]])
        if made.taken:
            self._combined.append((series_id, str(theirs.row["folder"]), made.taken))

    def taken(self) -> Iterator[Taken]:
        """Yield what has to be brought: landed instances whose file does not lie in its place already."""
        columns = "i.series_id, s.folder, i.sop, i.stem, i.size_bytes, i.xxh3, i.checked"
        if not self._other.one_tree:
            for key, folder, sop, stem, *rest in self.db.execute(
                f"SELECT {columns} FROM instance i JOIN series s ON s.id = i.series_id WHERE i.state = 1 "  # noqa: S608 - our own words
                "ORDER BY i.series_id, i.sop"
            ):
                if self._fresh[key]:
                    yield Taken(folder, self.ours[key], folder, sop, unpack_stem(stem), *rest)
        for series_id, there, sops in self._combined:
            rows = self._db.execute(
                f"SELECT {columns} FROM instance i JOIN series s ON s.id = i.series_id "  # noqa: S608 - our own words
                "WHERE i.series_id = ? AND i.state = 1",
                (series_id,),
            ).fetchall()
            for _, folder, sop, stem, *rest in rows:
                if sop in sops and not (self._other.one_tree and folder == there):
                    yield Taken(there, series_id, folder, sop, unpack_stem(stem), *rest)

    def take_partials(self, carry: Callable[[Begun], str | None]) -> None:
        """Take in the beginnings of large objects that are still to come."""
        for row in named_rows(self.db, "SELECT * FROM partial"):
            series_id = self.ours[row["series_id"]]
            (wanted,) = self._db.execute(
                "SELECT EXISTS (SELECT 1 FROM series WHERE id = :id AND state <> 1) AND NOT EXISTS "
                "(SELECT 1 FROM partial WHERE series_id = :id AND stem = :stem AND offset >= :offset)",
                {"id": series_id, "stem": row["stem"], "offset": row["offset"]},
            ).fetchone()
            name = carry(Begun(row["name"], row["offset"])) if wanted else None
            if name is not None:
                values = {**row, "series_id": series_id, "name": name}
                self._db.execute("DELETE FROM partial WHERE series_id = ? AND stem = ?", (series_id, row["stem"]))
                insert_rows(self._db, "partial", values, [values.values()])
