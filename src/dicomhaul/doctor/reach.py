"""The way to a host, step by step and timed: its name, a connection, TLS. No HTTP: that is for `ask`.

One connection is made and closed. Where a proxy stands between, only the proxy could be reached this way, so that is
said and left to the requests that follow.
"""

import os
import socket
import ssl
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
from anyio.abc import SocketStream
from anyio.streams.tls import TLSAttribute, TLSStream

from dicomhaul.doctor.finding import Finding, fail, ok, unknown, warn
from dicomhaul.errors import HaulError
from dicomhaul.net.endpoint import Endpoint, tls_context
from dicomhaul.net.foreign import error_for
from dicomhaul.ports import Clock

REACHABLE: Final = "reachable"
TLS: Final = "tls"
_PORTS: Final = {"http": 80, "https": 443}
_DAY_S: Final = 86_400
_SOON_DAYS: Final = 30
_OLD_TLS: Final = frozenset({"SSLv3", "TLSv1", "TLSv1.1"})
_SHOWN_NAMES: Final = 3


@dataclass(frozen=True, slots=True)
class Tls:
    """A handshake that succeeded. `days_left` is None where the certificate does not say."""

    version: str
    names: tuple[str, ...]
    issuer: str
    days_left: int | None


@dataclass(frozen=True, slots=True)
class Way:
    """How far we got.

    Attributes:
        host: with its port.
        addresses: how many the name has; 0: it cannot be looked up.
        lookup_s, connect_s, handshake_s: what each step took; None: it was not reached, or failed.
        tls: what the handshake gave; None: none was made, or it failed.
        problem: why it went no further; '' where it went all the way.
    """

    host: str
    addresses: int = 0
    lookup_s: float | None = None
    connect_s: float | None = None
    handshake_s: float | None = None
    tls: Tls | None = None
    problem: str = ""


def has_proxy(endpoint: Endpoint) -> bool:
    """Say whether requests to the host go through a proxy."""
    parts = urlsplit(endpoint.base_url)
    return endpoint.proxies.for_url(parts.scheme, parts.hostname or "", parts.port) is not None


async def find_way(endpoint: Endpoint, clock: Clock) -> Way:
    """Look the host up, connect, shake hands. Each step may take as long as the profile lets a connection take.

    Raises ConfigError for a certificate file that cannot be read.
    """
    parts = urlsplit(endpoint.base_url)
    name, port = parts.hostname or "", parts.port or _PORTS[parts.scheme]
    timeout_s = endpoint.profile.limits.connect_timeout_s
    context = tls_context(endpoint) if parts.scheme == "https" else None
    way = Way(f"{name}:{port}")
    began = clock.monotonic()
    try:
        with anyio.fail_after(timeout_s):
            found = await anyio.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):  # UnicodeError: a name that no name server could be asked for
        return Way(way.host, problem=f"the name {name} cannot be looked up")
    addresses = list(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found))
    looked_up = clock.monotonic()
    way = Way(way.host, len(addresses), looked_up - began)
    try:
        stream = await _connect(addresses, port, timeout_s)
    except OSError as error:
        return Way(way.host, way.addresses, way.lookup_s, problem=_why(error, endpoint.host))
    connected = clock.monotonic()
    way = Way(way.host, way.addresses, way.lookup_s, connected - looked_up)
    async with stream:
        if context is None:
            return way
        try:
            with anyio.fail_after(timeout_s):
                tls = await TLSStream.wrap(stream, hostname=name, ssl_context=context, standard_compatible=False)
        except (OSError, anyio.BrokenResourceError, anyio.EndOfStream) as error:
            return Way(way.host, way.addresses, way.lookup_s, way.connect_s, problem=_why(error, endpoint.host))
        certificate = tls.extra(TLSAttribute.peer_certificate, None) or {}  # noqa: S610 - not Django's
        found_tls = read_tls(tls.extra(TLSAttribute.tls_version, ""), certificate, clock.now())  # noqa: S610 - likewise
        return Way(way.host, way.addresses, way.lookup_s, way.connect_s, clock.monotonic() - connected, found_tls)


async def _connect(addresses: Sequence[str], port: int, timeout_s: float) -> SocketStream:
    """Try one address after the other, all within the time. Raises OSError of the last."""
    error: OSError = TimeoutError()
    with anyio.move_on_after(timeout_s):
        for address in addresses:
            try:
                return await anyio.connect_tcp(address, port)
            except OSError as failed:
                error = failed
    raise error


def _why(error: Exception, host: str) -> str:
    match error:
        case anyio.BrokenResourceError() | anyio.EndOfStream():
            return f"{host} closes the connection during the TLS handshake"
        case ssl.SSLError() | ConnectionError():
            found: HaulError = error_for(error, host)
            return str(found)
        case TimeoutError():
            return f"no connection to {host} within the time allowed"
    cause = error.__cause__ if isinstance(error.__cause__, OSError) else error  # anyio wraps what the system said
    number = cause.errno if isinstance(cause, OSError) else None
    return f"no connection to {host}" + (f": {os.strerror(number).lower()}" if number else "")


def read_tls(version: str, certificate: Mapping[str, Any], now_s: float) -> Tls:
    """Read what Python says of a certificate that was verified (`SSLSocket.getpeercert`)."""
    names = tuple(str(value) for _, value in certificate.get("subjectAltName", ()))
    issuer = {key: str(value) for part in certificate.get("issuer", ()) for key, value in part}
    days_left = None
    if "notAfter" in certificate:
        days_left = int((ssl.cert_time_to_seconds(certificate["notAfter"]) - now_s) // _DAY_S)
    return Tls(version, names, issuer.get("organizationName") or issuer.get("commonName") or "", days_left)


def judge_way(way: Way, *, sends_credentials: bool) -> list[Finding]:
    """Say what was found on the way. The first finding fails where there is no connection at all."""
    if way.connect_s is None:
        todo = (
            "check the URL, and whether a proxy is needed (HTTPS_PROXY)"
            if way.addresses == 0
            else "check port and firewall, and that the server runs"
        )
        return [fail(REACHABLE, way.problem, todo)]
    addresses = "1 address" if way.addresses == 1 else f"{way.addresses} addresses"
    reached = ok(
        REACHABLE,
        f"{way.host} has {addresses} (looked up in {_ms(way.lookup_s)}); connecting took {_ms(way.connect_s)}",
    )
    if way.problem:
        todo = "name its authority with --ca-file, if it is right" if "--ca-file" in way.problem else ""
        return [reached, fail(TLS, way.problem.partition("; if that is right")[0], todo or "mend it at the server")]
    return [reached, _judge_tls(way, sends_credentials=sends_credentials)]


def _judge_tls(way: Way, *, sends_credentials: bool) -> Finding:
    tls = way.tls
    if tls is None:
        if _is_here(way.host):
            return ok(TLS, "no TLS; the server is on this machine")
        exposed = "instances and our credentials" if sends_credentials else "instances"
        return warn(TLS, f"no TLS: whoever is on the way can read {exposed}", "use an https:// URL if there is one")
    names = ", ".join(name[:80] for name in tls.names[:_SHOWN_NAMES]) + (
        ", ..." if len(tls.names) > _SHOWN_NAMES else ""
    )
    said = f"{tls.version}; certificate for {names or 'no name'}"
    if tls.issuer:
        said += f", issued by {tls.issuer[:80]}"
    if tls.days_left is not None:
        said += f", valid for {tls.days_left} more days"
    said += f"; the handshake took {_ms(way.handshake_s)}"
    if tls.version in _OLD_TLS:
        return warn(TLS, said, "that version of TLS is no longer held to be safe: mend it at the server")
    if tls.days_left is not None and tls.days_left < _SOON_DAYS:
        return warn(TLS, said, "the certificate ends soon: downloads stop when it does")
    return ok(TLS, said)


def judge_proxy() -> list[Finding]:
    """Say that a proxy stands between."""
    return [
        unknown(
            REACHABLE, "a proxy of the environment stands between; the requests below show whether it lets us through"
        ),
        unknown(TLS, "a proxy stands between, so the certificate was not looked at here; requests verify it"),
    ]


def _is_here(host: str) -> bool:
    name = host.rpartition(":")[0]
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return name == "localhost"


def _ms(seconds: float | None) -> str:
    return "no time" if seconds is None else f"{seconds * 1000:.1f} ms"
