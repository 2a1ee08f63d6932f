"""`dicomhaul audit verify`: read audit logs again."""

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.output import EXIT_CODES, emit_json, human_count, say
from dicomhaul.errors import ConfigError
from dicomhaul.plan.shard import parse_shard

if TYPE_CHECKING:
    from dicomhaul.record.told import Comparison
    from dicomhaul.report import RunState
    from dicomhaul.trail.proof import Proof

_SHOWN: Final = 20
_SEAL: Final = re.compile(r"[0-9a-f]{64}\Z")

audit = typer.Typer(name="audit", no_args_is_help=True)


@audit.callback()
def _audit() -> None:
    """Look at the logs that --audit-log writes: every line is sealed together with the one before it.

    \b
    Examples:
      dicomhaul pull qin_pet_phantom -o data --audit-log /var/log/dicomhaul/audit.log
      dicomhaul audit verify /var/log/dicomhaul/audit.log
      dicomhaul audit verify audit.log.2 audit.log.1 audit.log --dest data
    """


@audit.command()
def verify(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="The logs, the oldest first.")],
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="HASH", help="The seal of a line that has to be there, as printed before."),
    ] = None,
    dest: Annotated[
        Path | None,
        typer.Option(
            "--dest", metavar="DEST", help="Hold the logs against this destination, too.", parser=parameters.dest
        ),
    ] = None,
    state_dir: parameters.StateDirOption = None,
    shard: parameters.ShardOption = None,
    as_json: parameters.JsonOption = False,
) -> None:
    """Find out whether any line of an audit log was changed, dropped, inserted or moved. Exit 3 if so.

    Lines that were cut off at the end are missed by --head, by a later log, and by the ledger of --dest, which must
    hold exactly the instances, with the digests, that the logs say are there. What is printed as the head is worth
    keeping elsewhere.

    \b
    Examples:
      dicomhaul audit verify audit.log
      dicomhaul audit verify audit.log --head 5d0f...    # 64 digits, as printed last time
      dicomhaul audit verify audit.log.1 audit.log --dest data
    """
    from dicomhaul.trail.proof import prove  # noqa: PLC0415 - not for --help

    if head is not None and not _SEAL.match(head):
        raise ConfigError("--head is the seal of a line: 64 hexadecimal digits")
    must = {} if head is None else {head: "--head"}
    compared = None
    if dest is None:
        proof = prove(files, must=must)
    else:
        from dicomhaul.destination import find_place  # noqa: PLC0415 - likewise
        from dicomhaul.record.told import open_told  # noqa: PLC0415 - likewise

        place = find_place(dest, state_dir, None if shard is None else parse_shard(shard))
        with open_told(place.ledger) as told:
            if told.head is not None:
                must[told.head.sha256] = f"the ledger of {dest}"
            proof = prove(files, must=must, take=told.take)
            compared = told.compare()
    sound = not proof.findings and not (compared is not None and compared.different)
    state: RunState = "complete" if sound else "partial"
    if as_json:
        emit_json(_as_json(proof, compared, state))
    else:
        _print(proof, compared)
    raise typer.Exit(EXIT_CODES[state])


def _print(proof: "Proof", compared: "Comparison | None") -> None:
    for finding in proof.findings[:_SHOWN]:
        say(f"not sound: {finding}")
    if len(proof.findings) > _SHOWN:
        say(f"  ... and {len(proof.findings) - _SHOWN:,} more; `--json` lists them all")
    for each in proof.files:
        said = "" if not each.torn else f"; {human_count(len(each.torn), 'crashes')} left bytes that are no lines"
        say(f"{each.path}: {human_count(each.lines, 'lines')} sound{said}")
    if proof.files[-1].lines:
        say(f"  head: {proof.files[-1].head.sha256}")
    if compared is None:
        return
    for difference in compared.differences[:_SHOWN]:
        say(f"differs: instance {difference.sop} of series {difference.series}: {difference.reason}")
    if compared.different > _SHOWN:
        say(f"  ... and {compared.different - _SHOWN:,} more; `--json` lists the first {len(compared.differences):,}")
    say(f"{human_count(compared.instances, 'instances')} in the ledger, {compared.different:,} differ from the log")
    if compared.waiting:
        say(f"  {human_count(compared.waiting, 'entries')} wait in the ledger for the next run with --audit-log")
    if compared.repeated:
        say(f"  {human_count(compared.repeated, 'entries')} stand in the logs twice, and count once")


def _as_json(proof: "Proof", compared: "Comparison | None", state: str) -> dict[str, Any]:
    return {
        "state": state,
        "files": [
            {
                "path": str(each.path),
                "log": each.head.log,
                "lines": each.lines,
                "head": each.head.sha256 if each.lines else None,
                "torn": list(each.torn),
            }
            for each in proof.files
        ],
        "findings": [{"path": str(each.path), "line": each.line, "reason": each.reason} for each in proof.findings],
        "ledger": None
        if compared is None
        else {
            "instances": compared.instances,
            "different": compared.different,
            "differences": [each._asdict() for each in compared.differences],
            "waiting": compared.waiting,
            "repeated": compared.repeated,
        },
    }
