"""What the planning child is told and what it answers."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydantic import TypeAdapter

from dicomhaul import errors
from dicomhaul.config.source import Sources
from dicomhaul.errors import HaulError
from dicomhaul.land.folder import beside_folder
from dicomhaul.model import Query
from dicomhaul.plan.estimate import Summary
from dicomhaul.record.departing import Following
from dicomhaul.record.preview import Preview


@dataclass(frozen=True, slots=True)
class Load:
    """Where a plan goes: into this ledger.

    Attributes:
        ledger, wal: the file, and how it is written.
        name, fingerprint, planned_at: of the cohort.
        beside: the folder of ours, relative to the destination, below which new revisions land.
        following: how removals are followed; None: nothing is removed.
    """

    ledger: Path
    wal: bool
    name: str
    fingerprint: str
    planned_at: str
    beside: str = beside_folder("")
    following: Following | None = None
    audited: bool = False  # the ledger's outbox is to be told what the plan changes


@dataclass(frozen=True, slots=True)
class Foreseeing:
    """What a sync would do is to be said: of a cohort with this name, and at most so many steps of it."""

    name: str
    following: Following
    most: int


@dataclass(frozen=True, slots=True)
class PlanRequest:
    """Resolve `query`.

    Attributes:
        query: what the user asked for.
        source: whom to ask.
        lock: write a lock of the cohort there.
        quota_bytes: what the user allows a source with a quota to give a day.
        layout: the template of the folders.
        load: write the rows there; None: only add them up.
        present: a ledger whose finished series need not come; for a plan that is only added up.
        foreseeing: say what a sync would do with that ledger, instead.
    """

    query: Query
    source: Sources
    layout: str
    load: Load | None = None
    present: Path | None = None
    requests_per_s: float | None = None
    lock: Path | None = None
    quota_bytes: int | None = None
    foreseeing: Foreseeing | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """Series found so far, and requests sent to find them."""

    series: int
    requests: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The cohort could not be resolved: the class of the error, its message, and `until_s` of a quota."""

    error: str
    message: str
    until_s: float = 0.0

    def as_error(self) -> HaulError:
        """The error as the parent raises it."""
        kind = getattr(errors, self.error, errors.CohortError)
        if kind is errors.QuotaExhausted:
            return errors.QuotaExhausted(self.message, until_s=self.until_s)
        raised: HaulError = kind(self.message)
        return raised


@dataclass(frozen=True, slots=True)
class Reply:
    """One line from the child; exactly one field is set, but a preview, which comes with its summary.

    A summary or a failure is the last.
    """

    progress: Progress | None = None
    preview: Preview | None = None
    summary: Summary | None = None
    failed: Failed | None = None


REQUEST_JSON: Final = TypeAdapter(PlanRequest)
REPLY_JSON: Final = TypeAdapter(Reply)
