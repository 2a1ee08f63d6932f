"""The sink of one exchange: gathers views of parts and hands batches to a writer thread."""

import asyncio
import itertools
from collections import deque
from collections.abc import Callable, Collection
from typing import Final

import anyio

from dicomhaul.errors import WrongInstance
from dicomhaul.events import Tally
from dicomhaul.land.writer import Done, Part, Segment, Writer
from dicomhaul.model import Identity, Job, Partial, Stated, is_identifier

BATCH_BYTES: Final = 1 << 20  # less than this a hand-over to a thread costs more than the write
_IN_FLIGHT: Final = 2  # batches of one exchange that a writer may hold


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
    """Implements `ports.Sink` for one job. `known` are SOP Instance UIDs that the destination already has."""

    def __init__(
        self,
        job: Job,
        folder: str,
        *,
        known: Collection[str],
        writer: Writer,
        batches: Batches,
        names: "itertools.count[int]",
        tally: Tally,
        batch_bytes: int = BATCH_BYTES,
    ) -> None:
        self._job = job
        self._folder = folder
        self._known = known
        self._writer = writer
        self._batches = batches
        self._names = names
        self._tally = tally
        self._batch_bytes = batch_bytes
        self._loop = asyncio.get_running_loop()
        self._segments: list[Segment] = []
        self._pending_bytes = 0
        self._in_flight: deque[anyio.Event] = deque()
        self._part: Part | None = None
        self._segment: Segment | None = None
        self._part_bytes = 0
        self.landed: dict[str, int] = {}  # SOP Instance UID -> bytes, of this exchange
        self.refused: dict[str, str] = {}  # stem of an object -> why its bytes are not what the source states
        self.stems: dict[str, str] = {}  # stem of an object -> SOP Instance UID

    def begin(self, stated: Stated | None = None) -> None:
        """A part begins."""
        self._part = Part(self._job.series_id, self._folder, f"{next(self._names):x}.part")
        self._segment = Segment(self._part)
        self._segments.append(self._segment)
        self._part_bytes = 0

    def write(self, view: memoryview) -> None:
        """Take the part's next bytes."""
        size = len(view)
        self._part_bytes += size
        self._tally.bytes_received += size
        if self._segment is None:  # discarded: the rest of it goes by
            self._tally.bytes_discarded += size
            return
        self._segment.views.append(view)
        self._pending_bytes += size

    def wants(self, sop: str) -> bool:
        """Say whether the instance is still to be had; raises WrongInstance if the job asked for another one."""
        if self._job.sop is not None and sop != self._job.sop:
            raise WrongInstance("another instance came than the one that was asked for")
        return sop not in self._known and sop not in self.landed

    def end(self, identity: Identity) -> None:
        """The part is whole."""
        segment, part = self._segment, self._part
        if segment is None or part is None:
            return
        if not (is_identifier(identity.sop) and is_identifier(identity.study) and is_identifier(identity.series)):
            raise WrongInstance("an instance came whose UIDs are missing or not UIDs")
        if identity.study != self._job.study or identity.series != self._job.series:
            raise WrongInstance("an instance of another series came")
        if not self.wants(identity.sop):
            self.discard()
            return
        part.sop = identity.sop
        segment.ended = True
        self.landed[identity.sop] = self._part_bytes
        self._part = self._segment = None

    async def reopen(self, stated: Stated, partial: Partial, skim: Callable[[memoryview], None]) -> bool:
        """Begin a part with what an earlier run left of it."""
        raise NotImplementedError

    def suspend(self) -> None:
        """Leave the open part as it is."""
        self.discard()

    def discard(self) -> None:
        """Drop the open part. Bytes of it that are still to come are counted and not kept."""
        segment = self._segment
        if segment is None:
            return
        self._tally.bytes_discarded += self._part_bytes
        self._pending_bytes -= sum(map(len, segment.views))
        segment.views = []
        segment.keep = False
        self._part = self._segment = None

    def progressed(self) -> bool:
        """Say whether an instance has been taken."""
        return bool(self.landed)

    async def drain(self) -> None:
        """Hand over what has gathered, once it is enough; wait while too much is in flight."""
        if self._pending_bytes >= self._batch_bytes:
            await self._submit()
        elif self._writer.error is not None:
            raise self._writer.error

    async def settle(self) -> None:
        """Wait until every part that ended is in the recorder's hands. Raises LandingError."""
        if self._segments:
            await self._submit()
        while self._in_flight:
            await self._in_flight.popleft().wait()
        if self._writer.error is not None:
            raise self._writer.error

    def abandon(self) -> None:
        """Hand over what has gathered without waiting, and drop the open part: the exchange was cancelled."""
        self.discard()
        if self._segments:
            self._writer.submit(self._segments, lambda: None)
            self._segments = []

    async def _submit(self) -> None:
        while len(self._in_flight) >= _IN_FLIGHT:
            await self._in_flight.popleft().wait()
        await self._batches.acquire()
        event = anyio.Event()
        self._in_flight.append(event)
        segments, self._segments = self._segments, []
        self._pending_bytes = 0
        if self._segment is not None and self._part is not None:  # the open part goes on in the next batch
            self._segment = Segment(self._part)
            self._segments.append(self._segment)

        def done() -> None:
            self._batches.release()
            event.set()

        self._writer.submit(segments, lambda: _call(self._loop, done))
        if self._writer.error is not None:
            raise self._writer.error


def _call(loop: asyncio.AbstractEventLoop, done: Done) -> None:
    loop.call_soon_threadsafe(done)
