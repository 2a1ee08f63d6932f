"""The session and TLS: what is trusted, and what is said when it is not."""

import asyncio
import datetime as dt
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import pytest
import trustme

from dicomhaul.errors import ConfigError, Disconnected, RetryableError, SourceDown, Truncated, Unsupported
from dicomhaul.net.auth.fixed import BasicCredentials, NoCredentials
from dicomhaul.net.connecting import open_session
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.net.session import Session
from dicomhaul.profile import Limits, Profile
from support.clock import FakeClock
from support.loopback import Asked, Reply, ok, open_loopback

pytestmark = pytest.mark.anyio

PROFILE = Profile(name="test", limits=Limits(connect_timeout_s=5.0, stall_timeout_s=5.0))


@pytest.fixture(params=["dicomweb", "bucket"], autouse=True)
def kind(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """All of this holds whoever sends the requests: aiohttp, or for buckets `net.direct`."""
    kind = str(request.param)
    monkeypatch.setitem(globals(), "PROFILE", PROFILE.model_copy(update={"kind": kind}))
    return kind


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def ca_file(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = tmp_path_factory.mktemp("tls") / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@asynccontextmanager
async def session_at(
    url: str,
    *,
    ca_file: Path | None = None,
    client_cert: Path | None = None,
    password: str | None = None,
) -> AsyncIterator[Session]:
    endpoint = Endpoint(url, PROFILE, max_connections=2, ca_file=ca_file, client_cert=client_cert)
    credentials = NoCredentials() if password is None else BasicCredentials("user", password)
    async with open_session(endpoint, credentials, clock=FakeClock()) as session:
        yield session


async def body(session: Session) -> bytes:
    async with session.get("studies", accept="*/*") as response:
        return await response.read(1_000_000)


def hello(_asked: Asked) -> Reply:
    return ok(b"hello")


async def test_a_named_authority_is_trusted(authority: trustme.CA, ca_file: Path) -> None:
    tls = server_context(authority.issue_cert("127.0.0.1"))
    async with (
        open_loopback(hello, tls=tls) as server,
        session_at(server.url(scheme="https"), ca_file=ca_file) as session,
    ):
        assert await body(session) == b"hello"


async def test_an_unknown_authority_is_not_and_the_message_says_what_to_do(authority: trustme.CA) -> None:
    tls = server_context(authority.issue_cert("127.0.0.1"))
    async with open_loopback(hello, tls=tls) as server, session_at(server.url(scheme="https")) as session:
        with pytest.raises(SourceDown, match=r"certificate of 127\.0\.0\.1:[0-9]+ is not accepted: .*--ca-file"):
            await body(session)
    assert server.asked == []


async def test_a_certificate_for_another_name(authority: trustme.CA, ca_file: Path) -> None:
    tls = server_context(authority.issue_cert("pacs.example"))
    async with (
        open_loopback(hello, tls=tls) as server,
        session_at(server.url(scheme="https"), ca_file=ca_file) as session,
    ):
        with pytest.raises(SourceDown, match=r"not valid for '127\.0\.0\.1'") as raised:
            await body(session)
    assert "--ca-file" not in str(raised.value)


async def test_an_expired_certificate(authority: trustme.CA, ca_file: Path) -> None:
    past = dt.datetime(2001, 1, 1, tzinfo=dt.UTC)
    tls = server_context(authority.issue_cert("127.0.0.1", not_before=past, not_after=past.replace(year=2002)))
    async with (
        open_loopback(hello, tls=tls) as server,
        session_at(server.url(scheme="https"), ca_file=ca_file) as session,
    ):
        with pytest.raises(SourceDown, match="expired"):
            await body(session)


async def test_https_to_a_port_that_speaks_http(ca_file: Path) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        async with session_at(url, ca_file=ca_file) as session:
            with pytest.raises(SourceDown, match="does not speak TLS"):
                await body(session)


async def test_http_to_a_port_that_speaks_https(authority: trustme.CA) -> None:
    tls = server_context(authority.issue_cert("127.0.0.1"))
    async with open_loopback(hello, tls=tls) as server, session_at(server.url()) as session:
        with pytest.raises(RetryableError) as raised:
            await body(session)
    assert isinstance(raised.value, Disconnected)


@pytest.mark.parametrize(
    ("head", "reason"),
    [
        (b"", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Le", "without an answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhello", "too early"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n", "too early"),
        (b"HTTP/1.1 200 OK\r\n\r\n", "before its first byte"),
    ],
)
async def test_who_ends_the_connection_without_ending_tls_has_not_answered(
    authority: trustme.CA, ca_file: Path, head: bytes, reason: str
) -> None:
    """As somebody on the line can, where only the other end can send a close_notify (RFC 9112 section 9.8)."""
    context = server_context(authority.issue_cert("127.0.0.1"))
    async with (
        open_loopback(lambda _: Reply(head, then="reset"), tls=context) as server,
        session_at(server.url(scheme="https"), ca_file=ca_file) as session,
    ):
        with pytest.raises((Disconnected, Truncated), match=reason):
            await body(session)


@pytest.fixture
def client_cert(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "client.pem"
    authority.issue_cert("client@example.org").private_key_and_cert_chain_pem.write_to_path(str(path))
    return path


@pytest.fixture
def picky(authority: trustme.CA) -> ssl.SSLContext:
    """A server that wants a client certificate."""
    context = server_context(authority.issue_cert("127.0.0.1"))
    context.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(context)
    return context


async def test_a_client_certificate_is_shown(picky: ssl.SSLContext, ca_file: Path, client_cert: Path) -> None:
    async with (
        open_loopback(hello, tls=picky) as server,
        session_at(server.url(scheme="https"), ca_file=ca_file, client_cert=client_cert) as session,
    ):
        assert await body(session) == b"hello"


async def test_a_host_that_wants_a_client_certificate_says_so(picky: ssl.SSLContext, ca_file: Path) -> None:
    # TLS 1.3 refuses after the handshake, and the reset that follows often swallows the reason.
    picky.maximum_version = ssl.TLSVersion.TLSv1_2
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def refuse() -> None:  # with blocking sockets, because asyncio's server goes away without the alert
            connection, _address = listening.accept()
            with connection, pytest.raises(ssl.SSLError):
                picky.wrap_socket(connection, server_side=True)

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, refuse)
            url = f"https://127.0.0.1:{listening.getsockname()[1]}"
            async with session_at(url, ca_file=ca_file) as session:
                with pytest.raises(SourceDown, match="client certificate"):
                    await body(session)


async def test_a_client_certificate_is_shown_to_nobody_else(
    authority: trustme.CA, picky: ssl.SSLContext, ca_file: Path, client_cert: Path
) -> None:
    async with open_loopback(hello, tls=picky) as abroad:
        target = abroad.url("/there", scheme="https")
        tls = server_context(authority.issue_cert("127.0.0.1"))
        async with (
            open_loopback(lambda _: ok(status="302 Found", Location=target), tls=tls) as server,
            session_at(server.url(scheme="https"), ca_file=ca_file, client_cert=client_cert) as session,
        ):
            with pytest.raises(Disconnected):
                await body(session)
    assert abroad.asked == []


async def test_a_redirect_to_a_certificate_that_nobody_trusts_says_nothing_of_the_host(ca_file: Path) -> None:
    """Asked itself, a host with such a certificate is left at once; this one has all else to give."""
    untrusted = server_context(trustme.CA().issue_cert("127.0.0.1"))
    async with open_loopback(hello, tls=untrusted) as abroad:
        target = abroad.url("/there", scheme="https")
        async with (
            open_loopback(lambda _: ok(status="302 Found", Location=target)) as server,
            session_at(server.url(), ca_file=ca_file) as session,
        ):
            with pytest.raises(Unsupported, match="certificate of"):
                await body(session)
    assert abroad.asked == []


async def test_a_redirect_from_https_to_http_is_not_followed(authority: trustme.CA, ca_file: Path) -> None:
    tls = server_context(authority.issue_cert("127.0.0.1"))
    async with open_loopback(hello) as clear:
        target = clear.url("/there")
        async with open_loopback(lambda _: ok(status="302 Found", Location=target), tls=tls) as server:
            url = server.url(scheme="https")
            async with session_at(url, ca_file=ca_file, password="secret") as session:
                with pytest.raises(Unsupported, match="from https to http"):
                    await body(session)
    assert clear.asked == []


async def test_credentials_do_not_follow_from_http_to_https(authority: trustme.CA, ca_file: Path) -> None:
    tls = server_context(authority.issue_cert("127.0.0.1"))
    async with open_loopback(hello, tls=tls) as server:
        target = server.url("/there", scheme="https")
        async with (
            open_loopback(lambda _: ok(status="301 Moved", Location=target)) as first,
            session_at(first.url(), ca_file=ca_file, password="secret") as session,
        ):
            assert await body(session) == b"hello"
    assert "authorization" in first.asked[0].headers
    assert "authorization" not in server.asked[0].headers


@pytest.mark.parametrize("content", [None, "", "not PEM"])
async def test_files_that_cannot_be_used_are_named(tmp_path: Path, ca_file: Path, content: str | None) -> None:
    file = tmp_path / "some.pem"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=r"CA file .*some\.pem"):
        async with session_at("https://127.0.0.1:1", ca_file=file):
            pass
    with pytest.raises(ConfigError, match=r"client certificate .*some\.pem"):
        async with session_at("https://127.0.0.1:1", ca_file=ca_file, client_cert=file):
            pass
