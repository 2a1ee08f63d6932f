"""Messages between two processes of one run, over a socket that nobody else has: whole, and in order.

What is said within one turn of the event loop goes as one frame: a length (4 bytes, big endian) and a pickled list. A
small object of a bucket has a handful of messages, and thousands of them come in a second.
"""

import asyncio
import pickle
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, Final

_LENGTH_BYTES: Final = 4


class Channel(asyncio.Protocol):
    """One end. Made by `open_channel`."""

    def __init__(self, hear: Callable[[Any], None], ended: Callable[[], None]) -> None:
        self._hear = hear
        self._ended = ended
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._said: deque[Any] = deque()
        self._flushing = False
        self._held = bytearray()

    def say(self, message: Any) -> None:
        """Send a message, soon; nothing after the other side has gone. From any thread."""
        self._said.append(message)
        if not self._flushing:
            self._flushing = True
            self._loop.call_soon_threadsafe(self._flush)

    def close(self) -> None:
        """Send what was said, and end."""
        self._flush()
        if self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        self._flushing = False  # first: what is said meanwhile, in another thread, is in this frame or asks for a next
        messages = []
        while self._said:
            messages.append(self._said.popleft())
        if messages and self._transport is not None and not self._transport.is_closing():
            frame = pickle.dumps(messages, pickle.HIGHEST_PROTOCOL)
            self._transport.write(len(frame).to_bytes(_LENGTH_BYTES, "big") + frame)

    # -- called by the event loop ---------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is ours."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - of a stream
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Hear each message of each frame that is whole."""
        held = self._held
        held += data
        begin = 0
        while len(held) - begin >= _LENGTH_BYTES:
            end = begin + _LENGTH_BYTES + int.from_bytes(held[begin : begin + _LENGTH_BYTES], "big")
            if end > len(held):
                break
            frame = bytes(held[begin + _LENGTH_BYTES : end])
            begin = end
            for message in pickle.loads(frame):  # noqa: S301 - from a process of our own
                self._hear(message)
        del held[:begin]

    def connection_lost(self, _error: Exception | None) -> None:
        """The other side has gone, or we have closed."""
        self._ended()


async def open_channel(end: socket.socket, hear: Callable[[Any], None], ended: Callable[[], None]) -> Channel:
    """Take over one end of a pair of sockets; `hear` and `ended` are called in the event loop."""
    _, channel = await asyncio.get_running_loop().create_unix_connection(lambda: Channel(hear, ended), sock=end)
    return channel
