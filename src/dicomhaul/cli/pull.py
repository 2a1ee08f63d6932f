"""`dicomhaul pull` and `dicomhaul resume`."""

import os
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from dicomhaul.cli import shared
from dicomhaul.cli.harness import Stop, run_async
from dicomhaul.cli.output import EXIT_CODES, emit_json, print_report, say
from dicomhaul.cli.watch import Watching, metrics_from
from dicomhaul.plan.shard import parse_shard

if TYPE_CHECKING:
    from dicomhaul.events import Observer
    from dicomhaul.hauler import Hauler
    from dicomhaul.observe.series_command import Counts, SeriesCommands
    from dicomhaul.report import Report


def pull(
    to: shared.ToOption,
    targets: shared.Targets = None,
    collection: shared.CollectionOption = None,
    modality: shared.ModalityOption = None,
    patient: shared.PatientOption = None,
    study: shared.StudyOption = None,
    series: shared.SeriesOption = None,
    instance: shared.InstanceOption = None,
    crdc: shared.CrdcOption = None,
    study_date: shared.StudyDateOption = None,
    where: shared.WhereOption = None,
    sql: shared.SqlOption = None,
    search: shared.SearchOption = None,
    everything: shared.AllOption = False,
    limit_series: shared.LimitOption = None,
    idc_version: shared.IdcVersionOption = None,
    license_allow: shared.LicenseAllowOption = None,
    shard: shared.ShardOption = None,
    source: shared.SourceOption = None,
    bucket_location: shared.BucketLocationOption = "aws",
    profile: shared.ProfileOption = None,
    auth: shared.AuthOption = None,
    token_file: shared.TokenFileOption = None,
    ca_file: shared.CaFileOption = None,
    client_cert: shared.ClientCertOption = None,
    client_key: shared.ClientKeyOption = None,
    tpslimit: shared.TpsOption = None,
    quota: shared.QuotaOption = None,
    transfers: shared.TransfersOption = None,
    processes: shared.ProcessesOption = 1,
    layout: shared.LayoutOption = None,
    name_by: shared.NameByOption = None,
    checksum: shared.ChecksumOption = "stated",
    bwlimit: shared.BwlimitOption = None,
    max_transfer: shared.MaxTransferOption = None,
    max_duration: shared.MaxDurationOption = None,
    wait: shared.WaitOption = False,
    lock: shared.LockOption = None,
    accept_failures: shared.AcceptFailuresOption = None,
    on_series: shared.OnSeriesOption = None,
    on_series_jobs: shared.OnSeriesJobsOption = 1,
    state_dir: shared.StateDirOption = None,
    audit_log: shared.AuditLogOption = None,
    force: shared.ForceOption = False,
    recheck: shared.RecheckOption = False,
    dry_run: shared.DryRunOption = False,
    as_json: shared.JsonOption = False,
    quiet: shared.QuietOption = False,
    verbose: shared.VerboseOption = 0,
    progress: shared.ProgressOption = False,
    log_file: shared.LogFileOption = None,
    log_level: shared.LogLevelOption = None,
    log_format: shared.LogFormatOption = None,
    metrics_file: shared.MetricsFileOption = None,
) -> None:
    """Bring a cohort to DEST. Run it again, and it goes on where it stopped.

    Options of the cohort may be repeated and take comma lists; different options must all match.

    \b
    Examples:
      dicomhaul pull qin_pet_phantom -o data
      dicomhaul pull --all --source http://localhost:8042/dicom-web -o data
      dicomhaul pull --search PatientID=123 --modality CT,MR --source URL -o data
      dicomhaul pull manifest.csv --source URL -o data
      dicomhaul pull --sql "SELECT SeriesInstanceUID FROM index WHERE ..." -o data
      dicomhaul pull cohort.lock -o data
      dicomhaul pull qin_pet_phantom -o data --on-series "dcm2niix -o nifti {folder}"
    """
    query = shared.query_from(
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
    connection = shared.connection_from(
        auth=auth, token_file=token_file, ca_file=ca_file, client_cert=client_cert, client_key=client_key
    )
    options = shared.options_from(
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
    from dicomhaul.hauler import Cohort, Hauler  # noqa: PLC0415 - the engine loads in 0.4 s, which --help need not wait for

    watching = Watching(
        quiet=quiet, verbose=verbose, bars=progress, log_file=log_file, level=log_level, log_format=log_format
    )
    watching.commands = commands_from(on_series, to, at_once=on_series_jobs, tell=watching.hear)
    watching.metrics = metrics_from(metrics_file, name="pull", dest=to, state_dir=state_dir, shard=query.shard)
    hauler = Hauler(
        source,
        profile=profile,
        bucket_location=bucket_location,
        connection=connection,
        options=options,
        observer=watching.hear,
    )
    if dry_run:
        from dicomhaul.cli.plan import show_plan  # noqa: PLC0415 - only here

        show_plan(hauler, Cohort(query), to=to, as_json=as_json)
        return
    finish(hauler, watching, lambda: hauler.pull(Cohort(query), to, check=False), as_json=as_json)


def resume(
    dest: shared.Destination,
    source: shared.SourceOption = None,
    bucket_location: shared.BucketLocationOption = "aws",
    profile: shared.ProfileOption = None,
    auth: shared.AuthOption = None,
    token_file: shared.TokenFileOption = None,
    ca_file: shared.CaFileOption = None,
    client_cert: shared.ClientCertOption = None,
    client_key: shared.ClientKeyOption = None,
    tpslimit: shared.TpsOption = None,
    quota: shared.QuotaOption = None,
    transfers: shared.TransfersOption = None,
    processes: shared.ProcessesOption = 1,
    checksum: shared.ChecksumOption = "stated",
    bwlimit: shared.BwlimitOption = None,
    max_transfer: shared.MaxTransferOption = None,
    max_duration: shared.MaxDurationOption = None,
    wait: shared.WaitOption = False,
    accept_failures: shared.AcceptFailuresOption = None,
    shard: shared.ShardOption = None,
    state_dir: shared.StateDirOption = None,
    audit_log: shared.AuditLogOption = None,
    force: shared.ForceOption = False,
    recheck: shared.RecheckOption = False,
    as_json: shared.JsonOption = False,
    quiet: shared.QuietOption = False,
    verbose: shared.VerboseOption = 0,
    progress: shared.ProgressOption = False,
    log_file: shared.LogFileOption = None,
    log_level: shared.LogLevelOption = None,
    log_format: shared.LogFormatOption = None,
    metrics_file: shared.MetricsFileOption = None,
) -> None:
    """Go on with everything that was asked for at DEST, without planning it again.

    \b
    Examples:
      dicomhaul resume data
      dicomhaul resume data --recheck --json
    """
    connection = shared.connection_from(
        auth=auth, token_file=token_file, ca_file=ca_file, client_cert=client_cert, client_key=client_key
    )
    options = shared.options_from(
        transfers=transfers,
        processes=processes,
        tpslimit=tpslimit,
        state_dir=state_dir,
        audit_log=audit_log,
        force=force,
        recheck=recheck,
        checksum=checksum,
        bwlimit=bwlimit,
        quota=quota,
        max_transfer=max_transfer,
        max_duration=max_duration,
        wait=wait,
        accept_failures=accept_failures,
    )
    part = None if shard is None else parse_shard(shard)
    from dicomhaul.hauler import Hauler  # noqa: PLC0415 - see pull

    watching = Watching(
        quiet=quiet, verbose=verbose, bars=progress, log_file=log_file, level=log_level, log_format=log_format
    )
    watching.metrics = metrics_from(metrics_file, name="resume", dest=dest, state_dir=state_dir, shard=part)
    hauler = Hauler(
        source,
        profile=profile,
        bucket_location=bucket_location,
        connection=connection,
        options=options,
        observer=watching.hear,
    )
    finish(hauler, watching, lambda: hauler.resume(dest, shard=part, check=False), as_json=as_json)


def commands_from(command: str | None, dest: Path, *, at_once: int, tell: "Observer") -> "SeriesCommands | None":
    """Return what runs the command for each series, where there is one. Raises ConfigError for one that cannot be."""
    if command is None:
        return None
    from dicomhaul.observe.series_command import CommandLine, SeriesCommands  # noqa: PLC0415 - rarely

    line = CommandLine.parse(command, os.environ.get("PATH"))
    return SeriesCommands(line, dest, at_once=at_once, environ=os.environ, tell=tell)


def finish(hauler: "Hauler", watching: Watching, call: "Callable[[], Awaitable[Report]]", *, as_json: bool) -> None:
    """Run a haul, print its report, and exit with its code."""
    commands = watching.commands

    async def body(stop: Stop) -> "tuple[Report, int | None]":
        async with AsyncExitStack() as stack:
            stop.call = hauler.stop
            await stack.enter_async_context(hauler)
            stack.enter_context(watching.over(hauler.tally))
            if commands is not None:
                await stack.enter_async_context(commands)
                stop.at_once = commands.kill

                def end() -> None:
                    hauler.stop()
                    commands.stop()

                stop.call = end
            if watching.metrics is not None:
                await stack.enter_async_context(watching.metrics.of(hauler))
            report = await call()
            watching.ended(report)
        return report, stop.exit_code

    report, signalled = run_async(body)
    leave(report, signalled, commands=None if commands is None else commands.counts, as_json=as_json)


def leave(
    report: "Report",
    signalled: int | None,
    *,
    as_json: bool,
    commands: "Counts | None" = None,
    more: Mapping[str, Any] | None = None,
) -> NoReturn:
    """Print the report of a run, and of the commands for its series, and exit with its code.

    Args:
        report: what became of the run.
        signalled: the exit code of the signal that stopped it.
        as_json: print an object.
        commands: what became of the commands.
        more: what else stands in the object.
    """
    if as_json:
        ran = {} if commands is None else {"on_series": commands.as_json()}
        emit_json({**report.as_json(), **ran, **(more or {})})
    else:
        print_report(report)
        if commands is not None:
            say(
                f"  command for each series: {commands.done:,} done, {commands.failed:,} failed, "
                f"{commands.left:,} not begun"
            )
    stopped = report.state == "interrupted" or (commands is not None and commands.left > 0)
    raise typer.Exit(signalled if stopped and signalled is not None else EXIT_CODES.get(report.state, 1))
