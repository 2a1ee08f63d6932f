"""Connections of our own, against answers written by hand: what of HTTP a bucket's server may do, and what it may not.

What holds for both ways of asking is tried in `test_session`.
"""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import anyio
import anyio.lowlevel
import pytest

from dicomhaul.errors import Disconnected, TimedOut
from dicomhaul.net.dial import Place
from dicomhaul.net.direct import Direct
from support.loopback import Asked, Loopback, Reply, ok, open_loopback

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def direct_to(
    answer: Callable[[Asked], Reply], *, keepalive_s: float = 60.0, stall_timeout_s: float = 60.0
) -> AsyncIterator[tuple[Direct, Loopback]]:
    async with open_loopback(answer) as server:
        direct = Direct(
            Place("127.0.0.1", server.port, f"127.0.0.1:{server.port}", "here", None),
            headers={"User-Agent": "test"},
            keepalive_s=keepalive_s,
            connect_timeout_s=5.0,
            stall_timeout_s=stall_timeout_s,
        )
        try:
            yield direct, server
        finally:
            direct.close()
            for _ in range(5):
                await anyio.lowlevel.checkpoint()


async def body(direct: Direct, target: str = "/a") -> bytes:
    async with await direct.get(target, {}) as answer:
        pieces = []
        while chunk := await answer.content.readany():
            pieces.append(chunk)
        return b"".join(pieces)


async def test_what_is_sent_and_what_comes() -> None:
    async with (
        direct_to(lambda _: ok(b"hello", X_A="1", x_a="2")) as (direct, server),
        await direct.get("/b/k?x=%2F", {"Range": "bytes=5-", "If-Match": '"e"'}) as answer,
    ):
        assert answer.status == 200
        assert answer.headers["content-length"] == "5"
        assert answer.headers.getall("X-a") == ["1", "2"]
        assert await answer.content.readany() == b"hello"
        assert await answer.content.readany() == b""
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("GET", "/b/k?x=%2F")
    assert asked.headers == {
        "host": f"127.0.0.1:{server.port}",
        "user-agent": "test",
        "range": "bytes=5-",
        "if-match": '"e"',
    }


@pytest.mark.parametrize(
    "reply",
    [
        Reply(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2;x=y\r\nlo\r\n0\r\nTrailer: x\r\n\r\n"
        ),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Le", later=b"ngth: 5\r\n\r\nhello"),
        Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", later=b"llo"),
        Reply(b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
        Reply(b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello"),
    ],
)
async def test_a_connection_serves_again(reply: Reply) -> None:
    async with direct_to(lambda _: reply) as (direct, server):
        assert [await body(direct) for _ in range(3)] == [b"hello"] * 3
    assert server.connections == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(b"HTTP/1.1 200 OK\r\n\r\nhello", then="close"),
        Reply(b"HTTP/1.0 200 OK\r\n\r\nhello", then="close"),
        ok(b"hello", Connection="close"),
        Reply(ok(b"hello").data + b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"),
        Reply(ok(b"hello").data + b"rubbish"),
    ],
)
async def test_a_connection_that_does_not_serve_again(reply: Reply) -> None:
    """Whatever lies behind an answer is never taken for the next one."""
    async with direct_to(lambda _: reply) as (direct, server):
        assert [await body(direct) for _ in range(3)] == [b"hello"] * 3
    assert server.connections == 3


async def test_what_comes_unasked_ends_the_connection() -> None:
    evil = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    replies = iter([Reply(ok(b"hello").data, later=evil)])
    async with direct_to(lambda _: next(replies, None) or ok(b"hello")) as (direct, server):
        assert await body(direct) == b"hello"
        with anyio.fail_after(5):
            while direct._idle and not direct._idle[0].lost:
                await anyio.lowlevel.checkpoint()
        assert await body(direct) == b"hello"
    assert server.connections == 2


async def test_an_answer_that_was_left_takes_its_connection_along() -> None:
    async with direct_to(lambda _: Reply(ok(bytes(3_000_000)).data)) as (direct, server):
        async with await direct.get("/a", {}) as answer:
            assert await answer.content.readany()
        assert len(await body(direct)) == 3_000_000
    assert server.connections == 2


async def test_a_used_connection_that_was_closed_is_replaced() -> None:
    """But a server that closes a fresh one without an answer is not asked again."""
    replies = iter(
        [Reply(ok(b"one").data), Reply(b"", then="close"), Reply(ok(b"two").data), *[Reply(b"", then="close")] * 2]
    )
    async with direct_to(lambda _: next(replies)) as (direct, server):
        assert await body(direct) == b"one"
        assert await body(direct) == b"two"
        assert (server.connections, len(server.asked)) == (2, 3)
        with pytest.raises(Disconnected, match="without an answer"):
            await body(direct)
    assert len(server.asked) == 5


@pytest.mark.parametrize(
    ("begun", "reason"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", "too early"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello", "not as it should"),
        (b"SSH-2.0-OpenSSH\r\n", "does not answer in HTTP"),
    ],
)
async def test_an_answer_that_has_begun_is_not_asked_for_again(begun: bytes, reason: str) -> None:
    """Here, that is, where no attempt is counted."""
    replies = iter([ok(b"one"), Reply(begun, then="close")])
    async with direct_to(lambda _: next(replies)) as (direct, server):
        assert await body(direct) == b"one"
        with pytest.raises(Disconnected, match=reason):
            await body(direct)
    assert len(server.asked) == 2


async def test_what_came_before_a_cut_is_not_lost() -> None:
    reply = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 900000\r\n\r\n" + bytes(800_000), then="close")
    taken: list[int] = []

    async def take(direct: Direct) -> None:
        async with await direct.get("/a", {}) as answer:
            while chunk := await answer.content.readany():
                taken.append(len(chunk))

    async with direct_to(lambda _: reply) as (direct, _):
        with pytest.raises(Disconnected):
            await take(direct)
    assert sum(taken) == 800_000


@pytest.mark.parametrize(
    "data",
    [
        b"SSH-2.0-OpenSSH\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 70_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 40_000 + b"\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    ],
)
async def test_what_is_no_http(data: bytes) -> None:
    async with direct_to(lambda _: Reply(data, then="close")) as (direct, _):
        with pytest.raises(Disconnected):
            await body(direct)


async def test_a_body_that_nobody_takes_is_not_read_on() -> None:
    """And waiting for us is no silence of the server's."""
    size = 8_000_000
    async with (
        direct_to(lambda _: ok(bytes(size)), stall_timeout_s=0.02) as (direct, _),
        await direct.get("/a", {}) as answer,
    ):
        connection = answer._connection
        with anyio.fail_after(5):
            while not connection._paused:
                await anyio.lowlevel.checkpoint()
        connection.look(connection.heard_at + 1.0)
        assert answer._held < 1_500_000
        total = 0
        while chunk := await answer.content.readany():
            total += len(chunk)
            await anyio.lowlevel.checkpoint()
    assert total == size


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe"])
async def test_silence_is_found_out(data: bytes) -> None:
    async with direct_to(lambda _: Reply(data, then="hang"), stall_timeout_s=0.05) as (direct, _):
        with pytest.raises(TimedOut, match="gone silent"):
            await body(direct)


async def test_a_drip_is_silence() -> None:
    """Each byte by itself is some news; ten of them in all the time that silence is allowed are none."""
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    async with (
        direct_to(lambda _: Reply(head, later=bytes(10), then="hang")) as (direct, _),
        await direct.get("/a", {}) as answer,
    ):
        heard_at = answer._connection.heard_at
        assert len(await answer.content.readany()) == 10
        assert answer._connection.heard_at == heard_at
        answer._connection.look(heard_at + 1.0)
        with pytest.raises(TimedOut, match="gone silent"):
            await answer.content.readany()


async def test_a_kib_is_news() -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n"
    async with (
        direct_to(lambda _: Reply(head, later=bytes(1024), then="hang")) as (direct, _),
        await direct.get("/a", {}) as answer,
    ):
        answer._connection.heard_at = 0.0
        assert await answer.content.readany()
        assert answer._connection.heard_at > 0.0


async def test_interim_answers_do_not_come_for_ever() -> None:
    one = b"HTTP/1.1 103 Early Hints\r\nLink: " + b"x" * 1_000 + b"\r\n\r\n"
    async with direct_to(lambda _: Reply(one * 100, then="hang")) as (direct, _):
        with pytest.raises(Disconnected, match="does not answer in HTTP"):
            await body(direct)


async def test_an_idle_connection_is_no_silence() -> None:
    async with direct_to(lambda _: ok(b"x"), stall_timeout_s=0.02) as (direct, server):
        await body(direct)
        (connection,) = direct._all
        connection.look(connection.heard_at + 1.0)
        await body(direct)
    assert server.connections == 1


async def test_an_old_connection_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    async with direct_to(lambda _: ok(b"x"), keepalive_s=10.0) as (direct, server):
        await body(direct)
        for connection in direct._all:
            connection.heard_at -= 11.0
        await body(direct)
        assert len(direct._all) == 1
    assert server.connections == 2


async def test_who_leaves_before_the_head_takes_the_connection_along() -> None:
    async with direct_to(lambda _: Reply(b"", then="hang")) as (direct, server):
        with anyio.move_on_after(0.05):
            await direct.get("/a", {})
        assert len(server.asked) == 1
        assert direct._all == set()


async def test_what_is_released_twice_is_released_once() -> None:
    halved = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhe", later=b"llo")
    async with direct_to(lambda _: halved) as (direct, server):
        first = await direct.get("/a", {})
        while await first.content.readany():
            pass
        first.release()
        second = await direct.get("/b", {})
        first.release()
        assert await second.content.readany() == b"he"
        assert await second.content.readany() == b"llo"
        assert await second.content.readany() == b""
        second.release()
        assert await body(direct) == b"hello"
    assert server.connections == 1


async def test_no_header_can_carry_another() -> None:
    async with direct_to(lambda _: ok(b"x")) as (direct, server):
        with pytest.raises(ValueError, match="line's end"):
            await direct.get("/a", {"If-Match": '"e"\r\nX-Evil: 1'})
    assert server.asked == []
