"""What the audit log is to be told of a ledger: written in the transaction that it tells of, appended once that holds.

Triggers of the connection write down what becomes of `instance` and `series`, so that whatever changes these tables in
an audited run, planning and recovery included, cannot leave it out; who takes a file out of the tree tells it:

| event | an instance |
|---|---|
| created | landed |
| replaced | landed in the place of one that was there |
| wanted again | is damaged, gone, or to be replaced: it does not count as landed any more |
| released | is wanted no more, or is of a revision that is to be replaced; its file is still there |
| removed | its file was taken out of the tree |
| failed | will not come in this run |
| series moved | of the whole series: it lies in another folder now |
| present | was there when the log was begun, or after runs without it: what is there follows the event `baseline` |

Entries are numbered by the table; its last row stays, so that numbers grow for ever. `meta` remembers the last line of
the log, and the last number, that are known to be safe: `trail.log` reads what a killed run had appended behind it.
"""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from dicomhaul.errors import LedgerError
from dicomhaul.land.folder import PRIVATE
from dicomhaul.record.asked import LEDGER_ID
from dicomhaul.record.reader import LedgerReader, guard
from dicomhaul.trail.chain import Head
from dicomhaul.trail.log import AuditLog

_MEMORY: Final = "trail"  # in `meta`
_BATCH: Final = 10_000  # entries that are synced at once

_WHEN: Final = "'time', strftime('%Y-%m-%dT%H:%M:%fZ', 'now'), 'run', (SELECT max(id) FROM main.run)"
_EVENT: Final = "'event'"
_CHECKED: Final = (
    "CASE {row}.checked WHEN 0 THEN 'framing' WHEN 1 THEN 'size' WHEN 2 THEN 'crc32c' WHEN 3 THEN 'md5' END"
)
_REASON: Final = "substr({row}.reason, 1, 1000)"


def _entry(event: str, *facts: str) -> str:
    """Return the SQL of an entry; `event` is an SQL expression, too, as are names and values in `facts`."""
    return f"json_object({', '.join((_WHEN, _EVENT, event, *facts))})"


def _of_series(event: str, *facts: str) -> str:
    return _entry(event, "'study', s.study", "'series', s.series", *facts)


def _bytes(row: str) -> str:
    return f"'size_bytes', {row}.size_bytes, 'xxh3', lower(hex({row}.xxh3))"


def _trigger(name: str, on: str, when: str, select: str) -> str:
    return (
        f"CREATE TEMP TRIGGER trail_{name} {on} WHEN {when} "
        f"BEGIN INSERT INTO trail_outbox (entry) SELECT {select}; END;"
    )


_LANDED: Final = f"'sop', {{row}}.sop, {_bytes('{row}')}, 'checked', {_CHECKED}"
_TRIGGERS: Final = (
    # Before, while the row that it replaces is still there.
    _trigger(
        "landed",
        "BEFORE INSERT ON main.instance",
        "NEW.state = 1",
        _of_series("CASE WHEN old.state = 1 THEN 'replaced' ELSE 'created' END", _LANDED.format(row="NEW"))
        + " FROM series s LEFT JOIN instance old ON old.series_id = NEW.series_id AND old.sop = NEW.sop "
        "WHERE s.id = NEW.series_id",
    ),
    _trigger(
        "put",
        "AFTER UPDATE OF state ON main.instance",
        "NEW.state = 1",
        _of_series("CASE WHEN OLD.state = 1 THEN 'replaced' ELSE 'created' END", _LANDED.format(row="NEW"))
        + " FROM series s WHERE s.id = NEW.series_id",
    ),
    _trigger(
        "wanted",
        "AFTER UPDATE OF state ON main.instance",
        "OLD.state = 1 AND NEW.state <> 1",
        _of_series("'wanted again'", "'sop', NEW.sop", _bytes("OLD"), f"'reason', {_REASON.format(row='NEW')}")
        + " FROM series s WHERE s.id = NEW.series_id",
    ),
    _trigger(
        "missed",
        "AFTER UPDATE OF state ON main.instance",
        "NEW.state = 2 AND OLD.state <> 2",
        _of_series("'failed'", "'sop', NEW.sop", f"'reason', {_REASON.format(row='NEW')}")
        + " FROM series s WHERE s.id = NEW.series_id",
    ),
    _trigger(
        "released",
        "AFTER DELETE ON main.instance",
        "OLD.state = 1",
        _of_series("'released'", "'sop', OLD.sop", _bytes("OLD")) + " FROM series s WHERE s.id = OLD.series_id",
    ),
    _trigger(
        "complete",
        "AFTER UPDATE OF state ON main.series",
        "NEW.state = 1 AND OLD.state <> 1",
        _entry(
            "'series complete'",
            "'study', NEW.study",
            "'series', NEW.series",
            "'revision', NEW.revision",
            "'proof', NEW.proof",
            "'instances', NEW.expected",
            "'came_by', NEW.came_by",
        ),
    ),
    _trigger(
        "moved",
        "AFTER UPDATE OF folder ON main.series",
        "NEW.folder <> OLD.folder AND NEW.revision IS OLD.revision "  # noqa: S608 - our own words
        f"AND NOT (NEW.folder GLOB '{PRIVATE}/*' OR OLD.folder GLOB '{PRIVATE}/*') "
        "AND EXISTS (SELECT 1 FROM main.instance i WHERE i.series_id = NEW.id AND i.state = 1)",
        _entry("'series moved'", "'study', NEW.study", "'series', NEW.series", "'revision', NEW.revision"),
    ),
    _trigger(
        "incomplete",
        "AFTER UPDATE OF state ON main.series",
        "NEW.state = 2 AND OLD.state <> 2",
        _entry(
            "'series failed'",
            "'study', NEW.study",
            "'series', NEW.series",
            "'revision', NEW.revision",
            f"'reason', {_REASON.format(row='NEW')}",
        ),
    ),
)

_REMOVED: Final = _entry(
    "'removed'",
    "'study', o.study",
    "'series', o.series",
    "'revision', o.revision",
    "'sop', o.sop",
    _bytes("o"),
    f"'reason', {_REASON.format(row='o')}",
)


def capture(db: sqlite3.Connection) -> None:
    """From now on what this connection does to a ledger is written to its outbox."""
    for trigger in _TRIGGERS:
        db.execute(trigger)


class Outbox:
    """The outbox of a ledger that is audited, and the log that it empties into. All of it in the ledger's thread."""

    def __init__(self, db: sqlite3.Connection, path: Path, by: Mapping[str, Any]) -> None:
        """Open the log at `path`, and tell it what it has missed; `by` is who is at work, for the runs that begin.

        Raises AuditError, LedgerError.
        """
        self._db = db
        (ledger_id,) = db.execute("SELECT value FROM meta WHERE key = ?", (LEDGER_ID,)).fetchone()
        known, told, run_id = _remembered(db)
        self._log = AuditLog(path, str(ledger_id), known, told)
        self._safe: Head | None = None  # up to which `meta` remembers
        db.execute("BEGIN IMMEDIATE")
        try:
            (number,) = db.execute("SELECT coalesce(max(number), 0) FROM trail_outbox").fetchone()
            missed = _missed(db, run_id) if known is not None else "the log of this destination begins"
            if self._log.told > number:
                db.execute(
                    "INSERT INTO trail_outbox VALUES (?, '')", (self._log.told,)
                )  # what follows counts on from it
                missed = "the ledger is older than its log"
            last = None if known is None else known.as_json()
            self.tell("opened", {"run": None, "by": dict(by), "last": last})  # before any run of this process
            if missed:
                self._baseline(missed)
            self.acknowledge()  # before anything of ours is appended: a run that dies then is read on from here
            db.execute("COMMIT")
        except BaseException:
            if db.in_transaction:
                db.execute("ROLLBACK")
            self._log.close()
            raise
        capture(db)

    def tell(self, event: str, facts: Mapping[str, Any]) -> None:
        """Write an entry to the outbox, in the transaction of the caller."""
        self._db.execute(
            f"INSERT INTO trail_outbox (entry) VALUES (json_patch({_entry('?')}, ?))",  # noqa: S608 - our own words
            (event, json.dumps(facts)),
        )

    def tell_removed(self, outgoing: Iterable[int]) -> None:
        """Write that these rows of `outgoing` have left the tree, in the transaction that forgets them."""
        self._db.executemany(
            f"INSERT INTO trail_outbox (entry) SELECT {_REMOVED} FROM outgoing o WHERE o.id = ?",  # noqa: S608 - our own words
            ((each,) for each in outgoing),
        )

    def acknowledge(self, *, last: bool = False) -> None:
        """Remember, in the transaction of the caller, what the log holds safely, and forget what it was told.

        `last`: also where that is remembered already: there may have been runs since.
        """
        log = self._log
        if self._safe == log.head and not last:
            return
        (last_run,) = self._db.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()
        memory = {**log.head._asdict(), "told": log.told, "run": last_run}
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_MEMORY, json.dumps(memory)))
        self._db.execute("DELETE FROM trail_outbox WHERE number < ?", (log.told,))
        self._safe = log.head

    def append(self) -> None:
        """Append what is committed and not in the log yet. Raises AuditError."""
        while True:
            rows = self._db.execute(
                "SELECT number, entry FROM trail_outbox WHERE number > ? ORDER BY number LIMIT ?",
                (self._log.told, _BATCH),
            ).fetchall()
            if not rows:
                return
            self._log.append(rows)

    def close(self) -> None:
        """Close the log."""
        self._log.close()

    def _baseline(self, reason: str) -> None:
        (count,) = self._db.execute("SELECT count(*) FROM instance WHERE state = 1").fetchone()
        self.tell("baseline", {"reason": reason, "instances": count})
        entry = _of_series("'present'", _LANDED.format(row="i"))
        self._db.execute(
            f"INSERT INTO trail_outbox (entry) SELECT {entry} "  # noqa: S608 - our own words
            "FROM series s JOIN instance i ON i.series_id = s.id WHERE i.state = 1 ORDER BY i.series_id, i.sop"
        )


def _missed(db: sqlite3.Connection, run_id: int) -> str:
    """Say what happened behind the back of a log that knows of the runs up to `run_id`; '': nothing did."""
    (last_run,) = db.execute("SELECT coalesce(max(id), 0) FROM run").fetchone()
    return "there were runs without the log" if last_run > run_id else ""


def _remembered(db: sqlite3.Connection) -> tuple[Head | None, int, int]:
    """Return the last line, the last number and the last run that a ledger knows to be safe. Raises LedgerError."""
    row = db.execute("SELECT value FROM meta WHERE key = ?", (_MEMORY,)).fetchone()
    if row is None:
        return None, 0, 0
    try:
        match json.loads(row[0]):
            case {
                "log": str(log),
                "number": int(number),
                "sha256": str(sha256),
                "end": int(end),
                "told": int(told),
                "run": int(run_id),
            } if min(number, end, told, run_id) >= 0:
                return Head(log, number, sha256, end), told, run_id
    except (ValueError, RecursionError):
        pass
    raise LedgerError("the ledger is damaged: what it remembers of its audit log makes no sense")


def remembered_head(ledger: LedgerReader) -> Head | None:
    """Return the last line of its audit log that a ledger knows to be safe; None: it was never audited."""
    with guard(ledger.path):
        return _remembered(ledger._db)[0]  # noqa: SLF001 - the ledger's own step


def iter_waiting(ledger: LedgerReader, *, after: int) -> Iterator[tuple[int, str]]:
    """Yield number and entry of what waits in the outbox behind the number `after`."""
    with guard(ledger.path):
        yield from ledger._db.execute(  # noqa: SLF001 - likewise
            "SELECT number, entry FROM trail_outbox WHERE number > ? ORDER BY number", (after,)
        )
