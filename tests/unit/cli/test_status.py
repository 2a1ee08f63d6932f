"""`status` says what the bytes of the instances were compared with as they landed."""

import json
from contextlib import closing
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
