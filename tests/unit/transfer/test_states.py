"""The table of transitions, written out once more; every other move is an error."""

import itertools

import pytest

from dicomhaul.model import State
from dicomhaul.transfer.states import TRANSITIONS, Position, Running, Step, move

LEGAL = {
    (State.PLANNED, Step.LEASED): Running.RUNNING,
    (Running.RUNNING, Step.COMPLETED): State.LANDED,
    (Running.RUNNING, Step.FAILED): State.FAILED,
    (Running.RUNNING, Step.INTERRUPTED): State.PLANNED,
    (State.FAILED, Step.RETRIED): State.PLANNED,
    (State.LANDED, Step.REOPENED): State.PLANNED,
}
POSITIONS: tuple[Position, ...] = (*State, *Running)


@pytest.mark.parametrize(("position", "step"), list(itertools.product(POSITIONS, Step)))
def test_every_move(position: Position, step: Step) -> None:
    if (position, step) in LEGAL:
        assert move(position, step) == LEGAL[position, step]
    else:
        with pytest.raises(ValueError, match=f"{position.name} cannot be {step.name}"):
            move(position, step)


def test_every_step_leads_somewhere() -> None:
    assert {step for _, step in TRANSITIONS} == set(Step)
