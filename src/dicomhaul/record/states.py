"""How a series moves between its stored states. Every move there is stands in this table; any other is an error. Pure.

A series that is being hauled is stored as PLANNED: a run that dies has stored the truth. Waiting for a host happens
inside an exchange, in the gate of that host, and is no state of its own.

| move | from | to | when |
|---|---|---|---|
| COMPLETE | PLANNED | LANDED | all that is wanted of it is there, and proven |
| FAIL | PLANNED | FAILED | something of it will not come in this run |
| RETRY | FAILED | PLANNED | a new run begins |
| REOPEN | any | PLANNED | a file is damaged or gone, another revision came, or more of it is wanted |
"""

import enum

from dicomhaul.model import State


class Move(enum.Enum):
    """A move: the states it may begin in, and the one it leads to."""

    COMPLETE = (frozenset({State.PLANNED}), State.LANDED)
    FAIL = (frozenset({State.PLANNED}), State.FAILED)
    RETRY = (frozenset({State.FAILED}), State.PLANNED)
    REOPEN = (frozenset(State), State.PLANNED)

    @property
    def sources(self) -> tuple[int, ...]:
        """The states it may begin in, as they are stored."""
        return tuple(sorted(int(state) for state in self.value[0]))

    @property
    def target(self) -> int:
        """The state it leads to, as it is stored."""
        return int(self.value[1])
