"""One run of a job: what its file says, put together; its commands and its webhook.

Whoever runs it (the command line, the daemon) shows and logs, and knows signals; here is neither.
"""

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from dicomhaul.cohort.wanted import Cohort
from dicomhaul.errors import HaulError
from dicomhaul.events import Event, Observer, Tally
from dicomhaul.hauler import Hauler
from dicomhaul.job.model import Job
from dicomhaul.net.clock import SystemClock
from dicomhaul.observe.series_command import CommandLine, Counts, SeriesCommands
from dicomhaul.observe.webhook import is_worth_telling, message, post, read_url
from dicomhaul.report import Report

if TYPE_CHECKING:
    from dicomhaul.net.host import Host


class JobRun:
    """A job that is about to run, once.

    Args:
        job: the job.
        environ: the environment: for the program of the command, and what it is run with.
        observer: is told what happens, in the event loop.
        hooks: run the command for each series and tell the webhook, as the job says.

    Raises ConfigError for a source that makes no sense, for a program that is not there, and for a webhook without URL.
    """

    def __init__(
        self, job: Job, *, environ: Mapping[str, str], observer: Observer = lambda _: None, hooks: bool = True
    ) -> None:
        self._job = job
        self._observer = observer
        self._webhook = _webhook(job) if hooks else None
        self._commands: SeriesCommands | None = None
        if hooks and job.notify.on_series:
            self._commands = SeriesCommands(
                CommandLine.of_words(job.notify.on_series, environ.get("PATH")),
                job.dest,
                at_once=job.notify.on_series_jobs,
                environ=environ,
                tell=observer,
            )
        self._hauler = Hauler(
            job.source,
            profile=job.profile,
            bucket_location=job.location,
            connection=job.connection,
            options=job.options,
            observer=self._hear,
        )

    @property
    def tally(self) -> Tally:
        """Running totals."""
        return self._hauler.tally

    @property
    def hosts(self) -> "list[Host]":
        """The hosts that are asked, see `Hauler.hosts`."""
        return self._hauler.hosts

    @property
    def commands(self) -> Counts | None:
        """What became of the commands for each series; None: the job has none."""
        return None if self._commands is None else self._commands.counts

    def stop(self) -> None:
        """End the run cleanly: its report says `interrupted`. Begin no more commands."""
        self._hauler.stop()
        if self._commands is not None:
            self._commands.stop()

    def kill(self) -> None:
        """End what runs besides this process, at once: for who is about to end it, too."""
        if self._commands is not None:
            self._commands.kill()

    async def run(self) -> Report:
        """Run the job; return when its commands have ended and the webhook was told. Raises as `Hauler.pull`."""
        report: Report | None = None
        error: HaulError | None = None
        try:
            async with AsyncExitStack() as stack:
                await stack.enter_async_context(self._hauler)
                if self._commands is not None:
                    await stack.enter_async_context(self._commands)
                report = await self._haul()
        except HaulError as raised:
            error = raised
        await self._tell_webhook(report, error)
        if report is None:
            assert error is not None  # noqa: S101 - one of the two
            raise error
        return report

    async def _haul(self) -> Report:
        cohort = Cohort(self._job.query)
        if self._job.command == "sync":
            return await self._hauler.sync(cohort, self._job.dest, sync=self._job.sync, check=False)
        return await self._hauler.pull(cohort, self._job.dest, check=False)

    async def _tell_webhook(self, report: Report | None, error: HaulError | None) -> None:
        state = "failed" if report is None else report.state
        if self._webhook is None or not is_worth_telling(state, always=self._job.notify.always):
            return
        table: dict[str, Any] = message(self._job.name, report, error)
        await post(self._webhook, table, clock=SystemClock(), tell=self._observer)

    def _hear(self, event: Event) -> None:
        if self._commands is not None:
            self._commands.hear(event)
        self._observer(event)


def _webhook(job: Job) -> str | None:
    if job.notify.webhook_file is not None:
        return read_url(job.notify.webhook_file)
    return job.notify.webhook
