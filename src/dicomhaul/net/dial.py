"""From a host's name to a connected, non-blocking socket, with TLS if the host has it: what `direct` speaks over.

The socket itself is read and written by whoever gets it, without asyncio's transports: these copy every byte of TLS
three times more, which was a third of the work of a whole download.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohappyeyeballs

from dicomhaul.net.foreign import connect_error_for

_STAGGER_S = 0.25  # until the next address of a name is tried as well (RFC 8305 section 8)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a host is.

    Attributes:
        address, port: whom to connect to.
        authority: the Host header.
        name: how messages call it.
        tls: None: without.
    """

    address: str
    port: int
    authority: str
    name: str
    tls: ssl.SSLContext | None


async def dial(place: Place, timeout_s: float) -> socket.socket:
    """Connect, shake hands, and return the socket; `timeout_s` is for all of it, looking up the name included.

    Raises Disconnected, TimedOut; SourceDown where TLS will not have us.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(timeout_s):
            found = await loop.getaddrinfo(place.address, place.port, type=socket.SOCK_STREAM)
            plain = await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_STAGGER_S, interleave=1)
            plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return plain if place.tls is None else await _shake_hands(loop, plain, place.tls, place.address)
    except OSError as error:  # ssl.SSLError, socket.gaierror and TimeoutError are
        raise connect_error_for(error, place.name) from error


async def _shake_hands(
    loop: asyncio.AbstractEventLoop, plain: socket.socket, tls: ssl.SSLContext, name: str
) -> ssl.SSLSocket:
    try:
        sock = tls.wrap_socket(plain, server_hostname=name, do_handshake_on_connect=False)
    except BaseException:
        plain.close()
        raise
    try:
        while True:
            try:
                sock.do_handshake()
            except ssl.SSLWantReadError:
                await _ready(loop.add_reader, loop.remove_reader, sock.fileno())
            except ssl.SSLWantWriteError:
                await _ready(loop.add_writer, loop.remove_writer, sock.fileno())
            else:
                return sock
    except BaseException:
        sock.close()
        raise


async def _ready(add: Callable[..., Any], remove: Callable[[int], Any], descriptor: int) -> None:
    """Wait until the socket can be read, or written."""
    ready = asyncio.get_running_loop().create_future()

    def tell() -> None:
        if not ready.done():
            ready.set_result(None)

    add(descriptor, tell)
    try:
        await ready
    finally:
        remove(descriptor)
