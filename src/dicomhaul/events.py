"""What happens while hauling, as frozen values. Observers listen; the engine knows none of them."""

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Planned:
    """The plan stands; transfer begins. Counts are None where nobody states them."""

    series: int
    instances: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class SeriesLanded:
    """A series is complete, proven, and recorded."""

    study: str
    series: str
    folder: str  # relative to the destination
    instances: int
    proof: str


@dataclass(frozen=True, slots=True)
class SeriesFailed:
    """A series, or some of its instances, will not come in this run."""

    study: str
    series: str
    missing: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class SeriesMoved:
    """A series goes on by its next route; what landed of it is kept."""

    study: str
    series: str
    route: str
    next_route: str
    reason: str


@dataclass(frozen=True, slots=True)
class Retrying:
    """An exchange failed and will be tried again."""

    job: str
    attempt: int  # the one that failed, from 1
    wait_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class GateClosed:
    """A host is left alone for a while: it throttles, or it does not answer."""

    host: str
    wait_s: float
    reason: str


@dataclass(frozen=True, slots=True)
class SourceStopped:
    """A source is not asked any more in this run."""

    source: str
    reason: str


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something worth a line in the log that changes nothing."""

    message: str


Event = Planned | SeriesLanded | SeriesFailed | SeriesMoved | Retrying | GateClosed | SourceStopped | Noticed
Observer = Callable[[Event], None]


@dataclass(slots=True)
class Tally:
    """Running totals of one run. The engine adds to it; observers read it whenever they like."""

    series_found: int = 0  # while the cohort is resolved
    instances_landed: int = 0
    bytes_landed: int = 0
    bytes_discarded: int = 0
    bytes_received: int = 0
    requests: int = 0
    retries: int = 0
    throttled: int = 0
    series_complete: int = 0
    series_failed: int = 0
    series_moved: int = 0
