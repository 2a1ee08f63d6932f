"""Proves a destination against its ledger.

1. `tree` re-reads every landed file: is it there, is it a file, has it the size and the XXH3-128 that its
   receipt states?
2. `tree` then names what lies below the destination and is not in the ledger.
3. `deep` parses every instance with pydicom in worker processes and holds its UIDs against the ledger's.

Rules: nothing is changed here, no link is followed, memory doesn't grow with the number of files, and nothing
imports pydicom but `deep`'s workers. Expected files come from the ledger as an iterator; findings leave as
one.
"""

from dicomhaul.audit.findings import Checked, Expected, Finding, Problem
from dicomhaul.audit.tree import verify_tree

__all__ = ["Checked", "Expected", "Finding", "Problem", "verify_tree"]
