"""`dicomhaul plan`: what would come, from where, and how long it would take. Moves nothing, unless it is to measure."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.harness import Stop, run_async
from dicomhaul.cli.meaning import connection_from, options_from, query_from
from dicomhaul.cli.output import emit_json, human_bytes, human_count, say
from dicomhaul.cli.wiring import wire
from dicomhaul.cohort.wanted import Cohort
from dicomhaul.config.rates import parse_size
from dicomhaul.errors import ConfigError
from dicomhaul.observe.figures import duration

if TYPE_CHECKING:
    from dicomhaul.hauler import Hauler
    from dicomhaul.plan.estimate import Amount, Summary
    from dicomhaul.plan.forecast import Forecast

_SHOWN = 12


def plan(
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
    bwlimit: parameters.BwlimitOption = None,
    to: parameters.PlanToOption = None,
    layout: parameters.LayoutOption = None,
    state_dir: parameters.StateDirOption = None,
    lock: parameters.LockOption = None,
    rate: parameters.RateOption = None,
    probe: parameters.ProbeOption = False,
    as_json: parameters.JsonOption = False,
) -> None:
    """Say what would come: series, instances, bytes, licences, routes. With -o: what is not there, and if it fits.

    Options of the cohort may be repeated and take comma lists; different options must all match.

    \b
    Examples:
      dicomhaul plan qin_pet_phantom
      dicomhaul plan --collection nlst --modality CT --json
      dicomhaul plan --all --source http://localhost:8042/dicom-web -o data
      dicomhaul plan nlst --rate 80M --quota 5G/day
      dicomhaul plan nlst --probe -o data
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
        tpslimit=tpslimit, layout=layout, state_dir=state_dir, quota=quota, lock=lock, bwlimit=bwlimit
    )
    bytes_per_s = None if rate is None else parse_size(rate)
    if bytes_per_s is not None and probe:
        raise ConfigError("--rate says what --probe would measure: choose one of them")

    hauler, _ = wire(source, profile=profile, bucket_location=bucket_location, connection=connection, options=options)
    show_plan(hauler, Cohort(query), to=to, as_json=as_json, bytes_per_s=bytes_per_s, probe=probe)


def show_plan(
    hauler: "Hauler",
    cohort: "Cohort",
    *,
    to: Path | None,
    as_json: bool,
    bytes_per_s: int | None = None,
    probe: bool = False,
) -> None:
    """Plan and print; raises typer.Exit with 128 plus the signal if one came."""
    import anyio  # noqa: PLC0415 - as above

    from dicomhaul.land.folder import Folder  # noqa: PLC0415
    from dicomhaul.plan.estimate import shortage  # noqa: PLC0415

    async def body(stop: Stop) -> "tuple[Summary, Forecast]":
        with anyio.CancelScope() as scope:
            stop.call = scope.cancel
            async with hauler:
                summary = await hauler.plan(cohort, to)
                measured = await hauler.probe(cohort, summary, to) if probe else None
                return summary, hauler.forecast(summary, bytes_per_s=bytes_per_s, measured=measured)
        raise typer.Exit(stop.exit_code or 1)

    summary, forecast = run_async(body)
    room = None if to is None else Folder(to).room()
    problem = None if room is None else shortage(summary.total, room)
    if as_json:
        table = {**_as_json(summary), "forecast": forecast.as_json()}
        if room is not None:
            table |= {"disk_free_bytes": room.free_bytes, "inodes_free": room.free_inodes, "fits": problem is None}
        emit_json(table)
        return
    _print(summary)
    _print_forecast(forecast)
    if room is not None:
        say(f"free:       {human_bytes(room.free_bytes)}" + (f" - {problem}" if problem else ""))


def _as_json(summary: "Summary") -> dict[str, Any]:
    return {
        **summary.total.as_json(),
        "collections": {name: amount.as_json() for name, amount in summary.collections.items() if name},
        "modalities": {name: amount.as_json() for name, amount in summary.modalities.items() if name},
        "licenses": summary.licenses,
        "routes": {
            name: {
                **amount.as_json(),
                "reasons": {reason: part.as_json() for reason, part in summary.reasons[name].items()},
            }
            for name, amount in summary.routes.items()
        },
        "skipped": summary.skipped,
        "source": summary.source,
        "notes": list(summary.notes),
    }


def _print(summary: "Summary") -> None:
    say(f"would come: {_amount(summary.total)}")
    for title, table in (("collection", summary.collections), ("modality", summary.modalities)):
        for name, amount in _largest(table):
            say(f"{title + ':':<11} {name}: {_amount(amount)}")
        if len(table) > _SHOWN:
            say(f"{'':<11} ... and {len(table) - _SHOWN:,} more; --json lists them all")
    for name, count in summary.licenses.items():
        say(f"licence:    {name}: {human_count(count, 'series')}")
    for name, reasons in summary.reasons.items():
        for reason, amount in list(reasons.items())[:_SHOWN]:
            say(f"route:      {name}: {_amount(amount)} - {reason}")
        if len(reasons) > _SHOWN:
            say(f"{'':<11} ... and for {len(reasons) - _SHOWN:,} more reasons; --json lists them all")
    for reason, count in summary.skipped.items():
        say(f"skipped:    {reason}: {human_count(count, 'series')}")
    for note in summary.notes:
        say(f"note:       {note}")


def _print_forecast(forecast: "Forecast") -> None:
    time = "unknown" if forecast.seconds is None else duration(forecast.seconds)
    if forecast.rate_bytes_per_s:
        time += f" at {human_bytes(forecast.rate_bytes_per_s)}/s"
    if forecast.quota_days:
        time += f", {human_count(forecast.quota_days, 'days')} of a quota"
    say(f"forecast:   time {time}; {human_count(forecast.files, 'files')}, {human_bytes(forecast.disk_bytes)} of disk")
    for sentence in forecast.assumptions:
        say(f"assumed:    {sentence}")


def _largest(table: "dict[str, Amount]") -> "list[tuple[str, Amount]]":
    named = [(name, amount) for name, amount in table.items() if name]
    return sorted(named, key=lambda item: (-(item[1].size_bytes or 0), -item[1].series, item[0]))[:_SHOWN]


def _amount(amount: "Amount") -> str:
    return (
        f"{human_count(amount.series, 'series')}, {human_count(amount.instances, 'instances')}, "
        f"{human_bytes(amount.size_bytes)}"
    )
