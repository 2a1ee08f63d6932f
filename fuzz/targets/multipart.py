"""An answer's framing: `wire.framing` and `wire.multipart`.

An input is a Content-Type, a newline, and a body. Then it is read once more, as the plan of a body whose parts are
known beforehand.

* However the body is split, the same parts come out and it ends in the same way.
* It ends as the plain reading in `fuzz.plain_multipart` says: whole, truncated or broken, with the same parts.
* Nothing but DamagedError leaves the parser, and what it holds back is bounded by one delimiter or header block.
* Parts that were framed come out as they went in. A body that is cut anywhere before its end never ends well, and
  the parts that came before the cut are right.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from dicomhaul.errors import DamagedError, NotDicom, Truncated
from dicomhaul.wire.framing import framing_for
from dicomhaul.wire.media_type import parse_media_type
from dicomhaul.wire.multipart import MAX_HEADERS_BYTES, MAX_PREAMBLE_BYTES, Framing, MultipartParser
from fuzz.plain_multipart import read_plainly
from fuzz.script import Script, splits
from fuzz.target import Target

_ENDINGS = (b"", b"\r\n", b"\r\nepilogue\r\n--B\r\n", b" ", b"--")
_HEADERS = (b"Content-Type: application/dicom", b"Content-ID: <1@x>", b"MIME-Version: 1.0", b"A:", b"B: c\r\n\td")
_PIECES = (
    b"\r",
    b"\n",
    b"-",
    b"B",
    b"x",
    b"\r\n--B",
    b"\n--B",
    b" ",
    b"\r\n--",
    b"\0",
    b"--B--",
    b"\r\n--Bx",
    b"\r\r\n",
)
_WITHIN_PART = frozenset({MultipartParser._scanned, MultipartParser._counted, MultipartParser._required})


class Outcome(NamedTuple):
    """How a body ended (`whole`, or the name of an error), and the parts that came whole."""

    ended: str
    parts: list[tuple[dict[str, str], bytes]]


class _Parts:
    """A handler that keeps all it gets and checks the order of the calls."""

    def __init__(self) -> None:
        self.whole: list[tuple[dict[str, str], bytes]] = []
        self._headers: dict[str, str] | None = None
        self._payload = b""

    def begin(self, headers: Mapping[str, str]) -> None:
        assert self._headers is None
        self._headers = dict(headers)
        self._payload = b""

    def data(self, view: memoryview) -> None:
        assert self._headers is not None
        assert len(view) > 0
        self._payload += view

    def end(self) -> None:
        assert self._headers is not None
        self.whole.append((self._headers, self._payload))
        self._headers = None


def _outcome(content_type: str | None, chunks: Iterable[bytes], *, trust_lengths: bool) -> Outcome:
    parts = _Parts()
    try:
        framing = framing_for(content_type, parts, trust_lengths=trust_lengths)
        for chunk in chunks:
            framing.feed(chunk)
            _assert_little_is_held(framing)
        framing.close()
    except DamagedError as error:
        return Outcome(type(error).__name__, parts.whole)
    return Outcome("whole", parts.whole)


def _assert_little_is_held(framing: Framing) -> None:
    if isinstance(framing, MultipartParser):
        within_part = getattr(framing._step, "__func__", None) in _WITHIN_PART
        most = framing._longest if within_part else MAX_HEADERS_BYTES + MAX_PREAMBLE_BYTES
        assert len(framing._held) <= most
        assert len(framing._tail) <= framing._longest


def check(data: bytes) -> None:
    """Attack it with one input."""
    head, newline, body = data.partition(b"\n")
    _check_any(head.decode("latin-1") if newline else None, body)
    _check_framed(Script(data))


def _check_any(content_type: str | None, body: bytes) -> None:
    media = parse_media_type(content_type)
    for trust_lengths in (True, False):
        outcomes = [_outcome(content_type, chunks, trust_lengths=trust_lengths) for chunks in splits(body)]
        assert all(each == outcomes[0] for each in outcomes), outcomes
        if media.type.startswith("multipart/") and media.boundary is not None:
            boundary = media.boundary.encode("latin-1", "replace")
            plain = read_plainly(body, boundary, trust_lengths=trust_lengths)
            assert (outcomes[0].ended, [payload for _, payload in outcomes[0].parts]) == plain


def _check_framed(script: Script) -> None:
    newline = script.pick((b"\r\n", b"\n"))
    counted = script.flag()
    known = script.flag()
    body = script.pick((b"", newline, b"This is MIME." + newline)) if known else b""
    payloads = [_payload(script) for _ in range(script.number(0, 5))]
    if not counted:  # what holds a delimiter can only be counted
        payloads = [each for each in payloads if newline + b"--B" not in newline + each]
    padding = script.pick((b"", b" ", b" \t"))
    for payload in payloads:
        stated = [b"Content-Length: %d" % len(payload)] if counted else []
        headers = [script.pick(_HEADERS) for _ in range(script.number(0, 2))]
        block = b"".join(line + newline for line in [*headers, *stated])
        body += b"--B" + padding + newline + block + newline + payload + newline
    body += b"--B--"
    content_type = "multipart/related; boundary=B" if known else script.pick(("multipart/related", None))
    # A length of zero is not counted: the payload could not begin with a delimiter anyway.
    for chunks in splits(body + script.pick(_ENDINGS if known or payloads else (b"", b"\r\n"))):
        ended, parts = _outcome(content_type, chunks, trust_lengths=True)
        assert (ended, [payload for _, payload in parts]) == ("whole", payloads)
    cut = script.number(0, len(body) - 1)
    for chunks in splits(body[:cut]):
        ended, parts = _outcome(content_type, chunks, trust_lengths=True)
        sniffed = not known and cut < 2  # not enough to know that it has parts at all
        assert ended in {Truncated.__name__, "BadMultipart", NotDicom.__name__} or sniffed, (ended, body[:cut])
        assert sniffed or [payload for _, payload in parts] == payloads[: len(parts)]


def _payload(script: Script) -> bytes:
    if script.flag():
        return b"".join(script.pick(_PIECES) for _ in range(script.number(0, 12)))
    return script.raw(60)


TARGET = Target(
    "multipart",
    check,
    (
        *(b"--B", b"\r\n--B\r\n", b"\r\n--B--", b"\r\n--B--\r\n", b"\n--B\n", b"\r\n\r\n", b"\n\n", b"--B \t\r\n"),
        *(b"--b", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Type: application/dicom\r\n"),
        *(b"MIME-Version: 1.0", b"multipart/related; boundary=B\n", b'multipart/related;boundary="B"\n'),
        *(b"multipart/related\n", b"\n", b"application/dicom\n", b"application/octet-stream\n", b" " * 65),
        *(b"\r\n--Bx", b"\r\n--B-", b"\r", b"\r\n "),
    ),
)  # fmt: skip
