"""The ledger's moves, any sequence of them, against a model in plain Python: `support.ledger_machine`."""

from hypothesis import HealthCheck, settings

from support.ledger_machine import LedgerMachine

LedgerMachine.TestCase.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLedger = LedgerMachine.TestCase
