"""Reading the lines of an audit log, one after the other, in a bounded amount of memory."""

from collections.abc import Iterator
from typing import Any, BinaryIO, NamedTuple

from dicomhaul.trail.chain import MOST_LINE_BYTES, MOST_TORN_BYTES, BrokenError, Head, tells_of, unseal


class Line(NamedTuple):
    """An entry, and what is known once it was read.

    Attributes:
        entry: the JSON object, without its seal.
        head: of this line.
        torn_bytes: of what a crash left before it, of which it tells.
    """

    entry: dict[str, Any]
    head: Head
    torn_bytes: int = 0


class Rest(NamedTuple):
    """What follows the last line that is sound.

    Attributes:
        head: of that line.
        size_bytes: how much follows.
        bytes_: what follows, as far as it may be what one crash left.
        why: what is wrong with the first line of it; '' where nothing follows.
    """

    head: Head
    size_bytes: int
    bytes_: bytes
    why: str


def follow(file: BinaryIO, head: Head) -> Iterator[Line | Rest]:
    """Yield the lines behind `head`, where `file` stands, and at last what remains.

    A line that is not sound, and those behind it, are passed over where a sound line tells of them (`chain.TORN`).
    Raises OSError.
    """
    torn, why, size_bytes = bytearray(), "", 0
    while line := file.readline(MOST_LINE_BYTES + 1):
        try:
            entry, after = unseal(line, head._replace(end=head.end + size_bytes))
        except BrokenError as error:
            entry, after, why = {}, head, why or str(error)
        if not entry or (torn and not tells_of(entry, bytes(torn))):
            size_bytes += len(line)
            if size_bytes > MOST_TORN_BYTES:
                break
            torn += line
            continue
        yield Line(entry, after, size_bytes)
        head, why, size_bytes = after, "", 0
        torn.clear()
    yield Rest(head, size_bytes, bytes(torn), why)
