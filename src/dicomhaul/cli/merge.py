"""`dicomhaul merge`: shards become one destination, or several destinations become another one."""

from pathlib import Path
from typing import Annotated

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.output import EXIT_CODES, emit_json, human_bytes, human_count, print_failures, say, tell
from dicomhaul.cli.status import names_of, state_of
from dicomhaul.report import Report

_SHOWN = 5

MergedInto = Annotated[
    Path | None,
    typer.Option(
        "-o", "--to", metavar="OUT", help="Another destination: to make, or to add to.", parser=parameters.dest
    ),
]


def merge(
    dests: Annotated[
        list[Path], typer.Argument(metavar="DEST...", help="Destinations, sharded or not.", parser=parameters.dest)
    ],
    to: MergedInto = None,
    state_dir: parameters.StateDirOption = None,
    audit_log: parameters.AuditLogOption = None,
    as_json: parameters.JsonOption = False,
    quiet: parameters.QuietOption = False,
) -> None:
    """Unite the shards in DEST into one ledger; with -o, several destinations into OUT, which links to their files.

    DEST must hold all N shards of what was asked for. OUT may lack some: it is paused (4) until they are merged, too.
    Exit codes are those of `status`, for what is merged then. Merging again changes nothing.

    \b
    Examples:
      dicomhaul merge data                          # after `pull --shard 1/8 -o data`, 2/8, ...
      dicomhaul merge part-1 part-2 part-3 -o data
    """
    from dicomhaul.merging import merge as merge_dests  # noqa: PLC0415 - the engine, which --help need not wait for

    merged = merge_dests(dests, to, state_dir=state_dir, audit_log=audit_log)
    standing, united = merged.standing, merged.united
    state, reason = state_of(standing, len(merged.failures), merged.absent)
    report = Report.at_rest(merged.dest, state, reason, standing, merged.failures)
    if not quiet:
        for note in united.unfinished:
            tell(note)
        if united.contested:
            some = ", ".join(united.contested[:_SHOWN]) + (", ..." if len(united.contested) > _SHOWN else "")
            tell(f"asked for last, and so kept, of {human_count(len(united.contested), 'series')} that differ: {some}")
        if united.lost:
            tell(f"{human_count(united.lost, 'instances')} were recorded and are not there; they are wanted again")
    if as_json:
        emit_json(
            {
                **report.as_json(),
                "bytes_present": standing.bytes_present,
                "ledgers_merged": united.ledgers,
                "instances_linked": merged.linked,
                "instances_copied": merged.copied,
                "instances_lost": united.lost,
                "contested": united.contested,
                "shards_absent": names_of(merged.absent),
                "notes": united.unfinished,
            }
        )
    else:
        say(
            f"{report.state}: {human_count(united.ledgers, 'ledgers')} merged; {report.series_complete:,} of "
            f"{human_count(report.series_planned, 'series')} complete, "
            f"{human_count(standing.instances_present, 'instances')} ({human_bytes(standing.bytes_present)}) present "
            f"in {merged.dest}"
        )
        if merged.linked or merged.copied:
            say(f"  {human_count(merged.linked, 'instances')} linked, {merged.copied:,} copied")
        print_failures(merged.failures)
        if report.reason:
            say(f"  {report.reason}")
    raise typer.Exit(EXIT_CODES[report.state])
