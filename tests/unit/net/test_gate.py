"""The gate: who passes, who waits, and what closes it."""

import anyio
import anyio.lowlevel
import pytest

from dicomhaul.errors import (
    Disconnected,
    HaulError,
    NotFound,
    NotWritable,
    QuotaExhausted,
    ServerFailed,
    SourceDown,
    Throttled,
    Unauthorized,
)
from dicomhaul.events import Event, GateClosed, Tally
from dicomhaul.net.gate import Gate
from dicomhaul.net.line import Line
from dicomhaul.net.pace import Pace
from support.clock import FakeClock
from support.far import Far, FarGate, shared_host

pytestmark = pytest.mark.anyio


@pytest.fixture(autouse=True, params=["here", "in another process"])
def _place(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who asks cannot tell whether the gate is in its own process."""
    monkeypatch.setattr(Bench, "far", request.param != "here")


class Bench:
    """A gate with what it needs and tells."""

    far = False

    def __init__(self, *, at_once: int = 4, per_s: float | None = None) -> None:
        self.clock = FakeClock()
        self.events: list[Event] = []
        self.tally = Tally()
        gate = Gate(
            "pacs",
            pace=Pace(start=at_once, ceiling=at_once, per_s=per_s),
            clock=self.clock,
            observer=self.events.append,
            tally=self.tally,
        )
        self.gate: Gate | FarGate = Far(shared_host(gate, self.clock), self.clock).gate if self.far else gate

    async def request(self, error: HaulError | None = None, *, job: str = "job", took_s: float = 0.0) -> bool:
        async with self.gate.slot() as began_at:
            if took_s:
                await self.clock.sleep(took_s)
            if error is not None:
                return await self.gate.failed(error, job=job, began_at=began_at)
            self.gate.succeeded()
        return True


def lost() -> Disconnected:
    return Disconnected("no connection to pacs", connected=False)


async def test_no_more_at_once_than_allowed() -> None:
    bench = Bench(at_once=3)
    most = 0

    async def request() -> None:
        nonlocal most
        async with bench.gate.slot():
            most = max(most, bench.gate.statistics().running)
            await bench.clock.sleep(1.0)

    async with anyio.create_task_group() as group:
        for _ in range(10):
            group.start_soon(request)
    assert most == 3
    assert bench.clock.monotonic() == 4.0
    assert bench.gate.statistics().running == 0


async def test_first_come_first_served() -> None:
    bench = Bench(at_once=1)
    served: list[int] = []

    async def request(number: int) -> None:
        async with bench.gate.slot():
            served.append(number)
            await bench.clock.sleep(1.0)

    async with anyio.create_task_group() as group:
        for number in range(6):
            group.start_soon(request, number)
    assert served == list(range(6))


async def test_requests_a_second_are_kept() -> None:
    bench = Bench(per_s=10.0)
    async with anyio.create_task_group() as group:
        for _ in range(21):
            group.start_soon(bench.request)
    assert bench.clock.monotonic() == pytest.approx(2.0, abs=0.06)


async def test_retry_after_closes_the_gate_for_everyone() -> None:
    bench = Bench()
    await bench.request(Throttled("429", retry_after_s=7.0))
    assert bench.gate.statistics().closed_for_s == 7.0
    assert bench.gate.statistics().per_s == 1.0
    assert bench.events == [GateClosed("pacs", 7.0, "429")]
    assert bench.tally.throttled == 1
    await bench.request()
    assert bench.clock.monotonic() == 7.0


async def test_retry_after_on_a_503_closes_it_too() -> None:
    bench = Bench()
    await bench.request(ServerFailed("503", retry_after_s=7.0))
    await bench.request()
    assert bench.clock.monotonic() == 7.0


@pytest.mark.parametrize("retry_after_s", [None, 0.0])
async def test_a_throttle_that_names_no_time_pauses_longer_each_time(retry_after_s: float | None) -> None:
    bench = Bench()
    for _ in range(7):
        await bench.request(Throttled("429", retry_after_s=retry_after_s))
        bench.clock.advance(0.001)
    waits = [event.wait_s for event in bench.events if isinstance(event, GateClosed)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 32.0]


async def test_a_success_makes_the_next_pause_short_again() -> None:
    bench = Bench()
    for _ in range(3):
        await bench.request(Throttled("429"))
        bench.clock.advance(0.001)
        await bench.request()
    waits = [event.wait_s for event in bench.events if isinstance(event, GateClosed)]
    assert waits == [1.0, 0.25, 0.25]  # what the host allows is known then


async def test_requests_throttled_together_are_one_cut_and_one_event() -> None:
    bench = Bench(at_once=8)

    async def throttled() -> None:
        await bench.request(Throttled("429"), took_s=1.0)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(throttled)
    assert bench.gate.statistics().throttled == 1
    assert len(bench.events) == 1
    assert bench.tally.throttled == 8


async def test_a_host_that_throttles_everything_is_given_up() -> None:
    bench = Bench()

    async def throttled() -> None:
        while True:
            await bench.request(Throttled("429"))

    with pytest.raises(SourceDown, match="throttles every request"):
        await throttled()
    assert 300.0 < bench.clock.monotonic() < 900.0


async def test_a_host_that_is_never_reached_is_given_up_for_all_who_wait() -> None:
    bench = Bench()
    raised: list[SourceDown] = []

    async def job(name: str) -> None:
        try:
            for _ in range(100):
                assert not await bench.request(lost(), job=name)
        except SourceDown as error:
            raised.append(error)

    async with anyio.create_task_group() as group:
        for name in "abcdef":
            group.start_soon(job, name)
    assert len(set(map(id, raised))) == 6
    assert {str(error) for error in raised} == {"pacs is down: no connection to pacs"}
    assert bench.clock.monotonic() < 15.0


async def test_a_lost_host_is_asked_again_and_opens_when_it_is_back() -> None:
    bench = Bench(at_once=8)
    await bench.request()
    back_at = 60.0

    async def job() -> None:
        for _ in range(100):
            async with bench.gate.slot() as began_at:
                await bench.clock.sleep(0.01)
                if bench.clock.monotonic() >= back_at:
                    bench.gate.succeeded()
                    return
                await bench.gate.failed(lost(), job="job", began_at=began_at)

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(job)
    assert bench.clock.monotonic() < 100.0
    assert not bench.gate.statistics().probing


async def test_only_one_probes() -> None:
    bench = Bench(at_once=8)
    await bench.request(lost())
    running: list[int] = []

    async def probe() -> None:
        while True:
            try:
                async with bench.gate.slot() as began_at:
                    running.append(bench.gate.statistics().running)
                    await bench.clock.sleep(0.01)
                    await bench.gate.failed(lost(), job="job", began_at=began_at)
            except SourceDown:
                return

    async with anyio.create_task_group() as group:
        for _ in range(8):
            group.start_soon(probe)
    assert running == [1, 1, 1]


async def test_progress_is_a_sign_of_life() -> None:
    bench = Bench()
    for name in "abcdefgh":
        async with bench.gate.slot() as began_at:
            assert await bench.gate.failed(Disconnected("cut"), job=name, began_at=began_at, progressed=True)
    assert not bench.gate.statistics().probing


async def test_refusals_are_answers_and_our_own_errors_say_nothing() -> None:
    bench = Bench()
    for name in "abc":
        await bench.request(NotFound("404"), job=name)
        await bench.request(NotWritable("disk"), job=name)
    assert not bench.gate.statistics().probing
    assert bench.events == []


async def test_a_source_error_stops_all_who_come_later() -> None:
    bench = Bench()
    await bench.request(Unauthorized("no token"))
    with pytest.raises(Unauthorized, match="no token"):
        await bench.request()


async def test_a_quota_opens_again_when_its_time_has_come() -> None:
    bench = Bench()
    await bench.request(QuotaExhausted("gone", until_s=bench.clock.now() + 100.0))
    with pytest.raises(QuotaExhausted) as raised:
        await bench.request()
    assert raised.value.until_s == bench.clock.now() + 100.0
    bench.clock.advance(100.0)
    await bench.request()


async def test_a_cancelled_request_gives_its_slot_back_and_a_cancelled_wait_its_turn() -> None:
    bench = Bench(at_once=1)
    async with anyio.create_task_group() as group:

        async def hold() -> None:
            async with bench.gate.slot():
                await anyio.sleep_forever()

        group.start_soon(hold)
        await anyio.wait_all_tasks_blocked()
        group.start_soon(bench.request)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    assert bench.gate.statistics().running == 0
    await bench.request()


async def test_a_success_opens_a_gate_that_a_failing_host_closed_without_waiting() -> None:
    bench = Bench()
    bench.gate.answered()
    async with bench.gate.slot():  # a long transfer that began before
        for name in "abc":
            await bench.request(ServerFailed("503"), job=name)
        assert bench.gate.statistics().closed_for_s == 0.5
        async with anyio.create_task_group() as group:
            group.start_soon(bench.request)
            await anyio.lowlevel.checkpoint()
            bench.gate.succeeded()
    assert bench.clock.monotonic() == 0.0


async def test_nothing_begins_after_the_first_end_of_a_quota_and_what_began_completes() -> None:
    """429 from IDC's proxy: not one more of those that wait."""
    bench = Bench(at_once=4)
    began: list[float] = []
    completed = 0
    ended: list[str] = []

    async def request(number: int) -> None:
        nonlocal completed
        try:
            async with bench.gate.slot() as began_at:
                began.append(began_at)
                await bench.clock.sleep(1.0 + number % 4)
                if number == 0:
                    error = QuotaExhausted("429", until_s=bench.clock.now() + 3600.0)
                    await bench.gate.failed(error, job="job", began_at=began_at)
                    raise error
                completed += 1
                bench.gate.succeeded()
        except QuotaExhausted as error:
            ended.append(str(error))

    async with anyio.create_task_group() as group:
        for number in range(20):
            group.start_soon(request, number)
    assert len(began) == 4
    assert completed == 3
    assert ended == ["429"] * 17


async def test_a_slow_line_lets_fewer_run_at_once() -> None:
    bench = Bench(at_once=8)
    line = Line(clock=bench.clock, rate_at=lambda _minute: 32 << 10)
    gate = Gate(
        "pacs",
        pace=Pace(start=8, ceiling=8, per_s=None),
        clock=bench.clock,
        observer=bench.events.append,
        tally=bench.tally,
        line=line,
    )
    most = 0

    async def request() -> None:
        nonlocal most
        async with gate.slot():
            most = max(most, gate.statistics().running)
            await bench.clock.sleep(1.0)

    async with anyio.create_task_group() as group:
        for _ in range(6):
            group.start_soon(request)
    assert most == 2
    assert gate.statistics().at_once == 2
