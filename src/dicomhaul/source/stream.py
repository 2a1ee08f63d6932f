"""One large object of a bucket, pushed into a sink as it comes, over as many answers as that takes.

Where an answer breaks off, the next request asks for the rest: `Range` says from where, `If-Match` of which version
(RFC 9110 sections 14.2 and 13.1.1). What a server makes of that is looked at, never assumed:

    206 of just these bytes       they are the rest
    200                           it does not heed ranges: the object begins anew
    206 of others                 damaged: the object begins anew
    412, 416                      the object has changed since it was listed: refused

Attempts count anew after progress, which is a MiB more than ever before: less, and a server that sends one byte at a
time would never be given up.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from dicomhaul.errors import DamagedError, RetryableError, SourceError, TransferError, Truncated, Unsupported
from dicomhaul.model import ObjectRef, Partial, Stated
from dicomhaul.net.host import Host
from dicomhaul.net.response import Response
from dicomhaul.ports import Sink
from dicomhaul.source.claims import changed, check_answer, read_range, stated_of, too_long, too_short
from dicomhaul.source.receive import Receiver

_PROGRESS_BYTES: Final = 1 << 20


class ObjectStream:
    """Brings one object. `compare`: have the sink compare the digest that the bucket states."""

    def __init__(self, host: Host, path: str, ref: ObjectRef, sink: Sink, *, compare: bool) -> None:
        self._host = host
        self._path = path
        self._ref = ref
        self._sink = sink
        self._compare = compare
        self._receiver: Receiver | None = None  # None: no part of the object is open in the sink
        self._offset = 0  # how much of it the open part has
        self._furthest = 0

    async def run(self, partial: Partial | None) -> None:
        """Bring the object, or the rest of it that `partial` lacks. Errors as `ports.ObjectSource.fetch`.

        An object that broke off stays in the sink as far as it came (`Sink.suspend`); one that is wrong does not.
        """
        try:
            if partial is not None and partial.etag == self._ref.etag and 0 < partial.offset <= self._ref.size_bytes:
                await self._reopen(partial)
            await self._bring()
        except (RetryableError, Truncated, SourceError):
            self._sink.suspend()
            raise
        except TransferError:
            self._sink.discard()
            raise

    async def _reopen(self, partial: Partial) -> None:
        """Go on with what an earlier run left, if the bucket still has that version and the bytes are the recorded.

        What the bucket states of the object must be known first, so its next byte is asked for.
        """
        at = min(partial.offset, self._ref.size_bytes - 1)

        async def once(_attempt: int) -> Stated | None:
            async with self._get(f"bytes={at}-{at}") as response:
                check_answer(response, self._ref)
                return stated_of(response, self._ref, compare=self._compare) if response.status == 206 else None

        stated = await self._host.attempt(once, label=self._label, size_bytes=1)
        receiver = Receiver(self._sink)
        if stated is not None and await receiver.reopen(stated, partial):
            self._receiver = receiver
            self._offset = self._furthest = partial.offset

    async def _bring(self) -> None:
        while True:
            enough = self._furthest + _PROGRESS_BYTES
            try:
                await self._host.attempt(
                    self._once,
                    label=self._label,
                    size_bytes=self._ref.size_bytes - self._offset,
                    progressed=lambda enough=enough: self._furthest >= enough,  # type: ignore[misc]
                )
            except (RetryableError, DamagedError):
                if self._furthest < enough:
                    raise
            else:
                return

    async def _once(self, _attempt: int) -> None:
        """One answer, and the end of the object if that was the last of it."""
        try:
            if self._receiver is None or self._offset < self._ref.size_bytes:
                await self._answer()
        except DamagedError as error:
            if not isinstance(error, Truncated):
                self._drop()
            raise
        receiver = self._receiver
        assert receiver is not None  # noqa: S101 - an answer has begun it
        receiver.end()
        if receiver.error is not None:
            self._receiver = None
            raise receiver.error

    async def _answer(self) -> None:
        async with self._get(f"bytes={self._offset}-" if self._goes_on else None) as response:
            check_answer(response, self._ref)
            receiver = self._begin(response)
            async for chunk in response.iter_chunks():
                view = memoryview(chunk)
                if self._offset + len(view) > self._ref.size_bytes:
                    raise too_long(self._ref)
                receiver.data(view)
                if receiver.dropped:
                    return
                self._offset += len(view)
                self._furthest = max(self._furthest, self._offset)
                await self._sink.drain()
        if self._offset < self._ref.size_bytes:
            raise too_short(self._ref, self._offset)

    def _begin(self, response: Response) -> Receiver:
        """Go on with the open part, or begin one, as the answer demands."""
        if response.status == 206:
            if not self._goes_on or read_range(response, self._ref) != self._offset:
                raise DamagedError("the bucket answers with another range than it was asked for")
            assert self._receiver is not None  # noqa: S101 - it goes on
            return self._receiver
        self._drop()
        receiver = self._receiver = Receiver(self._sink)
        receiver.begin_object(stated_of(response, self._ref, compare=self._compare))
        return receiver

    def _drop(self) -> None:
        self._sink.discard()
        self._receiver = None
        self._offset = 0

    @property
    def _goes_on(self) -> bool:
        """Whether the rest can be asked for: without an ETag nobody could say of which version it is."""
        return self._receiver is not None and self._offset > 0 and self._ref.etag is not None

    @property
    def _label(self) -> str:
        return f"object {self._ref.key}"

    @asynccontextmanager
    async def _get(self, wanted: str | None) -> AsyncIterator[Response]:
        headers = {} if wanted is None else {"Range": wanted, "If-Match": f'"{self._ref.etag}"'}
        try:
            async with self._host.session.get(self._path, accept="*/*", headers=headers) as response:
                yield response
        except Unsupported as error:
            if error.status in {412, 416}:
                raise changed() from None
            raise
