"""What the daemon answers: whether all is well, and what its runs tell of themselves."""

import json
import urllib.error
import urllib.request
from dataclasses import replace
from pathlib import Path, PurePath
from typing import Any

import anyio.to_thread
import pytest
from prometheus_client.parser import text_string_to_metric_families

from dicomhaul.daemon.decide import Begun, Ended, JobState, State, TimedJob
from dicomhaul.daemon.files import Found
from dicomhaul.daemon.health import LOOP_S, health
from dicomhaul.daemon.http import Answers, parse_listen, serving
from dicomhaul.errors import ConfigError
from dicomhaul.job.schedule import schedule_of
from support.clock import FakeClock

NOW = 1_792_656_000.0
JOB = TimedJob("nightly", Path("/jobs/n.toml"), Path("/data"), schedule_of("0 2 * * *"), max_age_s=26 * 3600.0)
BESIDE = replace(JOB, name="beside")  # whose runs write into the same textfile
GOOD = JobState(NOW - 9e6, NOW - 3600.0, last=Ended(0, interrupted=False, ended_at=NOW - 60), last_success=NOW - 60)


class Standing:
    """A supervisor that stands still."""

    jobs = (JOB, BESIDE)
    idle_s = 1.0

    def __init__(self, state: State) -> None:
        self.state = state


def asked(
    state: JobState, *, idle_s: float = 0.0, errors: dict[PurePath, tuple[str, ...]] | None = None
) -> tuple[bool, Any]:
    return health(NOW, jobs=[JOB], state={"nightly": state}, idle_s=idle_s, errors=errors or {})


def test_all_is_well() -> None:
    well, table = asked(GOOD)
    assert (well, table["ok"]) == (True, True)
    assert table["jobs"]["nightly"]["last_success"] == "2026-10-22T07:59:00+00:00"
    assert table["jobs"]["nightly"]["next"] == "2026-10-23T02:00:00+00:00"


def test_a_job_is_overdue_only_after_its_max_age() -> None:
    assert asked(JobState(NOW - 26 * 3600.0, NOW))[0]
    assert not asked(JobState(NOW - 26 * 3600.0 - 1.0, NOW))[0], "it never succeeded since it was first seen"
    well, table = asked(JobState(0.0, NOW, last_success=NOW - 27 * 3600.0))
    assert (well, table["jobs"]["nightly"]["overdue_s"]) == (False, 3600)


def test_a_loop_that_does_not_turn_is_not_well() -> None:
    assert asked(GOOD, idle_s=LOOP_S)[0]
    assert not asked(GOOD, idle_s=LOOP_S + 1.0)[0]


def test_a_file_that_is_wrong_is_told() -> None:
    well, table = asked(GOOD, errors={Path("/jobs/x.toml"): ("/jobs/x.toml:3: no",)})
    assert (well, table["unreadable"]) == (False, ["/jobs/x.toml:3: no"])


def get(url: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(url, method=method)
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@pytest.fixture
def textfile(tmp_path: Path) -> Path:
    path = tmp_path / "nightly.prom"
    path.write_text(
        "# HELP dicomhaul_requests_total Requests that were sent.\n# TYPE dicomhaul_requests_total counter\n"
        'dicomhaul_requests_total{name="nightly",destination="/data"} 7.0\n'
        "# HELP dicomhaul_feed_moved_timestamp_seconds When.\n# TYPE dicomhaul_feed_moved_timestamp_seconds gauge\n"
        f'dicomhaul_feed_moved_timestamp_seconds{{name="nightly",destination="/data",feed="azure"}} {NOW - 90}\n'
        "# HELP dicomhaul_feed_lag_seconds Old.\n# TYPE dicomhaul_feed_lag_seconds gauge\n"
        'dicomhaul_feed_lag_seconds{name="nightly",destination="/data",feed="azure"} 1.0\n'
    )
    return path


def spoil(file: Path) -> None:
    file.write_text("dicomhaul_requests_total{ 7")


def remove(file: Path) -> None:
    file.unlink()


@pytest.mark.anyio
async def test_answers_by_http(textfile: Path) -> None:
    running = JobState(0.0, 0.0, run=Begun("id", NOW, NOW, "/data"), last_success=NOW - 60)
    supervisor: Any = Standing({"nightly": running, "beside": running})
    answers = Answers(supervisor, found=lambda: Found((JOB,)), metrics_of=lambda _: textfile, clock=FakeClock(NOW))
    async with serving(answers.application(), "127.0.0.1", 0) as url:

        async def ask(path: str, method: str = "GET") -> tuple[int, str]:
            return await anyio.to_thread.run_sync(get, f"{url}{path}", method)

        status, body = await ask("/healthz")
        assert (status, json.loads(body)["jobs"]["nightly"]["running"]) == (200, True)
        status, body = await ask("/metrics")
        assert status == 200
        values = {
            sample.name: sample.value for family in text_string_to_metric_families(body) for sample in family.samples
        }
        assert values["dicomhaul_daemon_job_running"] == 1.0
        assert values["dicomhaul_requests_total"] == 7.0
        assert body.count("\ndicomhaul_requests_total{") == 1
        assert values["dicomhaul_feed_lag_seconds"] == 90.0, "now, not when it was written"
        spoil(textfile)
        assert (await ask("/metrics"))[0] == 200
        remove(textfile)
        assert (await ask("/metrics"))[0] == 200
        assert [(await ask(path))[0] for path in ("/", "/metrics/", "/x?y=z")] == [404] * 3
        assert [(await ask("/healthz", method))[0] for method in ("POST", "PUT", "DELETE")] == [405] * 3
        supervisor.idle_s = LOOP_S + 1
        assert (await ask("/healthz"))[0] == 503
        with pytest.raises(ConfigError, match="cannot listen"):
            async with serving(answers.application(), "127.0.0.1", int(url.rpartition(":")[2])):
                pass


def test_where_to_listen() -> None:
    assert parse_listen("127.0.0.1:9464") == ("127.0.0.1", 9464)
    assert parse_listen("[::1]:0") == ("::1", 0)
    for wrong in ("", "9464", ":9464", "host:", "host:x", "host:70000"):
        with pytest.raises(ConfigError):
            parse_listen(wrong)
