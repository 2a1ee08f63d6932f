"""What a monitor asks of a ledger: where the destination stands, its last success, its feeds, what runs have spent.

Read-only, and of a ledger that a run may be writing.
"""

from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from dicomhaul.record.account import Account
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.reader import Standing

_FEEDS: Final = 1000


@dataclass(frozen=True, slots=True)
class Vitals:
    """A ledger at one moment; times are seconds since the epoch, UTC.

    Attributes:
        standing: of the whole destination.
        last_success: when a run last ended with everything there; None: none did.
        feeds: each source of change that is followed, and when its cursor last moved.
        spent: the tallies of all runs that came to an end, added up.
    """

    standing: Standing
    last_success: float | None = None
    feeds: tuple[tuple[str, float], ...] = ()
    spent: dict[str, int] = field(default_factory=dict)


def read_vitals(ledger: Path) -> Vitals:
    """Read a ledger's vitals: seconds of reading for a million series. Raises LedgerError, also if there is none."""
    with closing(Ledger.open(ledger, read_only=True)) as opened:
        account = Account(opened)
        with account.at_one_moment():
            return Vitals(
                standing=opened.standing(),
                last_success=_seconds(opened.last_success()),
                feeds=tuple((feed, at) for feed, text in account.cursors(_FEEDS) if (at := _seconds(text)) is not None),
                spent=account.spent()[1],
            )


def _seconds(text: str | None) -> float | None:
    try:
        return None if text is None else datetime.fromisoformat(text).timestamp()
    except ValueError:  # a ledger that somebody else wrote
        return None
