"""An answer before it is sent: status, headers, where its bytes come from, and how HTTP says where they end; and the
faults that make another answer of it. No sockets, no HTTP library.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from typing import Final

from dicomhaul.origin.faults import Gzip, Outer, Range
from dicomhaul.origin.ranges import Span

Chunks = Callable[[], AsyncIterator[bytes]]

_PAD: Final = b" " * (1 << 20)
_GZIP_WINDOW: Final = 31  # zlib's word for a gzip header round the largest window


@dataclass(frozen=True, slots=True)
class Answer:
    """What is to be sent.

    Attributes:
        chunks: yields the body, less its closing delimiter.
        size_bytes: length of the body with the closing delimiter.
        outer: how HTTP says where the body ends.
        closing: the closing delimiter of a multipart body.
        lie_bytes: added to a Content-Length that is wrong on purpose.
    """

    status: int
    headers: Mapping[str, str]
    chunks: Chunks
    size_bytes: int
    outer: Outer = "length"
    closing: bytes = b""
    lie_bytes: int = 0

    async def iter_body(self) -> AsyncIterator[bytes]:
        """Yield all of the body."""
        async for chunk in self.chunks():
            yield chunk
        if self.closing:
            yield self.closing


def answer_of(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    """Return an answer whose body is known."""
    return Answer(status, headers, _chunks_of(body), len(body))


def misread(fault: Range, asked: Span | None, answer: Answer) -> tuple[Span | None, Span | None]:
    """Return the span that is sent instead of the one that was asked for, and the one that is named; None: all.

    Both are what was asked for where the fault cannot strike.
    """
    size_bytes = answer.size_bytes
    if answer.status != 200:
        return asked, asked
    if asked is None:
        half = Span(0, size_bytes // 2) if fault.wrong == "unasked" and size_bytes > 1 else None
        return half, half
    further = _moved(asked, size_bytes)
    first_half = Span(asked.begin, max(asked.begin + 1, (asked.begin + asked.end) // 2))
    sent: dict[str, tuple[Span | None, Span | None]] = {
        "unasked": (asked, asked),
        "ignored": (None, None),
        "shifted": (further, further),
        "mislabelled": (further, asked),
        "short": (first_half, first_half),
    }
    return sent[fault.wrong]


def cut_out(answer: Answer, span: Span, label: Span) -> Answer:
    """Return a span of an answer, as a 206 that says it were `label`."""
    content_range = f"bytes {label.begin}-{label.end - 1}/{answer.size_bytes}"

    async def chunks() -> AsyncIterator[bytes]:
        at = 0
        async for chunk in answer.iter_body():
            begin, end = max(0, span.begin - at), span.end - at
            if begin < len(chunk):
                yield chunk[begin:end] if begin or end < len(chunk) else chunk
            at += len(chunk)
            if at >= span.end:
                return

    size_bytes = min(answer.size_bytes, span.end) - min(answer.size_bytes, span.begin)
    headers = {**answer.headers, "Content-Range": content_range}
    return replace(answer, status=206, headers=headers, chunks=chunks, size_bytes=size_bytes, closing=b"")


def _moved(span: Span, size_bytes: int) -> Span:
    if span.end < size_bytes:
        return Span(span.begin + 1, span.end + 1)
    return Span(span.begin - 1, span.end - 1) if span.begin else span


async def gzipped(answer: Answer, fault: Gzip) -> Answer:
    """Return the answer with its body compressed, or said to be. The compressed body is held in memory."""
    headers = dict(answer.headers)
    if fault.wrong != "unstated":
        headers["Content-Encoding"] = "gzip"
    if fault.wrong == "stated":
        return replace(answer, headers=headers)
    packer = zlib.compressobj(wbits=_GZIP_WINDOW)
    packed = await asyncio.to_thread(_pack_spaces, packer, fault.pad_bytes)
    async for chunk in answer.iter_body():
        packed.append(packer.compress(chunk))
    packed.append(packer.flush())
    body = b"".join(packed)
    if fault.wrong == "cut":
        body = body[: len(body) // 2]
    return replace(answer, headers=headers, chunks=_chunks_of(body), size_bytes=len(body), closing=b"")


def _pack_spaces(packer: "zlib._Compress", size_bytes: int) -> list[bytes]:
    whole, rest = divmod(size_bytes, len(_PAD))
    return [*(packer.compress(_PAD) for _ in range(whole)), packer.compress(_PAD[:rest])]


def _chunks_of(body: bytes) -> Chunks:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    return chunks
