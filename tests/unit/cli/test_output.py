"""What commands print, how errors end them, and what standard input may hold."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from dicomhaul.cli import main, meaning
from dicomhaul.cli.harness import Stop, plain_error, run_async
from dicomhaul.cli.output import complain, emit_json, failed_json, print_failures, print_report, tell
from dicomhaul.config.words import is_file
from dicomhaul.errors import CohortError, HaulError, LedgerError, SourceDown
from dicomhaul.model import Failure
from dicomhaul.report import Report

FORGED = "application/x\x1b[2J\x9b1A\r\n\u2028\u202edicomhaul: all is well"
CONTROLS = frozenset("\x1b\x9b\r\u2028\u202e")


@pytest.mark.parametrize(
    "speak",
    [
        lambda: complain(SourceDown(FORGED)),
        lambda: tell(FORGED),
        lambda: print_failures([Failure("1", "2", None, FORGED)]),
        lambda: print_report(Report(Path(FORGED), "paused", FORGED, failures=(Failure("1", "2", "3", "why"),))),
        lambda: emit_json({"reason": FORGED, "foreign": ["\udcff"]}),
    ],
    ids=["complain", "tell", "failures", "report", "json"],
)
def test_nothing_printed_moves_the_cursor_or_forges_a_line(
    speak: Callable[[], None], capsys: pytest.CaptureFixture[str]
) -> None:
    speak()
    out, err = capsys.readouterr()
    assert not CONTROLS & set(out + err)
    assert not [line for line in (out + err).splitlines() if line.startswith("dicomhaul: all is well")]


def test_json_says_exactly_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    emit_json({"reason": FORGED})
    assert json.loads(capsys.readouterr().out) == {"reason": FORGED}


def test_long_lists_of_failures_are_cut(capsys: pytest.CaptureFixture[str]) -> None:
    print_failures([Failure("1", "2", str(number), "why") for number in range(25)])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 21
    assert lines[-1] == "  ... and 5 more; `--json` lists them all"


# --- errors that are not ours


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (PermissionError(13, "Permission denied", "/nowhere"), 1),
        (UnicodeEncodeError("ascii", "ü", 0, 1, "ordinal not in range"), 1),
        (LedgerError("damaged"), 1),
        (CohortError("empty"), 2),
    ],
)
def test_an_error_ends_the_command_in_one_line(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def app() -> None:
        raise error

    monkeypatch.setattr(main, "app", app)
    with pytest.raises(SystemExit) as ended:
        main.run()
    assert ended.value.code == code
    assert capsys.readouterr().err == f"dicomhaul: {error}\n"


def test_a_bug_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def app() -> None:
        raise TypeError("a bug")

    monkeypatch.setattr(main, "app", app)
    with pytest.raises(TypeError):
        main.run()


def test_from_a_group_the_error_that_says_most_is_taken() -> None:
    denied, down, bug = PermissionError("denied"), SourceDown("down"), TypeError("bug")
    assert plain_error(denied) is denied
    assert plain_error(ExceptionGroup("", [ExceptionGroup("", [denied])])) is denied
    assert plain_error(ExceptionGroup("", [denied, ExceptionGroup("", [down])])) is down
    with_bug = ExceptionGroup("", [denied, bug])
    assert plain_error(with_bug) is with_bug


@pytest.mark.parametrize("error", [LedgerError("why"), OSError("why"), ExceptionGroup("", [OSError("why")])])
def test_an_async_command_raises_the_error_itself(error: Exception) -> None:
    async def body(_stop: Stop) -> None:
        raise error

    with pytest.raises((HaulError, OSError), match=r"^why$"):
        run_async(body)


def test_an_error_becomes_json() -> None:
    said = failed_json(LedgerError("why"))
    assert said == {"state": "failed", "reason": "why", "error": "LedgerError"}


def test_an_exit_code_leaves_the_event_loop_as_it_is() -> None:
    async def body(_stop: Stop) -> None:
        raise typer.Exit(143)

    with pytest.raises(typer.Exit) as ended:
        run_async(body)
    assert ended.value.exit_code == 143


# --- what comes by standard input; words that may name a file


def read_stdin(content: bytes, monkeypatch: pytest.MonkeyPatch) -> str | None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="ascii"))
    query = meaning.query_from(
        targets=["-"], collection=None, modality=None, patient=None, study=None, series=None, instance=None,
        crdc=None, study_date=None, where=None, sql=None, search=None, everything=False, limit_series=None,
        idc_version=None, license_allow=None, shard=None,
    )  # fmt: skip
    return query.manifest


def test_standard_input_is_utf8_whatever_the_locale(monkeypatch: pytest.MonkeyPatch) -> None:
    assert read_stdin("\ufeff# Größe\r\n1.2.3\r\n".encode(), monkeypatch) == "# Größe\r\n1.2.3\r\n"


def test_standard_input_that_is_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CohortError, match=r"^standard input, line 2: not UTF-8 text"):
        read_stdin(b"1.2.3\n# Gr\xf6\xdfe\n", monkeypatch)


def test_standard_input_that_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(CohortError, match="no standard input"):
        meaning.read_stdin()


def test_a_word_that_cannot_name_a_file_names_none(tmp_path: Path) -> None:
    assert not is_file("x" * 300)
    assert not is_file("x\0y")
    assert not is_file(str(tmp_path))
    (tmp_path / "m.csv").touch()
    assert is_file(str(tmp_path / "m.csv"))
