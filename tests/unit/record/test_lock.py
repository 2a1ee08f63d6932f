"""One writer at a time, and the kernel forgets one that died."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dicomhaul.errors import LedgerError, NotWritable
from dicomhaul.record import lock
from dicomhaul.record.lock import exclusive

_HOLD = """
import sys
from pathlib import Path
from dicomhaul.record.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_holder_is_told_who_the_first_is(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with exclusive(path), pytest.raises(LedgerError, match=f"process {os.getpid()}"), exclusive(path):
        pass
    with exclusive(path):
        pass


def test_a_holder_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LedgerError, match=f"process {holder.pid}"), exclusive(path):
            pass
        holder.kill()
        holder.wait(60)
    with exclusive(path):
        assert path.read_text() == str(os.getpid())


def test_a_lock_that_cannot_be_made(tmp_path: Path) -> None:
    with pytest.raises(NotWritable), exclusive(tmp_path / "missing" / "lock"):
        pass


def test_a_filesystem_without_locks_is_named_for_what_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: int) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(lock, "try_lock", refuse)
    with pytest.raises(NotWritable, match=r"No locks available.*--state-dir"), exclusive(tmp_path / "lock"):
        pass
