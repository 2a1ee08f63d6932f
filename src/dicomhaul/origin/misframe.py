"""Spoils the framing of a multipart answer on purpose, whose parts are right. No sockets, no HTTP library."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Final

from dicomhaul.origin.faults import Multipart
from dicomhaul.origin.framing import Body, Filler, Framing, Part, Piece, fixed_part, read_part

_LINE_BYTES: Final = 1000
_JUNK: Final = b"This belongs to no part of the answer.\r\n"
_PADDING: Final = b"X-Padding: "
_BOUNDARY: Final = re.compile(r";\s*boundary=[^;]*")
_A_PART: Final = 3  # pieces: head, content, line break
_OF_A_PART: Final = frozenset(
    {"closed_early", "closed_within", "boundary_inside", "boundary_near", "huge_headers", "huge_header", "single"}
)


def strikes(fault: Multipart, parts: Sequence[Part]) -> bool:
    """Say whether there is a part that the fault means."""
    return fault.wrong not in _OF_A_PART or fault.count < len(parts)


async def misframed(framing: Framing, parts: Sequence[Part], fault: Multipart) -> Body:
    """Frame the parts in the way that the fault says; it `strikes` these. What is `single` is not framed at all."""
    whole = framing.body(parts)
    match fault.wrong:
        case "boundary_wrong":
            other = framing.boundary[:-1] + ("1" if framing.boundary.endswith("0") else "0")
            return replace(whole, content_type=framing.content_type(other))
        case "boundary_absent":
            return replace(whole, content_type=_BOUNDARY.sub("", whole.content_type))
        case "lf":
            bare = tuple(piece.replace(b"\r", b"") if isinstance(piece, bytes) else piece for piece in whole.pieces)
            return replace(whole, pieces=bare, closing=whole.closing.replace(b"\r", b""))
        case "epilogue":
            tail = (whole.closing, Filler(_JUNK, fault.size_bytes))
            return replace(whole, pieces=whole.pieces + tail, closing=b"")
    pieces = list(whole.pieces)
    await _spoil_pieces(pieces, framing, parts, fault)
    return replace(whole, pieces=tuple(pieces))


async def _spoil_pieces(pieces: list[Piece], framing: Framing, parts: Sequence[Part], fault: Multipart) -> None:
    at = _A_PART * fault.count
    delimiter, size_bytes = framing.delimiter, fault.size_bytes
    match fault.wrong:
        case "closed_early":
            del pieces[at:]
        case "closed_within":
            pieces.insert(at, delimiter + b"--\r\n")
        case "boundary_inside":
            pieces[at + 1] = await _overwritten(parts[fault.count], b"\r\n" + delimiter + b"\r\n")
        case "boundary_near":
            near = b" " + delimiter + b"\r\n\r\n" + delimiter[:-1] + b"\0"
            pieces[at + 1] = await _overwritten(parts[fault.count], near)
        case "no_headers":
            pieces[::_A_PART] = [delimiter + b"\r\n\r\n"] * len(parts)
        case "huge_headers" | "huge_header":
            head = framing.head(fault.count, parts[fault.count]).removesuffix(b"\r\n")
            line_bytes = _LINE_BYTES if fault.wrong == "huge_headers" else size_bytes
            pieces[at : at + 1] = [head, *_padding(size_bytes, line_bytes), b"\r\n"]
        case "preamble":
            pieces[:0] = [Filler(_JUNK, size_bytes), b"\r\n"]
        case "empty_parts":
            empty = delimiter + b"\r\n\r\n\r\n"
            pieces.insert(0, Filler(empty, fault.count * len(empty)))


async def _overwritten(part: Part, words: bytes) -> Part:
    content = bytearray(await read_part(part))
    middle = max(0, (len(content) - len(words)) // 2)
    content[middle : middle + len(words)] = words
    return fixed_part(bytes(content), part.syntax)


def _padding(size_bytes: int, line_bytes: int) -> Iterator[Piece]:
    """Yield header lines of `line_bytes`, line break and all; the last is longer where what is left makes no line."""
    bare_bytes = len(_PADDING) + 2
    full, last_bytes = divmod(size_bytes, line_bytes)
    if full and last_bytes <= bare_bytes:
        full, last_bytes = full - 1, last_bytes + line_bytes
    if full:
        yield Filler(_PADDING + b"x" * (line_bytes - bare_bytes) + b"\r\n", full * line_bytes)
    yield _PADDING
    yield Filler(b"x", last_bytes - bare_bytes)
    yield b"\r\n"
