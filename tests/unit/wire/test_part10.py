"""The skimmer against real files, with pydicom as the judge, and against what no real file would hold."""

import logging
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest
from pydicom.filereader import data_element_offset_to_value

from dicomhaul.errors import DamagedError, NotDicom, Truncated
from dicomhaul.model import Identity
from dicomhaul.wire.part10 import Skimmer
from support.real_instances import real_path, real_paths

# These files end before their last element does, as they lie on disk.
CUT_ON_DISK = {"MR_truncated.dcm", "rtplan_truncated.dcm", "emri_small_jpeg_2k_lossless_too_short.dcm"}
# A stray byte stands before its data set; pydicom reads nothing of it either.
RUBBISH = {"no_meta.dcm"}


def skim(content: bytes, size: int = 0) -> tuple[Skimmer, Identity]:
    skimmer = Skimmer()
    view = memoryview(content)
    step = size or len(content) or 1
    for at in range(0, len(content), step):
        skimmer.feed(view[at : at + step])
    identity = skimmer.finish()
    assert skimmer.size == len(content)
    return skimmer, identity


@contextmanager
def quiet() -> Iterator[None]:
    """Let pydicom read what breaks the rules without a word."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)


def read(path: Path) -> pydicom.FileDataset:
    with quiet():
        return pydicom.dcmread(path, force=True)


def identity_by_pydicom(path: Path) -> Identity:
    def text(source: pydicom.Dataset, keyword: str) -> str:
        return str(source.get(keyword) or "")

    dataset = read(path)
    meta = dataset.file_meta
    with quiet():
        return Identity(
            study=text(dataset, "StudyInstanceUID"),
            series=text(dataset, "SeriesInstanceUID"),
            sop=text(dataset, "SOPInstanceUID") or text(meta, "MediaStorageSOPInstanceUID"),
            sop_class=text(dataset, "SOPClassUID") or text(meta, "MediaStorageSOPClassUID"),
            transfer_syntax=text(meta, "TransferSyntaxUID"),
        )


def boundaries(path: Path) -> set[int]:
    """Where pydicom says that top-level elements begin."""
    dataset = read(path)
    starts = set()
    for element in dataset._dict.values():
        if isinstance(element, pydicom.dataelem.RawDataElement):
            header = data_element_offset_to_value(bool(element.is_implicit_VR), element.VR)
            starts.add(element.value_tell - header)
        else:
            header = data_element_offset_to_value(bool(dataset.is_implicit_VR), str(element.VR))
            starts.add(int(element.file_tell or 0) - header)
    return starts


WHOLE = [path for path in real_paths() if path.name not in CUT_ON_DISK | RUBBISH]
SMALL = [path for path in WHOLE if path.stat().st_size < 10_000 and path.name != "image_dfl.dcm"]


def test_the_real_files_are_there() -> None:
    assert len(WHOLE) > 150
    assert len(SMALL) > 40


@pytest.mark.parametrize("path", WHOLE, ids=lambda path: path.name)
def test_real_files_say_what_pydicom_reads(path: Path) -> None:
    content = path.read_bytes()
    skimmer, identity = skim(content)
    assert identity == identity_by_pydicom(path) == skimmer.identity
    assert skimmer.lost_at is None
    for size in (1, 13, 997, 4096):
        if len(content) < 20_000 * size:
            assert skim(content, size)[1] == identity


@pytest.mark.parametrize("name", sorted(CUT_ON_DISK))
def test_real_files_that_are_cut(name: str) -> None:
    content = real_path(name).read_bytes()
    with pytest.raises(Truncated, match=r"the data set ends at byte [0-9]+"):
        skim(content)
    skimmer = Skimmer()
    skimmer.feed(memoryview(content))
    assert all(skimmer.identity)  # who it is passed before the cut


@pytest.mark.parametrize("name", sorted(RUBBISH))
def test_real_files_that_are_none(name: str) -> None:
    with pytest.raises(NotDicom):
        skim(real_path(name).read_bytes())


def is_whole(content: bytes) -> bool:
    try:
        skim(content)
    except Truncated:
        return False
    return True


@pytest.mark.parametrize("path", SMALL[:: max(1, len(SMALL) // 16)], ids=lambda path: path.name)
def test_each_cut_of_a_small_file_is_found(path: Path) -> None:
    content = path.read_bytes()
    unseen = boundaries(path)
    accepted = {cut for cut in range(10, len(content)) if is_whole(content[:cut])}
    assert accepted <= unseen


@pytest.mark.parametrize(
    "name",
    [
        "CT_small.dcm",
        "MR_small_bigendian.dcm",
        "MR_small_implicit.dcm",
        "emri_small.dcm",
        "emri_small_RLE.dcm",
        "JPEG2000.dcm",
        "SC_rgb_rle_2frame.dcm",
        "reportsi.dcm",
        "rtdose_rle.dcm",
        "explicit_VR-UN.dcm",
        "OT-PAL-8-face.dcm",
    ],
)
def test_cuts_of_a_larger_file_are_found(name: str) -> None:
    path = real_path(name)
    content = path.read_bytes()
    unseen = boundaries(path)
    accepted = {cut for cut in range(10, len(content), max(1, len(content) // 200)) if is_whole(content[:cut])}
    assert accepted <= unseen


def test_cuts_of_a_deflated_file_are_found() -> None:
    content = real_path("image_dfl.dcm").read_bytes()
    skimmer = Skimmer()
    skimmer.feed(memoryview(content))
    assert skimmer._inflater is not None
    end = len(content) - len(skimmer._inflater.unused_data)
    cuts = [*range(10, len(content), max(1, len(content) // 400)), end - 2, end - 1, end]
    assert all(is_whole(content[:cut]) == (cut >= end) for cut in cuts)


# --- built by hand ------------------------------------------------------------------------------------------------


def element(group: int, number: int, vr: bytes, value: bytes, length: int | None = None) -> bytes:
    stated = len(value) if length is None else length
    head = struct.pack("<HH2s", group, number, vr)
    if vr in {b"OB", b"OW", b"SQ", b"UN", b"UT"}:
        return head + struct.pack("<HI", 0, stated) + value
    return head + struct.pack("<H", stated) + value


def implicit(group: int, number: int, value: bytes, length: int | None = None) -> bytes:
    return struct.pack("<HHI", group, number, len(value) if length is None else length) + value


UNDEFINED = 0xFFFFFFFF
ITEM = struct.pack("<HHI", 0xFFFE, 0xE000, UNDEFINED)
ITEM_END = struct.pack("<HHI", 0xFFFE, 0xE00D, 0)
SEQUENCE_END = struct.pack("<HHI", 0xFFFE, 0xE0DD, 0)
EXPLICIT, IMPLICIT, BIG, DEFLATED = (f"1.2.840.10008.1.2{end}" for end in (".1", "", ".2", ".1.99"))


def meta(syntax: str, sop: str = "1.5") -> bytes:
    rest = (
        element(2, 2, b"UI", b"1.4\0")
        + element(2, 3, b"UI", sop.encode())
        + (element(2, 0x10, b"UI", syntax.encode()) if syntax else b"")
    )
    return bytes(128) + b"DICM" + element(2, 0, b"UL", struct.pack("<I", len(rest))) + rest


HEAD = element(8, 0x16, b"UI", b"1.4\0") + element(8, 0x18, b"UI", b"1.5\0")
NAMES = element(0x20, 0xD, b"UI", b"1.1\0") + element(0x20, 0xE, b"UI", b"1.2\0")
PIXELS = element(0x7FE0, 0x10, b"OW", bytes(64))
HERE = Identity("1.1", "1.2", "1.5", "1.4", EXPLICIT)


def test_a_plain_instance() -> None:
    content = meta(EXPLICIT) + HEAD + NAMES + PIXELS
    for size in range(1, len(content)):
        assert skim(content, size)[1] == HERE


@pytest.mark.parametrize(
    "middle",
    [
        pytest.param(element(8, 0x1140, b"SQ", b""), id="empty-sequence"),
        pytest.param(element(8, 0x1140, b"SQ", SEQUENCE_END, UNDEFINED), id="empty-undefined"),
        pytest.param(element(8, 0x1140, b"SQ", ITEM + ITEM_END + SEQUENCE_END, UNDEFINED), id="empty-item"),
        pytest.param(
            element(
                8, 0x1140, b"SQ", ITEM + element(8, 0x18, b"UI", b"9.9") + NAMES + ITEM_END + SEQUENCE_END, UNDEFINED
            ),
            id="uids-of-others",
        ),
        pytest.param(
            element(8, 0x1140, b"SQ", implicit(0xFFFE, 0xE000, NAMES) + ITEM_END + SEQUENCE_END, UNDEFINED),
            id="superfluous-item-end",
        ),
        pytest.param(
            element(8, 0x1140, b"SQ", ITEM + element(8, 5, b"CS", b"x ") + SEQUENCE_END, UNDEFINED),
            id="missing-item-end",
        ),
        pytest.param(
            element(9, 0x1140, b"UN", ITEM + implicit(8, 0x18, b"9.9") + ITEM_END + SEQUENCE_END, UNDEFINED),
            id="unknown-holds-implicit",
        ),
        pytest.param(
            element(
                9,
                0x1140,
                b"UN",
                ITEM
                + implicit(9, 0x1141, ITEM + implicit(8, 0x18, b"9.9") + ITEM_END + SEQUENCE_END, UNDEFINED)
                + ITEM_END
                + ITEM
                + element(8, 5, b"CS", b"x ")
                + ITEM_END
                + SEQUENCE_END,
                UNDEFINED,
            ),
            id="implicit-nested-then-explicit",
        ),
        pytest.param(implicit(9, 0x1142, b"abcd"), id="one-implicit-element"),
        pytest.param(
            implicit(9, 0x1142, ITEM + implicit(9, 1, b"ab") + ITEM_END + SEQUENCE_END, UNDEFINED),
            id="one-implicit-sequence",
        ),
        pytest.param(element(9, 0x1142, b"ZZ", b"abcd"), id="unknown-vr-short"),
        pytest.param(struct.pack("<HH2sHI", 9, 0x1142, b"ZZ", 0, 3) + b"abc", id="unknown-vr-long"),
        pytest.param(struct.pack("<HH2sHI", 9, 0x1142, b"ZZ", 0, UNDEFINED) + SEQUENCE_END, id="unknown-vr-undefined"),
        pytest.param(
            element(
                0x88,
                0x200,
                b"OB",
                implicit(0xFFFE, 0xE000, b"") + implicit(0xFFFE, 0xE000, ITEM_END) + SEQUENCE_END,
                UNDEFINED,
            ),
            id="fragments",
        ),
        pytest.param(ITEM_END + SEQUENCE_END, id="stray-delimiters"),
        pytest.param(element(9, 0x1142, b"UT", b"x" * 70_000), id="uids-beyond-64-KiB"),
    ],
)
def test_what_stands_before_the_uids(middle: bytes) -> None:
    content = meta(EXPLICIT) + HEAD + middle + NAMES + PIXELS
    sizes = range(1, 40) if len(content) < 5000 else (1, 4096)
    assert skim(content)[1] == HERE
    for size in sizes:
        skimmer, identity = skim(content, size)
        assert (identity, skimmer.lost_at) == (HERE, None)
    begin = len(content) - len(NAMES + PIXELS) - len(middle)
    ends = {begin, begin + len(middle)}
    if middle != ITEM_END + SEQUENCE_END:
        assert not any(
            is_whole(content[:cut])
            for cut in range(begin, begin + len(middle), 1 + len(middle) // 500)
            if cut not in ends
        )


def big(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    return struct.pack(">HH2sH", group, number, vr, len(value)) + value


WRITTEN = [(8, 0x16, b"1.4\0"), (8, 0x18, b"1.5\0"), (0x20, 0xD, b"1.1\0"), (0x20, 0xE, b"1.2\0")]
AS_EXPLICIT = b"".join(element(group, number, b"UI", value) for group, number, value in WRITTEN)
AS_IMPLICIT = b"".join(implicit(group, number, value) for group, number, value in WRITTEN)
AS_BIG = b"".join(big(group, number, b"UI", value) for group, number, value in WRITTEN)


def deflated(content: bytes) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(content) + packer.flush()


@pytest.mark.parametrize(
    ("content", "syntax"),
    [
        (meta(EXPLICIT) + AS_EXPLICIT, EXPLICIT),
        (meta(IMPLICIT) + AS_IMPLICIT, IMPLICIT),
        (meta(BIG) + AS_BIG, BIG),
        (meta(DEFLATED) + deflated(AS_EXPLICIT), DEFLATED),
        (meta(DEFLATED) + deflated(AS_EXPLICIT) + b"\0", DEFLATED),
        (meta("1.2.840.10008.1.2.4.90") + AS_EXPLICIT, "1.2.840.10008.1.2.4.90"),
        (meta(EXPLICIT) + AS_IMPLICIT, EXPLICIT),  # the syntax lies
        (meta(IMPLICIT) + AS_EXPLICIT, IMPLICIT),
        (meta("") + AS_EXPLICIT, ""),
        (meta("") + AS_IMPLICIT, ""),
        (meta("") + AS_BIG, ""),
        (AS_EXPLICIT, ""),
        (AS_IMPLICIT, ""),
        (AS_BIG, ""),
        (meta(EXPLICIT)[132:] + AS_EXPLICIT, EXPLICIT),  # file meta information without preamble
        (AS_EXPLICIT + bytes(6), ""),  # zeros behind the last element
        (AS_EXPLICIT + bytes(500), ""),
        (AS_BIG + bytes(500), ""),
        (AS_IMPLICIT + bytes(500), ""),
    ],
)
def test_each_encoding(content: bytes, syntax: str) -> None:
    for size in range(1, len(content) + 1):
        assert skim(content, size)[1] == Identity("1.1", "1.2", "1.5", "1.4", syntax)


def test_unknown_in_big_endian_is_little_endian_inside() -> None:
    """PS3.5 section 6.2.2: a UN of undefined length is implicit VR little endian, whatever surrounds it."""
    items = ITEM + implicit(9, 0x1101, bytes(600)) + implicit(8, 0x18, b"9.9\0") + ITEM_END + SEQUENCE_END
    unknown = struct.pack(">HH2sHI", 9, 0x1100, b"UN", 0, UNDEFINED) + items
    at = AS_BIG.index(struct.pack(">HH", 0x20, 0xD))
    content = meta(BIG) + AS_BIG[:at] + unknown + AS_BIG[at:]
    for size in (1, 7, len(content)):
        skimmer, identity = skim(content, size)
        assert (identity, skimmer.lost_at) == (Identity("1.1", "1.2", "1.5", "1.4", BIG), None)


def test_group_length_is_not_trusted() -> None:
    for stated in (0, 5, 4000, 0xFFFFFFFF):
        content = bytearray(meta(EXPLICIT) + AS_EXPLICIT)
        content[140:144] = struct.pack("<I", stated)
        assert skim(bytes(content))[1] == HERE


def test_a_deflated_data_set_may_begin_like_a_group_2() -> None:
    stored = deflated(AS_EXPLICIT)
    content = meta(DEFLATED) + b"\x02\0" + stored  # no valid deflate stream, but the walk must try it as one
    with pytest.raises(NotDicom, match="cannot be inflated"):
        skim(content)


BITS = element(0x28, 0x100, b"US", b"\x10\0")
FRAGMENTS = element(0x7FE0, 0x10, b"OB", ITEM_END, UNDEFINED)  # that they begin is enough


@pytest.mark.parametrize(
    ("behind", "lacking"),
    [
        (b"", False),
        (BITS, True),
        (BITS + PIXELS, False),
        (PIXELS, False),
        (BITS + element(0x7FE0, 0x10, b"OW", b""), False),
        (BITS + FRAGMENTS, False),
        (BITS + element(0x7FE0, 0x08, b"OF", bytes(8)), False),
        (BITS + element(0x7FE0, 0x09, b"OD", bytes(8)), False),
        (BITS + element(0x28, 0x7FE0, b"UR", b"http://x"), False),
        (BITS + element(0x5600, 0x20, b"OF", bytes(8)), False),
        (element(0x28, 0x9, b"SQ", ITEM + BITS + ITEM_END + SEQUENCE_END, UNDEFINED), False),
        (element(0x88, 0x200, b"SQ", ITEM + BITS + PIXELS + ITEM_END + SEQUENCE_END, UNDEFINED) + BITS, True),
    ],
    ids=[
        "nothing", "described alone", "both", "pixels alone", "an empty one", "fragments", "floats", "doubles",
        "elsewhere", "spectroscopy", "described in an item", "those of an icon",
    ],
)  # fmt: skip
def test_pixels_that_are_described_are_there_or_not(behind: bytes, lacking: bool) -> None:  # noqa: FBT001 - a parameter
    content = meta(EXPLICIT) + HEAD + NAMES + behind
    for size in (1, 7, len(content)):
        skimmer = Skimmer()
        for at in range(0, len(content), size):
            skimmer.feed(memoryview(content)[at : at + size])
        assert skimmer.lacks_pixels is lacking


BIG_HEAD = big(8, 0x18, b"UI", b"1.5\0") + big(0x28, 0x100, b"US", b"\0\x10")
IMPLICIT_HEAD = implicit(8, 0x18, b"1.5\0") + implicit(0x28, 0x100, b"\x10\0")


@pytest.mark.parametrize(
    ("syntax", "content", "lacking"),
    [
        ("1.2.840.10008.1.2", IMPLICIT_HEAD, True),
        ("1.2.840.10008.1.2", IMPLICIT_HEAD + implicit(0x7FE0, 0x10, b""), False),
        ("1.2.840.10008.1.2", IMPLICIT_HEAD + implicit(0x7FE0, 0x10, bytes(8)), False),
        ("1.2.840.10008.1.2", IMPLICIT_HEAD + implicit(0x7FE0, 0x10, SEQUENCE_END, UNDEFINED), False),
        ("1.2.840.10008.1.2.2", BIG_HEAD, True),
        ("1.2.840.10008.1.2.2", BIG_HEAD + struct.pack(">HH2s2xI", 0x7FE0, 0x10, b"OW", 8) + bytes(8), False),
    ],
)
def test_pixels_are_seen_in_other_encodings(syntax: str, content: bytes, lacking: bool) -> None:  # noqa: FBT001 - a parameter
    skimmer = Skimmer()
    skimmer.feed(memoryview(meta(syntax) + content))
    assert skimmer.finish().sop == "1.5"
    assert skimmer.lacks_pixels is lacking


def test_the_data_set_outranks_the_file_meta_information() -> None:
    assert skim(meta(EXPLICIT, sop="7.7\0") + AS_EXPLICIT)[1].sop == "1.5"
    without = element(8, 5, b"CS", b"x ") + NAMES
    assert skim(meta(EXPLICIT, sop="7.7\0") + without)[1] == Identity("1.1", "1.2", "7.7", "1.4", EXPLICIT)


def test_sop_is_known_as_soon_as_it_has_passed() -> None:
    skimmer = Skimmer()
    content = meta(EXPLICIT, sop="7.7\0") + HEAD
    skimmer.feed(memoryview(content[:-1]))
    assert skimmer.sop == ""
    skimmer.feed(memoryview(content[-1:]))
    assert skimmer.sop == "1.5"


def test_the_first_of_two_counts() -> None:
    twice = HEAD + element(8, 0x18, b"UI", b"6.6\0") + NAMES
    assert skim(meta(EXPLICIT) + twice)[1] == HERE


def test_a_uid_that_is_none_comes_as_it_stands() -> None:
    content = meta(EXPLICIT) + element(8, 0x18, b"UI", b"../../etc\xff ") + element(8, 0x1140, b"LO", b"x" * 30)
    assert skim(content)[1].sop == "../../etc\xff"
    long = meta(EXPLICIT) + element(8, 0x18, b"UI", b"1" * 5000) + NAMES
    for size in (1, 50, 10_000):
        identity = skim(long, size)[1]
        assert identity.sop == "1" * 128
        assert identity.study == "1.1"


@pytest.mark.parametrize(
    "content",
    [
        b"<!DOCTYPE html><html><body>Sign in</body></html>" * 9,
        b"<html></html>",
        b'\n{"error": "no"}',
        b'[{"0020000D": {"vr": "UI"}}]' * 20,
        b"Internal Server Error",
        bytes(132),
        bytes(5000),
        b"\xff" * 132,
        b"PK\x03\x04" * 50,
        b"\0\0" + b"\x22\x38lcms" * 40,
        b" " + AS_EXPLICIT * 4,
    ],
)
def test_what_is_not_dicom(content: bytes) -> None:
    for size in (1, 7, len(content)):
        with pytest.raises(NotDicom) as caught:
            skim(content, size)
        assert "Sign in" not in str(caught.value)


def test_rubbish_is_found_before_its_end() -> None:
    skimmer = Skimmer()
    with pytest.raises(NotDicom):
        skimmer.feed(memoryview(b"<html>" * 30))


@pytest.mark.parametrize("content", [b"", bytes(1), bytes(131), meta(EXPLICIT)[:150], meta(EXPLICIT)])
def test_what_ends_before_its_data_set(content: bytes) -> None:
    with pytest.raises(Truncated, match=f"byte {len(content)}"):
        skim(content)


def test_endless_file_meta_information() -> None:
    with pytest.raises(NotDicom, match="file meta information exceeds"):
        skim(meta(EXPLICIT) + element(2, 0x102, b"OB", bytes(100_000)))


def test_a_walk_that_gets_lost_says_so() -> None:
    broken = element(8, 0x1140, b"SQ", b"rubbish! " * 5, UNDEFINED)
    skimmer, identity = skim(meta(EXPLICIT) + HEAD + NAMES + broken)
    assert identity == HERE
    assert skimmer.lost_at == len(HEAD + NAMES) + 12
    with pytest.raises(NotDicom, match="cannot be followed at byte 12"):
        skim(bytes(128) + b"DICM" + element(2, 0x10, b"UI", EXPLICIT.encode()) + broken)


def test_endlessly_nested_sequences_cost_no_memory() -> None:
    level = element(8, 0x1140, b"SQ", b"", UNDEFINED) + ITEM
    skimmer = Skimmer()
    skimmer.feed(memoryview(meta(EXPLICIT) + HEAD))
    for _ in range(200):
        skimmer.feed(memoryview(level * 1000))
    with pytest.raises(Truncated, match="inside a sequence"):
        skimmer.finish()
    for _ in range(200):
        skimmer.feed(memoryview((ITEM_END + SEQUENCE_END) * 1000))
    skimmer.feed(memoryview(NAMES))
    assert skimmer.finish() == HERE


def test_a_zip_bomb_costs_no_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    largest = 0
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(AS_EXPLICIT + element(9, 0x1142, b"UT", b"", 64 << 20))
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()
    from dicomhaul.wire.data_set import DataSetWalk  # noqa: PLC0415 - only this test looks inside

    take = DataSetWalk.take

    def watched(self: DataSetWalk, view: memoryview) -> None:
        nonlocal largest
        largest = max(largest, len(view))
        take(self, view)

    monkeypatch.setattr(DataSetWalk, "take", watched)
    content = meta(DEFLATED) + packed
    assert skim(content)[1].study == "1.1"
    assert largest <= 64 * 1024
    with pytest.raises(Truncated):
        skim(content[:-20])
    monkeypatch.setattr("dicomhaul.wire.part10._MAX_INFLATED", 1 << 20)
    assert skim(content[:-20])[1].study == "1.1"  # the rest was not looked at


def test_a_deflated_data_set_may_end_anywhere_in_a_step() -> None:
    """What the last bytes inflate to may need more than one step; all of it must be walked."""
    for size in range((1 << 16) - 700, (1 << 16) + 700, 7):
        tail = element(9, 0x1142, b"UT", bytes(size - len(AS_EXPLICIT) - 12))
        assert skim(meta(DEFLATED) + deflated(AS_EXPLICIT + tail))[1].study == "1.1", size


def test_any_single_byte_changed_ends_in_an_identity_or_an_error() -> None:
    sequence = element(8, 0x1140, b"SQ", ITEM + NAMES + ITEM_END + SEQUENCE_END, UNDEFINED)
    content = meta(EXPLICIT) + HEAD + sequence + NAMES
    for at in range(len(content)):
        for value in (0, 0xFF, content[at] ^ 0x20):
            changed = content[:at] + bytes([value]) + content[at + 1 :]
            outcomes: set[object] = set()
            for size in (0, 1, 10):
                try:
                    outcomes.add(skim(changed, size)[1])
                except DamagedError as error:
                    outcomes.add(type(error))
            assert len(outcomes) == 1, at
