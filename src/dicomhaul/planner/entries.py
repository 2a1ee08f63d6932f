"""What was named and is not there, as a run reports it. Pure."""

from dicomhaul.cohort.manifest import Entry
from dicomhaul.model import Failure


def failure_of(entry: Entry, reason: str) -> Failure:
    """Return the failure of something that nobody has."""
    series = entry.series or entry.crdc or entry.uid
    return Failure(entry.study or "", series, entry.sop, reason)
