"""Running `dicomhaul` as a process, as a user does, and looking at what it left."""

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.ended import TIMEOUT_S, Ended, Word, ended, environ_with
from support.quick_command import COMMANDS

__all__ = [
    "TIMEOUT_S",
    "Ended",
    "Running",
    "Word",
    "command",
    "environ_with",
    "run_command",
    "start_command",
    "wait_until",
]

_POLL_S = 0.01


@dataclass(frozen=True, slots=True)
class Running:
    """A command that may still run."""

    process: "subprocess.Popen[bytes]"
    stdout: Path
    stderr: Path

    def signal(self, number: int) -> None:
        """Send a signal to the command and to all that it has started, as a terminal does."""
        os.killpg(self.process.pid, number)

    def wait(self, timeout_s: float = TIMEOUT_S) -> Ended:
        """Wait for the end."""
        return ended(self.process.wait(timeout_s), self.stdout.read_bytes(), self.stderr.read_bytes())


def command(*words: Word) -> list[str]:
    """Return the command line that starts `dicomhaul`."""
    return [sys.executable, "-m", "dicomhaul", *(os.fspath(word) for word in words)]


def run_command(
    *words: Word,
    stdin: str = "",
    environ: Mapping[str, str] | None = None,
    before: Callable[[], None] | None = None,
    cwd: Path | None = None,
) -> Ended:
    """Run `dicomhaul WORDS` to its end. No command, whatever it is asked to do, may show a traceback.

    Args:
        words: the command line.
        stdin: what comes by standard input.
        environ: set in addition.
        before: called in the new process before it becomes the command.
        cwd: where it runs.
    """
    if before is None and not COMMANDS.differs_at_start(environ):
        return COMMANDS.run(*words, stdin=stdin, environ=environ, cwd=cwd)
    done = subprocess.run(
        command(*words),
        input=stdin.encode(),
        capture_output=True,
        timeout=TIMEOUT_S,
        env=environ_with(environ),
        check=False,
        preexec_fn=before,
        cwd=cwd,
    )
    return ended(done.returncode, done.stdout, done.stderr)


@contextmanager
def start_command(folder: Path, *words: Word) -> Iterator[Running]:
    """Start `dicomhaul WORDS` and yield it; what it prints goes to files in `folder`. Whatever still runs is killed."""
    paths = folder / "stdout.txt", folder / "stderr.txt"
    with paths[0].open("wb") as out, paths[1].open("wb") as err:
        process = subprocess.Popen(
            command(*words),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            env=environ_with(None),
            start_new_session=True,
        )
    try:
        yield Running(process, *paths)
    finally:
        if process.poll() is None:
            process.kill()
            process.wait(TIMEOUT_S)


def wait_until(condition: Callable[[], bool], what: str, *, unless: "subprocess.Popen[bytes] | None" = None) -> None:
    """Poll until `condition` holds. Fails after a while, and when the process `unless` ends before."""
    deadline = time.monotonic() + TIMEOUT_S
    while not condition():
        assert unless is None or unless.poll() is None or condition(), f"the command ended before {what}"
        assert time.monotonic() < deadline, f"in vain: {what}"
        time.sleep(_POLL_S)  # a real process has no clock of ours
