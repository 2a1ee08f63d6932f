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
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from itertools import islice
from typing import Final

from aiohttp import web

from dicomhaul.origin import faults as f
from dicomhaul.origin.answer import Answer, answer_of
from dicomhaul.origin.catalog import StoredInstance
from dicomhaul.origin.framing import part_of
from dicomhaul.origin.front import Front, listen
from dicomhaul.origin.holdings import Digests, Holdings
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.listing import (
    PAGE_MAX,
    BadListingError,
    Cloud,
    Listed,
    Wanted,
    error_xml,
    page_xml,
    parse_wanted,
)
from dicomhaul.origin.outlet import deliver
from dicomhaul.origin.pages import spoilt_keys
from dicomhaul.origin.ranges import matches, parse_range
from dicomhaul.origin.spoil import spoil

_STATUSES: Final = {"NotImplemented": 501}
_MADE_UP: Final = Listed("", 9_000, "0" * 32)  # what an endless listing says of its objects
_MODIFIED: Final = "Fri, 10 Feb 2023 12:00:00 GMT"


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
        keys, more = self._page(bucket, wanted, entry, fault)
        objects = [await self._listed(bucket, key) for key in keys]
        name = next((here for here, indexed in self._indexed.items() if indexed == bucket), bucket)
        body = page_xml(self.cloud, name, wanted, objects, more=more)
        return await deliver(request, answer_of(200, {"Content-Type": "application/xml"}, body), entry, fault)

    def _page(self, bucket: str, wanted: Wanted, entry: Entry, fault: f.Action | None) -> tuple[list[str], bool]:
        def keys_of(some: Wanted) -> list[str]:
            return list(islice(self.holdings.keys(bucket, some.prefix, some.after), some.most + 1))

        keys = keys_of(wanted)
        page = keys[: wanted.most], 0 < wanted.most < len(keys)
        if isinstance(fault, f.Pages):
            spoilt = spoilt_keys(wanted, fault, keys_of)
            entry.fault = fault.do if spoilt != page else ""
            return spoilt
        return page

    async def _listed(self, bucket: str, key: str) -> Listed:
        instance = self.holdings.find(bucket, key)
        if instance is None:
            return _MADE_UP._replace(key=key)
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
        parts = [part_of(instance)]
        if isinstance(fault, f.Part):
            spoilt = await spoil(fault, [instance], None)
            entry.fault, parts = (fault.do, spoilt) if spoilt is not None else ("", parts)
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
        entry.parts = 1
        part = parts[-1]
        lie_bytes = 0 if span is not None else part.stated_bytes - part.size_bytes
        answer = Answer(200, headers, part.chunks, part.size_bytes, lie_bytes=lie_bytes)
        return await deliver(request, answer, entry, fault, span)

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
