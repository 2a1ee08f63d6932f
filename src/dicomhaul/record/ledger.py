"""The ledger: one SQLite file beside the data it describes. Synchronous; one thread at a time.

Rules: bulk work stands inside one transaction; what is committed outlasts a power cut; WAL, except on network
filesystems, where its shared memory does not work (the caller says so). Every sqlite3 error leaves as LedgerError.
"""

import json
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from dicomhaul.errors import LedgerError
from dicomhaul.model import End, Partial, Proof, Receipt, Routing, Work
from dicomhaul.record.departing import send_away
from dicomhaul.record.incoming import Routes
from dicomhaul.record.keys import pack_stem
from dicomhaul.record.opening import check_kind, connect, create, is_blank, keep_private, refuse_links
from dicomhaul.record.outbox import Outbox, capture
from dicomhaul.record.reader import LedgerReader, guard, work_from
from dicomhaul.record.samples import Rhythm, beat
from dicomhaul.record.states import Move

_CHECKED_BYTES: Final = 256 << 20  # two million instances: in 1 s
_CONTRADICTIONS: Final = (  # each finds a row where a table lacks what another one says it holds
    "PRAGMA foreign_key_check(member)",
    "PRAGMA foreign_key_check(series)",
    "SELECT 1 FROM series WHERE NOT kept AND NOT EXISTS (SELECT 1 FROM member) LIMIT 1",
    (
        "SELECT 1 FROM series s WHERE state = 1 AND expected IS NOT 0 AND NOT EXISTS "
        "(SELECT 1 FROM instance i WHERE i.series_id = s.id AND i.state = 1) LIMIT 1"
    ),
)
_MEMBER: Final = "(SELECT 1 FROM member WHERE cohort_id = ? AND series_id = s.id)"
_REROUTED: Final = 10_000  # series in memory at a time
_UNDONE: Final = (("series_todo", 0), ("series_failed", 2))  # the index that finds the series in a state


class Ledger(LedgerReader):
    """An open ledger."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        super().__init__(connection, path)
        self._leasing = 0
        self._following = False
        self._completed: list[int] = []  # since somebody asked
        self._bounds: dict[tuple[int, End], tuple[int, int]] = {}
        self._routes: dict[str, list[int]] = {}  # first route -> ids of the choices that begin with it
        self._run = (0, 0.0)  # id, and when it began by the monotonic clock; 0: none did
        self._rhythm = Rhythm()
        self._came = (0, 0)  # instances and bytes since then
        self._outbox: Outbox | None = None  # of a ledger that is audited

    @classmethod
    def open(cls, path: Path, *, wal: bool = True, read_only: bool = False) -> "Ledger":
        """Open the ledger at `path`, creating it unless `read_only`.

        Raises:
            LedgerError: it is missing (`read_only`), damaged, not a ledger, or of another version.
        """
        try:
            refuse_links(path)
            if read_only and not path.is_file():
                raise LedgerError(f"there is no ledger at {path}; nothing was pulled here")
            if not read_only:
                keep_private(path)
        except OSError as error:
            raise LedgerError(f"the ledger {path} cannot be used: {error.strerror}") from error
        with guard(path):
            db = connect(path, read_only=read_only)
            try:
                db.execute("PRAGMA temp_store=FILE")
                db.execute("PRAGMA cache_size=-8192")
                # A file of some bytes may be new, too: a process that died here had switched it to WAL and no more.
                blank = not read_only and is_blank(db)
                if not blank:
                    check_kind(db, path)  # before anything is written: it may be somebody else's
                if not read_only:
                    db.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
                    # EXTRA: a rollback journal that is gone stays gone, and with it what was committed.
                    db.execute(f"PRAGMA synchronous={'FULL' if wal else 'EXTRA'}")
                    db.execute("PRAGMA foreign_keys=OFF")  # kept by construction; checking costs a lookup a row
                if blank:
                    create(db)
            except BaseException:
                db.close()
                raise
            return cls(db, path)

    @classmethod
    def is_there(cls, path: Path) -> bool:
        """Say whether there is a ledger at `path`. A file that a process has made, and died, is none.

        Raises LedgerError where that cannot be told.
        """
        if not path.is_file():
            return False
        with guard(path), closing(connect(path, read_only=True)) as db:
            return not is_blank(db)

    def close(self) -> None:
        """Close the file. A WAL is merged into it."""
        outbox, self._outbox = self._outbox, None
        try:
            if outbox is not None:
                with (
                    suppress(LedgerError),
                    self.transaction(),
                ):  # else the log is read again from where it is remembered
                    outbox.acknowledge(last=True)
        finally:
            if outbox is not None:
                outbox.close()
            with guard(self.path):
                self._db.close()

    def audit(self, log: Path, by: Mapping[str, Any]) -> None:
        """From now on an audit log is told what becomes of what is here; first what it has missed.

        Args:
            log: the file, which is made where it is not there.
            by: who is at work, in the words of the log.

        Raises AuditError, from here on after each transaction, where the log cannot be written.
        """
        with guard(self.path):
            self._outbox = Outbox(self._db, log, by)
            self._outbox.append()

    def capture(self) -> None:
        """From now on what is done here is written to the outbox of the audit log, which another process empties."""
        with guard(self.path):
            capture(self._db)

    def tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """Tell the audit log something that no table holds; nothing where there is no log. Raises AuditError."""
        if self._outbox is not None:
            with self.transaction():
                self._outbox.tell(event, facts)

    def tell_removed(self, outgoing: Iterable[int]) -> None:
        """Tell the audit log, where there is one, that these rows of `outgoing` have left; in a transaction."""
        if self._outbox is not None:
            self._outbox.tell_removed(outgoing)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing. What holds is then told to the audit log, where there is one: raises AuditError, too."""
        with guard(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                if self._outbox is not None:
                    self._outbox.acknowledge()
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk makes SQLite roll back by itself
                    self._db.execute("ROLLBACK")
                raise
            if self._outbox is not None:
                self._outbox.append()

    def check(self) -> None:
        """Read the whole file, up to a size, and hold its tables against each other. Raises LedgerError for a damage.

        A page that was lost and reads as zeros, or as another one, makes no query fail: they would just find less.
        """
        with guard(self.path):
            pages, page_bytes = (
                self._db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "page_size")
            )
            if pages * page_bytes > _CHECKED_BYTES:
                return
            (result,) = self._db.execute("PRAGMA integrity_check(1)").fetchone()
            if result == "ok" and any(self._db.execute(question).fetchone() for question in _CONTRADICTIONS):
                result = "some of what it recorded is gone"
        if result != "ok":
            raise LedgerError(f"the ledger {self.path} is damaged: {str(result).splitlines()[-1]}")

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of the table `meta`."""
        with guard(self.path):
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def retry_failed(self, cohort_id: int) -> None:
        """FAILED becomes PLANNED again: every new run tries what an earlier one could not get."""
        # Found by an index: a million series that have landed are not looked at.
        with self.transaction():
            for index, state in _UNDONE:
                self._db.execute(
                    "UPDATE instance SET state = 0, reason = NULL WHERE state = 2 AND series_id IN "  # noqa: S608 - our own words
                    f"(SELECT s.id FROM series s INDEXED BY {index} WHERE s.state = {state} AND EXISTS {_MEMBER})",
                    (cohort_id,),
                )
            marks = ", ".join("?" * len(Move.RETRY.sources))
            self._db.execute(
                "UPDATE series SET state = ?, reason = NULL WHERE id IN (SELECT s.id FROM series s "  # noqa: S608 - likewise
                f"INDEXED BY series_failed WHERE s.state = 2 AND s.state IN ({marks}) AND EXISTS {_MEMBER})",
                (Move.RETRY.target, *Move.RETRY.sources, cohort_id),
            )

    def begin_leasing(self, cohort_id: int, *, following: bool = False) -> None:
        """From now on `lease` hands out the series of this cohort, from the beginning.

        `following`: what a source's own list of a series lacks leaves the series, once that is complete.
        """
        self._leasing = cohort_id
        self._following = following
        self._bounds.clear()
        self._routes.clear()
        with guard(self.path):
            for route_id, first in self._db.execute("SELECT id, first FROM route ORDER BY id"):
                self._routes.setdefault(first, []).append(route_id)

    def lease(self, count: int, end: End, route: str) -> list[Work]:
        """Hand out up to `count` planned series whose first route is `route`, from one end of the order of weights.

        None twice in a run. The cursors live in this object, so a run that dies has leased nothing.
        """
        found = [
            (row[0], row[1], route_id, row)
            for route_id in self._routes.get(route, ())
            for row in self._next_planned(count, end, route_id)
        ]
        found.sort(reverse=end == "largest")
        for weight, series_id, route_id, _ in found[:count]:
            self._bounds[route_id, end] = (weight, series_id)
        return [work_from(row[1:]) for *_, row in found[:count]]

    def _next_planned(self, count: int, end: End, route_id: int) -> list[tuple[Any, ...]]:
        top = self._bounds.get((route_id, "largest"), (1 << 62, 1 << 62))
        bottom = self._bounds.get((route_id, "smallest"), (-1, -1))
        order = "DESC" if end == "largest" else "ASC"
        with guard(self.path):
            return self._db.execute(
                "SELECT weight, id, study, series, folder, expected, size_bytes, whole, cut, bucket, revision, prior, "  # noqa: S608 - two words of our own
                "(SELECT names FROM route WHERE route.id = series.route), "
                "(SELECT w.folder FROM swap w WHERE w.series_id = series.id) FROM series "
                "INDEXED BY series_todo WHERE state = 0 AND route = ? AND (weight, id) < (?, ?) "
                "AND (weight, id) > (?, ?) "
                "AND EXISTS (SELECT 1 FROM member WHERE cohort_id = ? AND series_id = series.id) "
                f"ORDER BY weight {order}, id {order} LIMIT ?",
                (route_id, *top, *bottom, self._leasing, count),
            ).fetchall()

    def fail_unrouted(self, cohort_id: int) -> None:
        """Planned series of a cohort that nobody chosen can give fail, for the reason of their routing."""
        with self.transaction():
            self._db.execute(
                "UPDATE series SET state = ?, reason = (SELECT reason FROM route r WHERE r.id = series.route) "
                "WHERE state = 0 AND route IN (SELECT id FROM route WHERE first = '') "
                "AND EXISTS (SELECT 1 FROM member WHERE cohort_id = ? AND series_id = series.id)",
                (Move.FAIL.target, cohort_id),
            )

    def reroute(self, cohort_id: int, routing: Callable[[Work], Routing], *, among: Collection[str] = ()) -> None:
        """Give unfinished series of a cohort the routes that `routing` names; those that come `among` these keep them.

        Another cohort may have been planned for other sources since, or this one for others than are chosen now.
        """
        with self.transaction():
            routes = self._db.execute("SELECT id, names FROM route").fetchall()
            foreign = [route_id for route_id, names in routes if not _is_among(json.loads(names), among)]
            if not foreign:
                return
            marks = ", ".join("?" * len(foreign))
            ids = Routes(self._db)
            self._db.execute("DROP TABLE IF EXISTS temp.undone")
            self._db.execute("CREATE TEMP TABLE undone (id INTEGER PRIMARY KEY)")
            for index, state in _UNDONE:
                self._db.execute(
                    f"INSERT INTO undone SELECT s.id FROM series s INDEXED BY {index} WHERE s.state = {state} "  # noqa: S608 - our own words
                    f"AND s.route IN ({marks}) AND EXISTS {_MEMBER}",
                    (*foreign, cohort_id),
                )
            last = -1
            while True:
                rows = self._db.execute(
                    "SELECT s.id, study, series, folder, s.expected, size_bytes, whole, cut, bucket, revision, prior, "
                    "'[]', NULL FROM undone u JOIN series s ON s.id = u.id WHERE u.id > ? ORDER BY u.id LIMIT ?",
                    (last, _REROUTED),
                ).fetchall()
                if not rows:
                    break
                last = rows[-1][0]
                self._db.executemany(
                    "UPDATE series SET route = ? WHERE id = ?",
                    [(ids.id_of(routing(work_from(row))), row[0]) for row in rows],
                )
            self._db.execute("DROP TABLE temp.undone")

    # -- what happened: each inside a transaction of the caller ---------------------------------------------------

    def add_intent(self, batch: str) -> int:
        """Say what is about to be renamed; return the intent's id."""
        cursor = self._db.execute("INSERT INTO intent (batch) VALUES (?)", (batch,))
        return int(cursor.lastrowid or 0)

    def drop_intent(self, intent_id: int) -> None:
        """The receipts of this batch are in the same transaction."""
        self._db.execute("DELETE FROM intent WHERE id = ?", (intent_id,))

    def add_receipts(self, receipts: Iterable[Receipt]) -> None:
        """These instances are at their final path; what was noted of their beginnings counts no more."""
        # In the order of their key, SQLite fills pages; in any other it splits them, which costs a fifth of the file.
        receipts = sorted(receipts, key=lambda each: (each.series_id, each.sop))
        (noted,) = self._db.execute("SELECT EXISTS (SELECT 1 FROM partial)").fetchone()
        if noted:
            self._db.executemany(
                "DELETE FROM partial WHERE series_id = ? AND stem = ?",
                ((each.series_id, each.stem) for each in receipts if each.stem is not None),
            )
        self._db.executemany(
            "INSERT OR REPLACE INTO instance (series_id, sop, size_bytes, xxh3, state, checked, stem) "
            "VALUES (?, ?, ?, ?, 1, ?, ?)",
            (
                (each.series_id, each.sop, each.size_bytes, each.xxh3, int(each.check), pack_stem(each.stem))
                for each in receipts
            ),
        )

    def add_wanted(self, series_id: int, sops: Iterable[str]) -> None:
        """These instances are known by name now, and are wanted."""
        self._db.executemany(
            "INSERT OR IGNORE INTO instance (series_id, sop, state) VALUES (?, ?, 0)",
            ((series_id, sop) for sop in sops),
        )

    def note_stems(self, series_id: int, stems: Mapping[str, str]) -> None:
        """These instances (stem of the object -> SOP Instance UID) are those objects of a bucket.

        Where files are named by their objects, one that is there under another name keeps it.
        """
        named = "AND state <> 1" if self.names_by_stem() else ""
        self._db.executemany(
            f"UPDATE instance SET stem = ? WHERE series_id = ? AND sop = ? {named}",  # noqa: S608 - our own words
            ((pack_stem(stem), series_id, sop) for stem, sop in stems.items()),
        )

    def note_partial(self, series_id: int, stem: str, partial: Partial | None) -> None:
        """Staging holds this much of an object, synced; None: nothing any more."""
        if partial is None:
            self._db.execute("DELETE FROM partial WHERE series_id = ? AND stem = ?", (series_id, stem))
        else:
            self._db.execute(
                "INSERT OR REPLACE INTO partial (series_id, stem, etag, name, offset, xxh3) VALUES (?, ?, ?, ?, ?, ?)",
                (series_id, *partial),
            )

    def add_quota(self, source: str, day: str, size_bytes: int) -> None:
        """A source with a quota gave so many bytes more on a day (`YYYY-MM-DD`, UTC)."""
        self._db.execute(
            "INSERT INTO quota_day (source, day, bytes) VALUES (?, ?, ?) "
            "ON CONFLICT (source, day) DO UPDATE SET bytes = bytes + excluded.bytes",
            (source, day, size_bytes),
        )

    def fail_instance(self, series_id: int, sop: str, reason: str) -> None:
        """This instance will not come in this run."""
        self._db.execute(
            "UPDATE instance SET state = 2, reason = ? WHERE series_id = ? AND sop = ? AND state <> 1",
            (reason, series_id, sop),
        )

    def complete_series(
        self, series_id: int, proof: Proof, expected: int | None, route: str, surplus: Collection[str] = ()
    ) -> None:
        """All that is wanted of this series is there; `expected` corrects the count where an inventory gave it.

        `surplus`: instances that landed and that the source's list of them lacks.
        """
        if surplus and self._following:
            self.withdraw_instances(series_id, surplus, "the source lists it no more", agreed=False)
        self._completed.append(series_id)
        also = "proof = ?, reason = NULL, expected = coalesce(?, expected), came_by = ?"
        self._move(Move.COMPLETE, series_id, also, str(proof), expected, route)
        self._db.execute("DELETE FROM partial WHERE series_id = ?", (series_id,))

    def take_completed(self) -> list[int]:
        """Return the series that were completed since this was last asked."""
        completed, self._completed = self._completed, []
        return completed

    def withdraw_instances(self, series_id: int, sops: Iterable[str], reason: str, *, agreed: bool = True) -> None:
        """These instances are wanted no more: those that have landed leave for the trash, the others are forgotten.

        `agreed`: what a sync may remove was held against them; else that is still to be done.
        """
        by_stem = self.names_by_stem()
        for sop in sops:
            name = {"series_id": series_id, "sop": sop}
            whose = "i.series_id = :series_id AND i.sop = :sop"
            send_away(self._db, whose, reason, by_stem=by_stem, agreed=agreed, values=name)
            self._db.execute("DELETE FROM instance WHERE series_id = :series_id AND sop = :sop", name)

    def fail_series(self, series_id: int, reason: str) -> None:
        """Something of this series will not come in this run."""
        self._move(Move.FAIL, series_id, "reason = ?", reason)

    def _move(self, move: Move, series_id: int, also: str, *values: object) -> None:
        marks = ", ".join("?" * len(move.sources))
        moved = self._db.execute(
            f"UPDATE series SET state = ?, {also} WHERE id = ? AND state IN ({marks})",  # noqa: S608 - our own words
            (move.target, *values, series_id, *move.sources),
        )
        if moved.rowcount != 1:
            raise LedgerError(f"series {series_id} of {self.path} is in no state in which it could {move.name}")

    def plan_again(self, files: Iterable[tuple[int, str]], reason: str) -> None:
        """These files (series id, SOP Instance UID) are damaged or gone: want them again."""
        pairs = list(files)
        with self.transaction():
            self._db.executemany(
                "UPDATE instance SET state = 0, reason = ?, size_bytes = NULL, xxh3 = NULL, checked = 0 "
                "WHERE series_id = ? AND sop = ?",
                ((reason, series_id, sop) for series_id, sop in pairs),
            )
            for series_id in {series_id for series_id, _ in pairs}:
                self._move(Move.REOPEN, series_id, "proof = NULL, came_by = NULL")
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('index', 'stale')")

    def begin_run(self, command: str, started_at: str) -> int:
        """Open a row of the table `run`."""
        with self.transaction():
            row = self._db.execute("INSERT INTO run (command, started_at) VALUES (?, ?)", (command, started_at))
            run_id = int(row.lastrowid or 0)
            if self._outbox is not None:
                self._outbox.tell("run begun", {"command": command})
                self._outbox.acknowledge(last=True)  # else, killed now, it would count as one without the log
        self._run, self._rhythm, self._came = (run_id, time.monotonic()), Rhythm(), (0, 0)
        return run_id

    def add_sample(self, now_s: float, instances: int = 0, size_bytes: int = 0, *, last: bool = False) -> None:
        """Count what has landed in the run that began last; note its totals now and then, see `record.samples`.

        `now_s`: by the monotonic clock. `last`: nothing more comes for now, note them in any case.
        """
        run_id, began_s = self._run
        self._came = (self._came[0] + instances, self._came[1] + size_bytes)
        due = beat(self._rhythm, now_s - began_s, last=last) if run_id else None
        if due is None:
            return
        self._rhythm = due.rhythm
        with guard(self.path):
            self._db.execute("INSERT INTO sample VALUES (?, ?, ?, ?)", (run_id, due.rhythm.times[-1], *self._came))
            if due.dropped:
                marks = ", ".join("?" * len(due.dropped))
                self._db.execute(f"DELETE FROM sample WHERE run_id = ? AND at_s IN ({marks})", (run_id, *due.dropped))  # noqa: S608 - marks

    def end_run(self, run_id: int, ended_at: str, state: str, tally: str) -> None:
        """Close it."""
        with self.transaction():
            self._db.execute(
                "UPDATE run SET ended_at = ?, state = ?, tally = ? WHERE id = ?",
                (ended_at, state, tally, run_id),
            )
            if self._outbox is not None:
                self._outbox.tell("run ended", {"state": state, "tally": json.loads(tally)})


def _is_among(names: list[str], chosen: Collection[str]) -> bool:
    return bool(names) and all(name in chosen for name in names)
