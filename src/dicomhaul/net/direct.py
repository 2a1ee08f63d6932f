"""GETs to one host over connections of our own: what all bulk data comes through where no proxy lies between.

An object of 9 KB costs a quarter of what it costs with aiohttp's client, and a byte of TLS half: it is decrypted into
one buffer that all connections share, and copied once from there. `session` puts the two behind one face, and asks by
aiohttp what needs a proxy, and hosts that the source redirects to.

    direct = Direct(...)
    async with await direct.get(target, headers) as answer:
        while chunk := await answer.content.readany(): ...

Rules of this module:

* HTTP is read by httptools (llhttp, as node.js has it); what is no HTTP ends the connection. Interim answers (1xx) are
  passed over. A body that is not chunked is counted here instead, since the parser would copy it.
* A body that nobody takes is not read on.
* A connection is used again if its answer was taken to the end, the server lets it, and nothing came behind it. A used
  one that the server closes before any of the answer has come is replaced once.
* Silence is looked for in turns, not by a timer for each request: it is found out within a quarter more than allowed.
  Less than a KiB in all that time is silence, too, or a server that drips would hold a slot for ever.
* Headers are bounded, all of an answer's together.
"""

import asyncio
import socket
import ssl
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Final, Self

import httptools
from multidict import CIMultiDict

from dicomhaul.errors import Disconnected, HaulError, TimedOut
from dicomhaul.net.dial import Place, dial
from dicomhaul.net.foreign import error_for

_HEADER_BYTES: Final = 64 * 1024
_BUFFER_BYTES: Final = 256 * 1024  # what one turn takes from a connection at most
_ENOUGH_BYTES: Final = _BUFFER_BYTES - (16 << 10)  # no record of TLS is longer than what is left then
_HEAD_BYTES: Final = 4 * 1024  # looked through at once for the end of a head, which nearly always is shorter
_MOST_BARREN: Final = 256 * 1024  # a head with its interim answers, or what stands between the bytes of a body
_BLANK_LINE: Final = b"\r\n\r\n"
_NOT_NOW: Final = (BlockingIOError, InterruptedError, ssl.SSLWantReadError, ssl.SSLWantWriteError)
_HEARD_BYTES: Final = 1024  # less than this is as good as nothing
_HELD_BYTES: Final = 256 * 1024  # of a body that nobody has taken yet; beyond, the connection is not read


class Answer:
    """The answer to one GET, inside its `async with`: in shape like aiohttp's, as far as `session` looks at it."""

    __slots__ = ("_chunks", "_connection", "_ended", "_error", "_held", "_loop", "_waiter", "headers", "status")

    def __init__(self, connection: "_Connection", loop: asyncio.AbstractEventLoop) -> None:
        self._connection = connection
        self._loop = loop
        self._chunks: deque[bytes] = deque()
        self._held = 0
        self._ended = False
        self._error: HaulError | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.status = 0  # until its head has come
        self.headers: CIMultiDict[str] = CIMultiDict()

    @property
    def content(self) -> Self:
        """The body: what has `readany`."""
        return self

    async def readany(self) -> bytes:
        """Return the next bytes of the body; none at its end. Raises Disconnected, TimedOut."""
        while not self._chunks:
            if self._error is not None:
                raise self._error
            if self._ended:
                return b""
            await self._wait()
        chunk = self._chunks.popleft()
        self._held -= len(chunk)
        if self._held <= _HELD_BYTES:
            self._connection.go_on()
        return chunk

    def release(self) -> None:
        """Be done with it, and with its connection unless it was taken to the end."""
        self._connection.done(self, whole=self._ended and not self._chunks)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self.release()

    async def head(self) -> None:
        """Wait until status and headers have come. Raises as `readany`."""
        while not self.status:
            if self._error is not None:
                raise self._error
            await self._wait()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    # -- told by the connection -----------------------------------------------------------------------------------

    def take_head(self, status: int, headers: "CIMultiDict[str]") -> None:
        """Status and headers have come."""
        self.status = status
        self.headers = headers
        self._wake()

    def take(self, chunk: bytes) -> bool:
        """More of the body has come; say whether that is enough for now."""
        self._chunks.append(chunk)
        self._held += len(chunk)
        self._wake()
        return self._held > _HELD_BYTES

    def end(self) -> None:
        """The body is whole."""
        self._ended = True
        self._wake()

    def fail(self, error: HaulError) -> None:
        """No more will come, and something should have."""
        if not self._ended and self._error is None:
            self._error = error
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class _Connection:
    """One connection, with at most one answer under way; also the callbacks of its parser."""

    __slots__ = (
        "_answer", "_barren", "_bypass", "_field_bytes", "_fields", "_heard_bytes", "_left", "_loop", "_over",
        "_parsed", "_parser", "_paused", "_pool", "_reusable", "_sock", "_unsent", "_writing", "heard_at", "lost",
    )  # fmt: skip

    def __init__(self, pool: "Direct", loop: asyncio.AbstractEventLoop, sock: socket.socket) -> None:
        self._pool = pool
        self._loop = loop
        self._sock = sock
        self._parser: Any = None
        self._answer: Answer | None = None
        self._fields: list[tuple[str, str]] = []
        self._field_bytes = 0
        self._parsed = 0  # of the body, by the parser
        self._barren = 0  # bytes that were no body, one after the other
        self._bypass = False  # the rest of the body is nothing but bytes: the parser would only copy them
        self._left: int | None = None  # how many of them; None: until the connection ends
        self._over = False  # the answer's end has come
        self._reusable = False
        self._paused = False
        self._unsent = b""
        self._writing = False
        self.heard_at = 0.0  # when enough had come, or was asked
        self._heard_bytes = 0  # since then
        self.lost = False
        loop.add_reader(sock.fileno(), self._on_readable)

    @property
    def heard(self) -> bool:
        """Whether any of an answer has come since it was asked last."""
        return self._barren > 0

    def ask(self, request: bytes) -> Answer:
        """Send a request; its answer follows."""
        self._parser = httptools.HttpResponseParser(self)
        self._over = self._reusable = self._bypass = False
        self._field_bytes = self._parsed = self._barren = 0
        self._heard_now()
        answer = self._answer = Answer(self, self._loop)
        self._unsent = request
        self._send()
        return answer

    def go_on(self) -> None:
        """There is room for more of the body."""
        if self._paused and not self.lost:
            self._paused = False
            self._heard_now()
            self._loop.add_reader(self._sock.fileno(), self._on_readable)

    def _heard_now(self) -> None:
        self.heard_at = self._loop.time()
        self._heard_bytes = 0

    def done(self, answer: Answer, *, whole: bool) -> None:
        """Nobody waits for this answer any more; told twice, it may be another's turn already."""
        if self._answer is not answer:
            return
        self._answer = None
        self._pool.take_back(self, reusable=whole and self._reusable and not self.lost)

    def close(self) -> None:
        """Close it, if it is open."""
        if self.lost:
            return
        self.lost = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()

    def look(self, silent_since: float) -> None:
        """Give up an answer of which nothing has come since then; not one that waits for us."""
        if self._answer is not None and not self._paused and not self._over and self.heard_at < silent_since:
            self._fail(TimedOut(f"{self._pool.place.name} has gone silent"))

    # -- the socket -----------------------------------------------------------------------------------------------

    def _send(self) -> None:
        try:
            self._unsent = self._unsent[self._sock.send(self._unsent) :]
        except _NOT_NOW:
            pass
        except OSError as error:
            self._end(error)
            return
        if self._unsent and not self._writing:
            self._loop.add_writer(self._sock.fileno(), self._send)
        elif self._writing and not self._unsent:
            self._loop.remove_writer(self._sock.fileno())
        self._writing = bool(self._unsent)

    def _on_readable(self) -> None:
        """Take what is there, as much as the buffer holds: TLS gives it record by record."""
        buffer, sock = self._pool.buffer, self._sock
        size, ended = 0, False
        error: OSError | None = None
        try:
            while size <= _ENOUGH_BYTES:
                got = sock.recv_into(buffer[size:])
                if not got:
                    ended = True
                    break
                size += got
        except _NOT_NOW:
            pass
        except OSError as problem:
            error = problem
        if size:
            self._received(buffer[:size])
        if (ended or error is not None) and not self.lost:
            self._end(error)

    def _received(self, view: memoryview) -> None:
        """Take what came; `view` is the next answer's in a moment, whichever connection that comes on."""
        answer = self._answer
        if answer is None:  # nobody asked for it
            self.close()
            return
        if self._over:
            self._reusable = False
            return
        self._heard_bytes += len(view)
        if answer.status and self._heard_bytes >= _HEARD_BYTES:  # interim answers (1xx) are no news of this one
            self._heard_now()
        try:
            if not answer.status:
                view = self._feed_head(answer, view)
            if self._bypass:
                self._take_plain(answer, bytes(view))
            elif view:
                self._feed_chunks(view)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, ValueError):
            self._fail(Disconnected(f"{self._pool.place.name} does not answer in HTTP, or not as it should"))

    def _feed_head(self, answer: Answer, view: memoryview) -> memoryview:
        """Have the parser read as far as the blank line, and return what lies behind it."""
        while view and not answer.status:
            head = bytes(view[:_HEAD_BYTES])
            end = head.find(_BLANK_LINE) + len(_BLANK_LINE)
            if end >= len(_BLANK_LINE):
                head = head[:end]
            self._barren += len(head)
            if self._barren > _MOST_BARREN:  # the parser keeps a header's value until it ends
                raise ValueError("too much of a head")
            self._parser.feed_data(head)
            view = view[len(head) :]
        if answer.status and not self._over and "Transfer-Encoding" not in answer.headers:
            self._bypass = True
            length = answer.headers.get("Content-Length")
            self._left = None if length is None else int(length) - self._parsed
        elif self._over and view:
            self._reusable = False
            return view[:0]
        return view

    def _feed_chunks(self, view: memoryview) -> None:
        """More of a chunked body, which has to go on: trailers, which the parser keeps, and extensions are bounded."""
        before = self._parsed
        self._parser.feed_data(view)
        self._barren = 0 if self._parsed > before else self._barren + len(view)
        if self._barren > _MOST_BARREN:
            raise ValueError("too much beside a body")

    def _take_plain(self, answer: Answer, data: bytes) -> None:
        """More of a body that is not chunked; what lies behind its end is not looked at."""
        if self._left is not None:
            if len(data) > self._left:
                self._reusable = False
                data = data[: self._left]
            self._left -= len(data)
        if data:
            self._give(answer, data)
        if self._left == 0:
            self._over = True
            answer.end()

    def _give(self, answer: Answer, piece: bytes) -> None:
        if answer.take(piece) and not self._paused:
            self._paused = True
            self._loop.remove_reader(self._sock.fileno())

    def _end(self, error: OSError | None) -> None:
        """The other end has closed the connection, or it broke."""
        answer, name = self._answer, self._pool.place.name
        self.close()
        if answer is None or self._over:
            return
        if answer.status and error is None and self._bypass and self._left is None:
            self._over = True
            answer.end()  # a body that states no length ends with the connection
        elif error is not None:
            answer.fail(error_for(error, name))
        elif answer.status:
            answer.fail(Disconnected(f"{name} ended the body too early"))
        else:
            answer.fail(Disconnected(f"{name} closed the connection without an answer"))

    def _fail(self, error: HaulError) -> None:
        if self._answer is not None:
            self._answer.fail(error)
        self.close()

    # -- called by the parser -------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._fields = []
        if self._over:  # a second answer to one request
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        self._field_bytes += len(name) + len(value)
        if self._field_bytes > _HEADER_BYTES:
            raise ValueError("too much of a header")
        self._fields.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        status = self._parser.get_status_code()
        if status >= 200 and self._answer is not None and not self._over:
            self._reusable = bool(self._parser.should_keep_alive())
            self._heard_now()
            self._answer.take_head(status, CIMultiDict(self._fields))

    def on_body(self, body: bytes) -> None:
        if self._answer is not None and not self._over:
            self._parsed += len(body)
            self._give(self._answer, body)

    def on_message_complete(self) -> None:
        answer = self._answer
        if answer is None or not answer.status or self._over:  # an interim answer, or one too many
            return
        self._over = True
        answer.end()


class Direct:
    """The connections to one host. How many there are at once is for the gate to say.

    Args:
        place: where it is.
        headers: sent with every request.
        keepalive_s: how long an idle connection may be used again; 0.0: never.
        connect_timeout_s, stall_timeout_s: as `profile.Limits`.
        before_sending: called before each request; True: on a connection that was used before. What it raises comes
            out of `get`, and nothing is sent.
    """

    def __init__(
        self,
        place: Place,
        *,
        headers: Mapping[str, str],
        keepalive_s: float,
        connect_timeout_s: float,
        stall_timeout_s: float,
        before_sending: Callable[[bool], None] | None = None,
    ) -> None:
        self.place = place
        self.buffer = memoryview(bytearray(_BUFFER_BYTES))  # one for all connections, which keeps it in the cache
        closing = {} if keepalive_s > 0 else {"Connection": "close"}
        self._head = _lines({"Host": place.authority, **headers, **closing})
        self._keepalive_s = keepalive_s
        self._connect_timeout_s = connect_timeout_s
        self._stall_timeout_s = stall_timeout_s
        self._before_sending = before_sending
        self._idle: deque[_Connection] = deque()  # the latest used last
        self._all: set[_Connection] = set()
        self._watch: asyncio.TimerHandle | None = None

    async def get(self, target: str, headers: Mapping[str, str]) -> Answer:
        """GET `target` (path and query, quoted) and return the answer once its head has come.

        Raises Disconnected, TimedOut; SourceDown where TLS will not have us; whatever `before_sending` raises.
        """
        request = f"GET {target} HTTP/1.1\r\n{self._head}{_lines(headers)}\r\n".encode("latin-1")
        used = self._take_idle()
        if used is not None:
            try:
                return await self._ask(used, request, used=True)
            except Disconnected:
                if used.heard:
                    raise
        return await self._ask(await self._connect(), request, used=False)

    async def _ask(self, connection: _Connection, request: bytes, *, used: bool) -> Answer:
        if self._before_sending is not None:
            try:
                self._before_sending(used)
            except BaseException:
                self._discard(connection)
                raise
        answer = connection.ask(request)
        try:
            await answer.head()
        except BaseException:
            answer.release()
            raise
        return answer

    def take_back(self, connection: _Connection, *, reusable: bool) -> None:
        """A connection has nothing to do any more."""
        if reusable and self._keepalive_s > 0:
            connection.heard_at = asyncio.get_running_loop().time()
            self._idle.append(connection)
        else:
            self._discard(connection)

    def close(self) -> None:
        """Close every connection."""
        if self._watch is not None:
            self._watch.cancel()
        for connection in self._all:
            connection.close()
        self._all.clear()
        self._idle.clear()

    def _take_idle(self) -> _Connection | None:
        oldest = asyncio.get_running_loop().time() - self._keepalive_s
        while self._idle:
            connection = self._idle.pop()
            if not connection.lost and connection.heard_at >= oldest:
                return connection
            self._discard(connection)
        return None

    def _discard(self, connection: _Connection) -> None:
        self._all.discard(connection)
        connection.close()

    async def _connect(self) -> _Connection:
        loop = asyncio.get_running_loop()
        connection = _Connection(self, loop, await dial(self.place, self._connect_timeout_s))
        self._all.add(connection)
        if self._watch is None:
            self._watch = loop.call_later(self._stall_timeout_s / 4, self._look, loop)
        return connection

    def _look(self, loop: asyncio.AbstractEventLoop) -> None:
        silent_since = loop.time() - self._stall_timeout_s
        for connection in list(self._all):
            connection.look(silent_since)
        self._watch = loop.call_later(self._stall_timeout_s / 4, self._look, loop) if self._all else None


def _lines(headers: Mapping[str, str]) -> str:
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    if lines.count("\n") != len(headers) or lines.count("\r") != len(headers):
        raise ValueError("a header holds a line's end")
    return lines
