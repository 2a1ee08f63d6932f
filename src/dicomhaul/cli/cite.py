"""`dicomhaul cite`: licences and citations of what a destination holds."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.output import emit_json, human_bytes, human_count, say, tell
from dicomhaul.plan.shard import parse_shard

if TYPE_CHECKING:
    from dicomhaul.citation.account import Account, Cited

FormatOption = Annotated[
    Literal["text", "bibtex"], typer.Option("--format", help="How to print it.", rich_help_panel="Output")
]


def cite(
    dest: parameters.Destination,
    form: FormatOption = "text",
    shard: parameters.ShardOption = None,
    state_dir: parameters.StateDirOption = None,
    as_json: parameters.JsonOption = False,
) -> None:
    """Say which licences what is at DEST has, and what to cite for it. Asks no server.

    \b
    Examples:
      dicomhaul cite data
      dicomhaul cite data --format bibtex > data.bib
    """
    from dicomhaul.citation.account import cite as cite_dest  # noqa: PLC0415 - DuckDB, which --help need not wait for

    account = cite_dest(dest, state_dir=state_dir, shard=None if shard is None else parse_shard(shard))
    if as_json:
        emit_json(account.as_json())
    elif form == "bibtex":
        for line in account.as_bibtex().splitlines():
            say(line)
        for note in account.notes:
            tell(f"note: {note}")
    else:
        _print(account)


def _print(account: "Account") -> None:
    for each in account.licenses:
        what = each.name or "no licence stated"
        marked = " - NonCommercial: no commercial use" if each.noncommercial else ""
        amount = f"{human_count(each.series, 'series')}, {human_count(each.instances, 'instances')}, "
        say(f"licence:  {what}: {amount}{human_bytes(each.size_bytes)}{marked}")
        if each.url:
            say(f"          {each.url}")
    for note in account.notes:
        say(f"note:     {note}")
    say()
    say("Please cite:")
    for work in account.works:
        say()
        say(_named(work))
        where = ", ".join(sorted(work.collections))
        say(
            f"  for {human_count(work.series, 'series')} of {where}; {', '.join(sorted(work.licenses)) or 'no licence'}"
        )
    say()
    say("And IDC itself:")
    say()
    say(_named(account.acknowledgement))


def _named(work: "Cited") -> str:
    if work.text is None:
        return f"{work.title}. {work.url}" if work.title else work.url
    return work.text
