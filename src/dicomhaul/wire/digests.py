"""What a bucket states of an object's bytes, and what of that can be compared.

Rules of this module:

* `x-goog-hash` (Google Cloud Storage) comes first, and of what it holds CRC32C: every object has it, and it is cheap.
  MD5 is missing for composite objects.
* An ETag is the MD5 of the object if it is 32 hexadecimal digits, and the object is neither encrypted with a key of KMS
  or of a customer nor was put together from parts (`...-N`). Any other ETag only says whether two are the same.
* A digest that is malformed counts as none.
"""

import base64
import binascii
import re
from collections.abc import Iterable, Mapping
from typing import Final

from dicomhaul.model import Check

_MD5_ETAG: Final = re.compile(r"[0-9a-fA-F]{32}\Z")
_GOOG: Final = (("crc32c", Check.CRC32C, 4), ("md5", Check.MD5, 16))
_SSE: Final = "x-amz-server-side-encryption"
_OWN_KEY: Final = ("x-amz-server-side-encryption-customer-algorithm", "x-goog-encryption-algorithm")
_ENCODINGS: Final = ("Content-Encoding", "x-goog-stored-content-encoding")


def stated_digest(headers: Mapping[str, str], goog_hash: Iterable[str], etag: str | None) -> tuple[Check, bytes | None]:
    """Return what can be compared and with what: 4 bytes of CRC32C big endian, or 16 of MD5; else the size alone.

    Args:
        headers: of the answer that brings the object; case-insensitive.
        goog_hash: each `x-goog-hash` header of it, since there may be several.
        etag: the object's, without quotes.
    """
    stated = {name.strip().lower(): value for each in goog_hash for name, _, value in _pairs(each)}
    for name, check, size in _GOOG:
        digest = _base64(stated.get(name, ""))
        if len(digest) == size:
            return check, digest
    if etag is not None and _MD5_ETAG.match(etag) and not stated and _is_plain(headers):
        return Check.MD5, bytes.fromhex(etag)
    return Check.SIZE, None


def is_encoded(headers: Mapping[str, str]) -> bool:
    """Say whether what comes is not, byte for byte, what the bucket lists and states digests of.

    Google stores objects compressed where their owner wants that, states the sizes and digests of the compressed form,
    and unpacks it for who does not ask for gzip.
    """
    return any(headers.get(name, "identity").strip().lower() != "identity" for name in _ENCODINGS)


def _is_plain(headers: Mapping[str, str]) -> bool:
    return headers.get(_SSE, "AES256") == "AES256" and not any(name in headers for name in _OWN_KEY)


def _pairs(header: str) -> Iterable[tuple[str, str, str]]:
    return (each.partition("=") for each in header.split(","))


def _base64(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
