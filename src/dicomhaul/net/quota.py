"""The daily allowance of one host, counted from 00:00 UTC: who may begin a request, and what is left.

**Budget.** The smallest of what the user allows, what the profile states, and what the host itself implies: its usage
page tells `bytes_used` and `fraction_used`, whose quotient is its limit once the fraction is above 0.

**Used.** The larger of our own count and of what the host counts, which knows of others behind our address. Our count
goes on from what a destination's ledger has of the day.

**Admission.** A request whose expected bytes would pass the budget waits while others are under way, which may bring
less than they said; if none is, the quota is used up until the next 00:00 UTC. What began under quota completes.

**Reading the usage page**, which costs nothing of the quota: before the first request of a day; again when a tenth of
what was left has come since (64 MiB where nobody knows what is left) or five minutes have passed, at most every ten
seconds; and once more before the quota is called used up. Where that fails, our own count has to do.
"""

import math
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple, TypeGuard

import anyio

from dicomhaul.errors import HaulError, Unsupported
from dicomhaul.net.verdict import next_midnight_s, quota_used_up
from dicomhaul.ports import Clock

USAGE_BYTES: Final = 4096  # more is no usage page
_DAY_S: Final = 86_400
_MOST_BYTES: Final = 1 << 60
_AGAIN_SHARE: Final = 0.1
_AGAIN_BYTES: Final = 64 << 20
_AGAIN_S: Final = 300.0
_AGAIN_AT_LEAST_S: Final = 10.0
_TURN_S: Final = 600.0  # so long after 00:00 UTC a host whose clock is behind may still tell of the day before
_SAVE_BYTES: Final = 16 << 20  # what a process that dies may forget, besides what was under way


class Usage(NamedTuple):
    """What a host says of its quota."""

    bytes_used: int
    limit_bytes: int | None  # None: it cannot be told yet
    day: str | None  # YYYY-MM-DD, of the host's own clock


Read = Callable[[], Awaitable[Usage]]


def parse_usage(answer: Any) -> Usage:
    """Read the JSON of a usage page: `bytes_used`, `fraction_used`, perhaps `date`.

    Raises Unsupported for anything else, however odd: it comes from a server.
    """
    if isinstance(answer, dict):
        used, fraction, day = (answer.get(key) for key in ("bytes_used", "fraction_used", "date"))
        if _is_amount(used, _MOST_BYTES) and _is_amount(fraction, 1e6):
            limit = used / fraction if fraction > 0 and used > 0 else math.inf
            return Usage(
                int(used),
                max(1, int(limit)) if limit <= _MOST_BYTES else None,
                day[:10] if isinstance(day, str) else None,
            )
    raise Unsupported("its usage page does not say bytes_used and fraction_used")


def _is_amount(value: Any, most: float) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= most


@dataclass(eq=False, slots=True)
class Ticket:
    """The right to one request, from `admit` to `release`."""

    size_bytes: int  # expected
    began_own: int  # our count when it was given


class Quota:
    """The quota of one host.

    Args:
        host: how messages call it.
        limit_bytes: what the user and the profile allow a day; None: what the host's usage page implies, if it does.
        clock: says which day it is.
        notice: told, once, that the usage page cannot be read.
    """

    def __init__(
        self, host: str, *, limit_bytes: int | None, clock: Clock, notice: Callable[[str], None] = lambda _: None
    ) -> None:
        self._host = host
        self._allowed = limit_bytes
        self._clock = clock
        self._notice = notice
        self._day, self._day_ends_at = _day_of(clock.now())
        self._own = 0  # bytes of this day
        self._implied: int | None = None  # the host's limit
        self._host_used = 0  # as it said last today
        self._own_then = 0  # our count that this included
        self._read_day: str | None = None
        self._read_at = float("-inf")
        self._read_own = 0
        self._read_busy = False  # something under way then had brought bytes: they may be counted twice since
        self._readings = 0
        self._read_left: int | None = None
        self._complained = False
        self._reading = anyio.Lock()
        self._tickets: set[Ticket] = set()
        self._released = anyio.Event()
        self._unsaved: dict[str, int] = {}
        self._places: set[str] = set()
        self._save: Callable[[str, int], None] | None = None

    # -- what is left -------------------------------------------------------------------------------------------------

    @property
    def limit_bytes(self) -> int | None:
        """The budget of a day; None: nobody has said."""
        limits = [limit for limit in (self._allowed, self._implied) if limit is not None]
        return min(limits, default=None)

    @property
    def used_bytes(self) -> int:
        """What of it is used today."""
        self._turn_day()
        return max(self._own, self._host_used + self._own - self._own_then)

    @property
    def left_bytes(self) -> int | None:
        """What is left of it today; None: nobody has said what it is."""
        limit = self.limit_bytes
        return None if limit is None else max(0, limit - self.used_bytes)

    # -- who may begin ------------------------------------------------------------------------------------------------

    async def admit(self, size_bytes: int | None, read: Read | None) -> Ticket:
        """Wait until a request may begin whose answer is expected to have so many bytes (None: nobody knows).

        Args:
            size_bytes: what it may bring.
            read: asks the host's usage page; None: it has none.

        Raises:
            QuotaExhausted: not before 00:00 UTC.
            Unsupported: the answer alone is larger than the budget of a day.
        """
        size = max(1, size_bytes or 0)
        certain = read is None
        while True:
            if read is not None and self._is_due():
                await self._ask(read)
            if self._fits(size):
                break
            limit = self.limit_bytes
            if limit is not None and size > limit:
                raise Unsupported(
                    f"{self._host}: an answer of {size:,} bytes is more than the quota of a day, {limit:,} bytes"
                )
            if self._tickets:
                await self._released.wait()
            elif read is not None and not certain:
                certain = True
                if self._own != self._read_own or self._read_busy or self._read_day != self._day:
                    await self._ask(read)
            else:
                raise quota_used_up(
                    f"{self._host}: {self.used_bytes:,} of {limit:,} bytes a day are used, the next answer may have "
                    f"{size:,}",
                    self._clock.now(),
                )
        ticket = Ticket(size, self._own)
        self._tickets.add(ticket)
        return ticket

    def release(self, ticket: Ticket) -> None:
        """The request has ended, well or not."""
        self._tickets.discard(ticket)
        released, self._released = self._released, anyio.Event()
        released.set()
        if sum(self._unsaved.values()) >= _SAVE_BYTES:
            self._put_away()

    def came(self, size_bytes: int) -> None:
        """So many bytes of a body came that the host counts."""
        self._turn_day()
        self._own += size_bytes
        self._unsaved[self._day] = self._unsaved.get(self._day, 0) + size_bytes

    def _fits(self, size: int) -> bool:
        left = self.left_bytes
        return left is None or size + sum(ticket.size_bytes for ticket in self._tickets) <= left

    # -- what the host says -------------------------------------------------------------------------------------------

    def _is_due(self) -> bool:
        self._turn_day()
        since_s = self._clock.monotonic() - self._read_at
        if since_s < _AGAIN_AT_LEAST_S:
            return False
        if self._reading.locked():  # somebody asks; only the first of the day is waited for
            return self._read_day != self._day
        enough = _AGAIN_BYTES if self._read_left is None else self._read_left * _AGAIN_SHARE
        return self._read_day != self._day or since_s >= _AGAIN_S or self._own - self._read_own > enough

    async def _ask(self, read: Read) -> None:
        readings = self._readings
        async with self._reading:
            if self._readings != readings:  # somebody else has just done so
                return
            oldest_own = min((ticket.began_own for ticket in self._tickets), default=self._own)
            own, day = self._own, self._day
            try:
                usage = await read()
            except HaulError as error:
                if not self._complained:
                    self._complained = True
                    self._notice(f"{self._host}: the quota that is left cannot be read: {error}")
                usage = None
            self._readings += 1
            self._read_at = self._clock.monotonic()
            self._turn_day()
            if day != self._day or (usage is not None and self._is_of_yesterday(usage)):
                return
            self._read_day, self._read_own, self._read_busy = day, own, oldest_own < own
            if usage is not None:
                # What was under way is in the host's count only once it has ended: count it from its beginning on.
                self._host_used, self._own_then = usage.bytes_used, oldest_own
                self._implied = self._implied if usage.limit_bytes is None else usage.limit_bytes
            self._read_left = self.left_bytes

    def _is_of_yesterday(self, usage: Usage) -> bool:
        """A host that is late turns its day after we do: what it says until then would cost us a whole day."""
        return usage.day is not None and usage.day < self._day and self._clock.now() % _DAY_S < _TURN_S

    # -- days, and where they are kept --------------------------------------------------------------------------------

    @contextmanager
    def kept(self, place: str, *, load: Callable[[str], int], save: Callable[[str, int], None]) -> Iterator[None]:
        """Count on from what `place` has of this day (YYYY-MM-DD -> bytes), and add there what comes, by day."""
        self._turn_day()
        if place not in self._places:  # else what it has is what we have put there
            self._places.add(place)
            before = load(self._day)
            self._own += before
            self._own_then += before
            self._read_own += before
        self._save = save
        try:
            yield
        finally:
            self._put_away()
            self._save = None

    def _put_away(self) -> None:
        if self._save is not None:
            for day, size_bytes in self._unsaved.items():
                self._save(day, size_bytes)
            self._unsaved.clear()

    def _turn_day(self) -> None:
        if self._clock.now() >= self._day_ends_at:
            self._day, self._day_ends_at = _day_of(self._clock.now())
            self._own = self._host_used = self._own_then = self._read_own = 0
            self._read_left = None
            self._read_at = float("-inf")
            for ticket in self._tickets:
                ticket.began_own = 0


def _day_of(now_s: float) -> tuple[str, float]:
    """The day (UTC) as YYYY-MM-DD, and when it ends."""
    return datetime.fromtimestamp(now_s, UTC).date().isoformat(), next_midnight_s(now_s)
