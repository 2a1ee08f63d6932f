"""Amounts, rates and times as people write them on a command line. Pure.

Sizes take rclone's suffixes: K, M, G, T, P are powers of 1,024, as are KiB, MiB, ...; KB, MB, GB, TB, PB are powers of
1,000. A bare number is bytes where an amount is meant, and KiB a second where a bandwidth is, as rclone has it.

What a timetable means at a moment is said here; which moment it is, is the caller's to know.
"""

import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from decimal import Decimal
from typing import Final, NamedTuple

from dicomhaul.errors import ConfigError

_DAY_MINUTES: Final = 24 * 60
_WEEKDAYS: Final = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
_NUMBER: Final = r"[0-9]{1,15}(?:\.[0-9]{0,9})?"
_AMOUNT: Final = re.compile(rf"({_NUMBER})\s*([kmgtp]?)(ib?|b?)", re.IGNORECASE)
_POWERS: Final = "kmgtp"
_SECONDS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_DURATION: Final = re.compile(rf"(?:{_NUMBER}\s*[dhms]\s*)+", re.IGNORECASE)
_DURATION_PART: Final = re.compile(rf"({_NUMBER})\s*([dhms])", re.IGNORECASE)
_SLOT: Final = re.compile(r"(?:([a-z]+)-)?([0-9]{1,2}):([0-9]{2}),(.+)", re.IGNORECASE)
_EXAMPLES: Final = 'say for example 10M (a second), off, "08:00,10M 19:00,off" or "Mon-08:00,512k Sat-00:00,off"'


class Slot(NamedTuple):
    """From one moment of the week on, a rate holds."""

    minute: int  # of the week, from Monday 00:00, local time
    bytes_per_s: int | None  # None: no limit


@dataclass(frozen=True, slots=True)
class Timetable:
    """Rates over a week, as `--bwlimit` names them; a single rate is a timetable with one slot. Sorted by minute."""

    slots: tuple[Slot, ...]

    def rate_at(self, minute: int) -> int | None:
        """Return the bytes a second that may pass at a minute of the week (Monday 00:00 is 0); None: no limit.

        The slot that began last holds; before the first of the week that is the last of the week before.
        """
        return self.slots[bisect_right(self.slots, minute, key=lambda slot: slot.minute) - 1].bytes_per_s


def parse_size(text: str) -> int:
    """Return a number of bytes: `500M`, `1.5TiB`, `20GB`, `1000`. Raises ConfigError."""
    size = _amount(text, bare=1)
    if not size:
        raise ConfigError(f"{text!r} is not a size: say for example 500M, 1.5T, 20GB, or a number of bytes above 0")
    return size


def parse_duration_s(text: str) -> float:
    """Return seconds: `90`, `90s`, `10m`, `1h30m`, `2d`. Raises ConfigError."""
    words = text.strip()
    seconds = Decimal(0)
    if re.fullmatch(_NUMBER, words):
        seconds = Decimal(words)
    elif _DURATION.fullmatch(words):
        seconds = sum(
            (Decimal(number) * _SECONDS[unit.lower()] for number, unit in _DURATION_PART.findall(words)), Decimal(0)
        )
    if not seconds:
        raise ConfigError(f"{text!r} is not a time: say for example 90s, 10m, 1h30m, 2d, or a number of seconds")
    return float(seconds)


def parse_timetable(text: str) -> Timetable:
    """Return what `--bwlimit` says: a rate such as `10M`, or a timetable such as `08:00,10M 19:00,off`.

    A slot of a timetable may begin with a weekday (`Mon-08:00,512k`); without one it holds for each day of the week.
    Times are local. `off`, or 0, is no limit.

    Raises ConfigError.
    """
    words = text.split()
    if len(words) == 1 and "," not in text:
        return Timetable((Slot(0, _rate(text)),))
    slots: dict[int, int | None] = {}
    for word in words:
        for slot in _slots(word):
            if slot.minute in slots:
                raise ConfigError(f"the timetable {text!r} names one moment twice, in {word!r}")
            slots[slot.minute] = slot.bytes_per_s
    if not slots:
        raise ConfigError(f"{text!r} is not a bandwidth: {_EXAMPLES}")
    return Timetable(tuple(Slot(minute, slots[minute]) for minute in sorted(slots)))


def _slots(word: str) -> list[Slot]:
    found = _SLOT.fullmatch(word)
    if found is None:
        raise ConfigError(f"{word!r} is no slot of a timetable: {_EXAMPLES}")
    weekday, hour, minute, rate = found.groups()
    if int(hour) > 23 or int(minute) > 59:
        raise ConfigError(f"{word!r} names no time of a day: {_EXAMPLES}")
    at = int(hour) * 60 + int(minute)
    days = range(len(_WEEKDAYS)) if weekday is None else (_weekday(weekday, word),)
    return [Slot(day * _DAY_MINUTES + at, _rate(rate)) for day in days]


def _weekday(name: str, word: str) -> int:
    """A weekday is written in full, or by its first three letters."""
    for day, weekday in enumerate(_WEEKDAYS):
        if name.lower() in {weekday, weekday[:3]}:
            return day
    raise ConfigError(f"{word!r} names no weekday: {_EXAMPLES}")


def _rate(text: str) -> int | None:
    """Bytes a second; None: no limit."""
    if text.lower() == "off":
        return None
    rate = _amount(text, bare=1024)
    if rate is None:
        raise ConfigError(f"{text!r} is not a bandwidth: {_EXAMPLES}")
    return rate or None


def _amount(text: str, *, bare: int) -> int | None:
    """Bytes, in units of `bare` where no unit is written; None: it is no amount."""
    found = _AMOUNT.fullmatch(text.strip())
    if found is None:
        return None
    number, prefix, unit = found.groups()
    if not prefix:
        if unit.lower().startswith("i"):
            return None
        factor = 1 if unit else bare
    else:
        base = 1000 if unit.lower() == "b" else 1024
        factor = base ** (_POWERS.index(prefix.lower()) + 1)
    return math.ceil(Decimal(number) * factor)
