"""The response to one GET: its headers, its body in pieces or as a whole, within bounds.

It comes from `direct` or from aiohttp's client, which look alike as far as this module goes.
"""

import json
import zlib
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Self

import aiohttp
import anyio

from dicomhaul.errors import HaulError, Truncated, Unsupported
from dicomhaul.net.direct import Answer
from dicomhaul.net.foreign import FOREIGN, error_for
from dicomhaul.net.line import Line

JSON_LIMIT_BYTES = 64 * 1024 * 1024  # a page of 50,000 instances (Google's largest) is about half of it

_LENGTHS = frozenset({"content-length", "transfer-encoding"})
_INFLATED = frozenset({"gzip", "x-gzip", "deflate"})
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_DROP_BYTES = 64 * 1024  # an unwanted body up to this is read, which keeps the connection
_DROP_S = 2.0  # and if that takes longer, the connection is not worth it

Raw = aiohttp.ClientResponse | Answer  # as it came


class Response:
    """The response to one GET, inside its `async with`: a success (2xx), unless any status was asked for."""

    __slots__ = ("_charge", "_host", "_line", "_raw", "headers", "status")

    def __init__(self, raw: Raw, host: str, line: Line, charge: Callable[[int], None] | None) -> None:
        self._raw = raw
        self._host = host
        self._line = line
        self._charge = charge
        self.status: int = raw.status
        self.headers: Mapping[str, str] = raw.headers  # case-insensitive

    @property
    def content_type(self) -> str | None:
        """The Content-Type header as it came; None without one."""
        return self.headers.get("Content-Type")

    def each_header(self, name: str) -> Sequence[str]:
        """Return every value of a header that may come more than once, in order."""
        return self._raw.headers.getall(name, [])

    def iter_chunks(self) -> AsyncIterator[bytes]:
        """Yield the body as it arrives, in chunks of any size.

        Raises Disconnected when a body ends before its stated end, TimedOut when nothing comes for too long. A body
        that is ended by closing the connection states no end.
        """
        return _Chunks(self._raw.content, self._host, self._line, self._charge)

    async def read(self, limit_bytes: int) -> bytes:
        """Return the whole body, without what gzip or zlib has made of it.

        Raises Unsupported if it is longer than `limit_bytes`, Truncated if it cannot be inflated, or if nothing came
        although nobody has said that there is nothing: the connection has ended, and an empty page of a search would
        end the search. Else as `iter_chunks`.
        """
        pieces: list[bytes] = []
        left = limit_bytes
        async for chunk in self.iter_chunks():
            left -= len(chunk)
            if left < 0:
                raise self._too_long(limit_bytes)
            pieces.append(chunk)
        if not pieces and self.status != 204 and _LENGTHS.isdisjoint(name.lower() for name in self.headers):
            raise Truncated(f"{self._host} ended the answer before its first byte")
        return self._decoded(b"".join(pieces), limit_bytes)

    def _decoded(self, body: bytes, limit_bytes: int) -> bytes:
        """Undo the coding of a server that sends one although none was asked for (RFC 9110 section 8.4)."""
        coding = self.headers.get("Content-Encoding", "identity").strip().lower()
        if coding not in _INFLATED or not body:
            return body
        inflater = zlib.decompressobj(_GZIP_OR_ZLIB)
        try:
            body = inflater.decompress(body, limit_bytes + 1)
        except zlib.error:
            raise Truncated(f"{self._host} answers with {coding} that is none") from None
        if len(body) > limit_bytes:
            raise self._too_long(limit_bytes)
        if not inflater.eof:
            raise Truncated(f"{self._host} answers with {coding} that is cut")
        return body

    def _too_long(self, limit_bytes: int) -> Unsupported:
        return Unsupported(
            f"{self._host} answers with more than {limit_bytes:,} bytes where less was expected", status=self.status
        )

    async def read_json(self, limit_bytes: int = JSON_LIMIT_BYTES) -> Any:
        """Return the body read as JSON; None for 204 and for an empty body.

        Raises Unsupported if it is too long, or is not labelled as JSON and is none (a login page, say); Truncated
        if it is labelled as JSON and does not parse; else as `iter_chunks`.
        """
        body = await self.read(limit_bytes)
        if self.status == 204 or not body.strip():
            return None
        try:
            return json.loads(body)
        except (ValueError, RecursionError):  # ValueError: undecodable text, too
            if "json" in (self.content_type or "").lower():
                raise Truncated(f"{self._host} answers with JSON that is broken or cut") from None
            raise Unsupported(
                f"{self._host} answers with something else than JSON: is it a DICOMweb server, and is the path of "
                "its URL right?",
                status=self.status,
            ) from None


class _Chunks:
    """An iterator and not a generator: a consumer that leaves early has nothing to close."""

    __slots__ = ("_charge", "_content", "_host", "_line")

    def __init__(
        self, content: aiohttp.StreamReader | Answer, host: str, line: Line, charge: Callable[[int], None] | None
    ) -> None:
        self._content = content
        self._host = host
        self._line = line
        self._charge = charge

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        try:
            chunk = await self._content.readany()
        except FOREIGN as error:
            raise error_for(error, self._host) from None  # its text may quote what the server said
        if not chunk:
            raise StopAsyncIteration
        if self._charge is not None:
            self._charge(len(chunk))
        if self._line.limited:
            await self._line.passed(len(chunk))
        return chunk


async def drop_body(raw: Raw) -> None:
    """Be done with a body that nobody wants, and keep the connection if that is cheap."""
    left = _DROP_BYTES
    try:
        # Whatever goes wrong here is no news: the response has been judged by its status already.
        with suppress(*FOREIGN, HaulError), anyio.move_on_after(_DROP_S):
            while left > 0 and (chunk := await raw.content.readany()):
                left -= len(chunk)
    finally:
        raw.release()  # closes the connection unless the body was read to its end
