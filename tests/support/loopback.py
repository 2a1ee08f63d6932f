"""A server on loopback that says, byte for byte, what a test wants it to say."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import anyio
import anyio.lowlevel

_TURNS = 50  # of the event loop that the client runs on, too


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it came. Header names in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    connection: int  # the number of the connection it came on, from 1
    body: bytes


@dataclass(frozen=True, slots=True)
class Reply:
    """Bytes to send, and what to do with the connection then."""

    data: bytes
    then: Literal["keep", "close", "reset", "hang"] = "keep"
    later: bytes = b""  # sent when the client has had time to take what came before


@dataclass(slots=True)
class Loopback:
    """A running server: where it is and what it was asked."""

    port: int = 0
    asked: list[Asked] = field(default_factory=list)
    connections: int = 0

    def url(self, path: str = "/dicom-web", *, scheme: str = "http", host: str = "127.0.0.1") -> str:
        """Return a URL on this server."""
        return f"{scheme}://{host}:{self.port}{path}"


def ok(body: bytes = b"", *, status: str = "200 OK", **headers: str) -> Reply:
    """Return a whole response with a Content-Length; underscores in header names become hyphens."""
    lines = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}"]
    lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
    return Reply("\r\n".join(lines).encode() + b"\r\n\r\n" + body)


@asynccontextmanager
async def open_loopback(
    answer: Callable[[Asked], Reply], *, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Loopback]:
    """Serve until the block is left. `answer` is called for each request, on the event loop."""
    state = Loopback()
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        state.connections += 1
        try:
            with suppress(OSError, asyncio.IncompleteReadError):  # the client has left
                await _serve(state, answer, reader, writer)
        except asyncio.CancelledError:
            pass  # the block is left; a callback's task must not end as cancelled, asyncio would complain
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    server = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=tls)
    state.port = server.sockets[0].getsockname()[1]
    try:
        yield state
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await server.wait_closed()


async def _serve(
    state: Loopback,
    answer: Callable[[Asked], Reply],
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
) -> None:
    connection = state.connections
    while True:
        asked = await _read(reader, connection)
        state.asked.append(asked)
        reply = answer(asked)
        await _send(writer, reply)
        match reply.then:
            case "close":
                return
            case "reset":
                writer.transport.abort()
                return
            case "hang":
                await anyio.sleep_forever()


async def _read(reader: asyncio.StreamReader, connection: int) -> Asked:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.strip().split("\r\n")
    method, target, _version = first.split(" ", 2)
    pairs = (line.split(":", 1) for line in lines)
    headers = {name.lower(): value.strip() for name, value in pairs}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(method, target, headers, connection, body)


async def _send(writer: asyncio.StreamWriter, reply: Reply) -> None:
    writer.write(reply.data)
    await writer.drain()
    if reply.later:
        for _ in range(_TURNS):
            await anyio.lowlevel.checkpoint()
        writer.write(reply.later)
        await writer.drain()
