"""`status` says what the bytes of the instances were compared with as they landed."""

import json
import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer

from dicomhaul.cli.status import status
from dicomhaul.errors import LedgerError
from dicomhaul.model import Check, Proof, Receipt, SopUID
from dicomhaul.record.ledger import Ledger
from support.fakes import series_row, write_cohort


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    checks = [Check.MD5] * 3 + [Check.CRC32C] + [Check.FRAMING] * 2
    (tmp_path / ".dicomhaul").mkdir()
    with closing(Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3")) as ledger:
        write_cohort(ledger, [series_row("1.1")])
        with ledger.transaction():
            ledger.add_receipts(
                Receipt(1, SopUID(f"4.{number}"), 10, bytes(16), check) for number, check in enumerate(checks)
            )
            ledger.complete_series(1, Proof.INVENTORY, len(checks), "bucket")
    return tmp_path


def test_the_kinds_of_proof_are_counted(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit) as ended:
        status(dest, as_json=True)
    assert ended.value.exit_code == 0
    said = json.loads(capsys.readouterr().out)
    assert said["checked"] == {"md5": 3, "crc32c": 1, "size": 0, "framing": 2}


def test_they_are_named_to_a_reader(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit):
        status(dest)
    out = capsys.readouterr().out
    assert "compared as they landed: 3 by MD5, 1 by CRC32C, 2 by the framing of the answer" in out


def test_nothing_is_said_of_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / ".dicomhaul").mkdir()
    Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3").close()
    with pytest.raises(LedgerError, match="holds no cohort"):
        status(tmp_path)
    assert capsys.readouterr().out == ""


def ended_ago(dest: Path, *runs: tuple[float, str]) -> None:
    """Note runs in the ledger that ended so many seconds ago, in such a state."""
    with closing(Ledger.open(dest / ".dicomhaul" / "ledger.sqlite3")) as ledger:
        for age_s, state in runs:
            moment = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat(timespec="seconds")
            ledger.end_run(ledger.begin_run("pull", moment), moment, state, "{}")


@pytest.mark.parametrize(
    ("runs", "max_age", "code"),
    [
        ([(3 * 3600, "complete")], "4h", 0),
        ([(3 * 3600, "complete")], "2h", 3),
        ([(3 * 3600, "complete"), (60, "partial")], "4h", 0),
        ([(3 * 3600, "complete"), (60, "failed"), (30, "interrupted")], "2h", 3),
        ([(5 * 3600, "complete"), (60, "complete")], "1h", 0),
        ([(60, "paused")], "2h", 3),
        ([(-600, "complete")], "1s", 0),  # by another clock
        ([], "100d", 3),
    ],
)
def test_a_mirror_is_too_old_when_no_run_that_brought_everything_ended_lately(
    dest: Path, runs: list[tuple[float, str]], max_age: str, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    ended_ago(dest, *runs)
    with pytest.raises(typer.Exit) as ended:
        status(dest, max_age=max_age, as_json=True)
    assert ended.value.exit_code == code
    said = json.loads(capsys.readouterr().out)
    ages = [age_s for age_s, state in runs if state == "complete"]
    if ages:
        assert said["age_s"] == pytest.approx(max(0, ages[-1]), abs=60)
        assert datetime.fromisoformat(said["last_success"]).tzinfo is not None
    else:
        assert (said["last_success"], said["age_s"]) == (None, None)


def test_without_a_limit_the_age_is_told_and_decides_nothing(dest: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ended_ago(dest, (90_000, "complete"))
    with pytest.raises(typer.Exit) as ended:
        status(dest)
    assert ended.value.exit_code == 0
    assert re.search(r"last complete: \S+, 1 d 01 h ago", capsys.readouterr().out)


def test_shards_are_as_old_as_the_oldest_of_them(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for number, age_s in ((1, 3600), (2, 60)):
        folder = tmp_path / ".dicomhaul" / f"shard-{number}-of-2"
        folder.mkdir(parents=True)
        moment = (datetime.now(UTC) - timedelta(seconds=age_s)).isoformat(timespec="seconds")
        with closing(Ledger.open(folder / "ledger.sqlite3")) as ledger:
            write_cohort(ledger, [series_row(f"1.{number}")])
            ledger.end_run(ledger.begin_run("pull", moment), moment, "complete", "{}")
    for max_age, code in (("2h", 0), ("30m", 3)):
        with pytest.raises(typer.Exit) as ended:
            status(tmp_path, max_age=max_age, as_json=True)
        assert ended.value.exit_code == code
        assert json.loads(capsys.readouterr().out)["age_s"] == pytest.approx(3600, abs=60)
