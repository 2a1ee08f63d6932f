"""The daily allowance of IDC's proxy, as its own source code counts it.

Bytes a client and UTC day. A request is looked at once, when it begins: it is refused where more than the limit has
been used. What it was answered with is added once, when it ends. So a request that begins under the limit completes,
and requests at the same time can pass it together.
"""

from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

# The limit stands there in bytes and is called GB, as the proxy does it.
_PAGE = """\
<p>
    Users are restricted to a quota of <b>{limit} GB</b> per day of medical imaging files accessed via
    our DICOMweb interface and image viewers. You have reached your daily quota. Your quota will be reset at
    midnight UTC.
</p>
"""


def utc_day() -> str:
    """Return the date of today, UTC."""
    return datetime.now(UTC).date().isoformat()


class Allowance:
    """What clients may still have today.

    Args:
        limit_bytes: a client's allowance of one day.
        denied: addresses of clients that are served nothing any more.
        used: bytes that clients had before the origin began, by address.
        today: says which day it is; a new one begins at nothing.

    Attributes:
        denied: as above; may be changed while the origin runs.
    """

    def __init__(
        self,
        limit_bytes: int,
        *,
        denied: frozenset[str] = frozenset(),
        used: dict[str, int] | None = None,
        today: Callable[[], str] = utc_day,
    ) -> None:
        self.limit_bytes = limit_bytes
        self.denied = denied
        self._today = today
        self._used: Counter[tuple[str, str]] = Counter(
            {(client, today()): size_bytes for client, size_bytes in (used or {}).items()}
        )

    def used(self, client: str) -> int:
        """Bytes that a client has had today."""
        return self._used[client, self._today()]

    def is_over(self, client: str) -> bool:
        """Say whether a request that begins now is refused."""
        return self.used(client) > self.limit_bytes

    def charge(self, client: str, size_bytes: int) -> None:
        """Add what an answer brought."""
        self._used[client, self._today()] += size_bytes

    def usage(self, client: str) -> dict[str, Any]:
        """Return what `/quota_usage` answers."""
        used = self.used(client)
        return {
            "ip": client,
            "bytes_used": used,
            "fraction_used": used / self.limit_bytes,
            "date": self._today(),
        }

    def page(self) -> str:
        """Return the HTML for a client over its allowance."""
        return _PAGE.format(limit=self.limit_bytes)
