"""The port of an origin: open, or shut for a while, so that connecting to it is refused."""

import asyncio
import socket
import ssl

from aiohttp import web

from dicomhaul.origin.outlet import abort


class Door:
    """One listening port."""

    def __init__(self, runner: web.AppRunner, host: str, tls: ssl.SSLContext | None) -> None:
        self._runner = runner
        self._host = host
        self._tls = tls
        self._site: web.BaseSite | None = None
        self._held: socket.socket | None = None
        self._reopening: asyncio.Task[None] | None = None

    async def open(self, port: int) -> int:
        """Listen and return the port; 0 picks a free one. Raises OSError where it is taken."""
        self._site = web.TCPSite(self._runner, self._host, port, ssl_context=self._tls)
        await self._site.start()
        number: int = self._runner.addresses[0][1]
        return number

    async def shut(self, for_s: float | None) -> None:
        """Reset all connections and refuse others, for so many seconds or (None) for good."""
        site, self._site = self._site, None
        if site is None:
            return
        address = self._runner.addresses[0]
        await site.stop()
        self._held = _hold(address)
        if self._runner.server is not None:
            for each in self._runner.server.connections:
                if each.transport is not None:
                    abort(each.transport)
        if for_s is not None:
            self._reopening = asyncio.create_task(self._reopen(self._held, for_s))

    async def close(self) -> None:
        """Open no more."""
        if self._reopening is not None:
            self._reopening.cancel()
            await asyncio.wait([self._reopening])
        if self._held is not None:
            self._held.close()

    async def _reopen(self, held: socket.socket, after_s: float) -> None:
        await asyncio.sleep(after_s)
        site = web.SockSite(self._runner, held, ssl_context=self._tls)
        await site.start()
        self._site, self._held = site, None


def _hold(address: tuple[str, int]) -> socket.socket:
    """Keep others from a port while nobody listens: a socket that is bound alone refuses whoever connects."""
    found = socket.getaddrinfo(*address[:2], type=socket.SOCK_STREAM)
    family, kind, protocol, _, name = found[0]
    held = socket.socket(family, kind, protocol)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    held.bind(name)
    return held
