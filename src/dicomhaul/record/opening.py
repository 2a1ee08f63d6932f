"""The file of a ledger: made private, connected to, created, and told from what is none."""

import os
import sqlite3
import uuid
from contextlib import suppress
from importlib import resources
from pathlib import Path
from typing import Final

from dicomhaul.errors import LedgerError

_APPLICATION_ID: Final = 0x64686C31  # "dhl1"
_VERSION: Final = 3
_JOURNALS: Final = ("-wal", "-shm", "-journal")


def attach_uri(path: Path) -> str:
    """Return the name by which another connection attaches a ledger to read it. Raises LedgerError."""
    refuse_links(path)
    return f"{path.absolute().as_uri()}?{_mode(path, read_only=True)}"


def connect(path: Path, *, read_only: bool) -> sqlite3.Connection:
    """Connect to the file. Raises sqlite3.Error; LedgerError for one that cannot be read without writing beside it."""
    uri = f"{path.absolute().as_uri()}?{_mode(path, read_only=read_only)}"
    db = sqlite3.connect(uri, uri=True, isolation_level=None, check_same_thread=False, timeout=10)
    db.execute(f"PRAGMA query_only={'ON' if read_only else 'OFF'}")
    db.execute("PRAGMA trusted_schema=OFF")  # the file may be somebody else's, triggers and views included
    return db


def is_blank(db: sqlite3.Connection) -> bool:
    """Say whether a file holds nothing yet: no ledger, and nothing of somebody else's."""
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    (tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return not application_id and not tables


def refuse_links(path: Path) -> None:
    """SQLite would follow a link and write where it leads, to its journals' end, too. Raises LedgerError."""
    for each in (path, *(path.with_name(f"{path.name}{end}") for end in _JOURNALS)):
        if each.is_symlink():
            raise LedgerError(f"the ledger {path} cannot be used: {each.name} is a symbolic link")


def keep_private(path: Path) -> None:
    """Make the file where there is none; it, and what a killed run left beside it, become private. Raises OSError."""
    if os.name != "nt":
        for journal in (path.with_name(f"{path.name}{end}") for end in _JOURNALS):
            with suppress(FileNotFoundError, PermissionError):  # as below
                journal.chmod(0o600)
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY | getattr(os, "O_NONBLOCK", 0), 0o600)
    try:
        if os.name != "nt" and os.fstat(descriptor).st_mode & 0o077:
            with suppress(PermissionError):  # it is not ours, or this filesystem knows no modes
                os.fchmod(descriptor, 0o600)
    finally:
        os.close(descriptor)


def _mode(path: Path, *, read_only: bool) -> str:
    # Not plain `mode=ro`: what a killed run left half done could not be rolled back, and the file not be read.
    if not read_only or os.access(path.parent, os.W_OK):
        return "mode=rw"
    journals = (path.with_name(f"{path.name}{end}") for end in ("-wal", "-journal"))
    if any(journal.exists() and journal.stat().st_size for journal in journals):
        raise LedgerError(f"a run that was killed left a journal beside {path}: reading it needs write access there")
    return "mode=ro&immutable=1"


def create(db: sqlite3.Connection) -> None:
    """Make a blank file a ledger, with an id of its own."""
    schema = (resources.files("dicomhaul.record") / "schema.sql").read_text(encoding="utf-8")
    db.executescript(
        f"BEGIN; {schema} INSERT INTO meta VALUES ('ledger_id', '{uuid.uuid4().hex}'); "  # noqa: S608 - our own words
        f"PRAGMA application_id={_APPLICATION_ID}; PRAGMA user_version={_VERSION}; COMMIT;"
    )


def check_kind(db: sqlite3.Connection, path: Path) -> None:
    """See that a file is a ledger that this version reads. Raises LedgerError."""
    if is_blank(db):
        raise LedgerError(f"the ledger {path} is empty; nothing was pulled here")
    (application_id,) = db.execute("PRAGMA application_id").fetchone()
    if application_id != _APPLICATION_ID:
        raise LedgerError(f"{path} is not a ledger of dicomhaul")
    (version,) = db.execute("PRAGMA user_version").fetchone()
    if version != _VERSION:
        raise LedgerError(f"{path} is a ledger of version {version}; this dicomhaul reads version {_VERSION}")
