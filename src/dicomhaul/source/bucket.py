"""Instances from IDC's public buckets: plain GET, one object an instance.

docs/servers.md, "IDC's public buckets: `idc-bucket` and `idc-bucket-gcs`", tells what is known of them.

A bucket is asked path-style, `<url>/<bucket>/<key>`, so that one host, one session and one gate serve all of them.

* A listing is the inventory of a revision: pages with continuation tokens, which are bounded and must not repeat.
* An object of at most `SMALL_BYTES` is gathered whole, judged, and then pushed without a pause: many share one sink.
* A larger one is pushed as it comes, and goes on where it broke off: see `source.stream`.

What the listing states of an object's size and version is held against what comes; digests are for the sink to compare.
"""

import re
from typing import Final

from dicomhaul.errors import DamagedError, NotDicom, NotFound, Truncated, Unsupported
from dicomhaul.model import Identity, ObjectRef, Partial, is_identifier
from dicomhaul.net.host import Host
from dicomhaul.net.response import Response
from dicomhaul.ports import SMALL_BYTES, Sink
from dicomhaul.profile import Profile
from dicomhaul.source.claims import check_answer, read_range, stated_of, too_long, too_short
from dicomhaul.source.stranger import Stranger
from dicomhaul.source.stream import ObjectStream
from dicomhaul.wire.listing import Page, parse_listing
from dicomhaul.wire.part10 import Skimmer

_BUCKET: Final = re.compile(r"(?!.*\.\.)[a-z0-9][a-z0-9._-]{1,220}[a-z0-9]\Z")
_PAGE_BYTES: Final = 4 << 20  # a page of 1,000 keys has 0.3 MB; of the longest keys 1.5 MB
_MOST_OBJECTS: Final = 1_000_000  # the largest series of IDC has 92,000
_MOST_PAGES: Final = 4_000
_HEADS: Final = (4 << 10, 64 << 10, 1 << 20)  # where the first bytes that are asked for end; nearly always the first


class BucketSource:
    """Implements `ports.ObjectSource`. `compare`: hold what comes against the digest that the bucket states."""

    def __init__(self, name: str, host: Host, profile: Profile, *, compare: bool) -> None:
        self._name = name
        self._host = host
        self._names = profile.bucket.names
        self._compare = compare
        self._stranger = Stranger(host.name)

    @property
    def name(self) -> str:
        """What the plan, the ledger and messages call it."""
        return self._name

    async def listing(self, bucket: str, revision: str) -> list[ObjectRef]:
        """List the objects of one revision of a series; see `ports.ObjectSource.listing`.

        Raises SourceDown besides when one revision after the other is answered with something else than a listing.
        """
        if not is_identifier(revision):
            raise Unsupported("the revision of the series cannot be the prefix of a key")
        refs: dict[str, ObjectRef] = {}
        tokens: set[str] = set()
        token: str | None = None
        for _ in range(_MOST_PAGES):
            page = await self._page(bucket, revision, token)
            for ref in page.objects:
                if refs.setdefault(ref.key, ref) != ref:
                    raise Unsupported("the bucket lists one object in two versions")
            token = page.token
            if token is None:
                if not refs:
                    raise NotFound("the bucket lists no instance of this revision")
                return list(refs.values())
            if token in tokens:
                raise Unsupported("the listing of the bucket runs in a circle")
            tokens.add(token)
            if len(refs) > _MOST_OBJECTS:
                break
        raise Unsupported(f"the listing of the bucket does not end: {len(refs):,} objects in {len(tokens):,} pages")

    async def fetch(self, ref: ObjectRef, sink: Sink, partial: Partial | None = None) -> None:
        """Push one object into `sink`; see `ports.ObjectSource.fetch`."""
        path = self._object_path(ref)
        if ref.size_bytes > SMALL_BYTES:
            await ObjectStream(self._host, path, ref, sink, compare=self._compare).run(partial)
            return

        async def once(_attempt: int) -> None:
            async with self._host.session.get(path, accept="*/*") as response:
                await self._take_whole(response, ref, sink)
            await sink.drain()  # with the slot in hand: no more objects are gathered than may be asked for at once

        await self._host.attempt(once, label=_label(ref), size_bytes=ref.size_bytes)

    async def identify(self, ref: ObjectRef) -> Identity:
        """Say who an object is; see `ports.ObjectSource.identify`."""
        path = self._object_path(ref)
        skimmer = Skimmer()
        for head_bytes in _HEADS:
            end = min(head_bytes, ref.size_bytes)
            if skimmer.size < end:
                for chunk in await self._piece(path, ref, skimmer.size, end):
                    skimmer.feed(memoryview(chunk))
            identity = skimmer.identity
            if skimmer.sop and identity.study and identity.series:
                return identity
        if not skimmer.identity.sop:
            raise NotDicom(f"the first {skimmer.size:,} bytes of the object do not say which instance it is")
        return skimmer.identity

    async def _page(self, bucket: str, revision: str, token: str | None) -> Page:
        path = self._bucket_path(bucket)
        prefix = f"{revision}/"
        params = [("list-type", "2"), ("prefix", prefix)]
        if token is not None:
            params.append(("continuation-token", token))

        async def once(_attempt: int) -> Page:
            async with self._host.session.get(path, accept="*/*", params=params) as response:
                return parse_listing(await response.read(_PAGE_BYTES), bucket=bucket, prefix=prefix)

        try:
            page = await self._host.attempt(once, label=f"listing of {revision}")
        except (Unsupported, Truncated) as error:
            if isinstance(error, Truncated) or error.status is None:  # it was no status that refused
                self._stranger.gave_otherwise(revision, error)
            raise
        self._stranger.gave()
        return page

    async def _take_whole(self, response: Response, ref: ObjectRef, sink: Sink) -> None:
        check_answer(response, ref)
        if response.status == 206:
            raise DamagedError("the bucket answers with a part of the object, and was asked for all of it")
        skimmer = Skimmer()
        views: list[memoryview] = []
        async for chunk in response.iter_chunks():
            view = memoryview(chunk)
            if skimmer.size + len(view) > ref.size_bytes:
                raise too_long(ref)
            skimmer.feed(view)
            views.append(view)
        if skimmer.size < ref.size_bytes:
            raise too_short(ref, skimmer.size)
        identity = skimmer.finish()
        # From here on nothing waits, so that no other object gets between: the sink may be shared.
        sink.begin(stated_of(response, ref, compare=self._compare))
        try:
            for view in views:
                sink.write(view)
            sink.end(identity)
        except DamagedError:
            sink.discard()
            raise

    async def _piece(self, path: str, ref: ObjectRef, begin: int, end: int) -> list[bytes]:
        """Return bytes `begin` to `end` of an object, though the server may send more."""

        async def once(_attempt: int) -> list[bytes]:
            chunks: list[bytes] = []
            async with self._host.session.get(
                path, accept="*/*", headers={"Range": f"bytes={begin}-{end - 1}"}
            ) as response:
                check_answer(response, ref)
                at = 0
                if response.status == 206:
                    at = read_range(response, ref)
                    if at != begin:
                        raise DamagedError("the bucket answers with another range than it was asked for")
                async for chunk in response.iter_chunks():
                    chunks.append(chunk[max(0, begin - at) : max(0, end - at)])
                    at += len(chunk)
                    if at >= end:
                        return chunks
            raise too_short(ref, at)

        return await self._host.attempt(once, label=_label(ref), size_bytes=end - begin)

    def _bucket_path(self, bucket: str) -> str:
        name = self._names.get(bucket, bucket)
        if not _BUCKET.match(name):
            raise Unsupported("the index names a bucket that cannot be one")
        return name

    def _object_path(self, ref: ObjectRef) -> str:
        return f"{self._bucket_path(ref.bucket)}/{ref.key}"


def _label(ref: ObjectRef) -> str:
    return f"object {ref.key}"
