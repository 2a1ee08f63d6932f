"""What an audit log was told of a ledger, held against the ledger: the same instances, with the same bytes.

What the log says is gathered in a temporary table on disk, so that memory does not grow with the log.
"""

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple

from dicomhaul.record.asked import LEDGER_ID
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.outbox import iter_waiting, remembered_head
from dicomhaul.record.reader import guard

_THERE: Final = frozenset({"created", "replaced", "present"})
_GONE: Final = frozenset({"wanted again", "released"})
_SHOWN: Final = 1_000  # differences that are named


class Difference(NamedTuple):
    """An instance of which log and ledger do not say the same."""

    study: str
    series: str
    sop: str
    reason: str


@dataclass(slots=True)
class Comparison:
    """What came of it.

    Attributes:
        instances: that the ledger says have landed.
        waiting: entries that a killed run left in the ledger's outbox; the next run with the log appends them.
        repeated: entries that stand in the logs twice; they count once.
        different: how many instances differ; `differences` names the first of them.
    """

    instances: int = 0
    waiting: int = 0
    repeated: int = 0
    different: int = 0
    differences: list[Difference] = field(default_factory=list)


class Told:
    """What logs have told of one ledger so far.

    Attributes:
        head: the last line of them that the ledger remembers; None: it was never audited.
    """

    def __init__(self, ledger: Ledger, db: sqlite3.Connection) -> None:
        self._ledger = ledger
        self._id = ledger.meta(LEDGER_ID)
        self._db = db
        self._last = 0
        self._comparison = Comparison()
        self.head = remembered_head(ledger)
        db.execute("CREATE TABLE told (study, series, sop, size_bytes, xxh3, PRIMARY KEY (series, sop, study))")

    def take(self, entry: Mapping[str, Any]) -> None:
        """Take the next entry of the logs, of whichever ledger it is."""
        match entry.get("from"):
            case [self._id, int(number)]:
                if number <= self._last:
                    self._comparison.repeated += 1
                    return
                self._last = number
                self._apply(entry)

    def compare(self) -> Comparison:
        """Hold what was told, and what waits to be told, against the ledger. Raises LedgerError."""
        made = self._comparison
        for _, text in iter_waiting(self._ledger, after=self._last):
            made.waiting += 1
            self._apply(json.loads(text))
        for row in self._ledger.iter_files():
            made.instances += 1
            key = (row.series, row.sop, row.study)
            told = self._db.execute(
                "DELETE FROM told WHERE series = ? AND sop = ? AND study = ? RETURNING size_bytes, xxh3", key
            ).fetchone()
            if told is None:
                self._differ(row.study, row.series, row.sop, "the log does not know that it is there")
            elif told != (row.size_bytes, row.xxh3.hex()):
                self._differ(row.study, row.series, row.sop, "the log has it with another size or digest")
        for study, series, sop in self._db.execute("SELECT study, series, sop FROM told ORDER BY series, sop, study"):
            self._differ(study, series, sop, "the log has it, the ledger does not")
        return made

    def _apply(self, entry: Mapping[str, Any]) -> None:
        event = entry.get("event")
        key = tuple(_text(entry.get(name)) for name in ("series", "sop", "study"))
        if event in _THERE:
            size_bytes = entry.get("size_bytes")
            values = (*key, size_bytes if type(size_bytes) is int and abs(size_bytes) < 1 << 63 else None)
            self._db.execute(
                "INSERT OR REPLACE INTO told (series, sop, study, size_bytes, xxh3) VALUES (?, ?, ?, ?, ?)",
                (*values, _text(entry.get("xxh3"))),
            )
        elif event in _GONE:
            self._db.execute("DELETE FROM told WHERE series = ? AND sop = ? AND study = ?", key)
        elif event == "baseline":
            self._db.execute("DELETE FROM told")

    def _differ(self, study: str, series: str, sop: str, reason: str) -> None:
        self._comparison.different += 1
        if len(self._comparison.differences) < _SHOWN:
            self._comparison.differences.append(Difference(study, series, sop, reason))


@contextmanager
def open_told(ledger: Path) -> Iterator[Told]:
    """Open what is to be told of a ledger, which is only read. Raises LedgerError."""
    with (
        closing(Ledger.open(ledger, read_only=True)) as there,
        TemporaryDirectory(prefix="dicomhaul-") as folder,
        guard(Path(folder)),
        closing(sqlite3.connect(Path(folder) / "told.sqlite3", isolation_level=None)) as db,
    ):
        db.execute("PRAGMA journal_mode=OFF")
        db.execute("PRAGMA synchronous=OFF")
        db.execute("BEGIN")
        yield Told(there, db)


def _text(value: object) -> str:
    """What stands in a log may be anything."""
    return value.encode(errors="replace").decode() if isinstance(value, str) else ""
