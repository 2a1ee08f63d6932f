"""Who hauls for a command, and who watches it: put together in one place."""

import os
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dicomhaul.cli.watch import Watching

if TYPE_CHECKING:
    from dicomhaul.config.options import HaulOptions
    from dicomhaul.config.source import Connection, Location
    from dicomhaul.events import Observer
    from dicomhaul.hauler import Hauler
    from dicomhaul.observe.series_command import SeriesCommands


def wire(
    source: str | None,
    *,
    profile: str | None,
    bucket_location: "Location",
    connection: "Connection",
    options: "HaulOptions",
    quiet: bool = False,
    verbose: int = 0,
    progress: bool = False,
    log_file: Path | None = None,
    log_level: Literal["debug", "info", "warning", "error"] | None = None,
    log_format: Literal["text", "json"] | None = None,
) -> "tuple[Hauler, Watching]":
    """Return who hauls, and who watches it. Raises ConfigError for a source that makes no sense."""
    from dicomhaul.hauler import Hauler  # noqa: PLC0415 - the engine loads in 0.4 s, which --help need not wait for

    watching = Watching(
        quiet=quiet, verbose=verbose, bars=progress, log_file=log_file, level=log_level, log_format=log_format
    )
    hauler = Hauler(
        source,
        profile=profile,
        bucket_location=bucket_location,
        connection=connection,
        options=options,
        observer=watching.hear,
    )
    return hauler, watching


def commands_from(command: str | None, dest: Path, *, at_once: int, tell: "Observer") -> "SeriesCommands | None":
    """Return what runs the command for each series, where there is one. Raises ConfigError for one that cannot be."""
    if command is None:
        return None
    from dicomhaul.observe.series_command import CommandLine, SeriesCommands  # noqa: PLC0415 - rarely

    line = CommandLine.parse(command, os.environ.get("PATH"))
    return SeriesCommands(line, dest, at_once=at_once, environ=os.environ, tell=tell)
