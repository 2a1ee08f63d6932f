"""Forecasts: what is known of the routes of a plan, measured if somebody asks for that.

Measuring is a real transfer of some of the very cohort, route by route, into a folder that is removed again: the
engine, the disk and the line as they are. It takes up to 30 s and 2 GB in all; less of a source with a quota, since all
of it counts against that.
"""

import tempfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

import anyio
import anyio.to_thread

from dicomhaul import run
from dicomhaul.config.options import HaulOptions
from dicomhaul.config.source import Sources, SourceSpec
from dicomhaul.errors import HaulError, LandingError
from dicomhaul.events import Event, Planned
from dicomhaul.land.folder import Folder
from dicomhaul.model import Query
from dicomhaul.net.verdict import next_midnight_s
from dicomhaul.plan.estimate import Amount, Summary
from dicomhaul.plan.forecast import Forecast, Supply, forecast
from dicomhaul.plan.timeline import Quota
from dicomhaul.record.scratch import scratch, sweep_scratch
from dicomhaul.report import Report

_PROBE_SERIES: Final = 32
_PROBE_S: Final = 30.0
_PROBE_BYTES: Final = 2_000_000_000
_PROBE_QUOTA_BYTES: Final = 100_000_000
_ROOM_SHARE: Final = 0.1  # of what the filesystem has left
_SAMPLE_S: Final = 0.1
_ENOUGH_S: Final = 2.0
_WEEK_S: Final = 7 * 86_400
_MONDAY_S: Final = 4 * 86_400  # the first Monday since the epoch


@dataclass(slots=True)
class Measured:
    """What probing found, by route: bytes a second, bytes an instance, the quota as its source tells it.

    `basis`: how it was found, in sentences.
    """

    rates: dict[str, float] = field(default_factory=dict)
    instance_bytes: dict[str, float] = field(default_factory=dict)
    quotas: dict[str, Quota] = field(default_factory=dict)
    basis: list[str] = field(default_factory=list)


async def probe(
    query: Query,
    source: Sources,
    summary: Summary,
    *,
    options: HaulOptions,
    world: run.Surroundings,
    near: Path | None,
) -> Measured:
    """Measure the rate of each route that `summary` gives to something.

    `near` is the destination, so that it is its filesystem that is written to; None: the one for temporary files.
    A route that brings nothing is said to be unmeasured. Raises LandingError where nothing can be written, and what
    keeps the cohort from being resolved.
    """
    measured = Measured()
    specs = [spec for spec in source.specs if summary.routes.get(spec.name, Amount()).series]
    for spec in specs:
        try:
            await _measure(
                query,
                spec,
                measured,
                planned=summary.quotas.get(spec.name),
                options=options,
                world=world,
                near=near,
                share=len(specs),
            )
        except LandingError:
            raise
        except HaulError as error:
            measured.basis.append(f"{spec.name} could not be measured: {error}")
    return measured


async def _measure(
    query: Query,
    spec: SourceSpec,
    measured: Measured,
    *,
    planned: tuple[int, int] | None,
    options: HaulOptions,
    world: run.Surroundings,
    near: Path | None,
    share: int,
) -> None:
    meter = _Meter(world)
    place = _existing(near)
    most = min(_PROBE_BYTES // share, int(Folder(place or Path(tempfile.gettempdir())).room().free_bytes * _ROOM_SHARE))
    if spec.profile.is_metered(options.quota_bytes):
        most = min(most, _PROBE_QUOTA_BYTES)
    limit_bytes, used_bytes = planned or (most, 0)
    if used_bytes >= limit_bytes > 0:
        measured.basis.append(f"{spec.name} could not be measured: today's quota is used up")
        return
    most = min(most, limit_bytes - used_bytes)  # the probe has a ledger of its own, which knows nothing of today
    here = place or Path(tempfile.gettempdir())
    await anyio.to_thread.run_sync(sweep_scratch, here)
    sample = replace(query, limit_series=min(query.limit_series or _PROBE_SERIES, _PROBE_SERIES), shard=None)
    limited = replace(
        options,
        layout=None,
        state_dir=None,
        name_by="sop",
        lock=None,
        recheck=False,
        wait=False,
        force=True,
        max_transfer_bytes=max(1, most),
        max_duration_s=_PROBE_S / share,
    )
    failed: HaulError | None = None
    report: Report | None = None
    with scratch(here) as folder:
        async with anyio.create_task_group() as group:
            group.start_soon(meter.watch)
            try:
                report = await run.pull(
                    sample,
                    Sources(spec.word, (spec,)),
                    folder,
                    limited,
                    replace(world, observer=meter.hear),
                    stop=anyio.CancelScope(),
                )
            except HaulError as error:
                failed = error  # raised below as it is, not in an ExceptionGroup
            group.cancel_scope.cancel()
    if failed is not None:
        raise failed
    assert report is not None  # noqa: S101 - nothing else ends it
    quota = (await world.open_host(spec)).quota
    if quota is not None and quota.limit_bytes is not None:
        measured.quotas[spec.name] = Quota(quota.limit_bytes, max(quota.used_bytes, used_bytes + meter.size_bytes))
    if report.instances_landed:
        measured.instance_bytes[spec.name] = report.bytes_landed / report.instances_landed
    # A limit of the probe's may end it within the first instance; else what came without one were refusals.
    if meter.seconds <= 0 or not (report.instances_landed or report.state == "paused"):
        measured.basis.append(f"{spec.name} could not be measured: nothing came")
        return
    measured.rates[spec.name] = meter.size_bytes / meter.seconds
    short = "; it is too little to go by" if meter.seconds < _ENOUGH_S else ""
    measured.basis.append(
        f"{spec.name} goes on as it was measured: {meter.size_bytes:,} bytes in {meter.seconds:.1f} s, of at most "
        f"{_PROBE_SERIES} series{short}"
    )


class _Meter:
    """How many bytes came, and in which time: from the first request to the last byte, planning and the index apart."""

    def __init__(self, world: run.Surroundings) -> None:
        self._clock = world.clock
        self._tally = world.tally
        self._observer = world.observer
        self._began: tuple[float, int] | None = None
        self.seconds = 0.0
        self.size_bytes = 0

    def hear(self, event: Event) -> None:
        """Take the time when the transfer begins."""
        if isinstance(event, Planned):
            self._began = self._clock.monotonic(), self._tally.bytes_received

    async def watch(self) -> None:
        """Note, again and again, how far it is."""
        while True:
            self.look()
            await self._clock.sleep(_SAMPLE_S)

    def look(self) -> None:
        """Note how far it is."""
        if self._began is None:
            return
        began_s, before = self._began
        if self._tally.bytes_received - before > self.size_bytes:
            self.size_bytes = self._tally.bytes_received - before
            self.seconds = self._clock.monotonic() - began_s


def predict(
    summary: Summary,
    source: Sources,
    options: HaulOptions,
    *,
    now_s: float,
    utc_offset_s: int,
    bytes_per_s: int | None = None,
    measured: Measured | None = None,
) -> Forecast:
    """Forecast a plan.

    Args:
        summary: the plan.
        source: its sources.
        options: as a pull would have them: bandwidth, quota, requests a second.
        now_s: seconds since the epoch, UTC.
        utc_offset_s: by how much local time is ahead of UTC; timetables are local.
        bytes_per_s: what the user says that the line carries.
        measured: what probing found; what the user says goes before it.
    """
    measured = measured or Measured()
    specs = {spec.name: spec for spec in source.specs}
    quotas = {name: Quota(*said) for name, said in summary.quotas.items()} | measured.quotas
    basis = list(measured.basis)
    supplies: dict[str, Supply] = {}
    if bytes_per_s is not None:
        basis = [f"the line carries {bytes_per_s:,} bytes a second, as --rate says"]
    routes = dict(summary.routes)
    for name, amount in summary.routes.items():
        each_bytes = measured.instance_bytes.get(name)
        if amount.size_bytes is None and amount.instances is not None and each_bytes is not None:
            routes[name] = replace(amount, size_bytes=round(amount.instances * each_bytes))
            basis.append(f"each instance from {name} is as large as those measured, {each_bytes:,.0f} bytes on average")
    for name, amount in routes.items():
        spec = specs.get(name)
        quota = quotas.get(name) or (None if spec is None else _stated_quota(spec, options))
        if spec is not None and quota is None and spec.profile.is_metered(None) and amount.size_bytes:
            basis.append(f"{name} has a quota that nobody stated: --quota says one, and here it is left out")
        rate = bytes_per_s if bytes_per_s is not None else measured.rates.get(name)
        supplies[name] = Supply(rate, quota, None if spec is None else _requests(spec, amount))
    return forecast(
        routes,
        supplies,
        day_left_s=next_midnight_s(now_s) - now_s,
        week_s=(now_s + utc_offset_s - _MONDAY_S) % _WEEK_S,
        limits=() if options.bandwidth is None else options.bandwidth.slots,
        requests_per_s=options.requests_per_s,
        basis=basis,
    )


def _stated_quota(spec: SourceSpec, options: HaulOptions) -> Quota | None:
    day_bytes = spec.profile.day_bytes(options.quota_bytes)
    return None if day_bytes is None else Quota(day_bytes)


def _requests(spec: SourceSpec, amount: Amount) -> int | None:
    """A listing and a request for each object of a bucket; elsewhere one for each series, as far as it is not cut."""
    if spec.profile.kind != "bucket":
        return amount.series
    return None if amount.instances is None else amount.series + amount.instances


def _existing(near: Path | None) -> Path | None:
    if near is None:
        return None
    place = near.absolute()
    while not place.is_dir():
        place = place.parent
    return place
