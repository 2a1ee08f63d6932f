"""What an answer says of an object, held against what the bucket's listing states of it."""

import re
from typing import Final

from dicomhaul.errors import DamagedError, NotFound, Truncated, Unsupported
from dicomhaul.model import Check, ObjectRef, Stated
from dicomhaul.net.response import Response
from dicomhaul.wire.digests import is_encoded, stated_digest

_RANGE: Final = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)\Z")
_LENGTH: Final = re.compile(r"[0-9]{1,18}\Z")
_STRONG: Final = re.compile(r'"([^"]*)"\Z')


def check_answer(response: Response, ref: ObjectRef) -> None:
    """See whether an answer (2xx) can be the object that was listed, before its body comes.

    Raises:
        NotFound: the answer is empty.
        Unsupported: it is another version of the object, or encoded, so that neither sizes nor digests speak of what
            comes.
        DamagedError: it is longer or shorter.
    """
    if response.status == 204:
        raise NotFound("the bucket answers 204 No Content")
    if is_encoded(response.headers):
        raise Unsupported(
            "the bucket keeps the object encoded (gzip or the like), so that its size and digest say nothing"
        )
    etag = _STRONG.match(response.headers.get("ETag", ""))
    if etag is not None and ref.etag is not None and etag[1] != ref.etag:
        raise changed()
    length = response.headers.get("Content-Length")
    if response.status != 206 and length is not None and (not _LENGTH.match(length) or int(length) != ref.size_bytes):
        raise DamagedError(f"the answer has {length[:20]} bytes, the bucket lists an object of {ref.size_bytes:,}")


def read_range(response: Response, ref: ObjectRef) -> int:
    """Return where the bytes of a 206 begin. Raises DamagedError if they are not bytes of this object."""
    stated = _RANGE.match(response.headers.get("Content-Range", ""))
    if stated is None or stated[3] not in {"*", str(ref.size_bytes)} or int(stated[1]) > int(stated[2]):
        raise DamagedError("the bucket answers with a range that is none of the object's")
    return int(stated[1])


def stated_of(response: Response, ref: ObjectRef, *, compare: bool) -> Stated:
    """Return what the bucket states of the object. Without `compare` that is its size alone."""
    check, digest = Check.SIZE, None
    if compare:
        check, digest = stated_digest(response.headers, response.each_header("x-goog-hash"), ref.etag)
    return Stated(ref.stem, ref.size_bytes, ref.etag, check, digest)


def changed() -> Unsupported:
    """The object is another one than was listed; the next run lists anew."""
    return Unsupported("the object has changed since the bucket listed it", status=412)


def too_long(ref: ObjectRef) -> DamagedError:
    """More bytes came than the object has."""
    return DamagedError(f"the answer goes on beyond the {ref.size_bytes:,} bytes that the bucket lists")


def too_short(ref: ObjectRef, at: int) -> Truncated:
    """The body ended early, though its framing says it is whole."""
    return Truncated(f"the answer ends at byte {at:,} of {ref.size_bytes:,}")
