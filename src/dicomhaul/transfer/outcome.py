"""What became of one series on one route."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

from dicomhaul.model import Job, Proof
from dicomhaul.ports import SettlingSink

OpenSink = Callable[[Job, str, Collection[str]], SettlingSink]  # the job, its folder, SOP Instance UIDs that are there


@dataclass(slots=True)
class SeriesOutcome:
    """What became of a series. `proof` is set if it is complete; else `reason` says why not.

    Attributes:
        proof: what says that the series is complete; None if it is not.
        expected: instances that are wanted, where that became known.
        reason: for the reader.
        missing: SOP Instance UID -> reason, for each instance that is known to be missing.
        surplus: SOP Instance UIDs of what landed and is not in the source's own list.
        repeated: of instances that came twice in one answer, see `ports.SettlingSink.repeated`.
        notes: oddities that change nothing.
    """

    proof: Proof | None = None
    expected: int | None = None
    reason: str = ""
    missing: dict[str, str] = field(default_factory=dict)
    surplus: tuple[str, ...] = ()
    repeated: dict[str, bytes | None] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
