"""QIDO-RS matching keys: which level each belongs to, how it is asked for, and whether a row really matches. Pure.

A server may ignore a key that it does not know, and then answers with everything. So rows are matched again here, as
far as DICOM's matching is plain (PS3.4 section C.2.2.2): UIDs, single values, wildcards, ranges of dates. Names of
persons, times and sequences are left to the server, whose rules for them differ.
"""

import enum
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from dicomhaul.cohort.dates import parse_date_range
from dicomhaul.cohort.names import shown, unknown_name
from dicomhaul.errors import CohortError
from dicomhaul.model import Query, is_identifier
from dicomhaul.wire.dicom_json import Attributes, values


class Level(enum.Enum):
    """What is searched."""

    STUDIES = "studies"
    SERIES = "series"
    INSTANCES = "instances"


# Keyword -> tag, VR: the attributes that archives can be searched by, at the level where PS3.3 puts them.
_STUDY_KEYS: Final = {
    "StudyDate": ("00080020", "DA"),
    "StudyTime": ("00080030", "TM"),
    "AccessionNumber": ("00080050", "SH"),
    "ModalitiesInStudy": ("00080061", "CS"),
    "SOPClassesInStudy": ("00080062", "UI"),
    "ReferringPhysicianName": ("00080090", "PN"),
    "StudyDescription": ("00081030", "LO"),
    "NameOfPhysiciansReadingStudy": ("00081060", "PN"),
    "AdmittingDiagnosesDescription": ("00081080", "LO"),
    "PatientName": ("00100010", "PN"),
    "PatientID": ("00100020", "LO"),
    "IssuerOfPatientID": ("00100021", "LO"),
    "PatientBirthDate": ("00100030", "DA"),
    "PatientSex": ("00100040", "CS"),
    "OtherPatientIDs": ("00101000", "LO"),
    "PatientAge": ("00101010", "AS"),
    "StudyInstanceUID": ("0020000D", "UI"),
    "StudyID": ("00200010", "SH"),
}
_SERIES_KEYS: Final = {
    "SeriesDate": ("00080021", "DA"),
    "SeriesTime": ("00080031", "TM"),
    "Modality": ("00080060", "CS"),
    "Manufacturer": ("00080070", "LO"),
    "InstitutionName": ("00080080", "LO"),
    "StationName": ("00081010", "SH"),
    "SeriesDescription": ("0008103E", "LO"),
    "InstitutionalDepartmentName": ("00081040", "LO"),
    "PerformingPhysicianName": ("00081050", "PN"),
    "OperatorsName": ("00081070", "PN"),
    "ManufacturerModelName": ("00081090", "LO"),
    "BodyPartExamined": ("00180015", "CS"),
    "DeviceSerialNumber": ("00181000", "LO"),
    "ProtocolName": ("00181030", "LO"),
    "PatientPosition": ("00185100", "CS"),
    "SeriesInstanceUID": ("0020000E", "UI"),
    "SeriesNumber": ("00200011", "IS"),
    "FrameOfReferenceUID": ("00200052", "UI"),
    "Laterality": ("00200060", "CS"),
    "PerformedProcedureStepStartDate": ("00400244", "DA"),
    "PerformedProcedureStepStartTime": ("00400245", "TM"),
    "PerformedProcedureStepID": ("00400253", "SH"),
    "PerformedProcedureStepDescription": ("00400254", "LO"),
    "RequestAttributesSequence": ("00400275", "SQ"),
}
_INSTANCE_KEYS: Final = {
    "ImageType": ("00080008", "CS"),
    "SOPClassUID": ("00080016", "UI"),
    "SOPInstanceUID": ("00080018", "UI"),
    "AcquisitionDate": ("00080022", "DA"),
    "ContentDate": ("00080023", "DA"),
    "AcquisitionTime": ("00080032", "TM"),
    "ContentTime": ("00080033", "TM"),
    "AvailableTransferSyntaxUID": ("00083002", "UI"),
    "AcquisitionNumber": ("00200012", "IS"),
    "InstanceNumber": ("00200013", "IS"),
    "NumberOfFrames": ("00280008", "IS"),
    "Rows": ("00280010", "US"),
    "Columns": ("00280011", "US"),
    "ConceptNameCodeSequence": ("0040A043", "SQ"),
    "CompletionFlag": ("0040A491", "CS"),
    "VerificationFlag": ("0040A493", "CS"),
}
_KNOWN: Final = {
    keyword: (tag, vr, level)
    for level, keys in (
        (Level.STUDIES, _STUDY_KEYS),
        (Level.SERIES, _SERIES_KEYS),
        (Level.INSTANCES, _INSTANCE_KEYS),
    )
    for keyword, (tag, vr) in keys.items()
}
_BY_TAG: Final = {tag: keyword for keyword, (tag, _, _) in _KNOWN.items()}

_PARAMETERS: Final = frozenset({"limit", "offset", "includefield", "fuzzymatching", "emptyvaluematching"})
_LEFT_TO_THE_SERVER: Final = frozenset({"PN", "TM", "SQ"})
_MOST_CHARS: Final = 1024  # of a value: a pattern with stars takes a power of it
_WILDCARD = re.compile(r"[*?]")
_DATES = re.compile(r"(\d{8})?(-)?(\d{8})?\Z")


@dataclass(frozen=True, slots=True)
class Key:
    """One attribute to match. Values are alternatives.

    `name` is what the query string calls it: a keyword or tag, with a path below it for an attribute of a sequence.
    `asked_for` says that the user wrote it, so that it is asked back for, to be checked.
    """

    name: str
    tag: str
    vr: str
    level: Level
    values: tuple[str, ...]
    asked_for: bool = False

    def matches(self, row: Attributes) -> bool | None:
        """Say whether a row matches; None if the row doesn't show the attribute and the server alone can tell."""
        if self.vr in _LEFT_TO_THE_SERVER:
            return True
        if self.tag not in row:
            return None
        found = values(row, self.tag)
        return any(_matches(self.vr, wanted, value) for wanted in self.values for value in found)


def _matches(vr: str, wanted: str, value: Any) -> bool:
    text = str(value)[:_MOST_CHARS].strip(" \0")
    if vr == "UI":
        return text == wanted
    if vr == "DA" and (dates := _DATES.match(wanted)) is not None:
        first, dash, last = dates.groups()
        return (first or "") <= text <= (last or ("99999999" if dash else first))
    if vr in {"IS", "US"}:
        return _number(text) == _number(wanted)
    # Archives differ in whether case counts: what passes here has passed the server.
    if _WILDCARD.search(wanted):
        pattern = re.escape(wanted.casefold()).replace(r"\*", ".*").replace(r"\?", ".")
        return re.fullmatch(pattern, text.casefold(), re.DOTALL) is not None
    return text.casefold() == wanted.casefold()


def _number(text: str) -> float | str:
    try:
        return float(text)
    except ValueError:
        return text


def parse_keys(query: Query, *, wildcards: bool) -> list[Key]:
    """Return the keys of a query's filters, those of UIDs excepted, which say where to look and not what matches.

    `wildcards` says whether the server can match them. Raises CohortError for a key or value that cannot be.
    """
    keys = [_parse_pair(pair) for pair in query.search]
    if query.patient:
        keys.append(_key("PatientID", query.patient))
    if query.study_date is not None:
        keys.append(_key("StudyDate", [parse_date_range(query.study_date).dicom()]))
    if query.modality:
        keys.append(_key("Modality", query.modality))
    if not wildcards:
        for key in keys:
            if key.vr not in {"UI", "DA", "SQ"} and any(map(_WILDCARD.search, key.values)):
                raise CohortError(f"{key.name}: this server cannot match wildcards (* and ?)")
    return keys


def _key(keyword: str, given: Iterable[str]) -> Key:
    tag, vr, level = _KNOWN[keyword]
    return Key(keyword, tag, vr, level, tuple(dict.fromkeys(given)))


def _parse_pair(pair: str) -> Key:
    name, equals, value = pair.partition("=")
    name, value = name.strip(), value.strip()
    if not equals or not name or not value:
        raise CohortError(f"--search {shown(name)}: what to search for is written KEY=VALUE")
    if name.lower() in _PARAMETERS:
        raise CohortError(f"--search {name}: is no attribute, and pages are read to the end by themselves")
    first = name.split(".")[0]
    keyword = _BY_TAG.get(first.upper(), first)
    if keyword not in _KNOWN:
        if re.fullmatch(r"[0-9A-Fa-f]{8}", first):
            raise CohortError(f"--search {name}: not one of the attributes that studies, series and instances have")
        raise CohortError(f"--search: {unknown_name('attribute to search by called', first, _KNOWN)}")
    tag, vr, level = _KNOWN[keyword]
    if vr == "UI":
        uids = tuple(dict.fromkeys(re.split(r"[,\\]", value)))
        for uid in uids:
            if not is_identifier(uid):
                raise CohortError(f"--search {keyword}: {shown(uid)} is not a UID")
        return Key(name, tag, vr, level, uids, asked_for=True)
    if vr == "DA":
        value = parse_date_range(value).dicom()
    return Key(name, tag, vr, level, (value,), asked_for=True)


def at(level: Level, keys: Iterable[Key]) -> list[Key]:
    """Return the keys of one level."""
    return [key for key in keys if key.level is level]


def parameters(keys: Sequence[Key]) -> list[tuple[str, str]]:
    """Return the query string for keys that have one value each; the others are left to `select`.

    Two keys of one attribute intersect, which a query string cannot say: the first is sent. What the user asked for is
    also asked back for: not every server returns what it has matched.
    """
    sent: dict[str, tuple[str, str]] = {}
    for key in keys:
        if len(key.values) == 1:
            sent.setdefault(key.tag, (key.name, key.values[0]))
    shown_again = dict.fromkeys(key.name for key in keys if key.asked_for)
    return [*sent.values(), *(("includefield", name) for name in shown_again)]


def alternatives(keys: Sequence[Key]) -> list[list[Key]]:
    """Spread keys with several values into searches with one value each: QIDO-RS has no "or"."""
    spread: list[list[Key]] = [[]]
    for key in keys:
        spread = [
            [*chosen, Key(key.name, key.tag, key.vr, key.level, (value,), key.asked_for)]
            for chosen in spread
            for value in key.values
        ]
    return spread


def select(
    rows: Sequence[Attributes],
    keys: Sequence[Key],
    level: Level,
    *,
    unsure: Callable[[Key, int], None] = lambda _key, _rows: None,
) -> list[Attributes]:
    """Return the rows of one page that match every key; tell `unsure` how many were left out as nobody can tell.

    Raises CohortError if no row shows an attribute at all: then nobody can tell whether the server has matched it.
    """
    kept = list(rows)
    for key in keys:
        verdicts = [key.matches(row) for row in kept]
        if kept and all(verdict is None for verdict in verdicts):
            raise CohortError(
                f"the server lists {level.value} without their {key.name}, so it may have ignored it in the search"
            )
        if hidden := verdicts.count(None):
            unsure(key, hidden)
        kept = [row for row, verdict in zip(kept, verdicts, strict=True) if verdict]
    return kept
