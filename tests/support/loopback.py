"""A server on loopback that says, byte for byte, what a test wants it to say."""

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Literal

import anyio


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

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        number = state.connections
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            first, *lines = head.strip().split("\r\n")
            method, target, _version = first.split(" ", 2)
            pairs = (line.split(":", 1) for line in lines)
            headers = {name.lower(): value.strip() for name, value in pairs}
            body = await reader.readexactly(int(headers.get("content-length", "0")))
            asked = Asked(method, target, headers, number, body)
            state.asked.append(asked)
            reply = answer(asked)
            writer.write(reply.data)
            await writer.drain()
            match reply.then:
                case "close":
                    return
                case "reset":
                    writer.transport.abort()
                    return
                case "hang":
                    await anyio.sleep_forever()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        try:
            with suppress(OSError, asyncio.IncompleteReadError):  # the client has left
                await serve(reader, writer)
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
