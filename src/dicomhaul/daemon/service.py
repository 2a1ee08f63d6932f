"""The daemon put together: job files, store, processes, loop and HTTP. What `dicomhaul daemon` runs."""

import logging
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal

from dicomhaul.daemon.decide import TimedJob
from dicomhaul.daemon.files import Found, read_timed_jobs
from dicomhaul.daemon.http import Answers, serving
from dicomhaul.daemon.runner import Processes
from dicomhaul.daemon.store import Store, open_store
from dicomhaul.daemon.supervisor import Supervisor
from dicomhaul.errors import ConfigError, LandingError
from dicomhaul.ports import Clock

STATE: Final = ".dicomhaul-daemon"

_log = logging.getLogger("dicomhaul.daemon")


@dataclass(slots=True)
class Service:
    """A daemon.

    Args:
        places: job files, and folders of them.
        folder: where it keeps what it remembers.
        listen: host and port.
        form: of the log.
        clock: the time.
    """

    places: Sequence[Path]
    folder: Path
    listen: tuple[str, int]
    form: Literal["text", "json"]
    clock: Clock
    _found: Found = field(default_factory=lambda: Found(()))
    _supervisor: Supervisor | None = None
    _stopping: bool = False

    def stop(self) -> None:
        """Begin nothing any more, end what runs, cleanly. May be called at any time."""
        self._stopping = True
        if self._supervisor is not None:
            self._supervisor.stop()

    def read_again(self) -> None:
        """Read the job files again; of one that is wrong, the job goes on as it was."""
        if self._supervisor is None:
            return
        try:
            self._found = read_timed_jobs(self.places, self._supervisor.jobs)
        except ConfigError as error:
            _log.error("the job files stay as they were: %s", error)
            return
        self._tell()
        try:
            self._supervisor.change(self._found.jobs)
        except LandingError as error:
            _log.error("new jobs wait: %s", error)

    async def run(self) -> None:
        """Run until `stop` is called.

        Raises ConfigError where no job file can be used or nobody can listen, LedgerError where the state is damaged or
        another daemon's, LandingError where it cannot be written.
        """
        self._found = read_timed_jobs(self.places)
        self._tell()
        if not self._found.jobs:
            wrong = [line for lines in self._found.errors.values() for line in lines]
            raise ConfigError("; ".join(wrong) or "no job file has a [schedule]: `dicomhaul run` runs them")
        with open_store(self.folder) as store:
            runner = Processes(
                store.runs,
                command=lambda job: command_of(job, store, self.form),
                form=self.form,
                clock_now=self.clock.now,
            )
            self._supervisor = supervisor = Supervisor(self._found.jobs, store=store, runner=runner, clock=self.clock)
            answers = Answers(
                supervisor,
                found=lambda: self._found,
                metrics_of=lambda job: metrics_of(job, store),
                clock=self.clock,
            )
            async with serving(answers.application(), *self.listen) as url:
                _log.info("answers on %s/healthz and %s/metrics", url, url)
                if not self._stopping:  # since before there was anything to stop
                    await supervisor.serve()

    def _tell(self) -> None:
        for lines in self._found.errors.values():
            for line in lines:
                _log.error("%s", line)
        for job in self._found.jobs:
            _log.info("%s: %s (%s), to %s", job.name, job.schedule.cron, job.schedule.zone.key, job.destination)
        for name in self._found.unscheduled:
            _log.warning("%s: has no [schedule], and is not run here", name)


def metrics_of(job: TimedJob, store: Store) -> Path:
    """Return the textfile of a job's runs: its own, or one in the daemon's folder."""
    return store.metrics / f"{job.name}.prom" if job.metrics is None else Path(job.metrics)


def command_of(job: TimedJob, store: Store, form: Literal["text", "json"]) -> list[str]:
    """Return the command line of a run."""
    words = [sys.executable, "-P", "-m", "dicomhaul", "run", str(job.file)]
    if job.metrics is None:
        words += ["--metrics-file", str(metrics_of(job, store))]
    return [*words, "--json", "--log-format", "json"] if form == "json" else [*words, "--log-format", "text"]
