"""Job files: what they say, and everything that is wrong with one at once, by line and field."""

import os
from pathlib import Path

import pytest

from dicomhaul.config.options import HaulOptions, SyncOptions
from dicomhaul.config.rates import parse_timetable
from dicomhaul.errors import ConfigError
from dicomhaul.job.model import Job
from dicomhaul.job.reading import examine_job, read_job, read_jobs
from dicomhaul.job.schedule import schedule_of
from dicomhaul.model import Query, Shard
from dicomhaul.plan.removal import RemovalLimits

LEAST = '[cohort]\ntargets = ["nlst"]\n[destination]\npath = "data"\n'


def write(folder: Path, text: str, name: str = "mirror.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def job_of(folder: Path, text: str) -> Job:
    return read_job(write(folder, text))


def errors_of(folder: Path, text: str) -> list[str]:
    path = write(folder, text)
    job, errors = examine_job(path)
    assert job is None
    assert all(error.startswith(f"{path}:") for error in errors)
    return [error.removeprefix(f"{path}:") for error in errors]


def test_the_least_job_is_a_sync_of_idc_with_the_options_of_the_command_line(tmp_path: Path) -> None:
    job = job_of(tmp_path, LEAST)
    assert (job.name, job.command, job.source, job.dest) == ("mirror", "sync", None, tmp_path / "data")
    assert job.query == Query(targets=("nlst",))
    assert (job.options, job.sync) == (HaulOptions(), SyncOptions())
    assert (job.schedule, job.audit, job.textfile, job.notify.on_series) == (None, None, None, ())


def test_every_field_means_what_the_option_of_its_name_means(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("1.2.3\tgone\n", encoding="utf-8")
    job = job_of(
        tmp_path,
        """
[job]
name = "pacs"
command = "sync"
[source]
url = "https://pacs.example/dicom-web"
profile = "generic"
auth = "bearer"
token_file = "secrets/token"
ca_file = "/etc/ca.pem"
client_cert = "cert.pem"
client_key = "key.pem"
[cohort]
search = ["PatientID=4711"]
modality = ["CT", "MR"]
study_date = "20240101-"
limit_series = 5
shard = "2/3"
lock = "out.lock"
[destination]
path = "/data/x"
layout = "{StudyInstanceUID}/{SeriesInstanceUID}"
name_by = "sop"
state_dir = "state"
[limits]
transfers = 3
processes = 2
tpslimit = 2
bwlimit = "08:00,10M 19:00,off"
quota = "5G/day"
max_transfer = 1_000
max_duration = "1h30m"
wait = true
force = true
recheck = true
checksum = "xxh3"
accept_failures = "known.txt"
max_delete = 7
max_delete_fraction = 0.5
[sync]
trash_days = 0
keep_withdrawn = true
reconcile = "2d"
look_back = 3
inventories = false
[schedule]
cron = "30 2 * * 1-5"
timezone = "Europe/Berlin"
jitter = "10m"
max_age = "26h"
[notify]
webhook_file = "hook"
on = "always"
on_series = "./convert --out 'my files' {folder}"
on_series_jobs = 2
[log]
file = "log/pacs.log"
level = "debug"
format = "json"
[audit]
file = "audit.log"
[metrics]
textfile = "/var/lib/pacs.prom"
""",
    )
    assert (job.name, job.command, job.source, job.profile) == (
        "pacs",
        "sync",
        "https://pacs.example/dicom-web",
        "generic",
    )
    reach = job.connection
    assert (reach.auth, reach.token_file, reach.ca_file) == ("bearer", tmp_path / "secrets/token", Path("/etc/ca.pem"))
    assert (reach.client_cert, reach.client_key) == (tmp_path / "cert.pem", tmp_path / "key.pem")
    assert job.query == Query(
        search=("PatientID=4711",),
        modality=("CT", "MR"),
        study_date="20240101-",
        limit_series=5,
        shard=Shard(2, 3),
    )
    assert job.options == HaulOptions(
        transfers=3,
        processes=2,
        requests_per_s=2.0,
        layout="{StudyInstanceUID}/{SeriesInstanceUID}",
        state_dir=tmp_path / "state",
        audit_log=tmp_path / "audit.log",
        force=True,
        recheck=True,
        name_by="sop",
        checksum="xxh3",
        bandwidth=parse_timetable("08:00,10M 19:00,off"),
        quota_bytes=5 << 30,
        max_transfer_bytes=1000,
        max_duration_s=5400.0,
        wait=True,
        lock=tmp_path / "out.lock",
        accepted=job.options.accepted,
    )
    assert job.options.accepted.reasons == {"1.2.3": ("gone",)}
    assert job.sync == SyncOptions(0, True, RemovalLimits(7, 0.5), 172_800.0, 3, inventories=False)
    assert job.schedule == schedule_of("30 2 * * 1-5", "Europe/Berlin", 600.0)
    assert job.max_age_s == 26 * 3600.0
    assert (job.notify.webhook_file, job.notify.always, job.notify.on_series_jobs) == (tmp_path / "hook", True, 2)
    assert job.notify.on_series == (f"{tmp_path}/convert", "--out", "my files", "{folder}")
    assert (job.log.file, job.log.level, job.log.form) == (tmp_path / "log/pacs.log", "debug", "json")
    assert (job.audit, job.textfile) == (tmp_path / "audit.log", Path("/var/lib/pacs.prom"))


def test_all_that_is_wrong_is_told_at_once_with_its_line_and_field(tmp_path: Path) -> None:
    found = errors_of(
        tmp_path,
        """\
[job]
name = "my mirror"
[source]
url = "http://somebody:secret@localhost:1/x"
nonsense = 3
[cohort]
search = [
  "PatientID=1",
  7,
]
[limits]
bwlimit = "lots"
max_transfer = true
transfers = "4"
max_delete = -1
[schedule]
cron = "* * *"
timezone = "Mars/Phobos"
jitter = "-3m"
""",
    )
    assert [error.partition(": ")[0] + " " + error.split(": ")[1] for error in found] == [
        "1 destination",
        "2 job.name",
        "4 source.url",
        "5 source.nonsense",
        "7 cohort.search.1",
        "12 limits.bwlimit",
        "13 limits.max_transfer",
        "14 limits.transfers",
        "15 limits.max_delete",
        "17 schedule.cron",
        "18 schedule.timezone",
        "19 schedule.jitter",
    ]
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[cohort\n", "1: not valid TOML"),
        ('a = """x\n', "1: not valid TOML"),
        (f"{LEAST}path = 'x'\n", "5: not valid TOML"),
        (f"{LEAST}[surprise]\n", "5: surprise: there is no such field"),
        ("[cohort]\nmodality = []\n[destination]\npath = 'x'\n", "2: cohort.modality: "),
        ("[cohort]\nlimit_series = 3\n[destination]\npath = 'x'\n", "1: cohort: say what to bring"),
        ("[cohort]\nall = false\n[destination]\npath = 'x'\n", "1: cohort: say what to bring"),
        ("[cohort]\ntargets = ['-']\n[destination]\npath = 'x'\n", "1: cohort: a job has no standard input"),
        ("[cohort]\nall = true\n[destination]\npath = 'x'\n", "1: job file: [source] says where from"),
        ("[cohort]\nall = true\n[destination]\n", "3: destination.path: the field is missing"),
        ("[cohort]\nall = true\n[destination]\npath = '~/x'\n", "4: destination.path: write the whole path"),
        ("[cohort]\nall = true\n[destination]\npath = ''\n", "4: destination.path: a path is needed"),
        (f"{LEAST}[source]\nprofile = 'azure'\n", "5: source: profile describes the server at url"),
        (f"{LEAST}[source]\nname = 'idc'\nurl = 'https://x'\n", "5: source: name and url"),
        (f"{LEAST}[source]\nurl = 'ftp://x'\n", "6: source.url: "),
        (f"{LEAST}[notify]\nwebhook = 'http://there.example/secret'\n", "6: notify.webhook: a webhook's URL begins"),
        (f"{LEAST}[notify]\non_series = 'say \"hello'\n", "6: notify.on_series: the command cannot be split"),
        (f"{LEAST}[sync]\ntrash_days = 1.5\n", "6: sync.trash_days: "),
        (f"{LEAST}[limits]\nwait = 'yes'\n", "6: limits.wait: "),
        ("cohort = 3\n[destination]\npath = 'x'\n", "1: cohort: a table is needed"),
        (f"{LEAST}layout = '{{Nope}}/x'\n", "5: destination.layout: the layout names"),
        (
            "[cohort]\nall = true\nstudy_date = 'May'\n[destination]\npath = 'x'\n[source]\nname = 'idc'\n",
            "3: cohort.study_date: ",
        ),
        (f"{LEAST}[source]\nname = 'nowhere'\n", "5: source: SOURCE 'nowhere' is neither a URL"),
        (f"{LEAST}[source]\nurl = 'https://x'\nprofile = 'nowhere'\n", "5: source: "),
        (
            "[cohort]\nwhere = 'x'\n[source]\nurl = 'https://x'\n[destination]\npath = 'x'\n",
            "2: cohort.where: it needs IDC",
        ),
        (f"{LEAST}[limits]\naccept_failures = 'none.txt'\n", "6: limits.accept_failures: "),
        (f"{LEAST}[audit]\nfile = 'data/audit.log'\n", "6: audit.file: the audit log"),
        (f"{LEAST}[job]\ncommand = 'pull'\n[sync]\ntrash_days = 3\n", "7: sync: a pull removes nothing"),
        (f"{LEAST}[job]\ncommand = 'pull'\n[limits]\nmax_delete = 3\n", "8: limits.max_delete: a pull removes nothing"),
        (f"{LEAST}[limits]\nquota = 'nan'\n", "6: limits.quota: 'nan' is not a size"),
    ],
)
def test_what_is_wrong_is_told_where_it_stands(tmp_path: Path, text: str, expected: str) -> None:
    (error,) = errors_of(tmp_path, text)
    assert error.startswith(expected)


def test_no_time_at_all_is_written_as_0(tmp_path: Path) -> None:
    job = job_of(tmp_path, f"{LEAST}[sync]\nreconcile = 0\n[schedule]\ncron = '0 2 * * *'\njitter = '0'\n")
    assert (job.sync.reconcile_s, job.schedule) == (0.0, schedule_of("0 2 * * *", "UTC", 0.0))


def test_what_does_not_go_together_is_told_at_once(tmp_path: Path) -> None:
    found = errors_of(
        tmp_path,
        """\
[job]
command = "pull"
[source]
url = "https://pacs.example/dicom-web"
[cohort]
license_allow = ["CC BY 4.0"]
search = ["PatientID=1"]
[destination]
path = "data"
[limits]
accept_failures = "none.txt"
max_delete_fraction = 0.1
[audit]
file = "data/audit.log"
""",
    )
    assert [" ".join(error.split(": ")[:2]) for error in found] == [
        "6 cohort.license_allow",
        "11 limits.accept_failures",
        "12 limits.max_delete_fraction",
        "14 audit.file",
    ]


def test_licences_are_those_of_idcs_index(tmp_path: Path) -> None:
    job = job_of(tmp_path, LEAST.replace("[destination]", 'license_allow = ["CC BY 4.0"]\n[destination]'))
    assert job.query.licenses_allowed == ("CC BY 4.0",)


def test_files_are_found_beside_the_job_whatever_the_working_directory(tmp_path: Path) -> None:
    write(tmp_path, "study", "cohort.csv")
    write(tmp_path, 'name = "mine"\nurl = "https://mine.example/dicom-web"\n', "mine.toml")
    text = '[source]\nname = "mine.toml"\n[cohort]\ntargets = ["cohort.csv", "nlst", "1.2.3"]\nmanifest = "m/x.csv"\n'
    job = job_of(tmp_path, f'{text}[destination]\npath = "../there"\n')
    assert job.source == str(tmp_path / "mine.toml")
    assert job.query.targets == (str(tmp_path / "cohort.csv"), "nlst", "1.2.3", str(tmp_path / "m/x.csv"))
    assert job.dest == tmp_path.parent / "there"


def test_what_is_no_job_file_is_refused_in_a_sentence(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * 300_000)
    (tmp_path / "binary.toml").write_bytes(b"\xff\xfe\x00")
    (tmp_path / "deep.toml").write_text(f"a = {'[' * 5000}{']' * 5000}\n")
    for name, why in (
        ("pipe.toml", "there is no job file"),
        ("none.toml", "there is no job file"),
        ("", "is a folder"),
        ("large.toml", "too large for a job file"),
        ("binary.toml", "no UTF-8 text"),
        ("deep.toml", "nested too deeply"),
    ):
        job, errors = examine_job(tmp_path / name)
        assert job is None
        assert len(errors) == 1
        assert why in errors[0]


def test_a_folder_of_jobs_is_read_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="holds no job file"):
        read_jobs(tmp_path)
    write(tmp_path, LEAST, "b.toml")
    write(tmp_path, LEAST, "a.toml")
    write(tmp_path, "not one", "notes.txt")
    assert [job.name for job in read_jobs(tmp_path)] == ["a", "b"]
    write(tmp_path, "[cohort]\n", "c.toml")
    with pytest.raises(ConfigError, match=r"c\.toml:1: cohort: .*; .*c\.toml:1: destination: "):
        read_jobs(tmp_path)
