"""A line with a round trip, a server that thinks before it answers, and a width: a relay in front of a real server.

    python -m benchmarks.relay --to PORT [--round-trip 0.05] [--first-byte 0.2] [--bytes-per-s 100e6]

It prints the port on which it listens, and runs until its standard input ends. All times are seconds.

* Each way takes half a round trip, and a connection a whole one before its first byte.
* What the server says to a request is held back until `first-byte` after the request came. Requests are told from the
  handshake by their TLS records: a client's second record of application data is its first request (RFC 8446,
  section 5.1; the first one is its Finished).
* Bytes to clients leave one after the other, at the width of the line, whatever the connection. One connection has at
  most `_WINDOW` of them under way, as a window of TCP would allow it.
"""

import argparse
import asyncio
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Final

_CHUNK: Final = 128 * 1024
_WINDOW: Final = 4 << 20
_QUEUED_S: Final = 0.02  # the line's own queue: as long as it is that full, no more bytes get into it
_APPLICATION_DATA: Final = 23
_HEADER: Final = 5  # bytes of a TLS record's header: type, version, length


@dataclass(frozen=True)
class Line:
    """How far, how quick, and how wide."""

    round_trip_s: float = 0.05
    first_byte_s: float = 0.2
    bytes_per_s: float = 100e6


class Requests:
    """Counts a client's requests by the records that it sends. Pure."""

    def __init__(self) -> None:
        self._skip = 0  # bytes of a record that are still to come
        self._header = b""
        self._data_records = 0

    def feed(self, data: bytes) -> bool:
        """Take what the client sent; say whether (the beginning of) a request is in it."""
        found = False
        at = 0
        while at < len(data):
            skipped = min(self._skip, len(data) - at)
            self._skip -= skipped
            at += skipped
            if self._skip or at == len(data):
                break
            taken = data[at : at + _HEADER - len(self._header)]
            self._header += taken
            at += len(taken)
            if len(self._header) == _HEADER:
                self._skip = int.from_bytes(self._header[3:], "big")
                if self._header[0] == _APPLICATION_DATA:
                    self._data_records += 1
                    found = found or self._data_records > 1
                self._header = b""
        return found


class Wire:
    """The width that all connections share, first come first served."""

    def __init__(self, bytes_per_s: float) -> None:
        self._bytes_per_s = bytes_per_s
        self._free_at = 0.0
        self._turn = asyncio.Lock()  # one waits for the line: if all did, all would wake for each other's bytes

    async def take(self, size_bytes: int) -> float:
        """Wait while the line's queue is full; return when the last of these bytes will have left."""
        async with self._turn:
            await until(self._free_at - _QUEUED_S)
            self._free_at = max(asyncio.get_running_loop().time(), self._free_at) + size_bytes / self._bytes_per_s
            return self._free_at


async def until(at: float) -> None:
    """Sleep until the loop's clock shows `at`."""
    wait_s = at - asyncio.get_running_loop().time()
    if wait_s > 0:
        await asyncio.sleep(wait_s)


class Relay:
    """All connections."""

    def __init__(self, line: Line, port: int) -> None:
        self._line = line
        self._port = port
        self._wire = Wire(line.bytes_per_s)

    async def serve(self, listener: socket.socket) -> None:
        """Accept until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                client, _ = await loop.sock_accept(listener)
                group.create_task(self._connection(client))

    async def _connection(self, client: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        server = socket.socket()
        for each in (client, server):
            each.setblocking(False)
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            await loop.sock_connect(server, ("127.0.0.1", self._port))
            pair = _Pair(self._line, self._wire, client, server)
            async with asyncio.TaskGroup() as group:
                group.create_task(pair.up())
                group.create_task(pair.down())
        except* OSError:
            pass  # one of them hung up
        finally:
            client.close()
            server.close()


class _Pair:
    """One connection through the relay."""

    def __init__(self, line: Line, wire: Wire, client: socket.socket, server: socket.socket) -> None:
        self._loop = asyncio.get_running_loop()
        self._line = line
        self._wire = wire
        self._client = client
        self._server = server
        self._silent_until = 0.0
        self._window = _WINDOW
        self._opened = asyncio.Event()

    async def up(self) -> None:
        """Client to server: little, late."""
        requests = Requests()
        late_s = self._line.round_trip_s * 1.5  # the handshake of TCP, and the way
        while data := await self._loop.sock_recv(self._client, _CHUNK):
            await asyncio.sleep(late_s)
            late_s = self._line.round_trip_s / 2
            if requests.feed(data):
                self._silent_until = self._loop.time() + self._line.first_byte_s
            await self._loop.sock_sendall(self._server, data)
        self._server.shutdown(socket.SHUT_WR)

    async def down(self) -> None:
        """Server to client: at the width of the line, half a round trip late."""
        sent: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._deliver(sent))
            while True:
                while self._window <= 0:
                    self._opened.clear()
                    await self._opened.wait()
                data = await self._loop.sock_recv(self._server, _CHUNK)
                await until(self._silent_until)
                self._window -= len(data)
                leaves_at = await self._wire.take(len(data))
                sent.put_nowait((leaves_at + self._line.round_trip_s / 2, data))
                if not data:
                    return

    async def _deliver(self, sent: "asyncio.Queue[tuple[float, bytes]]") -> None:
        while True:
            at, data = await sent.get()
            await until(at)
            if not data:
                self._client.shutdown(socket.SHUT_WR)
                return
            await self._loop.sock_sendall(self._client, data)
            self._loop.call_later(self._line.round_trip_s / 2, self._acknowledged, len(data))

    def _acknowledged(self, size_bytes: int) -> None:
        self._window += size_bytes
        self._opened.set()


@contextmanager
def relay(port: int, line: Line) -> Iterator[int]:
    """Run a relay to `port` in a process of its own; yield the port on which it listens."""
    command = [sys.executable, __file__, "--to", str(port), "--round-trip", str(line.round_trip_s)]
    command += ["--first-byte", str(line.first_byte_s), "--bytes-per-s", str(line.bytes_per_s)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            yield int(process.stdout.readline())
        finally:
            process.stdin.close()
            process.wait()


def main() -> None:
    """Relay until standard input ends."""
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--to", type=int, required=True)
    arguments.add_argument("--round-trip", type=float, default=Line.round_trip_s)
    arguments.add_argument("--first-byte", type=float, default=Line.first_byte_s)
    arguments.add_argument("--bytes-per-s", type=float, default=Line.bytes_per_s)
    options = arguments.parse_args()
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    listener.setblocking(False)
    print(listener.getsockname()[1], flush=True)
    line = Line(options.round_trip, options.first_byte, options.bytes_per_s)

    async def run() -> None:
        serving = asyncio.create_task(Relay(line, options.to).serve(listener))
        await asyncio.to_thread(sys.stdin.buffer.read)
        serving.cancel()
        with suppress(asyncio.CancelledError):
            await serving

    asyncio.run(run())


if __name__ == "__main__":
    main()
