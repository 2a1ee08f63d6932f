"""One plan in the making: rows come in, each gets its routes, and they are written into the ledger or added up.

Every row of every cohort passes through `Sheet.rows`; only a plan of IDC that nothing but totals are wanted of comes as
groups, which no row was made for (`Sheet.groups`).
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from itertools import chain
from typing import Final

from dicomhaul.config.options import QUERY_JSON
from dicomhaul.config.source import index_version
from dicomhaul.events import Tally
from dicomhaul.land.layout import Layout
from dicomhaul.model import Failure, Series
from dicomhaul.net.clock import SystemClock
from dicomhaul.plan.difference import Difference
from dicomhaul.plan.estimate import Group, Summary, summarise
from dicomhaul.planner.locking import PlannedLock
from dicomhaul.planner.request import Foreseeing, Load, PlanRequest, Progress
from dicomhaul.planner.routing import Router
from dicomhaul.planner.sums import Sums
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.planned import plan_cohort
from dicomhaul.record.preview import Preview, foresee

_THERE: Final = "already there"


class Sheet:
    """A plan in the making.

    Args:
        request: what is planned.
        layout: of the folders.
        router: chooses the routes of each series.
        notes: sentences for the reader; more are added.
        say: tells how far it is.

    Attributes:
        missing: what was named and nobody has.
        short: studies that should have more series than their source lists.
        tally: counts the requests that were sent to find the rows.
        searched: whether the rows are a server's answer of now.
        preview: what a sync would do, where that was asked.
    """

    def __init__(
        self,
        request: PlanRequest,
        layout: Layout,
        router: Router,
        notes: list[str],
        say: Callable[[Progress], None],
    ) -> None:
        self.request = request
        self.layout = layout
        self.router = router
        self.notes = notes
        self.missing: list[Failure] = []
        self.short: list[Failure] = []
        self.tally = Tally()
        self.searched = False
        self.preview: Preview | None = None
        self._say = say
        self._counted = 0
        self._unrouted: Counter[str] = Counter()

    def tell(self) -> None:
        """Say how far it is."""
        self._say(Progress(self._counted, self.tally.requests))

    def rows(self, batches: Iterable[list[Series]]) -> Summary:
        """Write the rows into the ledger, or add up those that it does not have."""
        load, path = self.request.load, self.request.lock
        if load is not None:
            difference = self._load(load, batches)
            for reason, count in self._unrouted.most_common():
                self.notes.append(f"{count:,} series cannot come: {reason}")
            return replace(self._summary([]), difference=difference)
        if self.request.foreseeing is not None:
            self.preview = self._foresee(self.request.foreseeing, batches)
            return self._summary([])
        lock = None if path is None else PlannedLock(path)
        present = self._present()
        there = 0
        sums = Sums()
        for batch in self._told(batches):
            routings = [self.router.routing(row) for row in batch]
            if lock is not None:
                lock.add(row._replace(routing=routing) for row, routing in zip(batch, routings, strict=True))
            for row, routing in zip(batch, routings, strict=True):
                if present and row.instances is None and present.get((row.study, row.series), "") == row.revision:
                    there += 1
                else:
                    sums.add(row, routing)
        if lock is not None:
            now = datetime.fromtimestamp(SystemClock().now(), UTC).isoformat(timespec="seconds")
            release = index_version() if self.request.source.index == "idc" else None
            lock.write(self.request, created=now, release=release)
        return self._summary(sums.groups(), Counter({_THERE: there} if there else {}))

    def groups(self, groups: Iterable[Group]) -> Summary:
        """Add groups up."""
        return self._summary(list(groups))

    def _summary(self, groups: list[Group], skipped: Counter[str] | None = None) -> Summary:
        source = self.request.source
        if self.missing:
            some = ", ".join(each.sop or each.series or each.study for each in self.missing[:3])
            more = ", …" if len(self.missing) > 3 else ""
            self.notes.append(f"{len(self.missing):,} of those named were not found: {some}{more}")
        unrouted = self._unrouted or any(not group.routing.routes for group in groups)
        if unrouted and source.index == "idc" and not any(spec.profile.kind == "bucket" for spec in source.specs):
            self.notes.append(f"IDC's public buckets have all of its series: --source {source.word},idc-bucket")
        return summarise(groups, skipped=skipped, source=source.name, notes=tuple(self.notes))

    def _load(self, load: Load, batches: Iterable[list[Series]]) -> Difference:
        source = self.request.source
        with closing(Ledger.open(load.ledger, wal=load.wal)) as ledger:
            if load.audited:
                ledger.capture()
            planned = plan_cohort(
                ledger,
                name=load.name,
                fingerprint=load.fingerprint,
                query=QUERY_JSON.dump_json(self.request.query).decode(),
                source=source.word,
                profile=source.profile_word,
                planned_at=load.planned_at,
                layout=self.request.layout,
                searched=self.searched,
                rows=self._loaded(batches),
                missing=chain(self.missing, self.short),  # lists that fill while the rows come
                following=load.following,
                beside=load.beside,
            )
        return planned.difference

    def _foresee(self, foreseeing: Foreseeing, batches: Iterable[list[Series]]) -> Preview:
        return foresee(
            self.request.present,
            (row for batch in self._told(batches) for row in batch),
            name=foreseeing.name,
            query=QUERY_JSON.dump_json(self.request.query).decode(),
            source=self.request.source.word,
            searched=self.searched,
            following=foreseeing.following,
            most=foreseeing.most,
        )

    def _loaded(self, batches: Iterable[list[Series]]) -> Iterator[Series]:
        for batch in self._told(batches):
            for row in batch:
                routing = self.router.routing(row)
                if not routing.routes:
                    self._unrouted[routing.reason] += 1
                yield row._replace(routing=routing)

    def _told(self, batches: Iterable[list[Series]]) -> Iterator[list[Series]]:
        for batch in batches:
            yield batch
            self._counted += len(batch)
            self.tell()

    def _present(self) -> dict[tuple[str, str], str | None]:
        present = self.request.present
        if present is None or not present.is_file():
            return {}
        with closing(Ledger.open(present, read_only=True)) as ledger:
            ledger.check()
            return {(study, series): revision for study, series, revision, whole in ledger.landed_series() if whole}
