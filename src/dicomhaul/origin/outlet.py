"""The way out of an origin: gathers small pieces, counts, and breaks an answer off where a fault wants it."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator

from aiohttp import web

from dicomhaul.origin.faults import Action, Cut, Stall, Status, Truncate
from dicomhaul.origin.journal import Entry

_GATHER_BYTES = 256 * 1024

LateFault = Cut | Stall | Truncate  # what can strike within a body


class BrokenOffError(Exception):
    """The fault has struck: nothing more is to be written. `ended` says that HTTP is still to end properly."""

    def __init__(self, *, ended: bool) -> None:
        super().__init__()
        self.ended = ended


class CloseDelimited(web.StreamResponse):
    """An HTTP/1.1 answer without length and without chunking, which ends when the connection does.

    aiohttp has this switch for its WebSocket answers; without it, it turns chunking on.
    """

    _length_check = False


class Outlet:
    """Writes the body of one answer."""

    def __init__(
        self,
        request: web.Request,
        response: web.StreamResponse,
        entry: Entry,
        fault: LateFault | None,
    ) -> None:
        self._request = request
        self._response = response
        self._entry = entry
        self._fault = fault
        self._left = fault.after_bytes if fault is not None else None
        self._gathered: list[bytes] = []
        self._gathered_bytes = 0

    async def write(self, piece: bytes) -> None:
        """Send a piece, soon. Raises BrokenOffError once the fault has struck."""
        if self._left is not None:
            if len(piece) >= self._left:
                self._gathered.append(piece[: self._left])
                await self.flush()
                await self.break_off()
            self._left -= len(piece)
        self._gathered.append(piece)
        self._gathered_bytes += len(piece)
        if self._gathered_bytes >= _GATHER_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send what has been gathered."""
        whole = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_bytes = 0
        self._entry.body_bytes += len(whole)
        if whole:
            await self._response.write(whole)

    async def finish(self) -> None:
        """Send what has been gathered, the end of the body. A fault that was to strike beyond it did nothing."""
        await self.flush()
        if self._fault is not None:
            self._entry.fault = ""

    async def break_off(self) -> None:
        """Do what the fault says, now; it returns only where there is none."""
        match self._fault:
            case Cut(reset=reset):
                break_connection(self._request, reset=reset)
                raise BrokenOffError(ended=False)
            case Stall():
                await stall()
            case Truncate():
                raise BrokenOffError(ended=True)
            case None:
                return


async def strike_early(request: web.Request, fault: Action | None) -> web.Response | None:
    """Do what a fault wants instead of an answer, and return that; None: the answer is to be given."""
    match fault:
        case Status():
            content_type = "text/html" if fault.body.lstrip().startswith("<") else "text/plain"
            headers = {"Content-Type": content_type, **fault.headers}
            return web.Response(status=fault.status, headers=headers, body=fault.body.encode())
        case Cut(after_bytes=None):
            break_connection(request, reset=fault.reset)
            return web.Response()  # goes nowhere: its connection is closed
        case Stall(after_bytes=None):
            await stall()
    return None


async def send_body(
    request: web.Request,
    response: web.StreamResponse,
    chunks: AsyncIterator[bytes],
    entry: Entry,
    fault: LateFault | None,
) -> None:
    """Send the body of a prepared answer, and its end unless the fault breaks it off."""
    outlet = Outlet(request, response, entry, fault)
    try:
        async for piece in chunks:
            await outlet.write(piece)
        await outlet.finish()
    except BrokenOffError as broken:
        if not broken.ended:
            return
    await response.write_eof()


def break_connection(request: web.Request, *, reset: bool) -> None:
    """Close the connection: with a FIN after all that was written, or at once with a RST."""
    transport = request.transport
    if transport is None:
        return
    if reset:
        sock: socket.socket = transport.get_extra_info("socket")
        # Lingering for no time makes the kernel send a RST (socket(7)).
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        transport.abort()
    else:
        transport.close()


async def stall() -> None:
    """Wait until the client goes away or the origin stops: either cancels the request's task."""
    await asyncio.Event().wait()
