"""Merging: the shards of a destination become one whole, or several destinations become one more.

hold every ledger, and adopt what crashes left            [destination]
refuse to make a whole of one tree that lacks a shard     [record.absent]
unite them, and bring the files of other trees before     [record.unite, record.bring]
that is committed
index.parquet                                             [run, record]
remove the shards' folders, which nobody needs any more

Killed at any moment, it leaves the old state or the new, and running it again ends well.
"""

import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import anyio.from_thread

from dicomhaul.config.source import resolve_sources
from dicomhaul.destination import Destination, find_place, hold_at_rest, hold_whole
from dicomhaul.durable import sync_folder
from dicomhaul.errors import ConfigError, LedgerError
from dicomhaul.land.folder import Folder
from dicomhaul.land.writer import landing_error
from dicomhaul.model import Failure, Query, Shard
from dicomhaul.record.absent import Absent, absent_shards
from dicomhaul.record.asked import LEDGER_ID, Fingerprint
from dicomhaul.record.bring import Bringer
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.place import Place, is_shard_folder, place_of, shard_folder, shards_at
from dicomhaul.record.reader import CohortRow, Standing
from dicomhaul.record.unite import Other, United, unite
from dicomhaul.steps.index import write_index
from dicomhaul.steps.question import fingerprint

_SHOWN: Final = 3
_MERGED: Final = "merged"  # in `meta`: the folders of shards that are merged, and needed by nobody


@dataclass(frozen=True, slots=True)
class Merged:
    """What came of it.

    Attributes:
        dest: the destination that has it all now.
        standing: what its ledger says.
        failures: what is missing there, by name.
        absent: shards that were never merged into it, by cohort; what they would bring is in neither of the two above.
        united: what was united.
        linked: instances whose file the destination shares with another by a hard link.
        copied: instances that had to be copied, the other destination being on another filesystem.
    """

    dest: Path
    standing: Standing
    failures: tuple[Failure, ...]
    absent: tuple[Absent, ...]
    united: United
    linked: int
    copied: int


class _Part(NamedTuple):
    """What is to be merged."""

    dest: Path
    shard: Shard | None

    def __str__(self) -> str:
        return str(self.dest) if self.shard is None else f"shard {self.shard} of {self.dest}"


def merge(
    dests: Sequence[str | os.PathLike[str]],
    to: str | os.PathLike[str] | None = None,
    *,
    state_dir: Path | None = None,
    audit_log: Path | None = None,
) -> Merged:
    """Merge the shards of one destination, or several destinations into another one.

    The N shards of one query become one cohort: the same query without a shard, which the same `pull` then finds
    planned. Of a series that several destinations hold in different revisions, or with other bytes, the one that was
    asked for last wins; `Merged.united.contested` names it. Merging again changes nothing.

    In one destination all N must be there. Another one may lack some (`Merged.absent`) until they are merged, too.

    Args:
        dests: one destination that was pulled in shards; or, with `to`, any number, sharded or not, which stay as they
            are.
        to: the destination to make, or to add to: files are linked into it, or copied where that is impossible.
        state_dir: where the ledger of the merged destination lives, if not in its `.dicomhaul`.
        audit_log: tell this file, outside of it, what becomes of the merged destination, see `trail`.

    Raises:
        ConfigError: their layouts differ, shards of the one destination are missing, or it is not said where to.
        LedgerError: somebody is at work on one of them, nothing was ever pulled to it, or a sync of it has not ended.
        LandingError: the merged destination cannot be written.
    """
    target, parts = _parts([Path(dest) for dest in dests], None if to is None else Path(to), state_dir)
    shared_tree = to is None
    with ExitStack() as held:
        places = [held.enter_context(_holding(part, state_dir if shared_tree else None)) for part in parts]
        if parts and shared_tree:
            _refuse_a_part(target, [place_of(target, state_dir), *(place for _, place in places)])
        at = held.enter_context(hold_whole(target, state_dir, audit_log=audit_log))
        bringer = Bringer(at.folder, by_stem=at.ledger.names_by_stem)
        united = United()
        if parts:
            _refuse_unsettled(at, parts, places)
            at.ledger.tell("merge", {"ledgers": _ids(place for _, place in places)})
            united = unite(
                at.ledger,
                [Other(place.ledger, str(part), shared_tree) for part, (_, place) in zip(parts, places, strict=True)],
                bring=lambda number, taken: bringer.bring(places[number][0], taken),
                carry=lambda number, begun: bringer.carry(places[number][0], begun, link=shared_tree),
                fingerprint=_fingerprint(at),
            )
            with anyio.from_thread.start_blocking_portal("asyncio") as portal:  # whoever calls may have a loop
                portal.call(write_index, at)
            if shared_tree:
                merged = {*_merged(at), *(shard_folder(part.shard) for part in parts)}
                at.ledger.set_meta(_MERGED, " ".join(sorted(merged)))
                _remove([place.ledger for _, place in places])  # from now on they are no shards
        remains = _merged(at) if shared_tree else []  # of this merge, and of one that was killed while it removed them
        standing = at.ledger.standing()
        cohorts = at.ledger.cohorts()
        failures = tuple(at.ledger.iter_failures(*(cohort.id for cohort in cohorts)))
    if shared_tree:
        _remove([folder / name for name in remains for folder in (at.folder.private, at.place.folder)])
    return Merged(target, standing, failures, tuple(absent_shards(cohorts)), united, bringer.linked, bringer.copied)


def _parts(dests: Sequence[Path], to: Path | None, state_dir: Path | None) -> tuple[Path, list[_Part]]:
    """Return the destination to make, and of what. Raises ConfigError, LedgerError."""
    if not dests:
        raise ConfigError("say what to merge")
    if to is None:
        if len(dests) > 1:
            raise ConfigError("several destinations become another one: say which, with -o")
        (dest,) = dests
        shards = shards_at(dest, state_dir)
        if not shards and not Ledger.is_there(place_of(dest, state_dir).ledger):
            raise LedgerError(f"nothing was ever pulled to {dest}")
        return dest, [_Part(dest, shard) for shard in shards]
    itself = [dest for dest in dests if dest.resolve() == to.resolve()]
    if itself:
        raise ConfigError(f"{itself[0]} cannot be merged into itself: -o names another destination")
    find_place(to, state_dir)  # it must not hold shards
    parts: dict[tuple[Path, Shard | None], _Part] = {}
    for dest in dests:
        there: list[Shard | None] = list(shards_at(dest))
        if Ledger.is_there(place_of(dest).ledger):
            there.append(None)
        if not there:
            raise LedgerError(f"nothing was ever pulled to {dest}")
        parts |= {(dest.resolve(), shard): _Part(dest, shard) for shard in there}
    return to, list(parts.values())


def _refuse_unsettled(at: Destination, parts: Sequence[_Part], places: Sequence[tuple[Folder, Place]]) -> None:
    """Files that another revision is to replace, or that are to leave, are not carried from one tree to another."""
    unsettled = [str(at.folder.root)] if at.ledger.unsettled() else []
    for part, (_, place) in zip(parts, places, strict=True):
        with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
            if ledger.unsettled():
                unsettled.append(str(part))
    if unsettled:
        raise LedgerError(
            f"{unsettled[0]} is in the middle of a sync: let it end first, by the same sync or by `dicomhaul resume`"
        )


def _refuse_a_part(dest: Path, places: Iterable[Place]) -> None:
    """Raise ConfigError if the ledgers of one destination do not make a whole: merged, it takes no shard any more."""
    cohorts: list[CohortRow] = []
    for place in places:
        if Ledger.is_there(place.ledger):  # that of the whole is there only if a merge was killed
            with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
                cohorts += ledger.cohorts()
    if not cohorts:
        raise ConfigError(f"{dest}: nothing was asked for in any of its shards; pull them, then merge")
    if absent := absent_shards(cohorts):
        raise ConfigError(
            f"{dest} lacks {', and '.join(map(str, absent[:_SHOWN]))}: pull what is missing, then merge; "
            f"`dicomhaul merge {dest} -o OUT` makes another destination of what is there"
        )


@contextmanager
def _holding(part: _Part, state_dir: Path | None) -> Iterator[tuple[Folder, Place]]:
    with ExitStack() as holding:
        try:
            held = holding.enter_context(hold_at_rest(part.dest, state_dir, part.shard))
        except LedgerError as error:
            raise LedgerError(f"{part}: {error}") from error
        yield held


def _ids(places: Iterable[Place]) -> list[str | None]:
    """Return the ids of the ledgers that are merged."""
    found: list[str | None] = []
    for place in places:
        with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
            found.append(ledger.meta(LEDGER_ID))
    return found


def _fingerprint(at: Destination) -> Fingerprint:
    def tell(query: Query, source: str, profile: str | None) -> str | None:
        try:
            sources = resolve_sources(source, profile=profile)
        except ConfigError:  # the profile's file is gone
            return None
        return fingerprint(query, sources, at.ledger.meta("layout") or "")

    return tell


def _merged(at: Destination) -> list[str]:
    return [name for name in (at.ledger.meta(_MERGED) or "").split() if is_shard_folder(name)]


def _remove(paths: Iterable[Path]) -> None:
    """Remove files and folders, for good: they must not come back when the power is cut."""
    for path in paths:
        try:
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
            if path.parent.is_dir():
                sync_folder(path.parent)
        except OSError as error:
            raise landing_error(error, f"remove {path}, which is merged and not needed any more") from error
