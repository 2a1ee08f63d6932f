"""How the parts of an answer are put on the wire, and how a part is spoiled on purpose. No sockets, no HTTP
library.
"""

import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, replace

from dicomhaul.origin.catalog import StoredInstance
from dicomhaul.origin.faults import Part as PartFault
from dicomhaul.origin.style import Style


@dataclass(frozen=True, slots=True)
class Part:
    """One part: `chunks` yields `size_bytes` bytes, `stated_bytes` is what its Content-Length says."""

    size_bytes: int
    stated_bytes: int
    syntax: str
    chunks: Callable[[], AsyncIterator[bytes]]


class Framing:
    """One multipart answer in the manner of a style, with a fresh boundary."""

    def __init__(self, style: Style) -> None:
        self._style = style
        self._boundary = secrets.token_hex((style.boundary_chars + 1) // 2)[: style.boundary_chars]
        lines = "".join(f"{line}\r\n" for line in style.part_headers)
        self._head = f"--{self._boundary}\r\n{lines}\r\n"

    @property
    def content_type(self) -> str:
        """The Content-Type of the answer."""
        return self._style.content_type.format(boundary=self._boundary, start=0)

    @property
    def closing(self) -> bytes:
        """The closing delimiter, less the line break that ends the last part."""
        return f"--{self._boundary}--".encode() + self._style.closing

    def head(self, number: int, part: Part) -> bytes:
        """Return delimiter and headers of a part."""
        return self._head.format(size=part.stated_bytes, syntax=part.syntax, id=number).encode()

    def size_bytes(self, parts: Sequence[Part]) -> int:
        """Return the length of the whole body."""
        return sum(len(self.head(n, part)) + part.size_bytes + 2 for n, part in enumerate(parts)) + len(self.closing)

    async def body(self, parts: Sequence[Part]) -> AsyncIterator[bytes]:
        """Yield the body up to the closing delimiter, which is the caller's to send or to leave out."""
        for number, part in enumerate(parts):
            yield self.head(number, part)
            async for chunk in part.chunks():
                yield chunk
            yield b"\r\n"


def part_of(instance: StoredInstance) -> Part:
    """Return the part that carries an instance as it is stored."""
    size = instance.size_bytes
    return Part(size, size, instance.transfer_syntax, instance.chunks)


async def spoil(fault: PartFault, instances: Sequence[StoredInstance], foreign: StoredInstance | None) -> list[Part]:
    """Return the parts of an answer with one of them spoiled.

    An index that no part has spoils nothing; neither does "foreign" where the catalog has no other series.
    """
    parts = [part_of(instance) for instance in instances]
    if not -len(parts) <= fault.index < len(parts):
        return parts
    index = fault.index % len(parts)
    whole = parts[index]
    match fault.wrong:
        case "omit":
            del parts[index]
        case "duplicate":
            parts.insert(index, whole)
        case "foreign":
            parts[index] = whole if foreign is None else part_of(foreign)
        case "length":
            parts[index] = replace(whole, stated_bytes=whole.size_bytes - 1)
        case "length_over":
            parts[index] = replace(whole, stated_bytes=whole.size_bytes + 1)
        case _:
            parts[index] = _fixed(_spoilt(fault, await _read(whole), instances[index].sop), whole.syntax)
    return parts


def _spoilt(fault: PartFault, content: bytes, sop: str) -> bytes:
    match fault.wrong:
        case "text":
            return b"this is no DICOM instance\n" * 20
        case "evil_uid":
            return content.replace(sop.encode(), _climbing(len(sop)))
        case "cut":
            return content[: len(content) // 2]
        case _:  # "flip"
            return content[:-1] + bytes([content[-1] ^ 1])


def _climbing(size: int) -> bytes:
    return (b"../" * size)[: size - 4] + b"evil"


async def _read(part: Part) -> bytes:
    return b"".join([chunk async for chunk in part.chunks()])


def _fixed(content: bytes, syntax: str) -> Part:
    async def chunks() -> AsyncIterator[bytes]:
        yield content

    return Part(len(content), len(content), syntax, chunks)
