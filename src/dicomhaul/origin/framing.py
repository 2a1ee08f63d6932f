"""How the parts of an answer are put on the wire. No sockets, no HTTP library."""

import secrets
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from dicomhaul.origin.catalog import StoredInstance
from dicomhaul.origin.style import Style

_BLOCK_BYTES: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Part:
    """One part: `chunks` yields `size_bytes` bytes, `stated_bytes` is what its Content-Length says."""

    size_bytes: int
    stated_bytes: int
    syntax: str
    chunks: Callable[[], AsyncIterator[bytes]]


@dataclass(frozen=True, slots=True)
class Filler:
    """`unit` again and again, `size_bytes` in all."""

    unit: bytes
    size_bytes: int

    def iter_blocks(self) -> Iterator[bytes]:
        """Yield it in blocks."""
        block = self.unit * max(1, _BLOCK_BYTES // len(self.unit))
        whole, rest = divmod(self.size_bytes, len(block))
        for _ in range(whole):
            yield block
        if rest:
            yield block[:rest]


Piece = bytes | Part | Filler


@dataclass(frozen=True, slots=True)
class Body:
    """A multipart body. `closing` is its closing delimiter, which may be left out; '' where it cannot."""

    content_type: str
    pieces: tuple[Piece, ...]
    closing: bytes

    @property
    def size_bytes(self) -> int:
        """Length of the whole body."""
        return len(self.closing) + sum(
            len(piece) if isinstance(piece, bytes) else piece.size_bytes for piece in self.pieces
        )

    async def iter_chunks(self) -> AsyncIterator[bytes]:
        """Yield the body up to the closing delimiter."""
        for piece in self.pieces:
            if isinstance(piece, bytes):
                yield piece
            elif isinstance(piece, Filler):
                for block in piece.iter_blocks():
                    yield block
            else:
                async for chunk in piece.chunks():
                    yield chunk


class Framing:
    """One multipart answer in the manner of a style, with a fresh `boundary`."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self.boundary = secrets.token_hex((style.boundary_chars + 1) // 2)[: style.boundary_chars]

    def body(self, parts: Sequence[Part]) -> Body:
        """Frame the parts."""
        pieces = [piece for n, part in enumerate(parts) for piece in (self.head(n, part), part, b"\r\n")]
        closing = self.delimiter + b"--" + self._style.closing
        return Body(self.content_type(self.boundary), tuple(pieces), closing)

    @property
    def delimiter(self) -> bytes:
        """What stands before each part, less its line breaks."""
        return f"--{self.boundary}".encode()

    def content_type(self, boundary: str) -> str:
        """Return the Content-Type of an answer with this boundary."""
        return self._style.content_type.format(boundary=boundary, start=0)

    def head(self, number: int, part: Part) -> bytes:
        """Return the delimiter before a part, and its headers. A length that is wrong is stated in any style."""
        lines = [
            line.format(size=part.stated_bytes, syntax=part.syntax, id=number) for line in self._style.part_headers
        ]
        stated = f"Content-Length: {part.stated_bytes}"
        if part.stated_bytes != part.size_bytes and stated not in lines:
            lines.append(stated)
        return self.delimiter + b"".join(f"\r\n{line}".encode() for line in lines) + b"\r\n\r\n"


def part_of(instance: StoredInstance) -> Part:
    """Return the part that carries an instance as it is stored."""
    size = instance.size_bytes
    return Part(size, size, instance.transfer_syntax, instance.chunks)


def fixed_part(content: bytes, syntax: str) -> Part:
    """Return a part with this content."""

    async def chunks() -> AsyncIterator[bytes]:
        yield content

    return Part(len(content), len(content), syntax, chunks)


async def read_part(part: Part) -> bytes:
    """Return the content of a part."""
    return b"".join([chunk async for chunk in part.chunks()])
