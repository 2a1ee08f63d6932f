"""What a run starts ends with it, however the run ends."""

import subprocess
import sys
from pathlib import Path

from dicomhaul.record.ledger import Ledger
from support.command import TIMEOUT_S

FOR_EVER = "from dicomhaul.record.lifeline import end_with_parent; end_with_parent(); import threading; "


def test_a_child_ends_when_nobody_holds_its_standard_input(tmp_path: Path) -> None:
    command = [sys.executable, "-c", f"{FOR_EVER} print('there', flush=True); threading.Event().wait()"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stdout.readline() == b"there\n"
        assert child.poll() is None
        child.stdin.close()
        assert child.wait(TIMEOUT_S) == 1


def test_the_writer_of_an_index_whose_run_is_gone_writes_none(tmp_path: Path) -> None:
    Ledger.open(tmp_path / "ledger.sqlite3").close()
    paths = [str(tmp_path / name) for name in ("ledger.sqlite3", "index")]
    command = [sys.executable, "-m", "dicomhaul.record.index_child", *paths]
    assert subprocess.run(command, stdin=subprocess.DEVNULL, timeout=TIMEOUT_S, check=False).returncode == 1
    assert not (tmp_path / "index").exists()
