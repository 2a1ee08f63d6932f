"""The multipart parser: every quirk whole, byte by byte and split anyhow; every cut; and what it costs."""

import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.errors import BadMultipart, Truncated
from dicomhaul.wire.multipart import MAX_HEADERS_BYTES, MAX_PREAMBLE_BYTES, MultipartParser

CRLF, LF = b"\r\n", b"\n"


@dataclass
class Collector:
    """A handler that keeps all it gets and checks the order of the calls."""

    parts: list[tuple[dict[str, str], bytes]] = field(default_factory=list)
    headers: dict[str, str] | None = None
    views: list[memoryview] = field(default_factory=list)

    def begin(self, headers: Mapping[str, str]) -> None:
        assert self.headers is None
        self.headers = dict(headers)
        self.views = []

    def data(self, view: memoryview) -> None:
        assert self.headers is not None
        assert len(view) > 0
        self.views.append(view)

    def end(self) -> None:
        assert self.headers is not None
        self.parts.append((self.headers, b"".join(self.views)))
        self.headers = None

    @property
    def payloads(self) -> list[bytes]:
        return [payload for _, payload in self.parts]


def parse(chunks: Iterable[bytes], boundary: str | None = "B", *, trust_lengths: bool = True) -> Collector:
    collector = Collector()
    parser = MultipartParser(boundary, collector, trust_lengths=trust_lengths)
    for chunk in chunks:
        parser.feed(chunk)
    parser.close()
    assert parser.parts_begun == parser.parts_ended == len(collector.parts)
    assert parser.finished
    return collector


def pieces(body: bytes, size: int) -> Iterator[bytes]:
    for at in range(0, len(body), size):
        yield body[at : at + size]


def parse_every_way(body: bytes, boundary: str | None = "B", *, trust_lengths: bool = True) -> Collector:
    """Parse whole, with epilogue, and in pieces of each small size; all must agree."""
    whole = parse([body], boundary, trust_lengths=trust_lengths)
    for size in [*range(1, 24), 64, 100, 127]:
        again = parse(pieces(body, size), boundary, trust_lengths=trust_lengths)
        assert again.parts == whole.parts, f"in pieces of {size}"
    assert parse([body, b"\r\njunk --B\r\n", b"more"], boundary, trust_lengths=trust_lengths).parts == whole.parts
    return whole


def body_of(payloads: Iterable[bytes], headers: bytes = b"Content-Type: application/dicom\r\n") -> bytes:
    return b"".join(b"--B\r\n" + headers + b"\r\n" + payload + b"\r\n" for payload in payloads) + b"--B--\r\n"


def with_lengths(payloads: Iterable[bytes]) -> bytes:
    return (
        b"".join(
            b"--B\r\nContent-Type: application/dicom\r\nContent-Length: %d\r\nMIME-Version: 1.0\r\n\r\n%s\r\n"
            % (len(payload), payload)
            for payload in payloads
        )
        + b"--B--\r\n"
    )


PAYLOADS = [b"one", b"two\r\n--", b"\r\n--\r\n--C\r\n\r\n", bytes(range(256)), b"\r\n--B\r", b"-" * 90]
TRICKY = [
    b"\r\n--Bx",
    b"x\r\n--b\r\n",  # another case is another boundary once the first line has settled it
    b"x\r\n--B" + b" " * 65 + b"\r\n",  # too much padding for a delimiter line
    b"x\n--B\r\n",
    b"\r\r\n\r\n--A\r\n-\r\n--B\tx",
    b"\r",
    b"\r\n",
    b"\r\n-",
    b"\r\n--B-x",
    b"\r\n--B\rx",
]


@pytest.mark.parametrize(
    ("body", "boundary", "expected"),
    [
        pytest.param(body_of(PAYLOADS[:4]), "B", PAYLOADS[:4], id="azure"),
        pytest.param(with_lengths(PAYLOADS), "B", PAYLOADS, id="orthanc"),
        pytest.param(body_of(TRICKY), "B", TRICKY, id="payloads-like-delimiters"),
        pytest.param(b"--B\r\nContent-ID: <1@x>\r\n\r\nabc\r\n--B--", "B", [b"abc"], id="resteasy-no-final-crlf"),
        pytest.param(b"--B--\r\n", "B", [], id="orthanc-zero-parts"),
        pytest.param(b"--B--", "B", [], id="zero-parts-no-crlf"),
        pytest.param(b"\r\n--B--\r\n", "B", [], id="zero-parts-after-crlf"),
        pytest.param(b"\r\n" + body_of([b"abc"]), "B", [b"abc"], id="leading-crlf"),
        pytest.param(b"hello --B\r\n--BB\r\nyou\r\n" + body_of([b"abc"]), "B", [b"abc"], id="preamble"),
        pytest.param(b"--B\r\n\r\nabc\r\n--B\r\n\r\n\r\n--B--", "B", [b"abc", b""], id="no-headers"),
        pytest.param(b"--B\r\n\r\n--B\r\nA: b\r\n\r\n--B--", "B", [b"", b""], id="shared-newline"),
        pytest.param(b"--B\r\nContent-Length: 0\r\n\r\n\r\n--B--", "B", [b""], id="length-zero"),
        pytest.param(b"--B\nA: b\n\nab\r\nc\n--B\n\nd\r\n--B--", "B", [b"ab\r\nc", b"d\r"], id="lf-only"),
        pytest.param(b"--B \t\r\nA: b\r\n\r\nabc\r\n--B  \r\n\r\nd\r\n--B--", "B", [b"abc", b"d"], id="padding"),
        pytest.param(b"--Ab\r\n\r\nabc\r\n--Ab--", "aB", [b"abc"], id="boundary-case"),
        pytest.param(b"--B\r\n\r\nabc\r\n--B--", None, [b"abc"], id="boundary-from-the-body"),
        pytest.param(b"\r\n--B \n\nabc\n--B--", None, [b"abc"], id="boundary-from-the-body-lf"),
        pytest.param(b"--B--\r\n", None, [], id="boundary-from-the-body-zero-parts"),
        pytest.param(b"--B--", None, [], id="boundary-from-the-body-zero-parts-no-crlf"),
        pytest.param(b"--(+.)?\r\n\r\nabc\r\n--(+.)?--", "(+.)?", [b"abc"], id="boundary-of-specials"),
        pytest.param(
            b"--B\r\n" + b"X-Long: " + b"y" * 9000 + b"\r\n\r\nabc\r\n--B--", "B", [b"abc"], id="headers-over-8-KiB"
        ),
    ],
)
def test_each_framing(body: bytes, boundary: str | None, expected: list[bytes]) -> None:
    assert parse_every_way(body, boundary).payloads == expected
    assert parse_every_way(body, boundary, trust_lengths=False).payloads == expected


def test_headers_are_read() -> None:
    body = (
        b'--B\r\nContent-Type: application/dicom;\r\n\ttransfer-syntax="1.2"\r\nX-ODD :  a:b \r\n\r\nabc\r\n'
        b"--B\r\nEmpty:\r\n\r\nabc\r\n--B--"
    )
    parts = parse_every_way(body).parts
    assert parts[0][0] == {"content-type": 'application/dicom; transfer-syntax="1.2"', "x-odd": "a:b"}
    assert parts[1][0] == {"empty": ""}


@pytest.mark.parametrize("length", [b"-3", b"+3", b"three", b"", b"0x3", b"9" * 19, b"3, 3"])
def test_a_length_that_is_no_number_is_not_used(length: bytes) -> None:
    body = b"--B\r\nContent-Length: " + length + b"\r\n\r\nabc\r\n--B--"
    assert parse_every_way(body).payloads == [b"abc"]


@pytest.mark.parametrize("length", [1, 2, 4, 5, 8, 12, 20])
def test_a_wrong_length_is_bad_and_scanning_helps(length: int) -> None:
    body = b"--B\r\nContent-Length: %d\r\n\r\nabc\r\n--B\r\n\r\ndef\r\n--B--\r\n" % length
    for size in range(1, len(body) + 1):
        with pytest.raises(BadMultipart, match="Content-Length of part 1 is wrong"):
            parse(pieces(body, size))
    assert parse_every_way(body, trust_lengths=False).payloads == [b"abc", b"def"]


def test_a_length_beyond_the_end_is_bad_and_not_truncated() -> None:
    body = b"--B\r\nContent-Length: 500\r\n\r\nabc\r\n--B--\r\n"
    for size in range(1, len(body) + 1):
        with pytest.raises(BadMultipart, match="beyond the end"):
            parse(pieces(body, size))


@pytest.mark.parametrize("lengths", [True, False])
@pytest.mark.parametrize("newline", [CRLF, LF])
def test_each_cut_is_truncated_and_no_part_is_wrong(newline: bytes, lengths: bool) -> None:  # noqa: FBT001
    payloads = [b"one\r\n--B\r", b"", b"\r\n--", b"x" * 40]
    if newline == LF:
        payloads = [payload.replace(CRLF, b"\r") for payload in payloads]
    body = with_lengths(payloads) if lengths else body_of(payloads)
    if newline == LF:
        body = body.replace(CRLF, LF)
    end = body.rindex(b"--B--") + len(b"--B--")
    for cut in range(end):
        for chunks in ([body[:cut]], pieces(body[:cut], 1), pieces(body[:cut], 7)):
            collector = Collector()
            parser = MultipartParser("B", collector)
            for chunk in chunks:
                parser.feed(chunk)
            with pytest.raises(Truncated, match=rf"after {cut} bytes"):
                parser.close()
            assert collector.payloads == payloads[: len(collector.parts)]
            assert not parser.finished
    for cut in range(end, len(body) + 1):
        assert parse([body[:cut]]).payloads == payloads


@pytest.mark.parametrize(
    ("body", "boundary", "message"),
    [
        (b"x" * (MAX_PREAMBLE_BYTES + 200), "B", "no delimiter in the first"),
        (b"\n" * (MAX_PREAMBLE_BYTES + 200), "B", "no delimiter in the first"),
        (b"--" + b"x" * 2000, None, "no delimiter in the first"),
        (b"--" + b"x" * 600 + b"\r\n\r\n", None, "no delimiter in the first"),
        (b" " * 2000, None, "no delimiter in the first"),
        (b"<html>", None, "names no boundary"),
        (b"-x", None, "names no boundary"),
        (b"--B\r\nA: " + b"x" * MAX_HEADERS_BYTES, "B", "headers of part 1 exceed"),
        (b"--B\r\n" + b"A: b\r\n" * MAX_HEADERS_BYTES, "B", "headers of part 1 exceed"),
        (b"--B\r\nA\r\n\r\n", "B", "part 1 has a header line without a colon"),
        (b"--B\r\n\x00\x01\r\n\r\n", "B", "part 1 has a header line without a colon"),
    ],
)
def test_what_cannot_be_multipart(body: bytes, boundary: str | None, message: str) -> None:
    for size in (1, 1000, len(body)):
        with pytest.raises(BadMultipart, match=message):
            parse(pieces(body, size), boundary)


def test_an_empty_body_is_truncated() -> None:
    for boundary in ("B", None):
        with pytest.raises(Truncated, match="after 0 bytes, before its first part"):
            parse([], boundary)


def test_payload_is_not_copied() -> None:
    body = body_of([b"x" * 5000, b"y" * 5000])
    seen: list[object] = []

    class Handler(Collector):
        def data(self, view: memoryview) -> None:
            seen.append(view.obj)
            super().data(view)

    for trust_lengths in (True, False):
        seen.clear()
        MultipartParser("B", Handler(), trust_lengths=trust_lengths).feed(body)
        assert [id(held) for held in seen] == [id(body)] * 2


def test_what_the_handler_raises_passes_through() -> None:
    class Refusing(Collector):
        def end(self) -> None:
            raise LookupError

    with pytest.raises(LookupError):
        MultipartParser("B", Refusing()).feed(body_of([b"abc"]))


@pytest.mark.parametrize(
    "hostile",
    [
        b"\r\n--" * 500,
        b"\r" * 2000,
        b"\r\n--Bx" * 300,
        (b"\r\n--B" + b" " * 65) * 30,
        b"\r\n--B\r\r" * 300,
    ],
)
@pytest.mark.parametrize("size", [1, 3, 50, 100_000])
def test_work_is_linear(hostile: bytes, size: int) -> None:
    def run(times: int) -> int:
        parser = MultipartParser("B", Collector())
        parser.feed(b"--B\r\n\r\n")
        calls = 0

        def count(_frame: object, event: str, _argument: object) -> None:
            nonlocal calls
            calls += event in {"call", "c_call"}

        chunks = list(pieces(hostile * times, size))
        sys.setprofile(count)
        try:
            for chunk in chunks:
                parser.feed(chunk)
                assert len(parser._held) <= parser._longest
        finally:
            sys.setprofile(None)
        return calls

    assert run(4) <= 4 * run(1) + 100


chunked = st.lists(st.integers(1, 300), min_size=1, max_size=50)
alphabet = st.sampled_from([b"\r", b"\n", b"-", b"B", b"x", b"\r\n--B", b" ", b"\r\n--", b"\0", b"--B--"])
payload_bytes = st.lists(alphabet, max_size=30).map(b"".join)


@given(
    payloads=st.lists(payload_bytes, max_size=6),
    newline=st.sampled_from([CRLF, LF]),
    preamble=st.sampled_from([b"", b"\r\n", b"\n\n", b"This is MIME.\r\n"]),
    headers=st.lists(st.sampled_from([b"Content-Type: application/dicom", b"X: y", b"Content-ID: <z>"]), max_size=3),
    padding=st.sampled_from([b"", b" ", b"\t  "]),
    ending=st.sampled_from([b"", b"\r\n", b"\r\nepilogue\r\n--B\r\n", b" "]),
    lengths=st.booleans(),
    known=st.booleans(),
    sizes=chunked,
)
def test_what_is_framed_comes_out(  # noqa: PLR0917 - Hypothesis passes each by name
    payloads: list[bytes],
    newline: bytes,
    preamble: bytes,
    headers: list[bytes],
    padding: bytes,
    ending: bytes,
    lengths: bool,  # noqa: FBT001
    known: bool,  # noqa: FBT001
    sizes: list[int],
) -> None:
    body = preamble
    if not lengths:
        payloads = [p for p in payloads if re.search(newline + rb"--B(--|[ \t]{0,64}\r?(\n|\Z))", newline + p) is None]
    for payload in payloads:
        stated = [b"Content-Length: %d" % len(payload)] if lengths else []
        block = b"".join(line + newline for line in [*headers, *stated])
        body += b"--B" + padding + newline + block + newline + payload + newline
    body += b"--B--" + ending
    chunks: list[bytes] = []
    at = 0
    for size in sizes:
        chunks.append(body[at : at + size])
        at += size
    chunks.append(body[at:])
    boundary = "B" if known or preamble.strip() or not payloads else None
    assert parse(chunks, boundary).payloads == payloads


@given(body=st.lists(st.one_of(alphabet, st.binary(max_size=5)), max_size=80).map(b"".join), sizes=chunked)
def test_any_bytes_end_the_same_however_they_are_split(body: bytes, sizes: list[int]) -> None:
    def outcome(chunks: Iterable[bytes]) -> object:
        collector = Collector()
        parser = MultipartParser("B", collector)
        try:
            for chunk in chunks:
                parser.feed(chunk)
            parser.close()
        except (BadMultipart, Truncated) as error:
            return type(error), str(error) if isinstance(error, Truncated) else "", collector.parts
        return collector.parts

    chunks = []
    at = 0
    for size in sizes:
        chunks.append(body[at : at + size])
        at += size
    chunks.append(body[at:])
    assert outcome(chunks) == outcome([body])
