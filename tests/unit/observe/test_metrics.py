"""Metrics: names and texts as Prometheus wants them, and the textfile of a run."""

import re
from pathlib import Path

import pytest
from prometheus_client.core import Metric
from prometheus_client.parser import text_string_to_metric_families

from dicomhaul.errors import ConfigError, LedgerError
from dicomhaul.events import Planned, Tally
from dicomhaul.model import Check
from dicomhaul.observe.metrics import (
    HostFigures,
    JobFigures,
    RunFigures,
    daemon_metrics,
    exposition,
    parse_exposition,
    run_metrics,
)
from dicomhaul.observe.textfile import MetricsFile
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.reader import Standing
from dicomhaul.record.vitals import Vitals
from support.clock import FakeClock

NOW = 1_792_656_000.0
STANDING = Standing(10, 7, 1, 100, 70, 5, 7_000, dict.fromkeys(Check, 0))
VITALS = Vitals(STANDING, NOW - 60.0, (("azure https://a/", NOW - 90.0),), {"bytes_landed": 1000, "requests": 5})
HOST = HostFigures("pacs:443", 3, 2, 4, 12.5, 0.5, 1 << 30, 1 << 20)
RUN = RunFigures(
    'nightly "one"\n',
    "/data/ä\\b",
    "running",
    NOW - 30.0,
    None,
    Tally(bytes_landed=11, requests=2, throttled=4),
    queued=2,
    hosts=(HOST,),
    vitals=VITALS,
)
JOB = JobFigures("nightly", "/data", running=True, next_at=NOW + 1, last_success=None, last_exit_code=-9, overdue_s=3.0)

Samples = dict[tuple[str, str], float]


def families(text: bytes) -> list[Metric]:
    return list(text_string_to_metric_families(text.decode()))


def samples(text: bytes, label: str = "state") -> Samples:
    """The values, by name and by the value of one label."""
    return {
        (sample.name, sample.labels.get(label, "")): sample.value
        for family in families(text)
        for sample in family.samples
    }


def test_everything_has_a_help_text_a_type_and_a_name_as_prometheus_wants_it() -> None:
    text = exposition([*run_metrics(RUN, now=NOW), *daemon_metrics([JOB], idle_s=1.0, unreadable=0)], now=NOW)
    described = set(re.findall(r"^# HELP (\S+) \S", text.decode(), re.MULTILINE))
    typed = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text.decode(), re.MULTILINE))
    used = {sample.name for family in families(text) for sample in family.samples}
    assert used == described == set(typed)
    for name, kind in typed.items():
        assert re.fullmatch(r"dicomhaul_[a-z_]+", name)
        assert (kind == "counter") == name.endswith("_total")
        assert not re.search(r"_(ms|minutes|hours|kb|mb|kib)\b", name)
    assert len(re.findall(r"^# TYPE", text.decode(), re.MULTILINE)) == len(typed), "one family is told once"


def test_figures_of_a_run() -> None:
    text = exposition(run_metrics(RUN, now=NOW), now=NOW)
    found = samples(text)
    assert found["dicomhaul_bytes_landed_total", ""] == 1011
    assert found["dicomhaul_requests_total", ""] == 7
    assert found["dicomhaul_throttles_total", ""] == 4
    assert [found["dicomhaul_series", state] for state in ("planned", "complete", "failed")] == [2, 7, 1]
    assert [found["dicomhaul_run_state", state] for state in ("running", "complete")] == [1, 0]
    assert found["dicomhaul_run_duration_seconds", ""] == 30
    assert found["dicomhaul_queue_series", ""] == 2
    assert found["dicomhaul_last_success_timestamp_seconds", ""] == NOW - 60
    by_host = samples(text, "host")
    assert by_host["dicomhaul_gate_waiting_requests", "pacs:443"] == 2
    assert by_host["dicomhaul_gate_limit_requests_per_second", "pacs:443"] == 12.5
    assert by_host["dicomhaul_quota_left_bytes", "pacs:443"] == 1 << 20
    assert samples(text, "feed")["dicomhaul_feed_lag_seconds", "azure https://a/"] == 90
    labels = families(text)[0].samples[0].labels
    assert labels == {"name": 'nightly "one"\n', "destination": "/data/ä\\b"}


def test_a_run_that_has_ended_is_counted_once() -> None:
    ended = RunFigures("n", "/d", "complete", NOW - 30, NOW - 10, Tally(bytes_landed=11), vitals=VITALS)
    found = samples(exposition(run_metrics(ended, now=NOW), now=NOW))
    assert found["dicomhaul_bytes_landed_total", ""] == 1000
    assert found["dicomhaul_run_duration_seconds", ""] == 20


def test_what_nobody_has_said_is_left_out() -> None:
    blank = RunFigures("n", "/d", "running", NOW, None, Tally(), hosts=(HostFigures("h", 0, 0, 1, None, 0.0),))
    names = {name for name, _ in samples(exposition(run_metrics(blank, now=NOW), now=NOW))}
    assert not any("quota" in name or "feed" in name or "per_second" in name or "success" in name for name in names)
    assert "dicomhaul_series" not in names


def test_runs_of_several_jobs_are_put_together() -> None:
    one = exposition(run_metrics(RUN, now=NOW), now=NOW).decode()
    other = exposition(run_metrics(RunFigures("b", "/b", "running", NOW, None, Tally()), now=NOW), now=NOW).decode()
    both = exposition([*parse_exposition(one), *parse_exposition(other)], now=NOW + 10)
    text = both.decode()
    assert text.count("# TYPE dicomhaul_requests_total counter") == 1
    assert text.count("\ndicomhaul_requests_total{") == 2
    assert samples(both, "feed")["dicomhaul_feed_lag_seconds", "azure https://a/"] == 100


@pytest.mark.parametrize("text", ["dicomhaul_x{", "# TYPE a gauge\na b c", 'x{a="b} 1', "x y"])
def test_what_is_no_exposition_is_an_error(text: str) -> None:
    with pytest.raises(LedgerError):
        parse_exposition(text)


class Hauls:
    """A hauler."""

    def __init__(self) -> None:
        self.tally = Tally()
        self.hosts: list[object] = []


def names(folder: Path) -> set[str]:
    return {each.name for each in folder.iterdir() if not each.name.startswith("ledger-")}


@pytest.mark.anyio
async def test_the_textfile_is_there_from_the_start_follows_the_run_and_tells_how_it_ended(tmp_path: Path) -> None:
    path, ledger, clock, hauls = tmp_path / "run.prom", tmp_path / "ledger", FakeClock(NOW), Hauls()
    metrics = MetricsFile(path, name="pull", destination=tmp_path, ledger=ledger, clock=clock)
    seen: list[Samples] = []
    async with metrics.of(hauls):  # type: ignore[arg-type]
        seen.append(samples(path.read_bytes()))
        metrics.hear(Planned(5, None, None))
        hauls.tally.bytes_landed, hauls.tally.series_complete = 100, 2
        await metrics.write_now()
        seen.append(samples(path.read_bytes()))
        opened = Ledger.open(ledger)
        run = opened.begin_run("pull", "2026-10-22T08:00:00+00:00")
        opened.end_run(run, "2026-10-22T08:00:16+00:00", "complete", '{"bytes_landed": 120}')
        opened.close()
        metrics.ended("complete")
    seen.append(samples(path.read_bytes()))
    assert [each["dicomhaul_bytes_landed_total", ""] for each in seen] == [0, 100, 120]
    assert [each["dicomhaul_queue_series", ""] for each in seen] == [0, 3, 3]
    assert [each["dicomhaul_run_state", "complete"] for each in seen] == [0, 0, 1]
    assert seen[-1]["dicomhaul_last_success_timestamp_seconds", ""] == NOW + 16
    assert names(tmp_path) == {"run.prom", "ledger"}


@pytest.mark.anyio
async def test_a_run_that_raises_has_failed(tmp_path: Path) -> None:
    path = tmp_path / "run.prom"
    metrics = MetricsFile(path, name="pull", destination=tmp_path, ledger=tmp_path / "ledger", clock=FakeClock(NOW))
    with pytest.raises(LedgerError):
        async with metrics:
            raise LedgerError("no")
    assert samples(path.read_bytes())["dicomhaul_run_state", "failed"] == 1


@pytest.mark.anyio
async def test_a_textfile_that_cannot_be_written_is_told_before_the_run_and_no_matter_afterwards(
    tmp_path: Path,
) -> None:
    path, clock = tmp_path / "folder" / "run.prom", FakeClock(NOW)
    metrics = MetricsFile(path, name="pull", destination=tmp_path, ledger=tmp_path / "ledger", clock=clock)
    with pytest.raises(ConfigError, match="metrics file"):
        async with metrics:
            pass
    path.parent.mkdir()
    async with MetricsFile(path, name="pull", destination=tmp_path, ledger=tmp_path / "ledger", clock=clock):
        path.unlink()
        path.parent.rmdir()
    assert not path.exists()
