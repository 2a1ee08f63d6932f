"""QIDO-RS (PS3.18 section 10.6) over a catalog: matching, the fields of an answer, and pages. Pure.

What a style allows decides; a query that it would refuse raises `BadQueryError`.
"""

import fnmatch
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

from dicomhaul.origin.catalog import Attributes, Catalog, StoredSeries, attribute, values_of
from dicomhaul.origin.style import Style

Depth = Literal["study", "series", "instance"]

STUDY_UID = "0020000D"
SERIES_UID = "0020000E"
SOP_UID = "00080018"
MODALITY = "00080060"
STUDY_SERIES = "00201206"  # NumberOfStudyRelatedSeries
STUDY_INSTANCES = "00201208"
SERIES_INSTANCES = "00201209"
MODALITIES = "00080061"
# What a search answers at each level, where the data has it (PS3.18 tables 10.6.3-3 to 10.6.3-5).
STUDY_TAGS = (
    *("00080020", "00080030", "00080050", "00080090", "00081030"),  # date, time, accession, referring physician, text
    *("00100010", "00100020", "00100030", "00100040", "00200010"),  # patient's name, ID, birth date, sex; Study ID
)
SERIES_TAGS = (MODALITY, "0008103E", "00180015", "00200011", "00400244", "00400245")
INSTANCE_TAGS = ("00080016", SOP_UID, "00200013", "00280008", "00280010", "00280011", "00280100")
_COUNTS = frozenset({STUDY_SERIES, STUDY_INSTANCES, SERIES_INSTANCES})

# What can be searched for, by the names that people use (PS3.18 table 10.6.1-5).
_KEYWORDS = {
    "StudyDate": "00080020",
    "StudyTime": "00080030",
    "AccessionNumber": "00080050",
    "Modality": MODALITY,
    "ModalitiesInStudy": MODALITIES,
    "ReferringPhysicianName": "00080090",
    "StudyDescription": "00081030",
    "SeriesDescription": "0008103E",
    "PatientName": "00100010",
    "PatientID": "00100020",
    "PatientBirthDate": "00100030",
    "PatientSex": "00100040",
    "BodyPartExamined": "00180015",
    "StudyInstanceUID": STUDY_UID,
    "SeriesInstanceUID": SERIES_UID,
    "StudyID": "00200010",
    "SeriesNumber": "00200011",
    "SOPClassUID": "00080016",
    "SOPInstanceUID": SOP_UID,
    "InstanceNumber": "00200013",
    "NumberOfStudyRelatedSeries": STUDY_SERIES,
    "NumberOfStudyRelatedInstances": STUDY_INSTANCES,
    "NumberOfSeriesRelatedInstances": SERIES_INSTANCES,
}
_TAG = re.compile(r"[0-9A-Fa-f]{8}\Z")
_DATES = re.compile(r"(\d{8})?-(\d{8})?\Z")


class BadQueryError(ValueError):
    """The server answers 400."""


@dataclass(frozen=True, slots=True)
class Search:
    """A parsed query: what must match, which page, which extra fields."""

    depth: Depth
    filters: tuple[tuple[str, tuple[str, ...]], ...] = ()
    limit: int | None = None
    offset: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    """The results of one answer, and how many more there are behind them."""

    results: list[Attributes]
    remaining: int


def parse_search(depth: Depth, parameters: Iterable[tuple[str, str]], style: Style) -> Search:
    """Read the query parameters. Raises BadQueryError for what the style would not take.

    `includefield` and `fuzzymatching` are accepted and change nothing: every answer carries all fields there
    are.
    """
    filters: list[tuple[str, tuple[str, ...]]] = []
    limit, offset = style.page_default, 0
    for name, value in parameters:
        if name in {"includefield", "fuzzymatching"}:
            continue
        if name == "limit":
            limit = _number(name, value)
            if style.over_page_max == "refuse" and style.page_max is not None and limit > style.page_max:
                raise BadQueryError(f"limit must be at most {style.page_max}")
        elif name == "offset":
            offset = _number(name, value)
        else:
            filters.append((_tag_of(name, depth), tuple(value.replace("\\", ",").split(","))))
    if style.page_max is not None:
        limit = style.page_max if limit is None else min(limit, style.page_max)
    return Search(depth, tuple(filters), limit, offset)


def find_page(
    catalog: Catalog, search: Search, style: Style, *, study: str | None, series: str | None, shift: int
) -> Page:
    """Return the page of results that the style would answer, for a search below `study` and `series`.

    `shift` is how many pages have been asked for before; a shifting style moves its results by as many
    places.
    """
    offset = search.offset
    if style.paging == "repeating":
        offset = 0
    elif style.paging == "shifting":
        offset = max(0, offset - shift)
    matching = _iter_matching(catalog, search, style, study, series)
    skipped = islice(matching, offset, None)
    if search.limit is None:
        return Page(list(skipped), 0)
    results = list(islice(skipped, search.limit))
    return Page(results, sum(1 for _ in skipped) if style.warns else 0)


def describe_study(members: list[StoredSeries]) -> Attributes:
    """Return what a search says of a study, from the series it consists of."""
    modalities = sorted({str(v) for one in members for v in values_of(one.series_attributes, MODALITY)})
    return {
        **members[0].study_attributes,
        STUDY_UID: attribute("UI", members[0].study),
        MODALITIES: attribute("CS", *modalities),
        STUDY_SERIES: attribute("IS", len(members)),
        STUDY_INSTANCES: attribute("IS", sum(map(len, members))),
    }


def describe_series(one: StoredSeries) -> Attributes:
    """Return what a search says of a series."""
    return {
        **one.series_attributes,
        STUDY_UID: attribute("UI", one.study),
        SERIES_UID: attribute("UI", one.series),
        SERIES_INSTANCES: attribute("IS", len(one)),
    }


def _iter_matching(
    catalog: Catalog, search: Search, style: Style, study: str | None, series: str | None
) -> Iterator[Attributes]:
    for found in _iter_described(catalog, search.depth, study, series):
        if all(_matches(found, tag, wanted, style) for tag, wanted in search.filters):
            yield found if style.counts else {tag: a for tag, a in found.items() if tag not in _COUNTS}


def _iter_described(catalog: Catalog, depth: Depth, study: str | None, series: str | None) -> Iterator[Attributes]:
    for members in catalog.studies(study):
        whole = describe_study(members)
        if depth == "study":
            yield whole
            continue
        for one in members:
            if series is not None and one.series != series:
                continue
            of_series = {**whole, **describe_series(one)}
            if depth == "series":
                yield of_series
                continue
            for instance in one:
                yield {**of_series, **instance.attributes}


def _matches(found: Attributes, tag: str, wanted: tuple[str, ...], style: Style) -> bool:
    if wanted == ("",):
        return True  # universal matching, PS3.4 section C.2.2.2.3
    if tag == MODALITY and MODALITY not in found:
        tag = MODALITIES
    have = [_text(value) for value in values_of(found, tag)]
    return any(_equal(value, pattern, style) for value in have for pattern in wanted)


def _equal(value: str, pattern: str, style: Style) -> bool:
    dates = _DATES.match(pattern)
    if dates is not None and (dates[1] or dates[2]):
        return (dates[1] or "") <= value <= (dates[2] or "99999999")
    if style.wildcards and ("*" in pattern or "?" in pattern):
        return fnmatch.fnmatchcase(value.lower(), pattern.lower().replace("[", "[[]"))
    return value == pattern


def _text(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("Alphabetic", ""))
    return str(value)


def _tag_of(name: str, depth: Depth) -> str:
    tag = name.upper() if _TAG.match(name) else _KEYWORDS.get(name)
    if tag is None:
        raise BadQueryError(f"unknown attribute {name[:64]}")
    deeper = {"study": {SERIES_UID, SOP_UID}, "series": {SOP_UID}, "instance": set[str]()}[depth]
    if tag in deeper:
        raise BadQueryError(f"{name[:64]} cannot be searched for at {depth} level")
    return tag


def _number(name: str, value: str) -> int:
    if not value.isascii() or not value.isdigit():
        raise BadQueryError(f"{name} must be a number")
    return int(value)
