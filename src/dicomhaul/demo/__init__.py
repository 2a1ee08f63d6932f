"""What `dicomhaul demo` plays, and how it is judged. Pure; the command runs it.

1. `scene`: a real cohort of IDC's index, a profile, and what the origin does wrong.
2. `account`: the ledger at the kill and at the end, held against the journal of what the origin was asked for.
"""

from dicomhaul.demo.account import Account, Snapshot, account_of
from dicomhaul.demo.scene import COLLECTION, CONDITION, FAULTS, profile_toml

__all__ = [
    "COLLECTION",
    "CONDITION",
    "FAULTS",
    "Account",
    "Snapshot",
    "account_of",
    "profile_toml",
]
