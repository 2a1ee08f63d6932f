"""The log of a run, for the command line alone: the library never configures logging.

Events become records of the logger `dicomhaul.run`; what modules log goes the same way. A record is one line of text,
or one JSON object a line with `ts` (UTC), `level`, `logger`, `message`, `fields` and, after an error, `exception`. All
text passes `redact`.
"""

import dataclasses
import datetime as dt
import json
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Literal, TextIO

from dicomhaul.errors import ConfigError, HaulError
from dicomhaul.events import (
    Event,
    GateClosed,
    Noticed,
    Planned,
    Retrying,
    SeriesFailed,
    SeriesLanded,
    SeriesMoved,
    SourceStopped,
)
from dicomhaul.observe.redact import redact, redact_values
from dicomhaul.observe.wording import printable, sentence
from dicomhaul.report import Report

LEVELS: Final = ("debug", "info", "warning", "error")
Format = Literal["text", "json"]

_FIELDS: Final = "dicomhaul_fields"
_LEVEL_OF: Final = {
    Planned: logging.INFO,
    SeriesLanded: logging.INFO,
    SeriesFailed: logging.ERROR,
    SeriesMoved: logging.INFO,
    Retrying: logging.INFO,
    GateClosed: logging.WARNING,
    SourceStopped: logging.ERROR,
    Noticed: logging.WARNING,
}
_LEVEL_OF_END: Final = {"complete": logging.INFO, "interrupted": logging.INFO, "paused": logging.WARNING}
_run_log = logging.getLogger("dicomhaul.run")


def log_event(event: Event) -> None:
    """Put an event into the log; an `events.Observer`."""
    level = _LEVEL_OF[type(event)]
    if _run_log.isEnabledFor(level):
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
        fields = {"event": name, **dataclasses.asdict(event)}
        fields.pop("folder", None)  # its layout may hold patient data
        _run_log.log(level, "%s", sentence(event), extra={_FIELDS: fields})


def log_end(report: Report) -> None:
    """Put the end of a run into the log, with its figures; what failed stands there already."""
    fields = {"event": "ended", **report.as_json()}
    del fields["dest"], fields["failures"]
    message = f"{report.state}: {report.instances_landed:,} instances landed, {report.instances_present:,} present"
    message += f": {report.reason}" if report.reason else ""
    _run_log.log(_LEVEL_OF_END.get(report.state, logging.ERROR), "%s", message, extra={_FIELDS: fields})


def log_error(error: Exception) -> None:
    """Put the error that ended a run into the log; with where it arose, if it is none of ours."""
    fields = {"event": "ended", "state": "failed", "error": type(error).__name__}
    trace = None if isinstance(error, HaulError) else error
    _run_log.error("failed: %s", error, exc_info=trace, extra={_FIELDS: fields})


@contextmanager
def open_logs(
    *, level: str = "info", file: Path | None = None, form: Format = "text", stream: TextIO | None = None
) -> Iterator[None]:
    """Send what `dicomhaul` logs to `file` (appended to) and to `stream`, where given, until the block is left.

    Args:
        level: one of LEVELS.
        file: the log file.
        form: text, or JSON lines.
        stream: such as stderr.

    Raises ConfigError for another level, and for a file that cannot be written.
    """
    if level not in LEVELS:
        raise ConfigError(f"--log-level is one of {', '.join(LEVELS)}")
    handlers: list[logging.Handler] = []
    if file is not None:
        try:
            handlers.append(logging.FileHandler(file, encoding="utf-8", errors="backslashreplace"))
        except OSError as error:
            raise ConfigError(f"cannot write the log file {file}: {error.strerror}") from None
    if stream is not None:
        handlers.append(logging.StreamHandler(stream))
    logger = logging.getLogger("dicomhaul")
    before = (logger.level, logger.propagate)
    silent = not handlers
    if silent:
        handlers.append(logging.NullHandler())  # with no handler at all, Python prints warnings to stderr
    for handler in handlers:
        handler.setFormatter(JsonLines() if form == "json" else TextLines())
        logger.addHandler(handler)
    if not silent:
        logger.setLevel(level.upper())
        logger.propagate = False
    try:
        yield
    finally:
        logger.setLevel(before[0])
        logger.propagate = before[1]
        for handler in handlers:
            logger.removeHandler(handler)
            handler.close()


def _time(record: logging.LogRecord) -> str:
    return dt.datetime.fromtimestamp(record.created, dt.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


class TextLines(logging.Formatter):
    """`2026-01-31T12:00:00.000Z WARNING dicomhaul.run: message`, and a traceback below it after an error."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as text, redacted; the message is one line whatever it holds."""
        text = f"{_time(record)} {record.levelname} {record.name}: {printable(redact(record.getMessage()))}"
        if record.exc_info:
            text += f"\n{redact(self.formatException(record.exc_info))}"
        return text


class JsonLines(logging.Formatter):
    """One JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as JSON, redacted."""
        line = {
            "ts": _time(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": redact(record.getMessage()),
            "fields": redact_values(getattr(record, _FIELDS, {})),
        }
        if record.exc_info:
            line["exception"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False, default=str)
