"""`dicomhaul verify`: read everything again and hold it against the ledger."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.ending import finish
from dicomhaul.cli.meaning import connection_from, options_from
from dicomhaul.cli.output import EXIT_CODES, emit_json, human_bytes, human_count, say, tell
from dicomhaul.cli.wiring import wire
from dicomhaul.config.accepted import Accepted
from dicomhaul.config.source import Location
from dicomhaul.errors import ConfigError
from dicomhaul.plan.shard import parse_shard
from dicomhaul.report import Report

if TYPE_CHECKING:
    from dicomhaul.audit.locked import LockProof
    from dicomhaul.model import Shard
    from dicomhaul.verification import Verification


_SHOWN_FINDINGS = 20
_SHOWN_COHORTS = 3

ProvedLockOption = Annotated[
    Path | None,
    typer.Option(
        "--lock",
        metavar="FILE",
        help="Prove DEST against a lock: each of its series, its revision, count and digests or size.",
        rich_help_panel="Run",
    ),
]


def verify(
    dest: parameters.Destination,
    deep: parameters.DeepOption = False,
    repair: parameters.RepairOption = False,
    source: parameters.SourceOption = None,
    bucket_location: parameters.BucketLocationOption = "aws",
    profile: parameters.ProfileOption = None,
    auth: parameters.AuthOption = None,
    token_file: parameters.TokenFileOption = None,
    ca_file: parameters.CaFileOption = None,
    client_cert: parameters.ClientCertOption = None,
    client_key: parameters.ClientKeyOption = None,
    tpslimit: parameters.TpsOption = None,
    transfers: parameters.TransfersOption = None,
    shard: parameters.ShardOption = None,
    lock: ProvedLockOption = None,
    accept_failures: parameters.AcceptFailuresOption = None,
    state_dir: parameters.StateDirOption = None,
    audit_log: parameters.AuditLogOption = None,
    as_json: parameters.JsonOption = False,
    quiet: parameters.QuietOption = False,
) -> None:
    """Read every instance at DEST again: is it there, whole, and what landed? Exit 3 if not.

    \b
    Examples:
      dicomhaul verify data
      dicomhaul verify data --deep        # parse each with pydicom, too
      dicomhaul verify data --repair      # bring again what is damaged or gone
      dicomhaul verify data --lock cohort.lock
    """
    from dicomhaul.verification import verify as verify_dest  # noqa: PLC0415 - xxhash and threads, not for --help

    if lock is not None and repair:
        raise ConfigError("--repair changes what --lock would prove: repair first, then prove")
    if audit_log is not None and not repair:
        raise ConfigError("verify changes nothing that an audit log could be told of, unless --repair is given")
    part = None if shard is None else parse_shard(shard)
    accepted = Accepted() if accept_failures is None else Accepted.read(accept_failures)
    found = verify_dest(
        dest,
        deep=deep,
        state_dir=state_dir,
        shard=part,
        lock=lock,
        found=lambda finding: None if quiet else tell(f"{finding.problem}: {finding.path} {finding.detail}".rstrip()),
    )
    if repair and found.damaged:
        _repair(
            dest,
            found,
            part,
            source=source,
            profile=profile,
            bucket_location=bucket_location,
            connection=connection_from(
                auth=auth, token_file=token_file, ca_file=ca_file, client_cert=client_cert, client_key=client_key
            ),
            options=options_from(
                transfers=transfers,
                tpslimit=tpslimit,
                state_dir=state_dir,
                audit_log=audit_log,
                accept_failures=accept_failures,
            ),
            as_json=as_json,
            quiet=quiet,
        )
        return
    standing = found.standing
    report = _report(found, accepted)
    if as_json:
        emit_json(
            {
                **report.as_json(),
                "bytes_checked": found.size_bytes,
                "checked": standing.checks_as_json(),
                "foreign": found.foreign,
                "lock": None if found.lock is None else found.lock.as_json(),
            }
        )
    else:
        say(
            f"{report.state}: {human_count(found.instances, 'instances')} checked ({human_bytes(found.size_bytes)}), "
            f"{len(found.damaged):,} damaged or gone, {len(found.foreign):,} foreign, "
            f"{standing.series_complete:,} of {human_count(standing.series_planned, 'series')} complete"
        )
        if found.lock is not None:
            _say_proof(found.lock)
        if found.damaged:
            say(f"  to mend it: dicomhaul verify {dest} --repair")
        elif found.absent:
            say(f"  {report.reason}")
        elif report.state != "complete":
            say(f"  to go on: dicomhaul resume {dest}")
    raise typer.Exit(EXIT_CODES[report.state])


def _report(found: "Verification", accepted: Accepted) -> Report:
    damaged, standing = len(found.damaged), found.standing
    # What landed and is damaged or gone is no failure of the source's, so nobody can have accepted it.
    failures, known = accepted.split(found.failures) if not damaged else (found.failures, ())
    left = standing.series_planned - standing.series_complete - (0 if failures else standing.series_failed)
    if damaged:
        reason = f"{human_count(damaged, 'instances')} damaged or gone"
    elif left:
        reason = f"{human_count(left, 'series')} not complete"
    elif found.lock is not None and found.lock.findings:
        reason = f"{found.lock.series - found.lock.proven:,} of {found.lock.series:,} series are not as the lock says"
    else:
        reason = human_count(len(failures), "failures") if failures else ""
    if not reason and found.absent:
        reason = f"not here: {', and '.join(map(str, found.absent[:_SHOWN_COHORTS]))}"
    report = Report.at_rest(found.dest, "partial" if reason else "complete", reason, standing, failures)
    return replace(
        report,
        instances_present=found.instances - damaged,
        instances_failed=standing.instances_failed + damaged,
        elapsed_s=found.elapsed_s,
        failures_accepted=len(known),
    )


def _say_proof(proof: "LockProof") -> None:
    for finding in proof.findings[:_SHOWN_FINDINGS]:
        what = f"instance {finding.sop} of series {finding.series}" if finding.sop else f"series {finding.series}"
        say(f"  not as the lock says: {what}: {finding.breach}{f' ({finding.detail})' if finding.detail else ''}")
    if len(proof.findings) > _SHOWN_FINDINGS:
        say(f"  ... and {len(proof.findings) - _SHOWN_FINDINGS:,} more; `--json` lists them all")
    say(
        f"  {proof.path}: {proof.proven:,} of {human_count(proof.series, 'series')} proven, "
        f"{human_count(proof.digests, 'instances')} by the lock's own digests; "
        f"{human_count(proof.besides, 'series')} besides"
    )
    if proof.sizes:
        say(f"  {human_count(proof.sizes, 'series')}, whole from buckets, held against the lock's size, not digests")
    if proof.counted:
        say(
            f"  {human_count(proof.counted, 'series')} proven by the number of instances alone: the lock lacks "
            "digests, and sizes are compared of what came whole from buckets"
        )


def _repair(
    dest: Path,
    found: "Verification",
    shard: "Shard | None",
    *,
    source: str | None,
    profile: str | None,
    bucket_location: Location,
    connection: Any,
    options: Any,
    as_json: bool,
    quiet: bool,
) -> None:
    """Want what is damaged again, and go on as `resume` does."""
    hauler, watching = wire(
        source,
        profile=profile,
        bucket_location=bucket_location,
        connection=connection,
        options=options,
        quiet=quiet,
    )
    tell(f"bringing {human_count(len(found.damaged), 'instances')} again")
    finish(
        hauler, watching, lambda: hauler.resume(dest, damaged=found.damaged, shard=shard, check=False), as_json=as_json
    )
