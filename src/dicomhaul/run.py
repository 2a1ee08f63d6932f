"""One run on one destination: plan unless that was done, haul what is planned, write the index, report.

open the destination: lock, ledger, adopt what a crash left     [destination]
plan, in a child process, unless this very cohort is planned    [planner]
check that it fits
haul                                                            [build, transfer]
index.parquet, in a child process; report                       [record]
"""

import asyncio
import dataclasses
import importlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

import anyio
import anyio.to_thread

from dicomhaul.cohort.locked import check_lock_option
from dicomhaul.config.options import QUERY_JSON, HaulOptions, SyncOptions
from dicomhaul.config.source import Sources, SourceSpec
from dicomhaul.destination import Destination, find_place, open_destination
from dicomhaul.errors import (
    CohortError,
    ConfigError,
    CrewError,
    DiskFull,
    HaulError,
    LandingError,
    LedgerError,
)
from dicomhaul.events import Noticed, Observer, Planned, Tally
from dicomhaul.model import Query, Routing, Shard, Work
from dicomhaul.net.line import Line
from dicomhaul.plan.difference import Difference
from dicomhaul.plan.estimate import shortage
from dicomhaul.plan.route import route, traits_of
from dicomhaul.planner.parent import plan
from dicomhaul.planner.request import Progress
from dicomhaul.ports import Clock
from dicomhaul.record.departing import Following
from dicomhaul.record.planned import same_question
from dicomhaul.record.reader import CohortRow
from dicomhaul.record.swaps import swap_due
from dicomhaul.report import Report, RunState
from dicomhaul.steps.index import renew_index
from dicomhaul.steps.locking import check_lock, lock_header, name_lock, write_lock
from dicomhaul.steps.outcome import Outcome, spent_between
from dicomhaul.steps.question import plan_request, searches
from dicomhaul.steps.settle import settle
from dicomhaul.steps.telling import Telling

if TYPE_CHECKING:
    from dicomhaul.build import OpenCrew
    from dicomhaul.net.host import Host

_INDEXED: Final = frozenset({"complete", "partial", "paused"})  # a run that ends so has written the index


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a run needs of the world."""

    clock: Clock
    observer: Observer
    tally: Tally
    open_host: Callable[[SourceSpec], Awaitable["Host"]]
    line: Line


# Writes a cohort into the ledger of a destination, as it is now at these sources; returns its id there.
Planning = Callable[["Run", Destination, Sources], Awaitable[int]]


async def pull(
    query: Query,
    source: Sources,
    dest: Path,
    options: HaulOptions,
    world: Surroundings,
    *,
    stop: anyio.CancelScope,
) -> Report:
    """Bring a cohort to `dest`. Cancelling `stop` ends the run cleanly, with the state `interrupted`.

    Raises ConfigError, CohortError, SourceError or TransferError where the cohort cannot be resolved, LandingError or
    LedgerError where the destination cannot be used; with `report` set once there is something to report.
    """

    async def planned(run: "Run", _: Destination, source: Sources) -> int:
        return await run.plan(query, source)

    return await bring(query, source, dest, options, world, planned, command="pull", stop=stop)


async def bring(  # noqa: PLR0917 - as pull, and how it is planned
    query: Query,
    source: Sources,
    dest: Path,
    options: HaulOptions,
    world: Surroundings,
    planned: "Planning",
    *,
    command: str,
    following: SyncOptions | None = None,
    stop: anyio.CancelScope,
) -> Report:
    """Bring a cohort that `planned` writes into the ledger; `command` and `following` as `Run`. Errors as `pull`."""
    with open_destination(dest, options.state_dir, query.shard, audit_log=options.audit_log) as destination:
        run = Run(destination, dest, options, world, stop, command=command, following=following)
        with run.ends_badly(), stop:
            if options.lock is not None:
                check_lock_option(options.lock, query)
            source = run.named(source)
            await run.tell_asked(source)
            with run.limits(cohorts=1):
                cohort_id = await planned(run, destination, source)
                await run.check_lock(cohort_id, query, source)
                await run.recheck()
                await run.haul(cohort_id, source)
            await run.settle()
            await run.index()
            await run.lock(query, source)
        return run.end()


async def resume(
    dest: Path,
    options: HaulOptions,
    world: Surroundings,
    *,
    find_source: Callable[[CohortRow], Sources],
    damaged: Sequence[tuple[int, str]] = (),
    shard: Shard | None = None,
    stop: anyio.CancelScope,
) -> Report:
    """Go on with every cohort of the ledger at `dest`, or of one shard of it.

    `damaged` instances (series id, SOP Instance UID) come again. Errors as `pull`; LedgerError also if nothing was ever
    asked for.
    """
    if options.lock is not None:
        raise ConfigError("a lock is of one cohort: it is written by pull, or by plan for what is at a destination")
    nothing = f"nothing was ever asked for at {dest}; use `dicomhaul pull`"
    if not find_place(dest, options.state_dir, shard).ledger.is_file():
        raise LedgerError(nothing)  # and make nothing there
    with open_destination(dest, options.state_dir, shard, audit_log=options.audit_log) as destination:
        cohorts = destination.ledger.cohorts()
        if not cohorts:
            raise LedgerError(nothing)
        sources = [find_source(cohort) for cohort in cohorts]  # before anything is asked
        run = Run(destination, dest, options, world, stop, command="resume")
        with run.ends_badly(), stop:
            sources = [run.named(source) for source in sources]
            for source in sources:
                await run.tell_asked(source)
            if damaged:
                destination.ledger.plan_again(damaged, "damaged or gone")
            with run.limits(cohorts=len(cohorts)):
                await run.recheck()
                for cohort, source in zip(cohorts, sources, strict=True):
                    if source.word != cohort.source:
                        destination.ledger.reroute(cohort.id, _router(source, options.quota_bytes))
                    await run.haul(cohort.id, source)
            await run.settle()
            await run.index()
        return run.end()


def _router(source: Sources, quota_bytes: int | None) -> Callable[[Work], Routing]:
    offers = source.offers(quota_bytes)
    return lambda work: route(offers, traits_of(work))


class Run:
    """The steps of one run, and what they leave for the report."""

    def __init__(
        self,
        destination: Destination,
        dest: Path,
        options: HaulOptions,
        world: Surroundings,
        stop: anyio.CancelScope,
        *,
        command: str,
        following: SyncOptions | None = None,
    ) -> None:
        """Begin a run: `command` for its row in the ledger; `following`: a sync's, None: nothing is removed."""
        self._at = destination
        self._dest = dest
        self._options = options
        self._following = following
        self._outcome = Outcome()
        self._telling = Telling(destination.ledger)
        self._world = world
        self._before = dataclasses.replace(world.tally)
        self._began_s = world.clock.monotonic()
        self._searches = 0
        self._stop = stop
        self._known_to_fail: set[str] = set()  # UIDs that failed before this run, as the user knows
        last = destination.ledger.last_run()
        killed = last is not None and last[2] not in _INDEXED
        self._outdated = killed or destination.adopted > 0  # the index
        self._run_id = destination.ledger.begin_run(command, self._timestamp())
        if destination.adopted:
            world.observer(Noticed(f"adopted {destination.adopted} instances that an interrupted run had landed"))
        shard = destination.shard
        if shard is not None and shard.of > 1 and options.quota_bytes is not None:
            said = f"--quota counts what shard {shard} brings, no other one: divide what all may take by {shard.of}"
            world.observer(Noticed(said))

    def named(self, source: Sources) -> Sources:
        """Return the sources that can name files as this destination does. Raises ConfigError."""
        return source.buckets() if self._at.name_by(self._options.name_by) == "crdc" else source

    @contextmanager
    def limits(self, *, cohorts: int) -> Iterator[None]:
        """End what hauls so many cohorts, cleanly and resumable, once it lasted or brought as much as it may."""
        self._outcome.due = cohorts
        most_bytes, most_s = self._options.max_transfer_bytes, self._options.max_duration_s

        def reached() -> None:
            self._outcome.reached = f"{most_bytes:,} bytes came, which --max-transfer allows"
            scope.cancel()

        with anyio.move_on_after(most_s) as scope, self._world.line.capped(most_bytes, reached):
            yield
        if scope.cancelled_caught:
            self._outcome.reached = self._outcome.reached or f"it ran for {most_s:g} s, which --max-duration allows"

    async def plan(self, query: Query, source: Sources) -> int:
        """Write the cohort into the ledger, unless exactly this one is there; return its id."""
        mark, request = plan_request(
            self._at, query, source, options=self._options, planned_at=self._timestamp(), following=self._followed()
        )
        ledger = self._at.ledger
        known = next((cohort.id for cohort in ledger.cohorts() if cohort.fingerprint == mark), None)
        if known is not None and not searches(source) and not self._is_behind(query, source):
            return known
        # What moves bytes takes a third of a second to load: the other core has time for that now.
        loading = asyncio.get_running_loop().run_in_executor(None, importlib.import_module, "dicomhaul.build")
        summary = await plan(request, self._found)
        await loading
        for note in summary.notes:
            self._world.observer(Noticed(note))
        if self._following is not None:
            self._outcome.difference = summary.difference
            moved = await anyio.to_thread.run_sync(swap_due, ledger, self._at.folder)
            if moved:
                self._world.observer(Noticed(f"{moved:,} series belong in another folder now, and were moved there"))
        return next(cohort.id for cohort in ledger.cohorts() if cohort.fingerprint == mark)

    def changed(self, difference: Difference) -> None:
        """What the source told of changes is planned."""
        self._outcome.difference = difference

    def _followed(self) -> Following | None:
        if self._following is None:
            return None
        return Following(self._following.removal, self._following.keep_withdrawn)

    def _is_behind(self, query: Query, source: Sources) -> bool:
        """Whether something stays that a sync of this very plan would not have left."""
        if self._following is None:
            return False
        ledger = self._at.ledger
        if not self._following.keep_withdrawn and ledger.keeps():
            return True
        text = QUERY_JSON.dump_json(query).decode()
        return len(same_question(ledger, text, source.word)) > 1

    async def settle(self) -> None:
        """Move to the trash what leaves, unless a source failed, or the run did not come to its end."""
        if not self._outcome.may_settle:
            return
        day = datetime.fromtimestamp(self._world.clock.now(), UTC).date()
        removed, error = await anyio.to_thread.run_sync(settle, self._at, day, self._following)
        self._outcome.removed, self._outcome.error = removed, error
        if removed.gone:
            self._world.observer(Noticed(f"{removed.gone:,} files that were to leave were gone already"))

    def _found(self, progress: Progress) -> None:
        tally = self._world.tally
        tally.series_found = progress.series
        tally.requests += progress.requests - self._searches  # sent by the planning child, which has a tally of its own
        self._searches = progress.requests

    async def haul(self, cohort_id: int, source: Sources) -> None:
        """Bring what this cohort still lacks."""
        self._outcome.finished = False
        self._outcome.cohorts.append(cohort_id)
        ledger = self._at.ledger
        self._known_to_fail |= self._options.accepted.named(ledger.iter_failures(cohort_id))
        ledger.retry_failed(cohort_id)
        # Another cohort that shares series with this one may have been planned for other sources since.
        router = _router(source, self._options.quota_bytes)
        ledger.reroute(cohort_id, router, among=[spec.name for spec in source.specs])
        ledger.fail_unrouted(cohort_id)
        amount = ledger.amount_planned(cohort_id)
        self._world.observer(Planned(amount.series, amount.instances, amount.size_bytes))
        if self._options.audit_log is not None:
            self._telling.cohort(cohort_id)
        if (
            amount.series
            and self._outcome.error is None
            and not all(url in self._outcome.down for url in source.base_urls)
        ):
            problem = shortage(amount, self._at.folder.room())
            if problem is not None and not self._options.force:
                raise DiskFull(f"{problem}; free some, choose another destination, or use --force")
            sync = self._following
            ledger.begin_leasing(cohort_id, following=sync is not None and not sync.keep_withdrawn)
            await self._transfer(source)
        self._outcome.finished = True

    async def _transfer(self, source: Sources) -> None:
        from dicomhaul import build  # noqa: PLC0415 - loaded while the planner was at work

        world = self._world
        hosts = {spec.name: (spec, await world.open_host(spec)) for spec in source.specs}
        stopped = {
            spec.name: self._outcome.down[spec.base_url] for spec in source.specs if spec.base_url in self._outcome.down
        }
        self._telling.sources(hosts)
        try:
            async with build.open_engine(
                self._at,
                hosts,
                options=self._options,
                stopped=stopped,
                clock=world.clock,
                observer=world.observer,
                tally=world.tally,
                open_crew=self._open_crew(),
            ) as engine:
                for name, error in (await engine.run()).items():
                    self._outcome.down[hosts[name][0].base_url] = error
            self._telling.sources(hosts)  # a token may tell only now whose it is
        except (LandingError, LedgerError, CrewError) as error:
            self._outcome.error = error

    async def tell_asked(self, source: Sources) -> None:
        """Tell the audit log, where there is one, whom we ask as whom: also of a run that will bring nothing."""
        if self._options.audit_log is not None:
            self._telling.sources({spec.name: (spec, await self._world.open_host(spec)) for spec in source.specs})

    def _open_crew(self) -> "OpenCrew | None":
        """Return what starts the processes that haul, where they are to be several."""
        if self._options.processes == 1:
            return None
        from dicomhaul.crew.parent import Crew  # noqa: PLC0415 - rarely

        world = self._world
        return Crew(self._options, line=world.line, observer=world.observer, tally=world.tally).open

    async def recheck(self) -> None:
        """Want landed files that are gone again, if the options say so."""
        if not self._options.recheck:
            return
        gone = await anyio.to_thread.run_sync(self._gone)
        if gone:
            self._at.ledger.plan_again(gone, "the file was gone")
            self._world.observer(Noticed(f"{len(gone):,} landed files are gone; they are wanted again"))

    def _gone(self) -> list[tuple[int, str]]:
        gone: list[tuple[int, str]] = []
        for row in self._at.ledger.iter_files():
            if self._stop.cancel_called:
                break
            if not self._at.folder.path(row.folder, row.file).is_file():
                gone.append((row.series_id, row.sop))
        return gone

    @contextmanager
    def ends_badly(self) -> Iterator[None]:
        """Note in the ledger that an error ended the run before there was anything to report."""
        try:
            yield
        except HaulError as error:
            with suppress(LedgerError):  # the first error is the one to tell
                self._telling.failed(error)
                self._end_run("failed")
            raise

    def _end_run(self, state: RunState) -> None:
        tally = self._outcome.tally_json(self._spent())
        self._at.ledger.end_run(self._run_id, self._timestamp(), state, tally)

    def end(self) -> Report:
        """Write the run's row; return the report, or raise the error that ended the run."""
        report = self._report()
        try:
            self._end_run(report.state)
        except LedgerError as error:  # on a full disk, after the error that said so
            self._outcome.error = self._outcome.error or error
        if self._outcome.error is not None:
            self._outcome.error.report = report
            raise self._outcome.error
        if report.state in {"complete", "partial"}:
            self._tell_mended()
        return report

    def _tell_mended(self) -> None:
        """Say, in the run that mended it and in no later one, what was accepted as a failure and is none any more."""
        if not self._known_to_fail:
            return
        fine = self._known_to_fail - self._options.accepted.named(self._at.ledger.iter_failures(*self._outcome.cohorts))
        for uid in sorted(fine):
            self._world.observer(Noticed(f"{uid} no longer fails: --accept-failures need not name it any more"))

    async def index(self) -> None:
        """Write index.parquet, if what is there has changed. Cancelled, it is left to the next run."""
        if self._outcome.error is not None:
            return
        try:
            await renew_index(self._at, changed=self._outdated or self._spent().instances_landed > 0)
        except LandingError as error:
            self._outcome.error = error

    async def check_lock(self, cohort_id: int, query: Query, source: Sources) -> None:
        """See, before anything is brought, that the lock which the options name loses nothing by being written."""
        path = self._options.lock
        if path is not None:
            await check_lock(path, self._at.ledger, cohort_id, query, lock_header(query, source, self._timestamp()))

    async def lock(self, query: Query, source: Sources) -> None:
        """Write the lock of the cohort, if the options say so: with the digests of all that is there."""
        path, outcome = self._options.lock, self._outcome
        if outcome.error is not None or not outcome.cohorts:
            return
        if path is None:
            gain = await name_lock(self._at.ledger, query)
            if gain is not None:
                self._world.observer(Noticed(gain))
            return
        fresh = lock_header(query, source, self._timestamp())
        try:
            await write_lock(path, self._at.ledger, outcome.cohorts[-1], query, fresh)
        except (CohortError, ConfigError, LandingError, LedgerError) as error:  # another run's lock may be there by now
            outcome.error = error

    def _spent(self) -> Tally:
        return spent_between(self._before, self._world.tally)

    def _report(self) -> Report:
        elapsed_s = self._world.clock.monotonic() - self._began_s
        return self._outcome.report(
            self._dest, self._at.ledger, self._spent(), elapsed_s=elapsed_s, accepted=self._options.accepted
        )

    def _timestamp(self) -> str:
        return datetime.fromtimestamp(self._world.clock.now(), UTC).isoformat(timespec="seconds")
