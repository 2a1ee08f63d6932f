"""Running `dicomhaul` as a process, many times and at little cost: each is forked from one that has loaded everything.

What a user gets differs in nothing but the time that loading takes: each command is a process of its own, with its own
output, exit code and end. What it starts itself (planning, the writer of the index) is started as ever.
"""

import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.command import TIMEOUT_S, Ended, Word, ended, environ_with

_TOO_LATE = signal.SIGKILL
_TICK_S = 0.01


class QuickCommands:
    """Starts commands; one at a time."""

    def __init__(self, server: "subprocess.Popen[str]", folder: Path) -> None:
        self._server = server
        self._folder = folder

    def run(self, *words: Word, stdout: str | None = None, stderr: str | None = None, umask: int = 0o022) -> Ended:
        """Run `dicomhaul WORDS` to its end, as `support.command.run_command` does.

        Args:
            words: the command line.
            stdout: where what it prints goes, if not to the result.
            stderr: likewise.
            umask: that of the process.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        paths = [self._folder / "stdout", self._folder / "stderr"]
        request = {
            "words": [os.fspath(word) for word in words],
            "stdout": stdout or str(paths[0]),
            "stderr": stderr or str(paths[1]),
            "umask": umask,
        }
        for path in paths:
            path.write_bytes(b"")
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        code = int(self._server.stdout.readline())
        assert code != -_TOO_LATE, f"no end after {TIMEOUT_S} s: {words}"
        return ended(code, paths[0].read_bytes(), paths[1].read_bytes())


@contextmanager
def quick_commands(folder: Path, environ: Mapping[str, str] | None = None) -> Iterator[QuickCommands]:
    """Start the process that commands are forked from; `folder` is for what they print, `environ` is added to it."""
    with subprocess.Popen(
        [sys.executable, "-m", "support.quick_command"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environ_with({**(environ or {}), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}),
    ) as server:
        assert server.stdin is not None
        try:
            yield QuickCommands(server, folder)
        finally:
            server.stdin.close()


def _serve() -> None:
    from dicomhaul import hauler, verification  # noqa: F401, PLC0415 - loaded once, before the first fork
    from dicomhaul.cli.main import run  # noqa: PLC0415

    requests, answers = sys.stdin, sys.stdout
    while line := requests.readline():
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            run()
        answers.write(f"{_wait(child)}\n")
        answers.flush()


def _wait(child: int) -> int:
    for _ in range(int(TIMEOUT_S / _TICK_S)):  # not by a clock: time in which all of us were stopped does not count
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_TICK_S)
    os.kill(child, _TOO_LATE)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _become(request: dict[str, Any]) -> None:
    os.umask(request["umask"])
    for number, where in ((0, os.devnull), (1, request["stdout"]), (2, request["stderr"])):
        fd = os.open(where, os.O_RDWR if number else os.O_RDONLY)
        os.dup2(fd, number)
        os.close(fd)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w", buffering=1)  # noqa: SIM115 - of this process from here on
    sys.argv = ["dicomhaul", *request["words"]]


if __name__ == "__main__":
    try:
        _serve()
    except Exception:  # noqa: BLE001 - told, with all that is known, to the test that waits
        traceback.print_exc()
        sys.exit(70)
