"""What every clock owes those who wait by it: the machine's, and the one that tests own."""

import time

import anyio
import pytest

from dicomhaul.net.clock import SystemClock
from dicomhaul.ports import Clock
from support.clock import FakeClock

pytestmark = pytest.mark.anyio


@pytest.fixture(params=[SystemClock, FakeClock])
def clock(request: pytest.FixtureRequest) -> Clock:
    made: Clock = request.param()
    return made


async def test_time_passes_while_sleeping(clock: Clock) -> None:
    before, now = clock.monotonic(), clock.now()
    await clock.sleep(0.01)
    assert clock.monotonic() - before >= 0.01 * 0.9  # clocks of the machine have grains
    assert clock.now() >= now


async def test_time_never_runs_backwards(clock: Clock) -> None:
    seen = [clock.monotonic() for _ in range(100)]
    assert seen == sorted(seen)


async def test_no_sleep_at_all_lets_others_go_on(clock: Clock) -> None:
    ran: list[float] = []

    async def other(seconds: float) -> None:
        ran.append(seconds)

    async with anyio.create_task_group() as group:
        for seconds in (0, -1):
            group.start_soon(other, seconds)
            await clock.sleep(seconds)
            assert ran[-1:] == [seconds]


async def test_shorter_sleepers_wake_first(clock: Clock) -> None:
    woken: list[int] = []

    async def sleep(hundredths: int) -> None:
        await clock.sleep(hundredths / 100)
        woken.append(hundredths)

    async with anyio.create_task_group() as group:
        for hundredths in (6, 1, 3):
            group.start_soon(sleep, hundredths)
    assert woken == [1, 3, 6]


async def test_a_cancelled_sleeper_wakes_at_once_and_hurts_nobody(clock: Clock) -> None:
    with anyio.CancelScope() as scope:
        scope.cancel()
        await clock.sleep(10**6)
    assert scope.cancelled_caught
    await clock.sleep(0.001)


def test_the_machine_s_clock_counts_from_the_epoch() -> None:
    assert abs(SystemClock().now() - time.time()) < 3600
