"""What leaves the tree: files that the ledger calls outgoing are moved to the trash, then forgotten.

Moved, synced, then recorded: what a crash leaves is moved by the next run. A file that is gone already is noted and no
error; one that has come back since, under the same name, stays.
"""

import sqlite3
from collections.abc import Iterable
from datetime import date
from typing import Any, Final, NamedTuple

from dicomhaul.errors import SyncRefused
from dicomhaul.land.folder import Folder
from dicomhaul.land.trash import Leaving, discard
from dicomhaul.plan.removal import RemovalLimits, refusal
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.reader import guard
from dicomhaul.record.swaps import sweep_sides

_BATCH: Final = 1_000
_DUE: Final = "after IS NULL AND agreed"
# What came back has the name of what leaves, in the tree and not in a folder of ours.
_BACK: Final = (
    "(o.lies IS NULL AND EXISTS (SELECT 1 FROM series s JOIN instance i ON i.series_id = s.id AND i.sop = o.sop "
    "AND i.state = 1 WHERE s.series = o.series AND s.study = o.study AND s.folder = o.folder))"
)


class Removed(NamedTuple):
    """What left: instances, their bytes, and how many of them were gone already."""

    instances: int = 0
    size_bytes: int = 0
    gone: int = 0


def agree(ledger: Ledger, limits: RemovalLimits) -> None:
    """Hold what only an inventory or a feed says has gone against what a sync may remove.

    Raises SyncRefused where that is too much: then these files stay where they are, and what leaves is still noted.
    """
    db = ledger._db  # noqa: SLF001 - a step of the ledger's own, in a module of its own
    with ledger.transaction():
        forget_returned(db)
    with guard(ledger.path):
        (removing,) = db.execute("SELECT count(*) FROM outgoing WHERE after IS NULL AND NOT agreed").fetchone()
        if not removing:
            return
        (present,) = db.execute(
            "SELECT count(*) FROM instance i JOIN series s ON s.id = i.series_id WHERE i.state = 1"
        ).fetchone()
    reason = refusal(removing, present + removing, limits)
    if reason is not None:
        raise SyncRefused(reason.replace("nothing was changed", "nothing was removed"))
    with ledger.transaction():
        db.execute("UPDATE outgoing SET agreed = 1 WHERE after IS NULL")


def forget_returned(db: sqlite3.Connection) -> None:
    """What was said to have gone, and has come back since under its name, does not leave, nor count as leaving."""
    db.execute(f"DELETE FROM outgoing AS o WHERE o.after IS NULL AND NOT o.agreed AND {_BACK}")  # noqa: S608 - our own words


def remove_outgoing(ledger: Ledger, folder: Folder, day: date) -> Removed:
    """Move to the trash what leaves now. Raises LandingError, LedgerError."""
    removed = Removed()
    while batch := _next(ledger):
        leaving = [row for row in batch if not row["back"]]
        files = [Leaving(row["lies"] or row["folder"], row["file"], row["folder"]) for row in leaving]
        there = discard(folder, day, files)
        with ledger.transaction():
            ledger.tell_removed(row["id"] for row in leaving)
            _forget(ledger, [row["id"] for row in batch])
        removed = Removed(
            removed.instances + sum(there),
            removed.size_bytes + sum(row["size_bytes"] or 0 for row, was in zip(leaving, there, strict=True) if was),
            removed.gone + there.count(False),
        )
    sweep_sides(ledger, folder)
    return removed


def _next(ledger: Ledger) -> list[dict[str, Any]]:
    db = ledger._db  # noqa: SLF001 - as above
    with guard(ledger.path):
        cursor = db.execute(
            f"SELECT o.id, o.folder, o.lies, o.file, o.size_bytes, {_BACK} AS back "  # noqa: S608 - our own words
            f"FROM outgoing o WHERE {_DUE} ORDER BY o.id LIMIT ?",
            (_BATCH,),
        )
        names = [column[0] for column in cursor.description]
        return [dict(zip(names, row, strict=True)) for row in cursor]


def _forget(ledger: Ledger, ids: Iterable[int]) -> None:
    ledger._db.executemany("DELETE FROM outgoing WHERE id = ?", ((each,) for each in ids))  # noqa: SLF001 - as above
