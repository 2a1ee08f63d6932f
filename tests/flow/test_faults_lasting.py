"""`pull` from an origin that fails some series whenever they are asked for, each in a way of its own: those are named,
the others land, and nothing is asked for oftener than the policy allows.

That policy: what broke is tried as often as the profile's `attempts` say; what is damaged, three times, and anew after
something has landed; what is refused, once. A series that is damaged or refused is then listed, and what of it is
missing is tried singly, each as often again.
"""

from pathlib import Path

import pytest

from dicomhaul.origin import Cut, Gzip, Multipart, Part, Range, Redirect, Status, Truncate
from dicomhaul.origin.faults import Action
from support.faulty import Asked, Case, pull_faulty

pytestmark = pytest.mark.long

HTML = "<html><body>Please log in</body></html>"
JSON = '{"Message": "out of order"}'

TRIES, DAMAGED = 2, 3
PROFILE = f"[limits]\nattempts = {TRIES}\n"
BROKEN = Asked(series=TRIES)
THROTTLED = Asked(series=4)  # four times the attempts, of which these have one
REFUSED = Asked(series=1, search=1, instance=2)
BAD = Asked(series=DAMAGED, search=1, instance=2 * DAMAGED)
HALF_BAD = Asked(series=1 + DAMAGED, search=1, instance=DAMAGED)  # of two, one lands with the first answer
UNFRAMED = Asked(series=TRIES, search=1, instance=2 * TRIES)  # the end of the connection is the end of the answer
ONE_SINGLY = Asked(series=1, search=1, instance=1)
RUNGS = 4  # of the ladder of Accept headers in the profile `generic`
HOPS = 6  # an answer, and five redirects
ALL, FIRST, SECOND = frozenset({0, 1}), frozenset({0}), frozenset({1})


def lasting(action: Action, asked: Asked, reason: str = "", lost: frozenset[int] = ALL, *, racy: bool = False) -> Case:
    """A fault that strikes whenever it can; without a reason, all comes nevertheless."""
    return Case(action, asked, reason, lost if reason else frozenset(), always=True, racy=racy)


BREAKING = {
    "reset before headers": lasting(Cut(reset=True), Asked(series=2 * TRIES), "closed the connection|broke", racy=True),
    "FIN before headers": lasting(Cut(), Asked(series=2 * TRIES), "closed the connection", racy=True),
    "reset at byte N": lasting(Cut(after_bytes=3_000, reset=True), UNFRAMED, "too early|broke|ended", racy=True),
}
CUT = {
    "FIN at byte N with Content-Length": lasting(Cut(after_bytes=3_000, outer="length"), BROKEN, "too early"),
    "FIN at byte N without Content-Length": lasting(
        Cut(after_bytes=3_000, outer="close"), UNFRAMED, "without its closing delimiter"
    ),
    "chunked body cut": lasting(Cut(after_bytes=3_000, outer="chunked"), BROKEN, "too early"),
}
FAILING = {
    "500 empty": lasting(Status(status=500), BROKEN, "500"),
    "503": lasting(Status(status=503), BROKEN, "503"),
    "504 with HTML": lasting(Status(status=504, body=HTML), BROKEN, "504"),
}
TIMEOUT = {
    "408": lasting(Status(status=408), BROKEN, "408"),
    "502": lasting(Status(status=502, body=HTML), BROKEN, "502"),
}
THROTTLING = {
    "429 with a date": lasting(Status(status=429, retry_after_s=2, retry_after_as="date"), THROTTLED, "429"),
    "429 with a date in the past": lasting(
        Status(status=429, retry_after_s=-3_600, retry_after_as="date"), THROTTLED, "429"
    ),
    "429 without Retry-After": lasting(Status(status=429), THROTTLED, "429"),
}
FRAMING = {
    "missing closing delimiter": lasting(Truncate(), HALF_BAD, "without its closing delimiter", SECOND),
    "closing delimiter after too few parts": lasting(Multipart(wrong="closed_early", count=1), ONE_SINGLY),
    "a part left out": lasting(Part(wrong="omit"), ONE_SINGLY, "did not hold it", FIRST),
    "part Content-Length too short": lasting(Part(wrong="length"), Asked(series=2)),
    "part Content-Length too long": lasting(Part(wrong="length_over"), Asked(series=2)),
    "wrong boundary": lasting(Multipart(wrong="boundary_wrong"), BAD, "before its first part"),
    "no boundary": lasting(Multipart(wrong="boundary_absent"), Asked()),
    "LF-only delimiters": lasting(Multipart(wrong="lf"), Asked()),
    "no part headers": lasting(Multipart(wrong="no_headers"), Asked()),
    "64 KiB of part headers": lasting(Multipart(wrong="huge_headers"), BAD, "header"),
    "preamble and epilogue junk": lasting(Multipart(wrong="epilogue", size_bytes=4_096), Asked()),
    "preamble junk without end": lasting(Multipart(wrong="preamble", size_bytes=1_000_000), BAD, "delimiter"),
    "zero parts": lasting(Multipart(wrong="closed_early", count=0), REFUSED, "did not hold it"),
    "single part instead of multipart": lasting(Multipart(wrong="single"), ONE_SINGLY),
    "duplicate part": lasting(Part(wrong="duplicate"), Asked()),
    "the same SOP Instance UID with other bytes": lasting(Part(wrong="twin"), Asked()),
    "foreign part (other series)": lasting(Part(wrong="foreign"), HALF_BAD, "another instance", FIRST),
    "foreign part (other study)": lasting(Part(wrong="foreign_study"), HALF_BAD, "another instance", FIRST),
    "a UID that climbs": lasting(Part(wrong="evil_uid"), HALF_BAD, "another instance", FIRST),
    "text in a part": lasting(Part(wrong="text"), HALF_BAD, "not DICOM", FIRST),
    "HTML in a part": lasting(Part(wrong="html"), HALF_BAD, "not DICOM", FIRST),
    "a part without bytes": lasting(Part(wrong="empty"), HALF_BAD, "before the DICOM prefix", FIRST),
    "an instance cut inside whole framing": lasting(Part(wrong="cut"), HALF_BAD, "before its last element", FIRST),
}
ANSWERS = {
    "HTML with 200": lasting(Status(status=200, body=HTML), BAD, "text/html"),
    "HTML with 200, labelled as nothing": lasting(
        Status(status=200, body=HTML, headers={"Content-Type": "application/octet-stream"}), BAD, "not DICOM"
    ),
    "JSON error with 200": lasting(Status(status=200, body=JSON), BAD, "application/json"),
    "gzip body": lasting(Gzip(), BAD, r"encoded \(gzip\)"),
    "204": lasting(Status(status=204), REFUSED, "204"),
    "206": lasting(Range(wrong="unasked"), BAD, "206|ended"),
    "redirect loop": lasting(Redirect(), REFUSED, "circle"),
    "redirects without end": lasting(
        Redirect(to="{path}?hop={number}"), Asked(series=HOPS, search=1, instance=2 * HOPS), "circle, or too often"
    ),
    "400": lasting(Status(status=400), Asked(series=RUNGS, search=1, instance=2 * RUNGS), "400"),
    "403 for one series": lasting(Status(status=403), Asked(), "403"),
    "404": lasting(Status(status=404), REFUSED, "404"),
    "406": lasting(Status(status=406), Asked(series=RUNGS, search=1, instance=2 * RUNGS), "406"),
    "410": lasting(Status(status=410), REFUSED, "410"),
    "413": lasting(Status(status=413), REFUSED, "413"),
}


# Three failing series at a time: a fourth, without a success in between, is an outage to the breaker, which waits.
@pytest.mark.parametrize("cases", [BREAKING, CUT, FAILING, TIMEOUT], ids=["breaking", "cut", "failing", "timeout"])
def test_what_always_breaks_is_named(cases: dict[str, Case], tmp_path: Path) -> None:
    pull_faulty(cases, tmp_path, profile=PROFILE).assert_as_expected()


@pytest.mark.parametrize("cases", [FRAMING, ANSWERS], ids=["framing", "answers"])
def test_what_is_always_wrong_is_named(cases: dict[str, Case], tmp_path: Path) -> None:
    pull_faulty(cases, tmp_path).assert_as_expected()


@pytest.mark.parametrize("name", THROTTLING)  # one by one: the pace that is adapted to is that of the host
def test_what_is_always_throttled_is_named(name: str, tmp_path: Path) -> None:
    pull_faulty({name: THROTTLING[name]}, tmp_path, profile="[limits]\nattempts = 1\n").assert_as_expected()
