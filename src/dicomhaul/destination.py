"""One destination, or one shard of it, held by one process: its lock, its ledger, its folder."""

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomhaul.config.options import NameBy
from dicomhaul.durable import sync_folder
from dicomhaul.errors import ConfigError
from dicomhaul.land.folder import Folder
from dicomhaul.land.writer import landing_error
from dicomhaul.model import Shard
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.lock import exclusive
from dicomhaul.record.place import Place, make_folder, place_of, shard_folder, shards_at
from dicomhaul.record.recovery import recover
from dicomhaul.trail.log import check_outside
from dicomhaul.trail.principal import principal

_LAYOUT: Final = "layout"
_NAME_BY: Final = "name_by"
_SOP: Final = "sop"
_ID: Final = "dest_id"
_SHOWN_SHARDS: Final = 4


@dataclass(frozen=True, slots=True)
class Destination:
    """An open destination, or one shard of it.

    `adopted`: instances that an interrupted run had landed and not recorded. `lock`: the descriptor that holds it, for
    processes that write here, too.
    """

    folder: Folder
    place: Place
    ledger: Ledger
    adopted: int
    lock: int
    shard: Shard | None = None

    def layout(self, wanted: str | None, default: str) -> str:
        """Return the layout of this destination, which its first cohort decides. Raises ConfigError for another."""
        there = self.ledger.meta(_LAYOUT)
        if wanted is not None and there is not None and wanted != there:
            raise ConfigError(f"this destination has the layout {there}; give another one its own destination")
        return there or wanted or default

    def name_by(self, wanted: NameBy | None) -> NameBy:
        """Return what names files here, which the first cohort decides; None takes what there is, "sop" at first.

        Raises ConfigError for another one than what is there.
        """
        chosen = _naming(self.ledger, wanted)
        if self.ledger.meta(_NAME_BY) != chosen:
            self.ledger.set_meta(_NAME_BY, chosen)
        return chosen


def _naming(ledger: Ledger, wanted: NameBy | None) -> NameBy:
    there = ledger.meta(_NAME_BY) or _SOP if ledger.cohorts() else None
    if wanted is not None and there is not None and wanted != there:
        raise ConfigError(
            f"the files of this destination are named by --name-by {there}; give another naming its own destination"
        )
    return "crdc" if (there or wanted) == "crdc" else _SOP


def find_place(dest: Path, state_dir: Path | None = None, shard: Shard | None = None) -> Place:
    """Return where the ledger of `dest`, or of one shard of it, lives; changes nothing.

    Raises ConfigError where that would make a destination that is both one whole and shards, or shards of two splits:
    nobody could tell any more whose an instance is.
    """
    shards = shards_at(dest, state_dir)
    if shard is None:
        if shards:
            raise ConfigError(
                f"{dest} holds {_named(shards)}, not merged yet: run `dicomhaul merge {dest}`, or name one by --shard"
            )
    elif others := [each for each in shards if each.of != shard.of]:
        raise ConfigError(
            f"{dest} holds {_named(others)}, not of {shard.of}: run `dicomhaul merge {dest}`, or keep to {others[0].of}"
        )
    elif _was_asked_for_as_a_whole(place_of(dest, state_dir)):
        raise ConfigError(f"{dest} was pulled, or merged, as a whole: leave --shard out, or choose another destination")
    return place_of(dest, state_dir, shard)


def _named(shards: Sequence[Shard]) -> str:
    some = ", ".join(map(str, shards[:_SHOWN_SHARDS]))
    return f"the shards {some}, …" if len(shards) > _SHOWN_SHARDS else f"the shard{'s' * (len(shards) > 1)} {some}"


def _was_asked_for_as_a_whole(place: Place) -> bool:
    if not Ledger.is_there(place.ledger):
        return False
    with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
        return bool(ledger.cohorts())  # without any, it is what a merge left that did not come to its end


@contextmanager
def open_destination(
    dest: Path, state_dir: Path | None = None, shard: Shard | None = None, *, audit_log: Path | None = None
) -> Iterator[Destination]:
    """Hold the destination `dest`, or one shard of it, and finish what an interrupted run had begun to land.

    It is made where it is not there. Several shards of one destination can be held at the same time. `audit_log` is
    told of all that is done here, this included.

    Raises:
        ConfigError: `state_dir` holds the ledger of another destination, `dest` is no text, the audit log would lie in
            it, or see `find_place`.
        AuditError: the audit log cannot be used.
        LedgerError: another process holds it, or its ledger is damaged.
        NotWritable, DiskFull: it cannot be written.
    """
    find_place(dest, state_dir, shard)  # before anything is made
    _check_log(dest, audit_log)
    with _locked(dest, state_dir, shard) as (folder, place, lock):
        find_place(dest, state_dir, shard)  # nobody else can come in any more
        with _opened(folder, place, lock, state_dir, shard, audit_log=audit_log) as destination:
            yield destination


@contextmanager
def hold_whole(dest: Path, state_dir: Path | None = None, *, audit_log: Path | None = None) -> Iterator[Destination]:
    """As `open_destination`, although `dest` may hold shards: for who merges them."""
    _check_log(dest, audit_log)
    with (
        _locked(dest, state_dir, None) as (folder, place, lock),
        _opened(folder, place, lock, state_dir, None, audit_log=audit_log) as destination,
    ):
        yield destination


@contextmanager
def hold_at_rest(
    dest: Path, state_dir: Path | None = None, shard: Shard | None = None
) -> Iterator[tuple[Folder, Place]]:
    """Hold what is there of `dest`, or of a shard, with nothing left to recover and its ledger closed, to be read.

    Errors as `open_destination`.
    """
    with _locked(dest, state_dir, shard) as (folder, place, lock):
        with _opened(folder, place, lock, state_dir, shard):
            pass  # what an interrupted run had begun to land is recorded now
        yield folder, place


@contextmanager
def _locked(dest: Path, state_dir: Path | None, shard: Shard | None) -> Iterator[tuple[Folder, Place, int]]:
    try:
        str(dest).encode()
    except UnicodeEncodeError:
        raise ConfigError("the name of the destination is not valid UTF-8") from None
    folder = Folder(dest, shard_folder(shard))
    folder.prepare()
    place = place_of(dest, state_dir, shard)
    if state_dir is not None:
        try:
            make_folder(state_dir, place)
        except OSError as error:
            raise landing_error(error, f"use {place.folder} for the ledger") from error
    with exclusive(place.lock) as lock:
        yield folder, place, lock


@contextmanager
def _opened(
    folder: Folder,
    place: Place,
    lock: int,
    state_dir: Path | None,
    shard: Shard | None,
    *,
    audit_log: Path | None = None,
) -> Iterator[Destination]:
    ledger = Ledger.open(place.ledger, wal=place.wal)
    try:
        ledger.check()
        if state_dir is not None:
            _check_belongs(ledger, folder)
        if audit_log is not None:
            ledger.audit(audit_log, principal())
        yield Destination(folder, place, ledger, recover(ledger, folder), lock, shard)
    finally:
        ledger.close()


def _check_log(dest: Path, audit_log: Path | None) -> None:
    if audit_log is not None:
        check_outside(audit_log, dest)


def _check_belongs(ledger: Ledger, folder: Folder) -> None:
    """A ledger that does not lie with its data could be used with other data, which it would call complete."""
    mark = folder.private / _ID
    try:
        said = ledger.meta(_ID)
        there = _read_mark(mark, make=said is None)
    except OSError as error:
        raise landing_error(error, f"use {folder.root} as a destination") from error
    if said is None and there is not None:
        ledger.set_meta(_ID, there)
    elif said != there:
        raise ConfigError(
            f"{ledger.path} is the ledger of another destination, or this one was emptied; use another --state-dir"
        )


def _read_mark(mark: Path, *, make: bool) -> str | None:
    if make and not mark.exists():
        written = mark.with_name(f"{_ID}-{uuid.uuid4().hex}")
        with written.open("x", encoding="ascii") as file:
            file.write(uuid.uuid4().hex)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(written, mark)  # whole, and only if another shard was not the first
        except FileExistsError:
            pass
        except OSError:  # no hard links here
            shutil.copyfile(written, mark)
        finally:
            written.unlink()
        sync_folder(mark.parent)  # before a ledger refers to it
    return mark.read_text("ascii") if mark.exists() else None


def layout_of(dest: Path, state_dir: Path | None = None, shard: Shard | None = None) -> str | None:
    """Return the layout of a destination that may not exist yet; changes nothing. Raises as `find_place`."""
    place = find_place(dest, state_dir, shard)
    if not Ledger.is_there(place.ledger):
        return None
    with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
        return ledger.meta(_LAYOUT)


def naming_of(
    dest: Path, state_dir: Path | None = None, shard: Shard | None = None, *, wanted: NameBy | None = None
) -> NameBy:
    """Return what would name files at a destination that may not exist yet; changes nothing.

    Raises as `find_place` and `Destination.name_by`.
    """
    place = find_place(dest, state_dir, shard)
    if not Ledger.is_there(place.ledger):
        return wanted or _SOP
    with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
        return _naming(ledger, wanted)
