"""Opens a session to one host: its connections, by `direct` and by aiohttp, with timeouts, TLS and proxy.

Timeouts are on connecting and on silence, none in total; header limits lie above aiohttp's. Cookies are not kept,
`~/.netrc` is not read.
"""

import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import anyio

from dicomhaul._version import __version__
from dicomhaul.events import Tally
from dicomhaul.net.dial import Place
from dicomhaul.net.direct import Direct
from dicomhaul.net.endpoint import Endpoint, Tls, parse_base
from dicomhaul.net.line import Line
from dicomhaul.net.session import Session
from dicomhaul.ports import Clock, Credentials

_HEADER_BYTES = 64 * 1024  # aiohttp's 8 KiB is less than some Warning and CSP headers
_READ_BYTES = 64 * 1024  # aiohttp holds twice as much of a body; more was measured to gain nothing
_GRACE_S = 0.05  # transports need a moment after close, or Python warns of unclosed ones


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
