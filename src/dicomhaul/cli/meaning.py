"""What the words of a command line mean: a query, a connection, the options of a run."""

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from dicomhaul.config.accepted import Accepted
from dicomhaul.config.options import HaulOptions, NameBy
from dicomhaul.config.rates import parse_duration_s, parse_size, parse_timetable
from dicomhaul.config.source import Connection
from dicomhaul.errors import CohortError, ConfigError
from dicomhaul.model import Query
from dicomhaul.plan.shard import parse_shard


def split_commas(values: Iterable[str] | None) -> tuple[str, ...]:
    """Return the words of repeated options, each of which may be a comma list. Raises ConfigError for an empty one."""
    words = [word.strip() for value in values or () for word in value.split(",")]
    if any(not word for word in words):
        raise ConfigError("an option was given without a value; use --all for everything that a server has")
    return tuple(words)


def query_from(
    *,
    targets: list[str] | None,
    collection: list[str] | None,
    modality: list[str] | None,
    patient: list[str] | None,
    study: list[str] | None,
    series: list[str] | None,
    instance: list[str] | None,
    crdc: list[str] | None,
    study_date: str | None,
    where: str | None,
    sql: str | None,
    search: list[str] | None,
    everything: bool,
    limit_series: int | None,
    idc_version: int | None,
    license_allow: str | None,
    shard: str | None,
) -> Query:
    """Build the query of `plan` and `pull`. Reads standard input for `-`. Raises ConfigError, CohortError."""
    words = tuple(targets or ())
    if any(not word for word in words):
        raise ConfigError("an empty TARGET means nothing; use --all for everything that a server has")
    query = Query(
        targets=words,
        manifest=read_stdin() if "-" in words else None,
        collection=split_commas(collection),
        modality=split_commas(modality),
        patient=split_commas(patient),
        study=split_commas(study),
        series=split_commas(series),
        instance=split_commas(instance),
        crdc=split_commas(crdc),
        study_date=study_date,
        where=where,
        sql=sql,
        search=tuple(search or ()),
        everything=everything,
        limit_series=limit_series,
        idc_version=idc_version,
        licenses_allowed=() if license_allow is None else split_commas([license_allow]),
        shard=None if shard is None else parse_shard(shard),
    )
    narrowed = Query(
        limit_series=limit_series,
        idc_version=idc_version,
        licenses_allowed=query.licenses_allowed,
        shard=query.shard,
    )
    if query == narrowed:
        raise ConfigError(
            "say what to bring: a TARGET, a filter, --sql, --search, or --all for everything a server has"
        )
    return query


def read_stdin() -> str:
    """Return the manifest that comes by standard input. Raises CohortError where it is no text."""
    from dicomhaul.cohort.gather import STDIN, read_manifest  # noqa: PLC0415 - rarely

    if sys.stdin is None:  # closed by who started us
        raise CohortError("there is no standard input for the target -")
    return read_manifest(sys.stdin.buffer, STDIN)


def connection_from(
    *,
    auth: Literal["none", "basic", "bearer", "google", "azure"] | None,
    token_file: Path | None,
    ca_file: Path | None,
    client_cert: Path | None,
    client_key: Path | None,
) -> Connection:
    """Build the connection of a command that asks a source."""
    return Connection(auth=auth, token_file=token_file, ca_file=ca_file, client_cert=client_cert, client_key=client_key)


def options_from(
    *,
    transfers: int | None = None,
    processes: int = 1,
    tpslimit: float | None = None,
    layout: str | None = None,
    state_dir: Path | None = None,
    audit_log: Path | None = None,
    force: bool = False,
    recheck: bool = False,
    name_by: NameBy | None = None,
    checksum: Literal["stated", "xxh3"] = "stated",
    bwlimit: str | None = None,
    quota: str | None = None,
    max_transfer: str | None = None,
    max_duration: str | None = None,
    wait: bool = False,
    lock: Path | None = None,
    accept_failures: Path | None = None,
) -> HaulOptions:
    """Build the options of a run. Raises ConfigError."""
    return HaulOptions(
        transfers=transfers,
        processes=processes,
        requests_per_s=tpslimit,
        layout=layout,
        state_dir=state_dir,
        audit_log=audit_log,
        force=force,
        recheck=recheck,
        name_by=name_by,
        checksum=checksum,
        bandwidth=None if bwlimit is None else parse_timetable(bwlimit),
        quota_bytes=None if quota is None else parse_size(quota.removesuffix("/day")),
        max_transfer_bytes=None if max_transfer is None else parse_size(max_transfer),
        max_duration_s=None if max_duration is None else parse_duration_s(max_duration),
        wait=wait,
        lock=lock,
        accepted=Accepted() if accept_failures is None else Accepted.read(accept_failures),
    )
