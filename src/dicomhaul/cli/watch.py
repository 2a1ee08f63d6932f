"""What a person, or a log collector, sees while a run goes on. Everything goes to stderr or to a file."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from dicomhaul.cli.harness import plain_error
from dicomhaul.events import Event, Observer, Tally
from dicomhaul.observe import choose_display
from dicomhaul.observe.logs import log_end, log_error, log_event, open_logs

if TYPE_CHECKING:
    from dicomhaul.model import Shard
    from dicomhaul.observe.series_command import SeriesCommands
    from dicomhaul.observe.textfile import MetricsFile
    from dicomhaul.report import Report


@dataclass(slots=True)
class Watching:
    """How a run is watched. A log on stderr (`-v`, or a format or level without a file) replaces the display there.

    `commands`: what runs a command for each series that has landed; it hears of them, too.
    `metrics`: what writes metrics; likewise.
    """

    quiet: bool = False
    verbose: int = 0
    bars: bool = False
    log_file: Path | None = None
    level: Literal["debug", "info", "warning", "error"] | None = None
    log_format: Literal["text", "json"] | None = None
    commands: "SeriesCommands | None" = None
    metrics: "MetricsFile | None" = None
    _observers: list[Observer] = field(default_factory=list)

    def hear(self, event: Event) -> None:
        """Pass an event to the display, to the log, to the metrics and to the commands."""
        for observer in self._observers:
            observer(event)
        if self.metrics is not None:
            self.metrics.hear(event)
        if self.commands is not None:
            self.commands.hear(event)

    def ended(self, report: "Report") -> None:
        """Put the end of the run into the log and the metrics; before `over` is left."""
        log_end(report)
        if self.metrics is not None:
            self.metrics.ended(report.state)

    @contextmanager
    def over(self, tally: Tally) -> Iterator[None]:
        """Show and log until the block is left, and the error by which it is left.

        Raises ConfigError for a log file that cannot be written.
        """
        asked = self.log_format is not None or self.level is not None
        on_stderr = self.verbose > 0 or (self.log_file is None and asked)
        display = choose_display(
            tally, sys.stderr, quiet=self.quiet or on_stderr, terminal=self.bars or sys.stderr.isatty()
        )
        logs = open_logs(
            level=self.level or ("debug" if self.verbose > 1 else "info"),
            file=self.log_file,
            form=self.log_format or "text",
            stream=sys.stderr if on_stderr else None,
        )
        with logs, display:
            self._observers = [display.observe, log_event]
            try:
                yield
            except Exception as error:
                log_error(plain_error(error))
                raise
            finally:
                self._observers = []


def metrics_from(
    path: Path | None, *, name: str, dest: Path, state_dir: Path | None, shard: "Shard | None" = None
) -> "MetricsFile | None":
    """Return what writes the metrics of a run on `dest`, where they are wanted."""
    if path is None:
        return None
    from dicomhaul.net.clock import SystemClock  # noqa: PLC0415 - rarely
    from dicomhaul.observe.textfile import MetricsFile  # noqa: PLC0415
    from dicomhaul.record.place import place_of  # noqa: PLC0415

    ledger = place_of(dest, state_dir, shard).ledger
    return MetricsFile(path, name=name, destination=dest, ledger=ledger, clock=SystemClock())
