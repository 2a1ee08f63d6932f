"""A search of recent studies, where a server has no feed: the cohort's own, narrowed by the study date. Pure.

It finds what is new by its *date*. A study that is old and was stored today, and whatever was removed, is found when
the whole cohort is compared the next time. What was stored anew under its UID no search tells.
"""

import datetime as dt
from dataclasses import replace
from typing import Final

from dicomhaul.cohort.dates import DateRange, parse_date_range
from dicomhaul.model import Query

WARNING: Final = (
    "this server tells no changes: studies of the last {days} days are searched for what was added; what was added to "
    "older ones, and what was removed, is found every {reconcile}, when everything is compared (--reconcile, "
    "--look-back); {unseen} is not found"
)
UNSEEN: Final = "what was stored anew under its UID"
UNSEEN_BY_COUNTS: Final = f"{UNSEEN}, or as many instances removed of a series as were added to it (--inventories),"


def narrowed(query: Query, today: dt.date, days: int) -> Query | None:
    """Return what of a cohort lies in the last `days` days before `today`, or later; None where nothing can.

    Raises CohortError for a range of dates that is none.
    """
    since = today - dt.timedelta(days=min(days, (today - dt.date.min).days))
    asked = DateRange(None, None) if query.study_date is None else parse_date_range(query.study_date)
    if asked.last is not None and asked.last < since:
        return None
    first = since if asked.first is None else max(since, asked.first)
    return replace(query, study_date=DateRange(first, asked.last).dicom())
