"""Runs as processes: stopped whenever that is, a run is either made or made again."""

import sys
from dataclasses import replace
from pathlib import Path

import anyio
import pytest

from dicomhaul.daemon.decide import Begun, TimedJob
from dicomhaul.daemon.runner import Processes
from dicomhaul.errors import LandingError
from dicomhaul.job.schedule import schedule_of
from dicomhaul.land.kernel_lock import try_lock

JOB = TimedJob("job", Path("/jobs/job.toml"), Path("/data"), schedule_of("0 2 * * *"))
RUN = Begun("run", 1.0, 2.0, "/data")


def runner(folder: Path, script: str) -> Processes:
    return Processes(folder, command=lambda _: [sys.executable, "-c", script], form="text", clock_now=lambda: 9.0)


@pytest.mark.anyio
async def test_a_run_that_ends_by_itself(tmp_path: Path) -> None:
    processes = runner(tmp_path, "raise SystemExit(4)")
    how = await processes.run(JOB, RUN)
    assert (how.code, how.interrupted) == (4, False)
    assert processes.how_ended(RUN) == how
    processes.forget(["run"])
    assert processes.how_ended(RUN) == how
    processes.forget([])
    assert processes.how_ended(RUN) is None


@pytest.mark.anyio
async def test_a_run_that_is_stopped_before_it_has_begun_was_interrupted(tmp_path: Path) -> None:
    processes = runner(tmp_path, "import time; time.sleep(60)")
    processes.stop()
    with anyio.fail_after(60):
        assert (await processes.run(JOB, RUN)).interrupted


@pytest.mark.parametrize("text", ["", "{", '{"code": 0}', '{"code": "0", "interrupted": false, "ended_at": 1}'])
def test_a_record_of_an_end_that_cannot_be_read_is_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "run.json").write_text(text)
    assert runner(tmp_path, "").how_ended(RUN) is None


def test_a_run_is_alive_while_anything_has_the_lock_of_its_destination(tmp_path: Path) -> None:
    processes = runner(tmp_path, "")
    assert not processes.is_alive(RUN)
    anyio.run(processes.run, JOB, RUN)
    assert not processes.is_alive(RUN)
    (lock,) = tmp_path.glob("*.lock")
    with lock.open("r+b") as held:
        try_lock(held.fileno())
        assert processes.is_alive(RUN)
        assert not processes.is_alive(replace(RUN, destination="/other"))
    assert not processes.is_alive(RUN)
    lock.unlink()
    lock.mkdir()
    with pytest.raises(LandingError, match="open "):
        processes.is_alive(RUN)
