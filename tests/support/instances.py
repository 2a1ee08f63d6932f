"""Small real DICOM instances, written without pydicom: group by group, explicit VR little endian."""

import struct


def _element(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    if vr in {b"OB", b"OW"}:
        return struct.pack("<HH2s2xI", group, number, vr, len(value)) + value
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def make_instance(sop: str, *, study: str, series: str, pixels: bytes = bytes(64), described: bool = False) -> bytes:
    """Return a Part 10 file that says these UIDs, and with `described` how many bits a pixel has."""
    sop_class = b"1.2.840.10008.5.1.4.1.1.7"
    meta = b"".join(
        [
            _element(2, 1, b"OB", b"\0\1"),
            _element(2, 2, b"UI", sop_class),
            _element(2, 3, b"UI", sop.encode()),
            _element(2, 0x10, b"UI", b"1.2.840.10008.1.2.1"),
            _element(2, 0x12, b"UI", b"2.25.1"),
        ]
    )
    data_set = b"".join(
        [
            _element(8, 0x16, b"UI", sop_class),
            _element(8, 0x18, b"UI", sop.encode()),
            _element(0x20, 0x0D, b"UI", study.encode()),
            _element(0x20, 0x0E, b"UI", series.encode()),
            _element(0x28, 0x100, b"US", b"\x08\0") if described else b"",
            _element(0x7FE0, 0x10, b"OW", pixels),
        ]
    )
    return bytes(128) + b"DICM" + _element(2, 0, b"UL", struct.pack("<I", len(meta))) + meta + data_set
