"""A source with a quota: every byte counts, so a dozen small requests have to tell what matters.

Its usage page, which costs nothing, comes first; where nothing is left, nothing more is asked. Then one page of
studies, a study, a small series of it, and one instance of that in the forms that the profile names. What nearly always
is large is not retrieved, and nothing that was refused for the quota is asked again.
"""

import statistics
from dataclasses import dataclass, field, replace
from typing import Final

from dicomhaul.doctor.ask import Answer, Asker
from dicomhaul.doctor.finding import Finding, fail, ok, unknown, warn
from dicomhaul.doctor.pace import Paced, judge_latency
from dicomhaul.doctor.pages import Level, PageProbe, judge_paging
from dicomhaul.doctor.retrieve import Retrieved, judge_retrieve, look_at
from dicomhaul.doctor.search import (
    Place,
    Searched,
    choose_places,
    is_probably_large,
    judge_search,
    made_up_uid,
    places_of,
    uids_of,
)
from dicomhaul.net.quota import USAGE_BYTES, Usage, parse_usage
from dicomhaul.profile import MULTIPART_STORED, Profile
from dicomhaul.wire.dicom_json import SOP_UID, STUDY_UID, Attributes
from dicomhaul.wire.uri import instance_path, search_instances_path, search_series_path, search_studies_path

REQUESTS: Final = 12
BODY_BYTES: Final = 2 << 20
_NEARLY: Final = 0.9
_PAGE: Final = 100  # studies; the largest page that costs little
_OFFSET: Final = 2
_PAGED: Final = 5
_SERIES: Final = 50
_SEARCH_BYTES: Final = 512 << 10
_INSTANCE_BYTES: Final = 600_000  # a slice of CT, and a little more
_TRIED_STUDIES: Final = 2
_ASKED: Final = frozenset({"search", "pages", "paging", "empty answers", "counts"})  # of `judge_search`
_LOOKED_AT: Final = frozenset({"retrieve", "multipart", "single-part", "accept", "framing", "response limit"})


@dataclass(slots=True)
class Metered:
    """What was seen.

    Attributes:
        usage: None where the page cannot be read, or there is none.
        problem: why it cannot be read.
        closed: the status that said that the quota is used up; None: none did.
        searched, retrieved, paced: what else was seen, as far as it was asked for.
    """

    usage: Usage | None = None
    problem: str = ""
    closed: int | None = None
    searched: Searched = field(default_factory=Searched)
    retrieved: Retrieved = field(default_factory=Retrieved)
    paced: Paced = field(default_factory=Paced)

    def may_go_on(self, profile: Profile) -> bool:
        """What may be read here fits into what is left of the quota, as far as it is known."""
        limit = _limit_of(self.usage, profile)
        fits = self.usage is None or limit is None or self.usage.bytes_used + BODY_BYTES <= limit
        return self.closed is None and fits


class _Closed(Exception):
    """The quota ended in the middle."""


async def read_usage(asker: Asker, profile: Profile, seen: Metered) -> None:
    """Read the usage page, which is not charged."""
    if profile.quota.usage_path is not None:
        seen.usage = parse_usage(await asker.usage(profile.quota.usage_path, USAGE_BYTES))


async def look_a_little(asker: Asker, profile: Profile, seen: Metered) -> None:
    """Look at pages, one small instance and latency. Raises as `Asker.get`; what was seen until then is kept."""
    teller = _Teller(asker, profile, seen)
    try:
        await _search(teller, seen.searched)
        await _retrieve(teller, seen.searched, seen.retrieved)
        await _look_for_nothing(teller, seen.searched)
    except _Closed:
        return
    finally:
        if teller.waits_s:
            seen.paced.first_byte_s = statistics.median(teller.waits_s)


class _Teller:
    """Asks, notes how long the first byte took, and ends it all at the end of the quota."""

    def __init__(self, asker: Asker, profile: Profile, seen: Metered) -> None:
        self._asker = asker
        self._seen = seen
        self.profile = profile
        self.waits_s: list[float] = []

    async def search(self, path: str, limit: int, offset: int = 0, *keys: tuple[str, str]) -> Answer:
        params = (*keys, ("limit", str(limit)), ("offset", str(offset)))
        return self._take(await self._asker.search(path, *params, limit_bytes=_SEARCH_BYTES))

    async def instance(self, path: str, accept: str) -> Answer:
        return self._take(await self._asker.get(path, accept=accept, limit_bytes=_INSTANCE_BYTES))

    def _take(self, answer: Answer) -> Answer:
        if answer.status in self.profile.status.quota:
            self._seen.closed = answer.status
            raise _Closed
        if answer.reused:
            self.waits_s.append(answer.first_byte_s)
        return answer


async def _search(teller: _Teller, searched: Searched) -> None:
    searched.exist["studies"] = True
    rows = await _page_of_studies(teller, searched)
    studies = uids_of(rows, STUDY_UID)
    if len(studies) > _OFFSET:
        first = studies[:_PAGED]
        answer = await teller.search(search_studies_path(), _PAGED, _OFFSET)
        searched.paging = judge_paging(first, uids_of(answer.rows() or [], STUDY_UID), first, offset=_OFFSET)
        searched.paged = "studies"
    found: list[Place] = []
    for study in studies[:_TRIED_STUDIES]:
        answer = await teller.search(search_series_path(study), _SERIES)
        searched.exist["series of a study"] = searched.exist.get("series of a study", False) or answer.ok
        found += places_of(study, answer.rows() or [])
        if any(not is_probably_large(place) for place in found):
            break
    if not found:
        return
    searched.counts["series"] = any(place.stated is not None for place in found)
    place = choose_places(found)[0]
    answer = await teller.search(search_instances_path(place.study, place.series), 1)
    searched.exist["instances of a series"] = answer.ok
    searched.places.append(replace(place, sops=uids_of(answer.rows() or [], SOP_UID)))


async def _page_of_studies(teller: _Teller, searched: Searched) -> list[Attributes]:
    probe = PageProbe((_PAGE,))
    found: list[Attributes] = []
    while (wanted := probe.next()) is not None:
        answer = await teller.search(search_studies_path(), wanted.limit, wanted.offset)
        rows = answer.rows()
        if (answer.ok and rows is None) or answer.status >= 500:
            probe.stop()
            break
        probe.take(None if rows is None else len(rows))
        found = found or rows or []
    searched.levels.append(Level("studies", probe.pages))
    return found


async def _retrieve(teller: _Teller, searched: Searched, retrieved: Retrieved) -> None:
    place = next((place for place in searched.places if place.sops and not is_probably_large(place)), None)
    if place is None:
        return
    path = instance_path(place.study, place.series, place.sops[0])
    for accept in dict.fromkeys([*teller.profile.accept.instance[:2], MULTIPART_STORED]):
        look = look_at(await teller.instance(path, accept))
        retrieved.instance[accept] = look
        if look.kind == "cut":
            return


async def _look_for_nothing(teller: _Teller, searched: Searched) -> None:
    uid = made_up_uid()
    searched.empty = await teller.search(search_studies_path(), 1, 0, ("StudyInstanceUID", uid))
    path = instance_path(uid, f"{uid}1"[:64], f"{uid}2"[:64])
    searched.missing = (await teller.instance(path, MULTIPART_STORED)).status


def judge_metered(seen: Metered, profile: Profile) -> list[Finding]:
    """Say what is left, what a download will meet, and what this source is for."""
    quota = judge_quota(seen, profile)
    if not seen.searched.levels:
        return quota
    return [
        *(one for one in judge_search(seen.searched, profile.search) if one.name in _ASKED),
        *(one for one in judge_retrieve(seen.retrieved, profile) if one.name in _LOOKED_AT),
        judge_latency(seen.paced),
        *quota,
    ]


def judge_quota(seen: Metered, profile: Profile) -> list[Finding]:
    """Say what is left, and what this source is for."""
    found = [_judge_usage(seen, profile)]
    if seen.closed is not None:
        found = [fail("quota", f"the day's quota is used up ({seen.closed})", "it opens again at 00:00 UTC")]
    bulk = "use it for single instances"
    if profile.index == "idc":
        bulk = "IDC's policy: bulk goes through its public buckets (--source idc); this is for what they cannot give"
    asked = "no more than one instance was asked for" if seen.searched.levels else "nothing more was asked for"
    return [*found, warn("policy", f"what it gives counts against a daily quota, so {asked} here", bulk)]


def _limit_of(usage: Usage | None, profile: Profile) -> int | None:
    limit = profile.quota.bytes_per_day
    return usage.limit_bytes if limit is None and usage is not None else limit


def _judge_usage(seen: Metered, profile: Profile) -> Finding:
    usage = seen.usage
    limit = profile.quota.bytes_per_day
    if usage is None:
        said = f"the profile says {limit:,} bytes a day; " if limit is not None else ""
        return unknown("quota", f"{said}what is used of it could not be read{seen.problem and f': {seen.problem}'}")
    limit = _limit_of(usage, profile)
    if limit is None:
        return ok("quota", f"{usage.bytes_used:,} bytes are used today; the limit cannot be told yet")
    said = f"{usage.bytes_used:,} of {limit:,} bytes are used today"
    if usage.bytes_used >= limit:
        return fail("quota", said, "it opens again at 00:00 UTC")
    if usage.bytes_used >= _NEARLY * limit:
        return warn("quota", said, "little is left until 00:00 UTC")
    return ok("quota", said)
