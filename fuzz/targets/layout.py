"""The layout of a destination: `land.layout`, and what may name a file (`model.is_identifier`).

An input is the plan of a template and of the values of two series; its bytes stand in both.

* A template is refused with ConfigError, in one line, or every folder that it gives is harmless: below the
  destination, each component such that ext4, APFS and NTFS take it, none of them dicomhaul's own.
* Two values that differ stay two, also where one of them is what the other becomes.
* Of two series whose Series Instance UIDs differ each has a folder of its own, whatever stands around the UID and
  whether or not the filesystem tells capitals from small letters; so has each of two instances a name.
"""

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

from dicomhaul.errors import ConfigError
from dicomhaul.land.layout import FIELDS, IDC_LAYOUT, MISSING, PLAIN_LAYOUT, Layout, apart, parse_layout, safe_value
from dicomhaul.model import is_identifier
from fuzz.script import Script
from fuzz.target import Target

_MOST_FOLDER_BYTES = 900
_OWN = frozenset({".dicomhaul", "index.parquet"})
_NASTY = (
    *("..", ".", "../../etc/passwd", "/etc/passwd", "C:\\Windows", "a\0b", "a\nb", " ", "~", "con", "NUL.txt"),
    *("aux", ".dicomhaul", ".DICOMHAUL", "index.parquet", "Index.Parquet.x", "\ud800", "\u202egnp", "e\u0301"),
    *("x" * 300, "\xe4" * 200, "%PatientID", "{PatientID}", "a_b~12345678", "a/b", "UNKNOWN", "\uff0e\uff0e"),
    *("\u2024\u2024", "COM\xb9", "\ufb01", "K\u212a", "\u1e9e", "a.", "a ", "a...", "\u200b", "\ufeff", "com1"),
    *("lpt9.txt", "conin$", "CLOCK$"),
)  # fmt: skip
_MISSING = frozenset({"", MISSING})
_PATIENTS = parse_layout("{PatientID}/{SeriesInstanceUID}")
_OF_UIDS = ("1", "2", "a", "A", "con", "CT", "_", "-", "ab", "Ab", ".1", "1.2", "UNKNOWN", "b")
_PIECES = (*(f"{{{name}}}" for name in FIELDS), *(f"%{name}" for name in FIELDS[:6]), "/", "/", "_", "-", "x", ".", " ")


def check(data: bytes) -> None:
    """Attack it with one input."""
    script = Script(data)
    template = _template(script)
    one, other = _value(script), _value(script)
    _check_values(one, other)
    try:
        layout = parse_layout(template)
    except ConfigError as error:
        assert str(error).isprintable(), error
        return
    folder = _folder(script, layout, "1.2.3")
    _check_harmless(folder)
    _check_apart(script, layout)


def _template(script: Script) -> str:
    kind = script.number(0, 4)
    if kind == 0:
        return script.pick((IDC_LAYOUT, PLAIN_LAYOUT))
    if kind == 1:
        return script.text(60)
    made = "".join(script.pick(_PIECES) for _ in range(script.number(1, 12)))
    return made + script.pick(("/{SeriesInstanceUID}", "{SeriesInstanceUID}", "_%SeriesInstanceUID"))


def _value(script: Script) -> str:
    return script.pick(_NASTY) if script.flag() else script.text(script.pick((12, 120)))


def _folder(script: Script, layout: Layout, series: str) -> str:
    return layout.folder([
        series if name == "SeriesInstanceUID" else script.pick((_value(script), None, "")) for name in layout.fields
    ])  # fmt: skip


def _check_values(one: str, other: str) -> None:
    safe = safe_value(one)
    assert unicodedata.is_normalized("NFC", safe)
    assert safe.isprintable()
    assert len(safe.encode()) <= 100
    # What a value is rewritten to, or what stands in its place, may be the very value that somebody else has.
    for twin in {other, safe, f"_{one}", _PATIENTS.folder([one, "1"]).split("/")[0]}:
        if one not in _MISSING and twin not in _MISSING and twin != one:
            assert safe != safe_value(twin), (one, twin)
            assert _PATIENTS.folder([one, "1"]) != _PATIENTS.folder([twin, "1"]), (one, twin)


def _check_apart(script: Script, layout: Layout) -> None:
    one, other = _uid(script), _uid(script)
    for uid in (one, other):
        assert is_identifier(uid), uid
        name = f"{apart(uid)}.dcm"
        assert PurePosixPath("/dest", name).parts == ("/", "dest", name), name
        assert name.isascii(), name
        assert len(name) < 100, name
        assert not PureWindowsPath(name).is_reserved(), name
    if one != other:
        assert apart(one).casefold() != apart(other).casefold()
        folders = {_folder(script, layout, uid) for uid in (one, other)}
        folded = {unicodedata.normalize("NFC", folder.casefold()) for folder in folders}
        assert len(folded) == 2, (layout.template, one, other, folders)


def _uid(script: Script) -> str:
    if script.flag():
        return f"1.{script.number(0, 3)}.{script.number(0, 99)}"
    return "".join(script.pick(_OF_UIDS) for _ in range(script.number(1, 8))).strip(".-_") or "1"


def _check_harmless(folder: str) -> None:
    assert len(folder.encode()) <= _MOST_FOLDER_BYTES
    for component in folder.split("/"):
        assert component, folder
        assert not component.startswith((".", " ")), folder
        assert not component.endswith((".", " ")), folder
        assert len(component.encode()) <= 255, folder
        assert component.isprintable(), folder
        assert not set(component) & set('\\:*?"<>|\0'), folder
        assert not PureWindowsPath(component).is_reserved(), folder
        assert unicodedata.normalize("NFC", component).casefold() not in _OWN, folder
    path = PurePosixPath("/dest") / folder
    assert path.parts == ("/", "dest", *folder.split("/"))


TARGET = Target(
    "layout",
    check,
    (
        *(word.encode("utf-8", "surrogateescape" if word != "\ud800" else "replace") for word in _NASTY),
        *(b"{SeriesInstanceUID}", b"%SeriesInstanceUID", b"{PatientID}/", b"/", b"{", b"}", b"%", b"."),
        *(b" ", b"\xed\xa0\x80"),
    ),
    max_bytes=1024,
)  # fmt: skip
