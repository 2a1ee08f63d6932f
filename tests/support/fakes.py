"""Stand-ins for what lies on the other side of a port, and small makers of the values that pass through."""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import TypeVar

from dicomhaul.config.options import QUERY_JSON
from dicomhaul.errors import HaulError
from dicomhaul.events import Tally
from dicomhaul.land.folder import Folder
from dicomhaul.model import (
    Check,
    Failure,
    Identity,
    InstanceRef,
    Job,
    ObjectRef,
    Partial,
    Query,
    Routing,
    Series,
    SeriesUID,
    SopUID,
    Stated,
    StudyUID,
)
from dicomhaul.ports import Ledger as LedgerPort
from dicomhaul.ports import Sink
from dicomhaul.record.departing import Following
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.planned import plan_cohort

T = TypeVar("T")

STUDY = StudyUID("2.25.1")


def series_row(
    uid: str,
    *,
    study: str = STUDY,
    expected: int | None = None,
    size_bytes: int | None = None,
    revision: str | None = None,
    instances: Sequence[str] | None = None,
) -> Series:
    """Return a row of a cohort, in the folder of its UIDs."""
    return Series(
        StudyUID(study),
        SeriesUID(uid),
        expected=expected,
        size_bytes=size_bytes,
        revision=revision,
        folder=f"{study}/{uid}",
        instances=None if instances is None else tuple(map(SopUID, instances)),
        routing=Routing(("fake",), ""),
    )


def write_cohort(
    ledger: Ledger,
    rows: Iterable[Series],
    *,
    name: str = "cohort",
    missing: Sequence[Failure] = (),
    searched: bool = False,
    following: Following | None = None,
) -> int:
    """Write a cohort whose fingerprint is its name, and which asks what no other one asks; return its id."""
    return plan_cohort(
        ledger,
        name=name,
        fingerprint=name,
        query=QUERY_JSON.dump_json(Query(targets=(name,))).decode(),
        source="http://127.0.0.1",
        planned_at="2024-01-01T00:00:00+00:00",
        layout="{StudyInstanceUID}/{SeriesInstanceUID}",
        searched=searched,
        rows=rows,
        missing=missing,
        following=following,
    ).cohort_id


def identity(sop: str, *, study: str = STUDY, series: str = "1.1") -> Identity:
    """Return who an instance says it is."""
    return Identity(study, series, sop, "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.1.2.1")


async def push(sink: Sink, content: bytes, who: Identity, *, chunk_bytes: int = 1 << 16) -> None:
    """Push one instance into a sink, as a source does."""
    sink.begin()
    for at in range(0, len(content), chunk_bytes):
        sink.write(memoryview(content)[at : at + chunk_bytes])
        await sink.drain()
    sink.end(who)


class FakeSource:
    """A `ports.Source` that holds instances by series: SOP Instance UID -> bytes.

    Attributes:
        asked: every exchange, in order.
        inventories: series whose inventory was asked for.
        before: awaited before each exchange; may raise.
        withheld: SOP Instance UIDs that a whole series' answer leaves out.
        lists: whether it can list.
    """

    def __init__(self, held: dict[str, dict[str, bytes]], *, study: str = STUDY) -> None:
        self.held = held
        self.study = study
        self.asked: list[Job] = []
        self.inventories: list[str] = []
        self.before: Callable[[Job, Sink], Awaitable[None]] | None = None
        self.withheld: set[str] = set()
        self.lists = True

    @property
    def name(self) -> str:
        """What messages call it."""
        return "fake"

    async def exchange(self, job: Job, sink: Sink) -> None:
        """Push what is held."""
        self.asked.append(job)
        if self.before is not None:
            await self.before(job, sink)
        for sop, content in self.held.get(job.series, {}).items():
            if sop == job.sop or (job.sop is None and sop not in self.withheld):
                await push(sink, content, identity(sop, study=self.study, series=job.series))

    async def inventory(self, job: Job) -> list[InstanceRef] | None:
        """List what is held."""
        self.inventories.append(job.series)
        if not self.lists:
            return None
        return [InstanceRef(SopUID(sop), len(content)) for sop, content in self.held.get(job.series, {}).items()]


class FakeObjectSource:
    """A `ports.ObjectSource` that holds one series: stem -> SOP Instance UID and bytes.

    Attributes:
        fetched, identified: stems that were asked for, in order.
        before: awaited before each fetch; may raise.
        stated: stem -> the MD5 that is stated instead of the right one.
        hidden: stems that a listing leaves out.
    """

    def __init__(self, held: dict[str, tuple[str, bytes]], *, series: str = "1.1") -> None:
        self.held = held
        self.series = series
        self.fetched: list[str] = []
        self.identified: list[str] = []
        self.listed: list[tuple[str, str]] = []
        self.partials: list[Partial] = []
        self.before: Callable[[ObjectRef], Awaitable[None]] | None = None
        self.stated: dict[str, bytes] = {}
        self.hidden: set[str] = set()

    @property
    def name(self) -> str:
        """What messages call it."""
        return "bucket"

    async def listing(self, bucket: str, revision: str) -> list[ObjectRef]:
        """List what is held."""
        self.listed.append((bucket, revision))
        return [
            ObjectRef(bucket, f"{revision}/{stem}.dcm", len(content), "etag")
            for stem, (_, content) in self.held.items()
            if stem not in self.hidden
        ]

    async def fetch(self, ref: ObjectRef, sink: Sink, partial: Partial | None = None) -> None:
        """Push one object."""
        self.fetched.append(ref.stem)
        if partial is not None:
            self.partials.append(partial)
        if self.before is not None:
            await self.before(ref)
        sop, content = self.held[ref.stem]
        digest = self.stated.get(ref.stem) or hashlib.md5(content, usedforsecurity=False).digest()
        sink.begin(Stated(ref.stem, ref.size_bytes, ref.etag, Check.MD5, digest))
        sink.write(memoryview(content))
        sink.end(identity(sop, series=self.series))
        await sink.drain()

    async def identify(self, ref: ObjectRef) -> Identity:
        """Say who an object is."""
        self.identified.append(ref.stem)
        return identity(self.held[ref.stem][0], series=self.series)


class MemorySink:
    """A `ports.SettlingSink` that keeps instances in memory, in `taken`; `lands` False: its disk is full."""

    def __init__(self, job: Job, known: Iterable[str], taken: dict[str, bytes]) -> None:
        self.job = job
        self.known = known
        self.taken = taken
        self.landed: dict[str, int] = {}
        self.refused: dict[str, str] = {}
        self.stems: dict[str, str] = {}
        self.repeated: dict[str, bytes | None] = {}
        self.abandoned = False
        self.settled = False
        self.trouble: HaulError | None = None
        self._part: list[bytes] | None = None
        self._stated: Stated | None = None

    def begin(self, stated: Stated | None = None) -> None:
        self._part = []
        self._stated = stated

    def write(self, view: memoryview) -> None:
        if self._part is not None:
            self._part.append(bytes(view))

    def wants(self, sop: str) -> bool:
        wanted = sop not in self.known and sop not in self.landed
        if not wanted and self._part is not None and self._stated is not None:
            self.stems[self._stated.stem] = sop
        return wanted

    def end(self, identity: Identity) -> None:
        part, self._part = self._part, None
        if part is None:
            return
        content = b"".join(part)
        stated = self._stated
        if stated is not None:
            if stated.check is Check.MD5 and stated.digest != hashlib.md5(content, usedforsecurity=False).digest():
                self.refused[stated.stem] = "its MD5 is not the one that the source states"
                return
            self.stems[stated.stem] = identity.sop
        if not self.wants(identity.sop):
            return
        self.taken[identity.sop] = content
        self.landed[identity.sop] = len(content)

    def discard(self) -> None:
        self._part = None

    def gone_by(self) -> None:
        pass

    def suspend(self) -> None:
        self._part = None

    async def reopen(self, stated: Stated, partial: Partial, skim: Callable[[memoryview], None]) -> bool:
        return False

    def progressed(self) -> bool:
        return bool(self.landed)

    async def drain(self) -> None:
        if self.trouble is not None:
            raise self.trouble

    async def settle(self) -> None:
        self.settled = True
        await self.drain()

    def abandon(self) -> None:
        self.abandoned = True


class DirectRecorder:
    """A `ports.Recorder` without a thread: everything takes effect at once, in a transaction of its own."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.error: HaulError | None = None

    def change(self, change: Callable[[LedgerPort], None], committed: Callable[[], None] | None = None) -> None:
        """Apply at once, unless an error stopped the recording."""
        if self.error is not None:
            return
        with self.ledger.transaction():
            change(self.ledger)
        if committed is not None:
            committed()

    def ask(self, question: Callable[[LedgerPort], T]) -> "Future[T]":
        """Answer at once."""
        future: Future[T] = Future()
        if self.error is not None:
            future.set_exception(self.error)
        else:
            future.set_result(question(self.ledger))
        return future


def prepared_folder(root: Path) -> Folder:
    """Return a destination that is ready to take instances."""
    folder = Folder(root)
    folder.prepare()
    return folder


def tally() -> Tally:
    """Return totals that start at nothing."""
    return Tally()
