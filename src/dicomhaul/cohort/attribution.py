"""Who is to be thanked for series, as IDC's index says it: each series has the DOI of where it came from.

A series is found by its Series Instance UID, whatever its revision: of earlier revisions the index states neither DOI
nor licence, so those of the present one stand for them. A series that the index has no more belongs to its collection,
whose original works are named then.
"""

from collections.abc import Iterable
from contextlib import closing
from itertools import islice
from typing import Any, Final, NamedTuple

import duckdb

from dicomhaul.cohort.sandbox import Sandbox, quoted, reading
from dicomhaul.cohort.tables import Shelf

_CHUNK: Final = 5_000


class Held(NamedTuple):
    """One series that is there, as far as it is."""

    series: str
    collection: str | None
    license: str | None
    revision: str | None
    instances: int
    size_bytes: int


class Share(NamedTuple):
    """Totals of series that agree in all that stands before the totals."""

    collection: str | None
    license: str | None  # as it was when they were planned, else of the present revision
    dois: tuple[str, ...]  # lower case; none: nothing is known of where they come from
    revised: bool  # the licence is that of another revision
    gone: bool  # the index has the series no more
    series: int
    instances: int
    size_bytes: int


class Work(NamedTuple):
    """A work that can be cited, as the index has it."""

    doi: str  # lower case
    title: str | None
    citation: str | None  # with a little HTML


class Attribution(NamedTuple):
    """What the index says of some series."""

    index_version: str
    shares: list[Share]
    works: dict[str, Work]  # by DOI
    license_urls: dict[str, str]  # by short name


def attribute(held: Iterable[Held], *, shelf: Shelf | None = None) -> Attribution:
    """Look up where series come from. Touches no network.

    Raises CohortError if a table of the index cannot be read.
    """
    shelf = Shelf() if shelf is None else shelf
    with closing(Sandbox(shelf)) as box, reading():
        db = box.db
        kinds = _load(db, held)
        works, originals, license_urls = _works(db)
        shares = [
            _share(row, kinds, originals)
            for row in db.execute(
                """
                SELECT h.kind, lower(i.source_DOI), i.license_short_name, i.collection_id,
                    h.uuid IS DISTINCT FROM i.crdc_series_uuid, i.SeriesInstanceUID IS NULL,
                    count(*), CAST(sum(h.instances) AS BIGINT), CAST(sum(h.size_bytes) AS BIGINT)
                FROM haul.held h LEFT JOIN "index" i ON i.SeriesInstanceUID = h.series
                GROUP BY ALL ORDER BY ALL
                """
            ).fetchall()
        ]
    return Attribution(shelf.index_version, shares, works, license_urls)


def _load(db: duckdb.DuckDBPyConnection, held: Iterable[Held]) -> list[tuple[str | None, str | None]]:
    """Fill haul.held; return the (collection, license) that its column `kind` counts."""
    db.execute(
        "CREATE TABLE haul.held (series VARCHAR, uuid VARCHAR, kind INTEGER, instances BIGINT, size_bytes BIGINT)"
    )
    kinds: dict[tuple[str | None, str | None], int] = {}
    rows = iter(held)
    while chunk := list(islice(rows, _CHUNK)):
        columns = [
            [row.series for row in chunk],
            [row.revision or "" for row in chunk],
            [str(kinds.setdefault((row.collection, row.license), len(kinds))) for row in chunk],
            [str(row.instances) for row in chunk],
            [str(row.size_bytes) for row in chunk],
        ]
        # UIDs, UUIDs and numbers, which hold no comma.
        picks = ", ".join(f"unnest(string_split({quoted(','.join(values))}, ','))" for values in columns)
        db.execute(f"INSERT INTO haul.held SELECT {picks}")
    return list(kinds)


def _works(db: duckdb.DuckDBPyConnection) -> tuple[dict[str, Work], dict[str, list[str]], dict[str, str]]:
    """Return works by DOI, the DOIs of each collection's original works, and the addresses of licences."""
    works: dict[str, Work] = {}
    originals: dict[str, list[str]] = {}
    urls: dict[str, str] = {}
    rows = db.execute(
        """
        SELECT collection_id, lower(s.source_doi), s.source_title, s.citation, s.source_type,
            s.license.license_short_name, s.license.license_url
        FROM (SELECT collection_id, unnest(sources) AS s FROM collections_index) ORDER BY 1, 2
        """
    ).fetchall()
    rows += db.execute(
        """
        SELECT NULL, lower(source_DOI), analysis_result_title, citation, NULL, license_short_name, license_url
        FROM analysis_results_index ORDER BY 2
        """
    ).fetchall()
    for collection, doi, title, citation, kind, name, url in rows:
        if name and url:
            urls.setdefault(name, url)
        if doi:
            works.setdefault(doi, Work(doi, title, citation))
            if collection and kind == "original_data":
                originals.setdefault(collection, []).append(doi)
    return works, originals, urls


def _share(row: tuple[Any, ...], kinds: list[tuple[str | None, str | None]], originals: dict[str, list[str]]) -> Share:
    kind, doi, license_now, collection_now, revised, gone, *totals = row
    collection, license_then = kinds[kind]
    collection = collection or collection_now
    dois = (doi,) if doi else tuple(originals.get(collection or "", ()))
    return Share(collection, license_then or license_now, dois, revised and license_then is None, gone, *totals)
