"""What becomes of a run: gathered while it goes on, told by its report and by its row in the ledger."""

import dataclasses
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from dicomhaul.config.accepted import Accepted
from dicomhaul.errors import HaulError, SourceError
from dicomhaul.events import Tally
from dicomhaul.plan.difference import Difference
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.removals import Removed
from dicomhaul.report import Report, RunState

_NO_COHORT: Final = 0  # ids count from 1


def spent_between(before: Tally, now: Tally) -> Tally:
    """Return what was counted between two moments."""
    earlier, later = asdict(before), asdict(now)
    return Tally(**{key: later[key] - earlier[key] for key in later})


@dataclass(slots=True)
class Outcome:
    """What has become of a run so far.

    Attributes:
        due: how many cohorts are to be hauled.
        cohorts: ids of those that were begun.
        finished: the last of them came to its end.
        down: base URL -> why that source is not asked any more.
        error: what ends the run, whatever the source.
        reached: the limit of the user's that ended the run; empty: none.
        difference: what planning changed.
        removed: what went to the trash.
    """

    due: int = 0
    cohorts: list[int] = field(default_factory=list)
    finished: bool = False
    down: dict[str, SourceError] = field(default_factory=dict)
    error: HaulError | None = None
    reached: str = ""
    difference: Difference = field(default_factory=Difference)
    removed: Removed = field(default_factory=Removed)

    @property
    def may_settle(self) -> bool:
        """Whether the run came to its end, and no source failed: only then may something leave."""
        return self.finished and self.error is None and not self.down and not self.reached

    def state(self, left: int, failures: int) -> tuple[RunState, str]:
        """Return how the run ended, and why; `left`: series that neither came nor failed."""
        if self.reached and self.error is None and (left or len(self.cohorts) < self.due):
            return "paused", f"{self.reached}; run again to go on"
        if not self.finished and self.error is None and not self.reached:
            return "interrupted", "stopped on request; run again to go on"
        if self.error is not None:
            return "failed", str(self.error)
        if self.down and left:
            return "paused", "; ".join(str(error) for error in self.down.values())
        if not left and not failures:
            return "complete", ""
        return "partial", f"{failures} failures"

    def tally_json(self, spent: Tally) -> str:
        """Return what the run's row in the ledger keeps of it."""
        kept = asdict(spent)
        kept |= {f"series_{name}": getattr(self.difference, name) for name in ("added", "revised", "withdrawn")}
        kept["instances_removed"] = self.removed.instances
        return json.dumps(kept, sort_keys=True)

    def report(self, dest: Path, ledger: Ledger, spent: Tally, *, elapsed_s: float, accepted: Accepted) -> Report:
        """Return the report of the run. Raises LedgerError."""
        standing = ledger.standing(*(self.cohorts or [_NO_COHORT]))
        failures, known = accepted.split(ledger.iter_failures(*self.cohorts))
        left = standing.series_planned - standing.series_complete - standing.series_failed
        state, reason = self.state(left, len(failures))
        return dataclasses.replace(
            Report.at_rest(dest, state, reason, standing, failures),
            instances_landed=spent.instances_landed,
            bytes_landed=spent.bytes_landed,
            bytes_discarded=spent.bytes_discarded,
            requests=spent.requests,
            retries=spent.retries,
            throttled=spent.throttled,
            elapsed_s=elapsed_s,
            series_moved=spent.series_moved,
            routes=ledger.came_by(*(self.cohorts or [_NO_COHORT])),
            series_added=self.difference.added,
            series_revised=self.difference.revised,
            series_withdrawn=self.difference.withdrawn,
            instances_removed=self.removed.instances,
            bytes_removed=self.removed.size_bytes,
            failures_accepted=len(known),
        )
