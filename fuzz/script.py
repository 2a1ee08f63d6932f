"""Bytes read as decisions, so that a fuzzer that knows only bytes can write what has a structure."""

import random
import zlib
from collections.abc import Iterator, Sequence
from typing import TypeVar

T = TypeVar("T")

_BYTE_BY_BYTE_UP_TO = 100


class Script:
    """Decisions, in their order. When the bytes are used up, each further one is the first that there is."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def number(self, low: int, high: int) -> int:
        """A number between these, both included."""
        span = high - low + 1
        size = (span.bit_length() + 7) // 8
        drawn = int.from_bytes(self._take(size), "little")
        return low + drawn % span

    def flag(self) -> bool:
        """Yes or no."""
        return self.number(0, 1) == 1

    def pick(self, options: Sequence[T]) -> T:
        """One of these."""
        return options[self.number(0, len(options) - 1)]

    def raw(self, most: int) -> bytes:
        """Up to `most` bytes."""
        return self._take(self.number(0, most))

    def text(self, most: int) -> str:
        """Up to `most` characters, lone surrogates among them."""
        return self.raw(most).decode("utf-8", "surrogateescape")

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += size
        return taken


def splits(body: bytes) -> Iterator[list[bytes]]:
    """Yield the body as it may arrive: at once, byte by byte if it is short, in small and in large pieces.

    The same body is always split in the same ways.
    """
    yield [body]
    if len(body) <= _BYTE_BY_BYTE_UP_TO:
        yield [body[at : at + 1] for at in range(len(body))]
    choice = random.Random(zlib.crc32(body))
    for most in (7, 90):
        pieces = []
        at = 0
        while at < len(body):
            size = choice.randint(1, most)
            pieces.append(body[at : at + size])
            at += size
        yield pieces
