"""How a series moves through a run. Every transition there is stands in this table; any other is an error.

RUNNING lives in memory only: a run that dies has stored PLANNED, which is the truth. Waiting for a host happens
inside an exchange, in the gate of that host, and is no state of its own.
"""

import enum
from typing import Final

from dicomhaul.model import State


class Step(enum.Enum):
    """What happened to a series."""

    LEASED = enum.auto()
    COMPLETED = enum.auto()
    FAILED = enum.auto()
    INTERRUPTED = enum.auto()
    RETRIED = enum.auto()  # a new run
    REOPENED = enum.auto()  # damaged, revised, or more of it is wanted


class Running(enum.Enum):
    """The one state that is never stored."""

    RUNNING = "running"


Position = State | Running

TRANSITIONS: Final[dict[tuple[Position, Step], Position]] = {
    (State.PLANNED, Step.LEASED): Running.RUNNING,
    (Running.RUNNING, Step.COMPLETED): State.LANDED,
    (Running.RUNNING, Step.FAILED): State.FAILED,
    (Running.RUNNING, Step.INTERRUPTED): State.PLANNED,
    (State.FAILED, Step.RETRIED): State.PLANNED,
    (State.LANDED, Step.REOPENED): State.PLANNED,
}


def move(position: Position, step: Step) -> Position:
    """Return where `step` leads from `position`. Raises ValueError where the table knows no such move."""
    try:
        return TRANSITIONS[position, step]
    except KeyError:
        raise ValueError(f"a series that is {position.name} cannot be {step.name}") from None
