"""A ledger whose writer died in the middle of a transaction can be read at once, by whoever only looks."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from dicomhaul.record.ledger import Ledger

# A cache of one page makes SQLite write to the file before the transaction ends; then the process is gone.
DIES = """
import os, sys
from pathlib import Path
from dicomhaul.record.ledger import Ledger
ledger = Ledger.open(Path(sys.argv[1]), wal=sys.argv[2] == "wal")
ledger.set_meta("layout", "kept")
ledger._db.execute("PRAGMA cache_size=1")
ledger._db.execute("BEGIN IMMEDIATE")
for number in range(2000):
    ledger._db.execute("INSERT INTO meta VALUES (?, ?)", (str(number), "lost" * 100))
os._exit(0)
"""


def test_a_file_that_is_no_ledger_yet_is_none(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    assert not Ledger.is_there(path)
    path.touch()
    assert not Ledger.is_there(path)
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA journal_mode=WAL")  # a header, and no more
    assert path.stat().st_size > 0
    assert not Ledger.is_there(path)
    Ledger.open(path).close()
    assert Ledger.is_there(path)


@pytest.mark.parametrize("mode", ["wal", "rollback"])
def test_what_was_not_committed_is_gone_and_the_rest_is_read(mode: str, tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    subprocess.run([sys.executable, "-c", DIES, str(path), mode], check=True)
    written = path if mode == "rollback" else tmp_path / "ledger.sqlite3-wal"
    assert written.stat().st_size > 100_000
    with closing(Ledger.open(path, read_only=True)) as ledger:
        assert (ledger.meta("layout"), ledger.meta("0")) == ("kept", None)
        with pytest.raises(Exception, match="readonly"):
            ledger.set_meta("layout", "changed")
