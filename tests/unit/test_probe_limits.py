"""What a probe may take: of the line, the disk, the time, and of a quota, which it counts."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomhaul import run
from dicomhaul.config.options import HaulOptions
from dicomhaul.config.rates import parse_timetable
from dicomhaul.config.source import Sources, resolve_sources
from dicomhaul.events import Planned, Tally
from dicomhaul.forecasting import Measured, probe
from dicomhaul.land.folder import Folder
from dicomhaul.model import Query, Shard
from dicomhaul.net.line import Line
from dicomhaul.plan.estimate import Amount, Room, Summary
from dicomhaul.plan.timeline import Quota
from dicomhaul.report import Report
from support.clock import FakeClock

MB, GB = 1_000_000, 1_000_000_000
BOTH = {"idc-bucket": Amount(2, 2, GB), "idc-proxy": Amount(2, 2, GB)}
PROXY = {"idc-proxy": BOTH["idc-proxy"]}

pytestmark = pytest.mark.anyio


class Pulls:
    """Stands in for `run.pull`: each brings 40 MB in 4 s."""

    def __init__(self) -> None:
        self.queries: dict[str, Query] = {}
        self.options: dict[str, HaulOptions] = {}
        self.folders: list[Path] = []

    async def pull(
        self, query: Query, source: Sources, dest: Path, options: HaulOptions, world: run.Surroundings, **_: Any
    ) -> Report:
        self.queries[source.name], self.options[source.name] = query, options
        self.folders.append(dest)
        world.observer(Planned(2, 2, 40 * MB))
        await world.clock.sleep(4)
        world.tally.bytes_received += 40 * MB
        await world.clock.sleep(1)
        return Report(dest, "complete", instances_landed=2, bytes_landed=40 * MB)


@pytest.fixture
def pulls(monkeypatch: pytest.MonkeyPatch) -> Pulls:
    made = Pulls()
    monkeypatch.setattr(run, "pull", made.pull)
    return made


async def probed(
    summary: Summary,
    near: Path | None = None,
    *,
    query: Query | None = None,
    options: HaulOptions | None = None,
    quota: tuple[int | None, int] = (None, 0),
) -> Measured:
    clock = FakeClock()
    host: Any = SimpleNamespace(quota=SimpleNamespace(limit_bytes=quota[0], used_bytes=quota[1]))

    async def open_host(_: object) -> Any:
        return host

    world = run.Surroundings(clock, lambda _: None, Tally(), open_host, Line(clock=clock))
    chosen = query or Query(everything=True)
    return await probe(
        chosen, resolve_sources("idc"), summary, options=options or HaulOptions(), world=world, near=near
    )


async def test_what_all_routes_share(pulls: Pulls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "room", lambda _: Room(10**15, None))
    asked = HaulOptions(
        layout="{study}",
        state_dir=tmp_path,
        name_by="crdc",
        lock=tmp_path / "lock",
        recheck=True,
        wait=True,
        max_transfer_bytes=1,
        max_duration_s=1,
        transfers=3,
        bandwidth=parse_timetable("1M"),
    )
    query = Query(everything=True, limit_series=500, shard=Shard(1, 2))
    measured = await probed(Summary(routes=BOTH), tmp_path / "not" / "there", query=query, options=asked)
    assert {name: (each.max_transfer_bytes, each.max_duration_s) for name, each in pulls.options.items()} == {
        "idc-bucket": (GB, 15.0),
        "idc-proxy": (100 * MB, 15.0),
    }
    for each in pulls.options.values():
        assert (each.layout, each.state_dir, each.lock, each.name_by) == (None, None, None, "sop")
        assert (each.recheck, each.wait, each.force) == (False, False, True)
        assert (each.transfers, each.bandwidth) == (3, asked.bandwidth)
    assert {(each.limit_series, each.shard) for each in pulls.queries.values()} == {(32, None)}
    assert {each.parent for each in pulls.folders} == {tmp_path}
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - of one test's own folder, at once
    assert measured.rates == pytest.approx(dict.fromkeys(BOTH, 10 * MB), rel=0.05)
    assert measured.instance_bytes == {"idc-bucket": 20 * MB, "idc-proxy": 20 * MB}


async def test_one_route_alone(pulls: Pulls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Folder, "room", lambda _: Room(10**15, None))
    bucket = Summary(routes={"idc-bucket": BOTH["idc-bucket"], "idc-proxy": Amount()})
    await probed(bucket, tmp_path, query=Query(everything=True, limit_series=5))
    (options,) = pulls.options.values()
    assert (options.max_transfer_bytes, options.max_duration_s) == (2 * GB, 30.0)
    assert pulls.queries["idc-bucket"].limit_series == 5


@pytest.mark.parametrize(("free_bytes", "most"), [(500 * MB, 50 * MB), (0, 1)])
async def test_a_tenth_of_the_room(
    free_bytes: int, most: int, pulls: Pulls, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Folder, "room", lambda _: Room(free_bytes, None))
    await probed(Summary(routes=BOTH), tmp_path)
    assert {each.max_transfer_bytes for each in pulls.options.values()} == {most}


async def test_what_came_counts_against_the_quota(pulls: Pulls, tmp_path: Path) -> None:
    """Whoever tells more: the source, or what the plan knew and the probe brought."""
    planned = Summary(routes=PROXY, quotas={"idc-proxy": (5 * GB, 3 * GB)})
    told = await probed(planned, tmp_path, quota=(5 * GB, 3 * GB + 90 * MB))
    assert told.quotas == {"idc-proxy": Quota(5 * GB, 3 * GB + 90 * MB)}
    counted = await probed(planned, tmp_path, quota=(5 * GB, 40 * MB))
    assert counted.quotas == {"idc-proxy": Quota(5 * GB, 3 * GB + 40 * MB)}
    unknown = await probed(Summary(routes=PROXY), tmp_path)
    assert unknown.quotas == {}


async def test_no_more_than_is_left_today(pulls: Pulls, tmp_path: Path) -> None:
    await probed(Summary(routes=PROXY, quotas={"idc-proxy": (5 * GB, 5 * GB - 7)}), tmp_path)
    assert pulls.options["idc-proxy"].max_transfer_bytes == 7
    pulls.options.clear()
    measured = await probed(Summary(routes=PROXY, quotas={"idc-proxy": (5 * GB, 6 * GB)}), tmp_path)
    assert pulls.options == {}
    assert measured.basis == ["idc-proxy could not be measured: today's quota is used up"]
