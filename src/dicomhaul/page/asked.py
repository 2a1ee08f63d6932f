"""A query in words for a page that others read: no patient, no UID, no text of anybody's SQL. Pure.

What identifies somebody, or might, is counted instead of named; literals of SQL are left out, its columns are not.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath
from typing import Final

from dicomhaul.model import Query, is_uid

_SHOWN: Final = 12
_MOST_CHARS: Final = 300
_PLAIN_KEYS: Final = frozenset(  # of a search: what is said of many patients
    {"StudyDate", "StudyTime", "SeriesDate", "Modality", "ModalitiesInStudy", "BodyPartExamined", "SOPClassesInStudy",
     "00080020", "00080021", "00080030", "00080060", "00080061", "00080062", "00180015"}
)  # fmt: skip
_UUID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\Z", re.IGNORECASE)
_LITERAL: Final = re.compile(r"'(?:[^']|'')*'|\b\d[\d.]*\b|\"(?:[^\"]|\"\")*\"|--[^\n]*|/\*.*?\*/", re.DOTALL)
_NAMES: Final = (
    ("patient", "patients"),
    ("study", "studies"),
    ("series", "series"),
    ("instance", "instances"),
    ("crdc", "series revisions"),
)


def asked_words(query: Query) -> list[tuple[str, str]]:
    """Return what was asked for: (what, value)."""
    shard = query.shard
    said = [
        ("everything", "all that the source has" if query.everything else None),
        *_targets(query),
        ("manifest", None if query.manifest is None else "from standard input or memory"),
        ("collection", _listed(query.collection)),
        ("modality", _listed(query.modality)),
        *((what, _counted(getattr(query, name))) for name, what in _NAMES),
        ("study date", query.study_date),
        ("where", masked_sql(query.where or "")),
        ("SQL", masked_sql(query.sql or "")),
        ("search", _listed([_search(pair) for pair in query.search])),
        ("at most", None if query.limit_series is None else f"{query.limit_series:,} series"),
        ("IDC release", None if query.idc_version is None else str(query.idc_version)),
        ("licences allowed", _listed(query.licenses_allowed)),
        ("shard", None if shard is None else f"{shard.number} of {shard.of}"),
    ]
    return [(what, value) for what, value in said if value]


def masked_sql(text: str) -> str:
    """Return a statement without its literals, comments and quoted names: any of them may name somebody."""
    masked = _LITERAL.sub("…", text)
    if "'" in masked or '"' in masked:  # what is not closed is not told apart
        return "…"
    return _clipped(" ".join(masked.split()))


def masked_uids(text: str) -> str:
    """Return a reason without UIDs, so that the same reason of many instances is one."""
    return re.sub(r"(?<![\w.])\d+(?:\.\d+){3,}", "…", text)


def _targets(query: Query) -> list[tuple[str, str | None]]:
    named = tuple(word for word in query.targets if is_uid(word) or _UUID.match(word))
    others = [PurePath(word).name for word in query.targets if word not in named]
    return [("target", _listed(others)), ("UIDs", _counted(named))]


def _counted(values: Sequence[str]) -> str | None:
    return f"{len(values):,} named" if values else None


def _search(pair: str) -> str:
    key, _, value = pair.partition("=")
    return f"{key}={value if key in _PLAIN_KEYS else '…'}"


def _listed(values: Sequence[str]) -> str:
    more = f" and {len(values) - _SHOWN:,} more" if len(values) > _SHOWN else ""
    return _clipped(", ".join(values[:_SHOWN])) + more


def _clipped(text: str) -> str:
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]}…"
