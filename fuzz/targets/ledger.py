"""The ledger's moves: `record.ledger`, `record.merge` and `record.unite`.

An input is what `support.ledger_machine` draws: which rules, in which order, with which values. The machine holds the
ledger against a model in plain Python after each of them: plans, leases, receipts, announced batches, failures,
repairs, processes that are killed inside a transaction, and destinations that are merged.
"""

from collections.abc import Callable
from typing import cast

from hypothesis import HealthCheck, settings
from hypothesis.stateful import get_state_machine_test

from fuzz.target import Target
from support.ledger_machine import LedgerMachine

_SETTINGS = settings(
    database=None, deadline=None, stateful_step_count=20, suppress_health_check=list(HealthCheck), print_blob=False
)
_MACHINE = get_state_machine_test(LedgerMachine, settings=_SETTINGS)
_RUN = cast("Callable[[bytes], object]", _MACHINE.hypothesis.fuzz_one_input)  # type: ignore[attr-defined]


def check(data: bytes) -> None:
    """Attack it with one input."""
    _RUN(data)


TARGET = Target(
    "ledger", check, (b"\0\0", b"\1", b"\xff", b"\x80\0\0\0", bytes(8), b"\1\0\1\0\1", b"\x7f"), max_bytes=2048
)
