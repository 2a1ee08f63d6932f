"""`dicomhaul report`: a page that says what a destination holds and how it came."""

import sys
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from dicomhaul.cli import parameters
from dicomhaul.cli.output import emit_json, tell
from dicomhaul.errors import ConfigError, NotWritable
from dicomhaul.plan.shard import parse_shard

_STDOUT: Final = Path("-")

PageOption = Annotated[
    Path | None,
    typer.Option("--output", "-o", metavar="FILE", help="The page; - for standard output.", rich_help_panel="Output"),
]


def report(
    dest: parameters.Destination,
    to: PageOption = None,
    shard: parameters.ShardOption = None,
    state_dir: parameters.StateDirOption = None,
    as_json: parameters.JsonOption = False,
) -> None:
    """Write a page about DEST: what was asked for, what is there, what failed and why, how it came. Asks no server.

    One HTML file that needs nothing else, neither a network nor scripts. It names no patient.

    \b
    Examples:
      dicomhaul report data -o report.html
      dicomhaul report data --json
    """
    from dicomhaul.page.figures import read_figures  # noqa: PLC0415 - sqlite and pydantic, which --help need not wait for

    if to is None and not as_json:
        raise ConfigError("say where the page goes: -o FILE, or -o - for standard output; or --json for the figures")
    if to == _STDOUT and as_json:
        raise ConfigError("-o - and --json both want standard output; give the page a file")
    if to is not None and to != _STDOUT and to.resolve().is_relative_to(dest.resolve()):
        raise ConfigError(f"{to} lies in {dest}, where it would be a foreign file: put the page somewhere else")
    figures = read_figures(dest, state_dir, None if shard is None else parse_shard(shard), now=datetime.now(UTC))
    if to is not None:
        from dicomhaul.page.html import page  # noqa: PLC0415 - the template engine

        text = page(figures)
        if to == _STDOUT:
            sys.stdout.write(text)
        else:
            _write(to, text)
            tell(f"the report is in {to}")
    if as_json:
        emit_json(figures.as_json())


def _write(path: Path, text: str) -> None:
    """Put a file there, whole or not at all. Raises NotWritable."""
    part = path.with_name(f".{path.name[:100]}-{uuid.uuid4().hex}.part")
    try:
        try:
            part.write_text(text, encoding="utf-8", errors="replace")
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)
    except OSError as error:
        raise NotWritable(f"cannot write {path}: {(error.strerror or 'unknown').lower()}") from None
