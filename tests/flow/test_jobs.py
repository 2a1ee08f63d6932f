"""Jobs as files, commands for each series, and webhooks, as a user and a scheduler run them."""

import json
import os
import re
import signal
import stat
from pathlib import Path

import pytest

from dicomhaul.origin import LivingArchive, Rule, Stall, Status
from support.command import Ended, Word, run_command, start_command, wait_until
from support.destination import expected_tree, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.webhook import webhook_receiver

COUNTS = (3, 2, 4)
SECRET = "T0P-SECRET"  # in the path of a webhook
NOTES = 'env | grep "^DICOMHAUL_" | sort > "$OUT/$1.txt"; ls "$2" >> "$OUT/$1.txt"'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "job" / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    return tmp_path


def write_job(folder: Path, url: str, more: str = "") -> Path:
    path = folder / "job" / "mirror.toml"
    text = (
        f'[job]\ncommand = "pull"\n[source]\nurl = "{url}"\n[cohort]\nmanifest = "cohort.csv"\n'
        f'[destination]\npath = "../dest"\n{more}'
    )
    path.write_text(text, encoding="utf-8")
    return path


def script(folder: Path, text: str) -> Path:
    path = folder / "job" / "hook"
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def assert_well(ended: Ended) -> None:
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr


def test_a_job_brings_its_cohort_runs_its_command_and_tells_its_webhook(folder: Path) -> None:
    catalog, dest = made_up_catalog(*COUNTS), folder / "dest"
    script(folder, NOTES)
    with origin_thread(catalog) as origin, webhook_receiver() as receiver:
        hooks = (
            f'[notify]\non = "always"\nwebhook = "{receiver.url}/{SECRET}"\non_series = "./hook {{series}} {{folder}}"'
        )
        job = write_job(folder, origin.url, hooks)
        ended = run_command(
            "run", job, "--json", environ={"OUT": str(folder / "out"), "DICOMHAUL_TOKEN": SECRET}, cwd=folder / "out"
        )
        assert_well(ended)
        assert read_tree(dest) == expected_tree(catalog)
        assert (ended.json["job"], ended.json["on_series"]) == ("mirror", {"done": 3, "failed": 0, "left": 0})
        again = run_command("run", job, "--json", environ={"OUT": "/nowhere"})
        assert_well(again)  # what was there before is nobody's news
        assert again.json["on_series"] == {"done": 0, "failed": 0, "left": 0}
    for row in made_up_rows(*COUNTS):
        where = os.path.normpath(dest / row.study / row.series)
        noted = (folder / "out" / f"{row.series}.txt").read_text(encoding="utf-8").splitlines()
        told = dict(line.split("=", 1) for line in noted if line.startswith("DICOMHAUL_"))
        assert os.path.normpath(told.pop("DICOMHAUL_FOLDER")) == where
        assert os.path.normpath(told.pop("DICOMHAUL_DEST")) == str(dest)
        assert told == {
            "DICOMHAUL_STUDY": row.study,
            "DICOMHAUL_SERIES": row.series,
            "DICOMHAUL_INSTANCES": f"{row.expected}",
        }
        assert sum(line.endswith(".dcm") for line in noted) == row.expected  # they were there when it ran
    assert receiver.paths == [f"/{SECRET}"] * 2
    assert [(each["job"], each["state"], each["instances_landed"]) for each in receiver.messages] == [
        ("mirror", "complete", 9),
        ("mirror", "complete", 0),
    ]
    assert str(folder) not in str(receiver.messages)
    assert SECRET not in ended.stderr


def test_without_hooks_nobody_is_called_and_nobody_told(folder: Path) -> None:
    script(folder, 'touch "$OUT/ran"')
    with origin_thread(made_up_catalog(*COUNTS)) as origin, webhook_receiver() as receiver:
        hooks = f'[notify]\non = "always"\nwebhook = "{receiver.url}"\non_series = "./hook"\n'
        ended = run_command(
            "run", write_job(folder, origin.url, hooks), "--no-hooks", "--json", environ={"OUT": str(folder / "out")}
        )
    assert_well(ended)
    assert "on_series" not in ended.json
    assert (receiver.messages, list((folder / "out").iterdir())) == ([], [])


def test_a_command_that_fails_is_told_and_counted_and_the_run_is_complete(folder: Path) -> None:
    bad = made_up_rows(*COUNTS)[1].series
    script(folder, f'echo "seen $1"; test "$1" != {bad}')
    with origin_thread(made_up_catalog(*COUNTS)) as origin:
        ended = run_command(
            *("pull", folder / "job" / "cohort.csv", "--source", origin.url, "-o", folder / "dest", "--json"),
            *("--on-series", f"{folder}/job/hook {{series}}", "--on-series-jobs", "2"),
        )
    assert_well(ended)
    assert ended.json["on_series"] == {"done": 2, "failed": 1, "left": 0}
    assert f"the command for series {bad} failed: exit code 1" in ended.stderr
    assert (f"seen {bad}" in ended.stderr, "seen" in ended.stdout) == (True, False)


def test_a_program_that_is_not_there_is_found_out_before_anything_is_asked(folder: Path) -> None:
    with origin_thread(made_up_catalog(*COUNTS)) as origin:
        words: list[Word] = ["pull", folder / "job" / "cohort.csv", "--source", origin.url, "-o", folder / "dest"]
        ended = run_command(*words, "--on-series", "no-such-program {folder}")
        assert (ended.code, origin.requests) == (2, [])
        job = run_command("run", write_job(folder, origin.url, '[notify]\non_series = "./none"\n'))
        assert (job.code, origin.requests) == (2, [])
    assert "'no-such-program', which is no program that can be run" in ended.complaint
    assert not (folder / "dest").exists()


def test_the_first_signal_waits_for_the_command_that_runs_and_the_second_kills_it(folder: Path) -> None:
    script(folder, 'echo $$ > "$OUT/pid.new"; mv "$OUT/pid.new" "$OUT/pid"; sleep 600')
    stalled = Rule(level="series", times=frozenset({2}), action=Stall(after_bytes=2_000))
    with origin_thread(made_up_catalog(*COUNTS), rules=[stalled]) as origin:
        command = f"env OUT={folder}/out {folder}/job/hook"
        job = write_job(folder, origin.url, f'[limits]\ntransfers = 1\n[notify]\non_series = "{command}"\n')
        with start_command(folder, "run", job, "--json") as running:
            wait_until((folder / "out" / "pid").exists, "the command runs", unless=running.process)
            child = int((folder / "out" / "pid").read_text())
            running.signal(signal.SIGINT)
            wait_until(lambda: b"a second signal" in running.stderr.read_bytes(), "it waits", unless=running.process)
            os.kill(child, 0)
            running.signal(signal.SIGINT)
            assert running.process.wait(20) == 130
    wait_until(lambda: not is_alive(child), "the command is killed")


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_after_a_signal_the_commands_that_wait_are_not_begun_and_are_counted(folder: Path) -> None:
    script(folder, 'touch "$OUT/begun"; while ! test -e "$OUT/go"; do sleep 0.05; done')
    with origin_thread(made_up_catalog(*COUNTS)) as origin:
        job = write_job(folder, origin.url, f'[notify]\non_series = "env OUT={folder}/out {folder}/job/hook"\n')
        with start_command(folder, "run", job, "--json") as running:
            dest = folder / "dest"
            wait_until((folder / "out" / "begun").exists, "the command runs", unless=running.process)
            wait_until((dest / "index.parquet").exists, "all has landed", unless=running.process)
            running.signal(signal.SIGTERM)
            wait_until(lambda: b"a second signal" in running.stderr.read_bytes(), "it waits", unless=running.process)
            (folder / "out" / "go").touch()
            ended = running.wait(20)
    assert ended.code == 143
    assert ended.json["on_series"] == {"done": 1, "failed": 0, "left": 2}
    assert "not run for 2 series" in ended.stderr


def test_a_webhook_hears_of_failures_without_paths_and_bounded(folder: Path) -> None:
    gone = [Rule(level=level, action=Status(status=404)) for level in ("series", "instance")]
    with origin_thread(made_up_catalog(*COUNTS), rules=gone) as origin, webhook_receiver([503]) as receiver:
        job = write_job(folder, origin.url, f'[notify]\nwebhook = "{receiver.url}/{SECRET}"\n')
        ended = run_command("run", job, "--json")
    assert (ended.code, ended.json["state"]) == (3, "partial")
    assert len(receiver.messages) == 2  # after a 503, once more
    told = receiver.messages[-1]
    assert (told["job"], told["state"], told["failures_in_all"]) == ("mirror", "partial", len(ended.json["failures"]))
    assert "dest" not in told


def test_a_run_that_an_error_ends_is_told_by_the_kind_of_error_alone(folder: Path) -> None:
    (folder / "dest").write_text("no folder", encoding="utf-8")
    with webhook_receiver() as receiver:
        ended = run_command("run", write_job(folder, "http://localhost:1/x", f'[notify]\nwebhook = "{receiver.url}"\n'))
    assert ended.code == 1
    assert receiver.messages == [{"job": "mirror", "state": "failed", "reason": "NotWritable", "error": "NotWritable"}]


@pytest.mark.parametrize("answers", [(500, 404), (302,)], ids=str)  # the last one is not asked again
def test_a_webhook_that_fails_changes_nothing_and_its_secret_is_in_no_line(
    folder: Path, answers: tuple[int, ...]
) -> None:
    with (
        origin_thread(made_up_catalog(*COUNTS)) as origin,
        webhook_receiver() as other,
        webhook_receiver(answers, location=f"{other.url}/x") as receiver,
    ):
        (folder / "job" / "hook.url").write_text(f"{receiver.url}/{SECRET}\n", encoding="utf-8")
        job = write_job(folder, origin.url, '[notify]\non = "always"\nwebhook_file = "hook.url"\n')
        ended = run_command("run", job, "--json", "--log-file", folder / "log.txt")
    assert_well(ended)
    assert len(receiver.messages) == len(answers)
    assert other.messages == []
    assert f"the webhook at 127.0.0.1 was not told: HTTP {answers[-1]}" in ended.stderr
    assert SECRET not in ended.stdout + ended.stderr + (folder / "log.txt").read_text(encoding="utf-8")


def test_a_job_that_syncs_does_all_that_its_file_says(folder: Path) -> None:
    archive = LivingArchive()
    for series in ("1.2.1.1", "1.2.1.2"):
        for index in (1, 2, 3):
            archive.store("1.2.1", series, index)
    archive.store("1.2.1", "1.2.1.3", 1)
    refused = [Rule(path="/1.2.1.3(/|$)", level=level, action=Status(status=404)) for level in ("series", "instance")]
    (folder / "job" / "known.csv").write_text("1.2.1.3,404\n", encoding="utf-8")
    script(folder, 'echo "$1 $(ls "$2" | wc -l)" >> "$OUT/seen"')
    seen, out = folder / "out" / "seen", folder / "out"
    with (
        origin_thread(archive, style="dcm4chee", base_path="/dicom-web", rules=refused) as origin,
        webhook_receiver() as receiver,
    ):
        job = folder / "job" / "sync.toml"
        job.write_text(
            f'[source]\nurl = "{origin.url}"\n[cohort]\nall = true\n[destination]\npath = "../dest"\n'
            '[limits]\naccept_failures = "known.csv"\nmax_delete = 2\n'
            "[sync]\nreconcile = 0\n"
            '[audit]\nfile = "../out/audit.log"\n[metrics]\ntextfile = "../out/job.prom"\n'
            '[log]\nfile = "../out/log.jsonl"\nformat = "json"\n'
            f'[notify]\nwebhook = "{receiver.url}"\n'
            f'on_series = "env OUT={folder}/out {folder}/job/hook {{series}} {{folder}}"\n',
            encoding="utf-8",
        )
        first = run_command("run", job, "--json")
        assert_well(first)
        assert first.json["failures_accepted"] == 1
        assert sorted(seen.read_text(encoding="utf-8").split("\n")) == ["", "1.2.1.1 3", "1.2.1.2 3"]
        seen.unlink()
        archive.store("1.2.1", "1.2.1.2", 4)
        assert_well(run_command("run", job, "--json"))
        assert seen.read_text(encoding="utf-8") == "1.2.1.2 4\n"
        assert receiver.messages == []
        for index in (1, 2, 3):
            archive.remove("1.2.1", "1.2.1.1", index)
        stopped = run_command("run", job, "--json")
    assert (stopped.code, stopped.json["error"]) == (1, "SyncRefused")
    assert "--max-delete allows 2" in stopped.json["reason"]
    assert len(read_tree(folder / "dest")) == 7
    assert [(each["job"], each["error"]) for each in receiver.messages] == [("sync", "SyncRefused")]
    lines = [json.loads(line) for line in (out / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    ends = [line for line in lines if line["fields"].get("event") == "ended"]
    assert [(line["level"], line["fields"]["state"]) for line in ends] == [
        ("info", "complete"),
        ("info", "complete"),
        ("error", "failed"),
    ]
    assert "--max-delete allows 2" in ends[-1]["message"]
    assert 'state="failed"} 1.0' in (out / "job.prom").read_text(encoding="utf-8")
    assert run_command("audit", "verify", out / "audit.log", "--dest", folder / "dest").code == 0


def test_check_says_what_jobs_would_do_and_all_that_is_wrong(folder: Path) -> None:
    good = write_job(folder, "http://localhost:1/x", f'[notify]\nwebhook = "https://there.example/{SECRET}"\n')
    bad = folder / "job" / "bad.toml"
    bad.write_text('[cohort]\nall = 1\nmodality = ["CT"]\n[destination]\npth = "x"\n', encoding="utf-8")
    ended = run_command("run", "--check", good, bad)
    assert ended.code == 2
    assert "mirror (" in ended.stdout
    assert SECRET not in ended.stdout
    lines = [line for line in ended.stderr.splitlines() if "bad.toml" in line]
    assert [line.removeprefix(f"{bad}:") for line in lines] == [
        "2: cohort.all: Input should be a valid boolean",
        "4: destination.path: the field is missing",
        "5: destination.pth: there is no such field",
    ]
    assert run_command("run", "--check", good).code == 0
    never = folder / "job" / "never.toml"
    never.write_text(f"{good.read_text(encoding='utf-8')}[schedule]\ncron = '0 0 31 2 *'\n", encoding="utf-8")
    ended = run_command("run", "--check", never)
    assert (ended.code, re.search(r"never\.toml:\d+: schedule\.cron: ", ended.stderr) is not None) == (2, True)
    both = run_command("run", good, bad)
    assert (both.code, both.complaint) == (2, "3 errors in job files")
    assert not (folder / "dest").exists()
