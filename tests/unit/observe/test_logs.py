"""Events become records; a record is one line, and holds no secret."""

import io
import json
import logging
from pathlib import Path

import pytest

from dicomhaul import events
from dicomhaul.errors import ConfigError, DiskFull
from dicomhaul.model import Failure
from dicomhaul.observe.logs import log_end, log_error, log_event, open_logs
from dicomhaul.report import Report

FAILED = events.SeriesFailed("1.1", "1.2", 3, "the server answers 404 (Not Found)")


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_json_lines_have_their_fields(tmp_path: Path) -> None:
    with open_logs(file=tmp_path / "log", form="json"):
        log_event(FAILED)
    (line,) = map(json.loads, lines(tmp_path / "log"))
    assert line.pop("ts").endswith("Z")
    assert line == {
        "level": "error",
        "logger": "dicomhaul.run",
        "message": "failed: series 1.2, 3 instances missing: the server answers 404 (Not Found)",
        "fields": {
            "event": "series_failed",
            "study": "1.1",
            "series": "1.2",
            "missing": 3,
            "reason": "the server answers 404 (Not Found)",
        },
    }


@pytest.mark.parametrize("form", ["text", "json"])
def test_every_event_is_one_line_whatever_it_holds(tmp_path: Path, form: str) -> None:
    nasty = "bad\r\n2026-01-01 INFO forged\x1b[2J\u2028end"
    everything: list[events.Event] = [
        events.Planned(1, 2, 3),
        events.Planned(1, None, None),
        events.SeriesLanded("1", "2", nasty, 4, "count"),
        events.SeriesFailed("1", "2", None, nasty),
        events.Retrying("series 2", 1, 0.5, nasty),
        events.GateClosed("host", 30, nasty),
        events.SourceStopped("host", nasty),
        events.Noticed(nasty),
    ]
    with open_logs(file=tmp_path / "log", form=form):  # type: ignore[arg-type]
        for event in everything:
            log_event(event)
    raw = (tmp_path / "log").read_text(encoding="utf-8")
    assert raw.count("\n") == len(everything)
    assert "\x1b" not in raw
    assert "\r" not in raw


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_folder_which_may_be_named_for_a_patient_is_not_logged(tmp_path: Path, form: str) -> None:
    with open_logs(level="debug", file=tmp_path / "log", form=form):  # type: ignore[arg-type]
        log_event(events.SeriesLanded("1.1", "1.2", "Doe^Jane/1.2", 4, "count"))
    raw = (tmp_path / "log").read_text(encoding="utf-8")
    assert "complete: series 1.2, 4 instances (proof: count)" in raw
    assert "Jane" not in raw


@pytest.mark.parametrize("form", ["text", "json"])
def test_secrets_are_hidden_in_message_fields_and_traceback(tmp_path: Path, form: str) -> None:
    logger = logging.getLogger("dicomhaul.net.session")
    with open_logs(level="debug", file=tmp_path / "log", form=form):  # type: ignore[arg-type]
        logger.debug("sent %s", {"Authorization": "Bearer s3cr3tvalue"})
        log_event(events.Noticed("https://user:s3cr3tvalue@host/x?y=s3cr3tvalue"))
        try:
            raise ValueError("Basic s3cr3tvalue")  # noqa: TRY301 - a traceback is wanted
        except ValueError:
            logger.exception("broke")
    raw = (tmp_path / "log").read_text(encoding="utf-8")
    assert "ValueError" in raw
    assert "s3cr3tvalue" not in raw


def test_the_level_decides(tmp_path: Path) -> None:
    with open_logs(level="warning", file=tmp_path / "log"):
        log_event(events.Planned(1, 2, 3))
        log_event(events.GateClosed("host", 30, "503"))
    (line,) = lines(tmp_path / "log")
    assert line.endswith("WARNING dicomhaul.run: waiting 30 s for host: 503")


def test_logging_is_as_it_was_afterwards(tmp_path: Path) -> None:
    logger = logging.getLogger("dicomhaul")
    before = (logger.level, logger.propagate, list(logger.handlers))
    stream = io.StringIO()
    with open_logs(level="debug", file=tmp_path / "log", stream=stream):
        logger.debug("one")
    logger.debug("two")
    assert (logger.level, logger.propagate, logger.handlers) == before
    assert stream.getvalue().count("\n") == 1
    with open_logs():
        assert (logger.level, logger.propagate) == before[:2]
    assert (logger.level, logger.propagate, logger.handlers) == before


def test_a_log_goes_on_where_it_ended(tmp_path: Path) -> None:
    for _ in range(2):
        with open_logs(file=tmp_path / "log"):
            log_event(FAILED)
    assert len(lines(tmp_path / "log")) == 2


@pytest.mark.parametrize(("level", "name"), [("loud", "log"), ("info", "gone/log")])
def test_what_cannot_be_logged_is_said_at_once(tmp_path: Path, level: str, name: str) -> None:
    with pytest.raises(ConfigError), open_logs(level=level, file=tmp_path / name):
        pass


def test_without_a_file_or_stream_nothing_is_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])  # pytest's own would hide Python's last resort
    with open_logs():
        log_event(FAILED)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(("error", "traced"), [(DiskFull("no room"), 0), (OSError("odd"), 1)])
def test_the_error_that_ended_a_run_is_logged_and_where_it_arose_if_it_is_none_of_ours(
    tmp_path: Path, error: Exception, traced: int
) -> None:
    with open_logs(file=tmp_path / "log", form="json"):
        log_error(error)
    line = json.loads((tmp_path / "log").read_text())
    assert (line["level"], line["message"], "exception" in line) == ("error", f"failed: {error}", bool(traced))
    assert line["fields"] == {"event": "ended", "state": "failed", "error": type(error).__name__}


def test_the_end_of_a_run_is_logged_with_its_figures_and_neither_paths_nor_failures(tmp_path: Path) -> None:
    failure = Failure("1.1", "1.2", "1.3", "404")
    with open_logs(file=tmp_path / "log", form="json"):
        log_end(Report(Path("/data/Doe^Jane"), "partial", "1 failure", instances_landed=4, failures=(failure,)))
    text = (tmp_path / "log").read_text()
    line = json.loads(text)
    assert (line["level"], line["fields"]["state"], line["fields"]["instances_landed"]) == ("error", "partial", 4)
    assert line["message"] == "partial: 4 instances landed, 0 present: 1 failure"
    assert "Doe" not in text
    assert "failures" not in line["fields"]
