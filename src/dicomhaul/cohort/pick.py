"""What is wanted of a server by UID: which studies to look into, and what to take of each. Pure.

Entries (targets and manifests) are alternatives; the UID filters narrow them. Without entries, the narrowest UID filter
takes their place, and without that everything is wanted, as far as the other filters let it through.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from dicomhaul.cohort.manifest import Entry
from dicomhaul.errors import CohortError
from dicomhaul.model import Query


class Place(NamedTuple):
    """Where something stands: a study, a series of it, or an instance (whose series need not be known)."""

    study: str
    series: str | None = None
    sop: str | None = None


class Chosen(NamedTuple):
    """Instances of one series, each once. `certain`: they are known to stand there, so nobody needs to look."""

    sops: dict[str, None]
    certain: bool


@dataclass(slots=True)
class Pick:
    """What to take of one study."""

    series_filter: frozenset[str] | None = None
    sop_filter: frozenset[str] | None = None
    whole: bool = False
    series: dict[str, dict[str, None] | None] = field(default_factory=dict)  # SOPs; None: the whole series
    sops: dict[str, None] = field(default_factory=dict)  # in a series that is not known
    counts: dict[str, int] = field(default_factory=dict)  # instances of a series, as a manifest states them

    def add(self, place: Place, count: int | None = None) -> None:
        """Want one more thing of this study."""
        if place.series is None:
            if place.sop is None:
                self.whole = True
            else:
                self.sops[place.sop] = None
            return
        if place.sop is None:
            self.series[place.series] = None
            if count is not None:
                self.counts[place.series] = count
            return
        sops = self.series.setdefault(place.series, {})
        if sops is not None:
            sops[place.sop] = None

    @property
    def only_series(self) -> str | None:
        """The one series that can be wanted, if it is one."""
        named = frozenset(self.series) if not self.whole and not self.sops else None
        if self.series_filter is not None:
            named = self.series_filter if named is None else named & self.series_filter
        return next(iter(named)) if named is not None and len(named) == 1 else None

    @property
    def is_whole(self) -> bool:
        """Whether all series of the study are wanted."""
        return self.whole and self.series_filter is None and self.sop_filter is None

    def wants(self, series: str) -> bool:
        """Say whether anything of a series can be wanted."""
        if self.series_filter is not None and series not in self.series_filter:
            return False
        return self.whole or bool(self.sops) or series in self.series

    def instances_of(self, series: str) -> Chosen | None:
        """Return what is wanted of a series; None for all of it."""
        if self.whole:
            named = None
        else:
            there = self.series.get(series, {})
            named = None if there is None else Chosen({**there, **self.sops}, certain=not self.sops)
        if self.sop_filter is None:
            return named
        if named is None:
            return Chosen(dict.fromkeys(self.sop_filter), certain=False)
        return Chosen({sop: None for sop in named.sops if sop in self.sop_filter}, certain=named.certain)


class Picks:
    """The picks of all studies, and which entries have been met.

    Attributes:
        entries: what was named; [] if nothing was.
        studies: picks by study, in the order of the entries.
    """

    def __init__(self, query: Query, entries: Iterable[Entry]) -> None:
        self.entries = list(entries) or _from_filters(query)
        for entry in self.entries:
            if entry.crdc is not None:
                raise CohortError(f"{entry}: CRDC UUIDs exist on IDC only; name the series by its UID")
        self.studies: dict[str, Pick] = {}
        self._study_filter = frozenset(query.study) or None
        self._series_filter = frozenset(query.series) or None
        self._sop_filter = frozenset(query.instance) or None
        self._places: dict[Entry, list[Place]] = {}
        self._met_series: set[tuple[str, str]] = set()
        self._met_studies: set[str] = set()
        self._met_sops: set[str] = set()

    @property
    def everything(self) -> bool:
        """Whether nothing was named, so that all studies are looked into."""
        return not self.entries

    def add(self, entry: Entry, places: Iterable[Place]) -> None:
        """Take what an entry names, found at `places`."""
        self._places[entry] = list(places)
        for place in self._places[entry]:
            if self._study_filter is None or place.study in self._study_filter:
                pick = self.studies.setdefault(place.study, Pick(self._series_filter, self._sop_filter))
                pick.add(place, entry.instance_count)

    def places_of(self, entry: Entry) -> list[Place]:
        """Return where an entry stands, as `add` was told."""
        return self._places.get(entry, [])

    def of(self, study: str) -> Pick:
        """Return the pick of one study that is looked into."""
        return self.studies.get(study) or Pick(whole=True)

    def note(self, study: str, series: str, sops: Iterable[str] | None = None) -> None:
        """Remember that something has been found: instances, or (with None) a whole series."""
        if self.everything:
            return
        self._met_studies.add(study)
        if sops is None:
            self._met_series.add((study, series))
        else:
            self._met_sops.update(sops)
            self._met_sops.add(series)

    def missing(self) -> list[Entry]:
        """Return the entries of which nothing has been found."""
        return [entry for entry in self.entries if not any(map(self._is_met, self.places_of(entry)))]

    def _is_met(self, place: Place) -> bool:
        if place.sop is not None:
            whole = place.series is not None and (place.study, place.series) in self._met_series
            return whole or place.sop in self._met_sops
        if place.series is not None:
            return (place.study, place.series) in self._met_series or place.series in self._met_sops
        return place.study in self._met_studies


def _from_filters(query: Query) -> list[Entry]:
    if query.instance:
        return [Entry(sop=sop) for sop in query.instance]
    if query.series:
        return [Entry(series=series) for series in query.series]
    return [Entry(study=study) for study in query.study]
