"""A series takes its place, as a new revision or because it belongs elsewhere now: noted, exchanged, recorded.

note the inode of our folder, which then tells whether the next step was taken     [one commit for all that are due]
exchange the folders                                                              [land.exchange]
record where the new revision lies, and where the old one does now                [one commit]

Interrupted anywhere, `recover_swaps` goes on with it when the destination is opened again.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dicomhaul.land.exchange import inode_of, take_place
from dicomhaul.land.folder import PRIVATE, Folder
from dicomhaul.land.trash import clear_empty, sweep_beside
from dicomhaul.land.writer import landing_error
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.reader import REVISING, guard

_LOST = "its folder was gone before it could take its place"


class Due(NamedTuple):
    """A series that is complete beside its place, or that lies, complete or not, where it belonged.

    Attributes:
        series_id: the ledger's key.
        side: where it lies: a folder of ours, or the one where it belonged.
        place: the folder that it belongs into.
        inode: of `side`, as it was noted; None: nothing was begun.
    """

    series_id: int
    side: str
    place: str
    inode: int | None


def due_swaps(ledger: Ledger, series: Sequence[int] | None = None) -> list[Due]:
    """Return what is due among these series; None: among all."""
    rows: list[tuple[int, str, str, int | None]] = []
    db = ledger._db  # noqa: SLF001 - a step of the ledger's own, in a module of its own
    columns = (
        "w.series_id, s.folder, w.folder, w.inode FROM swap w JOIN series s ON s.id = w.series_id "
        f"AND (s.state = 1 OR NOT {REVISING})"
    )
    with guard(ledger.path):
        if series is None:
            rows = db.execute(f"SELECT {columns}").fetchall()
        else:
            for each in series:
                rows += db.execute(f"SELECT {columns} WHERE w.series_id = ?", (each,)).fetchall()
    return [Due._make(row) for row in rows]


def swap_due(ledger: Ledger, folder: Folder, series: Sequence[int] | None = None) -> int:
    """Let what is due among these series take its place; None: among all. Return how many that were.

    Raises LandingError, LedgerError.
    """
    due = due_swaps(ledger, series)
    if not due:
        return 0
    db = ledger._db  # noqa: SLF001 - as above
    begun = [each._replace(inode=each.inode or inode_of(folder, each.side)) for each in due]
    with ledger.transaction():
        db.executemany(
            "UPDATE swap SET inode = ? WHERE series_id = ?", [(each.inode, each.series_id) for each in begun]
        )
    done = [(each, _exchange(ledger, folder, each)) for each in begun]
    with ledger.transaction():
        for each, there in done:
            if there:
                record_swap(ledger, each)
    _clear([each.side for each, there in done if there], folder)
    folder.forget()
    for lost in [each for each, there in done if not there]:
        with ledger.transaction():
            db.execute("UPDATE swap SET inode = NULL WHERE series_id = ?", (lost.series_id,))
        ledger.plan_again([(lost.series_id, sop) for sop in ledger.known(lost.series_id).landed], _LOST)
        if not _is_beside(lost.side):  # it comes to where it belongs
            with ledger.transaction():
                record_swap(ledger, lost)
    return len(due)


def _is_beside(side: str) -> bool:
    return side.startswith(f"{PRIVATE}/")


def _clear(sides: Iterable[str], folder: Folder) -> None:
    try:
        for side in sides:
            if not _is_beside(side):
                clear_empty(folder, side)
    except OSError as error:
        raise landing_error(error, "remove a folder that is empty") from error


def _exchange(ledger: Ledger, folder: Folder, due: Due) -> bool:
    if due.inode is None:
        return False
    db = ledger._db  # noqa: SLF001 - as above
    with guard(ledger.path):
        known = {
            file for (file,) in db.execute("SELECT file FROM outgoing WHERE folder = ? AND lies IS NULL", (due.place,))
        }
    return take_place(folder, due.side, due.place, due.inode, known)


def record_swap(ledger: Ledger, due: Due) -> None:
    """Record, inside the caller's transaction, that a series has taken its place, and where the old files lie now."""
    db = ledger._db  # noqa: SLF001 - as above
    db.execute("UPDATE series SET folder = ? WHERE id = ?", (due.place, due.series_id))
    db.execute("DELETE FROM swap WHERE series_id = ?", (due.series_id,))
    db.execute("UPDATE outgoing SET lies = ? WHERE folder = ? AND lies IS NULL", (due.side, due.place))
    # What is on its way out of the folder itself went along with it.
    db.execute("UPDATE outgoing SET folder = ? WHERE folder = ? AND lies IS NULL", (due.place, due.side))
    db.execute("UPDATE outgoing SET after = NULL WHERE after = ?", (due.series_id,))
    db.execute("INSERT OR REPLACE INTO meta VALUES ('index', 'stale')")


def recover_swaps(ledger: Ledger, folder: Folder) -> None:
    """Finish what an interrupted run had begun, and remove side folders that nobody refers to.

    Raises LandingError, LedgerError.
    """
    swap_due(ledger, folder)
    sweep_sides(ledger, folder)


def sweep_sides(ledger: Ledger, folder: Folder) -> None:
    """Remove side folders that nobody refers to, while nothing is being landed. Raises LandingError, LedgerError."""
    db = ledger._db  # noqa: SLF001 - as above
    with guard(ledger.path):
        rows = db.execute(
            "SELECT s.folder FROM swap w JOIN series s ON s.id = w.series_id UNION "
            "SELECT lies FROM outgoing WHERE lies IS NOT NULL"
        ).fetchall()
    sweep_beside(folder, {str(name) for (name,) in rows})
