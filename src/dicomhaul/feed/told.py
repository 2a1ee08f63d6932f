"""What a feed gives to whoever follows it. Pure."""

from dataclasses import dataclass

from dicomhaul.plan.changes import Change


@dataclass(frozen=True, slots=True)
class Window:
    """Some of what a feed has told.

    Attributes:
        changes: those that were not told before, in no order that matters.
        position: JSON; reading goes on there once these are recorded.
    """

    changes: tuple[Change, ...]
    position: str
