"""Fuzzing: one target for each thing that reads what somebody else wrote, and for the ledger's moves.

    python -m fuzz.run --target multipart --executions 100000
    python -m fuzz.run                       # every target

A target takes any bytes and raises where a promise is broken. `run` feeds it what `atheris` finds worth trying, or,
where atheris is not installed, seeded mutations of the corpus; `corpus/TARGET/` holds what to begin with, and each
input that once broke something. tests/test_fuzz.py runs a short form. No test runs without its target, and nothing
here is part of the package.
"""

import sys
from pathlib import Path

# The ledger's target is the state machine that the tests run, which stands among their helpers.
sys.path.append(str(Path(__file__).resolve().parents[1] / "tests"))
