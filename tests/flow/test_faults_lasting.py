"""`pull` from an origin that fails some series whenever they are asked for, each in a way of its own: those are named,
the others land, and nothing is asked for oftener than the policy allows.

That policy: what broke is tried as often as the profile's `attempts` say; what is damaged, three times, and anew after
something has landed; what is refused, once. A series that is damaged or refused is then listed, and what of it is
missing is tried singly, each as often again.
"""

from pathlib import Path

import pytest

from dicomhaul.origin import Cut, Part, Status, Truncate
from support.faulty import Asked, Case, pull_faulty

HTML = "<html><body>Please log in</body></html>"
JSON = '{"Message": "out of order"}'

TRIES, DAMAGED = 2, 3
PROFILE = f"[limits]\nattempts = {TRIES}\n"
BROKEN = Asked(series=TRIES)
REFUSED = Asked(series=1, search=1, instance=2)
BAD = Asked(series=DAMAGED, search=1, instance=2 * DAMAGED)
HALF_BAD = Asked(series=1 + DAMAGED, search=1, instance=DAMAGED)  # of two, one lands with the first answer
UNFRAMED = Asked(series=TRIES, search=1, instance=2 * TRIES)  # the end of the connection is the end of the answer
ALL, FIRST, SECOND = frozenset({0, 1}), frozenset({0}), frozenset({1})


def status(code: int, body: str = "", **headers: str) -> Status:
    return Status(status=code, body=body, headers={name.replace("_", "-"): value for name, value in headers.items()})


def lasting(action: object, asked: Asked, reason: str, lost: frozenset[int] = ALL, *, racy: bool = False) -> Case:
    return Case(action, asked, reason, lost, always=True, racy=racy)  # type: ignore[arg-type]


BREAKING = {
    "reset before headers": lasting(Cut(reset=True), Asked(series=2 * TRIES), "closed the connection|broke", racy=True),
    "FIN at byte N": lasting(Cut(after_bytes=3_000), UNFRAMED, "too early"),
    "FIN before headers": lasting(Cut(), Asked(series=2 * TRIES), "closed the connection", racy=True),
}
FAILING = {
    "500 empty": lasting(status(500), BROKEN, "500"),
    "503": lasting(status(503), BROKEN, "503"),
    "504 with HTML": lasting(status(504, HTML), BROKEN, "504"),
}
OMITTED = Asked(series=1, search=1, instance=1)
WRONG = {
    "missing closing delimiter": lasting(Truncate(), HALF_BAD, "without its closing delimiter", SECOND),
    "closing delimiter after too few parts": lasting(Part(wrong="omit"), OMITTED, "did not hold it", FIRST),
    "foreign part": lasting(Part(wrong="foreign"), HALF_BAD, "another instance", FIRST),
    "a UID that climbs": lasting(Part(wrong="evil_uid"), HALF_BAD, "another instance", FIRST),
    "text in a part": lasting(Part(wrong="text"), HALF_BAD, "the part is not DICOM", FIRST),
    "an instance cut inside whole framing": lasting(Part(wrong="cut"), HALF_BAD, "before its last element", FIRST),
    "HTML with 200": lasting(status(200, HTML, Content_Type="text/html"), BAD, "text/html"),
    "HTML with 200, labelled as nothing": lasting(
        status(200, HTML, Content_Type="application/octet-stream"), BAD, "is text and not DICOM"
    ),
    "JSON error with 200": lasting(status(200, JSON, Content_Type="application/json"), BAD, "application/json"),
    "204": lasting(status(204), REFUSED, "204"),
    "redirect loop": lasting(status(301, Location="?again"), Asked(series=2, search=1, instance=4), "circle"),
    "400": lasting(status(400), Asked(series=4, search=1, instance=8), "400"),
    "403": lasting(status(403), Asked(), "403"),
    "404": lasting(status(404), REFUSED, "404"),
    "406": lasting(status(406), Asked(series=4, search=1, instance=8), "406"),
    "410": lasting(status(410), REFUSED, "410"),
    "413": lasting(status(413), REFUSED, "413"),
}


# Three failing series at a time: a fourth, without a success in between, is an outage to the breaker, which waits.
@pytest.mark.parametrize("cases", [BREAKING, FAILING], ids=["breaking", "failing"])
def test_what_always_breaks_is_named(cases: dict[str, Case], tmp_path: Path) -> None:
    pull_faulty(cases, tmp_path, profile=PROFILE).assert_as_expected()


def test_what_is_always_wrong_is_named(tmp_path: Path) -> None:
    pull_faulty(WRONG, tmp_path).assert_as_expected()
