"""What a bucket states of an object's bytes: `wire.digests`.

An input is header lines: `x-goog-hash`, `ETag` and others, one a line. Then it is read once more, as the plan of
headers whose digest is known.

* Nothing is raised; a digest has the length that its kind has, else the size alone counts.
* A digest that is stated as it must be is found, whatever stands beside it; one of an object that was encrypted or put
  together from parts never counts as MD5.
"""

import base64

from dicomhaul.model import Check
from dicomhaul.wire.digests import is_encoded, stated_digest
from fuzz.script import Script
from fuzz.target import Target

_SIZES = {Check.CRC32C: 4, Check.MD5: 16}
_OWN_KEYS = ("x-amz-server-side-encryption-customer-algorithm", "x-goog-encryption-algorithm")
_NOISE = ("", "crc32c=", "md5=!!", "crc32c=AAAA", "sha=AAAA", ",,", "=", "crc32c=AAAAAAAA")


def check(data: bytes) -> None:
    """Attack it with one input."""
    headers: dict[str, str] = {}
    hashes: list[str] = []
    for line in data.decode("latin-1").split("\n"):
        name, _, value = line.partition(":")
        if name == "x-goog-hash":
            hashes.append(value)
        else:
            headers[name] = value
    kind, digest = stated_digest(headers, hashes, headers.get("ETag"))
    assert (digest is None) == (kind is Check.SIZE)
    assert digest is None or len(digest) == _SIZES[kind]
    assert is_encoded(headers) in {True, False}
    _check_stated(Script(data))


def _check_stated(script: Script) -> None:
    crc, md5 = script.raw(4).ljust(4, b"\1"), script.raw(16).ljust(16, b"\1")
    stated = [f"crc32c={base64.b64encode(crc).decode()}"] if script.flag() else []
    stated += [f"md5={base64.b64encode(md5).decode()}"] if script.flag() else []
    if script.flag():
        stated.reverse()
    # The last that a name says counts, so the noise comes before.
    hashes = [script.pick(_NOISE), ",".join(stated)] if script.flag() else [", ".join([script.pick(_NOISE), *stated])]
    headers = {"x-goog-encryption-algorithm": "AES256"} if script.flag() else {}
    found = stated_digest(headers, hashes, script.pick((None, md5.hex())))
    if any(each.startswith("crc32c") for each in stated):
        assert found == (Check.CRC32C, crc)
    elif stated:
        assert found == (Check.MD5, md5)
    _check_etag(script, md5)


def _check_etag(script: Script, md5: bytes) -> None:
    assert stated_digest({}, [], md5.hex()) == (Check.MD5, md5)
    assert stated_digest({}, [], f"{md5.hex()}-{script.number(1, 99)}") == (Check.SIZE, None)
    assert stated_digest({script.pick(_OWN_KEYS): "AES256"}, [], md5.hex()) == (Check.SIZE, None)
    assert stated_digest({"x-amz-server-side-encryption": "aws:kms"}, [], md5.hex()) == (Check.SIZE, None)


TARGET = Target(
    "digests",
    check,
    (
        *(b"x-goog-hash:crc32c=AAAAAA==", b",md5=AAAAAAAAAAAAAAAAAAAAAA==", b"\n", b"ETag:"),
        *(b"00112233445566778899aabbccddeeff", b"x-amz-server-side-encryption:aws:kms", b"Content-Encoding:gzip"),
        *(b"=", b",", b"-3", b"\xe9", b"crc32c", b"md5", b"x-goog-encryption-algorithm:AES256"),
        *(b"x-goog-stored-content-encoding:gzip", b"x-goog-hash:", b"=="),
    ),
    max_bytes=1024,
)  # fmt: skip
