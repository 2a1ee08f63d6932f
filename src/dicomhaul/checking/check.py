"""The check of one destination: plan, look, ask, compare; see the package. Memory does not grow with the cohort.

One thread at a time looks at the ledgers and the tree and hands series on; as many tasks as the sources take at once
ask and compare. Each question goes through its host's gate and retry, as in a run.
"""

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from dicomhaul.checking.compare import (
    Here,
    Listed,
    Mark,
    Marked,
    besides,
    by_tree,
    compare,
    folder_error,
)
from dicomhaul.checking.present import Present, same_bytes
from dicomhaul.config.options import HaulOptions
from dicomhaul.config.source import Sources, SourceSpec
from dicomhaul.destination import find_place
from dicomhaul.errors import NotFound, SourceError, TransferError, Unsupported
from dicomhaul.events import Noticed
from dicomhaul.model import Job, Query, State, Work
from dicomhaul.planner.parent import plan
from dicomhaul.planner.request import Load, PlanRequest, Progress
from dicomhaul.record.ledger import Ledger
from dicomhaul.run import Surroundings
from dicomhaul.source.bucket import BucketSource
from dicomhaul.source.dicomweb import DicomwebSource
from dicomhaul.steps.question import cohort_name, default_layout, fingerprint

if TYPE_CHECKING:
    from dicomhaul.net.host import Host

CheckState = Literal["equal", "different", "paused", "interrupted"]

_BATCH: Final = 32  # series that are looked at before they are handed on
_BATCH_INSTANCES: Final = 10_000
_MOST_TASKS: Final = 64
_LEDGER: Final = "ledger.sqlite3"


@dataclass(frozen=True, slots=True)
class Asked:
    """One cohort that is compared, and where it is asked for."""

    query: Query
    source: Sources


@dataclass(slots=True)
class Counts:
    """What was found, in instances; a series that nobody could be asked about is one error."""

    matched: int = 0
    missing: int = 0
    besides: int = 0
    differing: int = 0
    errors: int = 0
    unnamed: int = 0  # of these, paired or counted without their names
    series: int = 0

    def add(self, marked: Marked) -> None:
        """Count one path."""
        match marked.mark:
            case Mark.SAME:
                self.matched += marked.instances
            case Mark.MISSING:
                self.missing += marked.instances
            case Mark.BESIDES:
                self.besides += marked.instances
            case Mark.DIFFERENT:
                self.differing += marked.instances
            case Mark.ERROR:
                self.errors += marked.instances

    @property
    def equal(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.missing or self.besides or self.differing or self.errors)


@dataclass(frozen=True, slots=True)
class Checked:
    """What a check found.

    Attributes:
        dest: the destination.
        state: `equal`, `different`, `paused` (a source stopped it), `interrupted` (the user did).
        reason: why it is not whole; '' if it is.
        counts: what was found.
        requests: requests sent, searches included.
        elapsed_s: seconds it took.
        first_error: why the first of the errors is one.
        notes: what planning had to say.
    """

    dest: Path
    state: CheckState
    reason: str
    counts: Counts
    requests: int
    elapsed_s: float
    first_error: str = ""
    notes: tuple[str, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """The object that `--json` prints."""
        counts = self.counts
        return {
            "dest": str(self.dest),
            "state": self.state,
            "reason": self.reason,
            "series": counts.series,
            "matched": counts.matched,
            "missing": counts.missing,
            "besides": counts.besides,
            "differing": counts.differing,
            "errors": counts.errors,
            "unnamed": counts.unnamed,
            "first_error": self.first_error,
            "requests": self.requests,
            "elapsed_s": round(self.elapsed_s, 3),
            "notes": list(self.notes),
        }


class _Task(NamedTuple):
    """One series to compare."""

    work: Work  # as the source has it today
    here: list[Here]
    folder: str
    revised: bool
    wanted: frozenset[str] | None


async def check(
    dest: Path,
    asked: Sequence[Asked],
    options: HaulOptions,
    world: Surroundings,
    *,
    all_of_it: bool,
    one_way: bool,
    checksum: bool,
    found: Callable[[Marked], None],
    stop: anyio.CancelScope,
) -> Checked:
    """Compare a destination with its sources.

    Args:
        dest: the destination.
        asked: the cohorts.
        options: of a run, as far as they say how to ask.
        world: what is needed of it.
        all_of_it: these are all cohorts of the destination, so that what belongs to none of them is besides.
        one_way: what is only at the destination is no difference.
        checksum: read files, and compare them with the digests that a bucket's listing states.
        found: is told each path with its mark, in no particular order.
        stop: cancelling it ends the check cleanly.

    Raises:
        ConfigError, CohortError: a cohort cannot be resolved any more.
        SourceError, TransferError: a server does not answer while it is.
        LedgerError: there is no ledger, or it is damaged; NotWritable: the destination cannot be listed.
    """
    place = find_place(dest, options.state_dir)
    with (
        closing(Ledger.open(place.ledger, read_only=True)) as ledger,
        tempfile.TemporaryDirectory(prefix="dicomhaul-check-") as folder,
    ):
        ledger.check()
        ledger.asked_for()
        one = _Check(dest, ledger, options, world, one_way=one_way, checksum=checksum, found=found)
        ended = False
        with stop:
            sources = await one.plan(asked, Path(folder) / _LEDGER)
            with closing(Ledger.open(Path(folder) / _LEDGER, read_only=True)) as today:
                await one.run(today, sources, all_of_it=all_of_it)
            ended = True
        return one.checked(interrupted=not ended)


class _Check:
    """One check, and what it has found so far."""

    def __init__(
        self,
        dest: Path,
        ledger: Ledger,
        options: HaulOptions,
        world: Surroundings,
        *,
        one_way: bool,
        checksum: bool,
        found: Callable[[Marked], None],
    ) -> None:
        self._dest = dest
        self._ledger = ledger
        self._options = options
        self._world = world
        self._one_way = one_way
        self._checksum = checksum
        self._found = found
        self._present = Present(dest, ledger)
        self._counts = Counts()
        self._notes: list[str] = []
        self._first_error = ""
        self._stopped: SourceError | None = None
        self._began_s = world.clock.monotonic()
        self._requests = world.tally.requests
        self._searches = 0

    async def plan(self, asked: Sequence[Asked], path: Path) -> list[Sources]:
        """Plan the cohorts into a ledger of our own; return the sources that can name what is there."""
        sources = []
        by_stem = self._ledger.names_by_stem()
        for each in asked:
            source = each.source.buckets() if by_stem else each.source
            layout = self._ledger.meta("layout") or default_layout(source)
            self._searches = 0
            summary = await plan(
                PlanRequest(
                    query=each.query,
                    source=source,
                    layout=layout,
                    load=Load(
                        path,
                        True,
                        cohort_name(each.query),
                        fingerprint(each.query, source, layout),
                        datetime.fromtimestamp(self._world.clock.now(), UTC).isoformat(timespec="seconds"),
                    ),
                    requests_per_s=self._options.requests_per_s,
                    quota_bytes=self._options.quota_bytes,
                ),
                self._planned,
            )
            for note in summary.notes:
                self._notes.append(note)
                self._world.observer(Noticed(note))
            sources.append(source)
        return sources

    def _planned(self, progress: Progress) -> None:
        tally = self._world.tally
        tally.series_found = progress.series
        tally.requests += progress.requests - self._searches
        self._searches = progress.requests

    async def run(self, today: Ledger, sources: Sequence[Sources], *, all_of_it: bool) -> None:
        """Compare everything."""
        from dicomhaul.build import at_once_at  # noqa: PLC0415 - loads in a third of a second, which planning has over

        specs = {spec.name: spec for source in sources for spec in source.specs}
        routes = _Routes()
        for spec in specs.values():
            routes.add(spec, await self._world.open_host(spec))
        at_once = min(_MOST_TASKS, 2 * sum(at_once_at(spec, self._options.transfers) for spec in specs.values()))
        send, receive = anyio.create_memory_object_stream[_Task](0)
        async with anyio.create_task_group() as group:
            for _ in range(at_once):
                group.start_soon(self._compare, receive.clone(), routes, group.cancel_scope)
            receive.close()
            await self._hand_on(today, send)  # cancelled with the others, once a source is closed
        if self._stopped is None and all_of_it and not self._one_way:
            others = self._besides(today)
            while batch := await anyio.to_thread.run_sync(lambda: list(islice(others, _BATCH))):
                self._say(batch)

    async def _hand_on(self, today: Ledger, send: MemoryObjectSendStream[_Task]) -> None:
        tasks = self._tasks(today)
        async with send:
            while batch := await anyio.to_thread.run_sync(_few, tasks):
                for task in batch:
                    await send.send(task)

    def _tasks(self, today: Ledger) -> Iterator[_Task]:
        for work in today.iter_series(State.PLANNED):
            member = self._ledger.find_series(work.series, work.study)
            here = [] if member is None else self._present.look(member.series_id)
            folder = work.folder if not here else here[0].path.rpartition("/")[0]
            revised = member is not None and None not in {member.revision, work.revision} and (
                member.revision != work.revision
            )  # fmt: skip
            wanted = None if work.whole else frozenset(today.known(work.series_id).wanted)
            yield _Task(work, here, folder, revised, wanted)

    def _besides(self, today: Ledger) -> Iterator[Marked]:
        """Yield what is here and belongs to no cohort of today: series, and files that nobody landed."""
        for member in self._ledger.iter_members():
            if today.find_series(member.series, member.study) is None:
                yield from besides(self._present.look(member.series_id))
        for path in self._present.tree.iter_foreign():
            yield Marked(Mark.BESIDES, path)

    async def _compare(
        self, tasks: MemoryObjectReceiveStream[_Task], routes: "_Routes", scope: anyio.CancelScope
    ) -> None:
        async with tasks:
            async for task in tasks:
                try:
                    marks = await self._marks(task, routes)
                except SourceError as error:
                    self._stopped = self._stopped or error
                    scope.cancel()
                    return
                self._counts.series += 1
                self._say(marks)

    async def _marks(self, task: _Task, routes: "_Routes") -> list[Marked]:
        work, here = task.work, task.here
        try:
            listed = await routes.inventory(work)
        except NotFound as error:
            if not here:  # the index, or the search for series, says that it is there
                return self._failed(task, str(error))
            listed = []
        except TransferError as error:
            return self._failed(task, str(error))
        if listed is None:
            if work.expected != len(here) or task.revised or task.wanted is not None:
                return self._failed(task, "the source cannot list the instances of a series, and their number differs")
            return by_tree(here)
        compared = compare(here, listed, folder=task.folder, revised=task.revised, wanted=task.wanted)
        self._counts.unnamed += compared.unnamed
        if not self._checksum:
            return compared.marks
        return await anyio.to_thread.run_sync(self._read, compared.marks)

    def _failed(self, task: _Task, why: str) -> list[Marked]:
        self._first_error = self._first_error or f"series {task.work.series}: {why}"
        return [folder_error(task.folder)]

    def _read(self, marks: list[Marked]) -> list[Marked]:
        read = []
        for each in marks:
            if each.mark is not Mark.SAME or each.etag is None:
                read.append(each)
                continue
            try:
                same = same_bytes(self._dest, each.path, each.etag)
            except OSError as error:
                self._first_error = self._first_error or f"{each.path}: {error.strerror}"
                read.append(each._replace(mark=Mark.ERROR))
            else:
                read.append(each._replace(mark=Mark.DIFFERENT) if same is False else each)
        return read

    def _say(self, marks: Sequence[Marked]) -> None:
        for each in marks:
            if self._one_way and each.mark is Mark.BESIDES:
                continue
            self._counts.add(each)
            self._found(each)

    def checked(self, *, interrupted: bool) -> Checked:
        """Return what was found."""
        state: CheckState = "equal" if self._counts.equal else "different"
        reason = "" if self._counts.equal else "the destination is not as its source is"
        if self._stopped is not None:
            state, reason = "paused", f"{self._stopped}; what was not compared is not counted"
        elif interrupted:
            state, reason = "interrupted", "stopped on request; what was not compared is not counted"
        return Checked(
            self._dest,
            state,
            reason,
            self._counts,
            self._world.tally.requests - self._requests,
            self._world.clock.monotonic() - self._began_s,
            self._first_error,
            tuple(self._notes),
        )


def _few(tasks: Iterator[_Task]) -> list[_Task]:
    """Take some series, of which all together have few instances, or one that has many."""
    taken: list[_Task] = []
    instances = 0
    for task in tasks:
        taken.append(task)
        instances += len(task.here)
        if len(taken) >= _BATCH or instances >= _BATCH_INSTANCES:
            break
    return taken


class _Routes:
    """The sources of a check, by the names that plans call them."""

    def __init__(self) -> None:
        self._buckets: dict[str, BucketSource] = {}
        self._servers: dict[str, DicomwebSource] = {}
        self._closed: dict[str, SourceError] = {}

    def add(self, spec: SourceSpec, host: "Host") -> None:
        """Take one more."""
        if spec.profile.kind == "bucket":
            self._buckets[spec.name] = BucketSource(spec.name, host, spec.profile, compare=False)
        else:
            self._servers[spec.name] = DicomwebSource(spec.name, host, spec.profile)

    async def inventory(self, work: Work) -> list[Listed] | None:
        """Ask for a series' inventory by one route after the other; None where those that answer cannot list.

        Raises the last TransferError where none could say; SourceError where all of them are closed.
        """
        failed: TransferError = Unsupported("no source that was chosen has it")
        closed: SourceError | None = None
        answered = False
        for name in work.routes:
            if name in self._closed:
                closed = self._closed[name]
                continue
            try:
                listed = await self._ask(name, work)
            except TransferError as error:
                failed = error
            except SourceError as error:
                closed = self._closed[name] = error
            else:
                if listed is not None:
                    return listed
                answered = True
        if answered:
            return None
        if closed is not None:
            raise closed
        raise failed

    async def _ask(self, name: str, work: Work) -> list[Listed] | None:
        if name in self._buckets:
            if work.bucket is None or work.revision is None:
                return None
            refs = await self._buckets[name].listing(work.bucket, work.revision)
            return [Listed(stem=ref.stem, size_bytes=ref.size_bytes, etag=ref.etag) for ref in refs]
        job = Job(work.series_id, work.study, work.series, expected=work.expected)
        found = await self._servers[name].inventory(job)
        return None if found is None else [Listed(sop=ref.sop) for ref in found]
