"""The quota of a day: who may begin, who waits, what is read from the host, and what is kept."""

import json
import math
from contextlib import ExitStack
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomhaul.errors import HaulError, QuotaExhausted, SourceDown, TimedOut, Unsupported
from dicomhaul.net.quota import Quota, Read, Ticket, Usage, parse_usage
from support.clock import FakeClock

pytestmark = pytest.mark.anyio

DAY_S = 86_400
MIDNIGHT = 1_700_006_400.0  # 2023-11-15 00:00 UTC, some time after the fake clock's beginning


class Bench:
    """A quota, and what its host says."""

    def __init__(self, limit_bytes: int | None = None, *, now: float = MIDNIGHT + 3600) -> None:
        self.clock = FakeClock(now)
        self.notices: list[str] = []
        self.quota = Quota("proxy", limit_bytes=limit_bytes, clock=self.clock, notice=self.notices.append)
        self.says: Usage | HaulError = Usage(0, None, None)
        self.readings = 0

    async def read(self) -> Usage:
        self.readings += 1
        await self.clock.sleep(0.1)
        if isinstance(self.says, HaulError):
            raise self.says
        return self.says

    async def bring(self, size_bytes: int, *, stated: int | None = None, read: Read | None = None) -> None:
        ticket = await self.quota.admit(size_bytes if stated is None else stated, read)
        self.quota.came(size_bytes)
        self.quota.release(ticket)


async def test_what_fits_the_day_exactly_begins_and_one_byte_more_does_not() -> None:
    bench = Bench(100)
    await bench.bring(60)
    await bench.bring(40)
    with pytest.raises(QuotaExhausted) as raised:
        await bench.bring(1)
    assert raised.value.until_s == MIDNIGHT + DAY_S
    assert str(raised.value) == (
        "proxy: 100 of 100 bytes a day are used, the next answer may have 1: "
        "the day's quota is used up until 2023-11-16 00:00 UTC"
    )
    assert bench.quota.left_bytes == 0


async def test_a_request_of_unknown_size_begins_while_anything_is_left() -> None:
    bench = Bench(100)
    ticket = await bench.quota.admit(None, None)
    bench.quota.came(250)  # what began under quota completes
    bench.quota.release(ticket)
    with pytest.raises(QuotaExhausted):
        await bench.quota.admit(None, None)


async def test_what_came_while_the_page_was_read_does_not_end_the_day_early() -> None:
    """The host had counted the answer, we had not let go of it: it counts twice until the page is read again."""
    bench = Bench(150)
    first = await bench.quota.admit(40, bench.read)
    bench.quota.came(40)
    bench.says = Usage(40, None, None)
    bench.clock.advance(600)  # the page is due again
    second = await bench.quota.admit(10, bench.read)
    assert bench.readings == 2
    bench.quota.release(first)
    bench.quota.release(second)
    assert bench.quota.used_bytes == 80
    bench.quota.release(await bench.quota.admit(100, bench.read))
    assert (bench.readings, bench.quota.used_bytes) == (3, 40)


async def test_who_would_pass_the_budget_waits_for_those_under_way_who_may_bring_less() -> None:
    bench = Bench(100)
    first = await bench.quota.admit(80, None)
    admitted: list[Ticket] = []

    async def second() -> None:
        admitted.append(await bench.quota.admit(40, None))

    async with anyio.create_task_group() as group:
        group.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        assert admitted == []
        bench.quota.came(60)
        bench.quota.release(first)
    assert len(admitted) == 1


async def test_who_still_does_not_fit_when_the_last_has_ended_is_told_so() -> None:
    bench = Bench(100)
    first = await bench.quota.admit(80, None)
    raised: list[HaulError] = []

    async def second() -> None:
        try:
            await bench.quota.admit(40, None)
        except QuotaExhausted as error:
            raised.append(error)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(second)
        await anyio.wait_all_tasks_blocked()
        bench.quota.came(80)
        bench.quota.release(first)
    assert len(raised) == 3


async def test_many_at_once_never_begin_more_than_the_budget() -> None:
    bench = Bench(1000)
    brought = 0
    refused = 0

    async def worker(size: int) -> None:
        nonlocal brought, refused
        try:
            ticket = await bench.quota.admit(size, None)
        except QuotaExhausted:
            refused += 1
            return
        await bench.clock.sleep(size / 100)
        bench.quota.came(size)
        brought += size
        bench.quota.release(ticket)

    async with anyio.create_task_group() as group:
        for size in [90, 70, 110] * 8:
            group.start_soon(worker, size)
    assert brought <= 1000
    assert brought > 1000 - 110
    assert refused > 0


async def test_an_answer_larger_than_a_whole_day_is_refused_and_does_not_end_the_quota() -> None:
    bench = Bench(100)
    with pytest.raises(Unsupported, match="101 bytes is more than the quota of a day, 100 bytes"):
        await bench.quota.admit(101, None)
    await bench.bring(100)


async def test_a_new_day_begins_a_new_budget() -> None:
    bench = Bench(100, now=MIDNIGHT + DAY_S - 10)
    await bench.bring(100)
    with pytest.raises(QuotaExhausted):
        await bench.bring(1)
    bench.clock.advance(10)
    assert bench.quota.left_bytes == 100
    await bench.bring(100)


async def test_without_any_limit_everything_begins() -> None:
    bench = Bench()
    await bench.bring(1 << 50)
    assert bench.quota.left_bytes is None


# -- what the host says -----------------------------------------------------------------------------------------------


async def test_the_host_is_asked_before_the_first_request_and_its_limit_is_believed() -> None:
    bench = Bench()
    bench.says = Usage(600, 1000, None)
    await bench.bring(100, read=bench.read)
    assert bench.readings == 1
    assert (bench.quota.limit_bytes, bench.quota.used_bytes) == (1000, 700)
    bench.says = Usage(700, 1000, None)
    with pytest.raises(QuotaExhausted):
        await bench.bring(301, read=bench.read)


@pytest.mark.parametrize(("own", "implied", "budget"), [(500, 1000, 500), (2000, 1000, 1000), (500, None, 500)])
async def test_the_smallest_limit_holds(own: int, implied: int | None, budget: int) -> None:
    bench = Bench(own)
    bench.says = Usage(0, implied, None)
    await bench.bring(1, read=bench.read)
    assert bench.quota.limit_bytes == budget


async def test_all_who_come_first_wait_for_one_reading() -> None:
    bench = Bench()
    bench.says = Usage(950, 1000, None)
    async with anyio.create_task_group() as group:
        for _ in range(5):
            group.start_soon(lambda: bench.bring(10, read=bench.read))
    assert bench.readings == 1
    assert bench.quota.used_bytes == 1000


async def test_it_is_asked_again_when_a_tenth_of_what_was_left_has_come_or_after_five_minutes() -> None:
    bench = Bench(1000)
    readings = []
    for seconds in (0, 60, 60, 60, 60, 60, 301):
        bench.clock.advance(seconds)
        await bench.bring(30, read=bench.read)
        readings.append(bench.readings)
    # 90 came, less than a tenth: not yet; 120 came: again; five minutes: again
    assert readings == [1, 1, 1, 1, 2, 2, 3]


async def test_it_is_not_asked_more_often_than_every_ten_seconds() -> None:
    bench = Bench(1000)
    for _ in range(4):
        await bench.bring(200, read=bench.read)
    assert bench.readings == 1


async def test_where_nobody_knows_what_is_left_it_is_asked_again_after_64_mib() -> None:
    bench = Bench()
    for _ in range(4):
        bench.clock.advance(60)
        await bench.bring(40 << 20, read=bench.read)
    assert bench.readings == 2


async def test_others_do_not_wait_for_a_reading_in_the_middle_of_a_run() -> None:
    bench = Bench(10_000)
    await bench.bring(1, read=bench.read)
    bench.clock.advance(400)
    began: list[float] = []

    async def one() -> None:
        ticket = await bench.quota.admit(1, bench.read)
        began.append(bench.clock.monotonic())
        bench.quota.release(ticket)

    async with anyio.create_task_group() as group:
        for _ in range(3):
            group.start_soon(one)
    assert bench.readings == 2
    assert sorted(began)[:2] == [400.1, 400.1]


async def test_before_it_is_called_used_up_the_host_is_asked_once_more() -> None:
    bench = Bench()
    bench.says = Usage(0, 1000, None)
    await bench.bring(900, read=bench.read)
    bench.says = Usage(900, 2000, None)  # more than it seemed from a small fraction
    await bench.bring(900, read=bench.read)
    assert bench.readings == 2
    bench.says = Usage(1800, 2000, None)
    with pytest.raises(QuotaExhausted):
        await bench.bring(201, read=bench.read)
    assert bench.readings == 3
    with pytest.raises(QuotaExhausted):  # nothing came since
        await bench.bring(201, read=bench.read)
    assert bench.readings == 3


async def test_what_others_behind_our_address_use_counts() -> None:
    bench = Bench(1000)
    bench.says = Usage(100, 1000, None)
    await bench.bring(100, read=bench.read)
    bench.clock.advance(400)
    bench.says = Usage(700, 1000, None)
    await bench.bring(10, read=bench.read)
    assert bench.quota.used_bytes == 710


async def test_what_is_under_way_while_the_host_is_asked_is_not_forgotten() -> None:
    """The host counts a request when it ends: what it says leaves out what has come of those under way."""
    bench = Bench(1000)
    ticket = await bench.quota.admit(300, bench.read)
    bench.quota.came(200)
    bench.clock.advance(400)
    bench.says = Usage(300, 1000, None)  # of others
    await bench.bring(10, read=bench.read)
    assert bench.quota.used_bytes == 510
    bench.quota.release(ticket)


async def test_a_host_that_says_nothing_is_noticed_once_and_our_own_count_has_to_do() -> None:
    bench = Bench(100)
    bench.says = TimedOut("proxy sent nothing")
    await bench.bring(50, read=bench.read)
    bench.clock.advance(400)
    await bench.bring(50, read=bench.read)
    with pytest.raises(QuotaExhausted):
        await bench.bring(1, read=bench.read)
    assert bench.notices == ["proxy: the quota that is left cannot be read: proxy sent nothing"]


async def test_a_host_whose_clock_is_late_does_not_cost_a_day() -> None:
    """Ours says 00:00:05; what it tells is still of the day before, and used up."""
    bench = Bench(now=MIDNIGHT + 5)
    bench.says = Usage(1000, 1000, "2023-11-14")
    await bench.bring(10, read=bench.read)
    assert bench.quota.used_bytes == 10
    bench.says = Usage(20, 1000, "2023-11-15")
    bench.clock.advance(11)
    await bench.bring(10, read=bench.read)
    assert (bench.readings, bench.quota.used_bytes) == (2, 30)


async def test_a_date_that_is_wrong_in_the_middle_of_the_day_changes_nothing() -> None:
    bench = Bench(now=MIDNIGHT + 7200)
    bench.says = Usage(1000, 1000, "2023-11-14")
    with pytest.raises(QuotaExhausted):
        await bench.bring(10, read=bench.read)


async def test_the_first_request_of_a_new_day_asks_again() -> None:
    bench = Bench(1000, now=MIDNIGHT + DAY_S - 5)
    await bench.bring(10, read=bench.read)
    bench.clock.advance(6)
    await bench.bring(10, read=bench.read)
    assert bench.readings == 2


@pytest.mark.parametrize(
    ("answer", "usage"),
    [
        ({"ip": "::1", "bytes_used": 0, "fraction_used": 0, "date": "2023-11-15"}, Usage(0, None, "2023-11-15")),
        ({"bytes_used": 250, "fraction_used": 0.25, "date": "2023-11-15 10:00:00"}, Usage(250, 1000, "2023-11-15")),
        ({"bytes_used": 3_000.0, "fraction_used": 1.5}, Usage(3000, 2000, None)),
        ({"bytes_used": 5, "fraction_used": 5e-324}, Usage(5, None, None)),
        ({"bytes_used": 1, "fraction_used": 1e6, "date": 7}, Usage(1, 1, None)),
    ],
)
def test_a_usage_page_is_read(answer: Any, usage: Usage) -> None:
    assert parse_usage(answer) == usage


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        "x",
        7,
        {},
        {"bytes_used": 1},
        {"bytes_used": -1, "fraction_used": 0},
        {"bytes_used": True, "fraction_used": 0},
        {"bytes_used": "1", "fraction_used": 0},
        {"bytes_used": 1, "fraction_used": math.nan},
        {"bytes_used": 1, "fraction_used": math.inf},
        {"bytes_used": 10**400, "fraction_used": 0.5},
        {"bytes_used": 1, "fraction_used": -0.1},
        {"bytes_used": None, "fraction_used": None},
    ],
)
def test_what_is_no_usage_page_is_refused(answer: Any) -> None:
    with pytest.raises(Unsupported, match="does not say bytes_used"):
        parse_usage(answer)


oddities = st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=20)
pages = st.dictionaries(st.sampled_from(["bytes_used", "fraction_used", "date", "ip"]), oddities | st.lists(oddities))


@settings(max_examples=50)
@given(oddities | st.lists(oddities | pages) | pages)
def test_no_answer_breaks_it(answer: Any) -> None:
    try:
        usage = parse_usage(answer)
    except Unsupported:
        return
    json.dumps(usage)
    assert usage.bytes_used >= 0
    assert usage.limit_bytes is None or usage.limit_bytes >= 1


# -- what is kept -----------------------------------------------------------------------------------------------------


class Kept:
    """A place that keeps bytes by day, as a ledger does."""

    def __init__(self, **days: int) -> None:
        self.days = {day.replace("_", "-").removeprefix("d"): size for day, size in days.items()}
        self.saves = 0

    def load(self, day: str) -> int:
        return self.days.get(day, 0)

    def save(self, day: str, size_bytes: int) -> None:
        self.saves += 1
        self.days[day] = self.load(day) + size_bytes


async def test_the_count_goes_on_from_what_was_kept_and_is_kept_by_day() -> None:
    bench = Bench(100, now=MIDNIGHT + DAY_S - 10)
    kept = Kept(d2023_11_15=70, d2023_11_14=1000)
    with bench.quota.kept("a", load=kept.load, save=kept.save):
        assert bench.quota.left_bytes == 30
        await bench.bring(20)
        bench.clock.advance(11)
        await bench.bring(90)
    assert kept.days == {"2023-11-14": 1000, "2023-11-15": 90, "2023-11-16": 90}


async def test_what_came_between_two_runs_is_kept_by_the_next() -> None:
    bench = Bench(100)
    kept = Kept()
    await bench.bring(20)
    with bench.quota.kept("a", load=kept.load, save=kept.save):
        pass
    assert kept.days == {"2023-11-15": 20}


async def test_the_same_place_is_not_counted_twice_and_another_one_is() -> None:
    bench = Bench(1000)
    first, second = Kept(), Kept(d2023_11_15=400)
    for kept, name in ((first, "a"), (first, "a"), (second, "b"), (first, "a")):
        with bench.quota.kept(name, load=kept.load, save=kept.save):
            await bench.bring(10)
    assert bench.quota.used_bytes == 440
    assert first.days == {"2023-11-15": 30}
    assert second.days == {"2023-11-15": 410}


async def test_it_is_kept_now_and_then_and_when_the_run_breaks_off() -> None:
    bench = Bench(1 << 40)
    kept = Kept()
    with ExitStack() as run:
        run.enter_context(bench.quota.kept("a", load=kept.load, save=kept.save))
        await bench.bring(10 << 20)
        assert kept.saves == 0
        await bench.bring(10 << 20)
        assert kept.days == {"2023-11-15": 20 << 20}
        await bench.bring(1)
    assert kept.days == {"2023-11-15": (20 << 20) + 1}


async def test_what_was_kept_is_not_added_to_what_the_host_counts() -> None:
    bench = Bench()
    kept = Kept(d2023_11_15=300)
    bench.says = Usage(300, 1000, None)
    with bench.quota.kept("a", load=kept.load, save=kept.save):
        await bench.bring(100, read=bench.read)
    assert bench.quota.used_bytes == 400


async def test_a_place_that_is_opened_after_the_host_was_asked_adds_nothing_to_what_the_host_counts() -> None:
    bench = Bench()
    kept = Kept(d2023_11_15=300)
    bench.says = Usage(300, 1000, None)
    await bench.bring(100, read=bench.read)
    with bench.quota.kept("a", load=kept.load, save=kept.save):
        assert bench.quota.used_bytes == 400


async def test_what_began_yesterday_counts_today_as_far_as_it_comes_today() -> None:
    bench = Bench(1000, now=MIDNIGHT + DAY_S - 700)
    await bench.bring(200)
    ticket = await bench.quota.admit(300, None)
    bench.clock.advance(1400)
    bench.quota.came(50)
    bench.says = Usage(400, 1000, None)
    await bench.bring(10, read=bench.read)
    assert bench.quota.used_bytes == 460
    bench.quota.release(ticket)


async def test_one_who_is_cancelled_while_waiting_leaves_nothing_behind() -> None:
    bench = Bench(100)
    first = await bench.quota.admit(100, None)
    with anyio.move_on_after(0.01):
        await bench.quota.admit(100, None)
    bench.quota.release(first)
    await bench.bring(100)


async def test_an_error_of_ours_while_asking_is_not_hidden() -> None:
    bench = Bench(100)

    async def broken() -> Usage:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await bench.bring(1, read=broken)
    bench.says = SourceDown("tls")
    await bench.bring(1, read=bench.read)
