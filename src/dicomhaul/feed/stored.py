"""A position as the ledger keeps it: JSON that somebody may have changed. Pure."""

import json
from collections.abc import Callable
from typing import Any, TypeVar

from dicomhaul.errors import LedgerError

T = TypeVar("T")


def read_position(text: str, read: Callable[[Any], T]) -> T:
    """Return what `read` makes of the JSON. Raises LedgerError where that is none, or `read` raises ValueError."""
    try:
        return read(json.loads(text))
    except (ValueError, KeyError, TypeError, RecursionError):
        raise LedgerError("the cursor of a feed is damaged: sync with --reconcile 0 to begin anew") from None
