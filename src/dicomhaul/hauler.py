"""The Python API: who brings what is wanted (`Hauler`).

Nothing here configures logging, installs a signal handler or prints. Cancelling a call leaves a destination that the
next call goes on with.
"""

import asyncio
import concurrent.futures
import math
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import anyio
import anyio.from_thread
import anyio.to_thread

from dicomhaul import adopting, forecasting, run
from dicomhaul.adopting import Adopted, Taking
from dicomhaul.cohort.wanted import Cohort
from dicomhaul.config.options import QUERY_JSON, HaulOptions, SyncOptions
from dicomhaul.config.source import IDC, Connection, Location, Sources, SourceSpec, resolve_sources
from dicomhaul.destination import layout_of, naming_of
from dicomhaul.errors import ConfigError, IncompleteError
from dicomhaul.events import Event, Observer, SeriesLanded, Tally
from dicomhaul.forecasting import Measured
from dicomhaul.landed import cohorts_of, iter_landed, landed_series
from dicomhaul.model import Query, Shard
from dicomhaul.net.clock import SystemClock
from dicomhaul.net.line import Line
from dicomhaul.plan.estimate import Summary
from dicomhaul.plan.forecast import Forecast
from dicomhaul.planner.parent import plan
from dicomhaul.planner.request import PlanRequest
from dicomhaul.record.place import place_of
from dicomhaul.record.preview import Preview
from dicomhaul.record.reader import CohortRow
from dicomhaul.record.scratch import sweep_scratch
from dicomhaul.report import LandedSeries, Report
from dicomhaul.steps.question import default_layout

if TYPE_CHECKING:
    from dicomhaul.checking.check import Checked
    from dicomhaul.checking.compare import Marked
    from dicomhaul.net.host import Host

T = TypeVar("T")


class Hauler:
    """Brings cohorts from one source to destinations.

    An async context manager: one session, one gate for all that follows.

    Args:
        source: a built-in name, a profile file, or a DICOMweb base URL; for IDC also a comma list of them, in the order
            of preference. None: IDC's own, which is IDC's buckets and then its proxy.
        profile: name or file of the profile for a URL, instead of the one that its host suggests.
        bucket_location: which copy of IDC's buckets `idc` and `idc-bucket` mean; "gcs" with a source that has none of
            them is a ConfigError.
        transfers: the most exchanges at once; None: what the profile allows.
        requests_per_s: the most requests a second; None: what the profile allows.
        layout: template of the folders below a destination.
        connection: certificates and credentials.
        observer: is told what happens, in the event loop.
        options: everything else.

    Raises ConfigError for a source that makes no sense.
    """

    def __init__(
        self,
        source: str | Sources | None = None,
        *,
        profile: str | None = None,
        bucket_location: Location = "aws",
        transfers: int | None = None,
        requests_per_s: float | None = None,
        layout: str | None = None,
        connection: Connection | None = None,
        observer: Observer = lambda _: None,
        options: HaulOptions | None = None,
    ) -> None:
        self._connection = connection or Connection()
        self._profile = profile
        self._location: Location = bucket_location
        self._source = self._resolve(source, profile) if isinstance(source, str) else source
        self._options = replace(
            options or HaulOptions(), **_given(transfers=transfers, requests_per_s=requests_per_s, layout=layout)
        )
        if self._options.processes > 1 and os.name == "nt":
            raise ConfigError("several processes as one run need Linux or macOS")
        self._observers = [observer]
        self._clock = SystemClock()
        self._tally = Tally()
        bandwidth = self._options.bandwidth
        self._line = Line(clock=self._clock, rate_at=None if bandwidth is None else bandwidth.rate_at)
        self._entered = False
        self._hosts: dict[tuple[str | None, ...], tuple[Host, AsyncExitStack]] = {}
        self._turn = anyio.Lock()  # one run at a time: `stop` means it, and its report counts what it did alone
        self._scope: anyio.CancelScope | None = None
        self._runner: asyncio.Task[Any] | None = None
        self._iterations: set[asyncio.Task[None]] = set()

    async def __aenter__(self) -> Self:
        self._entered = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for task in list(self._iterations):  # of loops that were left without closing their iterator
            await self._end(task)
        self._entered = False
        await self._close_hosts()

    @property
    def tally(self) -> Tally:
        """Running totals of everything this hauler does; read it whenever you like."""
        return self._tally

    @property
    def hosts(self) -> "list[Host]":
        """The hosts that are asked, as far as any was by now; they are closed when the hauler is, or a run paused."""
        return [host for host, _ in self._hosts.values()]

    def stop(self) -> None:
        """End the run that is under way, cleanly: its report says `interrupted`. May be called at any time."""
        if self._scope is not None:
            self._scope.cancel()

    async def plan(self, cohort: Cohort, to: str | os.PathLike[str] | None = None) -> Summary:
        """Say what would come, and move nothing. With `to`, less what is there already.

        Raises CohortError or ConfigError for what makes no sense or matches nothing; SourceError or TransferError
        where a server had to be asked and did not answer.
        """
        source, naming = self._needed_source(), self._options.name_by
        there, present = None, None
        if to is not None:
            there = layout_of(Path(to), self._options.state_dir, cohort.query.shard)
            naming = naming_of(Path(to), self._options.state_dir, cohort.query.shard, wanted=naming)
            present = place_of(Path(to), self._options.state_dir, cohort.query.shard).ledger
        layout = self._options.layout or there or default_layout(source)
        return await plan(
            PlanRequest(
                query=cohort.query,
                source=source.buckets() if naming == "crdc" else source,
                layout=layout,
                present=present if present is not None and present.is_file() else None,
                requests_per_s=self._options.requests_per_s,
                quota_bytes=self._options.quota_bytes,
                lock=self._options.lock,
            )
        )

    async def probe(self, cohort: Cohort, summary: Summary, to: str | os.PathLike[str] | None = None) -> Measured:
        """Measure, by up to 30 s of real transfer, how fast each route of a plan is; what came is removed again.

        Args:
            cohort: what was planned.
            summary: its plan.
            to: the destination, so that its filesystem is written to.

        Raises LandingError where nothing can be written.
        """
        near = None if to is None else Path(to)
        source = self._needed_source()
        measured = await self._in_turn(
            lambda _: forecasting.probe(
                cohort.query, source, summary, options=self._options, world=self._world(), near=near
            )
        )
        await self._close_hosts()  # one that gave up stays so; the next run tries a new one
        return measured

    def forecast(
        self, summary: Summary, *, bytes_per_s: int | None = None, measured: Measured | None = None
    ) -> Forecast:
        """Predict how long a plan will take, on how many days of a quota, and what it will fill.

        Args:
            summary: the plan.
            bytes_per_s: what the line carries, if you know.
            measured: what `probe` found.
        """
        now_s = self._clock.now()
        return forecasting.predict(
            summary,
            self._needed_source(),
            self._options,
            now_s=now_s,
            utc_offset_s=time.localtime(now_s).tm_gmtoff,
            bytes_per_s=bytes_per_s,
            measured=measured,
        )

    async def pull(self, cohort: Cohort, to: str | os.PathLike[str], *, check: bool = True) -> Report:
        """Bring a cohort to the destination `to`; again, and it goes on where it stopped.

        The runs of one hauler go one after the other; a second one waits.

        Args:
            cohort: what to bring.
            to: the destination, a folder.
            check: raise IncompleteError unless everything asked for is there.

        Raises:
            IncompleteError: something is missing, or the run was stopped; `report` says what.
            CohortError, ConfigError: what was asked for makes no sense or matches nothing.
            SourceError, TransferError: the cohort could not be resolved at the server.
            LandingError, LedgerError: the destination cannot be used.
        """
        source = self._needed_source(cohort.query)
        await anyio.to_thread.run_sync(sweep_scratch, Path(to))  # a probe's, that was killed
        return _checked(await self._in_scope(lambda scope: run.pull(
            cohort.query, source, Path(to), self._options, self._world(), stop=scope
        )), check=check)  # fmt: skip

    async def sync(
        self,
        cohort: Cohort,
        to: str | os.PathLike[str],
        *,
        sync: SyncOptions = SyncOptions(),  # noqa: B008 - frozen
        check: bool = True,
    ) -> Report:
        """Make the destination `to` equal to a cohort as it is now: what is new comes, what has gone leaves.

        Args:
            cohort: what it is to hold.
            to: the destination, a folder.
            sync: what may leave, and where it goes.
            check: as `pull`.

        Raises SyncRefused, with nothing changed, where it would remove more than it may; else as `pull`.
        """
        from dicomhaul.sync import sync as follow  # noqa: PLC0415 - with it aiohttp, which is loaded while others plan

        source = self._needed_source(cohort.query)
        return _checked(await self._in_scope(lambda scope: follow(
            cohort.query, source, Path(to), self._options, sync, self._world(), stop=scope
        )), check=check)  # fmt: skip

    async def sync_plan(
        self,
        cohort: Cohort,
        to: str | os.PathLike[str],
        *,
        sync: SyncOptions = SyncOptions(),  # noqa: B008 - frozen
        most: int = 10_000,
    ) -> Preview:
        """Say what `sync` would do, and why, and change nothing: the cohort as a whole against what is at `to`.

        Args:
            cohort: what it is to hold.
            to: the destination, which need not be there.
            sync: what may leave.
            most: so many steps are listed.

        Errors as `plan`; SyncRefused where the source has nothing of what is here.
        """
        from dicomhaul.sync import foresee  # noqa: PLC0415 - as in `sync`

        source = self._needed_source(cohort.query)
        return await self._in_turn(lambda _: foresee(
            cohort.query, source, Path(to), self._options, sync, most=most
        ))  # fmt: skip

    async def resume(
        self,
        to: str | os.PathLike[str],
        *,
        damaged: Sequence[tuple[int, str]] = (),
        shard: Shard | None = None,
        check: bool = True,
    ) -> Report:
        """Go on with everything that was asked for at `to`, from the hauler's source, else from the sources on record.

        Args:
            to: the destination.
            damaged: what a `Verification` found `damaged`: it is brought again.
            shard: which part of it, where it is pulled in shards and not merged yet.
            check: as `pull`.

        Errors as `pull`.
        """

        def find_source(cohort: CohortRow) -> Sources:
            return self._source or self._resolve(cohort.source, self._profile or cohort.profile)

        return _checked(await self._in_scope(lambda scope: run.resume(
            Path(to), self._options, self._world(), find_source=find_source, damaged=damaged, shard=shard, stop=scope
        )), check=check)  # fmt: skip

    async def adopt(
        self,
        tree: str | os.PathLike[str],
        to: str | os.PathLike[str],
        cohort: Cohort | None = None,
        *,
        taking: Taking | None = None,
        shard: Shard | None = None,
    ) -> Adopted:
        """Take over what a tree that another tool brought holds of a cohort; `pull` brings the rest.

        Args:
            tree: a folder with DICOM files, whatever they are called; also `to` itself, or a folder in it.
            to: the destination.
            cohort: what is wanted; None: everything that was asked for at `to`.
            taking: whether files are linked, copied or moved.
            shard: which part of `to`, without a cohort; else that of the cohort counts.

        Errors as `pull`, but for IncompleteError; NotWritable where the tree cannot be listed.
        """
        source = self._needed_source(None if cohort is None else cohort.query)
        query = None if cohort is None else cohort.query
        return await self._in_turn(
            lambda scope: adopting.adopt(
                Path(tree),
                Path(to),
                query,
                source=source,
                options=self._options,
                world=self._world(),
                taking=taking or Taking(),
                shard=shard if query is None else query.shard,
                stop=scope,
            )
        )

    async def check(
        self,
        to: str | os.PathLike[str],
        cohort: Cohort | None = None,
        *,
        one_way: bool = False,
        checksum: bool = False,
        found: Callable[["Marked"], None] = lambda _: None,
    ) -> "Checked":
        """Compare the destination `to` with its source, and move nothing.

        Args:
            to: the destination.
            cohort: what to compare, at the hauler's source, else at the one on record that was asked last; None:
                everything that was asked for there, each cohort at its own.
            one_way: what is only at the destination is no difference.
            checksum: read files, and compare them with the digests that a bucket's listing states.
            found: is told each path with its mark, in no particular order.

        Raises as `pull`, where the cohort cannot be resolved or the destination cannot be read.
        """
        from dicomhaul.checking.check import Asked, check  # noqa: PLC0415 - rarely

        asked = [
            Asked(
                QUERY_JSON.validate_json(each.query),
                self._source or self._resolve(each.source, self._profile or each.profile),
            )
            for each in cohorts_of(Path(to), self._options.state_dir)
        ]
        if cohort is not None:
            asked = [Asked(cohort.query, asked[-1].source)]
        checked = await self._in_turn(
            lambda scope: check(
                Path(to),
                asked,
                self._options,
                self._world(),
                all_of_it=cohort is None,
                one_way=one_way,
                checksum=checksum,
                found=found,
                stop=scope,
            )
        )
        if checked.state == "paused":
            await self._close_hosts()  # as after a run
        return checked

    async def iter_series(self, cohort: Cohort, to: str | os.PathLike[str]) -> AsyncIterator[LandedSeries]:
        """Pull, and yield each series as soon as it is proven complete and recorded; those that are there come last.

        Leaving the loop early stops the run. At its end, errors as `pull`.
        """
        dest, source = Path(to), self._needed_source(cohort.query)
        send, receive = anyio.create_memory_object_stream[SeriesLanded](math.inf)

        def hear(event: Event) -> None:
            if isinstance(event, SeriesLanded):
                send.send_nowait(event)

        async def pull() -> None:
            with send:
                await self.pull(cohort, to)

        self._observers.append(hear)
        task = asyncio.create_task(pull())
        self._iterations.add(task)
        seen: set[tuple[str, str]] = set()
        try:
            async with receive:
                async for event in receive:
                    seen.add((event.study, event.series))
                    yield landed_series(dest, self._options.state_dir, event.study, event.series, cohort.query.shard)
            await asyncio.wait([task])
            if not isinstance(task.exception(), IncompleteError):
                task.result()  # raises what kept the destination from being used at all
            for series in iter_landed(dest, self._options, cohort.query, source):
                if (series.study_instance_uid, series.series_instance_uid) not in seen:
                    yield series
        finally:
            self._observers.remove(hear)
            await self._end(task)
        task.result()

    async def _end(self, task: asyncio.Task[None]) -> None:
        """Stop the run of an iteration, unless it has ended, and wait for its end."""
        if task is self._runner:
            self.stop()
        else:
            task.cancel()
        with anyio.CancelScope(shield=True):
            await asyncio.wait([task])
        self._iterations.discard(task)
        if not task.cancelled():
            task.exception()  # an error that nobody asks for would be logged

    def _resolve(self, words: str, profile: str | None) -> Sources:
        return resolve_sources(words, profile=profile, connection=self._connection, location=self._location)

    def _needed_source(self, pulled: Query | None = None) -> Sources:
        if self._source is None and pulled is not None and (pulled.everything or pulled.search):
            raise ConfigError(
                "say where from: --source URL for a DICOMweb server; all of IDC, if that is meant: --source idc --all"
            )
        return self._source or self._resolve(IDC, None)

    def _world(self) -> run.Surroundings:
        return run.Surroundings(self._clock, self._tell, self._tally, self._open_host, self._line)

    def _tell(self, event: Event) -> None:
        for observer in self._observers:
            observer(event)

    async def _open_host(self, spec: SourceSpec) -> "Host":
        key = (spec.word, spec.profile_word, spec.base_url)
        if key not in self._hosts:
            if not self._entered:
                raise ConfigError("a Hauler is a context manager: use it in `async with Hauler(...) as hauler:`")
            from dicomhaul import build  # noqa: PLC0415 - as in `run`

            stack = AsyncExitStack()
            host = await stack.enter_async_context(
                build.open_source_host(
                    spec,
                    environ=os.environ,
                    clock=self._clock,
                    observer=self._tell,
                    tally=self._tally,
                    concurrency=self._options.transfers,
                    requests_per_s=self._options.requests_per_s,
                    line=self._line,
                    quota_bytes=self._options.quota_bytes,
                )
            )
            self._hosts[key] = host, stack
        return self._hosts[key][0]

    async def _close_hosts(self) -> None:
        hosts, self._hosts = self._hosts, {}
        for _, stack in hosts.values():
            await stack.aclose()

    async def _in_turn(self, call: Callable[[anyio.CancelScope], Awaitable[T]]) -> T:
        async with self._turn:
            self._scope = scope = anyio.CancelScope()
            self._runner = asyncio.current_task()
            try:
                return await call(scope)
            finally:
                self._scope = self._runner = None

    async def _in_scope(self, call: Callable[[anyio.CancelScope], Awaitable[Report]]) -> Report:
        report = await self._in_turn(call)
        if report.state == "paused":
            await self._close_hosts()  # a host that gave up stays so; the next run tries a new one
        return report


def _checked(report: Report, *, check: bool) -> Report:
    if check and report.state != "complete":
        raise IncompleteError(f"{report.state}: {report.reason}", report=report)
    return report


def _given(**values: Any) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def pull_sync(
    cohort: Cohort,
    to: str | os.PathLike[str],
    *,
    source: str | Sources | None = None,
    check: bool = True,
    **options: Any,
) -> Report:
    """Pull from code that is not async, notebooks included: in an event loop and a thread of its own.

    Args:
        cohort: what to bring.
        to: the destination, a folder.
        check: raise IncompleteError unless everything asked for is there.
        source: as `Hauler`.
        options: further arguments of `Hauler`.

    Raises what `Hauler.pull` raises. KeyboardInterrupt stops the run cleanly first.
    """
    hauler = Hauler(source, **options)

    async def pull() -> Report:
        async with hauler:
            return await hauler.pull(cohort, to, check=check)

    with anyio.from_thread.start_blocking_portal("asyncio") as portal:
        future = portal.start_task_soon(pull)
        try:
            return future.result()
        except KeyboardInterrupt:
            portal.call(hauler.stop)
            concurrent.futures.wait([future])
            raise
