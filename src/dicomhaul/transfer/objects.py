"""One series from a bucket: listed once, fetched object by object.

The listing is the inventory: when each of its objects is an instance that has landed, the series is complete. A key
does not say which instance it is. That is learned when the object lands, and stored; of an object that may be an
instance which came by another route, the first bytes are asked for.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from dicomhaul.errors import TransferError
from dicomhaul.model import Job, Known, ObjectRef, Proof, Work
from dicomhaul.ports import SMALL_BYTES, ObjectSource, SettlingSink
from dicomhaul.transfer.fanout import each
from dicomhaul.transfer.outcome import OpenSink, SeriesOutcome
from dicomhaul.transfer.shares import Shares

_ROUNDS: Final = 3  # an object whose bytes are not those that the bucket states is fetched so often
_LARGE_SERIES: Final = 4  # at once: while one is listed and another one ends, the others keep the line full


def shares_for(at_once: int, *, processes: int = 1) -> Shares:
    """Return the shares of a lane whose host sees so many exchanges at a time; one process's part of them."""
    return Shares(max(at_once, -(-at_once * _LARGE_SERIES // processes)))


class ObjectsHaul:
    """Everything that one series needs while it comes from a bucket."""

    def __init__(
        self,
        work: Work,
        known: Known,
        *,
        source: ObjectSource,
        open_sink: OpenSink,
        note_stems: Callable[[int, Mapping[str, str]], None],
        shares: Shares,
        gathered: Shares,
        at_once: int,
    ) -> None:
        self._work = work
        self._known = known
        self._source = source
        self._open_sink = open_sink
        self._note_stems = note_stems
        self._shares = shares
        self._gathered = gathered
        self._at_once = at_once
        self._stems = dict(known.stems)  # stem -> SOP Instance UID, as far as it is known
        self._partials = dict(known.partials)
        self._unread: dict[str, str] = {}  # stem -> why nobody could say who it is
        self.landed = dict(known.landed)

    async def run(self) -> SeriesOutcome:
        """Bring what is missing. Raises SourceError or LandingError, which concern more than this series."""
        exchanges = min(self._work.expected or 1, self._at_once)
        async with self._shares.of(exchanges):
            return await self._run()

    async def _run(self) -> SeriesOutcome:
        work = self._work
        if work.bucket is None or work.revision is None:
            return SeriesOutcome(reason="the index names no bucket for it")
        try:
            refs = await self._source.listing(work.bucket, work.revision)
        except TransferError as error:
            return SeriesOutcome(reason=str(error))
        self._disown(refs)
        await self._identify(refs)
        wanted = refs if work.whole else [ref for ref in refs if self._stems.get(ref.stem) in self._known.wanted]
        failed = await self._fetch([ref for ref in wanted if not self._has(ref)])
        return self._judge(refs, failed)

    def _has(self, ref: ObjectRef) -> bool:
        return self._stems.get(ref.stem) in self.landed

    def _disown(self, refs: Sequence[ObjectRef]) -> None:
        """What bears an object's name, and is not as large or of another revision, is not that object: it comes again.

        Somebody else may have brought it; what came from a bucket was held against its size as it came.
        """
        sizes = {ref.stem: ref.size_bytes for ref in refs}
        for stem, sop in list(self._stems.items()):
            if sop in self.landed and sizes.get(stem) != self.landed[sop]:
                del self.landed[sop]
                del self._stems[stem]

    async def _identify(self, refs: Sequence[ObjectRef]) -> None:
        """Learn which of the objects are instances that came by another route, or that alone are wanted."""
        by_name = set(self.landed) if self._work.whole else {*self.landed, *self._known.wanted}
        anonymous = by_name - set(self._stems.values())
        learned: dict[str, str] = {}

        async def one(ref: ObjectRef) -> None:
            if not anonymous:
                return
            try:
                sop = (await self._source.identify(ref)).sop
            except TransferError as error:  # of the others, nothing is lost by that
                self._unread[ref.stem] = str(error)
                return
            learned[ref.stem] = sop
            anonymous.discard(sop)

        if anonymous:
            await each([ref for ref in refs if ref.stem not in self._stems], one, at_once=self._at_once)
        self._stems |= learned
        there = {stem: sop for stem, sop in learned.items() if sop in by_name}
        if there:
            self._note_stems(self._work.series_id, there)

    async def _fetch(self, refs: Sequence[ObjectRef]) -> dict[ObjectRef, str]:
        """Fetch objects; return those that did not come, with the reason."""
        failed: dict[ObjectRef, str] = {}
        for _ in range(_ROUNDS):
            refused = await self._round(refs, failed)
            refs = [ref for ref in refs if ref.stem in refused]
            if not refs:
                break
            failed |= {ref: refused[ref.stem] for ref in refs}
        return {ref: reason for ref, reason in failed.items() if not self._has(ref)}

    async def _round(self, refs: Sequence[ObjectRef], failed: dict[ObjectRef, str]) -> dict[str, str]:
        """Fetch each object once; return stem -> why, of those whose bytes were not the ones that the bucket states."""
        work = self._work
        job = Job(work.series_id, work.study, work.series)
        refused: dict[str, str] = {}

        def collect(sink: SettlingSink) -> None:
            self.landed.update(sink.landed)
            self._stems.update(sink.stems)
            refused.update(sink.refused)

        async def one(ref: ObjectRef) -> None:
            async with self._gathered.of(min(ref.size_bytes, SMALL_BYTES)):
                if ref.size_bytes <= SMALL_BYTES:
                    await fetch(ref, shared)
                else:
                    await stream(ref)

        async def stream(ref: ObjectRef) -> None:
            sink = self._open_sink(job, work.folder, self.landed)
            try:
                await fetch(ref, sink)
                await sink.settle()
            except BaseException:
                sink.abandon()
                raise
            collect(sink)

        async def fetch(ref: ObjectRef, sink: SettlingSink) -> None:
            try:
                await self._source.fetch(ref, sink, self._partials.pop(ref.stem, None))
            except TransferError as error:
                failed[ref] = str(error)

        shared = self._open_sink(job, work.folder, self.landed)
        try:
            await each(refs, one, at_once=self._at_once)
            await shared.settle()
        except BaseException:
            shared.abandon()
            raise
        collect(shared)
        return refused

    def _judge(self, refs: Sequence[ObjectRef], failed: Mapping[ObjectRef, str]) -> SeriesOutcome:
        work = self._work
        if not work.whole:
            return self._judge_selection(failed)
        if failed:
            first = next(iter(failed.values()))
            missing = {self._stems[ref.stem]: why for ref, why in failed.items() if ref.stem in self._stems}
            return SeriesOutcome(reason=f"{len(failed)} of {len(refs)} instances are missing: {first}", missing=missing)
        if work.expected is not None and len(refs) < work.expected:
            return SeriesOutcome(
                expected=work.expected,
                reason=f"{work.expected} instances are expected, the bucket lists {len(refs)}",
            )
        unknown = [ref.key for ref in refs if not self._has(ref)]
        if unknown:
            return SeriesOutcome(reason=f"{len(unknown)} of {len(refs)} objects are no instance of it: {unknown[0]}")
        outcome = SeriesOutcome(proof=Proof.INVENTORY, expected=len(self.landed))
        if len(self.landed) != len(refs):
            outcome.notes.append(f"series {work.series} has {len(refs)} objects and {len(self.landed)} instances")
        return outcome

    def _judge_selection(self, failed: Mapping[ObjectRef, str]) -> SeriesOutcome:
        why = {self._stems[ref.stem]: reason for ref, reason in failed.items()}
        gone = "the bucket holds no such instance of the series"
        if self._unread:
            first = next(iter(self._unread.values()))
            gone = f"{len(self._unread)} objects of the series could not be looked into: {first}"
        missing = {sop: why.get(sop, gone) for sop in _absent(self._known.wanted, self.landed)}
        if not missing:
            return SeriesOutcome(proof=Proof.INVENTORY)
        total = len(self.landed) + len(missing)
        first = next(iter(missing.values()))
        return SeriesOutcome(reason=f"{len(missing)} of {total} instances are missing: {first}", missing=missing)


def _absent(wanted: Iterable[str], landed: Mapping[str, int]) -> list[str]:
    return [sop for sop in wanted if sop not in landed]
