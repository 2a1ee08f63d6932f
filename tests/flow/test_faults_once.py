"""`pull` from an origin that fails each series once, in a way of its own: all of it lands, and nothing is asked for
that the policy does not allow.

That policy, for a fault that passes: what broke or is damaged is asked for once more; what a server refuses as a series
is asked for as its instances, which it has to list first.
"""

from pathlib import Path

import pytest

from dicomhaul.origin import Cut, Gzip, Multipart, Part, Range, Redirect, Status, Truncate
from support.faulty import Asked, Case, pull_faulty

HTML = "<html><body>Please log in</body></html>"
JSON = '{"Message": "out of order"}'
AGAIN = Asked(series=2)
SINGLY = Asked(series=1, search=1, instance=2)
ONE_SINGLY = Asked(series=1, search=1, instance=1)


TRANSPORT = {
    "reset before headers": Case(Cut(reset=True), AGAIN),
    "reset at byte N": Case(Cut(after_bytes=3_000, reset=True), AGAIN),
    "reset behind the first part": Case(Cut(after_bytes=12_000, reset=True), AGAIN, count=3),
    "FIN before headers": Case(Cut(), AGAIN),
    "FIN at byte N with Content-Length": Case(Cut(after_bytes=3_000, outer="length"), AGAIN),
    "FIN at byte N without Content-Length": Case(Cut(after_bytes=3_000, outer="close"), AGAIN),
    "FIN behind the first part": Case(Cut(after_bytes=12_000), AGAIN, count=3),
    "chunked body cut": Case(Cut(after_bytes=12_000, outer="chunked"), AGAIN),
    "chunked body cut inside a chunk": Case(Cut(after_bytes=12_000, outer="chunked", torn_chunk=True), AGAIN),
}
FRAMING = {
    "missing closing delimiter": Case(Truncate(), AGAIN),
    "missing closing delimiter, with Content-Length": Case(Truncate(outer="length"), AGAIN),
    "ended well for HTTP, inside a part": Case(Truncate(after_bytes=12_000), AGAIN),
    "closing delimiter after too few parts": Case(Multipart(wrong="closed_early", count=1), ONE_SINGLY),
    "closing delimiter before other parts": Case(Multipart(wrong="closed_within", count=1), ONE_SINGLY),
    "a part left out": Case(Part(wrong="omit"), ONE_SINGLY),
    "part Content-Length too short": Case(Part(wrong="length"), AGAIN),
    "part Content-Length too long": Case(Part(wrong="length_over"), AGAIN),
    "wrong boundary": Case(Multipart(wrong="boundary_wrong"), AGAIN),
    "no boundary": Case(Multipart(wrong="boundary_absent"), Asked()),
    "LF-only delimiters": Case(Multipart(wrong="lf"), Asked()),
    "no part headers": Case(Multipart(wrong="no_headers"), Asked()),
    "64 KiB of part headers": Case(Multipart(wrong="huge_headers", count=1), AGAIN),
    "60 KiB of part headers": Case(Multipart(wrong="huge_headers", count=1, size_bytes=60_000), Asked()),
    "64 KiB of one part header": Case(Multipart(wrong="huge_header"), AGAIN),
    "preamble junk": Case(Multipart(wrong="preamble", size_bytes=4_096), Asked()),
    "preamble junk without end": Case(Multipart(wrong="preamble", size_bytes=1_000_000), AGAIN),
    "epilogue junk": Case(Multipart(wrong="epilogue", size_bytes=4_096), Asked()),
    "zero parts": Case(Multipart(wrong="closed_early", count=0), SINGLY),
    "empty parts": Case(Multipart(wrong="empty_parts", count=3), Asked()),
    "single part instead of multipart": Case(Multipart(wrong="single"), ONE_SINGLY),
    "duplicate part": Case(Part(wrong="duplicate"), Asked()),
    "foreign part (other series)": Case(Part(wrong="foreign"), AGAIN),
    "foreign part (other study)": Case(Part(wrong="foreign_study"), AGAIN),
    "the same SOP Instance UID with other bytes": Case(Part(wrong="twin"), Asked()),
    "a UID that climbs": Case(Part(wrong="evil_uid"), AGAIN),
    "text in a part": Case(Part(wrong="text"), AGAIN),
    "HTML in a part": Case(Part(wrong="html"), AGAIN),
    "a part without bytes": Case(Part(wrong="empty"), AGAIN),
    "an instance cut inside whole framing": Case(Part(wrong="cut"), AGAIN),
}
BOUNDARY_INSIDE = {"boundary inside the payload": Case(Multipart(wrong="boundary_inside"), AGAIN)}
ANSWERS = {
    "HTML with 200": Case(Status(status=200, body=HTML), AGAIN),
    "HTML with 200, labelled as nothing": Case(
        Status(status=200, body=HTML, headers={"Content-Type": "application/octet-stream"}), AGAIN
    ),
    "JSON error with 200": Case(Status(status=200, body=JSON), AGAIN),
    "gzip body": Case(Gzip(), AGAIN),
    "gzip body, unstated": Case(Gzip(wrong="unstated"), AGAIN),
    "gzip stated, and none": Case(Gzip(wrong="stated"), Asked()),
    "gzip body, cut": Case(Gzip(wrong="cut"), AGAIN),
    "gzip bomb": Case(Gzip(pad_bytes=100_000_000), AGAIN),
    "204": Case(Status(status=204), SINGLY),
    "206": Case(Range(wrong="unasked"), AGAIN),
    "redirected to itself": Case(Redirect(), SINGLY),
    "redirected without end": Case(Redirect(to="{path}?hop={number}"), AGAIN),
    "400 transient": Case(Status(status=400), AGAIN),
    "404": Case(Status(status=404), SINGLY),
    "406": Case(Status(status=406), AGAIN),
    "408": Case(Status(status=408), AGAIN),
    "410": Case(Status(status=410), SINGLY),
    "413": Case(Status(status=413), SINGLY),
    "500 empty": Case(Status(status=500), AGAIN),
    "502": Case(Status(status=502, body=HTML), AGAIN),
    "504": Case(Status(status=504), AGAIN),
}
# Apart from the others: a host that throttles gets fewer requests a second for the rest of the run.
THROTTLES = {
    "429 with seconds": Case(Status(status=429, retry_after_s=1), AGAIN),
    "429 with a date": Case(Status(status=429, retry_after_s=2, retry_after_as="date"), AGAIN),
    "429 with a date in the past": Case(Status(status=429, retry_after_s=-3_600, retry_after_as="date"), AGAIN),
    "429 without Retry-After": Case(Status(status=429), AGAIN),
    "503": Case(Status(status=503), AGAIN),
    "503 with seconds": Case(Status(status=503, retry_after_s=1), AGAIN),
}


@pytest.mark.parametrize("style", ["orthanc", "dcm4chee"])
def test_what_breaks_once_is_mended(style: str, tmp_path: Path) -> None:
    pulled = pull_faulty(TRANSPORT, tmp_path, style=style)
    pulled.assert_as_expected()


def test_what_is_framed_wrongly_once_is_mended(tmp_path: Path) -> None:
    """Of two instances with one UID the first stays, and the user is told; a mere repetition is no news."""
    pulled = pull_faulty(FRAMING, tmp_path)
    pulled.assert_as_expected()
    (twin,) = (series for series, name in pulled.names.items() if name.startswith("the same SOP Instance UID"))
    (told,) = (line for line in pulled.ended.stderr.splitlines() if "came twice in one answer" in line)
    assert f"series {twin}: " in told
    assert "with other bytes" in told


def test_what_is_answered_wrongly_once_is_mended(tmp_path: Path) -> None:
    pull_faulty(ANSWERS, tmp_path).assert_as_expected()


def test_what_is_throttled_once_comes_later(tmp_path: Path) -> None:
    pull_faulty(THROTTLES, tmp_path).assert_as_expected()


def test_a_boundary_inside_the_payload(tmp_path: Path) -> None:
    """By a server that states no lengths of parts."""
    pull_faulty(BOUNDARY_INSIDE, tmp_path, style="dcm4chee").assert_as_expected()
