"""One series' instances as bytes: the data set is encoded once, then UIDs and numbers are put into a copy.

An instance is a head (file meta and data set up to its large element), then a band repeated, then a tail.
Only head and band are kept, so that an instance of gigabytes costs no more memory than one of kilobytes.
pydicom encodes; this module knows only where the pieces join (PS3.5 section 7.5, annexes A.4 and A.5; PS3.10
section 7).
"""

import re
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from pydicom import uid
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.pixels.encoders.base import get_encoder

from dicomhaul.model import Series
from dicomhaul.origin.modality import HEAD_BYTES, NUMBER_MARK, POSITION_MARK, SOP_MARK, Blueprint, draw_up, kind_of
from dicomhaul.origin.pixels import Geometry, draw_band

EXPLICIT = str(uid.ExplicitVRLittleEndian)
IMPLICIT = str(uid.ImplicitVRLittleEndian)
DEFLATED = str(uid.DeflatedExplicitVRLittleEndian)
RLE = str(uid.RLELossless)

_MARKS = re.compile(b"(%s)" % b"|".join(re.escape(m.encode()) for m in (SOP_MARK, NUMBER_MARK, POSITION_MARK)))
_UNDEFINED = 0xFFFFFFFF
_ITEM = 0xE000
_ITEM_END = struct.pack("<HHL", 0xFFFE, 0xE00D, 0)
_SEQUENCE_END = struct.pack("<HHL", 0xFFFE, 0xE0DD, 0)
_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class Template:
    """What the instances of a series have in common.

    Attributes:
        meta: pieces of preamble and file meta, with a mark between each two.
        head: pieces of the data set up to the bands, likewise.
        band: repeated `repeats` times.
        tail: what follows.
        is_deflated: whether the data set is sent deflated.
    """

    meta: tuple[bytes, ...]
    head: tuple[bytes, ...]
    band: bytes
    repeats: int
    tail: bytes
    is_deflated: bool

    @property
    def plain_bytes(self) -> int:
        """Length of an instance that is not deflated: every instance of the series has the same."""
        heads = sum(map(len, self.meta)) + sum(map(len, self.head))
        return heads + len(self.band) * self.repeats + len(self.tail)

    def iter_chunks(self, sop: str, number: int) -> Iterator[bytes]:
        """Yield the Part 10 file of the instance `number`, counted from 1."""
        marks = {
            SOP_MARK.encode(): sop.encode(),
            NUMBER_MARK.encode(): b"%12d" % number,
            POSITION_MARK.encode(): b"%16.2f" % (2.5 * number),
        }
        meta = b"".join([marks.get(piece, piece) for piece in self.meta])
        head = b"".join([marks.get(piece, piece) for piece in self.head])
        if self.is_deflated:
            yield meta + self._deflate(head)
            return
        together = max(1, _CHUNK_BYTES // max(1, len(self.band)))
        if self.repeats <= together:
            yield b"".join((meta, head, self.band * self.repeats, self.tail))
            return
        yield meta + head
        whole, rest = divmod(self.repeats, together)
        many = self.band * together
        for _ in range(whole):
            yield many
        yield self.band * rest + self.tail

    def _deflate(self, head: bytes) -> bytes:
        packer = zlib.compressobj(level=1, wbits=-zlib.MAX_WBITS)
        packed = [packer.compress(head)]
        packed += [packer.compress(self.band) for _ in range(self.repeats)]
        packed += [packer.compress(self.tail), packer.flush()]
        whole = b"".join(packed)
        return whole + b"\0" * (len(whole) % 2)  # PS3.5 section A.5


@lru_cache(maxsize=64)
def template_of(row: Series, syntax: str, size_bytes: int) -> Template:
    """Return the template for instances of about `size_bytes`.

    Raises ValueError for RLE where the class has no pixels, or pixels of one bit: see `can_have`.
    """
    if not can_have(row, syntax):
        raise ValueError(f"{row.modality} instances cannot have the transfer syntax {syntax}")
    plan = draw_up(row, size_bytes)
    is_implicit = syntax == IMPLICIT
    if plan.geometry is not None:
        opening, band, repeats, closing = _pixel_data(plan.geometry, syntax)
    else:
        opening, band, repeats, closing = _sequence(plan, size_bytes, is_implicit=is_implicit)
    return Template(
        meta=tuple(_MARKS.split(_encode_meta(plan.kind.sop_class, syntax))),
        head=tuple(_MARKS.split(_encode(plan.before, is_implicit=is_implicit) + opening)),
        band=band,
        repeats=repeats,
        tail=closing + _encode(plan.after, is_implicit=is_implicit),
        is_deflated=syntax == DEFLATED,
    )


def can_have(row: Series, syntax: str) -> bool:
    """Say whether instances of this series can be made in a transfer syntax."""
    return syntax in {EXPLICIT, IMPLICIT, DEFLATED} or (syntax == RLE and kind_of(row.modality).bits >= 8)


def _encode(ds: Dataset, *, is_implicit: bool) -> bytes:
    out = DicomBytesIO()
    out.is_little_endian = True
    out.is_implicit_VR = is_implicit
    write_dataset(out, ds)
    return bytes(out.getvalue())


def _encode_meta(sop_class: str, syntax: str) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = uid.UID(sop_class)
    meta.MediaStorageSOPInstanceUID = uid.UID(SOP_MARK)
    meta.TransferSyntaxUID = uid.UID(syntax)
    meta.ImplementationClassUID = uid.PYDICOM_IMPLEMENTATION_UID
    meta.ImplementationVersionName = "DICOMHAUL_ORIGIN"
    out = DicomBytesIO(b"\0" * 128 + b"DICM")
    out.seek(0, 2)
    write_file_meta_info(out, meta)
    return bytes(out.getvalue())


def _element(group: int, number: int, vr: bytes, length: int, *, is_implicit: bool) -> bytes:
    if is_implicit:
        return struct.pack("<HHL", group, number, length)
    return struct.pack("<HH2sHL", group, number, vr, 0, length)


def _item(content: bytes) -> bytes:
    return struct.pack("<HHL", 0xFFFE, _ITEM, len(content)) + content


def _pixel_data(shape: Geometry, syntax: str) -> tuple[bytes, bytes, int, bytes]:
    band = draw_band(shape.columns, shape.bits, shape.samples)
    if syntax == RLE:
        frame = get_encoder(uid.RLELossless).encode(
            band * (shape.bands // shape.frames),
            rows=shape.rows,
            columns=shape.columns,
            samples_per_pixel=shape.samples,
            bits_allocated=shape.bits,
            bits_stored=shape.bits,
            pixel_representation=0,
            photometric_interpretation="RGB" if shape.samples == 3 else "MONOCHROME2",
            planar_configuration=0,
            number_of_frames=1,
        )
        opening = _element(0x7FE0, 0x0010, b"OB", _UNDEFINED, is_implicit=False) + _item(b"")
        return opening, _item(frame + b"\0" * (len(frame) % 2)), shape.frames, _SEQUENCE_END
    size = len(band) * shape.bands
    vr = b"OW" if shape.bits == 16 else b"OB"
    return _element(0x7FE0, 0x0010, vr, size, is_implicit=syntax == IMPLICIT), band, shape.bands, b""


def _sequence(plan: Blueprint, size_bytes: int, *, is_implicit: bool) -> tuple[bytes, bytes, int, bytes]:
    band = _item(_encode(plan.item, is_implicit=is_implicit))
    opening, closing = b"", b""
    for depth, (group, number) in enumerate(plan.sequences):
        if depth:
            opening += struct.pack("<HHL", 0xFFFE, _ITEM, _UNDEFINED)
            closing = _encode(plan.beside, is_implicit=is_implicit) + _ITEM_END + _SEQUENCE_END
        opening += _element(group, number, b"SQ", _UNDEFINED, is_implicit=is_implicit)
    return opening, band, max(1, (size_bytes - HEAD_BYTES) // len(band)), _SEQUENCE_END + closing
