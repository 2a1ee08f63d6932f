"""Numbers for people: sizes, counts, durations, rates. Pure; time is handed in."""

from collections import deque
from typing import Final

_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_WINDOW_S: Final = 15.0


def size(count: float) -> str:
    """Bytes in powers of 1000, with three digits: `246 MB`, `1.05 GB`."""
    value, step = float(count), 0
    while value >= 999.5 and step < len(_UNITS) - 1:
        value, step = value / 1000, step + 1
    digits = 0 if step == 0 or value >= 99.95 else 1 if value >= 9.995 else 2
    return f"{value:.{digits}f} {_UNITS[step]}"


def duration(seconds: float) -> str:
    """`42 s`, `3 min 05 s`, `2 h 07 min`, `3 d 04 h`."""
    whole = max(0, round(seconds))
    if whole < 60:
        return f"{whole} s"
    if whole < 3_600:
        return f"{whole // 60} min {whole % 60:02} s"
    if whole < 86_400:
        return f"{whole // 3_600} h {whole % 3_600 // 60:02} min"
    return f"{whole // 86_400} d {whole % 86_400 // 3_600:02} h"


class Speed:
    """How fast a running total grows, over the last quarter of a minute."""

    def __init__(self) -> None:
        self._samples: deque[tuple[float, int]] = deque()

    def add(self, now_s: float, total: int) -> None:
        """Note the total; `now_s` never runs backwards."""
        self._samples.append((now_s, total))
        while len(self._samples) > 2 and self._samples[1][0] <= now_s - _WINDOW_S:
            self._samples.popleft()

    @property
    def per_s(self) -> float | None:
        """Growth a second; None before there are two samples."""
        if len(self._samples) < 2:
            return None
        (first_s, first), (last_s, last) = self._samples[0], self._samples[-1]
        return (last - first) / (last_s - first_s) if last_s > first_s else None

    def left_s(self, wanted: int | None) -> float | None:
        """Seconds until the total reaches `wanted`; None if nobody can say."""
        rate = self.per_s
        if not rate or wanted is None or not self._samples:
            return None
        return max(0, wanted - self._samples[-1][1]) / rate
