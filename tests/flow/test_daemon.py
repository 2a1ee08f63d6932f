"""The daemon as a user runs it: a process that makes runs, answers, and is stopped, killed and started again."""

import json
import os
import re
import signal
import sqlite3
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families

from dicomhaul.daemon.decide import JobState
from dicomhaul.daemon.store import open_store
from dicomhaul.origin import Rule, Stall
from support.command import Running, run_command, start_command, wait_until
from support.destination import expected_tree, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread

COUNTS = (3, 2, 4)
LONG_AGO = 1_700_000_000.0  # a time of a yearly schedule has passed since
YEARLY = '[schedule]\ncron = "0 0 1 1 *"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "jobs").mkdir()
    (tmp_path / "jobs" / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    return tmp_path


def write_job(folder: Path, url: str, *, name: str = "mirror", more: str = YEARLY) -> Path:
    path = folder / "jobs" / f"{name}.toml"
    path.write_text(
        f'[job]\ncommand = "pull"\n[source]\nurl = "{url}"\n[cohort]\nmanifest = "cohort.csv"\n'
        f'[destination]\npath = "../dest"\n{more}',
        encoding="utf-8",
    )
    return path


def make_due(folder: Path, *names: str) -> None:
    """Let these jobs have been seen long ago, and never run since."""
    with open_store(folder / "state") as store:
        store.save({name: JobState(LONG_AGO, LONG_AGO) for name in names})


def state_of(folder: Path, name: str = "mirror") -> dict[str, Any]:
    table: dict[str, Any] = json.loads((folder / "state" / "state.json").read_text())["jobs"][name]
    return table


def runs(folder: Path) -> list[str | None]:
    """How the runs on the destination ended, by its ledger; None: killed, or going on."""
    ledger = folder / "dest" / ".dicomhaul" / "ledger.sqlite3"
    if not ledger.exists():
        return []
    with closing(sqlite3.connect(ledger)) as opened:
        try:
            return [state for (state,) in opened.execute("SELECT state FROM run ORDER BY id")]
        except sqlite3.Error:  # it is just being made
            return []


@contextmanager
def daemon(folder: Path) -> Iterator[tuple[Running, str]]:
    """A daemon, and its URL."""
    with start_command(
        folder, "daemon", folder / "jobs", "--state", folder / "state", "--listen", "127.0.0.1:0"
    ) as running:

        def url() -> str:
            found = re.search(r"http://127\.0\.0\.1:\d+", running.stderr.read_text())
            return found[0] if found else ""

        wait_until(lambda: url() != "", "the daemon answers", unless=running.process)
        yield running, url()


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def stop(running: Running) -> str:
    """SIGTERM to the daemon alone, as systemd sends it with KillMode=mixed; return its log."""
    running.process.send_signal(signal.SIGTERM)
    ended = running.wait()
    assert ended.code == 0, ended.stderr
    return ended.stderr


def test_after_downtime_each_job_runs_once_one_after_the_other_and_tells_of_it(folder: Path) -> None:
    catalog = made_up_catalog(*COUNTS)
    with origin_thread(catalog) as origin:
        for name in ("mirror", "second"):
            write_job(folder, origin.url, name=name, more=f'{YEARLY}max_age = "1h"\n')
        make_due(folder, "mirror", "second")
        with daemon(folder) as (running, url):
            assert get(f"{url}/healthz")[0] == 503, "overdue"
            wait_until(lambda: get(f"{url}/healthz")[0] == 200, "both succeed", unless=running.process)
            jobs = json.loads(get(f"{url}/healthz")[1])["jobs"]
            metrics = get(f"{url}/metrics")[1]
            log = stop(running)
        assert [each["last_exit_code"] for each in jobs.values()] == [0, 0]
        found = {
            (sample.name, sample.labels.get("name", ""), sample.labels.get("state", "")): sample.value
            for family in text_string_to_metric_families(metrics)
            for sample in family.samples
        }
        assert found["dicomhaul_instances", "mirror", "present"] == 9
        assert found["dicomhaul_series", "second", "complete"] == 3
        assert found["dicomhaul_daemon_job_last_success_timestamp_seconds", "second", ""] > LONG_AGO
        assert "waiting for another run on their destination or host: second" in log
        assert runs(folder) == ["complete", "complete"]
        assert read_tree(folder / "dest") == expected_tree(catalog)
        with daemon(folder) as (running, url):
            assert get(f"{url}/healthz")[0] == 200
            log = stop(running)
        assert "runs for" not in log
        assert runs(folder) == ["complete", "complete"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_that_the_end_of_the_daemon_ended_is_made_at_its_next_start(folder: Path, number: signal.Signals) -> None:
    catalog = made_up_catalog(*COUNTS)
    stalled = Rule(level="series", times=frozenset({1}), action=Stall(after_bytes=2_000))
    with origin_thread(catalog, rules=[stalled]) as origin:
        write_job(folder, origin.url)
        make_due(folder, "mirror")
        with daemon(folder) as (running, _):
            wait_until(lambda: len(origin.requests) >= 3, "all is asked for, one stalls", unless=running.process)
            running.process.send_signal(number)
            ended = running.wait()
        assert ended.code == (0 if number == signal.SIGTERM else -signal.SIGKILL)
        wait_until(lambda: runs(folder) == ["interrupted"], "the run ends with its daemon, cleanly")
        assert state_of(folder)["covered"] == LONG_AGO
        with daemon(folder) as (running, _):
            wait_until(lambda: state_of(folder)["last_success"] is not None, "it is made again", unless=running.process)
            stop(running)
    assert runs(folder) == ["interrupted", "complete"]
    assert read_tree(folder / "dest") == expected_tree(catalog)


def test_a_run_that_outlives_its_daemon_is_waited_for_and_not_made_again(folder: Path) -> None:
    catalog = made_up_catalog(*COUNTS)
    with origin_thread(catalog) as origin, ExitStack() as stack:
        write_job(folder, origin.url)
        make_due(folder, "mirror")
        with daemon(folder) as (running, _):
            wait_until(lambda: len(origin.requests) >= 1, "the run has begun", unless=running.process)
            daemon_id = running.process.pid
            (child,) = map(int, Path(f"/proc/{daemon_id}/task/{daemon_id}/children").read_text().split())
            os.kill(child, signal.SIGSTOP)  # it does not hear that its daemon is gone
            stack.callback(os.kill, child, signal.SIGCONT)
            running.process.kill()
            running.wait()
        with daemon(folder) as (running, url):
            wait_until(lambda: "it goes on" in running.stderr.read_text(), "it is noticed", unless=running.process)
            wait_until(lambda: runs(folder) == ["complete"], "it succeeds", unless=running.process)
            assert json.loads(get(f"{url}/healthz")[1])["jobs"]["mirror"]["running"]
            stack.close()
            wait_until(lambda: state_of(folder)["last_success"] is not None, "it is counted", unless=running.process)
            stop(running)
    assert runs(folder) == ["complete"]
    assert read_tree(folder / "dest") == expected_tree(catalog)


def test_a_job_file_that_becomes_wrong_goes_on_as_it_was_and_is_told(folder: Path) -> None:
    job = write_job(folder, "http://127.0.0.1:9")
    with daemon(folder) as (running, url):
        before = job.read_text()
        job.write_text(f"{before}\n[surprise]\n")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: get(f"{url}/healthz")[0] == 503, "it is told", unless=running.process)
        table = json.loads(get(f"{url}/healthz")[1])
        assert "surprise" in table["unreadable"][0]
        assert list(table["jobs"]) == ["mirror"]
        job.write_text(before)
        write_job(folder, "http://127.0.0.1:9", name="new")
        running.process.send_signal(signal.SIGHUP)
        wait_until(lambda: get(f"{url}/healthz")[0] == 200, "all is well again", unless=running.process)
        assert list(json.loads(get(f"{url}/healthz")[1])["jobs"]) == ["mirror", "new"]
        assert "surprise" in stop(running)


def test_what_a_daemon_cannot_start_with(folder: Path) -> None:
    words = ("daemon", folder / "jobs", "--state", folder / "state", "--listen", "127.0.0.1:0")
    ended = run_command(*words)
    assert (ended.code, "no job file" in ended.complaint) == (2, True)
    job = write_job(folder, "http://127.0.0.1:9", more="")
    ended = run_command(*words)
    assert (ended.code, "[schedule]" in ended.complaint) == (2, True)
    job = write_job(folder, "http://127.0.0.1:9")
    make_due(folder, "mirror")
    with open_store(folder / "state"):
        ended = run_command(*words)
    assert (ended.code, "another daemon" in ended.complaint) == (1, True)
    (folder / "state" / "state.json").write_text('{"version": 1')
    ended = run_command(*words)
    assert (ended.code, "damaged" in ended.complaint) == (1, True)
    assert runs(folder) == []
    job.write_text("[cohort")
    ended = run_command(*words)
    assert (ended.code, f"{job}:1" in ended.complaint) == (2, True)
