"""The embedded bucket server: S3 as anonymous readers see it, asked path-style, or Google Cloud Storage's XML API.

    GET /<bucket>/?list-type=2&prefix=...        a page of a listing
    GET /<bucket>/<crdc_series_uuid>/<crdc_instance_uuid>.dcm

What holds for every object: ETag, Content-Length, `Accept-Ranges`, Range (206, 416), If-Match (412). Google states
CRC32C and, where an object was not put together from parts, MD5 in `x-goog-hash`. A request goes the way of every
origin (`front`): the fault script strikes listings as the path `/<bucket>/<prefix>` and the level "listing", objects as
"object".
"""

import base64
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final, NamedTuple

from aiohttp import web

from dicomhaul.origin import faults as f
from dicomhaul.origin.catalog import StoredInstance
from dicomhaul.origin.framing import Part, part_of, spoil
from dicomhaul.origin.front import Front, listen
from dicomhaul.origin.holdings import Digests, Holdings
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.listing import (
    PAGE_MAX,
    BadListingError,
    Cloud,
    Listed,
    error_xml,
    page_xml,
    parse_wanted,
)
from dicomhaul.origin.outlet import CloseDelimited, LateFault, send_body
from dicomhaul.origin.ranges import Span, matches, parse_range

_STATUSES: Final = {"NotImplemented": 501}
_MODIFIED: Final = "Fri, 10 Feb 2023 12:00:00 GMT"


class _Answer(NamedTuple):
    """What is to be streamed."""

    status: int
    headers: Mapping[str, str]
    part: Part


class BucketOrigin(Front):
    """A running bucket server.

    Attributes:
        url, requests: see `Front`.
        holdings: what it holds.
        cloud: whom it plays.
    """

    def __init__(
        self,
        holdings: Holdings,
        faults: f.Script | None,
        *,
        cloud: Cloud,
        names: Mapping[str, str],
        closed: frozenset[str],
        page_max: int,
        multipart_above: int | None,
    ) -> None:
        super().__init__(faults)
        self.holdings = holdings
        self.cloud = cloud
        self._indexed = {here: indexed for indexed, here in names.items()}
        self._renamed = frozenset(names)
        self._closed = closed
        self._page_max = page_max
        self._multipart_above = multipart_above

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """See `Front`."""
        router.add_route("*", "/{below:.*}", self.answer)

    def _named(self, request: web.Request) -> tuple[str, f.Level | None]:
        bucket, key = _split(request.path)
        if not bucket:
            return request.path, None
        if not key:
            return f"/{bucket}/{request.query.get('prefix', '')}", "listing"
        return request.path, "object"

    async def _respond(self, request: web.Request, entry: Entry, fault: f.Action | None) -> web.StreamResponse:
        name, key = _split(request.path)
        if request.method not in {"GET", "HEAD"}:
            return self._error(405, "MethodNotAllowed", "The specified method is not allowed against this resource.")
        if not name or name in self._closed:
            return self._error(403, "AccessDenied", "Access Denied")
        bucket = "" if name in self._renamed else self._indexed.get(name, name)
        if not self.holdings.has_bucket(bucket):
            return self._error(404, "NoSuchBucket", "The specified bucket does not exist")
        if not key:
            return await self._list(request, entry, bucket, fault)
        instance = self.holdings.find(bucket, key)
        if instance is None:
            return self._error(404, "NoSuchKey", "The specified key does not exist.")
        return await self._send(request, entry, instance, await self.holdings.digests(bucket, key), fault)

    async def _list(
        self, request: web.Request, entry: Entry, bucket: str, fault: f.Action | None
    ) -> web.StreamResponse:
        try:
            wanted = parse_wanted(request.query, page_max=self._page_max)
        except BadListingError as error:
            return self._error(_STATUSES.get(error.code, 400), error.code, str(error))
        keys = list(islice(self.holdings.keys(bucket, wanted.prefix, wanted.after), wanted.most + 1))
        objects = [await self._listed(bucket, key) for key in keys[: wanted.most]]
        name = next((here for here, indexed in self._indexed.items() if indexed == bucket), bucket)
        body = page_xml(self.cloud, name, wanted, objects, more=0 < wanted.most < len(keys))
        headers = {"Content-Type": "application/xml"}
        part = Part(len(body), len(body), "", _whole(body))
        return await self._stream(request, entry, _Answer(200, headers, part), fault)

    async def _listed(self, bucket: str, key: str) -> Listed:
        instance = self.holdings.find(bucket, key)
        assert instance is not None  # noqa: S101 - it was just listed
        digests = await self.holdings.digests(bucket, key)
        return Listed(key, instance.size_bytes, self._etag(instance.size_bytes, digests))

    async def _send(
        self, request: web.Request, entry: Entry, instance: StoredInstance, digests: Digests, fault: f.Action | None
    ) -> web.StreamResponse:
        etag = f'"{self._etag(instance.size_bytes, digests)}"'
        if not matches(entry.if_match, etag):
            return self._error(412, "PreconditionFailed", "At least one of the preconditions did not hold")
        size = instance.size_bytes
        try:
            span = parse_range(entry.range, size)
        except ValueError:
            headers = {"Content-Range": f"bytes */{size}"}
            return self._error(416, "InvalidRange", "The requested range is not satisfiable", headers)
        parts = await spoil(fault, [instance], None) if isinstance(fault, f.Part) else [part_of(instance)]
        if not parts:
            return self._error(404, "NoSuchKey", "The specified key does not exist.")
        headers = {
            "Content-Type": "binary/octet-stream" if self.cloud == "s3" else "application/dicom",
            "ETag": etag,
            "Last-Modified": _MODIFIED,
            "Accept-Ranges": "bytes",
        }
        if self.cloud == "gcs":
            headers["x-goog-hash"] = ",".join(self._goog_hashes(size, digests))
        part, status = parts[0], 200
        entry.parts = 1
        if span is not None:
            status = 206
            headers["Content-Range"] = f"bytes {span.begin}-{span.end - 1}/{size}"
            part = _cut_out(part, span)
        return await self._stream(request, entry, _Answer(status, headers, part), fault)

    async def _stream(
        self, request: web.Request, entry: Entry, answer: _Answer, fault: f.Action | None
    ) -> web.StreamResponse:
        late = fault if isinstance(fault, LateFault) else None
        part = answer.part
        if isinstance(late, f.Truncate):
            response: web.StreamResponse = CloseDelimited(status=answer.status, headers=answer.headers)
            response.force_close()
        else:
            response = web.StreamResponse(status=answer.status, headers=answer.headers)
            response.content_length = part.stated_bytes
            if part.stated_bytes != part.size_bytes:
                response.force_close()
        await response.prepare(request)
        if request.method == "GET":
            await send_body(request, response, part.chunks(), entry, late)
        return response

    def _is_multipart(self, size_bytes: int) -> bool:
        return self._multipart_above is not None and size_bytes > self._multipart_above

    def _etag(self, size_bytes: int, digests: Digests) -> str:
        return digests.multipart_etag if self._is_multipart(size_bytes) else digests.md5.hex()

    def _goog_hashes(self, size_bytes: int, digests: Digests) -> list[str]:
        hashes = [f"crc32c={base64.b64encode(digests.crc32c).decode()}"]
        if not self._is_multipart(size_bytes):
            hashes.append(f"md5={base64.b64encode(digests.md5).decode()}")
        return hashes

    def _error(self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
        stated = {"Content-Type": "application/xml", **(headers or {})}
        return web.Response(status=status, headers=stated, body=error_xml(code, message))


def _split(path: str) -> tuple[str, str]:
    bucket, _, key = path.removeprefix("/").partition("/")
    return bucket, key


def _whole(body: bytes) -> Callable[[], AsyncIterator[bytes]]:
    async def chunks() -> AsyncIterator[bytes]:
        yield body

    return chunks


def _cut_out(part: Part, span: Span) -> Part:
    async def chunks() -> AsyncIterator[bytes]:
        at = 0
        async for chunk in part.chunks():
            begin, end = max(0, span.begin - at), span.end - at
            if begin < len(chunk):
                yield chunk[begin:end] if begin or end < len(chunk) else chunk
            at += len(chunk)
            if at >= span.end:
                return

    size = min(part.size_bytes, span.end) - min(part.size_bytes, span.begin)
    return Part(size, size, part.syntax, chunks)


@asynccontextmanager
async def serve_bucket(
    holdings: Holdings,
    *,
    cloud: Cloud = "s3",
    names: Mapping[str, str] | None = None,
    faults: f.Script | None = None,
    closed: frozenset[str] = frozenset(),
    page_max: int = PAGE_MAX,
    multipart_above: int | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[BucketOrigin]:
    """Serve `holdings` as objects while the block runs, and yield the running origin.

    Args:
        holdings: what there is.
        cloud: whom to play.
        names: bucket of the index -> what it is called here, where that differs.
        faults: what to do wrong; None: nothing.
        closed: buckets, as they are called here, that are a 403.
        page_max: the most objects of one page, whatever `max-keys` says.
        multipart_above: a larger object was uploaded in parts, so that its ETag is no MD5; None: none was.
        host: the address to listen on.
        port: 0 picks a free one.
        tls: a server-side context; None: plain HTTP.

    Raises:
        OSError: the port is taken.
    """
    origin = BucketOrigin(
        holdings,
        faults,
        cloud=cloud,
        names=names or {},
        closed=closed,
        page_max=page_max,
        multipart_above=multipart_above,
    )
    async with listen(origin, "", host=host, port=port, tls=tls):
        yield origin
