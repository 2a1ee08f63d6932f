"""What QIDO-RS can do here (PS3.18 section 10.6): which searches there are, their pages, wildcards, counts.

Rows are read for their UIDs, modality and counts; nothing else of them is looked at, kept or repeated.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from secrets import randbits
from typing import Final

from dicomhaul.doctor.ask import Answer, Asker
from dicomhaul.doctor.finding import Finding, fail, ok, unknown, warn
from dicomhaul.doctor.pages import Level, PageProbe, Paging, describe_pages, judge_paging
from dicomhaul.model import is_identifier
from dicomhaul.net.retry_after import parse_retry_after
from dicomhaul.profile import MULTIPART_STORED, Search
from dicomhaul.wire.dicom_json import (
    MODALITY,
    SERIES_INSTANCES,
    SERIES_UID,
    SOP_UID,
    STUDY_INSTANCES,
    STUDY_SERIES,
    STUDY_UID,
    Attributes,
    first_int,
    first_string,
)
from dicomhaul.wire.uri import (
    instance_path,
    search_instances_path,
    search_series_path,
    search_studies_path,
)

_SOME: Final = 20
_PAGE: Final = 5  # rows, and two further the next: enough to see whether pages shift
_OFFSET: Final = 2
_TRIED_STUDIES: Final = 8
_WANTED_SERIES: Final = 6
_FEW: Final = 200
_DEFAULT_BYTES: Final = 2 << 20
# From what is nearly always small to what can be gigabytes.
_MODALITIES: Final = ("PR", "KO", "SR", "RTSTRUCT", "RTPLAN", "CT", "MR", "PT", "NM")
_HUGE: Final = ("XC", "DX", "CR", "IO", "OPT", "SEG", "RF", "US", "MG", "XA", "SM")


@dataclass(frozen=True, slots=True)
class Place:
    """A series that was found, and some of its instances."""

    study: str
    series: str
    modality: str | None
    stated: int | None  # instances, as the server states
    sops: tuple[str, ...] = ()


@dataclass(slots=True)
class Searched:
    """What was seen, as far as it was asked for; written by the probes of this module, one after the other."""

    first: Answer | None = None
    exist: dict[str, bool] = field(default_factory=dict)  # the kind of search -> whether the server has it
    places: list[Place] = field(default_factory=list)
    levels: list[Level] = field(default_factory=list)
    paging: Paging | None = None
    paged: str = ""  # what was paged through
    matches: bool | None = None  # a wildcard finds what it should
    filters: bool | None = None  # a key that nothing matches finds nothing
    empty: Answer | None = None
    missing: int | None = None  # the status of an instance that is not there
    counts: dict[str, bool] = field(default_factory=dict)  # level -> rows state how many are below


def made_up_uid() -> str:
    """Return a UID that no server has (PS3.5 section B.2)."""
    return f"2.25.{randbits(122)}"


async def look_around(asker: Asker, seen: Searched) -> None:
    """See which searches there are, and find a few small series. `seen.first` is the search for one study."""
    rows = (await asker.search(search_studies_path(), ("limit", str(_SOME)), ("offset", "0"))).rows() or []
    seen.exist["studies"] = seen.first is not None and seen.first.ok
    seen.counts["studies"] = any(
        first_int(row, STUDY_SERIES) is not None or first_int(row, STUDY_INSTANCES) is not None for row in rows
    )
    for name, path in (
        ("all series", search_series_path()),
        ("all instances", search_instances_path()),
    ):
        seen.exist[name] = (await asker.search(path, ("limit", "1"))).ok
    found: list[Place] = []
    for study in _spread(list(dict.fromkeys(uids_of(rows, STUDY_UID))), _TRIED_STUDIES):
        answer = await asker.search(search_series_path(study), ("limit", str(_FEW)))
        seen.exist["series of a study"] = seen.exist.get("series of a study", False) or answer.ok
        found += places_of(study, answer.rows() or [])
    if not found:
        return
    seen.counts["series"] = any(place.stated is not None for place in found)
    for place in choose_places(found)[:_WANTED_SERIES]:
        answer = await asker.search(search_instances_path(place.study, place.series), ("limit", str(_FEW)))
        seen.exist["instances of a series"] = seen.exist.get("instances of a series", False) or answer.ok
        seen.places.append(replace(place, sops=uids_of(answer.rows() or [], SOP_UID)))
    study = seen.places[0].study
    seen.exist["instances of a study"] = (await asker.search(search_instances_path(study), ("limit", "1"))).ok


async def page_through(asker: Asker, seen: Searched) -> None:
    """See whether pages follow one another, at a level that has rows enough."""
    for name, path, tag in _levels(seen):
        pages: list[list[str]] = []
        for offset in (0, _OFFSET, 0):
            rows = (await asker.search(path, ("limit", str(_PAGE)), ("offset", str(offset)))).rows() or []
            if len(rows) <= _OFFSET:
                break
            pages.append([_uid(row, tag) or "" for row in rows])
        if len(pages) == 3:
            seen.paging = judge_paging(pages[0], pages[1], pages[2], offset=_OFFSET)
        if seen.paging is not None:
            seen.paged = name
            return


async def measure_pages(asker: Asker, seen: Searched) -> None:
    """Find out about the pages of each level."""
    for name, path, _tag in _levels(seen):
        probe = PageProbe()
        while (wanted := probe.next()) is not None:
            answer = await asker.search(path, ("limit", str(wanted.limit)), ("offset", str(wanted.offset)))
            rows = answer.rows()
            if (answer.ok and rows is None) or answer.status >= 500 or answer.status == 429:
                probe.stop()
            else:
                probe.take(None if rows is None else len(rows))
        seen.levels.append(Level(name, probe.pages))
    if seen.levels:
        answer = await asker.search(search_studies_path(), limit_bytes=_DEFAULT_BYTES)
        rows = answer.rows()
        first, *others = seen.levels
        if rows is not None:
            seen.levels = [replace(first, default=len(rows)), *others]
        elif answer.ok and first.pages.full:
            seen.levels = [replace(first, default=first.pages.full, more_than_default=True), *others]


async def try_wildcards(asker: Asker, seen: Searched) -> None:
    """Look for a modality that is there by its first letter and `*`, and for one that is not."""
    place = next((place for place in seen.places if place.modality), None)
    if place is None or place.modality is None:
        return
    path = search_series_path(place.study)
    found = await asker.search(path, ("Modality", f"{place.modality[0]}*"), ("limit", "1"))
    none = await asker.search(path, ("Modality", "ZQ"), ("limit", "1"))
    seen.matches = bool(found.rows())
    seen.filters = not none.rows()


async def look_for_nothing(asker: Asker, seen: Searched) -> None:
    """See how the server says that there is nothing."""
    seen.empty = await asker.search(search_studies_path(), ("StudyInstanceUID", made_up_uid()), ("limit", "1"))
    uid = made_up_uid()
    answer = await asker.get(instance_path(uid, f"{uid}1"[:64], f"{uid}2"[:64]), accept=MULTIPART_STORED)
    seen.missing = answer.status


def choose_places(found: Sequence[Place]) -> list[Place]:
    """Put the series first that are probably small and tell most: two instances or a few, of a modality with few bytes.

    Different modalities come before more of the same, since they may be stored in different transfer syntaxes.
    """

    def weight(place: Place) -> tuple[int, int, int]:
        modality = place.modality or ""
        size = _MODALITIES.index(modality) if modality in _MODALITIES else len(_MODALITIES)
        size += (1 + _HUGE.index(modality)) if modality in _HUGE else 0
        count = 2 if place.stated is None else place.stated
        huge = int(modality in _HUGE)
        return huge, 0 if 2 <= count <= 20 else 1 if count == 1 else 2, size

    ranked = sorted(found, key=weight)
    seen: set[str | None] = set()
    fresh = [place for place in ranked if not (place.modality in seen or seen.add(place.modality))]  # type: ignore[func-returns-value]
    return fresh + [place for place in ranked if place not in fresh]


def is_probably_large(place: Place) -> bool:
    """Say whether instances of such a series can be gigabytes, or nothing tells."""
    return place.modality not in _MODALITIES


def places_of(study: str, rows: Sequence[Attributes]) -> list[Place]:
    """Return the series of a study that rows name."""
    return [place for row in rows if (place := _place(study, row)) is not None]


def uids_of(rows: Sequence[Attributes], tag: str) -> tuple[str, ...]:
    """Return the UIDs that rows have under a tag; what is no UID is left out."""
    return tuple(uid for row in rows if (uid := _uid(row, tag)))


def judge_search(seen: Searched, profile: Search) -> list[Finding]:
    """Say what a download will meet."""
    return [
        _judge_exist(seen, profile),
        *_judge_pages(seen),
        _judge_paging(seen),
        _judge_wildcards(seen, profile),
        _judge_empty(seen),
        _judge_counts(seen),
    ]


def judge_first(answer: Answer, now_s: float) -> Finding | None:
    """Say what is wrong with the first search, if it shows that there is no QIDO-RS; else None.

    `now_s`: seconds since the epoch, for a date in `Retry-After`.
    """
    if answer.status == 404:
        return fail(
            "search", "it answers 404 to a search for studies", "is the path of the URL right, and is this DICOMweb?"
        )
    if answer.status >= 300:
        wait_s = parse_retry_after(answer.headers.get("Retry-After"), now_s=now_s)
        asks = "" if wait_s is None else f", and asks to wait {wait_s:,.0f} s (Retry-After)"
        todo = "see the server's log" if wait_s is None else "try again then"
        return fail("search", f"it answers {answer.status} to a search for studies{asks}", todo)
    if answer.rows() is None:
        return fail(
            "search", "what it answers to a search for studies is no DICOM JSON", "is the path of the URL right?"
        )
    return None


def _judge_exist(seen: Searched, profile: Search) -> Finding:
    there = [name for name, exists in seen.exist.items() if exists]
    gone = [name for name, exists in seen.exist.items() if not exists]
    needed = {"series of a study", "instances of a series"} & set(gone)
    said = f"there are searches for {', '.join(there) or 'nothing'}"
    if gone:
        said += f"; not for {', '.join(gone)}"
    if needed and profile.available:
        todo = "a download without an index needs these: give a manifest that names series, and set search.available"
        return warn("search", said, todo)
    if not seen.places and seen.exist.get("studies"):
        return unknown(
            "search", f"{said}; no series was found to look into", "try again once the server holds something"
        )
    return ok("search", said)


def _judge_pages(seen: Searched) -> list[Finding]:
    if not seen.levels:
        return [unknown("pages", "there was nothing to page through")]
    said = "; ".join(describe_pages(level) for level in seen.levels)
    if any(level.pages.ignored for level in seen.levels):
        return [warn("pages", said, "a large search comes as one answer")]
    return [ok("pages", said)]


def _judge_paging(seen: Searched) -> Finding:
    match seen.paging:
        case None:
            return unknown("paging", "too few rows to see whether pages follow one another")
        case "steady":
            return ok("paging", f"pages of {seen.paged} follow one another without overlap")
        case "shifting":
            return warn(
                "paging",
                f"pages of {seen.paged} shift while they are asked for (rows are added, or come in no fixed order)",
                "rows that come twice are dropped; narrow a search by StudyDate where it must be exact",
            )
        case "repeating":
            return warn(
                "paging",
                f"pages of {seen.paged} repeat: the offset is ignored",
                "only the first page can be listed: raise search.page, or name what is wanted in a manifest",
            )


def _judge_wildcards(seen: Searched, profile: Search) -> Finding:
    if seen.matches is None:
        return unknown("wildcards", "no series whose modality could be searched for")
    if not seen.filters:
        return warn(
            "wildcards",
            "keys are ignored: a search for a modality that nothing has brings rows",
            "rows are matched again here",
        )
    does = "are understood" if seen.matches else "are not understood"
    if seen.matches != profile.wildcards:
        return warn("wildcards", f"wildcards {does}, unlike the profile says", "use the proposed profile")
    return ok("wildcards", f"wildcards {does}")


def _judge_empty(seen: Searched) -> Finding:
    if seen.empty is None:
        return unknown("empty answers", "not asked")
    rows = seen.empty.rows()
    said = f"a search without results is answered {seen.empty.status}"
    said += " with an empty list" if seen.empty.status == 200 and rows == [] else ""
    if seen.missing is not None:
        said += f"; an instance that is not there {seen.missing}"
    if rows:
        return warn("empty answers", "a search for a study that cannot exist brings rows: keys are ignored")
    if not seen.empty.ok and seen.empty.status != 404:
        return warn("empty answers", said, "it cannot be told from a failure")
    if seen.missing is not None and (seen.missing >= 500 or seen.missing in {200, 206}):
        return warn("empty answers", said, "what is missing cannot be told from what is damaged, or from a failure")
    if seen.missing == 403:
        return warn("empty answers", said, "403 does not stop a run here: it may mean one missing instance")
    return ok("empty answers", said)


def _judge_counts(seen: Searched) -> Finding:
    if not seen.counts:
        return unknown("counts", "no rows to look at")
    stated = [level for level, states in seen.counts.items() if states]
    if "series" in stated:
        return ok("counts", f"rows of {' and '.join(stated)} state how many are below them")
    return warn(
        "counts",
        "rows of series do not state how many instances there are",
        "completeness is proved by an inventory of each series, a search more each",
    )


def _levels(seen: Searched) -> list[tuple[str, str, str]]:
    """What can be paged through: name, path, and the tag of a row's UID; the wider search where there is one."""
    place = seen.places[0] if seen.places else None
    levels = [("studies", search_studies_path(), STUDY_UID)]
    if seen.exist.get("all series"):
        levels.append(("series", search_series_path(), SERIES_UID))
    elif place is not None:
        levels.append(("series", search_series_path(place.study), SERIES_UID))
    if seen.exist.get("all instances"):
        levels.append(("instances", search_instances_path(), SOP_UID))
    elif place is not None:
        levels.append(("instances", search_instances_path(place.study, place.series), SOP_UID))
    return levels


def _place(study: str, row: Attributes) -> Place | None:
    series = _uid(row, SERIES_UID)
    modality = first_string(row, MODALITY)
    known = modality if modality is not None and modality.isalnum() and len(modality) <= 16 else None
    return None if series is None else Place(study, series, known, first_int(row, SERIES_INSTANCES))


def _uid(row: Attributes, tag: str) -> str | None:
    uid = first_string(row, tag)
    return uid if uid is not None and is_identifier(uid) else None


def _spread(items: list[str], count: int) -> list[str]:
    """Some from all over the list: neighbours are alike."""
    step = max(1, len(items) // count)
    return items[::step][:count]
