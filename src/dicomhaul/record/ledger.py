"""The ledger: one SQLite file beside the data it describes. Synchronous; one thread at a time.

Rules: bulk work stands inside one transaction; `synchronous=FULL`; WAL, except on network filesystems, where its shared
memory does not work (the caller says so). Every sqlite3 error leaves as LedgerError.
"""

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Final, NamedTuple

from dicomhaul.errors import LedgerError
from dicomhaul.model import End, Failure, Known, Proof, Receipt, Series, State, Work
from dicomhaul.plan.estimate import Amount
from dicomhaul.record.merge import load_incoming, merge_incoming
from dicomhaul.record.states import Move

_APPLICATION_ID: Final = 0x64686C31  # "dhl1"
_VERSION: Final = 1


class CohortRow(NamedTuple):
    """One thing that was asked for at this destination."""

    id: int
    name: str
    fingerprint: str
    query: str  # JSON
    source: str
    profile: str | None
    planned_at: str


class LandedRow(NamedTuple):
    """One series that is complete."""

    series_id: int
    study: str
    series: str
    folder: str
    proof: str


class FileRow(NamedTuple):
    """One instance that has landed, with what an index of the destination says of it."""

    series_id: int
    folder: str
    sop: str
    size_bytes: int
    xxh3: bytes
    study: str
    series: str
    collection: str | None
    patient: str | None
    modality: str | None
    revision: str | None
    license: str | None


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a destination, or one of its cohorts, stands. Counts of instances are None where nobody states them."""

    series_planned: int  # all that are wanted
    series_complete: int
    series_failed: int
    instances_expected: int | None
    instances_present: int
    instances_failed: int
    bytes_present: int


@contextmanager
def _guard(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger {path} cannot be used: {error}") from error


class Ledger:
    """An open ledger."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self.path = path
        self._leasing = 0
        self._bounds: dict[End, tuple[int, int]] = {}

    @classmethod
    def open(cls, path: Path, *, wal: bool = True, read_only: bool = False) -> "Ledger":
        """Open the ledger at `path`, creating it unless `read_only`.

        Raises:
            LedgerError: it is missing (`read_only`), damaged, not a ledger, or of another version.
        """
        try:
            if read_only and not path.is_file():
                raise LedgerError(f"there is no ledger at {path}; nothing was pulled here")
            if not read_only:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
        except OSError as error:
            raise LedgerError(f"the ledger {path} cannot be used: {error.strerror}") from error
        with _guard(path):
            uri = f"{path.absolute().as_uri()}?{_mode(path, read_only=read_only)}"
            db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
            try:
                db.execute(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
                db.execute("PRAGMA temp_store=FILE")
                db.execute("PRAGMA cache_size=-8192")
                # A file of some bytes may be new, too: a process that died here had switched it to WAL and no more.
                blank = not read_only and _is_blank(db)
                if not blank:
                    _check(db, path)  # before anything is written: it may be somebody else's
                if not read_only:
                    db.execute(f"PRAGMA journal_mode={'WAL' if wal else 'DELETE'}")
                    db.execute("PRAGMA synchronous=FULL")
                    db.execute("PRAGMA foreign_keys=OFF")  # kept by construction; checking costs a lookup a row
                if blank:
                    _create(db)
            except BaseException:
                db.close()
                raise
            return cls(db, path)

    def close(self) -> None:
        """Close the file. A WAL is merged into it."""
        with _guard(self.path):
            self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing."""
        with _guard(self.path):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk makes SQLite roll back by itself
                    self._db.execute("ROLLBACK")
                raise

    def check(self) -> None:
        """Read the whole file. Raises LedgerError if a page is damaged."""
        with _guard(self.path):
            (result,) = self._db.execute("PRAGMA quick_check(1)").fetchone()
        if result != "ok":
            raise LedgerError(f"the ledger {self.path} is damaged: {str(result).splitlines()[-1]}")

    # -- what is wanted -------------------------------------------------------------------------------------------

    def meta(self, key: str) -> str | None:
        """Return a value of the table `meta`."""
        with _guard(self.path):
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def set_meta(self, key: str, value: str) -> None:
        """Set a value of the table `meta`."""
        with _guard(self.path):
            self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, value))

    def cohorts(self) -> list[CohortRow]:
        """Everything that was asked for here, oldest first."""
        with _guard(self.path):
            rows = self._db.execute(
                "SELECT id, name, fingerprint, query, source, profile, planned_at FROM cohort ORDER BY id"
            )
            return [CohortRow._make(row) for row in rows]

    def plan_cohort(
        self,
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
        cut_above_bytes: int,
        missing: Iterable[Failure] = (),
    ) -> int:
        """Write a cohort and merge its series into those that are wanted here; return the cohort's id.

        All in one transaction: a plan that is interrupted leaves no trace. A series that is there already stays as it
        is, unless more of it is wanted now, or its revision is another: then it is planned again. `searched`: the rows
        are a server's answer of now, which may be another than last time.
        """
        with self.transaction():
            db = self._db
            db.execute(
                "INSERT INTO cohort (name, fingerprint, query, source, profile, planned_at, missing) "
                "VALUES (?, ?, ?, ?, ?, ?, '[]') ON CONFLICT (fingerprint) DO UPDATE SET "
                "planned_at = excluded.planned_at, source = excluded.source, profile = excluded.profile",
                (name, fingerprint, query, source, profile, planned_at),
            )
            (cohort_id,) = db.execute("SELECT id FROM cohort WHERE fingerprint = ?", (fingerprint,)).fetchone()
            db.execute("INSERT OR REPLACE INTO meta VALUES ('layout', ?)", (layout,))
            load_incoming(db, rows)
            # Only now: what is missing may become known while the rows come.
            named = json.dumps([(each.study, each.series, each.sop, each.reason) for each in missing])
            db.execute("UPDATE cohort SET missing = ? WHERE id = ?", (named, cohort_id))
            merge_incoming(db, int(cohort_id), cut_above_bytes=cut_above_bytes, searched=searched)
        return int(cohort_id)

    def retry_failed(self, cohort_id: int) -> None:
        """FAILED becomes PLANNED again: every new run tries what an earlier one could not get."""
        members = "(SELECT series_id FROM member WHERE cohort_id = ?)"
        with self.transaction():
            self._db.execute(
                f"UPDATE instance SET state = 0, reason = NULL WHERE state = 2 AND series_id IN {members}",  # noqa: S608 - our own words
                (cohort_id,),
            )
            marks = ", ".join("?" * len(Move.RETRY.sources))
            self._db.execute(
                f"UPDATE series SET state = ?, reason = NULL WHERE state IN ({marks}) AND id IN {members}",  # noqa: S608 - likewise
                (Move.RETRY.target, *Move.RETRY.sources, cohort_id),
            )

    def amount_planned(self, cohort_id: int) -> Amount:
        """Add up what a run of this cohort will ask for; less what is there of series that were begun."""
        with _guard(self.path):
            series, instances, size = self._db.execute(
                "SELECT count(*), CASE WHEN count(s.expected) = count(*) THEN sum(s.expected) END, "
                "CASE WHEN count(s.size_bytes) = count(*) THEN sum(s.size_bytes) END "
                "FROM series s JOIN member m ON m.series_id = s.id AND m.cohort_id = ? WHERE s.state = 0",
                (cohort_id,),
            ).fetchone()
            begun, begun_bytes = self._db.execute(
                "SELECT count(*), coalesce(sum(i.size_bytes), 0) FROM series s "
                "JOIN member m ON m.series_id = s.id AND m.cohort_id = ? "
                "JOIN instance i ON i.series_id = s.id AND i.state = 1 WHERE s.state = 0",
                (cohort_id,),
            ).fetchone()
        if not series:
            return Amount()
        return Amount(
            series,
            None if instances is None else max(0, instances - begun),
            None if size is None else max(0, size - begun_bytes),
        )

    # -- what is to do --------------------------------------------------------------------------------------------

    def begin_leasing(self, cohort_id: int) -> None:
        """From now on `lease` hands out the series of this cohort, from the beginning."""
        self._leasing = cohort_id
        self._bounds.clear()

    def lease(self, count: int, end: End) -> list[Work]:
        """Hand out up to `count` planned series from one end of the order of weights; none twice in a run.

        The cursors live in this object, so a run that dies has leased nothing.
        """
        top = self._bounds.get("largest", (1 << 62, 1 << 62))
        bottom = self._bounds.get("smallest", (-1, -1))
        order = "DESC" if end == "largest" else "ASC"
        with _guard(self.path):
            rows = self._db.execute(
                "SELECT weight, id, study, series, folder, expected, size_bytes, whole, cut FROM series "  # noqa: S608 - two words of our own
                "INDEXED BY series_todo WHERE state = 0 AND (weight, id) < (?, ?) AND (weight, id) > (?, ?) "
                "AND EXISTS (SELECT 1 FROM member WHERE cohort_id = ? AND series_id = series.id) "
                f"ORDER BY weight {order}, id {order} LIMIT ?",
                (*top, *bottom, self._leasing, count),
            ).fetchall()
        if rows:
            self._bounds[end] = (rows[-1][0], rows[-1][1])
        return [Work._make((*row[1:7], bool(row[7]), bool(row[8]))) for row in rows]

    def known(self, series_id: int) -> Known:
        """Return what is known of the instances of one series."""
        with _guard(self.path):
            rows = self._db.execute(
                "SELECT sop, size_bytes, state FROM instance WHERE series_id = ?", (series_id,)
            ).fetchall()
        landed = {sop: int(size or 0) for sop, size, state in rows if state == State.LANDED}
        return Known(landed, [sop for sop, _, state in rows if state != State.LANDED])

    # -- what happened: each inside a transaction of the caller ---------------------------------------------------

    def add_intent(self, batch: str) -> int:
        """Say what is about to be renamed; return the intent's id."""
        cursor = self._db.execute("INSERT INTO intent (batch) VALUES (?)", (batch,))
        return int(cursor.lastrowid or 0)

    def intents(self) -> list[tuple[int, str]]:
        """What an interrupted run was about to rename."""
        with _guard(self.path):
            return [(int(key), str(batch)) for key, batch in self._db.execute("SELECT id, batch FROM intent")]

    def drop_intent(self, intent_id: int) -> None:
        """The receipts of this batch are in the same transaction."""
        self._db.execute("DELETE FROM intent WHERE id = ?", (intent_id,))

    def add_receipts(self, receipts: Iterable[Receipt]) -> None:
        """These instances are at their final path."""
        self._db.executemany(
            "INSERT OR REPLACE INTO instance (series_id, sop, size_bytes, xxh3, state) VALUES (?, ?, ?, ?, 1)",
            ((receipt.series_id, receipt.sop, receipt.size_bytes, receipt.xxh3) for receipt in receipts),
        )

    def add_wanted(self, series_id: int, sops: Iterable[str]) -> None:
        """These instances are known by name now, and are wanted."""
        self._db.executemany(
            "INSERT OR IGNORE INTO instance (series_id, sop, state) VALUES (?, ?, 0)",
            ((series_id, sop) for sop in sops),
        )

    def fail_instance(self, series_id: int, sop: str, reason: str) -> None:
        """This instance will not come in this run."""
        self._db.execute(
            "UPDATE instance SET state = 2, reason = ? WHERE series_id = ? AND sop = ? AND state <> 1",
            (reason, series_id, sop),
        )

    def complete_series(self, series_id: int, proof: Proof, expected: int | None) -> None:
        """All that is wanted of this series is there; `expected` corrects the count where an inventory gave it."""
        self._move(
            Move.COMPLETE, series_id, "proof = ?, reason = NULL, expected = coalesce(?, expected)", str(proof), expected
        )

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
                "UPDATE instance SET state = 0, reason = ?, size_bytes = NULL, xxh3 = NULL "
                "WHERE series_id = ? AND sop = ?",
                ((reason, series_id, sop) for series_id, sop in pairs),
            )
            for series_id in {series_id for series_id, _ in pairs}:
                self._move(Move.REOPEN, series_id, "proof = NULL")
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('index', 'stale')")

    # -- runs and reports -----------------------------------------------------------------------------------------

    def begin_run(self, started_at: str) -> int:
        """Open a row of the table `run`."""
        with _guard(self.path):
            return int(self._db.execute("INSERT INTO run (started_at) VALUES (?)", (started_at,)).lastrowid or 0)

    def end_run(self, run_id: int, ended_at: str, state: str, tally: str) -> None:
        """Close it."""
        with _guard(self.path):
            self._db.execute(
                "UPDATE run SET ended_at = ?, state = ?, tally = ? WHERE id = ?",
                (ended_at, state, tally, run_id),
            )

    def last_run(self) -> tuple[str, str | None, str | None] | None:
        """Return (started_at, ended_at, state) of the newest run; state is None if it was killed or still runs."""
        with _guard(self.path):
            row = self._db.execute("SELECT started_at, ended_at, state FROM run ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def standing(self, *cohort_ids: int) -> Standing:
        """Count where some cohorts stand together, each series once; without any, where the destination stands."""
        joined, expected = "", "s.expected"
        if cohort_ids:
            joined, expected = (
                f"JOIN {_members(cohort_ids)} m ON m.series_id = s.id",
                "coalesce(m.expected, s.expected)",
            )
        with _guard(self.path):
            total, landed, failed, wanted, unknown = self._db.execute(
                f"SELECT count(*), coalesce(sum(s.state = 1), 0), coalesce(sum(s.state = 2), 0), "  # noqa: S608 - our own words
                f"coalesce(sum(CASE WHEN s.whole THEN {expected} ELSE "
                "(SELECT count(*) FROM instance i WHERE i.series_id = s.id) END), 0), "
                f"coalesce(sum(s.whole AND {expected} IS NULL), 0) FROM series s {joined}"
            ).fetchone()
            present, size, missing = self._db.execute(
                "SELECT coalesce(sum(i.state = 1), 0), coalesce(sum(i.size_bytes), 0), coalesce(sum(i.state = 2), 0) "  # noqa: S608 - our own words
                f"FROM instance i {'JOIN series s ON s.id = i.series_id ' + joined if cohort_ids else ''}"
            ).fetchone()
        return Standing(total, landed, failed, None if unknown else wanted, present, missing, size)

    def iter_failures(self, *cohort_ids: int) -> Iterator[Failure]:
        """Yield what failed of some cohorts, each once: instances by name, and series that lack none known by name."""
        member = f"JOIN {_members(cohort_ids)} m ON m.series_id = s.id"
        with _guard(self.path):
            rows = self._db.execute(
                f"SELECT s.study, s.series, i.sop, coalesce(i.reason, s.reason) FROM series s {member} "  # noqa: S608 - our own words
                "JOIN instance i ON i.series_id = s.id AND i.state = 2 WHERE s.state = 2 UNION ALL "
                f"SELECT s.study, s.series, NULL, s.reason FROM series s {member} WHERE s.state = 2 AND NOT EXISTS "
                "(SELECT 1 FROM instance i WHERE i.series_id = s.id AND i.state = 2)"
            )
            for study, series, sop, reason in rows:
                yield Failure(study, series, sop, str(reason))
            named: set[Failure] = set()
            for cohort_id in cohort_ids:
                (text,) = self._db.execute("SELECT missing FROM cohort WHERE id = ?", (cohort_id,)).fetchone()
                missing = [Failure(*entry) for entry in json.loads(text)]
                yield from (failure for failure in missing if failure not in named)
                named.update(missing)

    def name_instances(self, instances: Iterable[tuple[int | None, str | None, str]]) -> list[Failure]:
        """Turn (series id, SOP Instance UID, reason) into failures with their UIDs; None names nothing we know."""
        named: list[Failure] = []
        with _guard(self.path):
            for series_id, sop, reason in instances:
                row = self._db.execute("SELECT study, series FROM series WHERE id = ?", (series_id,)).fetchone()
                if row is not None:
                    named.append(Failure(row[0], row[1], sop, reason))
        return named

    def iter_files(self) -> Iterator[FileRow]:
        """Yield every instance that has landed, by series."""
        with _guard(self.path):
            rows = self._db.execute(
                "SELECT i.series_id, s.folder, i.sop, i.size_bytes, i.xxh3, s.study, s.series, s.collection, "
                "s.patient, s.modality, s.revision, s.license FROM instance i JOIN series s ON s.id = i.series_id "
                "WHERE i.state = 1 ORDER BY i.series_id, i.sop"
            )
            for row in rows:
                yield FileRow._make(row)

    def iter_series(self, state: State) -> Iterator[Work]:
        """Yield the series in one state."""
        with _guard(self.path):
            rows = self._db.execute(
                "SELECT id, study, series, folder, expected, size_bytes, whole, cut FROM series WHERE state = ?",
                (int(state),),
            )
            for row in rows:
                yield Work._make((*row[:6], bool(row[6]), bool(row[7])))

    def iter_landed(
        self, *, cohort_id: int | None = None, series: tuple[str, str] | None = None
    ) -> Iterator[LandedRow]:
        """Yield complete series: of a cohort, or the one with these Study and Series Instance UIDs."""
        member = "" if cohort_id is None else "JOIN member m ON m.series_id = s.id AND m.cohort_id = :cohort"
        one = "" if series is None else "AND s.study = :study AND s.series = :series"
        study_uid, series_uid = series or ("", "")
        with _guard(self.path):
            rows = self._db.execute(
                f"SELECT s.id, s.study, s.series, s.folder, s.proof FROM series s {member} WHERE s.state = 1 {one}",  # noqa: S608 - our own words
                {"cohort": cohort_id, "study": study_uid, "series": series_uid},
            )
            yield from map(LandedRow._make, rows)

    def landed_series(self) -> Iterator[tuple[str, str, str | None, bool]]:
        """Yield (study, series, revision, whole) of every series that is complete: what a plan need not bring."""
        with _guard(self.path):
            yield from self._db.execute("SELECT study, series, revision, whole FROM series WHERE state = 1")


def _members(cohort_ids: Sequence[int]) -> str:
    numbers = ", ".join(str(int(cohort_id)) for cohort_id in cohort_ids)
    return (
        f"(SELECT series_id, max(expected) AS expected FROM member WHERE cohort_id IN ({numbers}) GROUP BY series_id)"  # noqa: S608 - numbers
    )


def _is_blank(db: sqlite3.Connection) -> bool:
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not application_id and not tables


def _mode(path: Path, *, read_only: bool) -> str:
    # Not plain `mode=ro`: what a killed run left half done could not be rolled back, and the file not be read.
    if not read_only or os.access(path.parent, os.W_OK):
        return "mode=rw"
    journals = (path.with_name(f"{path.name}{end}") for end in ("-wal", "-journal"))
    if any(journal.exists() and journal.stat().st_size for journal in journals):
        raise LedgerError(f"a run that was killed left a journal beside {path}: reading it needs write access there")
    return "mode=ro&immutable=1"


def _create(db: sqlite3.Connection) -> None:
    schema = (resources.files("dicomhaul.record") / "schema.sql").read_text(encoding="utf-8")
    db.executescript(
        f"BEGIN; {schema} PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={_VERSION}; COMMIT;"
    )


def _check(db: sqlite3.Connection, path: Path) -> None:
    if _is_blank(db):
        raise LedgerError(f"the ledger {path} is empty; nothing was pulled here")
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    if application_id != _APPLICATION_ID:
        raise LedgerError(f"{path} is not a ledger of dicomhaul")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        raise LedgerError(f"{path} is a ledger of version {version}; this dicomhaul reads version {_VERSION}")
