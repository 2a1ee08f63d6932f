"""The way out of an origin: gathers small pieces, counts, and breaks an answer off where a fault wants it."""

import asyncio
import socket
import struct
import sys
from asyncio import sleep
from typing import cast

from aiohttp import web

from dicomhaul.origin import faults as f
from dicomhaul.origin.answer import Answer, cut_out, gzipped, misread
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.ranges import Span

if sys.platform == "linux":
    import fcntl
    import termios

_GATHER_BYTES = 256 * 1024
_SLOW_STEP_S = 0.1
_DRAINED_STEP_S = 0.001

# What strikes any answer that has a body.
BodyFault = f.Struck | f.Gzip | f.Range


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
        self, request: web.Request, response: web.StreamResponse, entry: Entry, fault: f.Struck | None
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
                piece = await self._write_last(piece)
            else:
                self._left -= len(piece)
        if isinstance(self._fault, f.Slow) and self._left is None:
            self._note()
            await self.flush()
            await self._drip(piece, self._fault.bytes_per_s)
            return
        self._gathered.append(piece)
        self._gathered_bytes += len(piece)
        if self._gathered_bytes >= _GATHER_BYTES:
            await self.flush()

    async def flush(self) -> None:
        """Send what has been gathered."""
        await self._hand_over(self._take())

    async def break_off(self) -> None:
        """Do what the fault says, now, and raise BrokenOffError. Slow goes on."""
        self._note()
        match self._fault:
            case f.Cut(reset=reset):
                await break_connection(self._request, reset=reset)
                raise BrokenOffError(ended=False)
            case f.Stall():
                await stall()
            case f.Truncate():
                raise BrokenOffError(ended=True)

    async def _write_last(self, piece: bytes) -> bytes:
        """Send what comes before the fault, let it strike, and return the rest of the piece."""
        last, rest = piece[: self._left], piece[self._left :]
        self._left = None
        self._note()
        if isinstance(self._fault, f.Cut) and self._fault.torn_chunk:
            await self.flush()
            self._tear(last)
        else:
            self._gathered.append(last)
            await self.flush()
        await self.break_off()
        return rest

    def _note(self) -> None:
        # Before what the client can see, so that whoever has seen it finds it in the journal.
        if self._fault is not None:
            self._entry.fault = self._fault.do

    def _tear(self, last: bytes) -> None:
        # aiohttp writes no chunk that is not whole.
        transport = self._request.transport
        if transport is not None:
            transport.write(b"%x\r\n%b" % (len(last) + 1, last))
            self._entry.body_bytes += len(last)

    async def _drip(self, piece: bytes, bytes_per_s: float) -> None:
        step = max(1, int(bytes_per_s * _SLOW_STEP_S))
        for at in range(0, len(piece), step):
            await self._hand_over(piece[at : at + step])
            await sleep(step / bytes_per_s)

    def _take(self) -> bytes:
        whole = b"".join(self._gathered)
        self._gathered.clear()
        self._gathered_bytes = 0
        return whole

    async def _hand_over(self, whole: bytes) -> None:
        self._entry.body_bytes += len(whole)
        if whole:
            await self._response.write(whole)


async def deliver(
    request: web.Request, answer: Answer, entry: Entry, fault: f.Action | None, asked: Span | None = None
) -> web.StreamResponse:
    """Send an answer, or the span of it that was asked for, with what the fault makes of it."""
    span = label = asked
    if isinstance(fault, f.Range):
        span, label = misread(fault, asked, answer)
        if (span, label) != (asked, asked):
            entry.fault = fault.do
    if span is not None and label is not None:
        answer = cut_out(answer, span, label)
    if isinstance(fault, f.Gzip):
        answer = await gzipped(answer, fault)
        entry.fault = fault.do
    return await _send(request, answer, entry, fault if isinstance(fault, f.Struck) else None)


async def _send(request: web.Request, answer: Answer, entry: Entry, fault: f.Struck | None) -> web.StreamResponse:
    response = _response(answer, fault)
    await response.prepare(request)
    if request.method == "HEAD":
        return response
    outlet = Outlet(request, response, entry, fault)
    try:
        async for piece in answer.chunks():
            await outlet.write(piece)
        if answer.closing:
            if isinstance(fault, f.Truncate) and fault.after_bytes is None:
                await outlet.flush()
                await outlet.break_off()
            await outlet.write(answer.closing)
        await outlet.flush()
    except BrokenOffError as broken:
        if not broken.ended:
            return response
    await response.write_eof()
    return response


def _response(answer: Answer, fault: f.Struck | None) -> web.StreamResponse:
    outer, stated_bytes = answer.outer, answer.size_bytes + answer.lie_bytes
    if isinstance(fault, f.Truncate):
        outer = "close" if outer == "length" else outer
        till = answer.size_bytes - len(answer.closing) if fault.after_bytes is None else fault.after_bytes
        stated_bytes = min(till, stated_bytes)
    if fault is not None:
        outer = fault.outer or outer
    if outer == "close":
        response: web.StreamResponse = CloseDelimited(status=answer.status, headers=answer.headers)
        response.force_close()
        return response
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    if outer == "chunked":
        response.enable_chunked_encoding()
    else:
        response.content_length = stated_bytes
        if answer.lie_bytes:
            response.force_close()
    return response


async def break_connection(request: web.Request, *, reset: bool) -> None:
    """Close the connection: with a FIN after all that was written, or with a RST once the client's system has it."""
    transport = request.transport
    if transport is None:
        return
    if not reset:
        transport.close()
        return
    # Nobody tells when the last byte has been acknowledged.
    while not transport.is_closing() and (  # noqa: ASYNC110 - see above
        transport.get_write_buffer_size() or _unacknowledged_bytes(transport)
    ):
        await sleep(_DRAINED_STEP_S)
    abort(transport)


def _unacknowledged_bytes(transport: asyncio.BaseTransport) -> int:
    # Only Linux tells (SIOCOUTQ, tcp(7)). Elsewhere a RST may overtake what lies in the kernel.
    if sys.platform != "linux":
        return 0
    sock: socket.socket = transport.get_extra_info("socket")
    answer = fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, bytes(4))
    return int.from_bytes(answer, sys.byteorder)


def abort(transport: asyncio.BaseTransport) -> None:
    """End a connection with a RST, at once."""
    sock: socket.socket = transport.get_extra_info("socket")
    # Lingering for no time makes the kernel send a RST (socket(7)).
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cast(asyncio.WriteTransport, transport).abort()


async def stall() -> None:
    """Wait until the client goes away or the origin stops: either cancels the request's task."""
    await asyncio.Event().wait()
