"""The process between the daemon and a run: ends it cleanly with the daemon, and writes down how it ended.

`python -m dicomhaul.daemon.child RESULT LOCK NAME FORMAT COMMAND...`. It waits until it has the lock of the
destination, which the run inherits: so no second one begins while anything of this one is alive, even if daemon and
this process are killed. It runs COMMAND in a process group of its own. When its standard input ends, which it does with
the daemon, or on SIGTERM, the run gets SIGTERM, which a run takes as a clean, resumable stop; a minute later, SIGKILL.
What the run says goes to stderr, each line with the job's name. At its end RESULT is written: a JSON object with
`code`, `interrupted` (we ended it, and it had not ended by itself) and `ended_at`.

Only the standard library: this one is in memory for as long as the run is.
"""

import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Final, Literal

from dicomhaul.durable import sync_folder
from dicomhaul.land.kernel_lock import HELD, try_lock

_LOOK_S: Final = 0.1
_GRACE_S: Final = 60.0  # a run stops within seconds, unless its disk hangs; systemd waits for 90
_LINE_CHARS: Final = 64 << 10

Form = Literal["text", "json"]


class _Stop:
    """Whether the run is to end, as the daemon's end or a signal says; both only set flags."""

    def __init__(self) -> None:
        self.asked = threading.Event()
        signal.signal(signal.SIGTERM, self._hear)
        signal.signal(signal.SIGINT, self._hear)
        threading.Thread(target=self._watch, daemon=True).start()

    def is_asked(self) -> bool:
        """Say whether it is so right now, though the thread may not have been told yet."""
        return self.asked.is_set() or bool(select.select([0], [], [], 0)[0])

    def _hear(self, _number: int, _frame: object) -> None:
        self.asked.set()

    def _watch(self) -> None:
        # Not by sys.stdin: a thread that waits in there makes Python abort when the process ends.
        while os.read(0, 4096):
            pass
        self.asked.set()


def run(result: Path, lock: Path, name: str, form: Form, command: list[str]) -> None:
    """Run a command as the module's docstring says."""
    stop = _Stop()
    held = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    while not _taken(held):
        if stop.asked.wait(_LOOK_S):
            _write(result, code=-signal.SIGTERM, interrupted=True)
            return
    if stop.is_asked():  # who looks for the lock after its daemon's end, and finds it free, may begin another run
        _write(result, code=-signal.SIGTERM, interrupted=True)
        return
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        pass_fds=(held,),
        start_new_session=True,
    )
    assert process.stdout is not None  # noqa: S101 - asked for
    relay = threading.Thread(target=_relay, args=(process.stdout, name, form), daemon=True)
    relay.start()
    stopped = _wait(process, stop)
    code = process.wait()
    relay.join(_LOOK_S)  # who inherited it and lives on is not waited for
    _write(result, code=code, interrupted=stopped and code != 0)


def _taken(descriptor: int) -> bool:
    try:
        try_lock(descriptor)
    except OSError as error:
        if error.errno not in HELD:
            raise
        return False
    return True


def _wait(process: "subprocess.Popen[str]", stop: _Stop) -> bool:
    """Wait for the end, or bring it about; say whether we did."""
    ended = threading.Event()
    killer = threading.Thread(target=_end, args=(process, stop, ended), daemon=True)
    killer.start()
    process.wait()
    asked = stop.asked.is_set()
    ended.set()
    return asked


def _end(process: "subprocess.Popen[str]", stop: _Stop, ended: threading.Event) -> None:
    while not stop.asked.wait(_LOOK_S):
        if ended.is_set():
            return
    _signal(process, signal.SIGTERM)
    if not ended.wait(_GRACE_S):
        _signal(process, signal.SIGKILL)


def _signal(process: "subprocess.Popen[str]", number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):  # it has just ended
        os.killpg(process.pid, number)


def _relay(lines: IO[str], name: str, form: Form) -> None:
    while line := lines.readline(_LINE_CHARS):
        try:
            sys.stderr.write(f"{labelled(line.rstrip(), name, form)}\n")
            sys.stderr.flush()
        except (OSError, ValueError):  # nobody takes the log any more: the run goes on
            continue


def labelled(line: str, name: str, form: Form) -> str:
    """Return a line of what a run says with the name of its job; as JSON, its report and bare text become records."""
    if form == "text":
        return f"{name}: {line}"
    try:
        record = json.loads(line)
    except ValueError:
        record = None
    if not isinstance(record, dict) or "message" not in record:
        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        fields = {key: value for key, value in record.items() if key != "failures"} if isinstance(record, dict) else {}
        message = "report" if fields else line
        record = {"ts": now, "level": "info", "logger": "dicomhaul.job", "message": message, "fields": fields}
    return json.dumps({**record, "job": name}, ensure_ascii=False)


def _write(result: Path, *, code: int, interrupted: bool) -> None:
    new = result.with_name(f".{result.name}.new")
    with new.open("w", encoding="ascii") as out:
        json.dump({"code": code, "interrupted": interrupted, "ended_at": time.time()}, out)
        out.flush()
        os.fsync(out.fileno())
    new.replace(result)
    sync_folder(result.parent)


if __name__ == "__main__":
    run(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], "json" if sys.argv[4] == "json" else "text", sys.argv[5:])
