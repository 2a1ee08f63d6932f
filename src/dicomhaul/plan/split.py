"""Whole, or instance by instance? Pure.

WADO-RS has no Range: what a broken series response had brought comes again with the next one, and is drained. Asking
for the missing instances singly brings nothing twice, and costs a request each.
"""

import enum
from typing import Final

# What one more request is worth in bytes: a round trip plus the server's time to first byte, on a line that carries
# 10 MB/s to one connection. A cost, not a limit: being wrong by a factor of two changes little.
REQUEST_COST_BYTES: Final = 512 * 1024


class Ask(enum.Enum):
    """How to ask for what is missing of a series."""

    WHOLE = "whole"
    SINGLY = "singly"


def largest_whole_bytes(*, response_bytes: int | None, series_bytes: int) -> int:
    """Return the largest series that goes as one exchange: the server can answer it, and not too much hangs on it."""
    return series_bytes if response_bytes is None else min(response_bytes, series_bytes)


def ask_again(landed: int, landed_bytes: int, expected: int | None) -> Ask:
    """Choose how to go on with a series of which `landed` instances are there, by the smaller cost.

    | landed | expected | cost of WHOLE | cost of SINGLY | choice |
    |---|---|---|---|---|
    | none | any | nothing twice | a request each | WHOLE |
    | some | unknown | landed bytes again | cannot be told | WHOLE |
    | some | known | landed bytes again | a request for each that is missing | the cheaper |
    """
    if landed == 0 or expected is None:
        return Ask.WHOLE
    missing = max(1, expected - landed)
    return Ask.WHOLE if landed_bytes <= missing * REQUEST_COST_BYTES else Ask.SINGLY
