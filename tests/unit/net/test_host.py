"""Retry round the gate round the call."""

from collections import Counter
from collections.abc import Awaitable, Callable
from typing import cast

import anyio
import pytest

from dicomhaul.errors import (
    BadMultipart,
    Disconnected,
    HaulError,
    NotFound,
    QuotaExhausted,
    ServerFailed,
    SourceDown,
    Throttled,
    TransferError,
    Unauthorized,
    Unsupported,
)
from dicomhaul.events import Event, Retrying, Tally
from dicomhaul.net.gate import Gate
from dicomhaul.net.host import Host
from dicomhaul.net.pace import Pace
from dicomhaul.net.quota import Quota
from dicomhaul.net.retry import Retry
from dicomhaul.net.session import Session
from dicomhaul.profile import built_in
from support.clock import FakeClock

pytestmark = pytest.mark.anyio


class Bench:
    """A host without a session: the calls of these tests fail by themselves."""

    def __init__(self, *, attempts: int = 5, at_once: int = 4, quota_bytes: int | None = None) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.tally = Tally()
        self.gate = Gate(
            "pacs",
            pace=Pace(start=at_once, ceiling=at_once, per_s=None),
            clock=self.clock,
            observer=self.events.append,
            tally=self.tally,
        )
        self.gate.answered()
        self.host = Host(
            "pacs",
            session=cast("Session", None),
            gate=self.gate,
            retry=Retry(attempts, sleep=self.clock.sleep, uniform=lambda _low, high: high),
            profile=built_in("generic"),
            observer=self.events.append,
            tally=self.tally,
            quota=None if quota_bytes is None else Quota("pacs", limit_bytes=quota_bytes, clock=self.clock),
        )

    @property
    def waits_s(self) -> list[float]:
        return [event.wait_s for event in self.events if isinstance(event, Retrying)]


def failing(*errors: HaulError | None) -> Callable[[int], Awaitable[int]]:
    """A call that raises these in turn, the last for ever; None: returns the attempt's number."""
    left = list(errors)

    async def call(number: int) -> int:
        error = left.pop(0) if len(left) > 1 else left[0]
        if error is not None:
            raise error
        return number

    return call


async def test_returns_what_the_call_returns() -> None:
    bench = Bench()
    assert await bench.host.attempt(failing(None), label="a") == 1
    assert bench.tally.retries == 0


async def test_backs_off_exponentially_and_counts() -> None:
    bench = Bench()
    call = failing(Disconnected("cut"), ServerFailed("503"), BadMultipart("framing"), None)
    assert await bench.host.attempt(call, label="series 1") == 4
    assert bench.waits_s == [0.5, 1.0, 2.0]
    assert bench.tally.retries == 3
    assert bench.events[0] == Retrying("series 1", 1, 0.5, "cut")


async def test_gives_up_after_the_profile_s_attempts_with_the_last_error_filled_in() -> None:
    bench = Bench(attempts=4)
    with pytest.raises(ServerFailed) as raised:
        await bench.host.attempt(failing(Disconnected("cut"), ServerFailed("503")), label="series 1")
    error = raised.value
    assert (error.job, error.source, error.attempt) == ("series 1", "pacs", 4)
    assert len(bench.waits_s) == 3


async def test_backoff_is_capped() -> None:
    bench = Bench(attempts=10)
    with pytest.raises(ServerFailed):
        await bench.host.attempt(failing(ServerFailed("503")), label="a")
    assert bench.waits_s[-2:] == [30.0, 30.0]


async def test_damage_is_asked_for_three_times_at_most() -> None:
    bench = Bench()
    with pytest.raises(BadMultipart) as raised:
        await bench.host.attempt(failing(BadMultipart("framing")), label="a")
    assert raised.value.attempt == 3


@pytest.mark.parametrize("error", [NotFound("404"), Unauthorized("401")])
async def test_a_final_error_is_not_tried_again(error: HaulError) -> None:
    bench = Bench()
    with pytest.raises(type(error)):
        await bench.host.attempt(failing(error), label="a")
    assert bench.tally.retries == 0


async def test_a_foreign_exception_passes_and_gives_the_slot_back() -> None:
    bench = Bench()

    async def call(_number: int) -> None:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.host.attempt(call, label="a")
    assert bench.gate.statistics().running == 0


async def test_progress_hands_the_decision_to_the_caller() -> None:
    bench = Bench()
    with pytest.raises(Disconnected) as raised:
        await bench.host.attempt(failing(Disconnected("cut")), label="a", progressed=lambda: True)
    assert raised.value.attempt == 1
    assert bench.tally.retries == 0


async def test_throttling_waits_at_the_gate_and_costs_no_attempt() -> None:
    bench = Bench(attempts=3)
    call = failing(*[Throttled("429", retry_after_s=5.0)] * 8, None)
    assert await bench.host.attempt(call, label="a") == 9
    assert bench.waits_s == [0.0] * 8
    assert bench.clock.monotonic() == 40.0


async def test_a_job_that_is_throttled_while_others_are_not_fails_in_the_end() -> None:
    bench = Bench(attempts=3)

    async def call(_number: int) -> None:
        bench.gate.succeeded()  # another job's
        raise Throttled("429", retry_after_s=1.0)

    with pytest.raises(Throttled) as raised:
        await bench.host.attempt(call, label="a")
    assert raised.value.attempt == 12


async def test_a_503_that_says_when_to_come_back_costs_no_attempt() -> None:
    bench = Bench(attempts=3)
    call = failing(*[ServerFailed("503", retry_after_s=5.0)] * 8, None)
    assert await bench.host.attempt(call, label="a") == 9
    assert bench.clock.monotonic() == 40.0


async def test_a_job_that_waits_holds_no_slot() -> None:
    bench = Bench(at_once=1)
    running: list[int] = []

    async def other() -> None:
        await bench.clock.sleep(0.25)
        running.append(bench.gate.statistics().running)

    async with anyio.create_task_group() as group:
        group.start_soon(other)
        await bench.host.attempt(failing(Disconnected("cut"), None), label="a")
    assert running == [0]


async def test_a_minute_without_a_line_fails_no_job() -> None:
    bench = Bench()

    async def call(_number: int) -> str:
        if bench.clock.monotonic() < 60.0:
            raise Disconnected("no route", connected=False)
        return "landed"

    landed: list[str] = []

    async def job(name: str) -> None:
        landed.append(await bench.host.attempt(call, label=name))

    async with anyio.create_task_group() as group:
        for name in "abcdefgh":
            group.start_soon(job, name)
    assert landed == ["landed"] * 8


async def test_a_line_that_stays_away_stops_the_source_after_some_minutes() -> None:
    bench = Bench()
    with pytest.raises(SourceDown, match="pacs is down: no route"):
        await bench.host.attempt(failing(Disconnected("no route", connected=False)), label="a")
    assert 300.0 <= bench.clock.monotonic() <= 340.0


async def test_the_last_series_being_a_503_for_ever_fails_that_series_and_not_the_host() -> None:
    bench = Bench()
    with pytest.raises(ServerFailed):
        await bench.host.attempt(failing(ServerFailed("503")), label="last")
    assert await bench.host.attempt(failing(None), label="another") == 1


async def test_poisonous_series_in_front_do_not_keep_the_good_ones_from_coming() -> None:
    bench = Bench(at_once=4)
    outcomes: dict[str, str] = {}
    jobs = [f"poison {n}" for n in range(6)] + [f"good {n}" for n in range(20)]

    def call_for(job: str) -> Callable[[int], Awaitable[None]]:
        async def call(_number: int) -> None:
            await bench.clock.sleep(0.01)
            if job.startswith("poison"):
                raise ServerFailed("500")

        return call

    async def worker() -> None:
        while jobs:
            job = jobs.pop(0)
            try:
                await bench.host.attempt(call_for(job), label=job)
                outcomes[job] = "landed"
            except TransferError as error:
                outcomes[job] = type(error).__name__

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(worker)
    counted = Counter(outcomes.values())
    assert counted == {"landed": 20, "ServerFailed": 6}


async def test_an_outage_of_hours_fails_few_jobs_and_ends_as_source_down() -> None:
    bench = Bench(at_once=4)
    jobs = [f"job {n}" for n in range(1000)]
    failed: list[str] = []
    down: list[SourceDown] = []

    async def worker() -> None:
        while jobs:
            job = jobs.pop(0)
            try:
                await bench.host.attempt(failing(ServerFailed("503")), label=job)
            except TransferError:
                failed.append(job)
            except SourceDown as error:
                down.append(error)
                return

    async with anyio.create_task_group() as group:
        for _ in range(4):
            group.start_soon(worker)
    assert len(down) == 4
    assert len(failed) < 16
    assert bench.clock.monotonic() < 600.0


async def test_a_cancelled_attempt_leaves_nothing_behind() -> None:
    bench = Bench()
    async with anyio.create_task_group() as group:

        async def forever(_number: int) -> None:
            await anyio.sleep_forever()

        async def job() -> None:
            await bench.host.attempt(forever, label="a")

        group.start_soon(job)
        await anyio.wait_all_tasks_blocked()
        assert bench.gate.statistics().running == 1
        group.cancel_scope.cancel()
    assert bench.gate.statistics().running == 0
    assert bench.tally.retries == 0


def bringing(bench: Bench, size_bytes: int, *errors: HaulError) -> Callable[[int], Awaitable[int]]:
    """A call that brings so many bytes each time, and fails with these first."""
    left = list(errors)

    async def call(number: int) -> int:
        assert bench.host.quota is not None
        await bench.clock.sleep(1.0)
        bench.host.quota.came(size_bytes)
        if left:
            raise left.pop(0)
        return number

    return call


async def test_what_was_brought_in_vain_counts_and_another_try_has_to_fit_too() -> None:
    bench = Bench(quota_bytes=250)
    cut = Disconnected("cut")
    assert await bench.host.attempt(bringing(bench, 100, cut), label="a", size_bytes=100) == 2
    with pytest.raises(QuotaExhausted, match="pacs: 200 of 250 bytes a day are used"):
        await bench.host.attempt(bringing(bench, 100), label="b", size_bytes=100)


async def test_once_the_quota_is_used_up_even_the_smallest_gets_the_same_and_a_new_day_opens_it() -> None:
    bench = Bench(quota_bytes=250)
    await bench.host.attempt(bringing(bench, 200), label="a", size_bytes=200)
    for size_bytes in (100, 1):
        with pytest.raises(QuotaExhausted, match="200 of 250") as raised:
            await bench.host.attempt(bringing(bench, size_bytes), label="b", size_bytes=size_bytes)
    bench.clock.advance(raised.value.until_s - bench.clock.now())
    assert await bench.host.attempt(bringing(bench, 100), label="b", size_bytes=100) == 1


async def test_who_waits_for_the_quota_holds_no_slot() -> None:
    bench = Bench(quota_bytes=310, at_once=2)
    running: list[int] = []

    async def small() -> None:
        await bench.clock.sleep(0.5)
        running.append(bench.gate.statistics().running)
        await bench.host.attempt(bringing(bench, 10), label="small", size_bytes=10)
        running.append(int(bench.clock.monotonic() * 10))

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: bench.host.attempt(bringing(bench, 100), label="a", size_bytes=200))
        group.start_soon(lambda: bench.host.attempt(bringing(bench, 100), label="b", size_bytes=200))
        group.start_soon(small)
    assert running == [1, 15]  # it ran beside the first while the second waited


async def test_what_is_larger_than_a_day_is_refused_as_that_job_s_own_trouble() -> None:
    bench = Bench(quota_bytes=250)
    with pytest.raises(Unsupported) as raised:
        await bench.host.attempt(bringing(bench, 300), label="series 1", size_bytes=300)
    assert (raised.value.job, raised.value.source, raised.value.attempt) == ("series 1", "pacs", 1)
    assert await bench.host.attempt(bringing(bench, 100), label="b", size_bytes=100) == 1


async def test_the_quota_is_given_back_by_who_is_cancelled() -> None:
    bench = Bench(quota_bytes=250)

    async def forever(_number: int) -> None:
        await anyio.sleep_forever()

    async with anyio.create_task_group() as group:
        group.start_soon(lambda: bench.host.attempt(forever, label="a", size_bytes=200))
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert await bench.host.attempt(bringing(bench, 250), label="b", size_bytes=250) == 1
