"""What the processes of a run say to each other: plain values, pickled between processes of our own alone.

A question has a number, which its `Reply` repeats; none is asked twice. A host is the number of its route in `Setup`.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from dicomhaul.config.options import HaulOptions
from dicomhaul.config.source import SourceSpec
from dicomhaul.errors import HaulError
from dicomhaul.events import Event
from dicomhaul.land.writer import Note, Staged
from dicomhaul.model import Known, Work
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.transfer.outcome import SeriesOutcome

# -- to a hand --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Route:
    """One route, as a hand opens it. Who we are there only the parent knows.

    Attributes:
        spec: the source, without credentials.
        endpoint: where it is.
        authorized: it wants credentials.
        metered: it has a quota.
    """

    spec: SourceSpec
    endpoint: Endpoint
    authorized: bool
    metered: bool


@dataclass(frozen=True, slots=True)
class Setup:
    """The first message to a hand.

    Attributes:
        routes: in the order of the run's.
        staging: where parts are written.
        by_stem: files are named by their objects.
        options: of the run.
        limited: the line has a bandwidth, or an amount to count.
    """

    routes: tuple[Route, ...]
    staging: Path
    by_stem: bool
    options: HaulOptions
    limited: bool


class Begin(NamedTuple):
    """Haul a series."""

    haul: int
    route: int
    work: Work
    known: Known


class Cancel(NamedTuple):
    """Leave a series, keeping what is whole of it."""

    haul: int


class Close(NamedTuple):
    """Leave everything, keeping what is whole, and end."""


class Reply(NamedTuple):
    """The answer to a question, or the error that it met."""

    question: int
    answer: Any


# -- from a hand ------------------------------------------------------------------------------------------------------


class Enter(NamedTuple):
    """Asks for a slot of a host's gate; the reply says when it began."""

    host: int
    question: int


class Leave(NamedTuple):
    """A slot is given back, or not waited for any more."""

    host: int
    question: int


class Answered(NamedTuple):
    """A host answered."""

    host: int


class Succeeded(NamedTuple):
    """A request to a host did what it should."""

    host: int


class Broke(NamedTuple):
    """Asks what the gate makes of a failed request; the reply says whether it counts."""

    host: int
    question: int
    error: HaulError
    job: str
    began_at: float
    progressed: bool


class Admit(NamedTuple):
    """Asks a host's quota to let a request begin."""

    host: int
    question: int
    size_bytes: int | None


class Release(NamedTuple):
    """A request that was admitted has ended, or is not waited for any more."""

    host: int
    question: int


class Came(NamedTuple):
    """Bytes came that a host's quota counts."""

    host: int
    size_bytes: int


class Authorize(NamedTuple):
    """Asks for the value of the Authorization header; see `ports.Credentials`."""

    host: int
    question: int
    stale: str | None


class Pass(NamedTuple):
    """Asks the line to let bytes pass that came."""

    question: int
    size_bytes: int


class Landed(NamedTuple):
    """What a writer has completed."""

    batch: list[Staged]


class Stems(NamedTuple):
    """See `build.Teller.stems`."""

    series_id: int
    stems: dict[str, str]


class Wanted(NamedTuple):
    """See `build.Teller.wanted`."""

    series_id: int
    sops: list[str]


class Ended(NamedTuple):
    """A series came to its end."""

    haul: int
    outcome: SeriesOutcome | HaulError
    landed: int  # instances that are there, what was there before included


class Happened(NamedTuple):
    """Something to tell the observer."""

    event: Event


class Counted(NamedTuple):
    """What a hand's tally has grown by."""

    fields: dict[str, int]


ToHand = Setup | Begin | Cancel | Close | Reply
FromHand = (
    Enter | Leave | Answered | Succeeded | Broke | Admit | Release | Came | Authorize | Pass | Landed | Note | Stems
    | Wanted | Ended | Happened | Counted
)  # fmt: skip
