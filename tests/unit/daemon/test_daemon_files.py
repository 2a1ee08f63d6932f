"""Which jobs a daemon runs: a file that is wrong stops no other one."""

from pathlib import Path

import pytest

from dicomhaul.daemon.files import read_timed_jobs
from dicomhaul.errors import ConfigError

SCHEDULE = '[schedule]\ncron = "0 2 * * *"\nmax_age = "26h"\n'


def write(folder: Path, name: str, more: str = SCHEDULE, *, dest: str = "dest") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(f'[cohort]\ntargets = ["{name}"]\n[destination]\npath = "{dest}"\n{more}')
    return path


def test_jobs_with_a_schedule_are_run_and_the_others_named(tmp_path: Path) -> None:
    write(tmp_path, "nightly")
    write(tmp_path, "byhand", "")
    (tmp_path / "link").symlink_to(tmp_path)
    write(tmp_path, "beside", dest="link/dest")
    found = read_timed_jobs([tmp_path])
    assert [job.name for job in found.jobs] == ["beside", "nightly"]
    assert found.unscheduled == ("byhand",)
    assert found.errors == {}
    one, other = found.jobs
    assert one.destination == other.destination, "one folder by two ways"
    assert one.max_age_s == 26 * 3600


def test_jobs_of_one_server_are_of_one_host(tmp_path: Path) -> None:
    for name, path in (("a", "dicom-web"), ("b", "other/dicom-web")):
        write(tmp_path, name, f'[source]\nurl = "http://pacs.example:8042/{path}"\n{SCHEDULE}', dest=name)
    write(tmp_path, "c", f'[source]\nname = "idc-proxy"\n{SCHEDULE}', dest="c")
    write(tmp_path, "d", dest="d")
    assert [job.host for job in read_timed_jobs([tmp_path]).jobs] == ["pacs.example:8042"] * 2 + ["idc-proxy", "idc"]


def test_a_file_that_becomes_wrong_goes_on_as_it_was(tmp_path: Path) -> None:
    file = write(tmp_path, "nightly")
    write(tmp_path, "other")
    before = read_timed_jobs([tmp_path])
    write(tmp_path, "nightly", '[schedule]\ncron = "0 2 * *"\n')
    found = read_timed_jobs([tmp_path], before.jobs)
    assert found.jobs == before.jobs
    (lines,) = found.errors.values()
    assert str(file) in lines[0]
    assert "schedule.cron" in lines[0]
    assert [job.name for job in read_timed_jobs([tmp_path]).jobs] == ["other"]


def test_a_file_that_is_gone_is_run_no_more(tmp_path: Path) -> None:
    file = write(tmp_path, "nightly")
    write(tmp_path, "other")
    before = read_timed_jobs([tmp_path])
    file.unlink()
    assert [job.name for job in read_timed_jobs([tmp_path], before.jobs).jobs] == ["other"]


def test_two_files_of_one_name_are_both_wrong(tmp_path: Path) -> None:
    for name in ("one", "two"):
        write(tmp_path, name, f'[job]\nname = "same"\n{SCHEDULE}')
    found = read_timed_jobs([tmp_path])
    assert found.jobs == ()
    assert len(found.errors) == 2


def test_a_time_that_never_comes_is_wrong(tmp_path: Path) -> None:
    write(tmp_path, "never", '[schedule]\ncron = "0 0 30 2 *"\n')
    found = read_timed_jobs([tmp_path])
    assert found.jobs == ()
    assert len(found.errors) == 1


def test_no_job_file_at_all_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no job file"):
        read_timed_jobs([tmp_path])
