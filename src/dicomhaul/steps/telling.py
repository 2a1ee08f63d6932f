"""What the audit log is told of a run that no table of the ledger holds: for what it asks whom, as whom; its error."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from dicomhaul.errors import HaulError
from dicomhaul.record.ledger import Ledger

if TYPE_CHECKING:
    from dicomhaul.config.source import SourceSpec
    from dicomhaul.net.host import Host


class Telling:
    """Tells the audit log of one run; nothing where there is no log. Each method raises AuditError."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._told: set[tuple[str, str]] = set()  # sources, and who we are to them

    def cohort(self, cohort_id: int) -> None:
        """Say what is to be brought; by its fingerprint, since a query may name patients."""
        ledger = self._ledger
        cohort = next(each for each in ledger.cohorts() if each.id == cohort_id)
        standing = ledger.standing(cohort_id)
        facts = {"fingerprint": cohort.fingerprint, "planned_at": cohort.planned_at, "source": cohort.source}
        ledger.tell("cohort", {**facts, "series": standing.series_planned, "series_complete": standing.series_complete})

    def sources(self, hosts: "Mapping[str, tuple[SourceSpec, Host]]") -> None:
        """Say whom we ask as whom, unless that was said."""
        for name, (spec, host) in hosts.items():
            asked = name, host.identity
            if asked not in self._told:
                self._told.add(asked)
                self._ledger.tell("asked", {"source": name, "url": spec.base_url, "as": host.identity})

    def failed(self, error: HaulError) -> None:
        """Say which error ended the run."""
        self._ledger.tell("run failed", {"error": type(error).__name__})
