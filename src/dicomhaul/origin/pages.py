"""Pages of a search or of a bucket's listing, spoiled on purpose. Pure."""

import re
from collections.abc import Callable
from dataclasses import replace
from itertools import cycle, islice
from typing import Final

from dicomhaul.origin.catalog import Attributes, attribute
from dicomhaul.origin.faults import Pages
from dicomhaul.origin.listing import Wanted
from dicomhaul.origin.qido import SERIES_UID, SOP_UID, STUDY_UID, Page, Search

_ENDLESS_RESULTS: Final = 100  # of a page, where the search names no limit
_MADE_UP: Final = re.compile(r"(\d{20})\.dcm\Z")
_UID_TAGS: Final = {"study": STUDY_UID, "series": SERIES_UID, "instance": SOP_UID}


def spoilt_page(search: Search, fault: Pages, page_of: Callable[[Search], Page]) -> Page:
    """Return the results that are answered to `search`; `page_of` answers any search well."""
    match fault.wrong:
        case "cap":
            most = fault.most if search.limit is None else min(search.limit, fault.most)
            return page_of(replace(search, limit=most))
        case "shift":
            return page_of(replace(search, offset=max(0, search.offset - 1)))
        case "skip":
            return page_of(replace(search, offset=search.offset + 1))
        case "repeat":
            first = page_of(replace(search, offset=0))
            return _goes_on(list(islice(cycle(first.results), search.limit or len(first.results))))
        case "endless":
            sample = page_of(replace(search, offset=0, limit=1)).results
            count = _ENDLESS_RESULTS if search.limit is None else search.limit
            return _goes_on([_made_up(sample[0], search, search.offset + n) for n in range(count)] if sample else [])


def _goes_on(results: list[Attributes]) -> Page:
    return Page(results, 1 if results else 0)


def _made_up(sample: Attributes, search: Search, number: int) -> Attributes:
    return {**sample, _UID_TAGS[search.depth]: attribute("UI", f"2.25.{10**20 + number}")}


def spoilt_keys(wanted: Wanted, fault: Pages, keys_of: Callable[[Wanted], list[str]]) -> tuple[list[str], bool]:
    """Return the keys of a listing's page, and whether it says that more follow.

    `keys_of` returns the keys of any page, and one more where there is one.
    """
    match fault.wrong:
        case "cap":
            most = min(wanted.most, fault.most)
            keys = keys_of(wanted._replace(most=most))
        case "shift" if wanted.after:
            most, keys = wanted.most, [wanted.after, *keys_of(wanted)]
        case "skip":
            most, keys = wanted.most, keys_of(wanted._replace(most=wanted.most + 1))[1:]
        case "repeat":
            keys = list(islice(cycle(keys_of(wanted._replace(after=""))[: wanted.most]), wanted.most))
            return keys, bool(keys)
        case "endless":
            found = _MADE_UP.search(wanted.after)
            begin = int(found[1]) + 1 if found else 0
            return [f"{wanted.prefix}{begin + n:020d}.dcm" for n in range(wanted.most)], wanted.most > 0
        case _:
            most, keys = wanted.most, keys_of(wanted)
    return keys[:most], 0 < most < len(keys)
