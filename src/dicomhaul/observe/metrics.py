"""Figures as metrics for Prometheus: names, units, help texts, and the text format both ways.

Everything begins with `dicomhaul_`; counts that only grow end in `_total`, and hold what all runs on the destination
have counted, so that a run that begins does not begin at 0; moments are `_timestamp_seconds`. Labels: `name` (the job,
or the command), `destination`, and where there are several of a thing, what tells them apart. No label names a patient,
a study or a query.

This is the one module that knows the Prometheus client.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.core import Metric as Metric  # noqa: PLC0414 - for who hands metrics on without knowing the client
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from dicomhaul.errors import LedgerError
from dicomhaul.events import Tally
from dicomhaul.record.vitals import Vitals

CONTENT_TYPE: Final = CONTENT_TYPE_LATEST

_LABELS: Final = ("name", "destination")
_STATES: Final = ("running", "complete", "partial", "paused", "interrupted", "failed")
_MOVED: Final = "dicomhaul_feed_moved_timestamp_seconds"
_LAG: Final = "dicomhaul_feed_lag_seconds"

_COUNTERS: Final = (
    ("bytes_landed", "bytes_landed", "Bytes of instances that landed."),
    ("bytes_discarded", "bytes_discarded", "Bytes that came a second time, or damaged, and were not kept."),
    ("instances_landed", "instances_landed", "Instances that landed."),
    ("requests", "requests", "Requests that were sent."),
    ("retries", "retries", "Exchanges that were tried again."),
    ("throttles", "throttled", "Times that a server asked for a slower pace."),
)


@dataclass(frozen=True, slots=True)
class HostFigures:
    """One host's gate and quota; quotas are None where there is none, or nobody has said what it is."""

    host: str
    running: int
    waiting: int
    at_once: int
    per_s: float | None
    closed_for_s: float
    quota_bytes: int | None = None
    quota_left_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class RunFigures:
    """A run at one moment; times are seconds since the epoch, UTC.

    Attributes:
        name: the job, or the command.
        destination: its path.
        state: `running`, else how it ended.
        started_at: when it began.
        ended_at: when it ended; None: it goes on.
        tally: what it has counted.
        queued: series that it still has to bring.
        hosts: whom it asks.
        vitals: the ledger, when it was last looked at; None: there is none.
    """

    name: str
    destination: str
    state: str
    started_at: float
    ended_at: float | None
    tally: Tally
    queued: int = 0
    hosts: tuple[HostFigures, ...] = ()
    vitals: Vitals | None = None


@dataclass(frozen=True, slots=True)
class JobFigures:
    """A job of the daemon's; times as in RunFigures."""

    name: str
    destination: str
    running: bool
    next_at: float
    last_success: float | None
    last_exit_code: int | None
    overdue_s: float | None


def run_metrics(run: RunFigures, *, now: float) -> list[Metric]:
    """Return the metrics of a run."""
    labels = (run.name, run.destination)
    found = [
        _gauge("run_started_timestamp_seconds", "When the run began.", [(labels, run.started_at)]),
        _gauge(
            "run_duration_seconds",
            "How long the run has lasted.",
            [(labels, max(0.0, (now if run.ended_at is None else run.ended_at) - run.started_at))],
        ),
        _gauge(
            "run_state",
            "1 for the state of the run, 0 for the others.",
            [((*labels, state), float(state == run.state)) for state in _STATES],
            "state",
        ),
        _gauge("queue_series", "Series that the run still has to bring.", [(labels, run.queued)]),
    ]
    spent: Mapping[str, int] = {} if run.vitals is None else run.vitals.spent
    for name, key, text in _COUNTERS:
        counter = CounterMetricFamily(f"dicomhaul_{name}", text, labels=_LABELS)
        # A run that has ended is among those that the ledger has added up.
        counter.add_metric(labels, spent.get(key, 0) + (getattr(run.tally, key) if run.ended_at is None else 0))
        found.append(counter)
    return found + _host_metrics(labels, run.hosts) + ([] if run.vitals is None else _vital_metrics(labels, run.vitals))


def _host_metrics(labels: Sequence[str], hosts: Iterable[HostFigures]) -> list[Metric]:
    rows = [((*labels, each.host), each) for each in hosts]
    found = [
        _gauge("gate_running_requests", "Requests that run.", [(key, each.running) for key, each in rows], "host"),
        _gauge(
            "gate_waiting_requests", "Requests that are held back.", [(key, each.waiting) for key, each in rows], "host"
        ),
        _gauge(
            "gate_limit_requests", "Requests that may run at once.", [(key, each.at_once) for key, each in rows], "host"
        ),
        _gauge(
            "gate_limit_requests_per_second",
            "Requests that may begin each second, where that is limited.",
            [(key, each.per_s) for key, each in rows if each.per_s is not None],
            "host",
        ),
        _gauge(
            "gate_closed_seconds",
            "For how long the host is left alone.",
            [(key, each.closed_for_s) for key, each in rows],
            "host",
        ),
        _gauge(
            "quota_limit_bytes",
            "What the host gives a day (UTC).",
            [(key, each.quota_bytes) for key, each in rows if each.quota_bytes is not None],
            "host",
        ),
        _gauge(
            "quota_left_bytes",
            "What is left of it today.",
            [(key, each.quota_left_bytes) for key, each in rows if each.quota_left_bytes is not None],
            "host",
        ),
    ]
    return [metric for metric in found if metric.samples]


def _vital_metrics(labels: Sequence[str], vitals: Vitals) -> list[Metric]:
    standing = vitals.standing
    planned = standing.series_planned - standing.series_complete - standing.series_failed
    series = {"planned": planned, "complete": standing.series_complete, "failed": standing.series_failed}
    instances = {"present": standing.instances_present, "failed": standing.instances_failed}
    found = [
        _gauge("series", "Series at the destination.", _by(labels, series), "state"),
        _gauge("instances", "Instances at the destination.", _by(labels, instances), "state"),
        _gauge(
            "present_bytes", "Bytes of the instances at the destination.", [(tuple(labels), standing.bytes_present)]
        ),
    ]
    if vitals.last_success is not None:
        text = "When a run last ended with everything there."
        found.append(_gauge("last_success_timestamp_seconds", text, [(tuple(labels), vitals.last_success)]))
    if vitals.feeds:
        rows = [((*labels, feed), moved_at) for feed, moved_at in vitals.feeds]
        text = "When the position in a source of change last moved."
        found.append(_gauge(_MOVED.removeprefix("dicomhaul_"), text, rows, "feed"))
    return found


def daemon_metrics(jobs: Iterable[JobFigures], *, idle_s: float, unreadable: int) -> list[Metric]:
    """Return the daemon's own metrics; `idle_s`: since its loop turned, `unreadable`: job files that are wrong."""
    rows = [((job.name, job.destination), job) for job in jobs]
    found = [
        _gauge("daemon_job_running", "1 while a run goes on.", [(key, float(job.running)) for key, job in rows]),
        _gauge("daemon_job_next_timestamp_seconds", "When the job is due.", [(key, job.next_at) for key, job in rows]),
        _gauge(
            "daemon_job_last_success_timestamp_seconds",
            "When a run last ended with exit code 0.",
            [(key, job.last_success) for key, job in rows if job.last_success is not None],
        ),
        _gauge(
            "daemon_job_last_exit_code",
            "The exit code of the last run that ended by itself; negative: the signal that killed it.",
            [(key, job.last_exit_code) for key, job in rows if job.last_exit_code is not None],
        ),
        _gauge(
            "daemon_job_overdue_seconds",
            "For how long the last success has been older than max_age.",
            [(key, job.overdue_s or 0.0) for key, job in rows],
        ),
    ]
    found = [metric for metric in found if metric.samples]
    idle = GaugeMetricFamily("dicomhaul_daemon_loop_idle_seconds", "Since the daemon's loop turned last.", value=idle_s)
    wrong = GaugeMetricFamily("dicomhaul_daemon_unreadable_files", "Job files that are wrong.", value=unreadable)
    return [*found, idle, wrong]


def exposition(metrics: Iterable[Metric], *, now: float) -> bytes:
    """Return metrics in the text format: those of one name together, and how far each feed is behind `now`."""
    merged: dict[str, Metric] = {}
    for metric in metrics:
        if metric.name == _LAG:  # of the moment when it was written
            continue
        known = merged.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type, metric.unit))
        known.samples.extend(metric.samples)
    if (moved := merged.get(_MOVED)) is not None:
        merged[_LAG] = Metric(_LAG, "Since the position in a source of change last moved.", "gauge")
        for sample in moved.samples:
            merged[_LAG].add_sample(_LAG, dict(sample.labels), max(0.0, now - sample.value))
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Given(merged.values()))
    return generate_latest(registry)


def parse_exposition(text: str) -> list[Metric]:
    """Read what `exposition` wrote. Raises LedgerError for what is no such text."""
    try:
        return list(text_string_to_metric_families(text))
    except (ValueError, KeyError, IndexError) as error:
        raise LedgerError("a file of metrics is damaged") from error


class _Given(Collector):
    """A collector of what is there already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = tuple(metrics)

    def collect(self) -> Iterator[Metric]:
        """Yield it."""
        yield from self._metrics


def _gauge(name: str, text: str, rows: Iterable[tuple[Sequence[str], float]], *more: str) -> Metric:
    metric = GaugeMetricFamily(f"dicomhaul_{name}", text, labels=(*_LABELS, *more))
    for labels, value in rows:
        metric.add_metric(labels, value)
    return metric


def _by(labels: Sequence[str], counts: Mapping[str, int]) -> list[tuple[tuple[str, ...], float]]:
    return [((*labels, state), count) for state, count in counts.items()]
