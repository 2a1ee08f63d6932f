"""The layout: a template that turns what is known of a series into a folder below the destination. Pure.

A template is `/`-separated; `{Name}` and idc-index's `%Name` stand for an attribute. Values come from servers, so
none is trusted: what could leave the destination, hide, collide after truncation, or offend a filesystem is rewritten,
and a rewritten value carries a short digest of the original, so that two different values never become one. A missing
value is `UNKNOWN`. The file in the folder is always `<SOP Instance UID>.dcm`.
"""

import hashlib
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from dicomhaul.errors import ConfigError

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
_REWRITTEN = re.compile(r"~[0-9a-f]{8}\Z")  # how a rewritten value ends; a value that looks like one is rewritten too
_FIELD = re.compile(r"\{(\w*)\}|%(" + "|".join(sorted(FIELDS, key=len, reverse=True)) + r")|(%\w*)")


def safe_value(value: str) -> str:
    """Return `value` as it may stand in a path component: unchanged if it is harmless.

    Harmless means printable, NFC, at most 100 bytes of UTF-8, without separators or characters that Windows refuses,
    neither beginning nor ending with a dot or a space, and not ending as a rewritten value does.
    """
    if _HARMLESS.match(value):  # nearly all there are, a million times over
        return value
    clean = _UNSAFE.sub("_", unicodedata.normalize("NFC", value))
    clean = "".join(ch for ch in clean if ch.isprintable()).strip(". ")
    raw = clean.encode("utf-8", "ignore")
    if clean == value and value and len(raw) <= _MAX_VALUE_BYTES and not _REWRITTEN.search(value):
        return value
    clean = raw[: _MAX_VALUE_BYTES - 9].decode("utf-8", "ignore")
    digest = hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{clean}~{digest}" if clean else f"_~{digest}"


@dataclass(frozen=True, slots=True)
class Layout:
    """A template, read and checked. `fields` are the attributes that `folder` takes, in that order."""

    template: str
    fields: tuple[str, ...]
    _components: tuple[tuple[str | int, ...], ...]  # each a list of literals and positions in `fields`

    def folder(self, values: Sequence[str | None]) -> str:
        """Return the folder for one series, relative, `/`-separated; `values` belong to `fields`."""
        safe = [safe_value(value) if value else MISSING for value in values]
        components = []
        for parts in self._components:
            text = "".join([part if isinstance(part, str) else safe[part] for part in parts])
            if _RESERVED.match(text):
                text = f"_{text}~{_digest(text)[:8]}"
            if len(text) * 4 > _MAX_COMPONENT_BYTES and len(text.encode()) > _MAX_COMPONENT_BYTES:
                text = f"{text.encode()[: _MAX_COMPONENT_BYTES - 17].decode('utf-8', 'ignore')}~{_digest(text)}"
            components.append(text)
        folder = "/".join(components)
        if len(folder) * 4 > _MAX_FOLDER_BYTES and len(folder.encode()) > _MAX_FOLDER_BYTES:
            kept = folder.encode()[:_MAX_FOLDER_BYTES].decode("utf-8", "ignore").rpartition("/")[0]
            folder = f"{kept}/{_digest(folder)}"
        return folder


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


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
    if "SeriesInstanceUID" not in fields:
        raise ConfigError("the layout must name {SeriesInstanceUID}: two series may hold the same SOP Instance UID")
    return Layout(template, tuple(fields), tuple(components))
