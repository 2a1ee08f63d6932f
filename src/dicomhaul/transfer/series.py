"""One series, from its lease to its outcome: what to ask for, and whether all of it came.

An exchange that ends well proves nothing: servers leave instances out of well-formed answers. So what landed is held
against the expected count; where nobody states it, or more came, against the source's own inventory. What is missing is
asked for singly; what is then still missing is named.
"""

from collections.abc import Callable, Sequence

from dicomhaul.errors import CohortError, DamagedError, Forbidden, RefusedError, RetryableError, TransferError
from dicomhaul.model import Job, Known, Proof, SopUID, Work
from dicomhaul.plan.split import Ask, ask_again
from dicomhaul.ports import SettlingSink, Source
from dicomhaul.transfer.fanout import each
from dicomhaul.transfer.outcome import OpenSink, SeriesOutcome


class SeriesHaul:
    """Everything that one series needs while it runs."""

    def __init__(
        self,
        work: Work,
        known: Known,
        *,
        source: Source,
        open_sink: OpenSink,
        add_wanted: Callable[[int, Sequence[str]], None],
        at_once: int,
        cut_above_bytes: int,
    ) -> None:
        self._work = work
        self._cut = work.cut or (work.size_bytes or 0) > cut_above_bytes
        self._source = source
        self._open_sink = open_sink
        self._add_wanted = add_wanted
        self._at_once = at_once
        self._wanted = known.wanted
        self._before = frozenset(known.landed)  # of these, some may be gone at the source
        self._asked_whole = False
        self._repeated: dict[str, bytes | None] = {}
        self.landed = dict(known.landed)

    async def run(self) -> SeriesOutcome:
        """Bring what is missing. Raises SourceError or LandingError, which concern more than this series."""
        outcome = await self._bring()
        outcome.repeated = self._repeated
        return outcome

    async def _bring(self) -> SeriesOutcome:
        outcome = await self._whole() if self._work.whole else SeriesOutcome(proof=Proof.INVENTORY)
        if outcome.proof is not None:
            # What is wanted by name (selected, or damaged) is wanted whatever the number of those that are there.
            missing = await self._singly(self._wanted)
            if missing:
                return self._outcome(missing, outcome.proof)
        return outcome

    async def _whole(self) -> SeriesOutcome:
        work = self._work
        error = await self._as_series()
        if error is None and len(self.landed) == work.expected:
            return SeriesOutcome(proof=Proof.COUNT)
        if isinstance(error, (RetryableError, Forbidden)):  # more requests would meet the same answer
            return SeriesOutcome(reason=str(error))
        outcome = await self._reconcile(error)
        if self._is_more():
            outcome.notes.append(
                f"series {work.series} has {len(self.landed)} instances; {work.expected} were expected"
            )
        return outcome

    def _is_more(self) -> bool:
        """Whether more landed than are expected: then the number says nothing, neither that all came nor of an end."""
        return self._work.expected is not None and len(self.landed) > self._work.expected

    async def _as_series(self, *, at_any_cost: bool = False) -> TransferError | None:
        """Ask for the whole series while that is the cheaper way; return the error that ended it, if one did."""
        work = self._work
        while at_any_cost or not self._cut:
            before = len(self.landed)
            if work.expected is not None and before >= work.expected:
                return None
            landed_bytes = sum(self.landed.values())
            if not at_any_cost and ask_again(before, landed_bytes, work.expected) is Ask.SINGLY:
                return None
            self._asked_whole = True
            try:
                await self._exchange(Job(work.series_id, work.study, work.series, None, work.expected, work.size_bytes))
            except (RetryableError, DamagedError) as error:
                if len(self.landed) == before:
                    return error
            except RefusedError as error:
                return error
            else:
                return None
        return None

    async def _reconcile(self, error: TransferError | None) -> SeriesOutcome:
        """Hold what landed against the source's inventory, and ask singly for the difference."""
        work = self._work
        stated = None if (more := self._is_more()) else work.expected
        try:
            inventory = await self._source.inventory(Job(work.series_id, work.study, work.series, None, stated))
        except (TransferError, CohortError) as failed:
            return SeriesOutcome(reason=str(error or failed))
        if inventory is None:
            return await self._without_inventory(error)
        if not inventory:
            return SeriesOutcome(reason=str(error or "the source lists no instance of it"))
        missing = [ref.sop for ref in inventory if ref.sop not in self.landed]
        if missing:
            self._add_wanted(work.series_id, missing)
        outcome = self._outcome(await self._singly(missing), Proof.INVENTORY)
        # A number that is known to be too low stays as it is stated: else each plan would take it for a new one.
        outcome.expected = None if more else len(inventory)
        listed = {ref.sop for ref in inventory}
        outcome.surplus = tuple(sop for sop in self._before if sop not in listed)
        if work.expected is not None and len(inventory) < work.expected:
            outcome.expected = work.expected
            outcome.proof = None
            outcome.reason = f"{work.expected} instances are expected, the source lists {len(inventory)}"
        return outcome

    async def _without_inventory(self, error: TransferError | None) -> SeriesOutcome:
        """Judge by the answer's framing and the expected count alone."""
        work = self._work
        if error is None and not self._asked_whole:  # singly would have been cheaper, and cannot be
            error = await self._as_series(at_any_cost=True)
        landed = len(self.landed)
        if error is not None:
            return SeriesOutcome(reason=str(error))
        if landed == 0:
            return SeriesOutcome(reason="the answer held no instance")
        if work.expected is None:
            return SeriesOutcome(proof=Proof.FRAMING, expected=landed)
        if landed >= work.expected:
            return SeriesOutcome(proof=Proof.COUNT)
        return SeriesOutcome(
            reason=f"{landed} of {work.expected} instances came, and the source cannot list the others"
        )

    async def _singly(self, sops: Sequence[str]) -> dict[str, str]:
        """Ask for instances one by one; return those that did not come, with the reason."""
        work = self._work
        reasons: dict[str, str] = {}
        # Quotas want to know what may come. The average is a guess; without it nothing would be held back.
        average = work.size_bytes // work.expected if work.size_bytes and work.expected else None

        async def one(sop: str) -> None:
            if sop in self.landed:
                return
            reason = "the answer ended well and did not hold it"
            try:
                await self._exchange(Job(work.series_id, work.study, work.series, SopUID(sop), None, average))
            except TransferError as error:
                reason = str(error)
            if sop not in self.landed:  # it may have, before the rest of its answer went wrong
                reasons[sop] = reason

        await each(sops, one, at_once=self._at_once)
        return reasons

    async def _exchange(self, job: Job) -> None:
        sink = self._open_sink(job, self._work.folder, self.landed)
        try:
            await self._source.exchange(job, sink)
        except TransferError:
            await self._settle(sink)
            raise
        except BaseException:
            sink.abandon()
            raise
        await self._settle(sink)

    async def _settle(self, sink: SettlingSink) -> None:
        await sink.settle()
        self.landed.update(sink.landed)
        self._repeated.update(sink.repeated)

    def _outcome(self, missing: dict[str, str], proof: Proof) -> SeriesOutcome:
        if not missing:
            return SeriesOutcome(proof=proof)
        total = len(self.landed) + len(missing)
        first = next(iter(missing.values()))
        return SeriesOutcome(reason=f"{len(missing)} of {total} instances are missing: {first}", missing=missing)
