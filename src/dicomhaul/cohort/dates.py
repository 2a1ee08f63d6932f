"""The range of study dates that `--study-date` asks for. Pure."""

import datetime as dt
import re
from typing import NamedTuple

from dicomhaul.cohort.names import shown
from dicomhaul.errors import CohortError

_DAY = r"\d{4}-\d{2}-\d{2}|\d{8}"
_RANGE = re.compile(rf"\s*(?:(?P<only>{_DAY})|(?P<first>{_DAY})?\s*-\s*(?P<last>{_DAY})?)\s*\Z", re.ASCII)


class DateRange(NamedTuple):
    """Both days are in it; None leaves that side open, and one of them is always there."""

    first: dt.date | None
    last: dt.date | None

    def dicom(self) -> str:
        """As QIDO-RS and DICOM range matching write it: `20200101-20201231` (PS3.4 section C.2.2.2.5)."""
        if self.first == self.last and self.first is not None:
            return f"{self.first:%Y%m%d}"
        first, last = (f"{day:%Y%m%d}" if day else "" for day in self)
        return f"{first}-{last}"


def parse_date_range(text: str) -> DateRange:
    """Read `A-B`, `A-`, `-B` or `A`, each day as YYYYMMDD or YYYY-MM-DD. Raises CohortError."""
    match = _RANGE.match(text)
    if match is None or not any(match.groups()):
        raise CohortError(
            f"--study-date {shown(text)} is not A-B, A-, -B or A, with days written as YYYYMMDD or YYYY-MM-DD"
        )
    only = match["only"]
    first, last = _day(only or match["first"]), _day(only or match["last"])
    if first and last and first > last:
        raise CohortError(f"--study-date {shown(text)} ends before it begins")
    return DateRange(first, last)


def _day(text: str | None) -> dt.date | None:
    if text is None:
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise CohortError(f"--study-date: {text} is not a day of the calendar") from None
