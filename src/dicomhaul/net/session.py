"""One GET after the other from one host: the only place, with `foreign`, that knows aiohttp's client.

Buckets are asked by `direct` instead, as long as no proxy, credentials or redirect come into it.

What it sees to: timeouts on connecting and on silence but none in total, TLS, proxy, at most 5 redirects, header
limits above aiohttp's, one replay with fresh credentials after a 401. Credentials go to the host they are for
(scheme, name and port alike) and nowhere else. Cookies are not kept, `~/.netrc` is not read.

A status of 300 and above is raised as what `verdict` makes of it. Its body is dropped unread, so that nothing it holds
can get into a message.

What it does not: try again (`retry`), wait for its turn (`gate`).
"""

import json
import re
import sys
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from types import MappingProxyType
from typing import Any, NoReturn, Self
from urllib.parse import quote, urlencode

import aiohttp
import anyio
from yarl import URL

from dicomhaul._version import __version__
from dicomhaul.errors import Forbidden, HaulError, RetryableError, Truncated, Unauthorized, Unsupported
from dicomhaul.events import Tally
from dicomhaul.net.dial import Place
from dicomhaul.net.direct import Answer, Direct
from dicomhaul.net.endpoint import Endpoint, Tls, can_be_asked, host_of, parse_base
from dicomhaul.net.foreign import FOREIGN, error_for
from dicomhaul.net.line import Line
from dicomhaul.net.verdict import error_for_status
from dicomhaul.ports import Clock, Credentials

JSON_LIMIT_BYTES = 64 * 1024 * 1024  # a page of 50,000 instances (Google's largest) is about half of it

_HEADER_BYTES = 64 * 1024  # aiohttp's 8 KiB is less than some Warning and CSP headers
_READ_BYTES = 64 * 1024  # aiohttp holds twice as much of a body; more was measured to gain nothing
_PLAIN_PATH = re.compile(r"[0-9A-Za-z._/-]+\Z")
_LENGTHS = frozenset({"content-length", "transfer-encoding"})
_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_REDIRECTS = 5
_REDIRECT_STATUS = frozenset({301, 302, 303, 307, 308})
_GRACE_S = 0.05  # transports need a moment after close, or Python warns of unclosed ones
_DROP_BYTES = 64 * 1024  # an unwanted body up to this is read, which keeps the connection
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})
_DROP_S = 2.0  # and if that takes longer, the connection is not worth it


_Raw = aiohttp.ClientResponse | Answer


class Response:
    """The response to one GET, inside its `async with`: a success (2xx), unless any status was asked for."""

    __slots__ = ("_charge", "_host", "_line", "_raw", "headers", "status")

    def __init__(self, raw: _Raw, host: str, line: Line, charge: Callable[[int], None] | None) -> None:
        self._raw = raw
        self._host = host
        self._line = line
        self._charge = charge
        self.status: int = raw.status
        self.headers: Mapping[str, str] = raw.headers  # case-insensitive

    @property
    def content_type(self) -> str | None:
        """The Content-Type header as it came; None without one."""
        return self.headers.get("Content-Type")

    def each_header(self, name: str) -> Sequence[str]:
        """Return every value of a header that may come more than once, in order."""
        return self._raw.headers.getall(name, [])

    def iter_chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, in chunks of any size.

        Raises Disconnected when a body ends before its stated end, TimedOut when nothing comes for too long. A body
        that is ended by closing the connection states no end.
        """
        return _Chunks(self._raw.content, self._host, self._line, self._charge)

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body, without what gzip or zlib has made of it.

        Raises Unsupported if it is longer than `limit_bytes`, Truncated if it cannot be inflated, or if nothing came
        although nobody has said that there is nothing: the connection has ended, and an empty page of a search would
        end the search. Else as `iter_chunks`.
        """
        pieces: list[bytes] = []
        left = limit_bytes
        async for chunk in self.iter_chunks():
            left -= len(chunk)
            if left < 0:
                raise self._too_long(limit_bytes)
            pieces.append(chunk)
        if not pieces and self.status != 204 and _LENGTHS.isdisjoint(name.lower() for name in self.headers):
            raise Truncated(f"{self._host} ended the answer before its first byte")
        return self._decoded(b"".join(pieces), limit_bytes)

    def _decoded(self, body: bytes, limit_bytes: int) -> bytes:
        """Undo the coding of a server that sends one although none was asked for (RFC 9110 section 8.4)."""
        coding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in _INFLATED or not body:
            return body
        inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            body = inflater.decompress(body, limit_bytes + 1)
        except zlib.error:
            raise Truncated(f"{self._host} answers with {coding} that is none") from None
        if len(body) > limit_bytes:
            raise self._too_long(limit_bytes)
        if not inflater.eof:
            raise Truncated(f"{self._host} answers with {coding} that is cut")
        return body

    def _too_long(self, limit_bytes: int) -> Unsupported:
        return Unsupported(
            f"{self._host} answers with more than {limit_bytes:,} bytes where less was expected", status=self.status
        )

    async def read_json(self, limit_bytes: int = JSON_LIMIT_BYTES) -> Any:
        """Return the body read as JSON; None for 204 and for an empty body.

        Raises Unsupported if it is too long, or is not labelled as JSON and is none (a login page, say); Truncated
        if it is labelled as JSON and does not parse; else as `iter_chunks`.
        """
        body = await self.read(limit_bytes)
        if self.status == 204 or not body.strip():
            return None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):  # ValueError: undecodable text, too
            if "json" in (self.content_type or "").lower():
                raise Truncated(f"{self._host} answers with JSON that is broken or cut") from None
            raise Unsupported(
                f"{self._host} answers with something else than JSON: is it a DICOMweb server, and is the path of "
                "its URL right?",
                status=self.status,
            ) from None


class _Chunks:
    """An iterator and not a generator: a consumer that leaves early has nothing to close."""

    __slots__ = ("_charge", "_content", "_host", "_line")

    def __init__(
        self, content: aiohttp.StreamReader | Answer, host: str, line: Line, charge: Callable[[int], None] | None
    ) -> None:
        self._content = content
        self._host = host
        self._line = line
        self._charge = charge

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._content.readany()
        except FOREIGN as error:
            raise error_for(error, self._host) from None  # its text may quote what the server said
        if not chunk:
            raise StopAsyncIteration
        if self._charge is not None:
            self._charge(len(chunk))
        if self._line.limited:
            await self._line.passed(len(chunk))
        return chunk


class _Get:
    """One GET, as an `async with`. A class and not a generator, which costs twice as much."""

    __slots__ = ("_any_status", "_charge", "_open", "_raw", "_session")

    def __init__(
        self,
        session: "Session",
        open_raw: Callable[[], Awaitable[_Raw]],
        charge: Callable[[int], None] | None,
        *,
        any_status: bool,
    ) -> None:
        self._session = session
        self._open = open_raw
        self._charge = charge
        self._any_status = any_status
        self._raw: _Raw | None = None

    async def __aenter__(self) -> Response:
        raw = self._raw = await self._open()
        if raw.status >= 300 and not self._any_status:
            await self._session.refuse(raw)
        return self._session.response(raw, self._charge)

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - the answers below take them as they are
        if self._raw is not None:
            await self._raw.__aexit__(*error)


class Session:
    """Asks one host. Made by `open_session`."""

    def __init__(
        self,
        client: aiohttp.ClientSession,
        endpoint: Endpoint,
        credentials: Credentials,
        *,
        clock: Clock,
        tally: Tally,
        on_answer: Callable[[], None],
        line: Line,
        charge: Callable[[int], None] | None,
        tls: Tls,
        direct: Direct | None,
    ) -> None:
        self._client = client
        self._direct = direct
        self._base = parse_base(endpoint.base_url)
        self._prefix = str(self._base).rstrip("/")
        self._base_path = self._base.raw_path.rstrip("/")
        self._origin = self._base.origin()
        self._host = host_of(self._base)
        self._credentials = credentials
        self._clock = clock
        self._profile = endpoint.profile
        self._proxies = endpoint.proxies
        self._tally = tally
        self._on_answer = on_answer
        self._line = line
        self._charge = charge
        self._tls = tls

    def get(
        self,
        path: str,
        *,
        accept: str,
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] = _NO_HEADERS,
        any_status: bool = False,
    ) -> AbstractAsyncContextManager[Response]:
        """GET `path`, relative to the base URL, and give the response if it is a success (2xx).

        Args:
            path: '' for the base URL itself; no leading slash, no query, never an absolute URL.
            accept: the Accept header.
            params: the query, in this order.
            headers: sent besides, to the host itself and wherever it redirects to.
            any_status: give every response, whatever its status; `doctor` looks at refusals, too.

        Raises:
            Disconnected, TimedOut: no response came; `connected` says whether there was a connection.
            SourceDown: TLS or a proxy will not have us, whatever we ask for.
            Unauthorized: no credentials are to be had, or the host refused the newest.
            Unsupported, Forbidden: a redirect that cannot be followed.
            HaulError: any other status, as `verdict.error_for_status` has it.
        """
        sent = {**headers, "Accept": accept}
        return _Get(self, lambda: self._open(path, params, sent), self._charge, any_status=any_status)

    def get_from_root(
        self, path: str, *, accept: str, params: Sequence[tuple[str, str]] = ()
    ) -> AbstractAsyncContextManager[Response]:
        """GET `path`, which begins with a slash, from the host itself, wherever below it the base URL lies.

        What it brings is charged to nobody. Otherwise as `get`.
        """
        target = f"{path}?{urlencode(params, quote_via=quote)}" if params else path
        return _Get(self, lambda: self._send(target, {"Accept": accept}), None, any_status=False)

    def response(self, raw: _Raw, charge: Callable[[int], None] | None) -> Response:
        """Wrap an answer that is given to whoever asked."""
        return Response(raw, self._host, self._line, charge)

    async def refuse(self, raw: _Raw) -> NoReturn:
        """Raise what the verdict makes of a refusal."""
        await _drop_body(raw)
        raise error_for_status(raw.status, raw.headers, self._profile, now_s=self._clock.now(), host=self._host)

    async def _open(self, path: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str]) -> _Raw:
        if path.startswith("/") or "://" in path or "?" in path or "#" in path or ".." in path:
            raise ValueError("a path stays below the base URL, and has no query")
        return await self._send(self._target(path, params), headers)

    def _target(self, path: str, params: Sequence[tuple[str, str]]) -> str:
        if not params and _PLAIN_PATH.match(path):  # as the URL would have it, without taking it apart
            return f"{self._base_path}/{path}"
        url = URL(f"{self._prefix}/{path}") if path else self._base
        if params:
            # A space as %20, which yarl does not do: not every server takes a plus sign for one.
            url = URL(f"{url}?{urlencode(params, quote_via=quote, safe=',*')}", encoded=True)
        return url.raw_path_qs

    async def _send(self, target: str, headers: Mapping[str, str]) -> _Raw:
        authorization = await self._credentials.authorization()
        raw = await self._follow(target, headers, authorization)
        if raw.status != 401 or authorization is None:
            return raw
        await _drop_body(raw)
        fresh = await self._credentials.authorization(stale=authorization)
        return await self._follow(target, headers, fresh)

    async def _follow(self, target: str, headers: Mapping[str, str], authorization: str | None) -> _Raw:
        """Ask the host, and go where its answers lead."""
        raw = await self._ask_host(target, headers, authorization)
        if raw.status not in _REDIRECT_STATUS:
            return raw
        url = self._url(target)
        seen = {url}
        while raw.status in _REDIRECT_STATUS and (location := raw.headers.get("Location")) is not None:
            await _drop_body(raw)
            url = self._redirected(url, location, raw.status)
            if url in seen or len(seen) > _REDIRECTS:
                raise Unsupported(f"{self._host} redirects in a circle, or too often", status=raw.status)
            seen.add(url)
            if url.origin() == self._origin:
                raw = await self._ask_host(url.raw_path_qs, headers, authorization)
            else:
                raw = await self._request(url, headers, at_home=False)
                if raw.status == 401:
                    await _drop_body(raw)
                    self._refuse_credentials_abroad(url)
        return raw

    async def _ask_host(self, target: str, headers: Mapping[str, str], authorization: str | None) -> _Raw:
        """Ask the host itself: directly, unless a proxy lies between."""
        if authorization is not None:
            headers = {**headers, "Authorization": authorization}
        raw: _Raw
        if self._direct is None:
            raw = await self._request(self._url(target), headers, at_home=True)
        else:
            self._tally.requests += 1
            raw = await self._direct.get(target, headers)
        self._on_answer()
        return raw

    def _url(self, target: str) -> URL:
        return URL(f"{self._origin}{target}", encoded=True)

    async def _request(self, url: URL, headers: Mapping[str, str], *, at_home: bool) -> aiohttp.ClientResponse:
        """Ask by aiohttp."""
        proxy = self._proxies.for_url(url.scheme, url.host or "", url.port)
        proxy_headers = None
        if proxy is not None and proxy.authorization is not None:
            # With https the proxy sees only a CONNECT; with http it is the request itself that it sees.
            proxy_headers = {"Proxy-Authorization": proxy.authorization}
            if url.scheme == "http":
                headers = {**headers, **proxy_headers}
        self._tally.requests += 1
        try:
            return await self._client.get(
                url,
                headers=headers,
                allow_redirects=False,
                proxy=None if proxy is None else proxy.url,
                proxy_headers=proxy_headers,
                ssl=self._tls.context(at_home=at_home) if url.scheme == "https" else True,
            )
        except FOREIGN as error:
            failed = error_for(error, self._host if at_home else host_of(url))
            if isinstance(failed, RetryableError) and not at_home:
                failed.connected = True  # where this resource leads says nothing about the host
            raise failed from None  # its text may quote what the server said

    def _redirected(self, url: URL, location: str, status: int) -> URL:
        try:
            target = url.join(URL(location)).with_user(None).with_fragment(None)
            usable = can_be_asked(target)
        except ValueError:
            usable = False
        if not usable:
            raise Unsupported(f"{self._host} redirects to something that is no HTTP URL", status=status)
        if url.scheme == "https" and target.scheme == "http":
            raise Unsupported(f"{self._host} redirects from https to http, which is not followed", status=status)
        return target

    def _refuse_credentials_abroad(self, url: URL) -> NoReturn:
        if url.host == self._origin.host:
            raise Unauthorized(
                f"{self._host} redirects to {url.origin()}, which wants credentials: give that as the source's URL"
            )
        raise Forbidden(
            f"{self._host} redirects to {host_of(url)}, which wants credentials; ours are for {self._host} alone",
            status=401,
        )


@asynccontextmanager
async def open_session(
    endpoint: Endpoint,
    credentials: Credentials,
    *,
    clock: Clock,
    tally: Tally | None = None,
    on_answer: Callable[[], None] = lambda: None,
    before_sending: Callable[[bool], None] | None = None,
    line: Line | None = None,
    charge: Callable[[int], None] | None = None,
) -> AsyncIterator[Session]:
    """Open a session to one host; its connections, and the credentials, are closed at the end.

    Args:
        endpoint: where, and how to connect.
        credentials: who we are there.
        clock: for dates in headers, and for the moment that transports need after closing.
        tally: its `requests` is counted up, redirects and replays included.
        on_answer: called whenever the host answers, whatever the status.
        before_sending: called whenever a request is about to be put on a connection, redirects, replays and what
            aiohttp itself sends once more on a fresh connection included; True: on one that was used before. What it
            raises comes out of `get`, and nothing is sent.
        line: what all bodies pass, which slows them down; None: an unlimited one.
        charge: told the length of each piece of a body as it comes.

    Raises ConfigError for a base URL that is none, and for a certificate file that cannot be read.
    """
    limits = endpoint.profile.limits
    tls = Tls(endpoint)
    if parse_base(endpoint.base_url).scheme == "https":
        tls.context(at_home=True)  # a bad file is reported now
    keepalive: dict[str, Any] = {"keepalive_timeout": limits.keepalive_s}
    if limits.keepalive_s == 0:
        keepalive = {"force_close": True}
    headers = {"User-Agent": f"dicomhaul/{__version__}", "Accept-Encoding": "identity"}
    direct = _direct(endpoint, tls, headers, before_sending)
    client = aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=endpoint.max_connections, **keepalive),
        cookie_jar=aiohttp.DummyCookieJar(),
        headers=headers,
        timeout=aiohttp.ClientTimeout(
            total=None,
            connect=limits.connect_timeout_s,  # looking up the name, too
            sock_connect=limits.connect_timeout_s,
            sock_read=limits.stall_timeout_s,
        ),
        read_bufsize=_READ_BYTES,
        auto_decompress=False,  # `Response.read` does it, within bounds
        max_line_size=_HEADER_BYTES,
        max_field_size=_HEADER_BYTES,
        trust_env=False,  # it would send what ~/.netrc holds
        trace_configs=None if before_sending is None else [_tracing(before_sending)],
    )
    try:
        yield Session(
            client,
            endpoint,
            credentials,
            clock=clock,
            tally=tally or Tally(),
            on_answer=on_answer,
            line=line or Line(clock=clock),
            charge=charge,
            tls=tls,
            direct=direct,
        )
    finally:
        with anyio.CancelScope(shield=True):
            if direct is not None:
                direct.close()
            await client.close()
            await credentials.aclose()
            await clock.sleep(_GRACE_S)


def _direct(
    endpoint: Endpoint, tls: Tls, headers: Mapping[str, str], before_sending: Callable[[bool], None] | None
) -> Direct | None:
    """Return what asks a host directly; None where a proxy lies between, or the event loop watches no sockets."""
    base = parse_base(endpoint.base_url)
    address, port = base.raw_host or "", base.port or 443
    if endpoint.proxies.for_url(base.scheme, address, port) is not None or sys.platform == "win32":
        return None
    limits = endpoint.profile.limits
    return Direct(
        Place(
            address,
            port,
            base.host_port_subcomponent or address,
            endpoint.host,
            tls.context(at_home=True) if base.scheme == "https" else None,
        ),
        headers=headers,
        keepalive_s=limits.keepalive_s,
        connect_timeout_s=limits.connect_timeout_s,
        stall_timeout_s=limits.stall_timeout_s,
        before_sending=before_sending,
    )


def _tracing(before_sending: Callable[[bool], None]) -> aiohttp.TraceConfig:
    """One of these two comes before each request that is written, and before each that is written again."""

    async def on_fresh(*_: object) -> None:
        before_sending(False)

    async def on_used(*_: object) -> None:
        before_sending(True)

    tracing = aiohttp.TraceConfig()
    tracing.on_connection_create_start.append(on_fresh)
    tracing.on_connection_reuseconn.append(on_used)
    return tracing


async def _drop_body(raw: _Raw) -> None:
    """Be done with a body that nobody wants, and keep the connection if that is cheap."""
    left = _DROP_BYTES
    try:
        # Whatever goes wrong here is no news: the response has been judged by its status already.
        with suppress(*FOREIGN, HaulError), anyio.move_on_after(_DROP_S):
            while left > 0 and (chunk := await raw.content.readany()):
                left -= len(chunk)
    finally:
        raw.release()  # closes the connection unless the body was read to its end
