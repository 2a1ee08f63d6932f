"""The sink of one exchange, or of the small objects of one series: gathers views of parts, hands batches to a writer.

One part is open at a time. Several fetches may share a sink if each pushes its part whole, without awaiting between
`begin` and `end`; all of them may await `drain`.
"""

import asyncio
import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterator
from itertools import count
from typing import Final

import anyio

from dicomhaul.errors import WrongInstance
from dicomhaul.events import Tally
from dicomhaul.land.folder import instance_file
from dicomhaul.land.repeats import Repeats
from dicomhaul.land.writer import Part, Segment, Writer
from dicomhaul.model import Identity, Job, Partial, Stated, is_identifier

BATCH_BYTES: Final = 1 << 20  # less than this a hand-over to a thread costs more than the write
_LARGEST_BATCH_BYTES: Final = 2 << 20  # what gathers while a disk stands still is not handed over all at once
_IN_FLIGHT: Final = 2  # batches of one exchange that a writer may hold


def staging_names() -> Iterator[str]:
    """Yield names for files in staging that no other run has given: what it left there may still count."""
    run = uuid.uuid4().hex[:16]
    return (f"{run}-{number:x}.part" for number in count())


class Batches:
    """How many batches all exchanges together may have in flight: what bounds the memory of the landing."""

    def __init__(self, limit: int) -> None:
        self._free = anyio.Semaphore(limit)

    async def acquire(self) -> None:
        """Wait until one more batch may be in flight."""
        await self._free.acquire()

    def release(self) -> None:
        """A batch is done."""
        self._free.release()


class FolderSink:
    """Implements `ports.SettlingSink` for one job.

    Args:
        job: what was asked for.
        folder: where its instances belong.
        known: SOP Instance UIDs that the destination already has.
        writer: writes what comes.
        batches: shared by all sinks.
        names: for files in staging, shared by all sinks.
        tally: is added to.
        by_stem: files are named by the stem of their object, where there is one, instead of the SOP Instance UID.
        batch_bytes: what is gathered before it is handed over.
    """

    def __init__(
        self,
        job: Job,
        folder: str,
        *,
        known: Collection[str],
        writer: Writer,
        batches: Batches,
        names: Iterator[str],
        tally: Tally,
        by_stem: bool = False,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self._job = job
        self._folder = folder
        self._known = known
        self._writer = writer
        self._batches = batches
        self._names = names
        self._tally = tally
        self._by_stem = by_stem
        self._batch_bytes = batch_bytes
        self._loop = asyncio.get_running_loop()
        self._segments: list[Segment] = []
        self._pending_bytes = 0
        self._in_flight: deque[anyio.Event] = deque()
        self._submitting = anyio.Lock(fast_acquire=True)
        self._part: Part | None = None
        self._segment: Segment | None = None
        self._part_bytes = 0
        self._unheard = False  # the writer knows nothing of the open part yet
        self._repeats = Repeats()
        self.landed: dict[str, int] = {}  # SOP Instance UID -> bytes, of this exchange
        self.refused: dict[str, str] = {}  # stem of an object -> why its bytes are not what the source states
        self.stems: dict[str, str] = {}  # stem of an object -> SOP Instance UID

    @property
    def repeated(self) -> dict[str, bytes | None]:
        """See `ports.SettlingSink.repeated`."""
        return self._repeats.found

    def begin(self, stated: Stated | None = None) -> None:
        """A part begins."""
        self._open(Part(self._job.series_id, self._folder, next(self._names), stated))
        self._unheard = True

    async def reopen(self, stated: Stated, partial: Partial, skim: Callable[[memoryview], None]) -> bool:
        """Begin a part with what an earlier exchange or run left of it; see `ports.Sink.reopen`.

        Where it is of another version of the object, or not what was recorded, it is deleted.
        """
        part = Part(self._job.series_id, self._folder, partial.name, stated, resumed_bytes=partial.offset)
        ended = anyio.Event()
        outcome: list[bool] = []

        def done(same: bool) -> None:  # noqa: FBT001 - the writer's answer
            outcome.append(same)
            _call(self._loop, ended.set)

        self._writer.reopen(part, partial, skim, done)
        try:
            await ended.wait()
        except BaseException:
            self._suspend(Segment(part))  # behind the question in the writer's queue
            self._hand_over()
            raise
        if self._writer.error is not None:
            raise self._writer.error
        if outcome[0]:
            self._open(part)
        return outcome[0]

    def _open(self, part: Part) -> None:
        self._repeats.leave()
        self._part = part
        self._unheard = False
        self._segment = Segment(part)
        self._segments.append(self._segment)
        self._part_bytes = 0

    def write(self, view: memoryview) -> None:
        """Take the part's next bytes."""
        size = len(view)
        self._part_bytes += size
        self._tally.bytes_received += size
        if self._segment is None:  # discarded: the rest of it goes by
            self._tally.bytes_discarded += size
            self._repeats.take(view)
            return
        self._segment.views.append(view)
        self._pending_bytes += size

    def wants(self, sop: str) -> bool:
        """Say whether the instance is still to be had; raises WrongInstance if the job asked for another one."""
        if self._job.sop is not None and sop != self._job.sop:
            raise WrongInstance("another instance came than the one that was asked for")
        wanted = sop not in self._known and sop not in self.landed
        if not wanted and self._part is not None:
            if self._part.stated is not None:
                self.stems[self._part.stated.stem] = sop
            elif sop in self.landed:
                self._repeats.begin(sop, self._views())
        return wanted

    def _views(self) -> list[memoryview] | None:
        """What has come of the open part; None where some of it is in the writer's hands."""
        views = [] if self._segment is None else self._segment.views
        return views if sum(map(len, views)) == self._part_bytes else None

    def end(self, identity: Identity) -> None:
        """The part is whole."""
        segment, part = self._segment, self._part
        if segment is None or part is None:
            return
        if not (is_identifier(identity.sop) and is_identifier(identity.study) and is_identifier(identity.series)):
            raise WrongInstance("an instance came whose UIDs are missing or not UIDs")
        if identity.study != self._job.study or identity.series != self._job.series:
            raise WrongInstance("an instance of another series came")
        stem = None if part.stated is None else part.stated.stem
        if self._by_stem and stem is not None and not is_identifier(stem):
            raise WrongInstance("an object came whose name cannot be a file's")
        if not self.wants(identity.sop):
            self.discard()
            self.gone_by()
            return
        part.sop = identity.sop
        part.file = instance_file(identity.sop, stem if self._by_stem else None)
        segment.ended = True
        self.landed[identity.sop] = part.resumed_bytes + self._part_bytes
        if stem is not None:
            self.stems[stem] = identity.sop
        self._part = self._segment = None

    def suspend(self) -> None:
        """Leave the open part as it is, if it is one that is kept; else drop it."""
        segment, part = self._segment, self._part
        if segment is None or part is None:
            return
        if not part.kept:
            self.discard()
            return
        self._suspend(segment)

    def _suspend(self, segment: Segment) -> None:
        segment.suspended = True
        if segment is not self._segment:
            self._segments.append(segment)
        self._part = self._segment = None

    def discard(self) -> None:
        """Drop the open part. Bytes of it that are still to come are counted and not kept."""
        segment = self._segment
        if segment is None:
            return
        self._tally.bytes_discarded += self._part_bytes
        self._pending_bytes -= segment.size_bytes
        segment.views = []
        segment.keep = False
        if self._unheard and self._segments[-1] is segment:  # else ten million empty parts would gather here
            self._segments.pop()
        self._part = self._segment = None

    def gone_by(self) -> None:
        """What was discarded has come to its end."""
        self._repeats.end()

    def progressed(self) -> bool:
        """Say whether an instance has been taken."""
        return bool(self.landed)

    async def drain(self) -> None:
        """Hand over what has gathered, once it is enough; wait while too much is in flight."""
        if self._pending_bytes >= self._batch_bytes:
            async with self._submitting:
                while self._pending_bytes >= self._batch_bytes:  # whoever was before us may have done it
                    await self._submit()
        if self._writer.error is not None:
            raise self._writer.error

    async def settle(self) -> None:
        """Wait until every part that ended is in the recorder's hands. Raises LandingError."""
        async with self._submitting:
            while self._segments and not self._is_bare(self._segments[0]):
                await self._submit()
        while self._in_flight:
            await self._in_flight.popleft().wait()
        if self._writer.error is not None:
            raise self._writer.error

    def abandon(self) -> None:
        """Hand over what has gathered without waiting; the open part is left as it is if it is kept, else dropped."""
        self.suspend()
        self._hand_over()

    def _hand_over(self) -> None:
        if self._segments:
            self._writer.submit(self._segments, lambda: None)
            self._segments = []

    async def _submit(self) -> None:
        while len(self._in_flight) >= _IN_FLIGHT:
            await self._in_flight.popleft().wait()
        await self._batches.acquire()
        event = anyio.Event()
        self._in_flight.append(event)
        segments = self._take_batch()

        def done() -> None:
            self._batches.release()
            for segment in segments:
                if segment.ended and segment.part.refused:
                    self._refuse(segment.part)
            event.set()

        self._writer.submit(segments, lambda: _call(self._loop, done))
        if self._writer.error is not None:
            raise self._writer.error

    def _take_batch(self) -> list[Segment]:
        """Return what comes first of what has gathered, and no more than is good for one batch."""
        count = size = 0
        while count < len(self._segments) and size < _LARGEST_BATCH_BYTES:
            size += self._segments[count].size_bytes
            count += 1
        batch, self._segments = self._segments[:count], self._segments[count:]
        self._pending_bytes -= size
        if self._segment is not None and self._part is not None and batch[-1] is self._segment:
            self._unheard = False
            self._segment = Segment(self._part)  # the open part goes on in the next batch
            self._segments.append(self._segment)
        return batch

    def _is_bare(self, segment: Segment) -> bool:
        """Whether it is the open part's, and holds nothing."""
        return segment is self._segment and not segment.views

    def _refuse(self, part: Part) -> None:
        """What the writer found not to be what the source states has not landed."""
        if part.stated is None:
            return
        self.refused[part.stated.stem] = part.refused
        self.stems.pop(part.stated.stem, None)
        self.landed.pop(part.sop, None)
        self._tally.bytes_discarded += part.size_bytes - part.resumed_bytes


def _call(loop: asyncio.AbstractEventLoop, done: Callable[[], None]) -> None:
    loop.call_soon_threadsafe(done)
