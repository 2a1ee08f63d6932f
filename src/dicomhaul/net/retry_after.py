"""Reading `Retry-After`. Pure: the caller says what time it is."""

import re
from datetime import UTC
from email.utils import parsedate_to_datetime

LONGEST_S = 3600.0

_SECONDS = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,9})?\Z")


def parse_retry_after(value: str | None, *, now_s: float) -> float | None:
    """Return the seconds to wait that a `Retry-After` header asks for (RFC 9110 section 10.2.3).

    Seconds and HTTP dates are understood; a date in the past is 0.0; what is neither is None. A server that names
    more than `LONGEST_S` is asked again after that long: a typing error must not park a run for a year.
    """
    if value is None:
        return None
    text = value.strip()
    if _SECONDS.match(text):
        return min(float(text), LONGEST_S)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wait_s = moment.timestamp() - now_s
    except (ValueError, TypeError, IndexError, OverflowError):  # the ways in which the parser refuses
        return None
    return min(max(wait_s, 0.0), LONGEST_S)
