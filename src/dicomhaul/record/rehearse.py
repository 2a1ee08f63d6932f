"""A copy of a ledger, to try on it what would be done."""

import sqlite3
from contextlib import closing
from pathlib import Path

from dicomhaul.record.reader import LedgerReader, guard


def copy_ledger(ledger: LedgerReader, path: Path) -> None:
    """Write all that a ledger holds, whoever has it open, to a new file. Raises LedgerError."""
    with guard(path), closing(sqlite3.connect(path)) as copy:
        ledger._db.backup(copy)  # noqa: SLF001 - a step of the ledger's own, in a module of its own
