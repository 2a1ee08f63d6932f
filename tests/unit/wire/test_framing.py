"""Which framing an answer gets, by its Content-Type and its first bytes."""

from collections.abc import Mapping

import pytest

from dicomhaul.errors import BadMultipart, NotDicom, Truncated
from dicomhaul.wire.framing import framing_for

MULTIPART = b"--B\r\n\r\nabc\r\n--B--\r\n"


class Parts(list[bytes]):
    """A handler that keeps the parts' bytes."""

    def begin(self, headers: Mapping[str, str]) -> None:
        self.append(b"")

    def data(self, view: memoryview) -> None:
        self[-1] += view

    def end(self) -> None:
        self[-1] += b"!"


def take(content_type: str | None, body: bytes, size: int) -> list[bytes]:
    parts = Parts()
    framing = framing_for(content_type, parts)
    for at in range(0, len(body), size):
        framing.feed(body[at : at + size])
    framing.close()
    return list(parts)


@pytest.mark.parametrize("size", [1, 2, 3, 100])
@pytest.mark.parametrize(
    ("content_type", "body", "expected"),
    [
        ("multipart/related; boundary=B", MULTIPART, [b"abc!"]),
        ('Multipart/Related; Type=application/dicom; Boundary="B"', MULTIPART, [b"abc!"]),
        ("multipart/related", MULTIPART, [b"abc!"]),
        ("multipart/related; boundary=", MULTIPART, [b"abc!"]),
        ("multipart/related", b"DICM", [b"DICM!"]),
        ("application/dicom", MULTIPART, [MULTIPART + b"!"]),
        ("application/dicom; transfer-syntax=1.2", b"abc", [b"abc!"]),
        ("application/octet-stream", b"abc", [b"abc!"]),
        ("application/octet-stream", MULTIPART, [b"abc!"]),
        ("application/octet-stream", b"-", [b"-!"]),
        (None, b"abc", [b"abc!"]),
        (None, MULTIPART, [b"abc!"]),
        ("nonsense", MULTIPART, [b"abc!"]),
    ],
)
def test_the_framing_is_found(content_type: str | None, body: bytes, expected: list[bytes], size: int) -> None:
    assert take(content_type, body, size) == expected


@pytest.mark.parametrize(
    ("content_type", "body", "lone"),
    [
        ("multipart/related; boundary=B", MULTIPART, False),
        ("multipart/related", MULTIPART, False),
        ("multipart/related", b"DICM", True),
        ("application/dicom", b"DICM", True),
        (None, MULTIPART, False),
        (None, b"DICM", True),
        (None, b"", True),
    ],
)
def test_it_says_whether_anything_in_the_body_ends_it(content_type: str | None, body: bytes, lone: bool) -> None:  # noqa: FBT001 - a parameter
    framing = framing_for(content_type, Parts())
    framing.feed(body)
    assert framing.lone is lone


@pytest.mark.parametrize(
    "content_type",
    ["text/html; charset=utf-8", "application/json", "application/dicom+json", "image/jpeg", "application/zip"],
)
def test_what_is_something_else_is_refused(content_type: str) -> None:
    with pytest.raises(NotDicom, match="instead of DICOM") as caught:
        framing_for(content_type, Parts())
    assert content_type.partition(";")[0] in str(caught.value)


def test_a_refusal_stays_one_short_line() -> None:
    with pytest.raises(NotDicom) as caught:
        framing_for("text/" + "x" * 5000, Parts())
    assert len(str(caught.value)) < 120


@pytest.mark.parametrize("content_type", ["application/dicom", None, "application/octet-stream"])
def test_an_empty_answer_is_truncated(content_type: str | None) -> None:
    with pytest.raises(Truncated, match="empty"):
        take(content_type, b"", 1)


def test_lengths_are_passed_on() -> None:
    body = b"--B\r\nContent-Length: 1\r\n\r\nabc\r\n--B--\r\n"
    for content_type in ("multipart/related; boundary=B", None):
        with pytest.raises(BadMultipart):
            take(content_type, body, 100)
        parts = Parts()
        framing_for(content_type, parts, trust_lengths=False).feed(body)
        assert parts == [b"abc!"]
