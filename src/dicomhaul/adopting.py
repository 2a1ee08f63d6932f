"""Adopting: a tree that another tool brought becomes a destination, or part of one, without a byte of it asked for.

open the destination: lock, ledger, adopt what a crash left    [destination]
plan, in a child process, unless this very cohort is planned   [planner]
read every file of the tree; match it, give it its place       [land.found, record.adopt]
complete what is proven by what is there                       [record.adopt]
index.parquet                                                  [run]

The source is asked for nothing, unless the cohort itself has to be searched there. Killed at any moment, it leaves
each file where it was or where it belongs, and goes on when it is run again; then one `pull` brings the rest.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import anyio
import anyio.to_thread

from dicomhaul.audit.tree import OWN_NAMES
from dicomhaul.config.options import HaulOptions
from dicomhaul.config.source import Sources
from dicomhaul.destination import Destination, find_place, open_destination
from dicomhaul.errors import ConfigError, LedgerError
from dicomhaul.events import Noticed, Planned, Tally
from dicomhaul.land.folder import PRIVATE, Folder
from dicomhaul.land.found import iter_found
from dicomhaul.model import Query, Shard
from dicomhaul.planner.parent import plan
from dicomhaul.planner.request import Progress
from dicomhaul.record.adopt import Adopter, Adoption, Fate
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.place import Place
from dicomhaul.record.placing import How
from dicomhaul.record.reader import Standing
from dicomhaul.record.rehearse import copy_ledger
from dicomhaul.report import INDEX_NAME, RunState
from dicomhaul.run import Surroundings
from dicomhaul.steps.index import write_index
from dicomhaul.steps.question import plan_request, searches

AdoptState = Literal["complete", "adopted", "partial", "interrupted"]


@dataclass(frozen=True, slots=True)
class Adopted:
    """What came of it.

    Attributes:
        tree: what was adopted.
        dest: the destination that has it now, or would (`dry_run`).
        state: `complete`: everything that is wanted is there. `adopted`: all of the tree was dealt with, and `pull` has
            the rest to bring. `partial`: likewise, and some files are damaged or contested. `interrupted`: stopped on
            request.
        totals: what became of the files.
        standing: where the cohort stands now, or everything that is wanted at the destination.
        dry_run: nothing was changed.
    """

    tree: Path
    dest: Path
    state: AdoptState
    totals: Adoption
    standing: Standing
    dry_run: bool = False

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints; only types that JSON has."""
        standing = self.standing
        return {
            "tree": str(self.tree),
            "dest": str(self.dest),
            "state": self.state,
            "dry_run": self.dry_run,
            **asdict(self.totals),
            "series_planned": standing.series_planned,
            "series_complete": standing.series_complete,
            "instances_expected": standing.instances_expected,
            "instances_present": standing.instances_present,
            "bytes_present": standing.bytes_present,
        }


@dataclass(frozen=True, slots=True)
class Taking:
    """How a tree is taken over.

    Attributes:
        how: what is done with each file; in place it is moved, if it has to be, and "any" is the only choice besides.
        dry_run: change nothing, and say what would be done.
        told: hears, in another thread, of each file that was left alone, and why.
    """

    how: How = "any"
    dry_run: bool = False
    told: Callable[[Fate], None] = lambda _: None


async def adopt(
    tree: Path,
    dest: Path,
    query: Query | None,
    *,
    source: Sources,
    options: HaulOptions,
    world: Surroundings,
    taking: Taking,
    shard: Shard | None = None,
    stop: anyio.CancelScope,
) -> Adopted:
    """Take what `tree` holds of a cohort over into `dest`; without a query, of all that is wanted there.

    `tree` may be `dest` or lie in it: files are then moved to where the layout wants them. Cancelling `stop` ends it
    after the files in hand.

    Raises ConfigError, CohortError, SourceError or TransferError where the cohort cannot be resolved, NotWritable
    where the tree cannot be listed, LandingError or LedgerError where the destination cannot be used.
    """
    in_place = _is_in_place(tree, dest, taking.how)
    if query is None and not Ledger.is_there(find_place(dest, options.state_dir, shard).ledger):
        raise ConfigError(f"nothing was asked for at {dest} yet: name a TARGET, too")
    opened = (
        _rehearsal(dest, options, shard)
        if taking.dry_run
        else open_destination(dest, options.state_dir, shard, audit_log=options.audit_log)
    )
    with opened as at, _noted_run(at, world, taking) as note:
        with stop:
            if query is None:
                note.cohorts = [cohort.id for cohort in at.ledger.asked_for()]
            else:
                note.cohorts = [await _plan(at, query, source, options, world)]
            for cohort_id in note.cohorts:
                at.ledger.retry_failed(cohort_id)
            adopter = Adopter(
                at.ledger,
                at.folder,
                how="move" if in_place else taking.how,
                in_place=in_place,
                dry_run=taking.dry_run,
                told=taking.told,
            )
            note.totals = adopter.totals
            amounts = [at.ledger.amount_planned(cohort_id) for cohort_id in note.cohorts]
            if len(amounts) == 1:  # several may share series
                world.observer(Planned(amounts[0].series, amounts[0].instances, amounts[0].size_bytes))
            step = _Step(tree, dest, adopter, world.tally, stop, in_place=in_place, sync=not taking.dry_run)
            note.finished = await anyio.to_thread.run_sync(step.take_all)
            if shard is None and not taking.dry_run and (at.adopted or adopter.totals.adopted or _lacks_index(at)):
                await write_index(at)
        standing = at.ledger.standing(*note.cohorts)
        note.whole = standing.series_complete == standing.series_planned
    return Adopted(tree, dest, note.state, note.totals, standing, taking.dry_run)


@dataclass(slots=True)
class _Note:
    """What is known of an adoption under way, for the ledger's row of it and for its end."""

    cohorts: list[int] = field(default_factory=list)
    totals: Adoption = field(default_factory=Adoption)
    finished: bool = False
    whole: bool = False

    @property
    def state(self) -> AdoptState:
        if not self.finished:
            return "interrupted"
        if self.totals.damaged or self.totals.contested:
            return "partial"
        return "complete" if self.whole else "adopted"


@contextmanager
def _noted_run(at: Destination, world: Surroundings, taking: Taking) -> Iterator[_Note]:
    """Keep the ledger's row of this run. What is still to come makes it `paused`: a mirror is not whole by that."""
    note, ledger = _Note(), at.ledger
    if taking.dry_run:
        yield note
        return
    asked, run_id = world.tally.requests, ledger.begin_run("adopt", _timestamp(world))
    state: RunState = "failed"
    try:
        yield note
        state = "interrupted" if not note.finished else "complete" if note.whole else "paused"
    finally:
        totals = note.totals
        spent = Tally(
            instances_landed=totals.adopted,
            bytes_landed=totals.bytes_adopted,
            requests=world.tally.requests - asked,
            series_complete=totals.series_completed,
        )
        with suppress(LedgerError):  # after the error that said so
            ledger.end_run(run_id, _timestamp(world), state, json.dumps(asdict(spent), sort_keys=True))


def _lacks_index(at: Destination) -> bool:
    return not (at.folder.root / INDEX_NAME).exists() and at.ledger.standing().instances_present > 0


def _timestamp(world: Surroundings) -> str:
    return datetime.fromtimestamp(world.clock.now(), UTC).isoformat(timespec="seconds")


def _is_in_place(tree: Path, dest: Path, how: How) -> bool:
    """Say whether the tree lies in the destination. Raises ConfigError where that makes no sense."""
    if not tree.is_dir():
        raise ConfigError(f"{tree} is no folder that could be adopted")
    root, folder = dest.resolve(), tree.resolve()
    if folder == root / PRIVATE or root / PRIVATE in folder.parents:
        raise ConfigError(f"{tree} is the destination's own folder")
    in_place = folder == root or root in folder.parents
    if in_place and how in {"link", "copy"}:
        raise ConfigError(f"{tree} lies in {dest}: in place, files are moved; leave --{how} out")
    return in_place


async def _plan(at: Destination, query: Query, source: Sources, options: HaulOptions, world: Surroundings) -> int:
    """Write the cohort into the ledger as `pull` would, unless exactly this one is there; return its id."""
    if at.name_by(options.name_by) == "crdc":
        source = source.buckets()
    mark, request = plan_request(at, query, source, options=options, planned_at=_timestamp(world))
    known = [cohort.id for cohort in at.ledger.cohorts() if cohort.fingerprint == mark]
    if known and not searches(source):
        return known[0]
    asked = world.tally.requests

    def found(progress: Progress) -> None:
        world.tally.series_found = progress.series
        world.tally.requests = asked + progress.requests

    summary = await plan(request, found)
    for note in summary.notes:
        world.observer(Noticed(note))
    return next(cohort.id for cohort in at.ledger.cohorts() if cohort.fingerprint == mark)


class _Step:
    """Reads the tree in threads, and hands file by file to the adopter, in one."""

    def __init__(
        self,
        tree: Path,
        dest: Path,
        adopter: Adopter,
        tally: Tally,
        stop: anyio.CancelScope,
        *,
        in_place: bool,
        sync: bool,
    ) -> None:
        self._tree = tree
        self._dest = dest
        self._adopter = adopter
        self._tally = tally
        self._stop = stop
        self._in_place = in_place
        self._sync = sync
        self._before = tally.instances_landed, tally.bytes_landed

    def take_all(self) -> bool:
        """Adopt what there is; False if it was stopped before the end. Errors as `adopt`."""
        totals, ended = self._adopter.totals, True
        leave_out = () if self._in_place else (self._dest.resolve(),)
        with closing(iter_found(self._tree, leave_out=leave_out, own=OWN_NAMES, sync=self._sync)) as files:
            for found in files:
                if self._stop.cancel_called:
                    ended = False
                    break
                self._adopter.take(found)
                self._tally.bytes_received += found.size_bytes
                self._tally.instances_landed = self._before[0] + totals.adopted
                self._tally.bytes_landed = self._before[1] + totals.bytes_adopted
        self._adopter.finish()
        self._tally.instances_landed = self._before[0] + totals.adopted
        self._tally.bytes_landed = self._before[1] + totals.bytes_adopted
        self._tally.series_complete += totals.series_completed
        return ended


@contextmanager
def _rehearsal(dest: Path, options: HaulOptions, shard: Shard | None) -> Iterator[Destination]:
    """Open, for a dry run, a destination whose ledger is a copy that is thrown away, and whose files are the real ones.

    Errors as `open_destination`, of which it makes nothing.
    """
    place = find_place(dest, options.state_dir, shard)
    with tempfile.TemporaryDirectory(prefix="dicomhaul-adopt-") as name:
        copy = Place(Path(name), wal=False)
        if Ledger.is_there(place.ledger):
            with closing(Ledger.open(place.ledger, read_only=True)) as there:
                there.check()
                copy_ledger(there, copy.ledger)
        with closing(Ledger.open(copy.ledger, wal=False)) as ledger:
            yield Destination(Folder(dest), copy, ledger, 0, -1, shard)
