"""The child's side: resolve a cohort, then add it up or write it into the ledger. Run as a module by `parent`."""

import os
import sys
import threading
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.from_thread
import anyio.to_thread

from dicomhaul.cohort.gather import gather
from dicomhaul.cohort.lock import open_lock
from dicomhaul.cohort.locked import as_series, check_lock_option, check_source, iter_wanted, lock_target
from dicomhaul.cohort.manifest import Entry, iter_series
from dicomhaul.config.options import QUERY_JSON
from dicomhaul.config.source import Sources, SourceSpec, index_version
from dicomhaul.errors import CohortError, ConfigError, HaulError, QuotaExhausted
from dicomhaul.events import Tally
from dicomhaul.land.layout import BASE_FIELDS, Layout, parse_layout
from dicomhaul.model import Failure, Query, Routing, Series
from dicomhaul.net.clock import SystemClock
from dicomhaul.plan.estimate import Group, Summary, summarise
from dicomhaul.planner.locking import PlannedLock
from dicomhaul.planner.request import REPLY_JSON, REQUEST_JSON, Failed, Load, PlanRequest, Progress, Reply
from dicomhaul.record.ledger import Ledger

if TYPE_CHECKING:
    from dicomhaul.cohort.idc import IdcCohort, Row
    from dicomhaul.cohort.locked_idc import LockedCohort


def main() -> int:
    """Answer one request from standard input on standard output."""
    request = REQUEST_JSON.validate_json(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        summary = _answer(request)
    except HaulError as error:
        until_s = error.until_s if isinstance(error, QuotaExhausted) else 0.0
        _say(Reply(failed=Failed(type(error).__name__, str(error), until_s)))
        return 1
    _say(Reply(summary=summary))
    return 0


def _end_with_parent() -> None:
    # Not by sys.stdin: a thread that waits in there makes Python abort when the process ends.
    while os.read(0, 4096):  # ends when nobody holds the other side any more
        pass
    os._exit(1)


def _say(reply: Reply) -> None:
    sys.stdout.buffer.write(REPLY_JSON.dump_json(reply) + b"\n")
    sys.stdout.buffer.flush()


def _answer(request: PlanRequest) -> Summary:
    layout = parse_layout(request.layout)
    source = request.source
    lock = lock_target(request.query)
    if request.lock is not None:
        check_lock_option(request.lock, request.query)
    if source is None or source.index == "idc":
        if lock is not None:
            from dicomhaul.cohort.locked_idc import open_locked  # noqa: PLC0415 - as below

            with open_locked(lock, request.query) as locked:
                return _Plan(request, layout, []).locked(locked)
        from dicomhaul.cohort.idc import open_idc  # noqa: PLC0415 - DuckDB, which only IDC needs

        notes: list[str] = []
        with open_idc(request.query, notice=notes.append) as cohort:
            return _Plan(request, layout, notes).idc(cohort)
    unknown = [name for name in layout.fields if name not in BASE_FIELDS]
    if unknown:
        raise ConfigError(f"the layout names {', '.join(unknown)}, which only IDC's index knows")
    if lock is not None:
        return _Plan(request, layout, []).locked_on_server(lock)
    return anyio.run(_Plan(request, layout, []).server, source.specs[0])


class _Plan:
    """One request, on its way to an answer."""

    def __init__(self, request: PlanRequest, layout: Layout, notes: list[str]) -> None:
        self._request = request
        self._layout = layout
        self._notes = notes
        self._missing: list[Failure] = []
        self._counted = 0
        self._tally = Tally()
        self._searched = False  # by QIDO-RS

    # -- the IDC index --------------------------------------------------------------------------------------------

    def idc(self, cohort: "IdcCohort") -> Summary:
        """Plan a cohort of the IDC index."""
        reason = f"the index of IDC v{cohort.idc_version} does not have it"
        self._missing = [_failure(entry, reason) for entry in cohort.missing]
        request = self._request
        if request.load is None and request.present is None and request.lock is None:
            source = request.source
            limit = None
            groups = [
                Group(
                    each.collection,
                    each.license,
                    each.modality,
                    _route(source, each.bucket),
                    each.series,
                    each.instances,
                    each.size_bytes,
                )
                for each in cohort.groups(over_bytes=limit)
            ]
            return self._summary(groups)
        fields = self._layout.fields
        return self._rows(self._placed(batch) for batch in cohort.iter_rows(fields=fields))

    def locked(self, cohort: "LockedCohort") -> Summary:
        """Plan a lock of an IDC cohort."""
        if cohort.moved:
            self._notes.append(
                f"{cohort.moved:,} of the locked series are not the present revision in the installed index: "
                "only the buckets still have them"
            )
        return self._rows(self._placed(batch) for batch in cohort.iter_rows(fields=self._layout.fields))

    def _placed(self, batch: "list[Row]") -> list[Series]:
        folder = self._layout.folder
        return [row._replace(folder=folder(values)) for row, values in batch]

    # -- a DICOMweb server ----------------------------------------------------------------------------------------

    async def server(self, source: SourceSpec) -> Summary:
        """Plan a cohort of a DICOMweb server: from a manifest that says it all, or by QIDO-RS."""
        query = self._request.query
        named = _fully_named(query)
        if named is not None:
            rows = list(iter_series(named))
            return await anyio.to_thread.run_sync(self._rows, [self._on_server(rows)])
        from dicomhaul import build  # noqa: PLC0415 - aiohttp, which a manifest can do without
        from dicomhaul.cohort.search import search  # noqa: PLC0415 - likewise

        self._searched = True
        clock = SystemClock()
        async with build.open_source_host(
            source,
            environ=os.environ,
            clock=clock,
            observer=lambda _: None,
            tally=self._tally,
            requests_per_s=self._request.requests_per_s,
        ) as host:
            found = search(host, source.profile, query, notice=self._notes.append, absent=self._absent)
            try:
                return await self._stream(found)
            finally:
                self._tell()  # the last searches, too

    def locked_on_server(self, path: Path) -> Summary:
        """Plan the lock of a cohort that a server had: it says it all."""
        with open_lock(path) as lock:
            check_source(lock.header, path, indexed=False)
            rows = [as_series(row) for row in iter_wanted(lock, self._request.query)]
        return self._rows([self._on_server(rows)])

    def _absent(self, entries: list[Entry]) -> None:
        self._missing += [_failure(entry, "the server does not list it") for entry in entries]

    async def _stream(self, found: AsyncIterator[list[Series]]) -> Summary:
        """Hand batches to the thread that writes the ledger, as they come."""
        send, receive = anyio.create_memory_object_stream[list[Series]](4)
        summaries: list[Summary] = []
        ended: list[bool] = []

        def batches() -> Iterator[list[Series]]:
            while True:
                try:
                    yield anyio.from_thread.run(receive.receive)
                except anyio.EndOfStream:
                    if not ended:  # what came so far is not the cohort: the transaction must not be committed
                        raise CohortError("the search broke off") from None
                    return

        async def write() -> None:
            summaries.append(await anyio.to_thread.run_sync(self._rows, batches()))

        async def read() -> None:
            async with send:
                async for batch in found:
                    await send.send(self._on_server(batch))
                ended.append(True)

        failed: list[HaulError] = []
        try:
            async with receive, anyio.create_task_group() as group:
                group.start_soon(write)
                await read()
        except* HaulError as errors:
            failed.append(_first(errors))  # raised here, Python before 3.11.4 would put it into a group again
        if failed:
            raise failed[0]
        return summaries[0]

    def _on_server(self, batch: list[Series]) -> list[Series]:
        layout = self._layout
        names = {"StudyInstanceUID": "study", "SeriesInstanceUID": "series", "PatientID": "patient",
                 "Modality": "modality", "collection_id": "collection"}  # fmt: skip
        columns = [names[field] for field in layout.fields]
        return [row._replace(folder=layout.folder([getattr(row, name) for name in columns])) for row in batch]

    # -- both -----------------------------------------------------------------------------------------------------

    def _rows(self, batches: Iterator[list[Series]] | list[list[Series]]) -> Summary:
        """Write the rows into the ledger, or add up those that it does not have."""
        load = self._request.load
        if load is not None:
            self._load(load, batches)
            return self._summary([])
        locking = None if self._request.lock is None else PlannedLock(self._request.lock)
        present = _present(self._request)
        skipped: Counter[str] = Counter()
        totals: dict[tuple[str | None, str | None, str | None, str], list[int]] = {}
        unknown: Counter[tuple[str | None, str | None, str | None, str]] = Counter()
        unsized: Counter[tuple[str | None, str | None, str | None, str]] = Counter()
        source = self._request.source
        for batch in self._told(batches):
            if locking is not None:
                locking.add(map(self._routed, batch))
            for row in batch:
                if present and row.instances is None and present.get((row.study, row.series), "") == row.revision:
                    skipped["already there"] += 1
                    continue
                key = (row.collection, row.license, row.modality, _route(source, row.bucket))
                sums = totals.setdefault(key, [0, 0, 0])
                sums[0] += 1
                sums[1] += row.expected or 0
                sums[2] += row.size_bytes or 0
                unknown[key] += row.expected is None
                unsized[key] += row.size_bytes is None
        groups = [
            Group(*key, series, None if unknown[key] else instances, None if unsized[key] else size)
            for key, (series, instances, size) in totals.items()
        ]
        if locking is not None:
            now = datetime.fromtimestamp(SystemClock().now(), UTC).isoformat(timespec="seconds")
            locking.write(self._request, created=now, release=None if _is_search(source) else index_version())
        return self._summary(groups, skipped)

    def _routed(self, row: Series) -> Series:
        source = self._request.source
        if row.routing is not None or source is None:
            return row
        return row._replace(routing=Routing(tuple(spec.name for spec in source.specs), ""))

    def _load(self, load: Load, batches: Iterator[list[Series]] | list[list[Series]]) -> None:
        source = self._request.source
        if source is None:
            raise ConfigError("a cohort cannot be pulled without a source")
        with closing(Ledger.open(load.ledger, wal=load.wal)) as ledger:
            ledger.plan_cohort(
                name=load.name,
                fingerprint=load.fingerprint,
                query=QUERY_JSON.dump_json(self._request.query).decode(),
                source=source.word,
                profile=source.profile_word,
                planned_at=load.planned_at,
                layout=self._request.layout,
                searched=self._searched,
                rows=(self._routed(row) for batch in self._told(batches) for row in batch),
                missing=self._missing,
            )

    def _tell(self) -> None:
        _say(Reply(progress=Progress(self._counted, self._tally.requests)))

    def _told(self, batches: Iterator[list[Series]] | list[list[Series]]) -> Iterator[list[Series]]:
        for batch in batches:
            yield batch
            self._counted += len(batch)
            self._tell()

    def _summary(self, groups: list[Group], skipped: Counter[str] | None = None) -> Summary:
        source = self._request.source
        if self._missing:
            some = ", ".join(each.sop or each.series or each.study for each in self._missing[:3])
            more = ", …" if len(self._missing) > 3 else ""
            self._notes.append(f"{len(self._missing):,} of those named were not found: {some}{more}")
        return summarise(
            groups, skipped=skipped, source=None if source is None else source.name, notes=tuple(self._notes)
        )


def _first(errors: BaseExceptionGroup[HaulError]) -> HaulError:
    for error in errors.exceptions:
        return _first(error) if isinstance(error, BaseExceptionGroup) else error
    raise AssertionError("an exception group is never empty")


def _fully_named(query: Query) -> list[Entry] | None:
    """Return the entries of a manifest that names study and series of everything, unless filters need a search."""
    if query.manifest is None and not query.targets:
        return None
    filters = (query.modality, query.patient, query.study, query.series, query.instance, query.crdc, query.search)
    if any(filters) or query.study_date or query.everything or query.limit_series is not None:
        return None
    wanted = gather(query)
    if wanted.collections or not wanted.entries:
        return None
    return wanted.entries if all(entry.study and entry.series for entry in wanted.entries) else None


def _failure(entry: Entry, reason: str) -> Failure:
    series = entry.series or entry.crdc or entry.uid
    return Failure(entry.study or "", series, entry.sop, reason)


def _route(source: Sources | None, bucket: str | None) -> str:
    if source is None:
        return f"bucket {bucket or 'unknown'}"
    return source.name


def _is_search(source: Sources | None) -> bool:
    return source is not None and source.index is None


def _present(request: PlanRequest) -> dict[tuple[str, str], str | None]:
    if request.present is None or not request.present.is_file():
        return {}
    with closing(Ledger.open(request.present, read_only=True)) as ledger:
        return {(study, series): revision for study, series, revision, whole in ledger.landed_series() if whole}


if __name__ == "__main__":
    sys.exit(main())
