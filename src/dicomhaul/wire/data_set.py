"""A data set walked element by element, headers only (PS3.5 chapter 7).

    walk = DataSetWalk(encoding)
    walk.take(view)     # as often as bytes come
    walk.finish()       # Truncated unless the last element that began has ended

Rules of this module:

* Values are passed over by their length; only those of `WANTED` at the top level are read. Of `MARKS` it is noted that
  they are there.
* What is remembered does not grow: the beginning of one element, and how deep the nesting is. What has a length is
  passed over whole, so only sequences and items of undefined length nest, strictly in turn: an even depth is in a data
  set, an odd one between the items of a sequence or the fragments of pixel data.
* Archives hold data sets that break the rules. What pydicom reads on with, this does too: items in implicit VR inside
  explicit VR, single implicit elements, missing and superfluous item delimiters, zeros behind the last element.
  Where not even the next element can be found, the walk stops and says so in `lost_at`: whether the data set is whole
  cannot be known then.
"""

from collections.abc import Callable
from struct import Struct
from typing import Any, NamedTuple

from dicomhaul.errors import Truncated

SOP_CLASS, SOP, STUDY, SERIES = range(4)
WANTED = {SOP_CLASS: (0x0008, 0x0016), SOP: (0x0008, 0x0018), STUDY: (0x0020, 0x000D), SERIES: (0x0020, 0x000E)}

# Elements whose presence alone counts: Bits Allocated, which PS3.3 demands (type 1) wherever pixel data are described,
# and what holds the pixels, or says where they are: Pixel Data, Float and Double Float Pixel Data, Pixel Data Provider
# URL (PS3.3 sections C.7.6.3, C.7.6.24, C.7.6.25), Spectroscopy Data (C.8.14.4).
BITS, PIXELS = 4, 5
MARKS = {
    BITS: ((0x0028, 0x0100),),
    PIXELS: ((0x7FE0, 0x0010), (0x7FE0, 0x0008), (0x7FE0, 0x0009), (0x0028, 0x7FE0), (0x5600, 0x0020)),
}

_UNDEFINED = 0xFFFFFFFF
_MAX_VALUE_BYTES = 128  # a UID has 64; what is longer is cut and will be found to be none

SHORT_VRS = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FL", "FD", "IS", "LO"),
    *("LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
)
LONG_VRS = ("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV")


class Encoding(NamedTuple):
    """How element headers are written. Tags and VRs are compared as the integers that this byte order makes of them."""

    explicit: bool
    header: Callable[[Any, int], tuple[Any, ...]]  # explicit: tag, VR, 16-bit length; implicit: tag, 32-bit length
    item_header: Callable[[Any, int], tuple[Any, ...]]  # tag, 32-bit length
    number: Callable[[Any, int], tuple[Any, ...]]  # the 32-bit length of a long element
    short: frozenset[int]
    long: frozenset[int]
    unknown: int  # the VR UN
    wanted: dict[int, int]
    item: int
    item_end: int
    sequence_end: int
    little: bool


def _encoding(*, explicit: bool, little: bool) -> Encoding:
    order = "little" if little else "big"
    mark = "<" if little else ">"

    def vrs(names: tuple[str, ...]) -> frozenset[int]:
        return frozenset(int.from_bytes(name.encode(), order) for name in names)  # type: ignore[arg-type]

    def tag(group: int, element: int) -> int:
        return element << 16 | group if little else group << 16 | element

    return Encoding(
        explicit=explicit,
        header=Struct(mark + ("IHH" if explicit else "II")).unpack_from,
        item_header=Struct(mark + "II").unpack_from,
        number=Struct(mark + "I").unpack_from,
        short=vrs(SHORT_VRS),
        long=vrs(LONG_VRS),
        unknown=int.from_bytes(b"UN", order),  # type: ignore[arg-type]
        wanted={tag(*pair): what for what, pair in WANTED.items()}
        | {tag(*pair): what for what, pairs in MARKS.items() for pair in pairs},
        item=tag(0xFFFE, 0xE000),
        item_end=tag(0xFFFE, 0xE00D),
        sequence_end=tag(0xFFFE, 0xE0DD),
        little=little,
    )


EXPLICIT_LITTLE = _encoding(explicit=True, little=True)
EXPLICIT_BIG = _encoding(explicit=True, little=False)
IMPLICIT_LITTLE = _encoding(explicit=False, little=True)
_IMPLICIT_BIG = _encoding(explicit=False, little=False)


def is_vr(two: bytes) -> bool:
    """Say whether two bytes can be a VR, known or not: two capital letters."""
    return len(two) == 2 and 0x41 <= two[0] <= 0x5A and 0x41 <= two[1] <= 0x5A


class DataSetWalk:
    """The walk through one data set.

    Attributes:
        found: the values of `WANTED` by their number, without padding; only those that have passed. Of `MARKS` '' where
            one has.
        size: bytes taken.
        lost_at: the byte at which the structure could not be followed any more; None as long as it can.
        padded: zeros stand behind what was taken for the last element.
    """

    __slots__ = (
        "_base", "_depth", "_encoding", "_held", "_implicit_depth", "_need", "_offset", "_skip", "_step", "_wanted",
        "found", "lost_at", "padded", "size",
    )  # fmt: skip

    def __init__(self, encoding: Encoding) -> None:
        self.found: dict[int, str] = {}
        self.size = 0
        self.lost_at: int | None = None
        self.padded = False
        self._base = self._encoding = encoding
        self._depth = 0
        self._implicit_depth = 0  # where implicit VR began inside explicit VR; 0: nowhere
        self._skip = 0  # bytes of a value that are still to pass
        self._held = b""  # the beginning of an element
        self._need = 8  # how many bytes of it must be there to go on
        self._offset = 0  # of the buffer in the data set
        self._wanted = dict(encoding.wanted)
        self._step: Callable[[Any, int, int], int] = self._elements

    def take(self, view: memoryview) -> None:
        """Take the data set's next bytes."""
        size = len(view)
        self.size += size
        position = self._skip
        if position >= size:
            self._skip = position - size
            return
        self._skip = 0
        while self._held:
            lacking = self._need - len(self._held)
            window = self._held + bytes(view[position : position + lacking])
            if len(window) < self._need:
                self._held = window
                return
            position += lacking
            self._offset = self.size - size + position - len(window)
            end = self._advance(window, 0)
            self._held = window[end:]
            if end > len(window):
                position += end - len(window)
        if position < size:
            self._offset = self.size - size
            position = self._advance(view, position)
            if position < size:
                self._held = bytes(view[position:])
                return
        self._skip = position - size

    def finish(self) -> None:
        """Say that no more comes. Raises Truncated where the data set is not at its end."""
        if self.lost_at is not None:
            return
        if self._skip:
            raise Truncated(f"the data set ends at byte {self.size}, {self._skip} bytes before its last element does")
        if self._held.strip(b"\0") or len(self._held) == 1:  # a tag may begin with one zero, but not with two
            raise Truncated(f"the data set ends at byte {self.size}, inside the header of an element")
        if self._depth:
            raise Truncated(f"the data set ends at byte {self.size}, inside a sequence or encapsulated pixel data")

    def _advance(self, buffer: Any, position: int) -> int:
        """Walk as far as the buffer reaches; return where to go on, which may lie behind its end."""
        size = len(buffer)
        while True:
            step = self._step
            position = step(buffer, position, size)
            if self._step is step:
                return position

    # Steps: each walks until its kind of thing ends, which changes the step, or until `_need` bytes are not there.

    def _elements(self, buffer: Any, position: int, size: int) -> int:
        """A data set begins: its first element shows whether the VR is explicit, whatever the syntax says."""
        if position + 8 > size:
            self._need = 8
            return position
        explicit = is_vr(bytes(buffer[position + 4 : position + 6]))
        if self._depth == 0:
            if explicit != self._encoding.explicit:
                self._base = self._encoding = {
                    (True, True): EXPLICIT_LITTLE,
                    (True, False): EXPLICIT_BIG,
                    (False, True): IMPLICIT_LITTLE,
                    (False, False): _IMPLICIT_BIG,
                }[explicit, self._encoding.little]
                self._wanted = dict(self._encoding.wanted)
        elif self._encoding.explicit and not explicit:
            self._encoding = IMPLICIT_LITTLE if self._encoding.little else _IMPLICIT_BIG
            self._implicit_depth = self._depth
        self._step = self._explicit if self._encoding.explicit else self._implicit
        return position

    def _explicit(self, buffer: Any, position: int, size: int) -> int:
        encoding = self._encoding
        header = encoding.header
        short = encoding.short
        long = encoding.long
        wanted = {} if self._depth else self._wanted
        last = size - 8
        while position <= last:
            tag, vr, length = header(buffer, position)
            if vr in short:
                if tag in wanted and not self._capture(buffer, position, 8, tag, length):
                    return position
                position += 8 + length
            elif vr in long:
                if position + 12 > size:
                    self._need = 12
                    return position
                length = encoding.number(buffer, position + 8)[0]
                if length == _UNDEFINED:
                    if tag in wanted:
                        self._mark(tag)
                    self._enter(unknown=vr == encoding.unknown)
                    return position + 12
                if tag in wanted and not self._capture(buffer, position, 12, tag, length):  # as UN, for example
                    return position
                position += 12 + length
            else:
                step = self._step
                position = self._odd(buffer, position, size)
                if self._step is not step or self._need > 8:
                    return position
        self._need = 8
        return position

    def _implicit(self, buffer: Any, position: int, size: int) -> int:
        encoding = self._encoding
        header = encoding.header
        wanted = {} if self._depth else self._wanted
        last = size - 8
        while position <= last:
            tag, length = header(buffer, position)
            if 0 < length < _UNDEFINED:
                if tag in wanted and not self._capture(buffer, position, 8, tag, length):
                    return position
                position += 8 + length
            elif length:
                if tag in wanted:
                    self._mark(tag)
                self._enter(unknown=False)
                return position + 8
            else:
                position += 8
                if tag in wanted:
                    self._mark(tag)
                elif self._ends(tag):
                    return position
        self._need = 8
        return position

    def _items(self, buffer: Any, position: int, size: int) -> int:
        encoding = self._encoding
        header = encoding.item_header
        last = size - 8
        while position <= last:
            tag, length = header(buffer, position)
            if tag == encoding.item:
                position += 8
                if length == _UNDEFINED:
                    self._depth += 1
                    self._step = self._elements
                    return position
                position += length
            elif tag == encoding.sequence_end:
                self._leave(1)
                return position + 8
            elif tag == encoding.item_end:  # superfluous behind an item that has a length
                position += 8
            else:
                self.lost_at = self._offset + position
                self._step = self._ignored
                return position
        self._need = 8
        return position

    def _ignored(self, _buffer: Any, _position: int, size: int) -> int:
        return size

    def _padding(self, buffer: Any, position: int, size: int) -> int:
        """Pass zeros; what follows them is no padding, and nobody can say what it is."""
        behind = bytes(buffer[position:size]).lstrip(b"\0")
        if behind:
            self.lost_at = self._offset + size - len(behind)
            self._step = self._ignored
        return size

    def _odd(self, buffer: Any, position: int, size: int) -> int:
        """Pass what stands where an explicit VR element should and has no known VR."""
        encoding = self._encoding
        tag, length = encoding.item_header(buffer, position)
        if length == 0 and self._ends(tag):
            return position + 8
        if is_vr(bytes(buffer[position + 4 : position + 6])):
            short_length = encoding.header(buffer, position)[2]
            if short_length:
                return position + 8 + int(short_length)
            if position + 12 > size:  # a VR that is newer than this code has a long header (PS3.5 section 7.1.2)
                self._need = 12
                return position
            length = encoding.number(buffer, position + 8)[0]
            position += 4
        if length == _UNDEFINED:
            self._enter(unknown=False)
            return position + 8
        return position + 8 + int(length)

    def _ends(self, tag: int) -> bool:
        """Follow an element of length 0 if it ends something; say whether it did."""
        encoding = self._encoding
        if tag == encoding.item_end and self._depth:
            self._leave(1)
        elif tag == encoding.sequence_end and self._depth:
            self._leave(2)  # the item's own delimiter is missing
        elif tag == 0 and not self._depth:
            self.padded = True
            self._step = self._padding
        else:
            return False
        return True

    def _enter(self, *, unknown: bool) -> None:
        """A value of undefined length begins: a sequence, or fragments."""
        self._depth += 1
        if unknown and not self._encoding.little:  # always implicit VR little endian inside (PS3.5 section 6.2.2)
            self._encoding = IMPLICIT_LITTLE
            self._implicit_depth = self._depth
        self._step = self._items

    def _leave(self, levels: int) -> None:
        self._depth -= levels
        if self._depth < self._implicit_depth:
            self._implicit_depth = 0
            self._encoding = self._base
        if self._depth & 1:
            self._step = self._items
        else:
            self._step = self._explicit if self._encoding.explicit else self._implicit

    def _capture(self, buffer: Any, position: int, header: int, tag: int, length: int) -> bool:
        """Read a wanted value, or note a mark; False if not all of it is there yet."""
        if self._mark(tag):
            return True
        begin = position + header
        end = begin + min(length, _MAX_VALUE_BYTES)
        if end > len(buffer):
            self._need = end - position
            return False
        self.found[self._wanted.pop(tag)] = bytes(buffer[begin:end]).decode("latin-1").strip(" \0")
        return True

    def _mark(self, tag: int) -> bool:
        """Note an element of `MARKS`; False if it is none."""
        what = self._wanted[tag]
        if what not in MARKS:
            return False
        self.found[what] = ""
        return True
