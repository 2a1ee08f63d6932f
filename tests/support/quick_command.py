"""Running `dicomhaul` as a process, many times and at little cost: each is forked from one that has loaded everything.

What a user gets differs in nothing but the time that loading takes: each command is a process of its own, with its own
output, environment, exit code and end. What it starts itself (planning, the writer of the index) is started as ever.
What an interpreter is told by its environment while it starts cannot be told to one that is forked: `differs_at_start`.
"""

import gc
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from support.ended import TIMEOUT_S, Ended, Word, ended, environ_with

_TICK_S = 0.01
_LATE = "late"
_READ_AT_START = ("PYTHON", "LD_", "MALLOC_", "LC_", "LANG")  # by the interpreter and below it, before any line of ours


class QuickCommands:
    """Starts commands; one at a time."""

    def __init__(self, server: "subprocess.Popen[str]", folder: Path, environ: Mapping[str, str]) -> None:
        self._server = server
        self._folder = folder
        self._environ = environ

    def run(
        self,
        *words: Word,
        stdin: str = "",
        environ: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        stdout: str | None = None,
        stderr: str | None = None,
        umask: int = 0o022,
    ) -> Ended:
        """Run `dicomhaul WORDS` to its end, as `support.command.run_command` does.

        Args:
            words: the command line.
            stdin: what comes by standard input.
            environ: set in addition.
            cwd: where it runs, if not where the test does.
            stdout: where what it prints goes, if not to the result.
            stderr: likewise.
            umask: that of the process.
        """
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        given, *paths = (self._folder / name for name in ("stdin", "stdout", "stderr"))
        given.write_text(stdin, encoding="utf-8")
        for path in paths:
            path.write_bytes(b"")
        request = {
            "words": [os.fspath(word) for word in words],
            "environ": environ_with({**self._environ, **(environ or {})}),
            "cwd": os.fspath(cwd or Path.cwd()),
            "streams": [str(given), stdout or str(paths[0]), stderr or str(paths[1])],
            "umask": umask,
        }
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        answer = self._server.stdout.readline().strip()
        assert answer != _LATE, f"no end after {TIMEOUT_S} s: {words}"
        return ended(int(answer), paths[0].read_bytes(), paths[1].read_bytes())


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
            yield QuickCommands(server, folder, environ or {})
        finally:
            server.stdin.close()


class CommandPool:
    """Runs commands for all tests of a process, also at the same time: whoever finds nobody idle starts another."""

    def __init__(self) -> None:
        self._idle: list[QuickCommands] = []
        self._started = ExitStack()
        self._environ = dict(os.environ)

    def differs_at_start(self, environ: Mapping[str, str] | None) -> bool:
        """Return whether a command with `environ` needs an interpreter of its own."""
        before, now = (_read_at_start(each) for each in (self._environ, environ_with(environ)))
        return before != now

    def run(self, *words: Word, stdin: str, environ: Mapping[str, str] | None, cwd: Path | None) -> Ended:
        """Run `dicomhaul WORDS` to its end; see `QuickCommands.run`."""
        commands = self._idle.pop() if self._idle else self._start()
        try:
            return commands.run(*words, stdin=stdin, environ=environ, cwd=cwd)
        finally:
            self._idle.append(commands)

    def close(self) -> None:
        """End the processes that commands were forked from."""
        self._idle.clear()
        self._started.close()

    def _start(self) -> QuickCommands:
        folder = Path(self._started.enter_context(TemporaryDirectory(prefix="commands")))
        return self._started.enter_context(quick_commands(folder))


def _read_at_start(environ: Mapping[str, str]) -> dict[str, str]:
    # Where modules are sought is told to a forked one, too.
    return {name: each for name, each in environ.items() if name.startswith(_READ_AT_START) and name != "PYTHONPATH"}


COMMANDS = CommandPool()


def _serve() -> None:
    # Loaded once, before the first fork: what commands load when they need it.
    from dicomhaul import build, hauler, merging, verification  # noqa: F401, PLC0415
    from dicomhaul.checking import check  # noqa: F401, PLC0415
    from dicomhaul.cli.main import run  # noqa: PLC0415

    gc.freeze()  # a command that ends looks for garbage in what is its own, and copies no page of what all share
    requests, answers = sys.stdin, sys.stdout
    while line := requests.readline():
        child = os.fork()
        if child == 0:
            _become(json.loads(line))
            run()
        answers.write(f"{_wait(child)}\n")
        answers.flush()


def _wait(child: int) -> int | str:
    for _ in range(int(TIMEOUT_S / _TICK_S)):  # not by a clock: time in which all of us were stopped does not count
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            return os.waitstatus_to_exitcode(status)
        time.sleep(_TICK_S)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return _LATE


def _become(request: dict[str, Any]) -> None:
    os.umask(request["umask"])
    os.chdir(request["cwd"])
    os.environ.clear()
    os.environ.update(request["environ"])
    sys.path[:0] = filter(None, request["environ"].get("PYTHONPATH", "").split(os.pathsep))
    for number, where in enumerate(request["streams"]):
        fd = os.open(where, os.O_RDWR)
        os.dup2(fd, number)
        os.close(fd)
    out, err = sys.stdout.errors, sys.stderr.errors
    sys.stdin = open(0)  # noqa: SIM115 - these are of this process from here on
    sys.stdout, sys.stderr = open(1, "w", errors=out), open(2, "w", buffering=1, errors=err)  # noqa: SIM115
    sys.argv = ["dicomhaul", *request["words"]]


if __name__ == "__main__":
    try:
        _serve()
    except Exception:  # noqa: BLE001 - told, with all that is known, to the test that waits
        traceback.print_exc()
        sys.exit(70)
