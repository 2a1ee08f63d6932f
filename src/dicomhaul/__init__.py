"""dicomhaul brings cohorts of DICOM instances down: complete, verifiable, resumable.

    from dicomhaul import Cohort, Hauler

    async with Hauler("https://pacs.example/dicom-web") as hauler:
        report = await hauler.pull(Cohort.search(PatientID="123"), to="data")

Names are loaded when they are first used: the import itself costs nothing.
"""

import importlib
from typing import TYPE_CHECKING, Any

from dicomhaul._version import __version__

if TYPE_CHECKING:
    from dicomhaul.adopting import Adopted, Taking
    from dicomhaul.audit.locked import LockProof
    from dicomhaul.checking.check import Checked
    from dicomhaul.checking.compare import Mark, Marked
    from dicomhaul.citation.account import Account, cite
    from dicomhaul.cohort.wanted import Cohort
    from dicomhaul.config.options import HaulOptions, SyncOptions
    from dicomhaul.config.rates import Timetable, parse_timetable
    from dicomhaul.config.source import Connection, Sources, SourceSpec, resolve_sources
    from dicomhaul.doctor.examine import Diagnosis
    from dicomhaul.doctor.sources import examine
    from dicomhaul.errors import (
        AuditError,
        BadMultipart,
        CohortError,
        ConfigError,
        CrewError,
        DamagedError,
        Disconnected,
        DiskFull,
        EmptyCohort,
        Forbidden,
        HaulError,
        IncompleteError,
        LandingError,
        LedgerError,
        NotDicom,
        NotFound,
        NotWritable,
        QuotaExhausted,
        RefusedError,
        RetryableError,
        ServerFailed,
        SourceDown,
        SourceError,
        SyncRefused,
        Throttled,
        TimedOut,
        TransferError,
        Truncated,
        Unauthorized,
        Unsupported,
        WrongInstance,
    )
    from dicomhaul.events import (
        Event,
        GateClosed,
        Noticed,
        Observer,
        Planned,
        Retrying,
        SeriesFailed,
        SeriesLanded,
        SeriesMoved,
        SourceStopped,
        Tally,
    )
    from dicomhaul.forecasting import Measured
    from dicomhaul.hauler import Hauler, pull_sync
    from dicomhaul.merging import Merged, merge
    from dicomhaul.model import Failure, Shard
    from dicomhaul.plan.estimate import Summary
    from dicomhaul.plan.forecast import Forecast
    from dicomhaul.plan.removal import RemovalLimits
    from dicomhaul.profile import Profile, read_profile
    from dicomhaul.record.preview import Preview
    from dicomhaul.report import LandedSeries, Report
    from dicomhaul.verification import Verification, verify

_HOMES = {
    "dicomhaul.adopting": ("Adopted", "Taking"),
    "dicomhaul.audit.locked": ("LockProof",),
    "dicomhaul.checking.check": ("Checked",),
    "dicomhaul.checking.compare": ("Mark", "Marked"),
    "dicomhaul.citation.account": ("Account", "cite"),
    "dicomhaul.cohort.wanted": ("Cohort",),
    "dicomhaul.config.options": ("HaulOptions", "SyncOptions"),
    "dicomhaul.config.rates": ("Timetable", "parse_timetable"),
    "dicomhaul.config.source": ("Connection", "SourceSpec", "Sources", "resolve_sources"),
    "dicomhaul.doctor.examine": ("Diagnosis",),
    "dicomhaul.doctor.sources": ("examine",),
    "dicomhaul.errors": (
        "AuditError",
        "BadMultipart",
        "CohortError",
        "ConfigError",
        "CrewError",
        "DamagedError",
        "Disconnected",
        "DiskFull",
        "EmptyCohort",
        "Forbidden",
        "HaulError",
        "IncompleteError",
        "LandingError",
        "LedgerError",
        "NotDicom",
        "NotFound",
        "NotWritable",
        "QuotaExhausted",
        "RefusedError",
        "RetryableError",
        "ServerFailed",
        "SourceDown",
        "SourceError",
        "SyncRefused",
        "Throttled",
        "TimedOut",
        "TransferError",
        "Truncated",
        "Unauthorized",
        "Unsupported",
        "WrongInstance",
    ),
    "dicomhaul.events": (
        "Event",
        "GateClosed",
        "Noticed",
        "Observer",
        "Planned",
        "Retrying",
        "SeriesFailed",
        "SeriesLanded",
        "SeriesMoved",
        "SourceStopped",
        "Tally",
    ),
    "dicomhaul.forecasting": ("Measured",),
    "dicomhaul.hauler": ("Hauler", "pull_sync"),
    "dicomhaul.merging": ("Merged", "merge"),
    "dicomhaul.model": ("Failure", "Shard"),
    "dicomhaul.plan.estimate": ("Summary",),
    "dicomhaul.plan.forecast": ("Forecast",),
    "dicomhaul.plan.removal": ("RemovalLimits",),
    "dicomhaul.profile": ("Profile", "read_profile"),
    "dicomhaul.record.preview": ("Preview",),
    "dicomhaul.report": ("LandedSeries", "Report"),
    "dicomhaul.verification": ("Verification", "verify"),
}
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    "Account",
    "Adopted",
    "AuditError",
    "BadMultipart",
    "Checked",
    "Cohort",
    "CohortError",
    "ConfigError",
    "Connection",
    "CrewError",
    "DamagedError",
    "Diagnosis",
    "Disconnected",
    "DiskFull",
    "EmptyCohort",
    "Event",
    "Failure",
    "Forbidden",
    "Forecast",
    "GateClosed",
    "HaulError",
    "HaulOptions",
    "Hauler",
    "IncompleteError",
    "LandedSeries",
    "LandingError",
    "LedgerError",
    "LockProof",
    "Mark",
    "Marked",
    "Measured",
    "Merged",
    "NotDicom",
    "NotFound",
    "NotWritable",
    "Noticed",
    "Observer",
    "Planned",
    "Preview",
    "Profile",
    "QuotaExhausted",
    "RefusedError",
    "RemovalLimits",
    "Report",
    "RetryableError",
    "Retrying",
    "SeriesFailed",
    "SeriesLanded",
    "SeriesMoved",
    "ServerFailed",
    "Shard",
    "SourceDown",
    "SourceError",
    "SourceSpec",
    "SourceStopped",
    "Sources",
    "Summary",
    "SyncOptions",
    "SyncRefused",
    "Taking",
    "Tally",
    "Throttled",
    "TimedOut",
    "Timetable",
    "TransferError",
    "Truncated",
    "Unauthorized",
    "Unsupported",
    "Verification",
    "WrongInstance",
    "__version__",
    "cite",
    "examine",
    "merge",
    "parse_timetable",
    "pull_sync",
    "read_profile",
    "resolve_sources",
    "verify",
]


def __getattr__(name: str) -> Any:
    home = _HOME_OF.get(name)
    if home is None:
        raise AttributeError(f"module 'dicomhaul' has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)


def __dir__() -> list[str]:
    return __all__
