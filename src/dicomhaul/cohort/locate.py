"""Finds where a UID stands that came without its study.

A server is asked directly where it can search series and instances outside a study. Where it cannot (404, 405, 501),
its studies are walked: series first, and instances only for what is still not found.
"""

from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from dicomhaul.cohort.ask import each, iter_matching, uid_key, uid_of
from dicomhaul.cohort.manifest import Entry
from dicomhaul.cohort.names import shown
from dicomhaul.cohort.pick import Picks, Place
from dicomhaul.cohort.search_keys import Level
from dicomhaul.errors import CohortError, NotFound, Unsupported
from dicomhaul.net.host import Host
from dicomhaul.profile import Profile
from dicomhaul.wire.dicom_json import Attributes
from dicomhaul.wire.uri import search_instances_path, search_series_path, search_studies_path

_PATHS = {
    Level.STUDIES: search_studies_path(),
    Level.SERIES: search_series_path(),
    Level.INSTANCES: search_instances_path(),
}
_WAVE = 256


async def locate(host: Host, profile: Profile, picks: Picks, *, must_exist: Sequence[str]) -> None:
    """Give every entry of `picks` its places.

    Raises:
        CohortError: something of `must_exist` (words that somebody typed) is nowhere on the server.
        TransferError, SourceError: the server fails.
    """
    search = _Search(host, profile)
    lost: list[Entry] = []
    for start in range(0, len(picks.entries), _WAVE):
        entries = picks.entries[start : start + _WAVE]
        for entry, places in zip(entries, await each(entries, search.places_of), strict=True):
            if places is None:
                lost.append(entry)
            else:
                picks.add(entry, places)
    for entry, places in (await search.walk(lost)).items():
        picks.add(entry, places)
    for entry in picks.entries:
        if entry.uid in must_exist and not picks.places_of(entry):
            raise CohortError(f"the server has no study, series or instance {shown(entry.uid or '')}")


def _levels(entry: Entry) -> list[tuple[Level, str]]:
    """What the entry can be, as (level, UID), in the order to ask in."""
    if entry.uid is not None:
        return [(level, entry.uid) for level in (Level.STUDIES, Level.SERIES, Level.INSTANCES)]
    if entry.series is not None:
        return [(Level.SERIES, entry.series)]
    return [(Level.INSTANCES, entry.sop or "")]


class _Search:
    def __init__(self, host: Host, profile: Profile) -> None:
        self._host = host
        self._profile = profile
        self._cannot: set[Level] = set()  # levels that this server doesn't search by themselves

    def _rows(self, level: Level, path: str, uid: str | None = None) -> AsyncGenerator[list[Attributes], None]:
        keys = [] if uid is None else [uid_key(level, uid)]
        return iter_matching(self._host, self._profile, level, path, keys)

    async def places_of(self, entry: Entry) -> list[Place] | None:
        """Ask for one entry directly; [] if it is nowhere, None if the server cannot be asked like that."""
        if entry.study is not None:
            return [Place(entry.study, entry.series, entry.sop)]
        for level, uid in _levels(entry):
            if level in self._cannot:
                continue
            try:
                async with aclosing(self._rows(level, _PATHS[level], uid)) as pages:
                    places = [_place(row, level, entry) async for rows in pages for row in rows]
            except (NotFound, Unsupported):
                if level is Level.STUDIES:
                    raise
                self._cannot.add(level)
                continue
            if places:
                return places
        return None if any(level in self._cannot for level, _ in _levels(entry)) else []

    async def walk(self, entries: Sequence[Entry]) -> dict[Entry, list[Place]]:
        """Walk all studies for entries that cannot be asked for directly.

        To the end, though each may be found early: the same UID may stand in two studies.
        """
        found: dict[Entry, list[Place]] = {entry: [] for entry in entries}
        for level in (Level.SERIES, Level.INSTANCES):
            by_uid = {
                uid: entry
                for entry in entries
                if not found[entry]
                for its_level, uid in _levels(entry)
                if its_level is level and level in self._cannot
            }
            if by_uid:
                await self._walk_for(level, by_uid, found)
        return found

    async def _walk_for(self, level: Level, by_uid: dict[str, Entry], found: dict[Entry, list[Place]]) -> None:
        async with aclosing(self._rows(Level.STUDIES, _PATHS[Level.STUDIES])) as pages:
            async for rows in pages:
                studies = [uid_of(row, Level.STUDIES) for row in rows]
                for start in range(0, len(studies), _WAVE):
                    wave = studies[start : start + _WAVE]
                    for places in await each(wave, lambda study: self._in_study(study, level, by_uid)):
                        for uid, place in places:
                            found[by_uid[uid]].append(place)

    async def _in_study(self, study: str, level: Level, wanted: dict[str, Entry]) -> list[tuple[str, Place]]:
        async with aclosing(self._rows(Level.SERIES, search_series_path(study))) as pages:
            series = [uid_of(row, Level.SERIES) async for rows in pages for row in rows]
        if level is Level.SERIES:
            return [(uid, Place(study, uid, wanted[uid].sop)) for uid in series if uid in wanted]
        places: list[tuple[str, Place]] = []
        only = next(iter(wanted)) if len(wanted) == 1 else None
        for uid in series:
            async with aclosing(self._rows(Level.INSTANCES, search_instances_path(study, uid), only)) as pages:
                async for rows in pages:
                    sops = (uid_of(row, Level.INSTANCES) for row in rows)
                    places += ((sop, Place(study, uid, sop)) for sop in sops if sop in wanted)
        return places


def _place(row: Attributes, level: Level, entry: Entry) -> Place:
    study = uid_of(row, Level.STUDIES)
    if level is Level.STUDIES:
        return Place(study)
    series = uid_of(row, Level.SERIES)
    return Place(study, series, entry.sop if level is Level.SERIES else uid_of(row, Level.INSTANCES))
