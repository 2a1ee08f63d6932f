"""What hands share of a host: one quota, one token, and slots that come back whatever becomes of a hand."""

import pickle

import anyio
import pytest

from dicomhaul import errors
from dicomhaul.errors import HaulError, QuotaExhausted, Throttled, TransferError, Unauthorized
from dicomhaul.events import Tally
from dicomhaul.net.auth.renewed import RenewedCredentials, Token
from dicomhaul.net.gate import Gate
from dicomhaul.net.pace import Pace
from dicomhaul.net.quota import Quota
from dicomhaul.ports import Credentials
from support.clock import FakeClock
from support.far import Far, shared_host

pytestmark = pytest.mark.anyio


class Tokens:
    """Gives a new token each time, after a second."""

    def __init__(self, clock: FakeClock) -> None:
        self._clock = clock
        self.fetched = 0

    async def fetch(self) -> Token:
        await self._clock.sleep(1.0)
        self.fetched += 1
        return Token(f"token-{self.fetched}", self._clock.now() + 3600.0)


class Bench:
    """Two hands that ask one host."""

    def __init__(
        self, clock: FakeClock, *, at_once: int = 4, quota: Quota | None = None, credentials: Credentials | None = None
    ) -> None:
        self.clock = clock
        self.gate = Gate(
            "pacs",
            pace=Pace(start=at_once, ceiling=at_once, per_s=None),
            clock=clock,
            observer=lambda _: None,
            tally=Tally(),
        )
        host = shared_host(self.gate, clock, quota=quota, credentials=credentials)
        self.hands = [Far(host, clock), Far(host, clock)]

    async def hold(self, hand: int) -> None:
        async with self.hands[hand].gate.slot():
            await anyio.sleep_forever()


async def test_a_token_is_fetched_once_for_all_who_wait_and_once_more_when_it_is_refused() -> None:
    clock = FakeClock()
    tokens = Tokens(clock)
    bench = Bench(clock, credentials=RenewedCredentials(tokens, clock=clock))
    values: list[str | None] = []

    async def authorize(hand: int, stale: str | None) -> None:
        values.append(await bench.hands[hand].credentials.authorization(stale=stale))

    async def all_of_them(stale: str | None) -> None:
        async with anyio.create_task_group() as group:
            for _ in range(3):
                for hand in (0, 1):
                    group.start_soon(authorize, hand, stale)

    await all_of_them(None)
    assert (values, tokens.fetched) == (["Bearer token-1"] * 6, 1)
    values.clear()
    await all_of_them("Bearer token-1")
    assert (values, tokens.fetched) == (["Bearer token-2"] * 6, 2)


async def test_who_has_no_token_is_told_so() -> None:
    class NoTokens:
        async def fetch(self) -> Token:
            raise Unauthorized("no token for us")

    clock = FakeClock()
    bench = Bench(clock, credentials=RenewedCredentials(NoTokens(), clock=clock))
    with pytest.raises(Unauthorized, match="no token for us"):
        await bench.hands[0].credentials.authorization()


async def test_a_quota_is_one_for_all_hands() -> None:
    clock = FakeClock()
    bench = Bench(clock, quota=Quota("pacs", limit_bytes=100, clock=clock))
    one, other = (hand.quota for hand in bench.hands)
    ticket = await one.admit(60, None)
    admitted = []

    async def wait() -> None:
        admitted.append(await other.admit(60, None))

    async with anyio.create_task_group() as group:
        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not admitted
        one.came(40)  # less than it said
        one.release(ticket)
    other.came(60)
    other.release(admitted[0])
    with pytest.raises(QuotaExhausted) as raised:
        await one.admit(1, None)
    assert raised.value.until_s > clock.now()


async def test_who_is_cancelled_while_it_waits_for_a_quota_holds_nothing_of_it() -> None:
    clock = FakeClock()
    bench = Bench(clock, quota=Quota("pacs", limit_bytes=100, clock=clock))
    one, other = (hand.quota for hand in bench.hands)
    ticket = await one.admit(60, None)
    async with anyio.create_task_group() as group:
        group.start_soon(other.admit, 60, None)
        await anyio.wait_all_tasks_blocked()
        group.cancel_scope.cancel()
    one.release(ticket)
    await anyio.wait_all_tasks_blocked()
    one.release(await one.admit(100, None))


async def test_hands_take_turns_at_the_gate() -> None:
    bench = Bench(FakeClock(), at_once=1)
    served: list[int] = []

    async def request(hand: int) -> None:
        async with bench.hands[hand].gate.slot():
            served.append(hand)
            await bench.clock.sleep(1.0)

    async with anyio.create_task_group() as group:
        for hand in (0, 0, 0, 1, 1, 1):
            group.start_soon(request, hand)
    assert sorted(served[1:5]) == [0, 0, 1, 1]


async def test_what_a_dead_hand_held_and_waited_for_is_free_again() -> None:
    clock = FakeClock()
    bench = Bench(clock, at_once=2, quota=Quota("pacs", limit_bytes=100, clock=clock))
    async with anyio.create_task_group() as group:
        await bench.hands[0].quota.admit(100, None)
        for _ in range(4):
            group.start_soon(bench.hold, 0)
        await anyio.wait_all_tasks_blocked()
        assert bench.gate.statistics().running == 2
        bench.hands[0].desk.close()
        assert bench.gate.statistics().running == 0
        async with bench.hands[1].gate.slot():
            await bench.hands[1].quota.admit(100, None)
        group.cancel_scope.cancel()


@pytest.mark.parametrize(
    "kind", [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, HaulError)]
)
def test_every_error_is_the_same_in_another_process(kind: type[HaulError]) -> None:
    error = kind.again(("what went wrong",), {"until_s": 5.0, "report": None})
    if isinstance(error, Throttled):
        error.retry_after_s, error.connected = 7.0, False
    if isinstance(error, TransferError):
        error.job, error.source, error.attempt = "series 1.2", "pacs", 3
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), vars(other)) == (kind, "what went wrong", vars(error))
