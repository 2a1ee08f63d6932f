"""`dicomhaul pull` and `dicomhaul resume`."""

from dicomhaul.cli import parameters
from dicomhaul.cli.ending import finish
from dicomhaul.cli.meaning import connection_from, options_from, query_from
from dicomhaul.cli.watch import metrics_from
from dicomhaul.cli.wiring import commands_from, wire
from dicomhaul.cohort.wanted import Cohort
from dicomhaul.plan.shard import parse_shard


def pull(
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
    dry_run: parameters.DryRunOption = False,
    as_json: parameters.JsonOption = False,
    quiet: parameters.QuietOption = False,
    verbose: parameters.VerboseOption = 0,
    progress: parameters.ProgressOption = False,
    log_file: parameters.LogFileOption = None,
    log_level: parameters.LogLevelOption = None,
    log_format: parameters.LogFormatOption = None,
    metrics_file: parameters.MetricsFileOption = None,
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
    watching.metrics = metrics_from(metrics_file, name="pull", dest=to, state_dir=state_dir, shard=query.shard)
    if dry_run:
        from dicomhaul.cli.plan import show_plan  # noqa: PLC0415 - only here

        show_plan(hauler, Cohort(query), to=to, as_json=as_json)
        return
    finish(hauler, watching, lambda: hauler.pull(Cohort(query), to, check=False), as_json=as_json)


def resume(
    dest: parameters.Destination,
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
    checksum: parameters.ChecksumOption = "stated",
    bwlimit: parameters.BwlimitOption = None,
    max_transfer: parameters.MaxTransferOption = None,
    max_duration: parameters.MaxDurationOption = None,
    wait: parameters.WaitOption = False,
    accept_failures: parameters.AcceptFailuresOption = None,
    shard: parameters.ShardOption = None,
    state_dir: parameters.StateDirOption = None,
    audit_log: parameters.AuditLogOption = None,
    force: parameters.ForceOption = False,
    recheck: parameters.RecheckOption = False,
    as_json: parameters.JsonOption = False,
    quiet: parameters.QuietOption = False,
    verbose: parameters.VerboseOption = 0,
    progress: parameters.ProgressOption = False,
    log_file: parameters.LogFileOption = None,
    log_level: parameters.LogLevelOption = None,
    log_format: parameters.LogFormatOption = None,
    metrics_file: parameters.MetricsFileOption = None,
) -> None:
    """Go on with everything that was asked for at DEST, without planning it again.

    \b
    Examples:
      dicomhaul resume data
      dicomhaul resume data --recheck --json
    """
    connection = connection_from(
        auth=auth, token_file=token_file, ca_file=ca_file, client_cert=client_cert, client_key=client_key
    )
    options = options_from(
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
    watching.metrics = metrics_from(metrics_file, name="resume", dest=dest, state_dir=state_dir, shard=part)
    finish(hauler, watching, lambda: hauler.resume(dest, shard=part, check=False), as_json=as_json)
