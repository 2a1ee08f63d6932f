"""One GET after the other from one host: where it leads, as whom it is asked, and what becomes of a refusal.

What it sees to: at most 5 redirects, one replay with fresh credentials after a 401. Credentials go to the host they are
for (scheme, name and port alike) and nowhere else. The host itself is asked by `direct`; where a proxy lies between,
and whom the host redirects to, by aiohttp's client.

A status of 300 and above is raised as what `verdict` makes of it. Its body is dropped unread, so that nothing it holds
can get into a message.

What it does not: connect (`connecting`), try again (`retry`), wait for its turn (`gate`).
"""

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from dicomhaul.errors import Forbidden, RetryableError, Unauthorized, Unsupported
from dicomhaul.events import Tally
from dicomhaul.net.direct import Direct
from dicomhaul.net.endpoint import Endpoint, Tls, can_be_asked, host_of, parse_base
from dicomhaul.net.foreign import FOREIGN, error_for
from dicomhaul.net.line import Line
from dicomhaul.net.response import Raw, Response, drop_body
from dicomhaul.net.verdict import error_for_status
from dicomhaul.ports import Clock, Credentials

_PLAIN_PATH = re.compile(r"[0-9A-Za-z._/-]+\Z")
_REDIRECTS = 5
_REDIRECT_STATUS = frozenset({301, 302, 303, 307, 308})
_NO_HEADERS: Mapping[str, str] = MappingProxyType({})


class _Get:
    """One GET, as an `async with`. A class and not a generator, which costs twice as much."""

    __slots__ = ("_any_status", "_charge", "_open", "_raw", "_session")

    def __init__(
        self,
        session: "Session",
        open_raw: Callable[[], Awaitable[Raw]],
        charge: Callable[[int], None] | None,
        *,
        any_status: bool,
    ) -> None:
        self._session = session
        self._open = open_raw
        self._charge = charge
        self._any_status = any_status
        self._raw: Raw | None = None

    async def __aenter__(self) -> Response:
        raw = self._raw = await self._open()
        if raw.status >= 300 and not self._any_status:
            await self._session.refuse(raw)
        return self._session.response(raw, self._charge)

    async def __aexit__(self, *error: Any) -> None:  # noqa: PYI036 - the answers below take them as they are
        if self._raw is not None:
            await self._raw.__aexit__(*error)


class Session:
    """Asks one host. Made by `connecting.open_session`."""

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

    def response(self, raw: Raw, charge: Callable[[int], None] | None) -> Response:
        """Wrap an answer that is given to whoever asked."""
        return Response(raw, self._host, self._line, charge)

    async def refuse(self, raw: Raw) -> NoReturn:
        """Raise what the verdict makes of a refusal."""
        await drop_body(raw)
        raise error_for_status(raw.status, raw.headers, self._profile, now_s=self._clock.now(), host=self._host)

    async def _open(self, path: str, params: Sequence[tuple[str, str]], headers: Mapping[str, str]) -> Raw:
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

    async def _send(self, target: str, headers: Mapping[str, str]) -> Raw:
        authorization = await self._credentials.authorization()
        raw = await self._follow(target, headers, authorization)
        if raw.status != 401 or authorization is None:
            return raw
        await drop_body(raw)
        fresh = await self._credentials.authorization(stale=authorization)
        return await self._follow(target, headers, fresh)

    async def _follow(self, target: str, headers: Mapping[str, str], authorization: str | None) -> Raw:
        """Ask the host, and go where its answers lead."""
        raw = await self._ask_host(target, headers, authorization)
        if raw.status not in _REDIRECT_STATUS:
            return raw
        url = self._url(target)
        seen = {url}
        while raw.status in _REDIRECT_STATUS and (location := raw.headers.get("Location")) is not None:
            await drop_body(raw)
            url = self._redirected(url, location, raw.status)
            if url in seen or len(seen) > _REDIRECTS:
                raise Unsupported(f"{self._host} redirects in a circle, or too often", status=raw.status)
            seen.add(url)
            if url.origin() == self._origin:
                raw = await self._ask_host(url.raw_path_qs, headers, authorization)
            else:
                raw = await self._request(url, headers, at_home=False)
                if raw.status == 401:
                    await drop_body(raw)
                    self._refuse_credentials_abroad(url)
        return raw

    async def _ask_host(self, target: str, headers: Mapping[str, str], authorization: str | None) -> Raw:
        """Ask the host itself: directly, unless a proxy lies between."""
        if authorization is not None:
            headers = {**headers, "Authorization": authorization}
        raw: Raw
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
            if not at_home:  # where this resource leads says nothing about the host
                if not isinstance(failed, RetryableError):
                    failed = Unsupported(f"{self._host} redirects to where nothing can be asked: {failed}")
                else:
                    failed.connected = True
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
