"""The line: how fast bytes pass, by the time of day, and what stops a run that brought enough."""

import asyncio
import os
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

import anyio
import pytest

from dicomhaul.config.rates import parse_timetable
from dicomhaul.net.line import Line
from support.clock import FakeClock

pytestmark = pytest.mark.anyio

MIB = 1 << 20
CHUNK = 128 << 10
MONDAY = datetime(2024, 1, 1, tzinfo=UTC).timestamp()


@pytest.fixture
def utc(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The clock on the wall shows UTC."""
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


def steady(rate: int | None) -> Callable[[int], int | None]:
    return lambda _minute: rate


async def test_a_line_without_limits_has_nothing_to_do() -> None:
    clock = FakeClock()
    line = Line(clock=clock)
    assert not line.limited
    assert line.most_at_once() is None


async def test_one_stream_gets_the_whole_rate() -> None:
    clock = FakeClock()
    line = Line(clock=clock, rate_at=steady(MIB))
    assert line.limited
    for _ in range(80):
        await line.passed(CHUNK)
    assert clock.monotonic() == pytest.approx(10.0, abs=0.3)


async def test_many_streams_share_it_evenly() -> None:
    clock = FakeClock()
    line = Line(clock=clock, rate_at=steady(MIB))
    brought = dict.fromkeys(range(128), 0)

    async def stream(number: int) -> None:
        while clock.monotonic() < 40.0:
            await line.passed(CHUNK)
            brought[number] += CHUNK

    async with anyio.create_task_group() as group:
        for number in brought:
            group.start_soon(stream, number)
    assert sum(brought.values()) == pytest.approx((40 + 16) * MIB, rel=0.02)  # each may hold one chunk more
    assert max(brought.values()) - min(brought.values()) <= CHUNK


async def test_a_large_and_a_small_stream_wait_in_turn() -> None:
    """Who brings small pieces is not kept waiting by more than what others brought before."""
    clock = FakeClock()
    line = Line(clock=clock, rate_at=steady(MIB))
    await line.passed(MIB // 4)
    at: list[float] = []

    async def small() -> None:
        await line.passed(1024)
        at.append(clock.monotonic())

    async with anyio.create_task_group() as group:
        group.start_soon(line.passed, MIB)
        group.start_soon(small)
        group.start_soon(line.passed, 8 * MIB)
    assert at[0] < 1.3
    assert clock.monotonic() > 8.0


async def test_what_an_idle_line_saves_up_is_bounded() -> None:
    clock = FakeClock()
    line = Line(clock=clock, rate_at=steady(MIB))
    await line.passed(1)
    clock.advance(3600)
    await line.passed(MIB)
    assert clock.monotonic() - 3600 == pytest.approx(0.75, abs=0.02)


async def test_waits_are_short_so_that_a_change_is_seen(utc: None) -> None:
    """08:00 comes in the middle of a piece that would have taken an hour."""
    clock = FakeClock(MONDAY + 7 * 3600 + 59 * 60)
    line = Line(clock=clock, rate_at=parse_timetable("00:00,1k 08:00,off").rate_at)
    await line.passed(3600 * 1024)
    assert clock.monotonic() == pytest.approx(60.0, abs=1.5)
    assert max(clock.slept) <= 1.0
    before = clock.monotonic()
    await line.passed(1 << 40)
    assert clock.monotonic() == before


async def test_a_limit_begins_at_its_time_of_the_week(utc: None) -> None:
    clock = FakeClock(MONDAY + 6 * 86_400 + 86_399)  # Sunday, 23:59:59
    line = Line(clock=clock, rate_at=parse_timetable("Mon-00:00,1M Tue-00:00,off").rate_at)
    await line.passed(100 * MIB)
    assert clock.monotonic() == 0.0
    clock.advance(2.0)
    await line.passed(1)
    await line.passed(10 * MIB)
    assert clock.monotonic() == pytest.approx(12.0, abs=0.3)


async def test_the_time_of_the_week_is_local(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def rate_at(minute: int) -> None:
        asked.append(minute)

    try:
        monkeypatch.setenv("TZ", "UTC-05:30")
        time.tzset()
        line = Line(clock=FakeClock(MONDAY + 3600), rate_at=rate_at)
        await line.passed(1)
    finally:
        monkeypatch.undo()
        time.tzset()
    assert asked == [6 * 60 + 30]
    assert os.environ.get("TZ") != "UTC-05:30"


async def test_a_slow_line_feeds_only_so_many_streams() -> None:
    assert Line(clock=FakeClock(), rate_at=steady(64 << 10)).most_at_once() == 4
    assert Line(clock=FakeClock(), rate_at=steady(1)).most_at_once() == 1
    assert Line(clock=FakeClock(), rate_at=steady(None)).most_at_once() is None


async def test_a_run_that_brought_enough_is_told_once() -> None:
    line = Line(clock=FakeClock())
    told: list[str] = []
    with line.capped(1000, lambda: told.append("enough")):
        assert line.limited
        await line.passed(999)
        assert told == []
        await line.passed(1)
        await line.passed(1)
    assert told == ["enough"]
    assert not line.limited


async def test_each_run_counts_from_its_beginning() -> None:
    line = Line(clock=FakeClock())
    told: list[int] = []
    for run in range(3):
        with line.capped(100, lambda run=run: told.append(run)):  # type: ignore[misc]
            await line.passed(99)
        with line.capped(None, lambda: told.append(-1)):
            assert not line.limited
    assert told == []


async def test_a_run_that_is_stopped_ends_in_the_stream_that_brought_the_last_bytes() -> None:
    line = Line(clock=FakeClock())
    brought = 0
    with anyio.CancelScope() as scope, line.capped(1000, scope.cancel):
        for _ in range(100):
            await line.passed(100)
            brought += 100
    assert scope.cancelled_caught
    assert brought == 900


async def test_who_is_cancelled_while_waiting_leaves_the_others_their_turn() -> None:
    clock = FakeClock()
    line = Line(clock=clock, rate_at=steady(MIB))
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        await line.passed(4 * MIB)
    await line.passed(MIB)
    assert clock.monotonic() == pytest.approx(5.0, abs=0.3)  # what came has come
