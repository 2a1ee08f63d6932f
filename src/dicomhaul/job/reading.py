"""A job file, read: TOML, checked field by field, with the line of everything that is wrong with it.

Paths are relative to the folder of the file. No source is asked and nothing but the job file (and, where it names one,
the file of accepted failures) is read.
"""

import os
import re
import shlex
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from dicomhaul.config.accepted import Accepted
from dicomhaul.config.options import HaulOptions, SyncOptions
from dicomhaul.config.source import Connection, Sources, resolve_sources
from dicomhaul.errors import CohortError, ConfigError
from dicomhaul.job.model import Job, Log, Notify
from dicomhaul.job.positions import line_of_each_key
from dicomhaul.job.schedule import schedule_of
from dicomhaul.job.tables import CohortTable, JobFile, LimitsTable, SyncTable
from dicomhaul.model import Query
from dicomhaul.plan.removal import RemovalLimits
from dicomhaul.trail.log import check_outside

ENDING: Final = ".toml"
_MOST_BYTES: Final = 256 << 10
_AT: Final = re.compile(r"(.*) \(at (?:line (\d+), column \d+|end of document)\)", re.DOTALL)
_NONE_YET: Final = "the field is missing"
_OF_IDC: Final = ("collection", "crdc", "where", "sql", "idc_version", "license_allow")
_OF_A_SYNC: Final = (("sync",), ("limits", "max_delete"), ("limits", "max_delete_fraction"))

Keys = tuple[int | str, ...]


def read_job(path: Path) -> Job:
    """Return the job that a file describes. Raises ConfigError, with the file, line and field of each error."""
    job, errors = examine_job(path)
    if job is None:
        raise ConfigError("; ".join(errors))
    return job


def read_jobs(folder: Path) -> list[Job]:
    """Return the jobs of all files `*.toml` in a folder, by their names. Raises ConfigError, also if there are none."""
    files = sorted(each for each in folder.glob(f"*{ENDING}") if each.is_file())
    if not files:
        raise ConfigError(f"{folder} holds no job file (*{ENDING})")
    found = [examine_job(file) for file in files]
    errors = [error for _, wrong in found for error in wrong]
    if errors:
        raise ConfigError("; ".join(errors))
    return [job for job, _ in found if job is not None]


def examine_job(path: Path) -> tuple[Job | None, tuple[str, ...]]:
    """Return the job of a file, or None and all that is wrong with it, a line each: `FILE:LINE: FIELD: why`."""
    try:
        text = _text(path)
    except ConfigError as error:
        return None, (str(error),)
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, (_syntax(path, text, str(error)),)
    except RecursionError:
        return None, (f"{path}: it is nested too deeply",)
    try:
        said = JobFile.model_validate(table)
    except ValidationError as error:
        return None, _located(path, text, [(each["loc"], _why(each)) for each in error.errors()])
    wrong = _problems(path.absolute().parent, said)
    if wrong:
        return None, _located(path, text, wrong)
    return _job(path.absolute(), said), ()


def _text(path: Path) -> str:
    try:
        if path.is_dir():
            raise ConfigError(f"{path} is a folder: a job file is needed")
        if not path.is_file():
            raise ConfigError(f"there is no job file {path}")
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
        if len(raw) > _MOST_BYTES:
            raise ConfigError(f"{path} is too large for a job file: more than {_MOST_BYTES >> 10} KiB")
        return raw.decode("utf-8-sig").replace("\r\n", "\n")
    except (OSError, ValueError) as error:  # a name that no file can have; a text that is none
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise ConfigError(f"cannot read the job file {path}: {why}") from None


def _syntax(path: Path, text: str, said: str) -> str:
    found = _AT.fullmatch(said)
    if found is None:
        return f"{path}: not valid TOML: {said}"
    line = int(found[2]) if found[2] else text.rstrip("\n").count("\n") + 1
    return f"{path}:{line}: not valid TOML: {found[1]}"


def _line(loc: Keys, lines: dict[tuple[str, ...], int]) -> int:
    """Of the innermost key that is there: a field that is missing has none, but its table has; else the first line."""
    keys = tuple(str(part) for part in loc)
    return next((lines[keys[:size]] for size in range(len(keys), 0, -1) if keys[:size] in lines), 1)


def _located(path: Path, text: str, wrong: Iterable[tuple[Keys, str]]) -> tuple[str, ...]:
    lines = line_of_each_key(text)
    found = sorted((_line(keys, lines), ".".join(map(str, keys)) or "job file", why) for keys, why in wrong)
    return tuple(f"{path}:{line}: {field}: {why}" for line, field, why in found)


def _why(error: Any) -> str:
    match error["type"]:
        case "extra_forbidden":
            return "there is no such field"
        case "missing":
            return _NONE_YET
        case "model_type":
            return "a table is needed"
        case _:
            return str(error["msg"])


def _problems(at: Path, said: JobFile) -> list[tuple[Keys, str]]:
    """Say what is wrong with fields that are right each by itself."""
    wrong: list[tuple[Keys, str]] = []

    @contextmanager
    def of(*keys: str) -> Iterator[None]:
        try:
            yield
        except (ConfigError, CohortError) as error:
            wrong.append((keys, str(error)))

    with of("source"):
        sources = _sources(at, said)
        if sources is not None and sources.index is None:
            given = [field for field in _OF_IDC if getattr(said.cohort, field)]
            why = 'it needs IDC\'s index; another source is searched by search = ["KEY=VALUE"]'
            wrong += [(("cohort", field), why) for field in given]
    if said.limits.accept_failures is not None:
        with of("limits", "accept_failures"):
            Accepted.read(at / said.limits.accept_failures)
    if said.audit is not None:
        with of("audit", "file"):
            check_outside(at / said.audit.file, at / said.destination.path)
    if said.job.command == "pull":
        for keys in _OF_A_SYNC:
            table = said if len(keys) == 1 else said.limits
            if keys[-1] in table.model_fields_set:
                wrong.append((keys, 'a pull removes nothing: this goes with command = "sync"'))
    return wrong


def _sources(at: Path, said: JobFile) -> Sources | None:
    """Return the sources that are named; None: IDC's own. Raises ConfigError."""
    source, connection = _source(at, said)
    location = said.source.bucket_location
    if source is None and location == "aws":
        return None
    return resolve_sources(source or "idc", profile=_profile(at, said), connection=connection, location=location)


def _job(file: Path, said: JobFile) -> Job:
    at = file.parent
    source, connection = _source(at, said)
    schedule, notify, log = said.schedule, said.notify, said.log
    return Job(
        file=file,
        name=said.job.name or file.stem,
        command=said.job.command,
        source=source,
        profile=_profile(at, said),
        location=said.source.bucket_location,
        connection=connection,
        query=_query(at, said.cohort),
        dest=Path(os.path.realpath(at / said.destination.path)),  # whatever it is called, it is one destination
        options=_options(at, said),
        sync=_sync(said.sync, said.limits),
        schedule=None if schedule is None else schedule_of(schedule.cron, schedule.timezone, schedule.jitter),
        max_age_s=None if schedule is None else schedule.max_age,
        notify=Notify(
            webhook=notify.webhook,
            webhook_file=_below(at, notify.webhook_file),
            always=notify.on == "always",
            on_series=() if notify.on_series is None else _command(at, notify.on_series),
            on_series_jobs=notify.on_series_jobs,
        ),
        log=Log(_below(at, log.file), log.level, log.format),
        audit=None if said.audit is None else at / said.audit.file,
        textfile=None if said.metrics is None else at / said.metrics.textfile,
    )


def _below(at: Path, path: str | None) -> Path | None:
    return None if path is None else at / path


def _word(at: Path, word: str) -> str:
    """A word that names a file beside the job file, whatever folder the job is run from; any other as it is."""
    is_path = word.endswith(ENDING) or "/" in word or (at / word).is_file()
    return str(at / word) if is_path else word


def _profile(at: Path, said: JobFile) -> str | None:
    return None if said.source.profile is None else _word(at, said.source.profile)


def _source(at: Path, said: JobFile) -> tuple[str | None, Connection]:
    table = said.source
    word = table.url
    if table.name is not None:
        word = ",".join(_word(at, each.strip()) for each in table.name.split(","))
    connection = Connection(
        auth=table.auth,
        token_file=_below(at, table.token_file),
        ca_file=_below(at, table.ca_file),
        client_cert=_below(at, table.client_cert),
        client_key=_below(at, table.client_key),
    )
    return word, connection


def _query(at: Path, said: CohortTable) -> Query:
    targets = tuple(_word(at, word) for word in said.targets or ())
    manifest = () if said.manifest is None else (str(at / said.manifest),)
    return Query(
        targets=targets + manifest,
        collection=tuple(said.collection or ()),
        modality=tuple(said.modality or ()),
        patient=tuple(said.patient or ()),
        study=tuple(said.study or ()),
        series=tuple(said.series or ()),
        instance=tuple(said.instance or ()),
        crdc=tuple(said.crdc or ()),
        study_date=said.study_date,
        where=said.where,
        sql=said.sql,
        search=tuple(said.search or ()),
        everything=said.all,
        limit_series=said.limit_series,
        idc_version=said.idc_version,
        licenses_allowed=tuple(said.license_allow or ()),
        shard=said.shard,
    )


def _options(at: Path, said: JobFile) -> HaulOptions:
    limits, destination = said.limits, said.destination
    accepted = _below(at, limits.accept_failures)
    return HaulOptions(
        transfers=limits.transfers,
        processes=limits.processes,
        requests_per_s=limits.tpslimit,
        layout=destination.layout,
        state_dir=_below(at, destination.state_dir),
        audit_log=None if said.audit is None else at / said.audit.file,
        force=limits.force,
        recheck=limits.recheck,
        name_by=destination.name_by,
        checksum=limits.checksum,
        bandwidth=limits.bwlimit,
        quota_bytes=limits.quota,
        max_transfer_bytes=limits.max_transfer,
        max_duration_s=limits.max_duration,
        wait=limits.wait,
        lock=_below(at, said.cohort.lock),
        accepted=Accepted() if accepted is None else Accepted.read(accepted),
    )


def _sync(said: SyncTable, limits: LimitsTable) -> SyncOptions:
    usual = SyncOptions()
    fraction = usual.removal.fraction if limits.max_delete_fraction is None else limits.max_delete_fraction
    return SyncOptions(
        trash_days=said.trash_days,
        keep_withdrawn=said.keep_withdrawn,
        removal=RemovalLimits(limits.max_delete, fraction),
        reconcile_s=usual.reconcile_s if said.reconcile is None else said.reconcile,
        lookback_days=usual.lookback_days if said.look_back is None else said.look_back,
        inventories=said.inventories,
    )


def _command(at: Path, command: str) -> tuple[str, ...]:
    """A program that is named by a path stands beside the job file; any other is looked for as a shell does."""
    program, *rest = shlex.split(command)
    return (str(at / program) if "/" in program else program, *rest)
