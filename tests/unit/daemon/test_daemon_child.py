"""The process between the daemon and a run, with real processes: how runs end, and who may begin."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from dicomhaul.daemon.child import labelled
from support.command import wait_until

UNTIL_TERM = 'trap "exit 5" TERM; touch begun; while :; do sleep 0.02; done'


Begin = Callable[..., "Child"]


@pytest.fixture
def begin() -> Iterator[Begin]:
    """Start children; whatever still runs at the end is killed."""
    with ExitStack() as stack:

        def start(folder: Path, script: str, *, number: int = 0) -> Child:
            child = Child(folder, script, number)
            stack.enter_context(child.process)
            stack.callback(child.process.kill)
            return child

        yield start


class Child:
    """A child with a shell script for a run; both work in `folder`."""

    def __init__(self, folder: Path, script: str, number: int) -> None:
        self.folder = folder
        self.result = folder / f"{number}.json"
        words = [sys.executable, "-P", "-m", "dicomhaul.daemon.child", str(self.result), str(folder / "lock"), "job"]
        self.process = subprocess.Popen(
            [*words, "text", "/bin/sh", "-c", script],
            cwd=folder,
            stdin=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def wait_for(self, name: str) -> None:
        wait_until((self.folder / name).exists, name)

    def end(self) -> dict[str, Any]:
        """Wait for the end; return what it wrote down."""
        assert self.process.wait(30) == 0
        table: dict[str, Any] = json.loads(self.result.read_text())
        assert set(table) == {"code", "interrupted", "ended_at"}
        return table


@pytest.mark.parametrize("code", [0, 3])
def test_the_end_of_a_run_is_written_down_and_its_words_are_labelled(tmp_path: Path, begin: Begin, code: int) -> None:
    child = begin(tmp_path, f"echo said; echo told >&2; exit {code}")
    assert child.process.stderr is not None
    assert child.process.stderr.read() == "job: said\njob: told\n"
    table = child.end()
    assert (table["code"], table["interrupted"]) == (code, False)


@pytest.mark.parametrize("how", ["term", "end of the daemon"])
def test_a_run_is_ended_cleanly_and_was_interrupted(tmp_path: Path, begin: Begin, how: str) -> None:
    child = begin(tmp_path, UNTIL_TERM)
    child.wait_for("begun")
    if how == "term":
        child.process.terminate()
    else:
        assert child.process.stdin is not None
        child.process.stdin.close()
    table = child.end()
    assert (table["code"], table["interrupted"]) == (5, True)


def test_a_run_that_comes_to_its_end_all_the_same_was_not_interrupted(tmp_path: Path, begin: Begin) -> None:
    child = begin(tmp_path, UNTIL_TERM.replace("exit 5", "exit 0"))
    child.wait_for("begun")
    child.process.terminate()
    table = child.end()
    assert (table["code"], table["interrupted"]) == (0, False)


def test_the_next_run_waits_for_what_a_killed_child_left_behind(tmp_path: Path, begin: Begin) -> None:
    script = f"echo $$ > pid; {UNTIL_TERM}"
    first = begin(tmp_path, script)
    first.wait_for("begun")
    first.process.kill()
    first.process.wait()
    run = int((tmp_path / "pid").read_text())
    second = begin(tmp_path, "touch second", number=1)
    third = begin(tmp_path, "touch third", number=2)
    assert third.process.stdin is not None
    third.process.stdin.close()  # while it waits
    assert third.end()["interrupted"]
    assert not (tmp_path / "second").exists()
    os.kill(run, signal.SIGTERM)
    assert second.end()["code"] == 0
    assert (tmp_path / "second").exists()
    assert not (tmp_path / "third").exists()


def test_without_a_daemon_nothing_begins_however_slowly_its_end_is_heard(tmp_path: Path) -> None:
    script = (
        "from pathlib import Path; from dicomhaul.daemon import child; child._Stop._watch = lambda self: None; "
        "child.run(Path('0.json'), Path('lock'), 'job', 'text', ['touch', 'begun'])"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, stdin=subprocess.DEVNULL, check=True, timeout=60)
    assert json.loads((tmp_path / "0.json").read_text())["interrupted"]
    assert not (tmp_path / "begun").exists()


def test_a_label_makes_json_of_whatever_a_run_says() -> None:
    assert labelled("so", "job", "text") == "job: so"
    record = {"ts": "t", "level": "info", "logger": "x", "message": "m", "fields": {}}
    assert json.loads(labelled(json.dumps(record), "job", "json")) == {**record, "job": "job"}
    report = json.loads(labelled('{"state": "partial", "failures": [1, 2]}', "job", "json"))
    assert (report["message"], report["fields"]) == ("report", {"state": "partial"})
    for line in ("so", "[1]", "1", "{}", '{"message'):
        assert json.loads(labelled(line, "job", "json"))["message"] == line
