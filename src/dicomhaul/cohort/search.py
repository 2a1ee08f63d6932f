"""Rows from a server that is searched by QIDO-RS (PS3.18 section 10.6).

1. `locate` finds where the UIDs stand that came without their study; `pick` keeps what is wanted of which study.
2. Studies are searched with the study-level keys, page by page.
3. The series of each study are listed with the series-level keys, many studies at once; the host's gate says how many.
4. Where instances are named, or instance-level keys given, the instances of each series are listed too.

Nothing asks for series outside a study except `locate`, because some servers cannot.

Rows are matched again here (`search_keys`), because servers ignore keys that they do not know. Identity is (study,
series): rows that say the same count once. Memory holds one wave of studies, and the UIDs of those seen.
"""

import logging
import re
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from dicomhaul.cohort.ask import each, iter_matching, iter_rows, uid_key, uid_of
from dicomhaul.cohort.gather import gather
from dicomhaul.cohort.locate import locate
from dicomhaul.cohort.manifest import Entry
from dicomhaul.cohort.names import shown
from dicomhaul.cohort.pick import Pick, Picks
from dicomhaul.cohort.search_keys import Key, Level, alternatives, at, parameters, parse_keys
from dicomhaul.cohort.target import refuse_idc_words
from dicomhaul.errors import CohortError, EmptyCohort, NotFound, Unsupported, WrongInstance
from dicomhaul.model import InstanceRef, Query, Series, SeriesUID, SopUID, StudyUID, is_identifier
from dicomhaul.net.host import Host
from dicomhaul.profile import Profile
from dicomhaul.wire.dicom_json import (
    MODALITY,
    PATIENT_ID,
    SERIES_INSTANCES,
    STUDY_SERIES,
    STUDY_UID,
    Attributes,
    first_int,
    first_string,
)
from dicomhaul.wire.uri import search_instances_path, search_series_path, search_studies_path

_WAVE: Final = 256  # studies whose series are listed before any is passed on
_log = logging.getLogger(__name__)


async def search(
    host: Host,
    profile: Profile,
    query: Query,
    *,
    notice: Callable[[str], None] = _log.warning,
    absent: Callable[[list[Entry]], None] = lambda _: None,
    short: Callable[[StudyUID, str], None] = lambda _study, _reason: None,
    may_be_empty: bool = False,
) -> AsyncGenerator[list[Series], None]:
    """Yield the series that a query asks for, in the server's order, each once; `folder` is left to the planner.

    Args:
        host: the server.
        profile: what is known of it.
        query: targets, manifest, filters, `search`, `everything`, `limit_series`.
        notice: told what is odd about the answers, and what was named and left out by the filters.
        absent: told what was named and is not there, when other things are.
        short: told of a study that is wanted whole and of which series are not listed, and why one thinks so.
        may_be_empty: that nothing matches is an answer, and none of what was named is missed.

    Raises:
        CohortError: the query makes no sense here, nothing matches, or more may match than the server lists.
        TransferError, SourceError: the server fails.
    """
    searcher = _Searcher(host, profile, query, notice, short)
    left = query.limit_series
    found = False
    async with aclosing(searcher.iter_series(wave=_WAVE if left is None else max(1, min(left, _WAVE)))) as batches:
        async for batch in batches:
            rows = batch if left is None else batch[:left]
            found = True
            yield rows
            if left is not None:
                left -= len(rows)
                if left <= 0:
                    break
    searcher.tell_unsure()
    if left is not None and left <= 0:
        return
    if may_be_empty:
        return
    if not found:
        raise EmptyCohort(searcher.why_empty())
    searcher.tell_missing(absent)


async def search_instances(
    host: Host, profile: Profile, study: str, series: str, *, stated: int | None = None
) -> list[InstanceRef] | None:
    """List the instances of a series, each once; None where the server cannot search.

    `stated` is how many there are, where the server has said so: it saves the request for the page after the last.
    Raises WrongInstance for a SOP Instance UID that is none; TransferError, SourceError.
    """
    if not profile.search.available:
        return None
    sops: dict[str, None] = {}  # a list that says one twice, once within another study, has no more than others
    try:
        async for rows in iter_rows(
            host, profile, Level.INSTANCES, search_instances_path(study, series), [], stated=stated
        ):
            sops |= dict.fromkeys(uid_of(row, Level.INSTANCES) for row in rows)
    except (NotFound, Unsupported):
        return None
    except CohortError as error:
        raise WrongInstance(str(error)) from None
    return [InstanceRef(SopUID(sop)) for sop in sops]


@dataclass(frozen=True, slots=True)
class _Study:
    uid: StudyUID
    patient: str | None
    stated_series: int | None


class _Searcher:
    """One query on one server."""

    def __init__(
        self,
        host: Host,
        profile: Profile,
        query: Query,
        notice: Callable[[str], None],
        short: Callable[[StudyUID, str], None],
    ) -> None:
        if not profile.search.available:
            raise CohortError("this server cannot be searched: give a manifest with study and series UIDs")
        query = _fold_uid_keys(query)
        wanted = gather(query)
        refuse_idc_words(query, wanted.collections)
        self._host = host
        self._profile = profile
        self._query = query
        self._notice = notice
        self._keys = parse_keys(query, wildcards=profile.search.wildcards)
        self._picks = Picks(query, wanted.entries)
        if self._picks.everything and not (self._keys or query.everything):
            raise CohortError("nothing to search for: name something, filter by something, or ask for --all")
        self._studies_seen = 0
        self._short = short
        self._unsure: Counter[tuple[Level, str]] = Counter()

    async def iter_series(self, *, wave: int) -> AsyncGenerator[list[Series], None]:
        await locate(self._host, self._profile, self._picks, must_exist=self._query.targets)
        async with aclosing(self._iter_studies(wave)) as waves:
            async for studies in waves:
                batch = [row for rows in await each(studies, self._series_of) for row in rows]
                if batch:
                    yield batch

    async def _iter_studies(self, wave: int) -> AsyncGenerator[list[_Study], None]:
        """Yield the studies to look into, in waves: those that are named, or all that match."""
        if not self._picks.everything:
            uids = list(self._picks.studies)
            for start in range(0, len(uids), wave):
                found = await each(uids[start : start + wave], self._study)
                yield [study for study in found if study is not None]
            return
        seen: set[str] = set()
        for keys in alternatives(at(Level.STUDIES, self._keys)):
            async with aclosing(self._walk(keys)) as pages:
                async for rows in pages:
                    fresh = [study for study in map(_study_of, rows) if study.uid not in seen]
                    seen.update(study.uid for study in fresh)
                    for start in range(0, len(fresh), wave):
                        yield fresh[start : start + wave]

    async def _walk(self, keys: list[Key]) -> AsyncGenerator[list[Attributes], None]:
        """Search studies, by modality too where the server can: it saves listing series that will not match."""
        narrowed = [_in_study(key) for key in self._keys if key.tag == MODALITY and len(key.values) == 1][:1]
        began = False
        try:
            async with aclosing(self._search_studies(keys, narrowed)) as pages:
                async for rows in pages:
                    began = True
                    yield rows
        except Unsupported:  # Google and IDC's proxy answer 400 to a key that they do not know
            if began or not narrowed:
                raise
            async with aclosing(self._search_studies(keys, [])) as pages:
                async for rows in pages:
                    yield rows

    def _search_studies(self, keys: Sequence[Key], hints: Sequence[Key]) -> AsyncGenerator[list[Attributes], None]:
        return iter_matching(
            self._host,
            self._profile,
            Level.STUDIES,
            search_studies_path(),
            keys,
            also=parameters(hints),
            unsure=self._note_unsure,
        )

    async def _study(self, uid: str) -> _Study | None:
        """Look one study up; None if it is not there or doesn't match the study-level keys."""
        for keys in alternatives(at(Level.STUDIES, self._keys)):
            async with aclosing(self._search_studies([uid_key(Level.STUDIES, uid), *keys], [])) as pages:
                async for rows in pages:
                    for row in rows:
                        return _study_of(row)
        return None

    async def _series_of(self, study: _Study) -> list[Series]:
        """List what is wanted of one study."""
        self._studies_seen += 1
        pick = self._picks.of(study.uid)
        keys = at(Level.SERIES, self._keys)
        if (only := pick.only_series) is not None:
            keys.insert(0, uid_key(Level.SERIES, only))
        stated = None if keys else study.stated_series
        listed = 0
        found: list[Series] = []
        async with aclosing(
            iter_matching(
                self._host,
                self._profile,
                Level.SERIES,
                search_series_path(study.uid),
                keys,
                stated=stated,
                unsure=self._note_unsure,
            )
        ) as pages:
            async for rows in pages:
                listed += len(rows)
                found += (series for series in (_series_in(study, row) for row in rows) if pick.wants(series.series))
        if stated is not None and listed < stated:
            reason = f"the server states {stated} series and lists {listed}"
            self._notice(f"study {study.uid}: {reason}")
            if pick.is_whole and self._query.limit_series is None:
                self._short(study.uid, reason)
        chosen = await each(found, lambda series: self._choose(series, pick))
        return [series for series in chosen if series is not None]

    async def _choose(self, series: Series, pick: Pick) -> Series | None:
        """Choose instances, where the query does; None if none is left."""
        named = pick.instances_of(series.series)
        keys = at(Level.INSTANCES, self._keys)
        if named is None and not keys:
            self._picks.note(series.study, series.series)
            stated = series.expected if series.expected is not None else pick.counts.get(series.series)
            return series._replace(expected=stated)
        if named is not None and named.certain and not keys:
            sops: Iterable[str] = named.sops
        else:
            there = await self._instances_of(series, keys)
            sops = there if named is None else [sop for sop in there if sop in named.sops]
        instances = tuple(map(SopUID, sops))
        if not instances:
            return None
        self._picks.note(series.study, series.series, instances)
        return series._replace(instances=instances, expected=len(instances))

    async def _instances_of(self, series: Series, keys: Sequence[Key]) -> list[str]:
        path = search_instances_path(series.study, series.series)
        stated = None if keys else series.expected
        async with aclosing(
            iter_matching(
                self._host, self._profile, Level.INSTANCES, path, keys, stated=stated, unsure=self._note_unsure
            )
        ) as pages:
            return [uid_of(row, Level.INSTANCES) async for rows in pages for row in rows]

    def _note_unsure(self, key: Key, rows: int) -> None:
        self._unsure[key.level, key.name] += rows

    def tell_unsure(self) -> None:
        """Tell what was left out because nobody can say whether it matches."""
        for (level, name), rows in self._unsure.items():
            self._notice(
                f"{rows:,} of the {level.value} that the server lists do not show their {name}, as others do: "
                "they may match, and are left out"
            )

    def why_empty(self) -> str:
        """Say why nothing was found: names of keys, never their values, which may be a patient's."""
        missing = self._picks.missing()
        if missing:
            others = f" and the {len(missing) - 1:,} others" if len(missing) > 1 else ""
            return f"the server has no {missing[0]}{others}{_that_match(self._keys)}"
        if self._studies_seen == 0:
            return f"the server has nothing{_that_match(self._keys)}" if self._keys else "the server lists no studies"
        return f"none of the {self._studies_seen:,} studies looked into has anything{_that_match(self._keys)}"

    def tell_missing(self, absent: Callable[[list[Entry]], None]) -> None:
        """Tell what was named and has not been found; a filter that left it out makes it no failure."""
        missing = self._picks.missing()
        if missing and not self._keys:
            absent(missing)
        elif missing:
            some = ", ".join(map(str, missing[:3])) + (", …" if len(missing) > 3 else "")
            self._notice(f"{len(missing):,} of those named are not there, or do not match the filters: {some}")


def _fold_uid_keys(query: Query) -> Query:
    """Turn `--search StudyInstanceUID=…` and its like into filters: they say where to look."""
    rest = []
    filters = {"StudyInstanceUID": query.study, "SeriesInstanceUID": query.series, "SOPInstanceUID": query.instance}
    tags = {"0020000D": "StudyInstanceUID", "0020000E": "SeriesInstanceUID", "00080018": "SOPInstanceUID"}
    for pair in query.search:
        name, _, value = pair.partition("=")
        keyword = tags.get(name.strip().upper(), name.strip())
        if keyword in filters and not filters[keyword]:
            filters[keyword] = tuple(dict.fromkeys(re.split(r"[,\\]", value.strip())))
        else:
            rest.append(pair)
    study, series, instance = filters.values()
    for uid in (*study, *series, *instance):
        if not is_identifier(uid):
            raise CohortError(f"{shown(uid)} is not a UID")
    return replace(query, search=tuple(rest), study=study, series=series, instance=instance)


def _in_study(modality: Key) -> Key:
    return Key("ModalitiesInStudy", "00080061", "CS", Level.STUDIES, modality.values)


def _that_match(keys: Sequence[Key]) -> str:
    return f" that matches {', '.join(dict.fromkeys(key.name for key in keys))}" if keys else ""


def _study_of(row: Attributes) -> _Study:
    uid = StudyUID(uid_of(row, Level.STUDIES))
    return _Study(uid, first_string(row, PATIENT_ID), first_int(row, STUDY_SERIES))


def _series_in(study: _Study, row: Attributes) -> Series:
    within = first_string(row, STUDY_UID)
    if within is not None and within != study.uid:
        raise CohortError(f"asked for the series of study {study.uid}, the server lists one of another study")
    expected = first_int(row, SERIES_INSTANCES)
    return Series(
        study.uid,
        SeriesUID(uid_of(row, Level.SERIES)),
        patient=study.patient,
        modality=first_string(row, MODALITY),
        expected=expected if expected is not None and expected > 0 else None,
    )
