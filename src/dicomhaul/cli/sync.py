"""`dicomhaul sync`."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.ending import finish
from dicomhaul.cli.harness import Stop, run_async
from dicomhaul.cli.meaning import connection_from, options_from, query_from
from dicomhaul.cli.output import emit_json, human_bytes, human_count, say
from dicomhaul.cli.watch import metrics_from
from dicomhaul.cli.wiring import commands_from, wire
from dicomhaul.cohort.wanted import Cohort
from dicomhaul.config.rates import parse_duration_s
from dicomhaul.plan.difference import REASONS, Action
from dicomhaul.plan.removal import RemovalLimits

if TYPE_CHECKING:
    from dicomhaul.config.options import SyncOptions
    from dicomhaul.hauler import Hauler
    from dicomhaul.record.preview import Preview

_SYNC = "Sync"
_SHOWN: Final = 10

MaxDeleteOption = Annotated[
    int | None,
    typer.Option(
        "--max-delete",
        metavar="N",
        min=0,
        help="Refuse to remove more instances than that; instead of --max-delete-fraction.",
        rich_help_panel=_SYNC,
    ),
]
MaxDeleteFractionOption = Annotated[
    float,
    typer.Option(
        "--max-delete-fraction",
        metavar="F",
        min=0.0,
        max=1.0,
        help="Refuse to remove more than that part of the instances of the cohort that are here.",
        rich_help_panel=_SYNC,
    ),
]
TrashDaysOption = Annotated[
    int,
    typer.Option(
        "--trash-days",
        metavar="N",
        min=0,
        help="Keep what left the tree so many days in DEST/.dicomhaul/trash; 0: not at all.",
        rich_help_panel=_SYNC,
    ),
]
KeepWithdrawnOption = Annotated[
    bool,
    typer.Option("--keep-withdrawn", help="Let stay what the source has no more.", rich_help_panel=_SYNC),
]
ReconcileOption = Annotated[
    str,
    typer.Option(
        "--reconcile",
        metavar="TIME",
        help="Compare everything when the last time is so long ago; else only follow what the source tells. 0: now.",
        rich_help_panel=_SYNC,
    ),
]
InventoriesOption = Annotated[
    bool | None,
    typer.Option(
        "--inventories/--no-inventories",
        help="When a server is compared as a whole, ask for the list of each series, not for its count alone; "
        "unless told, where no feed is followed.",
        rich_help_panel=_SYNC,
    ),
]
LookBackOption = Annotated[
    int,
    typer.Option(
        "--look-back",
        metavar="DAYS",
        min=0,
        help="Search studies of so many days, where a source does not tell what changes.",
        rich_help_panel=_SYNC,
    ),
]
SyncDryRunOption = Annotated[
    bool,
    typer.Option("-n", "--dry-run", help="Only say what would be done, and why.", rich_help_panel=_SYNC),
]


def sync(
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
    quota: parameters.QuotaOption = None,
    transfers: parameters.TransfersOption = None,
    processes: parameters.ProcessesOption = 1,
    layout: parameters.LayoutOption = None,
    name_by: parameters.NameByOption = None,
    checksum: parameters.ChecksumOption = "stated",
    bwlimit: parameters.BwlimitOption = None,
    max_transfer: parameters.MaxTransferOption = None,
    max_duration: parameters.MaxDurationOption = None,
    wait: parameters.WaitOption = False,
    lock: parameters.LockOption = None,
    accept_failures: parameters.AcceptFailuresOption = None,
    on_series: parameters.OnSeriesOption = None,
    on_series_jobs: parameters.OnSeriesJobsOption = 1,
    state_dir: parameters.StateDirOption = None,
    audit_log: parameters.AuditLogOption = None,
    force: parameters.ForceOption = False,
    recheck: parameters.RecheckOption = False,
    max_delete: MaxDeleteOption = None,
    max_delete_fraction: MaxDeleteFractionOption = 0.05,
    trash_days: TrashDaysOption = 30,
    keep_withdrawn: KeepWithdrawnOption = False,
    dry_run: SyncDryRunOption = False,
    reconcile: ReconcileOption = "7d",
    look_back: LookBackOption = 30,
    inventories: InventoriesOption = None,
    as_json: parameters.JsonOption = False,
    quiet: parameters.QuietOption = False,
    verbose: parameters.VerboseOption = 0,
    progress: parameters.ProgressOption = False,
    log_file: parameters.LogFileOption = None,
    log_level: parameters.LogLevelOption = None,
    log_format: parameters.LogFormatOption = None,
    metrics_file: parameters.MetricsFileOption = None,
) -> None:
    """Make DEST equal to a cohort as it is now: what is new comes, what has gone leaves for the trash.

    What would remove more than it may is refused with nothing changed, and so is an answer that names nothing at all.

    \b
    Examples:
      dicomhaul sync qin_pet_phantom -o mirror
      dicomhaul sync --all --source http://localhost:8042/dicom-web -o mirror
      dicomhaul sync --all --source http://localhost:8042/dicom-web -o mirror --reconcile 1d
      dicomhaul sync nlst -o mirror --dry-run
      dicomhaul sync nlst -o mirror --max-delete 2000 --trash-days 90
      dicomhaul sync manifest.csv --source URL -o mirror --keep-withdrawn
    """
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
    connection = connection_from(
        auth=auth, token_file=token_file, ca_file=ca_file, client_cert=client_cert, client_key=client_key
    )
    options = options_from(
        transfers=transfers,
        processes=processes,
        tpslimit=tpslimit,
        layout=layout,
        state_dir=state_dir,
        audit_log=audit_log,
        force=force,
        recheck=recheck,
        name_by=name_by,
        checksum=checksum,
        bwlimit=bwlimit,
        quota=quota,
        max_transfer=max_transfer,
        max_duration=max_duration,
        wait=wait,
        lock=lock,
        accept_failures=accept_failures,
    )
    from dicomhaul.config.options import SyncOptions  # noqa: PLC0415 - as the next

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
    watching.commands = commands_from(on_series, to, at_once=on_series_jobs, tell=watching.hear)
    watching.metrics = metrics_from(metrics_file, name="sync", dest=to, state_dir=state_dir, shard=query.shard)
    following = SyncOptions(
        trash_days=trash_days,
        keep_withdrawn=keep_withdrawn,
        removal=RemovalLimits(max_delete, max_delete_fraction),
        reconcile_s=0.0 if reconcile.strip() == "0" else parse_duration_s(reconcile),
        lookback_days=look_back,
        inventories=inventories,
    )
    if dry_run:
        _show(hauler, Cohort(query), to, following, as_json=as_json)
        return
    finish(hauler, watching, lambda: hauler.sync(Cohort(query), to, sync=following, check=False), as_json=as_json)


def _show(hauler: "Hauler", cohort: "Cohort", to: Path, following: "SyncOptions", *, as_json: bool) -> None:
    """Print what a sync would do."""
    import anyio  # noqa: PLC0415 - as the engine

    async def body(stop: Stop) -> "Preview":
        with anyio.CancelScope() as scope:
            stop.call = scope.cancel
            async with hauler:
                return await hauler.sync_plan(cohort, to, sync=following)
        raise typer.Exit(stop.exit_code or 1)

    preview = run_async(body)
    series = sum(amount.series for amount in preview.totals.values())
    if as_json:
        emit_json(
            {
                "dest": str(to),
                "totals": {name: amount.as_json() for name, amount in preview.totals.items()},
                "steps": [asdict(step) for step in preview.steps],
                "steps_omitted": series - len(preview.steps),
                "refused": preview.refused,
            }
        )
        return
    if not series:
        say(f"nothing would be done: {to} is as the cohort is now")
    for name, amount in preview.totals.items():
        say(
            f"{name + ':':<10}{human_count(amount.series, 'series')}, {human_count(amount.instances, 'instances')}, "
            f"{human_bytes(amount.size_bytes)} - {REASONS[Action[name.upper()]]}"
        )
        for step in [step for step in preview.steps if step.action == name][:_SHOWN]:
            say(f"  series {step.series}: {human_count(step.instances, 'instances')}, {human_bytes(step.size_bytes)}")
        if amount.series > _SHOWN:
            say(f"  ... and {amount.series - _SHOWN:,} more; `--json` lists the first 10,000 of all")
    if preview.refused:
        say(f"it would be refused: {preview.refused}")
