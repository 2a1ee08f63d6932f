"""The private folder of a destination was prepared by somebody else: links, FIFOs, open modes, a ledger that lies."""

import json
import os
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from dicomhaul.errors import LedgerError, NotWritable
from dicomhaul.record.index_parquet import staged_path, write_index
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.lock import exclusive
from dicomhaul.record.recovery import recover
from support.fakes import prepared_folder

PRECIOUS = b"precious"


@pytest.fixture
def precious(tmp_path: Path) -> Path:
    """A file of the user's that has nothing to do with the destination."""
    path = tmp_path / "precious"
    path.write_bytes(PRECIOUS)
    return path


def test_a_lock_that_is_a_link_truncates_nothing(tmp_path: Path, precious: Path) -> None:
    (tmp_path / "lock").symlink_to(precious)
    with pytest.raises(NotWritable, match="lock"), exclusive(tmp_path / "lock"):
        pass
    assert precious.read_bytes() == PRECIOUS


def test_a_lock_that_is_a_fifo_holds_nobody(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "lock")
    with pytest.raises(NotWritable, match="lock"), exclusive(tmp_path / "lock"):
        pass


@pytest.mark.parametrize("end", ["", "-wal", "-shm", "-journal"])
@pytest.mark.parametrize("read_only", [False, True])
def test_neither_a_ledger_nor_its_journals_are_links(
    tmp_path: Path, precious: Path, end: str, *, read_only: bool
) -> None:
    path = tmp_path / "ledger.sqlite3"
    if end:
        Ledger.open(path).close()
    path.with_name(path.name + end).symlink_to(precious)
    with pytest.raises(LedgerError, match="symbolic link"):
        Ledger.open(path, read_only=read_only)
    assert precious.read_bytes() == PRECIOUS


@pytest.mark.skipif(os.name == "nt", reason="NTFS has no modes")
def test_a_ledger_that_was_copied_with_open_modes_is_private_again(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    Ledger.open(path).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with closing(Ledger.open(path)) as ledger:
        ledger.set_meta("layout", "x")
        modes = {each.name: each.stat().st_mode & 0o777 for each in tmp_path.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_an_index_in_the_making_that_is_a_link_is_not_followed(tmp_path: Path, precious: Path) -> None:
    staged_path(tmp_path / "index.parquet").symlink_to(precious)
    (tmp_path / "index.parquet").symlink_to(precious)
    write_index([], tmp_path / "index.parquet")
    assert precious.read_bytes() == PRECIOUS
    assert not (tmp_path / "index.parquet").is_symlink()


def announced(**said: object) -> str:
    part = {"series_id": 1, "folder": "a", "file": "4.1.dcm", "sop": "4.1", "size": 8, "xxh3": "00" * 16,
            "name": "x.part", "check": 0, "stem": None}  # fmt: skip
    return json.dumps([list((part | said).values())])


@pytest.mark.parametrize(
    "intent",
    [
        announced(folder="../../outside"),
        announced(file="../../precious"),
        announced(file="/etc/passwd"),
        announced(name="../../../precious"),
        announced(name=".."),
        announced(folder=".dicomhaul", file="ledger.sqlite3"),
        announced(xxh3="zz"),
        announced(check=99),
        announced(file=7),
        "[[1]]",
        "{}}",
        "7",
        "[" * 100_000,
    ],
)
def test_an_intent_of_somebody_else_moves_nothing(tmp_path: Path, precious: Path, intent: str) -> None:
    folder = prepared_folder(tmp_path / "dest")
    path = folder.private / "ledger.sqlite3"
    with closing(Ledger.open(path)) as ledger:
        with ledger.transaction():
            ledger.add_intent(intent)
        with pytest.raises(LedgerError):
            recover(ledger, folder)
    assert precious.read_bytes() == PRECIOUS
    assert sorted(each.name for each in tmp_path.iterdir()) == ["dest", "precious"]


def test_triggers_of_somebody_else_have_no_functions_with_effects(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    Ledger.open(path).close()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TRIGGER t AFTER INSERT ON meta BEGIN SELECT load_extension('/tmp/x.so'); END")
    with closing(Ledger.open(path)) as ledger, pytest.raises(LedgerError):
        ledger.set_meta("layout", "x")
