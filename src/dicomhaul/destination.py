"""One destination, held by one process: its lock, its ledger, its folder."""

import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomhaul.errors import ConfigError
from dicomhaul.land.folder import Folder
from dicomhaul.land.writer import landing_error
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.lock import exclusive
from dicomhaul.record.place import Place, place_of
from dicomhaul.record.recovery import recover

# A full check reads every page; beyond this size only the pages in use are found out.
_CHECKED_LEDGER_BYTES: Final = 64 * 1024 * 1024
_LAYOUT: Final = "layout"
_ID: Final = "dest_id"


@dataclass(frozen=True, slots=True)
class Destination:
    """An open destination. `adopted`: instances that an interrupted run had landed and not recorded."""

    folder: Folder
    place: Place
    ledger: Ledger
    adopted: int

    def layout(self, wanted: str | None, default: str) -> str:
        """Return the layout of this destination, which its first cohort decides. Raises ConfigError for another."""
        there = self.ledger.meta(_LAYOUT)
        if wanted is not None and there is not None and wanted != there:
            raise ConfigError(f"this destination has the layout {there}; give another one its own destination")
        return there or wanted or default


@contextmanager
def open_destination(dest: Path, state_dir: Path | None = None) -> Iterator[Destination]:
    """Hold the destination `dest`, creating it, and finish what an interrupted run had begun to land.

    Raises:
        ConfigError: `state_dir` holds the ledger of another destination, or `dest` is no text.
        LedgerError: another process holds it, or its ledger is damaged.
        NotWritable, DiskFull: it cannot be written.
    """
    try:
        str(dest).encode()
    except UnicodeEncodeError:
        raise ConfigError("the name of the destination is not valid UTF-8") from None
    folder = Folder(dest)
    folder.prepare()
    place = place_of(dest, state_dir)
    try:
        place.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise landing_error(error, f"use {place.folder} for the ledger") from error
    with exclusive(place.lock):
        ledger = Ledger.open(place.ledger, wal=place.wal)
        try:
            if place.ledger.stat().st_size <= _CHECKED_LEDGER_BYTES:
                ledger.check()
            if state_dir is not None:
                _check_belongs(ledger, folder)
            yield Destination(folder, place, ledger, recover(ledger, folder))
        finally:
            ledger.close()


def _check_belongs(ledger: Ledger, folder: Folder) -> None:
    """A ledger that does not lie with its data could be used with other data, which it would call complete."""
    mark = folder.private / _ID
    try:
        there = mark.read_text("ascii") if mark.exists() else None
        said = ledger.meta(_ID)
        if said is None:
            there = there or uuid.uuid4().hex
            mark.write_text(there, "ascii")
            ledger.set_meta(_ID, there)
        elif said != there:
            raise ConfigError(
                f"{ledger.path} is the ledger of another destination, or this one was emptied; use another --state-dir"
            )
    except OSError as error:
        raise landing_error(error, f"use {folder.root} as a destination") from error


def layout_of(dest: Path, state_dir: Path | None = None) -> str | None:
    """Return the layout of a destination that may not exist yet; changes nothing."""
    place = place_of(dest, state_dir)
    if not place.ledger.is_file():
        return None
    with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
        return ledger.meta(_LAYOUT)
