"""Bodies are charged and slowed down as they pass; the usage page of a quota lies outside the base URL."""

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from dicomhaul.errors import QuotaExhausted, Unsupported
from dicomhaul.events import Event, Noticed, Tally
from dicomhaul.net.auth.fixed import BasicCredentials, NoCredentials
from dicomhaul.net.connecting import open_session
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.net.host import Host, open_host
from dicomhaul.net.line import Line
from dicomhaul.net.session import Session
from dicomhaul.profile import Limits, Profile, built_in
from support.clock import FakeClock
from support.loopback import Asked, Reply, ok, open_loopback

pytestmark = pytest.mark.anyio

STALL_S = 0.05


class Pauses:
    """A clock whose every sleep takes longer than the silence that the session bears."""

    def __init__(self) -> None:
        self.slept = 0

    def now(self) -> float:
        return 0.0

    def monotonic(self) -> float:
        return float(self.slept)

    async def sleep(self, _seconds: float) -> None:
        self.slept += 1
        await anyio.sleep(STALL_S * 3)


@asynccontextmanager
async def metered(url: str, line: Line, charged: list[int]) -> AsyncIterator[Session]:
    profile = Profile(name="test", limits=Limits(stall_timeout_s=STALL_S))
    async with open_session(
        Endpoint(url, profile, max_connections=4),
        NoCredentials(),
        clock=FakeClock(),
        line=line,
        charge=charged.append,
    ) as session:
        yield session


async def test_every_byte_of_every_body_is_charged_once() -> None:
    clock = FakeClock()
    charged: list[int] = []
    replies = [ok(b"x" * 100_000), ok(b"[]"), ok(b"gone", status="404 Not Found")]
    async with (
        open_loopback(lambda _: replies.pop(0)) as server,
        metered(server.url(), Line(clock=clock), charged) as session,
    ):
        async with session.get("studies", accept="*/*") as response:
            assert len(await response.read(1 << 20)) == 100_000
        async with session.get("series", accept="*/*") as response:
            assert await response.read_json() == []
        assert sum(charged) == 100_002


async def test_what_comes_from_the_root_is_charged_to_nobody_and_lies_beside_the_base_url() -> None:
    charged: list[int] = []
    async with (
        open_loopback(lambda _: ok(b'{"bytes_used": 1}')) as server,
        metered(server.url("/a/b/dicomWeb"), Line(clock=FakeClock()), charged) as session,
        session.get_from_root("/quota_usage", accept="application/json") as response,
    ):
        assert await response.read_json() == {"bytes_used": 1}
    assert [asked.target for asked in server.asked] == ["/quota_usage"]
    assert charged == []


async def test_slow_reading_is_no_silence_of_the_server() -> None:
    """Each piece is held back longer than a server may be silent; more is to come than any buffer takes."""
    pauses = Pauses()
    body = b"x" * (600 << 10)
    line = Line(clock=pauses, rate_at=lambda _minute: 200 << 10)
    async with (
        open_loopback(lambda _: ok(body)) as server,
        metered(server.url(), line, []) as session,
        session.get("studies", accept="*/*") as response,
    ):
        assert len(await response.read(1 << 20)) == len(body)
    assert pauses.slept >= 2


async def test_a_body_passes_at_the_line_s_pace() -> None:
    clock = FakeClock()
    line = Line(clock=clock, rate_at=lambda _minute: 10_000)
    async with (
        open_loopback(lambda _: ok(b"x" * 100_000)) as server,
        metered(server.url(), line, []) as session,
        session.get("studies", accept="*/*") as response,
    ):
        await response.read(1 << 20)
    assert clock.monotonic() == pytest.approx(10.0, abs=0.5)


# -- the quota of a host ----------------------------------------------------------------------------------------------


class Proxy:
    """A server with a usage page, by hand."""

    def __init__(self, usage: Reply) -> None:
        self.usage = usage
        self.events: list[Event] = []
        self.served = 0

    def answer(self, asked: Asked) -> Reply:
        if asked.target == "/quota_usage":
            return self.usage
        self.served += 1
        return ok(b"x" * 1000)

    @asynccontextmanager
    async def host(self, *, quota_bytes: int | None = None) -> AsyncIterator[Host]:
        async with open_loopback(self.answer) as server:
            endpoint = Endpoint(server.url("/current/x/dicomWeb"), built_in("idc-proxy"), max_connections=4)
            async with open_host(
                endpoint,
                BasicCredentials("user", "secret"),
                clock=FakeClock(),
                observer=self.events.append,
                tally=Tally(),
                quota_bytes=quota_bytes,
            ) as host:
                yield host

    async def fetch(self, host: Host) -> int:
        async def call(_number: int) -> int:
            async with host.session.get("studies", accept="*/*") as response:
                return len(await response.read(1 << 20))

        return await host.attempt(call, label="series 1", size_bytes=1000)


async def test_a_host_asks_its_usage_page_first_and_keeps_to_what_it_says() -> None:
    usage = {"ip": "127.0.0.1", "bytes_used": 7000, "fraction_used": 0.7, "date": "2023-11-14"}
    proxy = Proxy(ok(json.dumps(usage).encode(), Content_Type="application/json"))
    async with proxy.host() as host:
        for _ in range(3):
            assert await proxy.fetch(host) == 1000
        proxy.usage = ok(json.dumps(usage | {"bytes_used": 10_000, "fraction_used": 1.0}).encode())
        with pytest.raises(QuotaExhausted, match="10,000 of 10,000 bytes a day are used"):
            await proxy.fetch(host)
    assert proxy.served == 3
    assert proxy.events == []


@pytest.mark.parametrize(
    "usage",
    [
        ok(b"<html>nothing here</html>", status="404 Not Found"),
        ok(b"<html>log in</html>", Content_Type="text/html"),
        ok(b"{" * 5000, Content_Type="application/json"),
        ok(b'{"bytes_used": "many"}', Content_Type="application/json"),
        ok(b"no", status="429 Too Many Requests"),
        ok(b"no", status="403 Forbidden"),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{", "close"),
    ],
)
async def test_a_usage_page_that_says_nothing_is_noticed_once_and_stops_nobody(usage: Reply) -> None:
    proxy = Proxy(usage)
    async with proxy.host(quota_bytes=3000) as host:
        for _ in range(3):
            await proxy.fetch(host)
        with pytest.raises(QuotaExhausted, match="3,000 of 3,000 bytes a day are used"):
            await proxy.fetch(host)
    assert proxy.served == 3
    (notice,) = proxy.events
    assert isinstance(notice, Noticed)
    assert "the quota that is left cannot be read" in notice.message
    assert "secret" not in notice.message


async def test_an_answer_that_no_day_has_room_for_is_refused_before_it_is_asked_for() -> None:
    proxy = Proxy(ok(b'{"bytes_used": 0, "fraction_used": 0}'))
    async with proxy.host(quota_bytes=999) as host:
        with pytest.raises(Unsupported, match="1,000 bytes is more than the quota of a day"):
            await proxy.fetch(host)
    assert proxy.served == 0
