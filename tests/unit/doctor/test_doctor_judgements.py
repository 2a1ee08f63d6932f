"""What doctor says of what it saw: who is let in, TLS, framing, pace, quota, buckets."""

import anyio.lowlevel
import pytest
from multidict import CIMultiDict

from dicomhaul.doctor.admission import Admission, judge_admission, scheme_of
from dicomhaul.doctor.ask import Answer
from dicomhaul.doctor.bucket import Bucketed, judge_buckets
from dicomhaul.doctor.budget import Budget, BudgetSpentError
from dicomhaul.doctor.finding import Finding
from dicomhaul.doctor.metered import Metered, judge_quota
from dicomhaul.doctor.pace import STEPS, Paced, Step, at_once_for, climb, judge_pace, keep_alive_of, keepalive_for, knee
from dicomhaul.doctor.reach import Tls, Way, judge_way, read_tls
from dicomhaul.doctor.retrieve import Look, Retrieved, describe_framing, judge_retrieve, look_at
from dicomhaul.doctor.search import Place, Searched, choose_places, judge_search
from dicomhaul.model import Check, ObjectRef
from dicomhaul.net.quota import Usage
from dicomhaul.profile import MULTIPART_STORED, Auth, Limits, Profile, Search, Status, built_in
from support.clock import FakeClock
from support.instances import make_instance

INSTANCE = make_instance("1.2.3", study="1.2", series="1.2.1")


def answer(status: int = 200, body: bytes = b"", *, whole: bool = True, broken: str = "", **headers: str) -> Answer:
    named = CIMultiDict({name.replace("_", "-"): value for name, value in headers.items()})
    return Answer(status, named, body, whole, broken, 0.01, 0.02, reused=False)


def by_name(findings: list[Finding]) -> dict[str, Finding]:
    return {one.name: one for one in findings}


# -- who is let in


@pytest.mark.parametrize(
    ("seen", "auth", "verdict", "said", "todo"),
    [
        (Admission(200), Auth(), "ok", "no credentials", ""),
        (Admission(401, 200, sends=True), Auth(), "ok", "refused (401), and our credentials are accepted", ""),
        (Admission(200, 200, sends=True), Auth(), "warn", "not needed", "leave them out"),
        (Admission(503), Auth(), "unknown", "the first search is answered 503", ""),
        (Admission(404), Auth(), "unknown", "the first search is answered 404", ""),
        (Admission(200, anonymous_rows=False), Auth(), "unknown", "answered 200 with no DICOM JSON", ""),
        (Admission(401, 200, sends=True, our_rows=False), Auth(), "unknown", "answered 200 with no DICOM JSON", ""),
        (Admission(200, 200, sends=True, anonymous_rows=False), Auth(), "ok", "needed could not be told", ""),
        (Admission(503, 200, sends=True), Auth(), "ok", "needed could not be told", ""),
        (Admission(401, wants="Basic"), Auth(), "fail", "it asks for Basic", "--auth basic"),
        (Admission(401, sends=True, refused="it may have expired"), Auth(), "fail", "not accepted", "expired"),
        (Admission(401, 403, sends=True), built_in("google").auth, "fail", "(403)", "roles/healthcare.dicomViewer"),
        (Admission(401, 403, sends=True), built_in("google").auth, "fail", "(403)", "dicomStores.dicomWebRead"),
        (Admission(401, 403, sends=True), built_in("azure").auth, "fail", "(403)", "DICOM Data Reader"),
        (Admission(401, 403, sends=True), built_in("dcm4chee").auth, "fail", "(403)", "Keycloak"),
        (Admission(401, refused="none found"), built_in("google").auth, "fail", "none found", "gcloud auth"),
        (Admission(401, refused="none found"), built_in("azure").auth, "fail", "none found", "az login"),
        (Admission(403), Auth(), "fail", "refuses anonymous", "a role that may read"),
        (Admission(), Auth(), "fail", "no answer", ""),
    ],
)
def test_who_is_let_in(seen: Admission, auth: Auth, verdict: str, said: str, todo: str) -> None:
    finding = judge_admission(seen, auth)
    assert (finding.name, finding.verdict) == ("auth", verdict)
    assert said in finding.sentence
    assert todo in finding.todo


@pytest.mark.parametrize(
    ("header", "scheme"),
    [
        (None, ""),
        ('Basic realm="x"', "Basic"),
        ("Bearer", "Bearer"),
        ("Bearer\x1b[2J", ""),
        ("Negotiate, Basic", "Negotiate"),
        ("é" * 9, ""),
        ("A" * 300, ""),
    ],
)
def test_schemes(header: str | None, scheme: str) -> None:
    assert scheme_of(header) == scheme


# -- the way


def test_certificates_are_read() -> None:
    certificate = {
        "subjectAltName": (("DNS", "pacs.example.org"), ("IP Address", "10.0.0.1")),
        "issuer": ((("countryName", "NL"),), (("organizationName", "Some CA"),)),
        "notAfter": "Jan 11 00:00:00 2024 GMT",
    }
    tls = read_tls("TLSv1.3", certificate, 1_704_067_200.0)  # 1 January 2024
    assert tls == Tls("TLSv1.3", ("pacs.example.org", "10.0.0.1"), "Some CA", 10)
    assert read_tls("TLSv1.2", {}, 0.0) == Tls("TLSv1.2", (), "", None)


def way(tls: Tls | None = None, host: str = "pacs.example.org:443") -> Way:
    return Way(host, 1, 0.001, 0.01, None if tls is None else 0.02, tls)


@pytest.mark.parametrize(
    ("seen", "sends", "verdict", "said"),
    [
        (way(Tls("TLSv1.3", ("a", "b", "c", "d"), "CA", 90)), True, "ok", "certificate for a, b, c, ..."),
        (way(Tls("TLSv1.3", ("a",), "CA", 10)), True, "warn", "valid for 10 more days"),
        (way(Tls("TLSv1.1", ("a",), "CA", 90)), True, "warn", "TLSv1.1"),
        (way(), True, "warn", "instances and our credentials"),
        (way(), False, "warn", "can read instances"),
        (way(host="127.0.0.1:8042"), True, "ok", "on this machine"),
        (way(host="::1:8042"), True, "ok", "on this machine"),
    ],
)
def test_tls_is_judged(*, seen: Way, sends: bool, verdict: str, said: str) -> None:
    reached, tls = judge_way(seen, sends_credentials=sends)
    assert reached.verdict == "ok"
    assert tls.verdict == verdict
    assert said in tls.sentence


# -- forms and framing


def multipart(*parts: bytes, headers: str = "Content-Type: application/dicom\r\n", closing: bytes = b"\r\n") -> bytes:
    head = f"--b\r\n{headers}\r\n".encode()
    return b"".join(head + part + b"\r\n" for part in parts) + b"--b--" + closing


def test_an_answer_is_taken_apart() -> None:
    chunked = look_at(
        answer(
            body=multipart(INSTANCE, INSTANCE, closing=b""),
            Content_Type='multipart/related; type="application/dicom"; boundary="b"',
            Transfer_Encoding="chunked",
        )
    )
    assert chunked.works
    assert (chunked.kind, chunked.parts, chunked.syntaxes) == ("multipart", 2, ("1.2.840.10008.1.2.1",))
    assert describe_framing(chunked) == (
        "parts have Content-Type (no length: delimiters are searched for); boundary in quotes; "
        "nothing after the closing delimiter; the body is chunked"
    )
    counted = look_at(
        answer(
            body=multipart(INSTANCE, headers=f"Content-Length: {len(INSTANCE)}\r\n"),
            Content_Type="multipart/related; boundary=b",
        )
    )
    assert describe_framing(counted) == (
        "parts have Content-Length; boundary without quotes; a line break after the closing delimiter; "
        "the body ends when the connection closes"
    )
    single = look_at(answer(body=INSTANCE, Content_Type="application/dicom", Content_Length="9"))
    assert (single.kind, single.works, single.outer) == ("single", True, "length")


@pytest.mark.parametrize(
    ("seen", "kind", "problem"),
    [
        (answer(body=multipart(INSTANCE)[:-8], Content_Type="multipart/related; boundary=b"), "multipart", "closing"),
        (answer(body=INSTANCE[:200], Content_Type="application/dicom"), "single", "ends"),
        (answer(body=b"<html>", Content_Type="text/html"), "other", "text/html"),
        (
            answer(body=INSTANCE, whole=False, broken="the line broke", Content_Type="application/dicom"),
            "single",
            "broke",
        ),
        (answer(body=INSTANCE, whole=False, Content_Type="application/dicom"), "cut", ""),
        (answer(body=b"", Content_Type="multipart/related; boundary=b"), "multipart", "ended"),
        (answer(406), "", ""),
        (answer(204), "", ""),
    ],
)
def test_what_is_wrong_with_an_answer(seen: Answer, kind: str, problem: str) -> None:
    look = look_at(seen)
    assert look.kind == kind
    assert problem in look.problem
    assert not look.works


GOOD = Look(200, "multipart", 1, ("1.2.840.10008.1.2.4.90",), 500, outer="chunked", quoted=False, newline_after=True)
PLAIN = Look(200, "multipart", 1, ("1.2.840.10008.1.2.1",), 500, outer="chunked", quoted=False, newline_after=True)


@pytest.mark.parametrize(
    ("stored", "plain", "verdict", "said"),
    [
        (GOOD, PLAIN, "ok", "honoured: JPEG 2000 Lossless; without it Explicit VR Little Endian"),
        (GOOD, Look(406), "ok", "without it: 406"),
        (GOOD, GOOD, "ok", "with transfer-syntax=* and without"),
        (PLAIN, PLAIN, "unknown", "cannot be told"),
        (Look(400), PLAIN, "warn", "not taken (400)"),
        (Look(400), Look(400), "unknown", ""),
    ],
)
def test_transfer_syntaxes_are_judged(stored: Look, plain: Look, verdict: str, said: str) -> None:
    seen = Retrieved(instance={MULTIPART_STORED: GOOD}, series={MULTIPART_STORED: GOOD}, stored=stored, plain=plain)
    finding = by_name(judge_retrieve(seen, Profile(name="x")))["transfer syntax"]
    assert finding.verdict == verdict
    assert said in finding.sentence


def test_ladders_are_judged() -> None:
    generic = built_in("generic")
    first, second, *_ = generic.accept.instance
    good = {first: GOOD}

    def accept(instance: dict[str, Look]) -> Finding:
        return by_name(judge_retrieve(Retrieved(instance=instance, series=good), generic))["accept"]

    assert accept(good).verdict == "ok"
    assert accept({first: Look(406), second: GOOD}).verdict == "warn"
    assert accept({first: Look(500), second: GOOD}).verdict == "fail"  # the product would not climb down
    assert accept({first: Look(406), "something/else": GOOD}).verdict == "fail"


def test_what_cannot_be_had_fails_and_what_was_too_large_does_not() -> None:
    nothing = judge_retrieve(Retrieved(instance={MULTIPART_STORED: Look(403)}), built_in("google"))
    assert [one.verdict for one in nothing if one.name == "retrieve"] == ["fail"]
    assert "dicomViewer" in by_name(nothing)["retrieve"].todo
    large = judge_retrieve(Retrieved(instance={MULTIPART_STORED: Look(200, "cut", size_bytes=9)}), Profile(name="x"))
    assert by_name(large)["retrieve"].verdict == "unknown"
    (none,) = judge_retrieve(Retrieved(), Profile(name="x"))
    assert none.verdict == "unknown"


# -- searches


def test_small_series_of_different_modalities_come_first() -> None:
    found = [
        Place("1", "1.1", "SM", 1),
        Place("1", "1.2", "CT", 500),
        Place("1", "1.3", "CT", 3),
        Place("1", "1.4", "MR", 2),
        Place("1", "1.5", None, None),
    ]
    assert [place.series for place in choose_places(found)] == ["1.3", "1.4", "1.5", "1.1", "1.2"]


def test_searches_are_judged() -> None:
    seen = Searched(
        exist={"studies": True, "series of a study": False},
        counts={"studies": True, "series": False},
        matches=False,
        filters=True,
        empty=answer(200, b"[]"),
        missing=404,
        paging="repeating",
    )
    found = by_name(judge_search(seen, Search()))
    assert {name: str(one.verdict) for name, one in found.items()} == {
        "search": "warn",
        "pages": "unknown",
        "paging": "warn",
        "wildcards": "warn",
        "empty answers": "ok",
        "counts": "warn",
    }
    assert "unlike the profile" in found["wildcards"].sentence
    assert "200 with an empty list" in found["empty answers"].sentence
    seen.matches, seen.filters = True, False
    assert "ignored" in by_name(judge_search(seen, Search()))["wildcards"].sentence


@pytest.mark.parametrize(
    ("missing", "verdict"), [(404, "ok"), (204, "ok"), (None, "ok"), (200, "warn"), (403, "warn"), (500, "warn")]
)
def test_what_a_missing_instance_is_answered_with(missing: int | None, verdict: str) -> None:
    found = by_name(judge_search(Searched(empty=answer(200, b"[]"), missing=missing), Search()))["empty answers"]
    assert found.verdict == verdict


# -- pace


def steps(**rates: float) -> list[Step]:
    return [Step(int(name[1:]), per_s, 0.5) for name, per_s in rates.items()]


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        ([], None),
        (steps(_1=100), 1),
        (steps(_1=100, _2=198, _4=390, _8=400, _16=405), 4),
        (steps(_1=100, _2=200, _4=400, _8=800, _16=1600), 16),
        (steps(_1=100, _2=90, _4=95), 1),
        (steps(_1=100, _2=109), 1),  # a tenth is what more at once must gain
        (steps(_1=100, _2=111), 2),
        (steps(_1=100, _2=108, _4=116), 2),
    ],
)
def test_the_knee(seen: list[Step], expected: int | None) -> None:
    assert knee(seen) == expected


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (Paced(), None),
        (Paced(steps=steps(_1=100, _2=200, _4=400, _8=800, _16=1600)), None),
        (Paced(steps=steps(_1=100, _2=105, _4=100)), (4, 4)),
        (Paced(steps=steps(_1=100, _2=200, _4=390, _8=400)), (4, 8)),
        (Paced(steps=steps(_1=258, _4=298), stopped="no more than 4 at once could be tried here"), None),
        (Paced(steps=[Step(1, 9000, 0.001), Step(2, 9000, 0.001)]), None),
        (Paced(steps=steps(_1=100, _2=200), stopped="it answers 429", stopped_at=4), (2, 2)),
        (Paced(stopped="it answers 503", stopped_at=1), (1, 1)),
    ],
)
def test_how_many_at_once_is_proposed(seen: Paced, expected: tuple[int, int] | None) -> None:
    assert at_once_for(seen, Limits(concurrency_start=4, concurrency_max=16)) == expected


def test_no_more_at_once_than_the_profile_allows() -> None:
    seen = Paced(steps=steps(_1=100, _2=200, _4=400, _8=410, _16=420))
    assert at_once_for(seen, Limits(concurrency_start=2, concurrency_max=4)) is None
    seen = Paced(steps=steps(_1=100, _2=200, _4=210))
    assert at_once_for(seen, Limits(concurrency_start=1, concurrency_max=3)) == (1, 3)


@pytest.mark.parametrize(
    ("seen", "verdict", "said"),
    [
        (Paced(steps=steps(_1=100, _2=105, _4=100)), "ok", "more than 1 at once stops paying"),
        (Paced(steps=steps(_4=700, _16=1396, _32=1806)), "ok", "up to 32 at once still pays; more was not tried"),
        (Paced(steps=steps(_1=258, _4=298), stopped="no more"), "ok", "up to 4 at once still pays; more was not tried"),
        (Paced(steps=[Step(1, 9000, 0.001), Step(2, 9000, 0.5)]), "unknown", "too quickly"),
        (Paced(steps=[Step(1, 80, 0.11), Step(2, 82, 0.05)]), "ok", "more than 1 at once stops paying"),
        (Paced(stopped="the requests were used up"), "unknown", "used up"),
    ],
)
def test_what_is_said_of_how_many_at_once(seen: Paced, verdict: str, said: str) -> None:
    _, found, _ = judge_pace(seen, Limits())
    assert found.verdict == verdict
    assert said in found.sentence
    assert seen.stopped in found.sentence


@pytest.mark.parametrize(("gain", "tried"), [(1.12, [1, 2, 4, 8, 16]), (1.05, [1, 2, 4])])
@pytest.mark.anyio
async def test_the_ramp_goes_on_while_it_pays(gain: float, tried: list[int]) -> None:
    """A step is worth it from a tenth more on; two that are not, one after the other, end it."""
    clock, seen = FakeClock(), Paced()
    took = iter([1 / gain**number for number, step in enumerate(STEPS) for _ in range(max(8, 2 * step))])

    async def call() -> Answer:
        await anyio.lowlevel.checkpoint()
        clock.advance(next(took))
        return answer()

    await climb(call, seen, status=Status(), clock=clock, most=lambda: 1000)
    assert [step.at_once for step in seen.steps] == tried


def test_idle_connections() -> None:
    limits = Limits(keepalive_s=15.0)
    assert keepalive_for(Paced(survives=True), limits) is None
    assert keepalive_for(Paced(survives=False), limits) == 0.5
    assert keepalive_for(Paced(survives=True, keep_alive_s=5), limits) == 2.5
    assert keepalive_for(Paced(survives=False), Limits(keepalive_s=0.5)) is None
    assert keepalive_for(Paced(closes=True), limits) is None
    assert [
        keep_alive_of(text) for text in (None, "timeout=1", "max=5, timeout=20", "timeout=x", "timeout=" + "9" * 50)
    ] == [
        None,
        1,
        20,
        None,
        None,
    ]
    verdicts = [
        str(judge_pace(seen, limits)[2].verdict)
        for seen in (Paced(survives=True), Paced(survives=False), Paced(closes=True), Paced())
    ]
    assert verdicts == ["ok", "warn", "warn", "unknown"]


def test_a_throttle_is_told() -> None:
    seen = Paced(first_byte_s=2.0, steps=steps(_1=10), stopped="it answers 429", stopped_at=2)
    latency, at_once, _ = judge_pace(seen, Limits())
    assert (latency.verdict, at_once.verdict) == ("warn", "warn")
    assert "at 2 at once: it answers 429" in at_once.sentence
    assert "keep to 1 at once" in at_once.todo


# -- a quota, and buckets


@pytest.mark.parametrize(
    ("usage", "verdict"),
    [
        (None, "unknown"),
        (Usage(10, 100, None), "ok"),
        (Usage(95, 100, None), "warn"),
        (Usage(100, 100, None), "fail"),
        (Usage(0, None, None), "ok"),
    ],
)
def test_quotas_are_judged(usage: Usage | None, verdict: str) -> None:
    quota, policy = judge_quota(Metered(usage), built_in("idc-proxy"))
    assert (quota.name, quota.verdict) == ("quota", verdict)
    assert (policy.verdict, "public buckets" in policy.todo) == ("warn", True)


def test_a_used_up_quota_is_told_by_its_status() -> None:
    quota, _ = judge_quota(Metered(closed=429), built_in("idc-proxy"))
    assert (quota.verdict, quota.todo) == ("fail", "it opens again at 00:00 UTC")


def test_buckets_are_judged() -> None:
    objects = [ObjectRef("b", "u/1.dcm", 5, "0" * 32), ObjectRef("b", "u/2.dcm", 3, "abc-2")]
    whole = answer(206, b"x" * 3, Content_Range="bytes 0-2/3")
    good = Bucketed({"b": ""}, objects, whole, Check.MD5, 206, 412)
    assert good.smallest == objects[1]
    assert [str(one.verdict) for one in judge_buckets(good)] == ["ok"] * 4
    bad = Bucketed({"b": "", "c": "answers 403"}, objects, answer(200), Check.SIZE, 206, 206)
    assert [str(one.verdict) for one in judge_buckets(bad)] == ["warn"] * 4
    gone = judge_buckets(Bucketed({"b": "answers 404"}))
    assert [str(one.verdict) for one in gone] == ["fail", "unknown", "unknown", "unknown"]
    assert by_name(judge_buckets(Bucketed({"b": ""}, objects, answer(403))))["ranges"].verdict == "fail"


# -- the budget


def test_a_budget_ends() -> None:
    budget = Budget(2, 10)
    budget.send()
    budget.take(10)
    with pytest.raises(BudgetSpentError, match="bytes"):
        budget.send()
    with pytest.raises(BudgetSpentError, match="more than 10 bytes"):
        budget.take(1)
    requests = Budget(1, 10)
    requests.send()
    with pytest.raises(BudgetSpentError, match="1 requests"):
        requests.send()
    assert requests.requests == 1  # what was not sent is not counted


def test_a_part_of_a_budget_draws_from_the_whole() -> None:
    whole = Budget(5, 100)
    part = Budget(3, 50, within=whole)
    for _ in range(3):
        part.send()
    part.take(40)
    with pytest.raises(BudgetSpentError):
        part.send()
    assert (whole.requests, whole.requests_left, whole.bytes_left) == (3, 2, 60)
    other = Budget(9, 90, within=whole)
    assert (other.requests_left, other.bytes_left) == (2, 60)
