"""What contrib/ holds is right by the word of each tool that would run it, and does what its comments say."""

import ast
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
import yaml
from croniter import croniter

from dicomhaul.job.reading import examine_job
from support.command import Word, environ_with, run_command, wait_until
from support.destination import assert_recorded, expected_tree, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from test_docs import command_lines, parse

ROOT: Final = Path(__file__).resolve().parents[2]
CONTRIB: Final = ROOT / "contrib"
SLURM: Final = CONTRIB / "slurm"
SCRIPTS: Final = Path(sysconfig.get_path("scripts"))
UNITS: Final = ("dicomhaul@.service", "dicomhaul@.timer", "dicomhaul-daemon.service")


def tool(name: str) -> str:
    """Return the path of a tool. Without it the test is skipped, and fails where nothing may be skipped."""
    found = shutil.which(name, path=f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}{os.pathsep}/usr/sbin")
    if found is None:
        why = f"there is no {name} here: run .ci/install-schedulers"
        if os.environ.get("CI") == "true":
            pytest.fail(why)
        pytest.skip(why)
    return found


def said_by(*words: str | Path, cwd: Path | None = None) -> tuple[int, str]:
    done = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=60)
    return done.returncode, done.stdout + done.stderr


def verified(folder: Path, texts: dict[str, str]) -> tuple[int, str]:
    """Let systemd look at units as if they were installed for a job, with a program that is there."""
    names = []
    for name, text in texts.items():
        names.append(name.replace("@.", "@nlst."))
        for each in {name, names[-1]}:
            (folder / each).write_text(text.replace("/usr/local/bin/dicomhaul", "/bin/true"), encoding="utf-8")
    words = ["verify", "--man=no", "--recursive-errors=no", *(f"./{name}" for name in names)]
    return said_by(tool("systemd-analyze"), *words, cwd=folder)


def test_systemd_takes_the_units_and_finds_nothing_to_say(tmp_path: Path) -> None:
    texts = {name: (CONTRIB / "systemd" / name).read_text(encoding="utf-8") for name in UNITS}
    assert {path.name for path in (CONTRIB / "systemd").iterdir()} == set(UNITS)
    assert verified(tmp_path, texts) == (0, "")
    wrong = texts[UNITS[0]].replace("KillMode=mixed", "KillMood=mixed")
    assert "KillMood" in verified(tmp_path, {UNITS[0]: wrong})[1]  # it would have been found


def test_cron_takes_the_crontab(tmp_path: Path) -> None:
    path = CONTRIB / "cron" / "crontab"
    assert said_by(tool("crontab"), "-n", path)[0] == 0
    wrong = tmp_path / "crontab"
    wrong.write_text("30 25 * * * true\n", encoding="utf-8")
    assert said_by(tool("crontab"), "-n", wrong)[0] != 0
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"[0-9*]", line)]
    assert len(lines) == 2
    for line in lines:
        assert croniter.is_valid(" ".join(line.split()[:5]))


def test_kubernetes_takes_the_manifest_and_the_job_in_it_is_right(tmp_path: Path) -> None:
    path = CONTRIB / "kubernetes" / "cronjob.yaml"
    code, said = said_by(tool("kubernetes-validate"), "--strict", path)
    assert (code, said.count("passed for resource")) == (0, 3), said
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(path.read_text(encoding="utf-8").replace("backoffLimit", "backofLimit"), encoding="utf-8")
    assert said_by(tool("kubernetes-validate"), "--strict", wrong)[0] != 0
    config, claim, cron = yaml.safe_load_all(path.read_text(encoding="utf-8"))
    (tmp_path / "job.toml").write_text(config["data"]["job.toml"], encoding="utf-8")
    job, errors = examine_job(tmp_path / "job.toml")
    assert (errors, job is not None) == ((), True)
    assert croniter.is_valid(cron["spec"]["schedule"])
    pod = cron["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    mounted = {mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    assert {"persistentVolumeClaim": {"claimName": claim["metadata"]["name"]}, "name": "data"} in pod["volumes"]
    parse(pod["containers"][0]["args"][1:])


def test_shells_take_the_scripts() -> None:
    scripts = [*SLURM.iterdir(), *(path for path in (ROOT / ".ci").iterdir() if path.name.startswith("install-"))]
    assert said_by(tool("shellcheck"), *scripts) == (0, "")
    for script in SLURM.iterdir():
        assert said_by("bash", "-n", script) == (0, "")


def test_the_dag_is_python_and_its_command_is_one_of_ours() -> None:
    """Its calls are checked by ruff's rules for Airflow, in `make lint`: Airflow itself is too large to be here."""
    path = CONTRIB / "airflow" / "dicomhaul_dag.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    calls = {
        node.func.id: node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    names: dict[str, Any] = {"JOB": "job.toml"}
    operator = {each.arg: each.value for each in calls["BashOperator"].keywords}
    command = eval(compile(ast.Expression(operator["bash_command"]), "dag", "eval"), names)
    parse(command.removeprefix("exec dicomhaul ").split())
    schedule = next(each.value for each in calls["DAG"].keywords if each.arg == "schedule")
    assert croniter.is_valid(ast.literal_eval(schedule))
    lint = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]["lint"]
    assert "ALL" in lint["select"]
    assert not [rule for rule in [*lint["ignore"], *lint["per-file-ignores"]["contrib/**"]] if rule.startswith("AIR")]


@pytest.mark.parametrize("name", ["cron/crontab", "systemd/dicomhaul@.service", f"systemd/{UNITS[2]}"])
def test_command_lines_in_these_files_parse(name: str, tmp_path: Path) -> None:
    text = (CONTRIB / name).read_text(encoding="utf-8").replace("/etc/dicomhaul/jobs ", f"{tmp_path} ")
    text = re.sub(r"^(?:ExecStart=/usr/local/bin/|[0-9*/ ]+ )(?=dicomhaul )", "", text, flags=re.MULTILINE)
    found = list(command_lines(text))
    assert found
    for words in found:
        parse(words)


@pytest.fixture
def cluster(tmp_path: Path) -> Path:
    """A folder with `dicomhaul`, and a `scontrol` that notes what it is told."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in {
        "dicomhaul": f'exec "{sys.executable}" -m dicomhaul "$@"',
        "scontrol": f'echo "$@" >> "{tmp_path}/scontrol.txt"',
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return folder


def task_environ(cluster: Path, number: int, of: int, *, first: int = 1) -> dict[str, str]:
    """The environment that SLURM gives to a task of an array."""
    return environ_with(
        {
            "PATH": f"{cluster}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
            "SLURM_ARRAY_JOB_ID": "77",
            "SLURM_ARRAY_TASK_ID": f"{number}",
            "SLURM_ARRAY_TASK_COUNT": f"{of}",
            "SLURM_ARRAY_TASK_MIN": f"{first}",
            "SLURM_ARRAY_TASK_MAX": f"{first + of - 1}",
        }
    )


def test_an_array_of_shards_and_its_merge_are_a_whole_destination(cluster: Path, tmp_path: Path) -> None:
    counts, dest = (3, 1, 2, 4, 2), tmp_path / "my dest"
    catalog = made_up_catalog(*counts)
    manifest = tmp_path / "cohort.csv"
    manifest.write_text(manifest_of(made_up_rows(*counts)), encoding="utf-8")
    with origin_thread(catalog) as origin:
        for number in (1, 2):
            script: list[Word] = ["bash", SLURM / "pull-array.sbatch", dest, manifest, "--source", origin.url, "-q"]
            done = subprocess.run(
                script, env=task_environ(cluster, number, 2), capture_output=True, text=True, check=False, timeout=60
            )
            assert (done.returncode, '"state": "complete"' in done.stdout) == (0, True), done.stderr
            merged = subprocess.run(
                ["bash", SLURM / "merge.sbatch", dest],
                env=task_environ(cluster, 1, 1),
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert merged.returncode == (2 if number == 1 else 0), merged.stderr  # the first time, a shard is missing
    assert read_tree(dest) == expected_tree(catalog)
    assert_recorded(dest, expected_tree(catalog))
    assert run_command("status", dest).code == 0


def test_an_array_that_does_not_begin_at_1_is_refused(cluster: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        ["bash", SLURM / "pull-array.sbatch", tmp_path / "dest", "nlst"],
        env=task_environ(cluster, 0, 2, first=0),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert (done.returncode, "has to be 1-N" in done.stderr, (tmp_path / "dest").exists()) == (2, True, False)


def test_a_task_whose_time_is_nearly_up_stops_and_goes_back_into_the_queue(cluster: Path, tmp_path: Path) -> None:
    """In place of the run: something that says when it began, and ends on SIGTERM as a run does."""
    (cluster / "dicomhaul").write_text(
        f'#!/bin/bash\ntrap "sleep 0.1; exit 143" TERM\ntouch "{tmp_path}/begun"\nwhile true; do sleep 0.05; done\n',
        encoding="utf-8",
    )
    with subprocess.Popen(
        ["bash", SLURM / "pull-array.sbatch", tmp_path / "dest", "nlst"], env=task_environ(cluster, 2, 3)
    ) as task:
        wait_until((tmp_path / "begun").exists, "it runs", unless=task)
        task.send_signal(signal.SIGTERM)  # as --signal=B: has it: to the script alone
        assert task.wait(20) == 0
    assert (tmp_path / "scontrol.txt").read_text(encoding="utf-8") == "requeue 77_2\n"
