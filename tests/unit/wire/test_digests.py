"""What a bucket states of an object, and what of it can be compared."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.model import Check
from dicomhaul.wire.digests import is_encoded, stated_digest

MD5 = bytes(range(16))
CRC = b"\x01\x02\x03\xff"
NOTHING = (Check.SIZE, None)


def b64(digest: bytes) -> str:
    return base64.b64encode(digest).decode()


@pytest.mark.parametrize(
    ("goog", "stated"),
    [
        ([f"crc32c={b64(CRC)},md5={b64(MD5)}"], (Check.CRC32C, CRC)),
        ([f"md5={b64(MD5)}", f"crc32c={b64(CRC)}"], (Check.CRC32C, CRC)),
        ([f" MD5 = {b64(MD5)} "], (Check.MD5, MD5)),
        ([f"crc32c=nonsense, md5={b64(MD5)}"], (Check.MD5, MD5)),
        ([f"crc32c={b64(MD5)}"], NOTHING),
        (["crc32c=", "", "=", "sha1=AAAA"], NOTHING),
        (["crc32c=ä"], NOTHING),
    ],
)
def test_googles_hashes(goog: list[str], stated: tuple[Check, bytes | None]) -> None:
    assert stated_digest({}, goog, "-CKicn4fknu8CEAE=") == stated


@pytest.mark.parametrize(
    ("etag", "headers", "stated"),
    [
        (MD5.hex(), {}, (Check.MD5, MD5)),
        (MD5.hex().upper(), {"x-amz-server-side-encryption": "AES256"}, (Check.MD5, MD5)),
        (MD5.hex(), {"x-amz-server-side-encryption": "aws:kms"}, NOTHING),
        (MD5.hex(), {"x-amz-server-side-encryption": "aws:kms:dsse"}, NOTHING),
        (MD5.hex(), {"x-amz-server-side-encryption-customer-algorithm": "AES256"}, NOTHING),
        (MD5.hex(), {"x-goog-encryption-algorithm": "AES256"}, NOTHING),
        (f"{MD5.hex()}-2", {}, NOTHING),
        (MD5.hex()[:-1], {}, NOTHING),
        (f"{MD5.hex()}0", {}, NOTHING),
        (MD5.hex()[:-1] + "g", {}, NOTHING),
        (None, {}, NOTHING),
    ],
)
def test_etags(etag: str | None, headers: dict[str, str], stated: tuple[Check, bytes | None]) -> None:
    assert stated_digest(headers, [], etag) == stated


def test_beside_googles_hashes_an_etag_says_nothing() -> None:
    assert stated_digest({}, ["sha1=AAAA"], MD5.hex()) == NOTHING


@given(st.lists(st.text(max_size=60), max_size=3))
def test_no_header_breaks_it(goog: list[str]) -> None:
    check, digest = stated_digest({}, goog, None)
    assert len(digest or b"") == {Check.SIZE: 0, Check.CRC32C: 4, Check.MD5: 16}[check]


@pytest.mark.parametrize(
    ("headers", "encoded"),
    [
        ({}, False),
        ({"Content-Encoding": "identity"}, False),
        ({"Content-Encoding": "gzip"}, True),
        ({"x-goog-stored-content-encoding": "identity"}, False),
        ({"x-goog-stored-content-encoding": "gzip"}, True),
        ({"x-goog-stored-content-encoding": "identity", "Content-Encoding": "br"}, True),
    ],
)
def test_objects_that_come_encoded(headers: dict[str, str], *, encoded: bool) -> None:
    assert is_encoded(headers) is encoded
