"""One QIDO-RS search, asked to its end: pages through the host's gate and retry, rows with a valid UID each."""

from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterable, Sequence
from contextlib import aclosing
from typing import Final, TypeVar

import anyio

from dicomhaul.cohort.paging import Page, Pager, iter_pages, parse_remaining
from dicomhaul.cohort.search_keys import Key, Level, parameters, select
from dicomhaul.errors import CohortError, Forbidden, HaulError, NotDicom, RefusedError, Truncated, Unsupported
from dicomhaul.model import is_identifier
from dicomhaul.net.host import Host
from dicomhaul.net.response import JSON_LIMIT_BYTES
from dicomhaul.profile import Profile
from dicomhaul.wire.dicom_json import (
    MODALITY,
    PATIENT_ID,
    SERIES_INSTANCES,
    SERIES_UID,
    SOP_UID,
    STUDY_SERIES,
    STUDY_UID,
    Attributes,
    first_string,
    parse_answer,
    values,
)

T = TypeVar("T")
R = TypeVar("R")

_MEDIA_TYPE: Final = "application/dicom+json"
_MOST_ROWS: Final = {Level.STUDIES: 5_000_000, Level.SERIES: 1_000_000, Level.INSTANCES: 1_000_000}  # of one search
_UIDS: Final = {
    Level.STUDIES: ("StudyInstanceUID", STUDY_UID),
    Level.SERIES: ("SeriesInstanceUID", SERIES_UID),
    Level.INSTANCES: ("SOPInstanceUID", SOP_UID),
}
_READ: Final = (STUDY_UID, SERIES_UID, SOP_UID, MODALITY, PATIENT_ID, SERIES_INSTANCES, STUDY_SERIES)


def uid_key(level: Level, uid: str) -> Key:
    """The key that asks for one study, series or instance."""
    keyword, tag = _UIDS[level]
    return Key(keyword, tag, "UI", level, (uid,))


def uid_of(row: Attributes, level: Level) -> str:
    """Return the UID that a row is about. Raises CohortError if it has none or an impossible one.

    Such a row is not left out: it may be the one that somebody needs, and nobody would know.
    """
    keyword, tag = _UIDS[level]
    uid = first_string(row, tag)
    if uid is None:
        raise CohortError(f"the server lists {level.value} of which one has no {keyword}")
    if not is_identifier(uid):
        # Without the value: a server that mixes its columns up has a patient's name there.
        raise CohortError(f"the server lists {level.value} of which one has a {keyword} that is no UID")
    return uid


def _identity(row: Attributes, level: Level) -> str:
    """The same series UID may stand in two studies, the same SOP Instance UID in two series."""
    above = (first_string(row, tag) for other, (_, tag) in _UIDS.items() if other is not level)
    return " ".join([uid_of(row, level), *(uid or "" for uid in above)])


def _read_of(row: Attributes, tags: Collection[str]) -> Attributes:
    """Return what is read of a row, and the attributes `tags`; the rest of an answer can be a thousand times as much.

    Many searches wait for their next page at once, each with the rows of the one before.
    """
    kept = {tag: {"Value": found[:1]} for tag in _READ if (found := values(row, tag)) and not _nests(found[0])}
    return kept | {tag: row[tag] for tag in tags if tag in row}


def _nests(value: object) -> bool:
    return isinstance(value, (list, dict))


async def iter_rows(
    host: Host,
    profile: Profile,
    level: Level,
    path: str,
    query: Sequence[tuple[str, str]],
    *,
    tags: Collection[str] = (),
    stated: int | None = None,
) -> AsyncGenerator[list[Attributes], None]:
    """Yield the rows of a search page by page, each identity once: what this package reads of them, and `tags`.

    Raises CohortError as `Pager.take` and `uid_of`; TransferError, SourceError.
    """
    limits = profile.search.page
    limit = {Level.STUDIES: limits.studies, Level.SERIES: limits.series, Level.INSTANCES: limits.instances}[level]

    async def fetch(limit: int, offset: int) -> Page[Attributes]:
        paged = [*query, ("limit", str(limit)), ("offset", str(offset))]

        async def call(_attempt: int) -> tuple[list[Attributes], int | None]:
            async with host.session.get(path, accept=_MEDIA_TYPE, params=paged) as response:
                body = await response.read(JSON_LIMIT_BYTES)
                if response.status != 204 and not body.strip():  # the end of a list is a 204, or `[]`
                    raise Truncated(f"the server answers the search with {response.status} and an empty body")
                try:
                    rows = parse_answer(body)
                except NotDicom as error:
                    if "json" in (response.content_type or "").lower():
                        raise
                    raise Unsupported(f"{error}: is there a DICOMweb server at this URL?") from None
                return [_read_of(row, tags) for row in rows], parse_remaining(response.headers.get("Warning"))

        rows, remaining = await host.attempt(call, label=f"search for {level.value}")
        return Page([(_identity(row, level), row) for row in rows], remaining)

    pager: Pager[Attributes] = Pager(
        level.value, limit=limit, max_offset=profile.search.max_offset, stated=stated, most=_MOST_ROWS[level]
    )
    try:
        async with aclosing(iter_pages(fetch, pager)) as pages:
            async for rows in pages:
                yield rows
    except RefusedError as error:
        names = [name for name, _ in query if name != "includefield"]
        by = f" by {', '.join(names)}" if names else ""
        hint = (
            ""
            if isinstance(error, Forbidden) or "at this URL" in str(error)
            else "; is there a DICOMweb server at this URL?"
        )
        raise type(error)(f"the search for {level.value}{by} is refused: {error}{hint}", status=error.status) from None


async def iter_matching(
    host: Host,
    profile: Profile,
    level: Level,
    path: str,
    keys: Sequence[Key],
    *,
    also: Sequence[tuple[str, str]] = (),
    stated: int | None = None,
    unsure: Callable[[Key, int], None] = lambda _key, _rows: None,
) -> AsyncGenerator[list[Attributes], None]:
    """Yield the rows that match every key, whatever the server makes of them; `also` is sent and not checked.

    `unsure` is told of rows that are left out as they do not show what the key names, while others do.
    """
    tags = {key.tag for key in keys}
    rows_of = iter_rows(host, profile, level, path, [*parameters(keys), *also], tags=tags, stated=stated)
    async with aclosing(rows_of) as pages:
        async for rows in pages:
            yield select(rows, keys, level, unsure=unsure)


async def each(items: Iterable[T], call: Callable[[T], Awaitable[R]]) -> list[R]:
    """Call for all items at once, as the host's gate lets them; return the results in the items' order.

    The first error cancels the others and is raised as it is, not in a group.
    """
    waiting = list(items)
    results: list[R | None] = [None] * len(waiting)
    failed: list[HaulError] = []

    async with anyio.create_task_group() as tasks:

        async def one(index: int, item: T) -> None:
            try:
                results[index] = await call(item)
            except HaulError as error:
                failed.append(error)
                tasks.cancel_scope.cancel()

        for index, item in enumerate(waiting):
            tasks.start_soon(one, index, item)
    if failed:
        raise failed[0]
    return results  # type: ignore[return-value]  # every task has ended without error
