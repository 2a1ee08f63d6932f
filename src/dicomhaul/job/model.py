"""A job: a cohort, its source, its destination, and how and when the one becomes equal to the other. Frozen values."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from dicomhaul.config.options import HaulOptions, SyncOptions
from dicomhaul.config.source import Connection, Location
from dicomhaul.job.schedule import Schedule
from dicomhaul.model import Query

Command = Literal["sync", "pull"]


@dataclass(frozen=True, slots=True)
class Notify:
    """Who is told.

    Attributes:
        webhook: the URL that a report goes to.
        webhook_file: a file that holds that URL.
        always: after each run; else after one that neither came to its end nor was stopped by somebody.
        on_series: the words of the command for each series that has landed; empty: none.
        on_series_jobs: the most of these commands at once.
    """

    webhook: str | None = None
    webhook_file: Path | None = None
    always: bool = False
    on_series: tuple[str, ...] = ()
    on_series_jobs: int = 1


@dataclass(frozen=True, slots=True)
class Log:
    """As `--log-file`, `--log-level` and `--log-format`."""

    file: Path | None = None
    level: Literal["debug", "info", "warning", "error"] | None = None
    form: Literal["text", "json"] | None = None


@dataclass(frozen=True, slots=True)
class Job:
    """What a job file says, with every path absolute.

    Attributes:
        file: where it stands.
        name: what messages call it.
        command: `sync` or `pull`.
        source: as `Hauler`; None: IDC's own.
        profile, location, connection: as `Hauler`.
        query: the cohort.
        dest: the destination.
        options: how a run goes about it.
        sync: likewise, for `sync`.
        schedule: None: it runs when somebody runs it.
        max_age_s: it is overdue when its last success is older; None: never.
        audit: the log of what was done.
        textfile: where metrics go after a run.
    """

    file: Path
    name: str
    command: Command
    source: str | None
    profile: str | None
    location: Location
    connection: Connection
    query: Query
    dest: Path
    options: HaulOptions
    sync: SyncOptions
    schedule: Schedule | None
    max_age_s: float | None
    notify: Notify
    log: Log
    audit: Path | None
    textfile: Path | None
