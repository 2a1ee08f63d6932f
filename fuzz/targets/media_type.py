"""Content-Type values: `wire.media_type`.

An input is the value of a header. Then it is read once more, as the plan of a value whose parameters are known.

* Reading never fails; a type is lower-case `type/subtype` or nothing; names are lower case.
* What was written comes back, quoted or bare, in any case and spacing.
"""

import re

from dicomhaul.wire.media_type import parse_media_type
from fuzz.script import Script
from fuzz.target import Target

_TYPE = re.compile(r"(?:[!#$%&'*+.^_`|~0-9a-z-]+/[!#$%&'*+.^_`|~0-9a-z-]+)?\Z")
_NAMES = ("boundary", "type", "transfer-syntax", "start", "charset", "q")
_VALUES = ("application/dicom", "*", "1.2.840.10008.1.2.1", "<1@x>", "a=b", "")


def check(data: bytes) -> None:
    """Attack it with one input."""
    text = data.decode("latin-1")
    media = parse_media_type(text)
    assert _TYPE.match(media.type)
    for name, value in media.parameters.items():
        assert name == name.lower() != ""
        assert name in text.lower()
        assert isinstance(value, str)
    assert media.boundary is None or media.boundary in media.parameters.values()
    assert media.type or not media.parameters
    _check_written(Script(data))


def _check_written(script: Script) -> None:
    kind = script.pick(("multipart/related", "application/dicom", "text/html", "a/b"))
    written: dict[str, str] = {}
    text = _cased(script, kind)
    for _ in range(script.number(0, 5)):
        name = script.pick(_NAMES)
        quoted = script.flag()
        value = script.raw(30).decode("latin-1") if quoted else script.pick(_VALUES)
        shown = '"' + re.sub(r'(["\\])', r"\\\1", value) + '"' if quoted else value
        gap, pad = script.pick(("", " ", "\t ")), script.pick(("", " "))
        text += f"{pad};{script.pick(('', ';'))}{gap}{_cased(script, name)}{pad}={pad}{shown}"
        written.setdefault(name, value)
    media = parse_media_type(text + script.pick(("", ";", " ; ")))
    assert media.type == kind, text
    assert dict(media.parameters) == written, text


def _cased(script: Script, word: str) -> str:
    return script.pick((word, word.upper(), word.title()))


TARGET = Target(
    "media_type",
    check,
    (
        *(b"multipart/related", b"application/dicom", b"; boundary=", b'; type="application/dicom"', b";", b'"'),
        *(b"\\", b"=", b"; transfer-syntax=*", b';start="<1@x>"', b" ", b"\t", b",", b"boundary", b'boundary="'),
        *(b'\\"', b"/", b"*/*", b"\xff"),
    ),
    max_bytes=1024,
)  # fmt: skip
