"""A DICOM instance as it passes: who it is, and whether it is whole (PS3.10 chapter 7).

    skimmer = Skimmer()
    skimmer.feed(view)              # as often as bytes come
    identity = skimmer.finish()     # Truncated, NotDicom

It finds the UIDs however deep they lie and walks on to the last element, because a server may cut an instance inside
whole framing. It reads headers, never values, and keeps a bounded number of bytes.

Rules of this module:

* The SOP Instance and SOP Class UID are those of the data set (0008,0018) and (0008,0016): by them servers index and
  answer. Those of the file meta information (0002,0003) and (0002,0002), which are to name the same instance (PS3.10
  table 7.1-1) and sometimes do not, stand in where the data set has none, as in a DICOMDIR. The transfer syntax stands
  only in the file meta information.
* Study and Series UID are '' where the data set has none.
* A bare data set, without preamble or file meta information, is accepted; its encoding is guessed from its first
  element.
* UIDs are given as they stand there: whether they are UIDs is for the caller to judge.
"""

import zlib
from struct import Struct
from typing import Final

from dicomhaul.errors import NotDicom, Truncated
from dicomhaul.model import Identity
from dicomhaul.wire.data_set import (
    BITS,
    EXPLICIT_BIG,
    EXPLICIT_LITTLE,
    IMPLICIT_LITTLE,
    LONG_VRS,
    PIXELS,
    SERIES,
    SHORT_VRS,
    SOP,
    SOP_CLASS,
    STUDY,
    DataSetWalk,
    Encoding,
    is_vr,
)

IMPLICIT_SYNTAX: Final = "1.2.840.10008.1.2"
BIG_ENDIAN_SYNTAX: Final = "1.2.840.10008.1.2.2"
DEFLATED_SYNTAXES: Final = frozenset({
    "1.2.840.10008.1.2.1.99",
    "1.2.840.10008.1.2.4.95",  # JPIP Referenced Deflate
    "1.2.840.10008.1.2.4.205",  # JPIP HTJ2K Referenced Deflate
})  # fmt: skip

_PREAMBLE = 128
_MAX_META_BYTES = 64 * 1024
_HEAD_STEP = 1024  # how much is copied at a time until the file meta information has passed
_INFLATE_IN = 16 * 1024
_INFLATE_OUT = 64 * 1024
_MAX_INFLATED = 1 << 30  # beyond this the rest of a deflated data set is not looked at

_SHORT_VRS = frozenset(name.encode() for name in SHORT_VRS)
_LONG_VRS = frozenset(name.encode() for name in LONG_VRS)
_META_HEADER = Struct("<HH2sH").unpack_from
_IMPLICIT_HEADER = Struct("<HHI").unpack_from
_NUMBER = Struct("<I").unpack_from
_TEXT_BEGINS = (b"<", b"{", b"[")


class Skimmer:
    """Skims one part.

    Attributes:
        size: bytes fed.
    """

    __slots__ = ("_head", "_inflated", "_inflater", "_meta", "_meta_end", "_position", "_walk", "size")

    def __init__(self) -> None:
        self.size = 0
        self._head = bytearray()
        self._position = -1  # in the head, where the next element of the file meta information begins
        self._meta: dict[int, str] = {}
        self._meta_end: int | None = None  # where it ends by its own group length
        self._walk: DataSetWalk | None = None
        self._inflater: zlib._Decompress | None = None
        self._inflated = 0

    @property
    def identity(self) -> Identity:
        """Who the part is, as far as it has passed. Unlike `finish`, this proves nothing."""
        found = self._walk.found if self._walk is not None else {}
        return Identity(
            study=found.get(STUDY, ""),
            series=found.get(SERIES, ""),
            sop=found.get(SOP) or self._meta.get(0x0003, ""),
            sop_class=found.get(SOP_CLASS) or self._meta.get(0x0002, ""),
            transfer_syntax=self._meta.get(0x0010, ""),
        )

    @property
    def sop(self) -> str:
        """The data set's own SOP Instance UID; '' until it has passed."""
        return self._walk.found.get(SOP, "") if self._walk is not None else ""

    @property
    def lacks_pixels(self) -> bool:
        """Whether the data set, as far as it has passed, describes pixels and neither holds them nor says where they
        are.
        """
        found = self._walk.found if self._walk is not None else {}
        return BITS in found and PIXELS not in found

    @property
    def lost_at(self) -> int | None:
        """The byte of the data set at which its structure could not be followed any more, so that nobody can say
        whether it is whole; None as long as it can.
        """
        return self._walk.lost_at if self._walk is not None else None

    @property
    def padded(self) -> bool:
        """Whether zeros stand behind what was taken for the last element."""
        return self._walk is not None and self._walk.padded

    def feed(self, view: memoryview) -> None:
        """Take the part's next bytes. Raises NotDicom as soon as that is plain."""
        self.size += len(view)
        if self._walk is None:
            self._read_head(view)
        elif self._inflater is None:
            self._walk.take(view)
        else:
            self._inflate(view)

    def finish(self) -> Identity:
        """Say that the part has ended, and return who it is.

        Raises:
            Truncated: the part ends before its data set does.
            NotDicom: it is none.
        """
        if self._walk is None:
            self._end_head()
        walk = self._walk
        assert walk is not None  # noqa: S101 - what precedes has made it or raised
        if self._inflater is not None and not self._inflater.eof and self._inflated <= _MAX_INFLATED:
            raise Truncated(f"the deflated data set ends before its last block, at byte {self.size} of the instance")
        if not walk.size:
            raise Truncated(f"the instance ends at byte {self.size}, before its data set")
        if self._inflated <= _MAX_INFLATED:
            walk.finish()
        identity = self.identity
        if walk.lost_at is not None and not identity.sop:
            raise NotDicom(f"the data set cannot be followed at byte {walk.lost_at}")
        return identity

    def _read_head(self, view: memoryview) -> None:
        head = self._head
        taken = 0
        while taken < len(view):
            piece = view[taken : taken + _HEAD_STEP]
            head += piece
            taken += len(piece)
            if self._position < 0 and not self._find_start(ended=False):
                continue
            if self._read_meta(ended=False):
                self._begin(view, taken)
                return
            if len(head) > _MAX_META_BYTES:
                raise NotDicom(f"the file meta information exceeds {_MAX_META_BYTES} bytes")

    def _begin(self, view: memoryview, taken: int) -> None:
        """The data set begins in the head; what follows it in the view has not been copied."""
        behind = len(self._head) - self._position
        self._walk = DataSetWalk(self._encoding())
        if self._meta.get(0x0010) in DEFLATED_SYNTAXES:
            self._inflater = zlib.decompressobj(-zlib.MAX_WBITS)
        pieces = [view[taken - behind :]] if behind <= taken else [
            memoryview(bytes(self._head[self._position :])),
            view[taken:],
        ]  # fmt: skip
        self._head.clear()
        for piece in pieces:
            if self._inflater is None:
                self._walk.take(piece)
            else:
                self._inflate(piece)

    def _end_head(self) -> None:
        head = bytes(self._head)
        if self._position < 0 and not self._find_start(ended=True):
            if head.lstrip()[:1] in _TEXT_BEGINS or (len(head) > 8 and head.isascii() and head.decode().isprintable()):
                raise NotDicom(f"the part ({self.size} bytes) is text and not DICOM")
            raise Truncated(f"the part ends at byte {self.size}, before the DICOM prefix")
        if not self._read_meta(ended=True):
            raise Truncated(f"the part ends at byte {self.size}, inside its file meta information")
        self._begin(memoryview(b""), 0)

    def _find_start(self, *, ended: bool) -> bool:
        """Find where the file meta information begins, or the data set of a part that has none; False: not yet."""
        head = self._head
        if head[_PREAMBLE : _PREAMBLE + 4] == b"DICM":
            self._position = _PREAMBLE + 4
        elif len(head) < _PREAMBLE + 4 and not ended:
            return False
        elif _bare_encoding(head) is not None or head[:2] == b"\x02\0":
            self._position = 0
        elif not ended:
            raise NotDicom("the part is not DICOM: it has no prefix and does not begin with a data set")
        else:
            return False
        return True

    def _read_meta(self, *, ended: bool) -> bool:
        """Read on in the file meta information; False if more of it must come.

        It ends where its group does, as pydicom has it, because group lengths are often wrong. Before a deflated data
        set, whose first bytes could be anything, the group length counts too.
        """
        head = self._head
        size = len(head)
        while self._position != self._meta_end or self._meta.get(0x0010) not in DEFLATED_SYNTAXES:
            position = self._position
            if position + 8 > size:
                return ended and (position == size or head[position : position + 2] != b"\x02\0")
            group, element, begin, end = _meta_element(head, position)
            if group != 0x0002:
                return True
            if end > size:
                return False
            self._position = end
            if element == 0x0000 and end - begin == 4:
                self._meta_end = end + _NUMBER(head, begin)[0]
            elif element in {0x0002, 0x0003, 0x0010}:
                self._meta[element] = head[begin:end].decode("latin-1").strip(" \0")
        return True

    def _encoding(self) -> Encoding:
        syntax = self._meta.get(0x0010, "")
        if syntax == BIG_ENDIAN_SYNTAX:
            return EXPLICIT_BIG
        if syntax == IMPLICIT_SYNTAX:
            return IMPLICIT_LITTLE
        if not syntax:
            return _bare_encoding(self._head[self._position :]) or EXPLICIT_LITTLE
        return EXPLICIT_LITTLE

    def _inflate(self, view: memoryview) -> None:
        inflater, walk = self._inflater, self._walk
        assert inflater is not None  # noqa: S101 - the callers have looked
        assert walk is not None  # noqa: S101 - likewise
        for at in range(0, len(view), _INFLATE_IN):
            piece: bytes | memoryview = view[at : at + _INFLATE_IN]
            full = True
            while (piece or full) and not inflater.eof and self._inflated <= _MAX_INFLATED:
                try:
                    out = inflater.decompress(piece, _INFLATE_OUT)
                except zlib.error:
                    raise NotDicom(f"the deflated data set cannot be inflated, near byte {self.size}") from None
                walk.take(memoryview(out))
                self._inflated += len(out)
                piece = inflater.unconsumed_tail
                full = len(out) == _INFLATE_OUT


def _meta_element(head: bytearray, position: int) -> tuple[int, int, int, int]:
    """Read an element's header: group, element, and where its value begins and ends, which may be behind the head."""
    group, element, vr, length = _META_HEADER(head, position)
    begin = position + 8
    if vr in _SHORT_VRS:
        return group, element, begin, begin + length
    if not is_vr(vr):  # implicit, against the rule
        length = _IMPLICIT_HEADER(head, position)[2]
    elif vr in _LONG_VRS:
        begin += 4
        length = _NUMBER(head, position + 8)[0] if begin <= len(head) else 0
    return group, element, begin, begin + length


def _bare_encoding(head: bytes | bytearray) -> Encoding | None:
    """Guess the encoding of a data set from its first element, or None if these bytes do not begin one.

    It must be of group 0008 (0004 in a DICOMDIR), as every instance begins: nothing else tells it from rubbish.
    """
    group, vr = bytes(head[:2]), bytes(head[4:6])
    if group in {b"\x08\0", b"\x04\0"}:
        if is_vr(vr):
            return EXPLICIT_LITTLE
        return IMPLICIT_LITTLE if len(head) >= 8 and head[6:8] == b"\0\0" else None
    return EXPLICIT_BIG if group in {b"\0\x08", b"\0\x04"} and is_vr(vr) else None
