"""Files that somebody else brought become instances of a destination: matched, given their place, recorded.

Each file (`land.found`) is one of these; the first that fits:

| what | when | what becomes of it |
|---|---|---|
| not a file, not DICOM, damaged | `land.found` says so | left alone, told |
| unwanted | no cohort wants this (study, series, SOP), or it is on its way out | left alone |
| already there | the ledger has this instance with these bytes, and its file is there | left alone |
| contested | the ledger or a file before has it with other bytes, or another file is in its place | left alone, told |
| adopted | everything else | gets its place, and a receipt |

What gets its place is announced (an intent), renamed and recorded as everything that lands is, so a crash at any moment
leaves it where it was, or where it belongs. Nothing that is there is overwritten.

A series is complete once as many instances are there as are stated, and where IDC's index states how many bytes, as
many bytes: that is exact to the byte, so it tells a cut file, and another revision, without a request. What is not
proven so stays planned, for the next pull to hold against the source's inventory.
"""

import os
import sqlite3
import stat
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from dicomhaul.land.folder import Folder, instance_file
from dicomhaul.land.found import Flaw, Found, read_found, version_of
from dicomhaul.land.writer import Staged
from dicomhaul.model import Proof, State, is_identifier
from dicomhaul.record.bring import new_name
from dicomhaul.record.keys import pack_stem, unpack_stem
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.placing import Came, How, Placer, Taken, remove_unchanged, sync_above
from dicomhaul.record.reader import guard
from dicomhaul.record.recovery import intent_batch, receipt_of

ADOPTED: Final = "adopted"  # the route by which a series came that nobody was asked for
_BATCH: Final = 1_000
_BATCH_BYTES: Final = 256 << 20
_CONCLUDED: Final = 10_000  # series in memory at a time
_WANTED: Final = (
    "SELECT s.id, s.folder, s.whole AND s.state <> 1, s.revision IS NOT NULL, i.state, i.size_bytes, i.xxh3, i.stem "
    "FROM series s "
    "LEFT JOIN instance i ON i.series_id = s.id AND i.sop = :sop WHERE s.series = :series AND s.study = :study "
    "AND EXISTS (SELECT 1 FROM member m WHERE m.series_id = s.id) "
    "AND NOT EXISTS (SELECT 1 FROM swap w WHERE w.series_id = s.id)"
)
_SECOND: Final = "another file is the same instance with other bytes"
_OTHER_BYTES: Final = "the ledger has it with other bytes"
_LEAVING: Final = "SELECT 1 FROM outgoing WHERE sop = :sop AND series = :series AND study = :study LIMIT 1"
_BEGUN: Final = (
    "SELECT s.id, s.whole, s.expected, CASE WHEN s.revision IS NOT NULL THEN s.size_bytes END, s.cut, "
    "sum(i.state = 1), sum(i.state <> 1), sum(i.size_bytes) FROM series s JOIN instance i ON i.series_id = s.id "
    "WHERE s.id > :last AND s.state = 0 AND s.came_by = :route "
    "AND NOT EXISTS (SELECT 1 FROM swap w WHERE w.series_id = s.id) GROUP BY s.id ORDER BY s.id LIMIT :most"
)
# What bears its object's name is held against the bucket's listing by the next pull; of the rest nobody could tell.
_UNPROVEN: Final = (
    "UPDATE instance SET state = 0, size_bytes = NULL, xxh3 = NULL, checked = 0, "
    "reason = 'it may be cut, or of another revision' WHERE series_id = ? AND stem IS NULL AND state = 1"
)


class Fate(NamedTuple):
    """What became of a file that was not taken: a word of the table above, and why."""

    what: str
    path: str
    reason: str


@dataclass(slots=True)
class Adoption:
    """Running totals.

    Attributes:
        files_seen: all that were looked at, links and devices among them.
        not_files: links, devices, sockets.
        not_dicom: files that are something else.
        damaged: instances that end too early or cannot be read.
        unwanted: instances that no cohort of the destination wants.
        already_there: instances that the destination has.
        contested: instances of which there is another one with other bytes, or in whose place another file lies.
        adopted: instances that are recorded now: `linked`, `copied`, `moved`, and those that lay right.
        bytes_adopted: their bytes.
        series_completed: series that are complete by that.
        series_unproven: series that have as many instances as are stated, but not as many bytes; they stay planned.
    """

    files_seen: int = 0
    not_files: int = 0
    not_dicom: int = 0
    damaged: int = 0
    unwanted: int = 0
    already_there: int = 0
    contested: int = 0
    adopted: int = 0
    linked: int = 0
    copied: int = 0
    moved: int = 0
    bytes_adopted: int = 0
    series_completed: int = 0
    series_unproven: int = 0


class _Wanted(NamedTuple):
    """A series that is wanted, and what is known of one instance of it."""

    series_id: int
    folder: str
    any_instance: bool  # else those that the ledger names: some were chosen, or the series is complete
    has_revision: bool
    state: int | None
    size_bytes: int | None
    xxh3: bytes | None
    stem: bytes | str | None


class _Begun(NamedTuple):
    """A series of which something was adopted, and that is not complete."""

    series_id: int
    whole: bool
    expected: int | None
    stated_bytes: int | None
    cut: bool
    landed: int
    absent: int
    size_bytes: int | None


class Adopter:
    """Takes files one by one; `finish` ends it.

    Args:
        ledger: of the destination, with the cohorts planned.
        folder: the destination.
        how: what is done with a file that lies somewhere else; "move" for those that lie in the destination.
        in_place: the files lie in the destination.
        dry_run: touch no file; the ledger is one that is thrown away.
        told: hears what was left alone and why.
    """

    def __init__(
        self,
        ledger: Ledger,
        folder: Folder,
        *,
        how: How,
        in_place: bool,
        dry_run: bool = False,
        told: Callable[[Fate], None] = lambda _: None,
    ) -> None:
        self.totals = Adoption()
        self._ledger = ledger
        self._db: sqlite3.Connection = ledger._db  # noqa: SLF001 - a step of the ledger's own, in a module of its own
        self._folder = folder
        self._placer = Placer(folder, how)
        self._how = how
        self._in_place = in_place
        self._dry_run = dry_run
        self._told = told
        self._by_stem = ledger.names_by_stem()
        self._batch: dict[tuple[int, str], Taken] = {}
        self._batch_bytes = 0
        self._removed: list[str] = []  # what a killed move had left, and whose folders are still to be synced
        self._early: set[str] = set()  # files that were looked at before their turn
        with guard(ledger.path):
            (self._leaving,) = self._db.execute("SELECT EXISTS (SELECT 1 FROM outgoing)").fetchone()
            # On disk, as SQLite's temporary tables are here: which instances this adoption has seen in their place.
            self._db.execute("CREATE TEMP TABLE IF NOT EXISTS seen (series_id, sop, PRIMARY KEY (series_id, sop))")

    def take(self, found: Found) -> None:
        """Judge one file, and adopt it if that is what it is for. Raises LandingError, LedgerError."""
        if found.path in self._early:
            self._early.discard(found.path)
            return
        totals = self.totals
        totals.files_seen += 1
        if found.flaw is not None:
            self._leave_flawed(found)
            return
        wanted = self._wanted(found)
        if wanted is None:
            totals.unwanted += 1
            self._told(Fate("unwanted", found.path, "no cohort of the destination wants it"))
            return
        key = (wanted.series_id, found.identity.sop)
        before = self._batch.get(key)
        if before is not None:
            self._compare(found, before.part.xxh3, _SECOND)
            return
        stem = _stem_of(found.name) if wanted.has_revision else None
        # One that is there keeps its name, whatever the second one is called.
        named = stem if wanted.state != State.LANDED else unpack_stem(wanted.stem)
        file = instance_file(found.identity.sop, named if self._by_stem else None)
        place = self._folder.path(wanted.folder, file)
        there = _status(place)
        if wanted.state == State.LANDED and self._is_settled(wanted, found, place, there):
            return
        if there is not None and not (self._in_place and _is_same(there, found)):
            if not self._settles_who_is_there(place, found):
                totals.contested += 1
                self._told(Fate("contested", found.path, "another file is in its place"))
            return
        name = "" if there is not None else new_name()
        part = Staged(
            wanted.series_id, wanted.folder, file, found.identity.sop, found.size_bytes, found.xxh3, name, stem=stem
        )
        self._batch[key] = Taken(part, found)
        self._batch_bytes += found.size_bytes
        if len(self._batch) >= _BATCH or self._batch_bytes >= _BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Give what was taken its place, and record it. Raises LandingError, LedgerError."""
        batch = list(self._batch.values())
        self._batch.clear()
        self._batch_bytes = 0
        if not batch:
            return
        intent_id = None
        if self._dry_run:
            came = {each.found.path: self._placer.foresee(each) for each in batch}
        else:
            came, announced = self._placer.stage(batch)
            if announced:
                with self._ledger.transaction():
                    intent_id = self._ledger.add_intent(intent_batch(announced))
                    self._mark(announced)  # recovery records them without us
            came |= self._placer.place(batch, came)
        for each in batch:
            if each.found.path not in came:
                self._leave_changed(each.found)
        adopted = [each for each in batch if each.found.path in came]
        self._record([each.part for each in adopted], intent_id)
        for each in adopted:
            how = came[each.found.path]
            self._count(each, how if self._dry_run else self._placer.clear(each, how))
        if self._how == "move" and not self._dry_run:
            sync_above(each.found.path for each in adopted)

    def finish(self) -> None:
        """Record what is left, and complete the series that are proven by what is there."""
        self.flush()
        self._settle_removed()
        with self._ledger.transaction():
            values = {"route": ADOPTED, "most": _CONCLUDED, "last": -1}
            while rows := self._db.execute(_BEGUN, values).fetchall():
                for row in rows:
                    self._conclude(_Begun._make(row))
                values["last"] = rows[-1][0]
            self._db.execute("DROP TABLE temp.seen")

    def _conclude(self, begun: _Begun) -> None:
        """See whether a series is complete; inside the transaction of `finish`."""
        if begun.absent or begun.cut or not begun.landed:
            return
        if not begun.whole:
            self._complete(begun, Proof.INVENTORY)
        elif begun.expected is None:
            # Else the next pull would ask for the whole series, not knowing how much of it is missing.
            self._db.execute("UPDATE series SET cut = 1 WHERE id = ?", (begun.series_id,))
        elif begun.landed == begun.expected:
            if begun.stated_bytes in {None, begun.size_bytes}:
                self._complete(begun, Proof.COUNT)
            else:
                self.totals.series_unproven += 1
                self._db.execute(_UNPROVEN, (begun.series_id,))

    def _complete(self, begun: _Begun, proof: Proof) -> None:
        self._ledger.complete_series(begun.series_id, proof, None, ADOPTED)
        self.totals.series_completed += 1

    # -- judging --------------------------------------------------------------------------------------------------

    def _leave_flawed(self, found: Found) -> None:
        totals = self.totals
        if found.flaw is Flaw.DAMAGED:
            totals.damaged += 1
        elif found.flaw is Flaw.NOT_DICOM:
            totals.not_dicom += 1
        else:
            totals.not_files += 1
        self._told(Fate(str(found.flaw), found.path, found.reason))

    def _wanted(self, found: Found) -> _Wanted | None:
        """Return whom a file's instance belongs to; None: nobody wants it."""
        identity = found.identity
        if not is_identifier(identity.sop):  # it would name a file
            return None
        named = {"study": identity.study, "series": identity.series, "sop": identity.sop}
        with guard(self._ledger.path):
            row = self._db.execute(_WANTED, named).fetchone()
            if row is None or (self._leaving and self._db.execute(_LEAVING, named).fetchone() is not None):
                return None
        wanted = _Wanted._make(row)
        return wanted if wanted.any_instance or wanted.state is not None else None

    def _is_settled(self, wanted: _Wanted, found: Found, place: Path, there: os.stat_result | None) -> bool:
        """Say whether a file of an instance that the ledger has is dealt with; not if its own file is gone."""
        same = found.xxh3 == wanted.xxh3
        if self._dry_run and self._was_seen(wanted, found):  # it would be there
            return self._compare(found, wanted.xxh3, _SECOND)
        if there is None or not stat.S_ISREG(there.st_mode) or there.st_size != wanted.size_bytes:
            return not same and self._compare(found, wanted.xxh3, _OTHER_BYTES)
        if same and _is_name_of(found, place) and self._was_seen(wanted, found):
            self.totals.files_seen -= 1  # this very file, which was moved to where it was still to be looked at
            return True
        self._compare(found, wanted.xxh3, _OTHER_BYTES)
        if same and not self._dry_run and self._is_left_over(found, place, there):
            remove_unchanged(found)
            self._removed.append(found.path)
            if len(self._removed) >= _BATCH:
                self._settle_removed()
        return True

    def _settle_removed(self) -> None:
        sync_above(self._removed)
        self._removed.clear()

    def _is_left_over(self, found: Found, place: Path, there: os.stat_result) -> bool:
        """Say whether a killed move has left this: a second name of the landed file, or the file that was copied."""
        if _is_same(there, found):
            return self._how == "move" and there.st_nlink > 1 and not _is_name_of(found, place)
        return self._how == "move" and not self._in_place

    def _was_seen(self, wanted: _Wanted, found: Found) -> bool:
        with guard(self._ledger.path):
            row = self._db.execute(
                "SELECT 1 FROM seen WHERE series_id = ? AND sop = ?", (wanted.series_id, found.identity.sop)
            ).fetchone()
        return row is not None

    def _compare(self, found: Found, xxh3: bytes | None, reason: str) -> bool:
        if found.xxh3 == xxh3:
            self.totals.already_there += 1
        else:
            self.totals.contested += 1
            self._told(Fate("contested", found.path, reason))
        return True

    def _settles_who_is_there(self, place: Path, found: Found) -> bool:
        """A file that nobody knows lies where this one belongs: if it is the same instance, it is the first."""
        other = read_found(os.fspath(place), sync=not self._dry_run)
        same = other.flaw is None and other.identity[:3] == found.identity[:3]
        if not (same and self._in_place):
            return False
        self.take(other)
        self._early.add(other.path)
        self.totals.files_seen -= 1
        self.take(found)
        return True

    def _leave_changed(self, found: Found) -> None:
        self.totals.damaged += 1
        self._told(Fate(str(Flaw.DAMAGED), found.path, "it was written to after it was read"))

    # -- recording ------------------------------------------------------------------------------------------------

    def _record(self, parts: list[Staged], intent_id: int | None) -> None:
        if not parts and intent_id is None:
            return
        with self._ledger.transaction():
            self._ledger.add_receipts(receipt_of(part) for part in parts)
            if intent_id is not None:
                self._ledger.drop_intent(intent_id)
            self._db.executemany("INSERT OR IGNORE INTO seen VALUES (?, ?)", ((p.series_id, p.sop) for p in parts))
            self._mark(parts)
            self._db.execute("INSERT OR REPLACE INTO meta VALUES ('index', 'stale')")

    def _mark(self, parts: list[Staged]) -> None:
        """Note that some of these series was adopted: whoever goes on after a crash sees whether they are complete."""
        series = {part.series_id for part in parts}
        self._db.executemany(
            "UPDATE series SET came_by = ? WHERE id = ? AND state = 0", ((ADOPTED, series_id) for series_id in series)
        )

    def _count(self, taken: Taken, came: Came) -> None:
        totals = self.totals
        totals.adopted += 1
        totals.bytes_adopted += taken.part.size_bytes
        totals.linked += came is Came.LINKED
        totals.copied += came is Came.COPIED
        totals.moved += came is Came.MOVED


def _stem_of(name: str) -> str | None:
    """Return the stem of the object that a file was, if it is called so: IDC's objects are called by a UUID."""
    return name if isinstance(pack_stem(name), bytes) else None


def _is_name_of(found: Found, place: Path) -> bool:
    """Say whether what is the same file has the same name, too, whatever leads there and whether or not case counts."""
    above, name = os.path.split(found.path)
    try:
        same = os.path.samestat(os.stat(above), place.parent.stat())  # noqa: PTH116 - it was listed so
    except OSError:
        return True  # nobody knows
    return same and _plain(name) == _plain(place.name)


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _is_same(status: os.stat_result, found: Found) -> bool:
    return version_of(status) == found.version
