"""Well-formed instances written from decisions, with what is true of each (PS3.5 chapter 7, PS3.10 chapter 7)."""

import struct
import zlib
from dataclasses import dataclass, field
from typing import Final, NamedTuple

from dicomhaul.model import Identity
from fuzz.script import Script

_UNDEFINED: Final = 0xFFFFFFFF
_EXPLICIT, _IMPLICIT, _BIG, _DEFLATED, _JPEG = (
    "1.2.840.10008.1.2.1",
    "1.2.840.10008.1.2",
    "1.2.840.10008.1.2.2",
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.50",
)
_LONG: Final = frozenset({"OB", "OW", "SQ", "UN", "UT"})
_MOST_DEPTH: Final = 4

# Tag and VR of what may stand at the top level, in ascending order; those that name the instance stand between.
_TOP: Final[tuple[tuple[int, int, str], ...]] = (
    (0x0008, 0x0005, "CS"),
    (0x0008, 0x0016, "UI"),
    (0x0008, 0x0018, "UI"),
    (0x0008, 0x1110, "SQ"),
    (0x0008, 0x1140, "SQ"),
    (0x0010, 0x0010, "PN"),
    (0x0010, 0x4000, "LT"),
    (0x0020, 0x000D, "UI"),
    (0x0020, 0x000E, "UI"),
    (0x0020, 0x0013, "IS"),
    (0x0028, 0x0010, "US"),
    (0x0040, 0xA730, "SQ"),
    (0x0042, 0x0011, "OB"),
    (0x7FE0, 0x0010, "OW"),
)
_NAMING: Final = {
    (0x0008, 0x0016): "sop_class",
    (0x0008, 0x0018): "sop",
    (0x0020, 0x000D): "study",
    (0x0020, 0x000E): "series",
}
_INNER: Final[tuple[tuple[int, int, str], ...]] = (
    (0x0008, 0x0018, "UI"),
    (0x0008, 0x1140, "SQ"),
    (0x0010, 0x4000, "LT"),
    (0x0020, 0x000D, "UI"),
)


@dataclass(frozen=True, slots=True)
class Built:
    """An instance.

    Attributes:
        content: its bytes.
        identity: who it says it is.
        begin: where its data set begins.
        ends: where it may end and be whole: behind each element of the top level.
    """

    content: bytes
    identity: Identity
    begin: int
    ends: frozenset[int] = field(default=frozenset())


class _Syntax(NamedTuple):
    explicit: bool
    order: str

    def element(self, group: int, number: int, vr: str, value: bytes, length: int | None = None) -> bytes:
        stated = len(value) if length is None else length
        tag = struct.pack(f"{self.order}HH", group, number)
        if not self.explicit:
            return tag + struct.pack("<I", stated) + value
        if vr in _LONG:
            return tag + vr.encode() + struct.pack(f"{self.order}HI", 0, stated) + value
        return tag + vr.encode() + struct.pack(f"{self.order}H", stated) + value

    def item(self, number: int, length: int, value: bytes = b"") -> bytes:
        return struct.pack(f"{self.order}HHI", 0xFFFE, number, length) + value


def build(script: Script) -> Built:
    """Write one."""
    uid = script.pick((_EXPLICIT, _IMPLICIT, _BIG, _DEFLATED, _JPEG))
    syntax = _Syntax(uid != _IMPLICIT, ">" if uid == _BIG else "<")
    said = {name: f"1.{number}.{script.number(0, 10**6)}" for number, name in enumerate(_NAMING.values())}
    elements = []
    for group, number, vr in _TOP:
        naming = _NAMING.get((group, number))
        if naming is not None:
            elements.append(syntax.element(group, number, vr, _padded(said[naming])))
        elif script.flag():
            elements.append(
                _fragments(script, syntax)
                if group == 0x7FE0 and uid == _JPEG
                else _element(script, syntax, group, number, vr, depth=0)
            )
    head = _head(uid, said, script)
    data_set = b"".join(elements)
    ends = set()
    at = len(head)
    for each in elements:
        at += len(each)
        ends.add(at)
    if uid == _DEFLATED:
        packer = zlib.compressobj(6, zlib.DEFLATED, -zlib.MAX_WBITS)
        data_set = packer.compress(data_set) + packer.flush()
        ends = set()
    identity = Identity(said["study"], said["series"], said["sop"], said["sop_class"], uid)
    return Built(head + data_set, identity, len(head), frozenset(ends))


def _head(uid: str, said: dict[str, str], script: Script) -> bytes:
    syntax = _Syntax(explicit=True, order="<")
    rest = (
        syntax.element(2, 1, "OB", b"\0\1")
        + syntax.element(2, 2, "UI", _padded(said["sop_class"]))
        + syntax.element(2, 3, "UI", _padded(said["sop"]))
        + syntax.element(2, 0x10, "UI", _padded(uid))
    )
    preamble = script.pick((bytes(128), b"\xff" * 128, b"II*\0".ljust(128, b"\1")))
    return preamble + b"DICM" + syntax.element(2, 0, "UL", struct.pack("<I", len(rest))) + rest


def _element(script: Script, syntax: _Syntax, group: int, number: int, vr: str, *, depth: int) -> bytes:
    if vr == "SQ":
        items = [_item(script, syntax, depth + 1) for _ in range(script.number(0, 3))]
        value = b"".join(items)
        if script.flag():
            return syntax.element(group, number, vr, value + syntax.item(0xE0DD, 0), _UNDEFINED)
        return syntax.element(group, number, vr, value)
    if vr == "US":
        return syntax.element(group, number, vr, struct.pack(f"{syntax.order}H", script.number(0, 0xFFFF)))
    if vr in {"OB", "OW"}:
        return syntax.element(group, number, vr, _even(script.raw(80)))
    text = {"UI": f"1.9.{script.number(0, 999)}", "IS": str(script.number(0, 999)), "CS": "ISO_IR 100"}.get(vr, "x y")
    return syntax.element(group, number, vr, _padded(text) if vr == "UI" else _even(text.encode(), b" "))


def _item(script: Script, syntax: _Syntax, depth: int) -> bytes:
    value = b"".join(
        _element(script, syntax, *each, depth=depth)
        for each in _INNER
        if script.flag() and (each[2] != "SQ" or depth < _MOST_DEPTH)
    )
    if script.flag():
        return syntax.item(0xE000, _UNDEFINED, value + syntax.item(0xE00D, 0))
    return syntax.item(0xE000, len(value), value)


def _fragments(script: Script, syntax: _Syntax) -> bytes:
    values = [b"", *(_even(script.raw(40)) for _ in range(script.number(1, 3)))]
    value = b"".join(syntax.item(0xE000, len(each), each) for each in values)
    return syntax.element(0x7FE0, 0x0010, "OB", value + syntax.item(0xE0DD, 0), _UNDEFINED)


def _padded(uid: str) -> bytes:
    return _even(uid.encode())


def _even(value: bytes, pad: bytes = b"\0") -> bytes:
    return value + pad * (len(value) % 2)
