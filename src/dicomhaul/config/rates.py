"""Amounts, rates and times as people write them on a command line. Pure.

Sizes take rclone's suffixes: K, M, G, T are powers of 1,024, as are KiB, MiB, ...; KB, MB, GB, TB are powers of 1,000.
"""

from dataclasses import dataclass
from typing import NamedTuple


class Slot(NamedTuple):
    """From one moment of the week on, a rate holds."""

    minute: int  # of the week, from Monday 00:00, local time
    bytes_per_s: int | None  # None: no limit


@dataclass(frozen=True, slots=True)
class Timetable:
    """Rates over a week, as `--bwlimit` names them; a single rate is a timetable with one slot. Sorted by minute."""

    slots: tuple[Slot, ...]


def parse_size(text: str) -> int:
    """Return a number of bytes: `500M`, `1.5TiB`, `20GB`, `1000`. Raises ConfigError."""
    raise NotImplementedError


def parse_duration_s(text: str) -> float:
    """Return seconds: `90`, `90s`, `10m`, `1h30m`, `2d`. Raises ConfigError."""
    raise NotImplementedError


def parse_timetable(text: str) -> Timetable:
    """Return what `--bwlimit` says: a rate such as `10M`, or a timetable such as `08:00,10M 19:00,off`.

    Raises ConfigError.
    """
    raise NotImplementedError
