"""HTTP that never comes to the point: a head, a trailer or an extension without end is given up before it is large."""

import anyio
import pytest

from dicomhaul.errors import Disconnected
from dicomhaul.net.dial import Place
from dicomhaul.net.direct import Direct
from support.loopback import Reply, open_loopback

pytestmark = pytest.mark.anyio

ENOUGH = 1 << 20  # bytes that are sent, and then nothing: whoever waits for more has held all of them
OK = b"HTTP/1.1 200 OK\r\n"
CHUNKED = OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"


@pytest.mark.parametrize(
    ("begin", "filler"),
    [
        (OK + b"X: ", b"y"),
        (OK, b"X: y\r\n"),
        (OK, b"X"),
        (b"HTTP/1.1 200 ", b"O"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"", b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"),
        (b"", b"\r\n"),
        (CHUNKED + b"0\r\nX: ", b"y"),
        (CHUNKED + b"0\r\n", b"X: y\r\n"),
        (CHUNKED + b"5;x=", b"y"),
        (CHUNKED, b"0"),
    ],
)
async def test_what_is_no_body_has_to_end(begin: bytes, filler: bytes) -> None:
    reply = Reply(begin + filler * (ENOUGH // len(filler)), then="hang")
    async with open_loopback(lambda _: reply) as server:
        direct = Direct(
            Place("127.0.0.1", server.port, "here", "here", None),
            headers={},
            keepalive_s=60.0,
            connect_timeout_s=5.0,
            stall_timeout_s=60.0,
        )
        try:
            with anyio.fail_after(30), pytest.raises(Disconnected):
                await _body(direct)
        finally:
            direct.close()


async def _body(direct: Direct) -> None:
    async with await direct.get("/a", {}) as answer:
        while await answer.content.readany():
            pass
