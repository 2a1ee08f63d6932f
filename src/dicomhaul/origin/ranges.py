"""Which bytes of an object a request asks for, and whether it still means the same object (RFC 9110). Pure."""

import re
from typing import Final, NamedTuple

_ONE: Final = re.compile(r"bytes=[ \t]*(?:(\d+)-(\d*)|-(\d+))[ \t]*\Z", re.IGNORECASE)


class Span(NamedTuple):
    """Bytes `begin` up to, and without, `end`."""

    begin: int
    end: int


def parse_range(header: str, size_bytes: int) -> Span | None:
    """Return the bytes that a Range header means; None: the whole object (section 14.2).

    Several ranges at once, other units and malformed ones are ignored, as S3 does. Raises ValueError for a range that
    begins behind the end (416).
    """
    found = _ONE.match(header)
    if found is None:
        return None
    first, last, suffix = found.groups()
    if suffix is not None:
        if int(suffix) == 0 or size_bytes == 0:
            raise ValueError(header)
        return Span(max(0, size_bytes - int(suffix)), size_bytes)
    if last and int(last) < int(first):
        return None  # invalid, so that it is ignored
    if int(first) >= size_bytes:
        raise ValueError(header)
    return Span(int(first), min(int(last) + 1, size_bytes) if last else size_bytes)


def matches(header: str, etag: str) -> bool:
    """Say whether an If-Match header lets the request pass (section 13.1.1); `etag` is quoted. '' lets it pass."""
    words = [word.strip() for word in header.split(",") if word.strip()]
    return not words or "*" in words or etag in words
