"""A cohort that needs the quota of several days: the engine, the host's gate and its quota, over one clock."""

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from dicomhaul.errors import QuotaExhausted
from dicomhaul.events import SourceStopped, Tally
from dicomhaul.model import Job, State
from dicomhaul.net.gate import Gate
from dicomhaul.net.host import Host
from dicomhaul.net.pace import Pace
from dicomhaul.net.quota import Quota
from dicomhaul.net.retry import Retry
from dicomhaul.net.session import Session
from dicomhaul.net.verdict import quota_used_up
from dicomhaul.ports import Sink
from dicomhaul.profile import built_in
from dicomhaul.record.ledger import Ledger
from support.engine_bench import Bench
from support.fakes import FakeSource

pytestmark = pytest.mark.anyio

AT_ONCE = 4
BYTES = 100  # of each series


class CountedSource(FakeSource):
    """A source behind a host with a quota. The server may have a smaller one than we know of."""

    def __init__(self, bench: Bench, *, quota_bytes: int | None, server_bytes: int = 1 << 40) -> None:
        super().__init__(bench.held)
        self._clock = bench.clock
        self._server_bytes = server_bytes
        self.served: Counter[str] = Counter()  # by day
        self.refused: Counter[str] = Counter()
        gate = Gate(
            "proxy",
            pace=Pace(start=AT_ONCE, ceiling=AT_ONCE, per_s=None),
            clock=bench.clock,
            observer=bench.events.append,
            tally=Tally(),
        )
        self.host = Host(
            "proxy",
            session=cast("Session", None),
            gate=gate,
            retry=Retry(3, sleep=bench.clock.sleep),
            profile=built_in("generic"),
            observer=bench.events.append,
            tally=Tally(),
            quota=None if quota_bytes is None else Quota("proxy", limit_bytes=quota_bytes, clock=bench.clock),
        )

    async def exchange(self, job: Job, sink: Sink) -> None:
        """Answer as the proxy does: who is over its quota is refused, and nobody is cut."""

        async def call(_number: int) -> None:
            now = self._clock.now()
            day = datetime.fromtimestamp(now, UTC).date().isoformat()
            if self.served[day] > self._server_bytes:
                self.refused[day] += 1
                raise quota_used_up("proxy answers 429", now)
            await self._clock.sleep(60.0)
            if self.host.quota is not None:
                self.host.quota.came(BYTES)
            self.served[day] += BYTES
            await super(CountedSource, self).exchange(job, sink)

        await self.host.attempt(call, label=str(job), size_bytes=BYTES)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    yield Bench(ledger)
    ledger.close()


async def test_waiting_brings_each_day_what_its_quota_holds(bench: Bench) -> None:
    bench.plan()
    bench.source = source = CountedSource(bench, quota_bytes=15 * BYTES)
    bench.wait = True
    assert await bench.run(at_once=AT_ONCE) == {}
    assert bench.states() == {State.LANDED: 40}
    assert sorted(source.served.values()) == [10 * BYTES, 15 * BYTES, 15 * BYTES]
    assert bench.clock.now() % 86_400 < 3600  # the third day, soon after it began
    told = [event.reason for event in bench.events if isinstance(event, SourceStopped)]
    assert len(told) == 2
    assert "used up until 2023-11-15 00:00 UTC" in told[0]


async def test_waiting_asks_no_more_than_once_after_a_429(bench: Bench) -> None:
    """Only the server knows its limit: those under way complete, and the next day goes on."""
    bench.plan()
    bench.source = source = CountedSource(bench, quota_bytes=None, server_bytes=15 * BYTES)
    bench.wait = True
    assert await bench.run(at_once=AT_ONCE) == {}
    assert bench.states() == {State.LANDED: 40}
    assert sum(source.served.values()) == 40 * BYTES
    assert all(15 * BYTES < served <= (15 + AT_ONCE) * BYTES for served in sorted(source.served.values())[1:])
    assert set(source.refused.values()) <= set(range(1, AT_ONCE + 1))  # those that began together


async def test_without_waiting_the_rest_stays_planned(bench: Bench) -> None:
    bench.plan()
    bench.source = source = CountedSource(bench, quota_bytes=15 * BYTES)
    stopped = await bench.run(at_once=AT_ONCE)
    assert isinstance(stopped["fake"], QuotaExhausted)
    assert bench.states() == {State.LANDED: 15, State.PLANNED: 25}
    assert list(source.served.values()) == [15 * BYTES]


async def test_what_is_left_over_at_the_end_of_the_quota_comes_by_the_other_route(bench: Bench) -> None:
    bench.plan(routes=lambda _: ("fake", "other"))
    bench.source = CountedSource(bench, quota_bytes=15 * BYTES)
    bench.other = FakeSource(bench.held)
    assert set(await bench.run(at_once=AT_ONCE)) == {"fake"}
    assert bench.states() == {State.LANDED: 40}
    assert bench.tally.series_moved == 25
