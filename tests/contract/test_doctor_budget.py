"""doctor against servers that always want more: what they are asked for, counted by them, and what is read of them."""

import json
from collections.abc import Callable, Mapping
from itertools import count

import pytest

from dicomhaul.config.source import Connection, SourceSpec
from dicomhaul.doctor.ask import Asker, open_asker
from dicomhaul.doctor.budget import BODY_BYTES, REQUESTS, Budget, BudgetSpentError
from dicomhaul.doctor.examine import Diagnosis, examine_source
from dicomhaul.errors import TimedOut
from dicomhaul.net.auth.fixed import NoCredentials
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.profile import Profile, Status, built_in
from support.clock import FakeClock
from support.instances import make_instance
from support.loopback import Asked, Loopback, Reply, ok, open_loopback

pytestmark = pytest.mark.anyio

JSON = "application/dicom+json"
PATIENT = "Doe^Jane"


async def diagnose(
    server: Loopback,
    *,
    profile: Profile | None = None,
    environ: Mapping[str, str] | None = None,
    budget: Budget | None = None,
    user: str | None = None,
) -> Diagnosis:
    spec = SourceSpec(
        server.url(), server.url(), profile or built_in("generic"), Connection(user=user, password="never-show")
    )
    return await examine_source(spec, environ=environ or {}, clock=FakeClock(), budget=budget or Budget())


def rows(asked: Asked) -> Reply:
    """Rows of everything, and always more of them: a server without end."""
    path, _, query = asked.target.partition("?")
    parameters = dict(pair.split("=", 1) for pair in query.split("&") if "=" in pair)
    limit, offset = min(int(parameters.get("limit", "400")), 400), int(parameters.get("offset", "0"))
    level = path.rpartition("/")[2]
    tags = {"studies": ["0020000D"], "series": ["0020000D", "0020000E"]}.get(
        level, ["0020000D", "0020000E", "00080018"]
    )
    found = [
        {tag: {"vr": "UI", "Value": ["1.2.3" if tag != tags[-1] else f"1.2.3.{number}"]} for tag in tags}
        | {"00100010": {"vr": "PN", "Value": [{"Alphabetic": PATIENT}]}, "00080060": {"vr": "CS", "Value": ["CT"]}}
        for number in range(offset, offset + limit)
    ]
    return ok(json.dumps(found).encode(), Content_Type=JSON)


def endless(asked: Asked) -> Reply:
    if asked.headers["accept"] == JSON:
        return rows(asked)
    instance = make_instance("1.2.3.1", study="1.2.3", series="1.2.3", pixels=bytes(100_000))
    return ok(instance, Content_Type="application/dicom")


def redirecting() -> Callable[[Asked], Reply]:
    numbers = count()
    return lambda _: ok(status="302 Found", Location=f"/dicom-web/{next(numbers)}")


def redirecting_later() -> Callable[[Asked], Reply]:
    """The first searches are answered, then everything is somewhere else, for ever."""
    numbers = count()

    def answer(asked: Asked) -> Reply:
        number = next(numbers)
        return endless(asked) if number < 6 else ok(status="302 Found", Location=f"/dicom-web/{number}")

    return answer


def dropping() -> Callable[[Asked], Reply]:
    """Every second request on a connection is dropped without an answer: the HTTP library sends it once more."""
    seen: dict[int, int] = {}

    def answer(asked: Asked) -> Reply:
        seen[asked.connection] = seen.get(asked.connection, 0) + 1
        return endless(asked) if seen[asked.connection] < 2 else Reply(b"", then="close")

    return answer


def unwilling(_: Asked) -> Reply:
    return ok(status="401 Unauthorized", WWW_Authenticate='Basic realm="x"')


@pytest.mark.parametrize(
    "answer", [endless, redirecting(), redirecting_later(), dropping()], ids=["endless", "redirects", "later", "drops"]
)
async def test_no_server_is_asked_more_than_the_budget(answer: Callable[[Asked], Reply]) -> None:
    async with open_loopback(answer) as server:
        budget = Budget()
        diagnosis = await diagnose(server, budget=budget)
    assert len(server.asked) <= diagnosis.requests == budget.requests <= REQUESTS
    assert budget.body_bytes <= BODY_BYTES + 64 * 256 * 1024
    assert PATIENT not in str(diagnosis)


@pytest.mark.parametrize("most", [0, 1, 2, 3, 5, 8, 13, 30])
async def test_a_small_budget_holds_at_every_stage(most: int) -> None:
    async with open_loopback(endless) as server:
        diagnosis = await diagnose(server, budget=Budget(most))
    assert len(server.asked) <= diagnosis.requests <= most
    spent = [one for one in diagnosis.findings if "requests that may be sent" in one.sentence]
    assert spent
    assert not any("not measured;" in one.sentence for one in diagnosis.findings)  # the reason stands alone
    names = [one.name for one in diagnosis.findings]
    assert len(names) == len(set(names))


async def test_a_server_that_ignores_keys_and_counts_nothing() -> None:
    async with open_loopback(endless) as server:
        found = {one.name: one for one in (await diagnose(server)).findings}
    assert "keys are ignored" in found["wildcards"].sentence
    assert "keys are ignored" in found["empty answers"].sentence
    assert found["counts"].verdict == "warn"
    assert "pages are cut at 400 rows" in found["pages"].sentence


async def ask_for_ever(asker: Asker) -> None:
    while True:
        await asker.get("studies", params=[("limit", "1")])


async def test_requests_that_the_library_repeats_are_counted() -> None:
    async with open_loopback(dropping()) as server:
        budget = Budget(6)
        endpoint = Endpoint(server.url(), built_in("generic"), max_connections=1)
        async with open_asker(endpoint, NoCredentials(), budget=budget, clock=FakeClock()) as asker:
            with pytest.raises(BudgetSpentError):
                await ask_for_ever(asker)
    assert len(server.asked) == budget.requests == 6


async def test_bytes_end_too() -> None:
    async with open_loopback(endless) as server:
        budget = Budget(REQUESTS, 100_000)
        diagnosis = await diagnose(server, budget=budget)
    assert 100_000 <= budget.body_bytes < 100_000 + 64 * 256 * 1024
    assert any("100,000 bytes that may be read have been read" in one.sentence for one in diagnosis.findings)


async def test_an_answer_that_never_ends_is_left() -> None:
    hanging = Reply(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n[", then="hang")
    async with open_loopback(lambda _: hanging) as server:
        endpoint = Endpoint(server.url(), built_in("generic"), max_connections=1)
        async with open_asker(endpoint, NoCredentials(), budget=Budget(), clock=FakeClock(), request_s=0.05) as asker:
            with pytest.raises(TimedOut, match="no whole answer"):
                await asker.get("studies")


async def test_no_more_of_an_answer_is_kept_than_was_wanted() -> None:
    async with open_loopback(lambda _: ok(b"x" * 100_000)) as server:
        endpoint = Endpoint(server.url(), built_in("generic"), max_connections=1)
        async with open_asker(endpoint, NoCredentials(), budget=Budget(), clock=FakeClock()) as asker:
            answer = await asker.get("studies", limit_bytes=10)
            assert (answer.body, answer.whole, answer.broken) == (b"x" * 10, False, "")
            assert (await asker.get("studies")).whole


async def test_credentials_are_refused_and_not_shown() -> None:
    async with open_loopback(unwilling) as server:
        diagnosis = await diagnose(server, user="somebody")
    assert len(server.asked) == 2
    assert (diagnosis.findings[-1].name, diagnosis.findings[-1].verdict) == ("auth", "fail")
    assert "never-show" not in str(diagnosis)
    assert diagnosis.profile is None


METERED = built_in("idc-proxy")


def with_usage(answer: Callable[[Asked], Reply], used: int, fraction: float) -> Callable[[Asked], Reply]:
    usage = json.dumps({"bytes_used": used, "fraction_used": fraction}).encode()
    return lambda asked: ok(usage, Content_Type="application/json") if asked.target == "/quota_usage" else answer(asked)


async def test_a_quota_is_asked_for_little() -> None:
    async with open_loopback(with_usage(endless, 1000, 0.00001)) as server:
        diagnosis = await diagnose(server, profile=METERED)
    assert len(server.asked) == diagnosis.requests <= 12
    assert diagnosis.body_bytes <= 2 << 20
    found = {one.name: one for one in diagnosis.findings}
    assert "1,000 of 99,999,999 bytes" in found["quota"].sentence
    assert found["single-part"].verdict == found["paging"].verdict == found["latency"].verdict == "ok"
    assert "100 rows come where the limit says so" in found["pages"].sentence
    assert diagnosis.usable
    assert diagnosis.profile is not None
    assert 'extends = "idc-proxy"' in diagnosis.profile


@pytest.mark.parametrize(("used", "fraction"), [(50, 0.5), (99_999_000, 0.99999), (10**9, 1.2)])
async def test_of_a_quota_that_is_nearly_used_up_nothing_is_taken(used: int, fraction: float) -> None:
    async with open_loopback(with_usage(endless, used, fraction)) as server:
        diagnosis = await diagnose(server, profile=METERED)
    assert [asked.target.partition("?")[0] for asked in server.asked] == ["/dicom-web/studies", "/quota_usage"]
    found = {one.name: one for one in diagnosis.findings}
    assert f"{used:,} of" in found["quota"].sentence
    assert "nothing more was asked for" in found["policy"].sentence
    assert diagnosis.profile is None


@pytest.mark.parametrize("after", range(9))
async def test_nothing_is_asked_once_a_quota_has_ended(after: int) -> None:
    """At whichever request it ends."""
    numbers = count()

    def answer(asked: Asked) -> Reply:
        return endless(asked) if next(numbers) < after else ok(b"<p>", status="429 Too Many", Content_Type="text/html")

    async with open_loopback(with_usage(answer, 1000, 0.00001)) as server:
        diagnosis = await diagnose(server, profile=METERED)
    found = {one.name: one for one in diagnosis.findings}
    assert (found["quota"].verdict, "used up (429)" in found["quota"].sentence) == ("fail", True)
    assert len(server.asked) - 1 == next(numbers) == after + 1
    assert [one.name for one in diagnosis.findings if one.verdict == "fail"] == ["quota"]


async def test_a_status_that_means_a_quota_is_enough_to_ask_for_little() -> None:
    metered = built_in("generic").model_copy(update={"status": Status(throttle=[], quota=[429])})
    async with open_loopback(endless) as server:
        diagnosis = await diagnose(server, profile=metered)
    assert len(server.asked) == diagnosis.requests <= 12
    assert {"quota", "policy"} <= {one.name for one in diagnosis.findings}


async def test_what_nearly_always_is_large_is_not_taken_from_a_quota() -> None:
    def answer(asked: Asked) -> Reply:
        reply = endless(asked)
        return Reply(reply.data.replace(b'"CT"', b'"SM"'), then=reply.then)

    async with open_loopback(with_usage(answer, 1000, 0.00001)) as server:
        diagnosis = await diagnose(server, profile=METERED)
    assert [a.target for a in server.asked if a.headers["accept"] != JSON and "2.25." not in a.target][1:] == []
    assert {one.name: str(one.verdict) for one in diagnosis.findings}["retrieve"] == "unknown"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "said"),
    [
        (b"<html>log in</html>", "text/html", "200 OK", "no DICOM JSON"),
        (b"no", "text/plain", "404 Not Found", "is this DICOMweb"),
        (b"no", "text/plain", "500 Internal Server Error", "500"),
        (b"[" * 100_000, JSON, "200 OK", "no DICOM JSON"),
        (b'[{"0020000D": {"Value": [7]}}]', JSON, "200 OK", ""),
    ],
)
async def test_what_is_no_dicomweb_server_is_said_to_be_none(
    body: bytes, content_type: str, status: str, said: str
) -> None:
    async with open_loopback(lambda _: ok(body, status=status, Content_Type=content_type)) as server:
        diagnosis = await diagnose(server)
    failed = [one.sentence + one.todo for one in diagnosis.findings if one.verdict == "fail"]
    assert (len(failed), diagnosis.usable) == ((1, False) if said else (0, True))
    assert said in "".join(failed)


@pytest.mark.parametrize("credentials", [None, "somebody"])
async def test_a_server_that_cannot_answer_now_says_nothing_of_who_is_let_in(credentials: str | None) -> None:
    busy = ok(b"<html>", status="503 Service Unavailable", Content_Type="text/html", Retry_After="120")
    async with open_loopback(lambda _: busy) as server:
        found = {one.name: one for one in (await diagnose(server, user=credentials)).findings}
    assert (found["auth"].verdict, found["search"].verdict) == ("unknown", "fail")
    assert "503 to a search for studies, and asks to wait 120 s" in found["search"].sentence


async def test_a_page_to_sign_in_at_lets_nobody_in() -> None:
    async with open_loopback(lambda _: ok(b"<html>log in</html>", Content_Type="text/html")) as server:
        found = {one.name: one for one in (await diagnose(server)).findings}
    assert (found["auth"].verdict, found["search"].verdict) == ("unknown", "fail")


async def test_a_throttle_ends_the_ramp() -> None:
    at_once = count()

    def answer(asked: Asked) -> Reply:
        if asked.headers["accept"] != JSON and next(at_once) > 25:
            return ok(status="429 Too Many Requests")
        return endless(asked)

    async with open_loopback(answer) as server:
        diagnosis = await diagnose(server)
    throttled = [asked for asked in server.asked if asked.headers["accept"] != JSON][26:]
    found = next(one for one in diagnosis.findings if one.name == "at once")
    assert (found.verdict, "it answers 429" in found.sentence) == ("warn", True)
    assert len(throttled) <= 4
    assert diagnosis.profile is not None
    assert "concurrency_max" in diagnosis.profile
