r"""multipart/related, cut into parts while it arrives (RFC 2046 section 5.1, PS3.18 section 8.6.1.2).

    parser = MultipartParser(boundary, handler)
    parser.feed(chunk)      # as often as chunks come; calls handler.begin, .data, .end
    parser.close()          # the body has ended: Truncated unless its closing delimiter was seen

Rules of this module:

* Payload goes on as views of the chunk that brought it. Only what may be the beginning of a delimiter, or an
  unfinished header block, is kept between two chunks.
* Each byte is looked at a bounded number of times, whatever the server sends.
* The newline before a delimiter belongs to the delimiter. The first delimiter line of a body says whether
  newlines are CRLF or bare LF; from then on nothing else counts.
* A part with a Content-Length is counted, not searched, and a delimiter must follow. If none does, the bytes
  handed on were wrong, so it is BadMultipart; ask again with `trust_lengths=False`.
* A body without its closing delimiter is truncated, whatever HTTP says (docs/servers.md, "Orthanc (DICOMweb plugin)").
  What follows the closing delimiter is ignored, but it has to end.

Nothing here knows what a part holds.
"""

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Protocol

from dicomhaul.errors import BadMultipart, Truncated

MAX_HEADERS_BYTES = 64 * 1024
MAX_PREAMBLE_BYTES = 64 * 1024
MAX_EPILOGUE_BYTES = 1024 * 1024

_PADDING = rb"[ \t]{0,64}"  # RFC 2046 puts no limit on "transport padding"; a line must have one
_LINE_END = re.compile(_PADDING + rb"\r?\n")
_LINE_END_BEGUN = re.compile(rb"-|" + _PADDING + rb"\r?")
_BLANK_LINE = re.compile(rb"\n(\r?\n)")
_LENGTH = re.compile(r"[0-9]{1,18}")
_SLACK = 80  # longest rest of a delimiter line behind the boundary, and a little more
_MAX_FIRST_LINE = 512

_CLOSED, _UNDECIDED, _PAYLOAD = -1, -2, -3  # what `_line_end` says instead of a position


class PartHandler(Protocol):
    """Who takes the parts. What it raises passes through the parser, which must not be used any more then."""

    def begin(self, headers: Mapping[str, str]) -> None:
        """A part begins; header names are in lower case."""
        ...

    def data(self, view: memoryview) -> None:
        """The part's next bytes, at least one: a read-only view of the chunk that was fed."""
        ...

    def end(self) -> None:
        """The part ended as its framing demands."""
        ...


class Framing(Protocol):
    """What takes a body apart: `MultipartParser`, or one of `framing`."""

    @property
    def lone(self) -> bool:
        """Whether the body is one part and nothing else, so that nothing in it says where it ends."""
        ...

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        ...

    def close(self) -> None:
        """Say that the body has ended. Raises Truncated where its framing shows that there was more."""
        ...


def _parse_headers(block: bytes, part: int) -> Mapping[str, str]:
    headers: dict[str, str] = {}
    name = ""
    for line in block.decode("latin-1").split("\n")[:-1]:
        if line[0] in " \t" and name:  # a folded line goes on with the one before
            headers[name] = f"{headers[name]} {line.strip()}"
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise BadMultipart(f"part {part} has a header line without a colon")
        name = name.strip().lower()
        headers[name] = value.strip()
    return MappingProxyType(headers)


def _line_end(buffer: bytes, after: int) -> int:
    """Read the rest of a delimiter line, which begins at `after`, just behind the boundary.

    Returns the position of its LF, or _CLOSED (it is the closing delimiter), _UNDECIDED (more bytes must
    come), or _PAYLOAD (the boundary was the beginning of something else).
    """
    if buffer.startswith(b"\r\n", after):
        return after + 1
    if buffer.startswith(b"--", after):
        return _CLOSED
    if match := _LINE_END.match(buffer, after):
        return match.end() - 1
    return _UNDECIDED if after == len(buffer) or _LINE_END_BEGUN.fullmatch(buffer, after) else _PAYLOAD


class MultipartParser:
    """A push parser for one multipart body.

    Args:
        boundary: as the Content-Type states it. None: taken from the body's first line, which must begin with
            `--`. A boundary that differs from the body's in case only is found too.
        handler: takes the parts.
        trust_lengths: count the parts that have a Content-Length. False: search for the delimiter in every
            part.

    Attributes:
        bytes_seen: bytes of the body so far.
        parts_begun: parts whose headers are complete.
        parts_ended: parts whose delimiter was found.
        finished: the closing delimiter was seen; what still comes is ignored.

    Errors: `feed` raises BadMultipart, `close` Truncated or BadMultipart.
    """

    def __init__(self, boundary: str | None, handler: PartHandler, *, trust_lengths: bool = True) -> None:
        self.lone = False
        self._handler = handler
        self._trust_lengths = trust_lengths
        self.bytes_seen = 0
        self.parts_begun = 0
        self.parts_ended = 0
        self.finished = False
        self._opening: re.Pattern[bytes] | None = None
        if boundary is not None:
            name = re.escape(boundary.encode("latin-1", "replace"))
            opening = rb"(?:\A|\n)--(" + name + rb")(?:(--)|" + _PADDING + rb"(\r?\n))"
            self._opening = re.compile(opening, re.IGNORECASE)
        self._longest = 4 + len(boundary or "") + _SLACK  # bytes in which any delimiter line is decided
        self._newline = b""
        self._delimiter = b""  # newline, "--", boundary; known from the first delimiter line on
        self._chunk = b""
        self._view = memoryview(b"")
        self._held = bytearray()  # what came without saying yet what it is
        self._searched = 0  # how much of `_held` cannot begin what is searched for
        self._ghost = 0  # bytes at the scan's start that can begin a delimiter but are no payload
        self._remaining = 0  # bytes of a counted part that are still to come
        self._tail = b""  # last bytes of a counted part: they tell a wrong length from a cut body
        self._behind = 0  # bytes in chunks behind the one that held the closing delimiter
        self._block = b""  # the last header block, and what it says
        self._headers: Mapping[str, str] = MappingProxyType({})
        self._length = 0  # its Content-Length, if that is to be trusted
        self._step: Callable[[int], int] = self._preamble if self._opening else self._first_line

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes of the body."""
        self.bytes_seen += len(chunk)
        self._chunk = chunk
        self._view = memoryview(chunk)
        position = 0
        while position < len(self._chunk):  # a step may put what was held in front of the chunk
            position = self._step(position)

    def close(self) -> None:
        """Say that the body has ended. Raises Truncated, or BadMultipart where a part's length was plainly
        wrong.
        """
        if not self._delimiter and self._opening is None and not self.finished:
            self._chunk = b"\n"  # a lone closing delimiter may lack its newline
            self._first_line(0)
        if self.finished:
            return
        if self._remaining and self._delimiter + b"--" in self._tail:
            raise BadMultipart(
                f"the Content-Length of part {self.parts_begun} is wrong: "
                f"it reaches {self._remaining} bytes beyond the end of the answer"
            )
        if not self._delimiter:
            raise Truncated(f"the multipart answer ended after {self.bytes_seen} bytes, before its first part")
        raise Truncated(
            f"the multipart answer ended after {self.bytes_seen} bytes without its closing delimiter; "
            f"{self.parts_ended} parts came whole"
        )

    # Steps: each takes the position in the chunk where it goes on and returns where the next one does. A
    # delimiter line is left at its LF, so that the blank line behind it is found with or without headers in
    # between.

    def _preamble(self, position: int) -> int:
        held = self._held
        before = len(held)
        held += self._chunk[: MAX_PREAMBLE_BYTES + self._longest - before]
        assert self._opening is not None  # noqa: S101 - this step is chosen by it
        match = self._opening.search(held, self._searched)
        if match is None:
            if len(held) >= MAX_PREAMBLE_BYTES + self._longest:
                raise BadMultipart(f"no delimiter in the first {MAX_PREAMBLE_BYTES} bytes of the multipart answer")
            self._searched = max(0, len(held) - self._longest)
            return len(self._chunk)
        if match[2]:
            return self._finish()
        return self._open(bytes(match[1]), bytes(match[3]), position + match.end() - 1 - before)

    def _first_line(self, position: int) -> int:
        held = self._held
        before = len(held)
        held += self._chunk[: 2 * _MAX_FIRST_LINE - before]
        text = bytes(held).lstrip()
        if text[:2] not in {b"", b"-", b"--"}:
            raise BadMultipart("the Content-Type names no boundary and the answer does not begin with one")
        end = text.find(b"\n")
        if end < 0 or end > _MAX_FIRST_LINE:
            if len(text) > _MAX_FIRST_LINE or len(held) == 2 * _MAX_FIRST_LINE:
                raise BadMultipart(f"no delimiter in the first {len(held)} bytes of the multipart answer")
            return len(self._chunk)
        name = text[2:end].rstrip()
        if name.endswith(b"--"):
            return self._finish()
        newline = b"\r\n" if text[end - 1 : end] == b"\r" else b"\n"
        return self._open(name, newline, position + len(held) - len(text) + end - before)

    def _open(self, boundary: bytes, newline: bytes, position: int) -> int:
        self._newline = newline
        self._delimiter = newline + b"--" + boundary
        self._longest = len(self._delimiter) + _SLACK
        self._held.clear()
        self._step = self._part_headers
        return position

    def _part_headers(self, position: int) -> int:
        held = self._held
        if held:
            before = len(held)
            held += self._chunk[position : position + MAX_HEADERS_BYTES - before]
            match = _BLANK_LINE.search(held, self._searched)
        else:
            before = 0
            match = _BLANK_LINE.search(self._chunk, position, position + MAX_HEADERS_BYTES)
        if match is None:
            if not before:
                held += self._chunk[position : position + MAX_HEADERS_BYTES]
            if len(held) >= MAX_HEADERS_BYTES:
                raise BadMultipart(f"the headers of part {self.parts_begun + 1} exceed {MAX_HEADERS_BYTES} bytes")
            self._searched = max(0, len(held) - 2)
            return len(self._chunk)
        blank = bytes(match[1])
        if before:
            block = bytes(held[1 : match.start() + 1])
            position += match.end() - before
            held.clear()
        else:
            block = self._chunk[position + 1 : match.start() + 1]
            position = match.end()
        if block != self._block:
            self._headers = _parse_headers(block, self.parts_begun + 1)
            length = self._headers.get("content-length", "")
            self._length = int(length) if self._trust_lengths and _LENGTH.fullmatch(length) else 0
            self._block = block
        self.parts_begun += 1
        self._handler.begin(self._headers)
        if self._length:
            self._remaining = self._length
            self._step = self._counted
            return position
        self._step = self._scanned
        if blank == self._newline:  # an empty part may share it with its delimiter
            held += self._newline
            self._ghost = len(held)
        return position

    def _counted(self, position: int) -> int:
        end = position + self._remaining
        chunk = self._chunk
        size = len(chunk)
        if end > size:
            self._handler.data(self._view[position:])
            self._remaining = end - size
            keep = self._longest
            self._tail = (self._tail + chunk[-keep:])[-keep:]
            return size
        self._handler.data(self._view[position:end])
        self._remaining = 0
        self._tail = b""
        self._step = self._required
        return end

    def _required(self, position: int) -> int:
        held = self._held
        window = bytes(held) + self._chunk[position : position + self._longest]
        end = self._delimiter_at(window, 0)
        if end == _PAYLOAD:
            raise BadMultipart(
                f"the Content-Length of part {self.parts_begun} is wrong: no delimiter follows its {self._length} bytes"
            )
        if end == _UNDECIDED:
            held[:] = window
            return len(self._chunk)
        position -= len(held)
        held.clear()
        return self._end_part(end, position)

    def _scanned(self, position: int) -> int:
        if self._held:
            return self._settle(position)
        chunk = self._chunk
        delimiter = self._delimiter
        end = _UNDECIDED
        at = chunk.find(delimiter, position)
        while at >= 0 and (end := _line_end(chunk, at + len(delimiter))) == _PAYLOAD:
            at = chunk.find(delimiter, at + 1)
        if at < 0:  # no delimiter, but one may have begun
            end = _UNDECIDED
            at = chunk.find(delimiter[:1], max(position, len(chunk) - len(delimiter) + 1))
            while at >= 0 and not delimiter.startswith(chunk[at:]):
                at = chunk.find(delimiter[:1], at + 1)
            if at < 0:
                at = len(chunk)
        if at > position:
            self._handler.data(self._view[position:at])
        if end == _UNDECIDED:
            self._held += chunk[at:]
            return len(chunk)
        return self._end_part(end, 0)

    def _settle(self, position: int) -> int:
        """Find out whether what was held begins a delimiter, now that more has come.

        It could only do so at its start: a second newline in it would have made the first a delimiter line.
        """
        held = self._held
        size = len(held)
        window = bytes(held) + self._chunk[position : position + self._longest]
        end = self._delimiter_at(window, 0)
        if end == _UNDECIDED:
            held[:] = window
            return len(self._chunk)
        held.clear()
        ghost, self._ghost = self._ghost, 0
        if end != _PAYLOAD:
            return self._end_part(end, position - size)
        if size > ghost:
            self._handler.data(memoryview(window)[ghost:size])
        return position

    def _delimiter_at(self, buffer: bytes, at: int) -> int:
        """Say what stands at `at`, in the words of `_line_end`."""
        delimiter = self._delimiter
        if buffer.startswith(delimiter, at):
            return _line_end(buffer, at + len(delimiter))
        return _UNDECIDED if delimiter.startswith(buffer[at : at + len(delimiter)]) else _PAYLOAD

    def _end_part(self, end: int, offset: int) -> int:
        self.parts_ended += 1
        self._handler.end()
        if end == _CLOSED:
            return self._finish()
        self._step = self._part_headers
        return end + offset

    def _finish(self) -> int:
        self.finished = True
        self._held.clear()
        self._step = self._epilogue
        return len(self._chunk)

    def _epilogue(self, position: int) -> int:
        self._behind += len(self._chunk) - position
        if self._behind > MAX_EPILOGUE_BYTES:
            raise BadMultipart(f"more than {MAX_EPILOGUE_BYTES} bytes follow the end of the multipart answer")
        return len(self._chunk)
