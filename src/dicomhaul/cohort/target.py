"""What a TARGET word is, by its looks alone. Pure: who looks at the disk is handed in.

A UID does not say whether it names a study, a series or an instance; the index or QIDO has to find out.
"""

import enum
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import PurePath

from dicomhaul.cohort.names import shown
from dicomhaul.errors import CohortError
from dicomhaul.model import Query, is_uid

_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}\Z", re.IGNORECASE)
_COLLECTION = re.compile(r"\w[\w .+&-]*\Z")
_MANIFEST_SUFFIXES = frozenset({".csv", ".tsv", ".txt", ".s5cmd", ".tcia", ".manifest", ".list", ".lock"})


class Kind(enum.Enum):
    """What a TARGET word can be."""

    COLLECTION = enum.auto()
    UID = enum.auto()
    CRDC = enum.auto()
    MANIFEST = enum.auto()
    STDIN = enum.auto()


@dataclass(frozen=True, slots=True)
class Targets:
    """TARGET words by kind, in their order, each once."""

    collections: tuple[str, ...] = ()
    uids: tuple[str, ...] = ()
    crdc: tuple[str, ...] = ()
    manifests: tuple[str, ...] = ()  # paths
    stdin: bool = False


def is_crdc(text: str) -> bool:
    """Say whether `text` is a UUID, as IDC names revisions of series by (`crdc_series_uuid`)."""
    return _UUID.match(text) is not None


def recognise(word: str, is_file: Callable[[str], bool]) -> Kind:
    """Say what a TARGET word is. Raises CohortError if it can be nothing."""
    if word == "-":
        return Kind.STDIN
    if "." in word and is_uid(word):
        return Kind.UID
    if is_crdc(word):
        return Kind.CRDC
    if is_file(word) or PurePath(word).suffix.lower() in _MANIFEST_SUFFIXES or "/" in word or "\\" in word:
        return Kind.MANIFEST
    if _COLLECTION.match(word):
        return Kind.COLLECTION
    raise CohortError(
        f"{shown(word)} is no target: a target is an IDC collection id, a study, series or SOP Instance UID, "
        "a CRDC series UUID, a manifest file, or - for standard input"
    )


def sort_targets(words: Iterable[str], is_file: Callable[[str], bool]) -> Targets:
    """Sort TARGET words by kind. Raises CohortError."""
    found: dict[Kind, dict[str, None]] = {kind: {} for kind in Kind}
    for word in words:
        found[recognise(word, is_file)][word] = None
    return Targets(
        collections=tuple(found[Kind.COLLECTION]),
        uids=tuple(found[Kind.UID]),
        crdc=tuple(dict.fromkeys(word.lower() for word in found[Kind.CRDC])),
        manifests=tuple(found[Kind.MANIFEST]),
        stdin=bool(found[Kind.STDIN]),
    )


def refuse_idc_words(query: Query, collections: Iterable[str]) -> None:
    """Raise CohortError if only IDC's index can answer the query, which another source does not have."""
    for collection in collections:
        raise CohortError(f"{shown(collection)} is neither a UID nor a manifest file; collections exist on IDC only")
    idc_only = {
        "--collection": query.collection,
        "--crdc-series-uuid": query.crdc,
        "--where": query.where,
        "--sql": query.sql,
        "--idc-version": query.idc_version,
        "--license-allow": query.licenses_allowed,
    }
    for flag, value in idc_only.items():
        if value:
            raise CohortError(f"{flag} needs IDC's index; other sources are searched by --search KEY=VALUE")
