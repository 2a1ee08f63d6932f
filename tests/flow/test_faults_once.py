"""`pull` from an origin that fails each series once, in a way of its own: all of it lands, and nothing is asked for
that the policy does not allow.

That policy, for a fault that passes: what broke or is damaged is asked for once more; what a server refuses as a series
is asked for as its instances, which it has to list first.
"""

import time
from email.utils import formatdate
from pathlib import Path

import pytest

from dicomhaul.origin import Cut, Part, Status, Truncate
from support.faulty import Asked, Case, pull_faulty

HTML = "<html><body>Please log in</body></html>"
JSON = '{"Message": "out of order"}'
AGAIN = Asked(series=2)
SINGLY = Asked(series=1, search=1, instance=2)


def status(code: int, body: str = "", **headers: str) -> Status:
    return Status(status=code, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def http_date(seconds_from_now: float) -> str:
    return formatdate(time.time() + seconds_from_now, usegmt=True)


TRANSPORT = {
    "reset before headers": Case(Cut(reset=True), AGAIN),
    "reset at byte N": Case(Cut(after_bytes=3_000, reset=True), AGAIN),
    "reset behind the first part": Case(Cut(after_bytes=12_000, reset=True), AGAIN, count=3),
    "FIN before headers": Case(Cut(), AGAIN),
    "FIN at byte N with Content-Length": Case(Cut(after_bytes=3_000), AGAIN, count=1),
    "FIN at byte N without Content-Length": Case(Cut(after_bytes=3_000), AGAIN),
    "FIN behind the first part": Case(Cut(after_bytes=12_000), AGAIN, count=3),
}
FRAMING = {
    "missing closing delimiter": Case(Truncate(), AGAIN),
    "ended well for HTTP, inside a part": Case(Truncate(after_bytes=12_000), AGAIN),
    "closing delimiter after too few parts": Case(Part(wrong="omit"), Asked(series=1, search=1, instance=1)),
    "part Content-Length too short": Case(Part(wrong="length"), AGAIN),
    "part Content-Length too long": Case(Part(wrong="length_over"), AGAIN),
    "duplicate part": Case(Part(wrong="duplicate"), Asked()),
    "foreign part": Case(Part(wrong="foreign"), AGAIN),
    "a UID that climbs": Case(Part(wrong="evil_uid"), AGAIN),
    "text in a part": Case(Part(wrong="text"), AGAIN),
    "an instance cut inside whole framing": Case(Part(wrong="cut"), AGAIN),
}
ANSWERS = {
    "HTML with 200": Case(status(200, HTML, Content_Type="text/html"), AGAIN),
    "HTML with 200, labelled as nothing": Case(status(200, HTML, Content_Type="application/octet-stream"), AGAIN),
    "JSON error with 200": Case(status(200, JSON, Content_Type="application/json"), AGAIN),
    "204": Case(status(204), SINGLY),
    "redirected to itself": Case(status(301, Location="?again"), AGAIN),
    "400 transient": Case(status(400), AGAIN),
    "404": Case(status(404), SINGLY),
    "406": Case(status(406), AGAIN),
    "408": Case(status(408), AGAIN),
    "410": Case(status(410), SINGLY),
    "413": Case(status(413), SINGLY),
    "429 with seconds": Case(status(429, Retry_After="1"), AGAIN),
    "429 with a date": Case(status(429, Retry_After=http_date(5.0)), AGAIN),
    "429 with a date in the past": Case(status(429, Retry_After=http_date(-86_400.0)), AGAIN),
    "429 without Retry-After": Case(status(429), AGAIN),
    "500 empty": Case(status(500), AGAIN),
    "502": Case(status(502, HTML), AGAIN),
    "503": Case(status(503), AGAIN),
    "503 with seconds": Case(status(503, Retry_After="1"), AGAIN),
    "504": Case(status(504), AGAIN),
}


@pytest.mark.parametrize("style", ["orthanc", "dcm4chee"])
def test_what_breaks_once_is_mended(style: str, tmp_path: Path) -> None:
    pulled = pull_faulty(TRANSPORT, tmp_path, style=style)
    pulled.assert_as_expected()


def test_what_is_framed_wrongly_once_is_mended(tmp_path: Path) -> None:
    pull_faulty(FRAMING, tmp_path).assert_as_expected()


def test_what_is_answered_wrongly_once_is_mended(tmp_path: Path) -> None:
    pull_faulty(ANSWERS, tmp_path).assert_as_expected()
