"""`dicomhaul adopt`: a tree that another tool brought becomes a destination, and only the rest is fetched."""

import json
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.harness import Stop, run_async
from dicomhaul.cli.meaning import connection_from, options_from, query_from
from dicomhaul.cli.output import emit_json, human_bytes, human_count, say
from dicomhaul.cli.wiring import wire
from dicomhaul.cohort.wanted import Cohort
from dicomhaul.errors import ConfigError
from dicomhaul.plan.shard import parse_shard

if TYPE_CHECKING:
    from dicomhaul.adopting import Adopted
    from dicomhaul.record.adopt import Fate
    from dicomhaul.record.placing import How

_EXIT_CODES: Final = {"complete": 0, "adopted": 0, "partial": 3}
_RUN: Final = "Run"

Tree = Annotated[Path, typer.Argument(metavar="DIR", help="The tree to take over.", parser=parameters.dest)]
LinkOption = Annotated[
    bool,
    typer.Option("--link", help="Only hard links, no copies; the default links where it can.", rich_help_panel=_RUN),
]
CopyOption = Annotated[bool, typer.Option("--copy", help="Copy each file.", rich_help_panel=_RUN)]
MoveOption = Annotated[bool, typer.Option("--move", help="Move the files out of DIR.", rich_help_panel=_RUN)]
ListOption = Annotated[
    Path | None,
    typer.Option(
        "--list",
        metavar="FILE",
        help="Name there each file that was left alone, and why: JSON lines. Paths may hold patient data.",
        rich_help_panel=_RUN,
    ),
]
AdoptDryRunOption = Annotated[
    bool, typer.Option("-n", "--dry-run", help="Change nothing; say what would be done.", rich_help_panel=_RUN)
]


def adopt(
    tree: Tree,
    to: parameters.ToOption,
    targets: parameters.Targets = None,
    collection: parameters.CollectionOption = None,
    modality: parameters.ModalityOption = None,
    patient: parameters.PatientOption = None,
    study: parameters.StudyOption = None,
    series: parameters.SeriesOption = None,
    instance: parameters.InstanceOption = None,
    crdc: parameters.CrdcOption = None,
    study_date: parameters.StudyDateOption = None,
    where: parameters.WhereOption = None,
    sql: parameters.SqlOption = None,
    search: parameters.SearchOption = None,
    everything: parameters.AllOption = False,
    limit_series: parameters.LimitOption = None,
    idc_version: parameters.IdcVersionOption = None,
    license_allow: parameters.LicenseAllowOption = None,
    shard: parameters.ShardOption = None,
    source: parameters.SourceOption = None,
    bucket_location: parameters.BucketLocationOption = "aws",
    profile: parameters.ProfileOption = None,
    auth: parameters.AuthOption = None,
    token_file: parameters.TokenFileOption = None,
    ca_file: parameters.CaFileOption = None,
    client_cert: parameters.ClientCertOption = None,
    client_key: parameters.ClientKeyOption = None,
    tpslimit: parameters.TpsOption = None,
    link: LinkOption = False,
    copy: CopyOption = False,
    move: MoveOption = False,
    layout: parameters.LayoutOption = None,
    name_by: parameters.NameByOption = None,
    state_dir: parameters.StateDirOption = None,
    audit_log: parameters.AuditLogOption = None,
    listing: ListOption = None,
    dry_run: AdoptDryRunOption = False,
    as_json: parameters.JsonOption = False,
    quiet: parameters.QuietOption = False,
    verbose: parameters.VerboseOption = 0,
    progress: parameters.ProgressOption = False,
    log_file: parameters.LogFileOption = None,
    log_level: parameters.LogLevelOption = None,
    log_format: parameters.LogFormatOption = None,
) -> None:
    """Take over what idc-index, s5cmd, rclone or a script brought to DIR; `pull` then fetches only the rest.

    Files are known by the UIDs in them, read to the end, whatever they are called. They are hard-linked into DEST, or
    copied. Where DIR is DEST, or lies in it, they move to where the layout wants them. No file is overwritten.

    A series is complete with as many instances as its source states, and as many bytes where IDC's index states them;
    the source is not asked. A byte that was flipped within an instance does not show: `verify --lock` proves digests.

    Without a TARGET: what was asked for at DEST. Exit 3 if damaged or contested files were met (--list names them).

    \b
    Examples:
      dicomhaul adopt idc_downloads nlst -o data
      dicomhaul adopt data nlst -o data                        # in place
      dicomhaul adopt old --all --source http://localhost:8042/dicom-web -o data --move
      dicomhaul adopt usb-disk -o data --list left.jsonl       # for what was asked for at data
    """
    given = [targets, collection, modality, patient, study, series, instance, crdc, study_date, where, sql, search]
    narrowing = [everything, limit_series, idc_version, license_allow]
    query = None
    if any(given) or any(narrowing):
        query = query_from(
            targets=targets,
            collection=collection,
            modality=modality,
            patient=patient,
            study=study,
            series=series,
            instance=instance,
            crdc=crdc,
            study_date=study_date,
            where=where,
            sql=sql,
            search=search,
            everything=everything,
            limit_series=limit_series,
            idc_version=idc_version,
            license_allow=license_allow,
            shard=shard,
        )
    if sum((link, copy, move)) > 1:
        raise ConfigError("--link, --copy and --move exclude each other")
    how: How = "link" if link else "copy" if copy else "move" if move else "any"
    connection = connection_from(
        auth=auth, token_file=token_file, ca_file=ca_file, client_cert=client_cert, client_key=client_key
    )
    options = options_from(tpslimit=tpslimit, layout=layout, name_by=name_by, state_dir=state_dir, audit_log=audit_log)
    part = None if shard is None else parse_shard(shard)
    from dicomhaul.adopting import Taking  # noqa: PLC0415 - the engine loads in 0.4 s, which --help need not wait for

    hauler, watching = wire(
        source,
        profile=profile,
        bucket_location=bucket_location,
        connection=connection,
        options=options,
        quiet=quiet,
        verbose=verbose,
        progress=progress,
        log_file=log_file,
        log_level=log_level,
        log_format=log_format,
    )
    with _listing(listing) as told:

        async def body(stop: Stop) -> "tuple[Adopted, int | None]":
            stop.call = hauler.stop
            async with hauler:
                with watching.over(hauler.tally):
                    adopted = await hauler.adopt(
                        tree,
                        to,
                        None if query is None else Cohort(query),
                        taking=Taking(how, dry_run, told),
                        shard=part,
                    )
            return adopted, stop.exit_code

        adopted, signalled = run_async(body)
    if as_json:
        emit_json(adopted.as_json())
    else:
        _print(adopted)
    raise typer.Exit(_EXIT_CODES.get(adopted.state, signalled or 1))


@contextmanager
def _listing(path: Path | None) -> "Iterator[Callable[[Fate], None]]":
    """Open the list, for its owner alone. Raises ConfigError where that cannot be."""
    if path is None:
        yield lambda _: None
        return
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    except OSError as error:
        raise ConfigError(f"--list {path}: {error.strerror or error}") from None
    with open(descriptor, "w", encoding="ascii") as file:  # noqa: PTH123 - a descriptor has no path

        def tell(fate: "Fate") -> None:
            file.write(json.dumps({"what": fate.what, "path": fate.path, "reason": fate.reason}) + "\n")

        yield tell


def _print(adopted: "Adopted") -> None:
    totals, standing = adopted.totals, adopted.standing
    ways = [f"{count:,} {word}" for word in ("linked", "copied", "moved") if (count := getattr(totals, word))]
    would = "would be " if adopted.dry_run else ""
    head = "interrupted: " if adopted.state == "interrupted" else ""
    say(
        f"{head}{human_count(totals.adopted, 'instances')} ({human_bytes(totals.bytes_adopted)}) {would}adopted"
        f"{' (' + ', '.join(ways) + ')' if ways else ''} of {human_count(totals.files_seen, 'files')}; "
        f"{standing.series_complete:,} of {human_count(standing.series_planned, 'series')} complete, "
        f"{human_count(standing.instances_present, 'instances')} present in {adopted.dest}"
    )
    left = {
        "already there": totals.already_there,
        "not wanted": totals.unwanted,
        "damaged": totals.damaged,
        "contested": totals.contested,
        "not DICOM": totals.not_dicom,
        "links or devices": totals.not_files,
    }
    if any(left.values()):
        say(f"  left alone: {', '.join(f'{count:,} {word}' for word, count in left.items() if count)}")
    if totals.series_unproven:
        say(
            f"  {human_count(totals.series_unproven, 'series')} with all instances, but not the bytes that the index "
            "states: cut, or of another revision; the next pull asks"
        )
    if standing.series_complete < standing.series_planned and not adopted.dry_run:
        say(f"  to bring the rest: dicomhaul pull, with the same TARGET, or: dicomhaul resume {adopted.dest}")
