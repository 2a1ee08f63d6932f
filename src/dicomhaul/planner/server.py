"""A plan on a DICOMweb server: from a manifest or a lock that says it all, or by QIDO-RS."""

from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread

from dicomhaul.cohort.gather import gather
from dicomhaul.cohort.lock import open_lock
from dicomhaul.cohort.locked import as_series, check_source, iter_wanted, lock_target
from dicomhaul.cohort.manifest import Entry, iter_series
from dicomhaul.cohort.target import refuse_idc_words
from dicomhaul.errors import CohortError, HaulError
from dicomhaul.land.layout import Layout
from dicomhaul.model import Failure, Query, Series, StudyUID
from dicomhaul.net.clock import SystemClock
from dicomhaul.plan.estimate import Summary
from dicomhaul.plan.shard import shard_of
from dicomhaul.planner.entries import failure_of
from dicomhaul.planner.sheet import Sheet

# What `land.layout.BASE_FIELDS` are called in a row.
_NAMES = {"StudyInstanceUID": "study", "SeriesInstanceUID": "series", "PatientID": "patient", "Modality": "modality",
          "collection_id": "collection"}  # fmt: skip


async def plan_on_server(sheet: Sheet, environ: Mapping[str, str]) -> Summary:
    """Resolve the sheet's request; `environ` holds proxies and credentials.

    Raises CohortError, ConfigError, LedgerError, NotWritable; TransferError, SourceError where the server fails.
    """
    query = sheet.request.query
    lock = lock_target(query)
    if lock is not None:
        return await anyio.to_thread.run_sync(_plan_locked, sheet, lock)
    named = _fully_named(query)
    if named is not None:
        rows = list(iter_series(named))
        return await anyio.to_thread.run_sync(sheet.rows, [placed(sheet.layout, of_shard(query, rows))])
    return await _search(sheet, environ)


def _plan_locked(sheet: Sheet, path: Path) -> Summary:
    with open_lock(path) as lock:
        check_source(lock.header, path, indexed=False)
        rows = [as_series(row) for row in iter_wanted(lock, sheet.request.query)]
    return sheet.rows([placed(sheet.layout, rows)])


async def _search(sheet: Sheet, environ: Mapping[str, str]) -> Summary:
    from dicomhaul import build  # noqa: PLC0415 - aiohttp, which a manifest can do without
    from dicomhaul.cohort.search import search  # noqa: PLC0415 - likewise

    def absent(entries: list[Entry]) -> None:
        sheet.missing += [failure_of(entry, "the server does not list it") for entry in entries]

    def short(study: StudyUID, reason: str) -> None:
        sheet.short.append(Failure(study, None, None, reason))

    sheet.searched = True
    request, source = sheet.request, sheet.request.source.specs[0]
    async with build.open_source_host(
        source,
        environ=environ,
        clock=SystemClock(),
        observer=lambda _: None,
        tally=sheet.tally,
        requests_per_s=request.requests_per_s,
    ) as host:
        found = search(host, source.profile, request.query, notice=sheet.notes.append, absent=absent, short=short)
        try:
            return await _stream(sheet, found)
        finally:
            sheet.tell()  # the last searches, too


async def _stream(sheet: Sheet, found: AsyncIterator[list[Series]]) -> Summary:
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
        summaries.append(await anyio.to_thread.run_sync(sheet.rows, batches()))

    async def read() -> None:
        async with send:
            async for batch in found:
                await send.send(placed(sheet.layout, of_shard(sheet.request.query, batch)))
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


def of_shard(query: Query, rows: list[Series]) -> list[Series]:
    """Return those of some rows that a query's shard wants."""
    if query.shard is None:
        return rows
    number, of = query.shard
    return [row for row in rows if shard_of(row.series, of) == number]


def placed(layout: Layout, rows: list[Series]) -> list[Series]:
    """Return rows of a server, each with its folder."""
    columns = [_NAMES[field] for field in layout.fields]
    return [row._replace(folder=layout.folder([getattr(row, name) for name in columns])) for row in rows]


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
    refuse_idc_words(query, wanted.collections)
    if not wanted.entries:
        return None
    return wanted.entries if all(entry.study and entry.series for entry in wanted.entries) else None
