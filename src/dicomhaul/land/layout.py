"""The layout: a template that turns what is known of a series into a folder below the destination. Pure.

A template is `/`-separated; `{Name}` and idc-index's `%Name` stand for an attribute. Values come from servers, so
none is trusted: what could leave the destination, hide, collide after truncation, or offend a filesystem is rewritten,
and a rewritten value carries a short digest of the original, so that two different values never become one. A missing
value is `UNKNOWN`. The file in the folder is always `<SOP Instance UID>.dcm`.

Two series never share a folder, and two instances never a file, whatever their UIDs are and whether or not the
filesystem tells capitals from small letters: see `apart`, and the digest that a Series Instance UID gets where the text
around it could be taken for a part of it. Patients whose identifiers differ in case alone share a folder on a
filesystem that does not tell them apart, which loses nothing. (That one series stands under two studies, and the
template does not name the study, shows only in the whole cohort: `record.merge`.)
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from dicomhaul.errors import ConfigError
from dicomhaul.model import is_uid

IDC_LAYOUT = "{collection_id}/{PatientID}/{StudyInstanceUID}/{Modality}_{SeriesInstanceUID}"
PLAIN_LAYOUT = "{StudyInstanceUID}/{SeriesInstanceUID}"
MISSING = "UNKNOWN"

# What a template may name: columns of the IDC index. Off IDC only the first five are known.
FIELDS = (
    "collection_id",
    "PatientID",
    "StudyInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "StudyDate",
    "StudyDescription",
    "SeriesDate",
    "SeriesDescription",
    "SeriesNumber",
    "BodyPartExamined",
    "Manufacturer",
    "ManufacturerModelName",
    "PatientAge",
    "PatientSex",
    "analysis_result_id",
    "crdc_series_uuid",
)
BASE_FIELDS = FIELDS[:5]

_MAX_VALUE_BYTES = 100  # several may share a component, which ext4, APFS and NTFS limit to 255
_MAX_COMPONENT_BYTES = 255
_MAX_FOLDER_BYTES = 800
_UNSAFE = re.compile(r'[\x00-\x1f\x7f/\\:*?"<>|{}%]+')
_HARMLESS = re.compile(r"[0-9A-Za-z_](?:[0-9A-Za-z._ -]{0,98}[0-9A-Za-z_-])?\Z")
# Windows reserves these with any extension.
_RESERVED = re.compile(
    r"(?:con|prn|aux|nul|conin\$|conout\$|(?:com|lpt)[0-9\xb9\xb2\xb3]|\.dicomhaul|index\.parquet) *(?:\..*)?\Z",
    re.IGNORECASE,
)
# What FAT and NTFS call another name by, too: DICOMH~1 is .dicomhaul there.
_SHORT_NAME = re.compile(r"[^.~]{1,6}~[0-9]{1,6}(?:\.[^.]{0,3})?\Z")
_SERIES = "SeriesInstanceUID"
_UIDS = frozenset({"StudyInstanceUID", _SERIES, "crdc_series_uuid"})
_OF_UID = frozenset("0123456789.")
_REWRITTEN = re.compile(r"~[0-9a-f]{8}\Z")  # how a rewritten value ends; a value that looks like one is rewritten too
_FIELD = re.compile(r"\{(\w*)\}|%(" + "|".join(sorted(FIELDS, key=len, reverse=True)) + r")|(%\w*)")


def safe_value(value: str) -> str:
    """Return `value` as it may stand in a path component: unchanged if it is harmless.

    Harmless means printable, NFC, at most 100 bytes of UTF-8, without separators or characters that Windows refuses,
    neither beginning nor ending with a dot or a space, and not ending as a rewritten value does.
    """
    if _HARMLESS.match(value):  # nearly all there are, a million times over
        return value
    clean = "".join(ch for ch in _UNSAFE.sub("_", value) if ch.isprintable())
    clean = unicodedata.normalize("NFC", clean).strip(". ")
    raw = clean.encode("utf-8", "ignore")
    if clean == value and value and len(raw) <= _MAX_VALUE_BYTES and not _REWRITTEN.search(value):
        return value
    clean = raw[: _MAX_VALUE_BYTES - 9].decode("utf-8", "ignore")
    digest = _digest(value)[:8]
    return f"{clean}~{digest}" if clean else f"_~{digest}"


def apart(name: str) -> str:
    """Return an identifier (`model.is_identifier`) as it may name a file on any filesystem.

    Where case does not count it is still told from every other: one with capitals says at its end which of its
    characters they are, bit by bit. Real UIDs have none. What Windows reserves begins with an underscore, as no
    identifier does.
    """
    if name != name.lower():
        capitals = sum(1 << at for at, char in enumerate(name) if char.isupper())
        name = f"{name}~{capitals:08x}"  # too long for a short name
    return f"_{name}" if _RESERVED.match(name) else name


@dataclass(frozen=True, slots=True)
class Layout:
    """A template, read and checked. `fields` are the attributes that `folder` takes, in that order."""

    template: str
    fields: tuple[str, ...]
    _components: tuple[tuple[str | int, ...], ...]  # each a list of literals and positions in `fields`
    _uids: tuple[int, ...]  # positions of those that are UIDs
    _series: int  # the position of the Series Instance UID
    _stands: Literal["alone", "at an edge", "between"]  # how clearly it is told from what stands around it

    def folder(self, values: Sequence[str | None]) -> str:
        """Return the folder for one series, relative, `/`-separated; `values` belong to `fields`."""
        safe = [safe_value(value) if value else MISSING for value in values]
        for at in self._uids:
            safe[at] = apart(safe[at])
        series = values[self._series] or ""
        if self._stands == "between" or (self._stands == "at an edge" and not is_uid(series)):
            safe[self._series] += f"~{_digest(series)}"
        components = []
        for parts in self._components:
            text = "".join([part if isinstance(part, str) else safe[part] for part in parts])
            if _RESERVED.match(text):
                text = f"_{text}~{_digest(text)[:8]}"
            elif "~" in text and _SHORT_NAME.match(text):
                text = f"{text}~{_digest(text)[:8]}"
            if len(text) * 4 > _MAX_COMPONENT_BYTES and len(text.encode()) > _MAX_COMPONENT_BYTES:
                text = f"{text.encode()[: _MAX_COMPONENT_BYTES - 17].decode('utf-8', 'ignore')}~{_digest(text)}"
            components.append(text)
        folder = "/".join(components)
        if len(folder) * 4 > _MAX_FOLDER_BYTES and len(folder.encode()) > _MAX_FOLDER_BYTES:
            kept = folder.encode()[:_MAX_FOLDER_BYTES].decode("utf-8", "ignore").rpartition("/")[0]
            folder = f"{kept}/{_digest(folder)}"
        return folder


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def parse_layout(template: str) -> Layout:
    """Read a template.

    Raises:
        ConfigError: an unknown name, an absolute path, an empty or dotted component, or no `SeriesInstanceUID`
            (two series may hold the same SOP Instance UID, and would overwrite each other).
    """
    fields: list[str] = []
    components: list[tuple[str | int, ...]] = []
    for text in template.strip("/").split("/"):
        parts: list[str | int] = []
        at = 0
        for match in _FIELD.finditer(text):
            name = match[1] or match[2]
            if name not in FIELDS:
                raise ConfigError(f"the layout names {match[0]!r}; it may name: {', '.join(FIELDS)}")
            parts.append(text[at : match.start()])
            if name not in fields:
                fields.append(name)
            parts.append(fields.index(name))
            at = match.end()
        parts.append(text[at:])
        kept = tuple(part for part in parts if part != "")
        literal = "".join(part for part in kept if isinstance(part, str))
        edges = str(kept[0])[:1] + str(kept[-1])[-1:] if kept else "."
        if _UNSAFE.search(literal) or not literal.isprintable() or set(edges) & {".", " "}:
            raise ConfigError(f"the layout {template!r} has a component that cannot be a folder: {text!r}")
        components.append(kept)
    if template.startswith("/"):
        raise ConfigError(f"the layout {template!r} must be relative to the destination")
    if _SERIES not in fields:
        raise ConfigError("the layout must name {SeriesInstanceUID}: two series may hold the same SOP Instance UID")
    series = fields.index(_SERIES)
    uids = tuple(at for at, name in enumerate(fields) if name in _UIDS)
    return Layout(template, tuple(fields), tuple(components), uids, series, _place_of(series, components))


def _place_of(series: int, components: Sequence[tuple[str | int, ...]]) -> Literal["alone", "at an edge", "between"]:
    """Say how clearly a UID is told from the text around it, in the component where that is clearest."""
    if (series,) in components:
        return "alone"
    for parts in components:
        if parts[0] == series and isinstance(parts[1], str) and parts[1][0] not in _OF_UID:
            return "at an edge"
        if parts[-1] == series and isinstance(parts[-2], str) and parts[-2][-1] not in _OF_UID:
            return "at an edge"
    return "between"
