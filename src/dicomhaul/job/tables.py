"""The tables of a job file: what may stand in each, and how each value is read.

A value is read as the option of that name is read on the command line (`config.rates`, `plan.shard`). Nothing here
looks at a file; what a path means is said in `job.reading`. A field that is not listed is an error.
"""

import re
import shlex
from collections.abc import Callable
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from dicomhaul.cohort.dates import parse_date_range
from dicomhaul.cohort.search_keys import parse_keys
from dicomhaul.config.options import SyncOptions
from dicomhaul.config.rates import Timetable, parse_duration_s, parse_size, parse_timetable
from dicomhaul.errors import CohortError, ConfigError
from dicomhaul.job.schedule import checked_cron, checked_zone
from dicomhaul.land.layout import parse_layout
from dicomhaul.model import Query, Shard
from dicomhaul.observe.webhook import check_url
from dicomhaul.plan.shard import parse_shard

NAME: Final = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
_WRONG: Final = "wrong"


def wrong(message: str) -> PydanticCustomError:
    """Return an error of a value, whose braces are no template."""
    return PydanticCustomError(_WRONG, "{message}", {"message": message})


def _read(parse: Callable[[str], Any], *, numbers: bool = False) -> BeforeValidator:
    """Read a text as the command line does; where `numbers` may stand without a unit, they need no quotes."""

    def read(value: object) -> Any:
        if numbers and isinstance(value, int | float) and not isinstance(value, bool):
            value = f"{value}"
        if not isinstance(value, str):
            raise wrong('a text is needed, such as "500G" or "90m"' if numbers else "a text is needed")
        try:
            return parse(value)
        except (ConfigError, CohortError) as error:
            raise wrong(str(error)) from None

    return BeforeValidator(read)


def _path(text: str) -> str:
    if not text or "\0" in text:
        raise ConfigError("a path is needed")
    if text.startswith("~"):
        raise ConfigError("write the whole path: ~ is known to shells alone")
    return text


def _url(text: str) -> str:
    if not re.match(r"https?://", text, re.IGNORECASE):
        raise ConfigError("the base URL of a DICOMweb server begins with https:// or http://")
    if "@" in text.partition("//")[2].partition("/")[0]:
        raise ConfigError('no credentials in a job file: use DICOMHAUL_USER and DICOMHAUL_PASSWORD with auth = "basic"')
    return text


def _webhook(text: str) -> str:
    check_url(text)
    return text


def _command(text: str) -> str:
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise ConfigError(f"the command cannot be split into words: {error}") from None
    if not words:
        raise ConfigError("a command is needed")
    return text


def _layout(text: str) -> str:
    parse_layout(text)
    return text


def _study_date(text: str) -> str:
    parse_date_range(text)
    return text


def _key(text: str) -> str:
    parse_keys(Query(search=(text,)), wildcards=True)
    return text


Size = Annotated[int, _read(parse_size, numbers=True)]
Quota = Annotated[int, _read(lambda text: parse_size(text.removesuffix("/day")), numbers=True)]
Seconds = Annotated[float, _read(parse_duration_s, numbers=True)]
SecondsOrNone = Annotated[
    float, _read(lambda text: 0.0 if text.strip() == "0" else parse_duration_s(text), numbers=True)
]
Bandwidth = Annotated[Timetable, _read(parse_timetable, numbers=True)]
Part = Annotated[Shard, _read(parse_shard)]
FilePath = Annotated[str, _read(_path)]
Words = Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]


class Table(BaseModel):
    """What all tables have in common: nothing is guessed, nothing is ignored, nothing changes."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, arbitrary_types_allowed=True)


class JobTable(Table):
    """`[job]`: what messages call it, and which command it is."""

    name: Annotated[str, Field(pattern=NAME)] | None = None  # the file's name without its ending
    command: Literal["sync", "pull"] = "sync"


class SourceTable(Table):
    """`[source]`: where from, as `--source` and what belongs to it. Never a secret."""

    name: str | None = None  # a built-in source or a list of them, or a profile file
    url: Annotated[str, _read(_url)] | None = None  # the base URL of a DICOMweb server
    profile: str | None = None
    auth: Literal["none", "basic", "bearer", "google", "azure"] | None = None
    token_file: FilePath | None = None
    ca_file: FilePath | None = None
    client_cert: FilePath | None = None
    client_key: FilePath | None = None
    bucket_location: Literal["aws", "gcs"] = "aws"

    @model_validator(mode="after")
    def _one(self) -> "SourceTable":
        if self.name is not None and self.url is not None:
            raise wrong("name and url are two sources: a server's URL goes with profile")
        if self.profile is not None and self.url is None:
            raise wrong("profile describes the server at url, which is missing")
        return self


class CohortTable(Table):
    """`[cohort]`: what to bring. Lists hold alternatives; different fields must all match."""

    targets: Words | None = None
    manifest: FilePath | None = None  # a manifest, or a lock
    collection: Words | None = None
    modality: Words | None = None
    patient: Words | None = None
    study: Words | None = None
    series: Words | None = None
    instance: Words | None = None
    crdc: Words | None = None
    study_date: Annotated[str, _read(_study_date)] | None = None
    where: str | None = None
    sql: str | None = None
    search: Annotated[list[Annotated[str, _read(_key)]], Field(min_length=1)] | None = None
    all: bool = False
    limit_series: Annotated[int, Field(ge=1)] | None = None
    idc_version: Annotated[int, Field(ge=1)] | None = None
    license_allow: Words | None = None
    shard: Part | None = None
    lock: FilePath | None = None  # written at the end

    @model_validator(mode="after")
    def _something(self) -> "CohortTable":
        if "-" in (self.targets or ()):
            raise wrong("a job has no standard input: name a file by manifest")
        narrowing = {"limit_series", "idc_version", "license_allow", "shard", "lock"}
        if not self.all and not self.model_fields_set - narrowing - {"all"}:
            raise wrong("say what to bring: targets, manifest, a filter, sql, search, or all = true")
        return self


class DestinationTable(Table):
    """`[destination]`: where to."""

    path: FilePath
    layout: Annotated[str, _read(_layout)] | None = None
    name_by: Literal["sop", "crdc"] | None = None
    state_dir: FilePath | None = None


class LimitsTable(Table):
    """`[limits]`: how much at once, and how much at all."""

    transfers: Annotated[int, Field(ge=1, le=256)] | None = None
    processes: Annotated[int, Field(ge=1, le=64)] = 1
    tpslimit: Annotated[float, Field(ge=0.01)] | None = None
    bwlimit: Bandwidth | None = None
    quota: Quota | None = None
    max_transfer: Size | None = None
    max_duration: Seconds | None = None
    wait: bool = False
    force: bool = False
    recheck: bool = False
    checksum: Literal["stated", "xxh3"] = "stated"
    accept_failures: FilePath | None = None
    max_delete: Annotated[int, Field(ge=0)] | None = None
    max_delete_fraction: Annotated[float, Field(ge=0, le=1)] | None = None


class SyncTable(Table):
    """`[sync]`: what a sync does besides what a pull does."""

    trash_days: Annotated[int, Field(ge=0)] = SyncOptions().trash_days
    keep_withdrawn: bool = False
    reconcile: SecondsOrNone | None = None  # 0: each time
    look_back: Annotated[int, Field(ge=0)] | None = None  # days
    inventories: bool | None = None  # as SyncOptions


class ScheduleTable(Table):
    """`[schedule]`: when the daemon runs it, and when it calls it overdue."""

    cron: Annotated[str, _read(checked_cron)]
    timezone: Annotated[str, _read(checked_zone)] = "UTC"
    jitter: SecondsOrNone = 0.0
    max_age: Seconds | None = None  # the daemon calls it overdue when its last success is older


class NotifyTable(Table):
    """`[notify]`: who is told, and what is done with each series that has landed."""

    webhook: Annotated[str, _read(_webhook)] | None = None
    webhook_file: FilePath | None = None  # holds the URL, where that is a secret
    on: Literal["failure", "always"] = "failure"
    on_series: Annotated[str, _read(_command)] | None = None
    on_series_jobs: Annotated[int, Field(ge=1, le=64)] = 1

    @model_validator(mode="after")
    def _one(self) -> "NotifyTable":
        if self.webhook is not None and self.webhook_file is not None:
            raise wrong("webhook and webhook_file both say where to")
        return self


class LogTable(Table):
    """`[log]`: as `--log-file`, `--log-level` and `--log-format`."""

    file: FilePath | None = None
    level: Literal["debug", "info", "warning", "error"] | None = None
    format: Literal["text", "json"] | None = None


class AuditTable(Table):
    """`[audit]`: as `--audit-log`."""

    file: FilePath


class MetricsTable(Table):
    """`[metrics]`: as `--metrics-file`."""

    textfile: FilePath


class JobFile(Table):
    """A whole job file."""

    job: JobTable = JobTable()
    source: SourceTable = SourceTable()
    cohort: CohortTable
    destination: DestinationTable
    limits: LimitsTable = LimitsTable()
    sync: SyncTable = SyncTable()
    schedule: ScheduleTable | None = None
    notify: NotifyTable = NotifyTable()
    log: LogTable = LogTable()
    audit: AuditTable | None = None
    metrics: MetricsTable | None = None

    @model_validator(mode="after")
    def _fitting(self) -> "JobFile":
        if self.source == SourceTable() and (self.cohort.all or self.cohort.search):
            raise wrong('[source] says where from: url = "..."; or name = "idc", if all of IDC is meant')
        return self
