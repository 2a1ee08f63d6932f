"""How much a server may be asked, in all: requests and bytes. Every request and every byte of a body draws from it.

`send` is called for what really goes on the wire: redirects, replays after a 401 and what the HTTP library sends once
more on a fresh connection included. It raises before anything is sent.
"""

from typing import Final

from dicomhaul.errors import HaulError

REQUESTS: Final = 200
BODY_BYTES: Final = 64 << 20


class BudgetSpentError(HaulError):
    """Nothing more may be asked. It never leaves the room: a check that it ends is reported as unknown."""


class Budget:
    """What is left to be asked.

    Args:
        requests: at most.
        body_bytes: at most, of bodies. What already lies in buffers when it is reached is not taken back: some
            100 kB for each request that is under way.
        within: a larger budget that this one is a part of.

    Attributes:
        requests: sent so far.
        body_bytes: read so far.
    """

    def __init__(
        self, requests: int = REQUESTS, body_bytes: int = BODY_BYTES, *, within: "Budget | None" = None
    ) -> None:
        self.requests = 0
        self.body_bytes = 0
        self._most_requests = requests
        self._most_bytes = body_bytes
        self._within = within

    @property
    def requests_left(self) -> int:
        """How many requests may still be sent."""
        own = self._most_requests - self.requests
        return own if self._within is None else min(own, self._within.requests_left)

    @property
    def bytes_left(self) -> int:
        """How many bytes of bodies may still be read."""
        own = max(0, self._most_bytes - self.body_bytes)
        return own if self._within is None else min(own, self._within.bytes_left)

    def send(self) -> None:
        """A request is about to be sent. Raises BudgetSpentError if it may not be."""
        if self.requests_left < 1:
            raise BudgetSpentError(f"not asked: all {self._most_requests} requests that may be sent have been sent")
        if self.bytes_left < 1:
            raise BudgetSpentError(f"not asked: all {self._most_bytes:,} bytes that may be read have been read")
        self._count(requests=1, body_bytes=0)

    def take(self, size_bytes: int) -> None:
        """So many bytes of a body came. Raises BudgetSpentError if they were more than were left."""
        left = self.bytes_left
        self._count(requests=0, body_bytes=size_bytes)
        if size_bytes > left:
            raise BudgetSpentError(f"not read to its end: more than {self._most_bytes:,} bytes in all")

    def _count(self, *, requests: int, body_bytes: int) -> None:
        self.requests += requests
        self.body_bytes += body_bytes
        if self._within is not None:
            self._within._count(requests=requests, body_bytes=body_bytes)  # noqa: SLF001 - one of its own kind
