"""When a job is due: a cron expression on the wall clock of a time zone, as moments that never go back. Pure.

* An expression has five fields: minute, hour, day of month, month, day of week.
* Wall time that does not exist (the clock is put forward) means the moment of the change; what fell into the gap at
  several times is one moment. Wall time that exists twice (the clock is put back) means the first of the two.
* Jitter delays a moment by the same time wherever and whenever it is computed: a digest of the job's name and of the
  moment says how long. It never reaches the next moment.

Moments are seconds since the epoch, UTC.
"""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from dicomhaul.errors import ConfigError

_FIELDS: Final = 5
_BY_CHANCE: Final = re.compile(r"(?:^|[\s,])[hr](?:[\s,(/]|$)", re.IGNORECASE)  # another moment after each restart
_MOST_COUNTED: Final = 100


@dataclass(frozen=True, slots=True)
class Schedule:
    """The moments at which a job begins. Made by `schedule_of`.

    Attributes:
        cron: the expression.
        zone: on whose wall clock.
        jitter_s: a moment is delayed by less than that.
    """

    cron: str
    zone: ZoneInfo
    jitter_s: float = 0.0

    def next_slot(self, after: float) -> float:
        """Return the first moment after `after`, without jitter."""
        times = croniter(self.cron, self._wall(after))
        while (moment := self._moment(times.get_next(datetime))) <= after:
            pass  # in the hour that comes twice, these were in the first of the two
        return moment

    def last_slot(self, until: float) -> float:
        """Return the last moment that is not after `until`, without jitter."""
        local = datetime.fromtimestamp(until, self.zone)
        again = _offset(local.replace(fold=0)) - _offset(local)  # before the hour that comes twice has ended again
        start = local.replace(tzinfo=None, fold=0) + again
        times = croniter(self.cron, start.replace(microsecond=0) + timedelta(seconds=1))
        while (moment := self._moment(times.get_prev(datetime))) > until:
            pass
        return moment

    def due_at(self, slot: float, name: str) -> float:
        """Return when the run of a moment begins: later by its jitter, and before the next one."""
        if not self.jitter_s:
            return slot
        digest = hashlib.sha256(f"{name}\0{slot:.0f}".encode()).digest()
        share = int.from_bytes(digest[:6]) / 2**48
        return slot + share * min(self.jitter_s, self.next_slot(slot) - slot)

    def last_due(self, now: float, name: str) -> float:
        """Return the last moment whose run is due by now."""
        slot = self.last_slot(now)
        return slot if self.due_at(slot, name) <= now else self.last_slot(slot - 1.0)

    def next_due(self, now: float, name: str) -> float:
        """Return when, after now, a run is due."""
        due = self.due_at(self.last_slot(now), name)
        return due if due > now else self.due_at(self.next_slot(now), name)

    def count(self, after: float, until: float) -> int:
        """Count the moments after `after` that are not after `until`; a hundred means as many or more."""
        found = 0
        while found < _MOST_COUNTED and (after := self.next_slot(after)) <= until:
            found += 1
        return found

    def _wall(self, moment: float) -> datetime:
        return datetime.fromtimestamp(moment, self.zone).replace(tzinfo=None, fold=0)

    def _moment(self, wall: datetime) -> float:
        """Return when a wall clock shows this: never earlier for a later time."""
        first = wall.replace(tzinfo=self.zone)
        there, back = first.timestamp(), first.replace(fold=1).timestamp()
        if back >= there:  # it exists, once or twice
            return there
        low, high = int(back), int(there)  # the clock is put forward after `low`, by `high`
        before = _offset(datetime.fromtimestamp(low, self.zone))
        while high - low > 1:
            middle = (low + high) // 2
            if _offset(datetime.fromtimestamp(middle, self.zone)) == before:
                low = middle
            else:
                high = middle
        return float(high)


def checked_cron(text: str) -> str:
    """Return a cron expression as it is. Raises ConfigError for one that makes no sense or never comes."""
    if len(text.split()) != _FIELDS or _BY_CHANCE.search(text):
        raise ConfigError(
            f"{text!r} is no cron expression: five fields (minute, hour, day of month, month, day of week), without R "
            'and H, such as "30 2 * * *", each night at 02:30'
        )
    try:
        croniter(text, datetime(2000, 1, 1, tzinfo=UTC).replace(tzinfo=None)).get_next(datetime)
    except (CroniterError, ValueError, KeyError) as error:
        raise ConfigError(f"{text!r} is no time that ever comes: {error}") from None
    return text


def checked_zone(text: str) -> str:
    """Return the name of a time zone as it is. Raises ConfigError for one that this machine does not know."""
    try:
        ZoneInfo(text)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # a folder of the database, or a path that leads out of it
        raise ConfigError(f"{text!r} is no time zone of this machine: say for example Europe/Berlin, or UTC") from None
    return text


def schedule_of(cron: str, timezone: str = "UTC", jitter_s: float = 0.0) -> Schedule:
    """Return the schedule that these words mean. Raises ConfigError as `checked_cron` and `checked_zone`."""
    return Schedule(checked_cron(cron), ZoneInfo(checked_zone(timezone)), jitter_s)


def _offset(moment: datetime) -> timedelta:
    return moment.utcoffset() or timedelta()
