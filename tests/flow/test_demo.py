"""`dicomhaul demo` as a new user runs it: it holds what it promises, and leaves nothing behind."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

import pytest

_TIMEOUT_S = 100
_COMMAND = (sys.executable, "-m", "dicomhaul", "demo")


def environment(folder: Path) -> dict[str, str]:
    """Temporary folders below `folder`, and a proxy that nothing may be asked through."""
    return {**os.environ, "TMPDIR": str(folder), "http_proxy": "http://127.0.0.1:9", "no_proxy": ""}


@pytest.mark.timeout(_TIMEOUT_S + 10)
def test_the_demo_holds(tmp_path: Path) -> None:
    done = subprocess.run(
        _COMMAND, env=environment(tmp_path), capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for verb in ("origin", "plan", "pull", "status", "resume", "verify"):
        assert f"$ dicomhaul {verb} " in done.stdout
    killed = re.search(r"Killed: (\d+) of 514 instances had landed", done.stdout)
    assert killed is not None
    before = int(killed[1])
    assert 257 <= before < 514
    assert re.search(rf"landed before the kill +{before} of 514 instances", done.stdout)
    assert re.search(rf"landed after it +{514 - before} instances", done.stdout)
    assert re.search(r"retries +[1-9]\d* after a 503, [1-9]\d* after a cut connection", done.stdout)
    assert re.search(r"throttles +[1-9]", done.stdout)
    assert re.search(r"verified +514 of 514 instances", done.stdout)
    assert "All of it held" in done.stdout
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_demo_that_is_stopped_takes_its_origin_with_it(tmp_path: Path) -> None:
    with subprocess.Popen(
        [*_COMMAND, "--keep"], env=environment(tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = next(line for line in process.stdout if "listens on" in line)
        port = urlsplit(line.split()[3].rstrip(";")).port
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=_TIMEOUT_S)
    assert process.returncode == 128 + signal.SIGTERM
    (kept,) = tmp_path.iterdir()
    assert str(kept) in rest
    assert (kept / "demo.toml").exists() or (kept / "faults.toml").exists()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port or 0)) != 0
