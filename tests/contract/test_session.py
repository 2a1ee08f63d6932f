"""The session against real sockets."""

import gzip
import json
import logging
import re
import socket
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from dicomhaul._version import __version__
from dicomhaul.errors import (
    ConfigError,
    Disconnected,
    Forbidden,
    HaulError,
    NotFound,
    RetryableError,
    ServerFailed,
    Throttled,
    TimedOut,
    Truncated,
    Unauthorized,
    Unsupported,
)
from dicomhaul.events import Tally
from dicomhaul.net.auth.fixed import BasicCredentials, NoCredentials
from dicomhaul.net.connecting import open_session
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.net.proxy import Proxies
from dicomhaul.net.session import Session
from dicomhaul.ports import Credentials
from dicomhaul.profile import Limits, Profile
from support.clock import FakeClock
from support.loopback import Asked, Reply, ok, open_loopback

pytestmark = pytest.mark.anyio

PASSWORD = "hunter2-never-show"
SECRET = "dXNlcjpodW50ZXIyLW5ldmVyLXNob3c="


@pytest.fixture(params=["dicomweb", "bucket"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All of this holds for either kind of host."""
    kind = str(request.param)
    monkeypatch.setitem(globals(), "KIND", kind)
    return kind


KIND: Literal["dicomweb", "bucket"] = "dicomweb"


def profile(**limits: float) -> Profile:
    return Profile(name="test", kind=KIND, limits=Limits.model_validate(limits))


@asynccontextmanager
async def session_at(
    url: str, credentials: Credentials | None = None, *, proxies: Proxies | None = None, **limits: float
) -> AsyncIterator[tuple[Session, Tally]]:
    endpoint = Endpoint(url, profile(**limits), max_connections=4, proxies=proxies or Proxies())
    tally = Tally()
    async with open_session(endpoint, credentials or NoCredentials(), clock=FakeClock(), tally=tally) as session:
        yield session, tally


async def body(session: Session, path: str = "studies") -> bytes:
    async with session.get(path, accept="*/*") as response:
        return await response.read(1_000_000)


async def failure(answer: Callable[[Asked], Reply], kind: type[HaulError], **limits: float) -> HaulError:
    async with open_loopback(answer) as server, session_at(server.url(), None, proxies=None, **limits) as (session, _):
        with pytest.raises(kind) as raised:
            await body(session)
    assert "studies" not in str(raised.value)
    assert "\n" not in str(raised.value)
    return raised.value


async def test_what_is_sent() -> None:
    async with open_loopback(lambda _: ok(b"[]")) as server, session_at(server.url("/dicom-web/")) as (session, tally):
        async with session.get(
            "studies", accept="application/dicom+json", params=[("PatientName", "DOE^J* A"), ("limit", "5")]
        ) as response:
            assert await response.read_json() == []
            assert response.status == 200
        async with session.get("", accept="a/b"):
            pass
    first, second = server.asked
    assert first.target == "/dicom-web/studies?PatientName=DOE%5EJ*%20A&limit=5"
    assert first.headers["accept"] == "application/dicom+json"
    assert first.headers["accept-encoding"] == "identity"
    assert first.headers["user-agent"] == f"dicomhaul/{__version__}"
    assert "authorization" not in first.headers
    assert "cookie" not in second.headers
    assert second.target == "/dicom-web/"
    assert server.connections == 1
    assert tally.requests == 2


@pytest.mark.parametrize("path", ["/studies", "http://evil/", "//evil", "../admin", "studies/../../x", "a?b", "a#b"])
async def test_a_path_cannot_leave_the_base_url(path: str) -> None:
    async with session_at("http://127.0.0.1:1/dicom-web") as (session, tally):
        with pytest.raises(ValueError, match="stays below"):
            await body(session, path)
        assert tally.requests == 0


@pytest.mark.parametrize(
    "url",
    ["", "pacs", "ftp://pacs/", "http://", "http://user:pw@pacs/", "http://pacs/?a=b", "http://pacs/#x",
     "http://pacs:99999/", "http://[::1"],
)  # fmt: skip
async def test_what_is_no_base_url_is_a_config_error(url: str) -> None:
    with pytest.raises(ConfigError) as raised:
        async with session_at(url):
            pass
    assert "pw" not in str(raised.value)


async def test_cookies_are_not_kept() -> None:
    sets = ok(Set_Cookie="a=b; Path=/")
    async with (
        open_loopback(lambda _: sets) as server,
        session_at(server.url(host="localhost")) as (session, _),  # no jar keeps a cookie for an address
    ):
        await body(session)
        await body(session)
    assert all("cookie" not in asked.headers for asked in server.asked)


async def test_headers_of_60_kb_are_taken() -> None:
    async with (
        open_loopback(lambda _: ok(b"x", Warning="299 " + "w" * 60_000)) as server,
        session_at(server.url()) as (session, _),
    ):
        assert await body(session) == b"x"


async def test_statuses_are_raised_as_verdicts_and_the_connection_is_kept() -> None:
    replies = [
        ok(b"PatientName=Doe", status="404 Not Found"),
        ok(b"busy", status="429 Too Many", Retry_After="9"),
        Reply(b"HTTP/1.1 503 Unavailable\r\nContent-Length: 40000\r\n\r\n", later=b"x" * 40_000),
        ok(b"fine"),
    ]
    async with open_loopback(lambda _: replies.pop(0)) as server, session_at(server.url()) as (session, _):
        with pytest.raises(NotFound, match=r"answers 404 \(Not Found\)") as missing:
            await body(session)
        assert "Doe" not in str(missing.value)
        with pytest.raises(Throttled) as throttled:
            await body(session)
        assert throttled.value.retry_after_s == 9.0
        with pytest.raises(ServerFailed):
            await body(session)
        assert await body(session) == b"fine"
    assert server.connections == 1


async def test_an_error_page_without_end_is_not_waited_for() -> None:
    error = await failure(
        lambda _: Reply(b"HTTP/1.1 503 Busy\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000, "close"),
        ServerFailed,
    )
    assert isinstance(error, ServerFailed)


async def test_a_long_body_comes_in_chunks_and_leaving_early_is_fine() -> None:
    async with open_loopback(lambda _: ok(b"x" * 3_000_000)) as server, session_at(server.url()) as (session, _):
        async with session.get("studies", accept="*/*") as response:
            async for chunk in response.iter_chunks():
                assert 0 < len(chunk) < 3_000_000
                break
        async with session.get("studies", accept="*/*") as response:
            assert sum([len(chunk) async for chunk in response.iter_chunks()]) == 3_000_000


async def test_reading_stops_at_the_limit() -> None:
    async with open_loopback(lambda _: ok(b"x" * 1001)) as server, session_at(server.url()) as (session, _):
        async with session.get("studies", accept="*/*") as response:
            with pytest.raises(Unsupported, match="more than 1,000 bytes"):
                await response.read(1000)
        async with session.get("studies", accept="*/*") as response:
            assert len(await response.read(1001)) == 1001


@pytest.mark.parametrize(
    ("reply", "value"),
    [
        (ok(json.dumps({"a": "ü"}).encode(), Content_Type="application/dicom+json"), {"a": "ü"}),
        (ok(b"[]", Content_Type="text/plain"), []),
        (ok(b"", status="204 No Content"), None),
        (ok(b" \r\n"), None),
    ],
)
async def test_json(reply: Reply, value: object) -> None:
    async with (
        open_loopback(lambda _: reply) as server,
        session_at(server.url()) as (session, _),
        session.get("studies", accept="*/*") as response,
    ):
        assert await response.read_json() == value


@pytest.mark.parametrize("head", ["HTTP/1.1 200 OK", "HTTP/1.0 200 OK", "HTTP/1.1 200 OK\r\nConnection: close"])
async def test_nothing_is_an_answer_only_where_it_is_stated(head: str) -> None:
    """Else a page of a search that is cut before its first byte would be the page after the last."""
    for stated in ("Content-Length: 0\r\n\r\n", "transfer-encoding: chunked\r\n\r\n0\r\n\r\n"):
        whole = Reply(f"{head}\r\n{stated}".encode(), then="close")
        async with open_loopback(lambda _: whole) as server, session_at(server.url()) as (session, _):  # noqa: B023
            assert await body(session) == b""
    cut = Reply(f"{head}\r\nContent-Type: application/dicom+json\r\n\r\n".encode(), then="close")
    error = await failure(lambda _: cut, Truncated)
    assert "before its first byte" in str(error)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (ok(b"<html>", Content_Type="text/html"), Unsupported),
        (ok(b"\xff\xfe"), Unsupported),
        (ok(b'[{"a":', Content_Type="application/dicom+json"), Truncated),
        (ok(b"[" * 100_000, Content_Type="application/json"), Truncated),
    ],
)
async def test_what_is_not_json(reply: Reply, kind: type[HaulError]) -> None:
    async with (
        open_loopback(lambda _: reply) as server,
        session_at(server.url()) as (session, _),
        session.get("studies", accept="*/*") as response,
    ):
        with pytest.raises(kind):
            await response.read_json()


@pytest.mark.parametrize(
    ("reply", "text"),
    [
        (Reply(b"", "close"), "without an answer"),
        (Reply(b"", "reset"), "closed|broke|without an answer"),
        (Reply(b"HTTP/1.1 200 OK\r\nContent-Le", "close"), "without an answer|in HTTP"),
        (Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "close"), "too early"),
        (Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", "reset"), "too early|broke"),
        (Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc", "close"), "too early"),
        (Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabcde\r\n", "close"), "too early"),
        (Reply(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n", "close"), "in HTTP|too early"),
        (Reply(b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "close"), "does not answer in HTTP"),
        (ok(b"x", Warning="w" * 200_000), "does not answer in HTTP"),
    ],
)  # fmt: skip
async def test_what_breaks_after_connecting_is_disconnected(reply: Reply, text: str) -> None:
    error = await failure(lambda _: reply, Disconnected)
    assert isinstance(error, RetryableError)
    assert error.connected
    assert re.search(text, str(error))


@pytest.mark.parametrize("coding", ["gzip", "x-gzip", "Deflate"])
async def test_a_coding_that_nobody_asked_for_is_undone(coding: str) -> None:
    packed = zlib.compress(b"[1]") if coding == "Deflate" else gzip.compress(b"[1]")
    reply = ok(packed, Content_Encoding=coding, Content_Type="application/json")
    async with (
        open_loopback(lambda _: reply) as server,
        session_at(server.url()) as (session, _),
        session.get("studies", accept="*/*") as response,
    ):
        assert await response.read_json() == [1]


@pytest.mark.parametrize(
    ("packed", "kind"),
    [
        (gzip.compress(bytes(50_000_000)), Unsupported),
        (gzip.compress(bytes(1000))[:-9], Truncated),
        (b"[1]", Truncated),
    ],
    ids=["too much", "cut", "none at all"],  # gzip writes the time into what it packs
)
async def test_a_coding_that_cannot_be_undone(packed: bytes, kind: type[HaulError]) -> None:
    await failure(lambda _: ok(packed, Content_Encoding="gzip"), kind)


async def test_a_body_that_ends_with_the_connection_has_no_stated_end() -> None:
    async with (
        open_loopback(lambda _: Reply(b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nabc", "close")) as server,
        session_at(server.url()) as (session, _),
    ):
        assert await body(session) == b"abc"


@pytest.mark.parametrize("data", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc"])
async def test_silence_is_timed_out(data: bytes) -> None:
    error = await failure(lambda _: Reply(data, "hang"), TimedOut, stall_timeout_s=0.05)
    assert isinstance(error, TimedOut)
    assert error.connected


async def test_a_refused_connection() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        async with session_at(f"http://127.0.0.1:{port}") as (session, _):
            with pytest.raises(Disconnected, match=f"no connection to 127.0.0.1:{port}: connection refused") as raised:
                await body(session)
    assert not raised.value.connected


async def test_a_connection_that_does_not_come_about_in_time() -> None:
    async with (
        open_loopback(lambda _: ok()) as silent,  # waits for HTTP, and never answers the TLS handshake
        session_at(silent.url(scheme="https"), connect_timeout_s=0.05) as (session, _),
    ):
        with pytest.raises(TimedOut, match="no connection to 127") as raised:
            await body(session)
    assert not raised.value.connected


async def test_a_name_that_does_not_exist() -> None:
    async with session_at("http://pacs.invalid/dicom-web") as (session, _):
        with pytest.raises(Disconnected, match=r"name of pacs\.invalid cannot be looked up") as raised:
            await body(session)
    assert not raised.value.connected


async def test_an_idle_connection_is_not_used_again_after_the_profile_s_time() -> None:
    async with open_loopback(lambda _: ok(b"x")) as server:
        async with session_at(server.url(), keepalive_s=0.0) as (session, _):
            await body(session)
            await body(session)
        assert server.connections == 2
        assert server.asked[0].headers["connection"] == "close"


# --- redirects -------------------------------------------------------------------------------------------------------


def redirect(location: str, status: str = "302 Found") -> Reply:
    return ok(b"moved", status=status, Location=location)


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"])
async def test_a_redirect_on_the_same_host_keeps_the_credentials(status: str) -> None:
    def answer(asked: Asked) -> Reply:
        return ok(b"there") if asked.target.endswith("new?x=1") else redirect("/dicom-web/new?x=1", status)

    async with (
        open_loopback(answer) as server,
        session_at(server.url(), BasicCredentials("user", PASSWORD)) as (session, tally),
    ):
        assert await body(session) == b"there"
    assert [asked.headers["authorization"] for asked in server.asked] == [f"Basic {SECRET}"] * 2
    assert tally.requests == 2


@pytest.mark.parametrize(
    "where", ["http://localhost:{port}/x", "http://a:b@localhost:{port}/x", "//localhost:{port}/x"]
)
async def test_credentials_do_not_follow_to_another_name(where: str) -> None:
    async with open_loopback(lambda _: ok(b"there")) as server:
        target = where.format(port=server.port)
        async with (
            open_loopback(lambda _: redirect(target)) as first,
            session_at(first.url(), BasicCredentials("user", PASSWORD)) as (session, _),
        ):
            assert await body(session) == b"there"
    assert "authorization" in first.asked[0].headers
    assert "authorization" not in server.asked[0].headers


async def test_credentials_do_not_follow_to_another_port_and_back_they_do() -> None:
    home: list[str] = []
    async with open_loopback(lambda _: redirect(home[0])) as abroad:

        def answer(asked: Asked) -> Reply:
            return ok(b"home") if asked.target == "/back" else redirect(abroad.url("/x"))

        async with (
            open_loopback(answer) as first,
            session_at(first.url(), BasicCredentials("user", PASSWORD)) as (session, _),
        ):
            home.append(first.url("/back"))
            assert await body(session) == b"home"
    assert "authorization" not in abroad.asked[0].headers
    assert [("authorization" in asked.headers) for asked in first.asked] == [True, True]


async def test_who_wants_credentials_abroad_gets_none() -> None:
    denied = ok(status="401 No", WWW_Authenticate="Basic")
    async with open_loopback(lambda _: denied) as abroad:
        for host, kind in (("localhost", Forbidden), ("127.0.0.1", Unauthorized)):
            target = abroad.url("/x", host=host)
            async with (
                open_loopback(lambda _, target=target: redirect(target)) as first,  # type: ignore[misc]
                session_at(first.url(), BasicCredentials("user", PASSWORD)) as (session, _),
            ):
                with pytest.raises(kind, match="redirects to") as raised:
                    await body(session)
                assert PASSWORD not in str(raised.value)
    assert all("authorization" not in asked.headers for asked in abroad.asked)


@pytest.mark.parametrize(
    "location",
    ["/dicom-web/studies", "ftp://x/", "file:///etc/passwd", "http://", "http://[::1", "javascript:alert(1)",
     "http://" + "a" * 300 + "/", "http://127.1/x"],
)  # fmt: skip
async def test_redirects_that_lead_nowhere(location: str) -> None:
    error = await failure(lambda _: redirect(location), HaulError)
    assert isinstance(error, (Unsupported, Disconnected))


@pytest.mark.parametrize(
    "host",
    [".".join(["a" * 60] * 5), ".".join(["a" * 60] * 500), "a b", "a%1b.example", "a\"'<b>.example", "a\x7f.example",
     "[v1.\x7f]", "[v1.<b>]", "a;b.example"],
    ids=["254 and more", "30,499", "space", "percent", "markup", "DEL", "IPvFuture, DEL", "IPvFuture", "semicolon"],
)  # fmt: skip
async def test_a_host_that_no_message_could_show_is_not_asked(host: str) -> None:
    """Where a redirect leads is what somebody else says, and stands in messages."""
    error = await failure(lambda _: redirect(f"http://{host}/x"), HaulError)
    assert isinstance(error, (Unsupported, Disconnected))
    assert host not in str(error)
    assert len(str(error)) < 200
    assert str(error).isprintable()


async def test_six_redirects_are_too_many() -> None:
    def answer(asked: Asked) -> Reply:
        return redirect(asked.target + "x")

    async with open_loopback(answer) as server, session_at(server.url()) as (session, _):
        with pytest.raises(Unsupported, match="too often"):
            await body(session)
    assert len(server.asked) == 6


@pytest.mark.parametrize("reply", [ok(status="302 Found"), ok(status="304 Not Modified"), ok(status="300 Many")])
async def test_a_3xx_that_is_no_redirect_is_a_refusal(reply: Reply) -> None:
    assert isinstance(await failure(lambda _: reply, Unsupported), Unsupported)


# --- 401 -------------------------------------------------------------------------------------------------------------


class Numbered:
    """Credentials whose value changes with each refusal, up to a last one."""

    identity = "a number"

    def __init__(self, last: int = 99) -> None:
        self.number = 1
        self.last = last

    async def authorization(self, *, stale: str | None = None) -> str | None:
        if stale == f"Bearer {self.number}":
            if self.number == self.last:
                raise Unauthorized("no newer one")
            self.number += 1
        return f"Bearer {self.number}"

    async def aclose(self) -> None:
        pass


def only(value: str) -> Callable[[Asked], Reply]:
    def answer(asked: Asked) -> Reply:
        return ok(b"in") if asked.headers.get("authorization") == value else ok(status="401 Unauthorized")

    return answer


async def test_a_401_is_replayed_once_with_fresh_credentials() -> None:
    async with open_loopback(only("Bearer 2")) as server, session_at(server.url(), Numbered()) as (session, tally):
        assert await body(session) == b"in"
        assert await body(session) == b"in"
    assert [asked.headers["authorization"] for asked in server.asked] == ["Bearer 1", "Bearer 2", "Bearer 2"]
    assert server.connections == 1
    assert tally.requests == 3


async def test_a_401_is_not_replayed_twice() -> None:
    async with open_loopback(only("never")) as server, session_at(server.url(), Numbered()) as (session, _):
        with pytest.raises(Unauthorized, match="401"):
            await body(session)
    assert len(server.asked) == 2


async def test_a_401_without_anything_newer_is_not_replayed() -> None:
    async with open_loopback(only("never")) as server, session_at(server.url(), Numbered(1)) as (session, _):
        with pytest.raises(Unauthorized, match="no newer"):
            await body(session)
    assert len(server.asked) == 1


async def test_a_401_without_credentials_is_unauthorized() -> None:
    async with open_loopback(only("never")) as server, session_at(server.url()) as (session, _):
        with pytest.raises(Unauthorized, match="401"):
            await body(session)
    assert len(server.asked) == 1


# --- the environment -------------------------------------------------------------------------------------------------


async def test_netrc_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login user password leak\ndefault login user password leak\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    async with open_loopback(lambda _: ok()) as server, session_at(server.url()) as (session, _):
        await body(session)
    assert "authorization" not in server.asked[0].headers


async def test_a_proxy_is_used_and_gets_its_own_credentials_only() -> None:
    async with open_loopback(lambda _: ok(b"by proxy")) as proxy:
        proxies = Proxies.from_environ({"http_proxy": f"http://user:pw@127.0.0.1:{proxy.port}"})
        async with session_at("http://pacs.invalid/dicom-web", proxies=proxies) as (session, _):
            assert await body(session) == b"by proxy"
    assert proxy.asked[0].target == "http://pacs.invalid/dicom-web/studies"
    assert proxy.asked[0].headers["proxy-authorization"] == "Basic dXNlcjpwdw=="
    assert "authorization" not in proxy.asked[0].headers


@pytest.mark.parametrize(
    ("reply", "kind", "text"),
    [
        (ok(status="407 Proxy Authentication Required"), HaulError, "proxy"),
        (ok(status="502 Bad Gateway"), Disconnected, "proxy does not reach"),
    ],
)
async def test_a_proxy_that_does_not_let_us_through(reply: Reply, kind: type[HaulError], text: str) -> None:
    async with open_loopback(lambda _: reply) as proxy:
        proxies = Proxies.from_environ({"https_proxy": f"127.0.0.1:{proxy.port}"})
        async with session_at("https://pacs.invalid/dicom-web", proxies=proxies) as (session, _):
            with pytest.raises(kind, match=text):
                await body(session)
    assert proxy.asked[0].method == "CONNECT"


async def test_a_proxy_that_is_not_there() -> None:
    proxies = Proxies.from_environ({"http_proxy": "http://127.0.0.1:1"})
    async with session_at("http://pacs.invalid/dicom-web", proxies=proxies) as (session, _):
        with pytest.raises(Disconnected, match="proxy") as raised:
            await body(session)
    assert not raised.value.connected


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    replies = [ok(status="500 Oops"), redirect("/dicom-web/x"), ok(b"in"), Reply(b"", "close"), Reply(b"", "close")]
    async with (
        open_loopback(lambda _: replies.pop(0)) as server,
        session_at(server.url(), BasicCredentials("user", PASSWORD)) as (session, _),
    ):
        for _ in range(3):
            try:
                await body(session)
            except HaulError as error:
                caplog.records.append(logging.makeLogRecord({"msg": repr(error) + repr(error.__cause__)}))
    text = "\n".join(record.getMessage() for record in caplog.records)
    assert PASSWORD not in text
    assert SECRET not in text
