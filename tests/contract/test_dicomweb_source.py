"""`ports.Source` by WADO-RS: against the embedded origin in every style, and against answers written by hand."""

import gzip
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

import pytest

from dicomhaul import build
from dicomhaul.config.source import resolve_source
from dicomhaul.errors import (
    BadMultipart,
    DamagedError,
    Disconnected,
    HaulError,
    NotDicom,
    NotFound,
    ServerFailed,
    SourceDown,
    Truncated,
    Unsupported,
    WrongInstance,
)
from dicomhaul.events import Tally
from dicomhaul.model import Job, SeriesUID, SopUID, Stated
from dicomhaul.origin import STYLES, Cut, Part, Rule, Status, Truncate
from dicomhaul.ports import Source
from dicomhaul.profile import built_in
from dicomhaul.source.dicomweb import DicomwebSource
from dicomhaul.source.stranger import SERIES_DOWN
from support.clock import FakeClock
from support.fakes import STUDY, MemorySink
from support.instances import make_instance
from support.loopback import Asked, Reply, ok, open_loopback
from support.made_up import made_up_catalog
from support.origin_process import origin_thread

pytestmark = pytest.mark.anyio

CATALOG = made_up_catalog(3)
(HELD,) = CATALOG.series()
SERIES = Job(1, HELD.study, HELD.series)  # type: ignore[arg-type]
SOPS = [instance.sop for instance in HELD]
ONE = Job(1, HELD.study, HELD.series, SopUID(SOPS[1]))  # type: ignore[arg-type]


@asynccontextmanager
async def open_source(url: str, *, profile: str | None = None, clock: FakeClock | None = None) -> AsyncIterator[Source]:
    spec = resolve_source(url, profile=profile)
    async with build.open_source_host(
        spec, environ={}, clock=clock or FakeClock(), observer=lambda _: None, tally=Tally()
    ) as host:
        yield DicomwebSource(spec.name, host, spec.profile)


async def take(url: str, job: Job, *, known: Sequence[str] = (), profile: str | None = None) -> MemorySink:
    sink = MemorySink(job, known, {})
    async with open_source(url, profile=profile) as source:
        await source.exchange(job, sink)
    return sink


@pytest.mark.parametrize("style", sorted(STYLES))
async def test_every_style_gives_what_it_holds(style: str) -> None:
    expected = {instance.sop: b"".join([chunk async for chunk in instance.chunks()]) for instance in HELD}
    with origin_thread(CATALOG, style=style) as origin:
        assert (await take(origin.url, SERIES)).taken == expected
        assert (await take(origin.url, ONE)).taken == {SOPS[1]: expected[SOPS[1]]}
        async with open_source(origin.url) as source:
            listed = await source.inventory(SERIES)
    assert listed is not None
    assert sorted(ref.sop for ref in listed) == sorted(SOPS)


async def test_known_instances_are_not_taken() -> None:
    with origin_thread(CATALOG) as origin:
        sink = await take(origin.url, SERIES, known=SOPS[:2])
    assert set(sink.taken) == {SOPS[2]}


async def test_a_ladder_is_climbed_once() -> None:
    """The generic profile begins with what this server refuses, and remembers what it took."""
    with origin_thread(CATALOG, style="orthanc") as origin:
        async with open_source(origin.url, profile="generic") as source:
            for _ in range(2):
                await source.exchange(SERIES, MemorySink(SERIES, (), {}))
                await source.exchange(ONE, MemorySink(ONE, (), {}))
    statuses = [entry.status for entry in origin.requests]  # the origin has ended, and all of its entries with it
    assert statuses[-2:] == [200, 200]
    assert set(statuses) <= {200, 400}


@pytest.mark.parametrize(
    ("rule", "error"),
    [
        (Rule(action=Status(status=404)), NotFound),
        (Rule(action=Status(status=204)), NotFound),
        (Rule(action=Status(status=200, body="<html>log in</html>")), HaulError),
        (Rule(action=Part(wrong="text")), NotDicom),
        (Rule(action=Part(wrong="cut")), Truncated),
        (Rule(action=Part(wrong="foreign")), WrongInstance),
        (Rule(action=Part(wrong="evil_uid")), WrongInstance),
        (Rule(action=Truncate()), Truncated),
        (Rule(action=Cut(after_bytes=100)), Disconnected),
    ],
)
async def test_a_wrong_answer_has_a_name_in_the_end(rule: Rule, error: type[HaulError]) -> None:
    sink = StrictSink()
    with origin_thread(made_up_catalog(1, 1), rules=[rule]) as origin:
        async with open_source(origin.url) as source:
            with pytest.raises(error):
                await source.exchange(Job(1, HELD.study, HELD.series), sink)  # type: ignore[arg-type]
    assert sink.open_parts == 0


def alone(body: bytes, *headers: str, content_type: str = "application/dicom") -> Reply:
    """Return an answer that is one instance, and ends with its connection unless a header says otherwise."""
    lines = ["HTTP/1.1 200 OK", f"Content-Type: {content_type}", *headers]
    return Reply("\r\n".join(lines).encode() + b"\r\n\r\n" + body, then="close")


WHOLE = make_instance("4.1", study=STUDY, series="1.1", described=True)
CUT_BETWEEN_ELEMENTS = WHOLE[: WHOLE.index(b"\xe0\x7f\x10\0")]
LONE = Job(1, STUDY, SeriesUID("1.1"))


@pytest.mark.parametrize("content_type", ["application/dicom", "application/octet-stream"])
async def test_an_instance_that_ends_with_its_connection_has_its_pixels(content_type: str) -> None:
    """Else it was cut between two elements, where neither HTTP nor its own structure shows it."""
    async with open_loopback(lambda _: alone(WHOLE, content_type=content_type)) as server:
        assert (await take(server.url(), LONE)).taken == {"4.1": WHOLE}
    async with open_loopback(lambda _: alone(CUT_BETWEEN_ELEMENTS, content_type=content_type)) as server:
        with pytest.raises(Truncated, match="before the pixels"):
            await take(server.url(), LONE)


async def test_an_instance_without_pixels_comes_where_something_says_that_it_is_whole() -> None:
    """Some archives hold such: a length, chunks or a delimiter tells them from what was cut."""
    body = CUT_BETWEEN_ELEMENTS
    multipart = b"--B\r\n\r\n" + body + b"\r\n--B--\r\n"
    for reply in (
        alone(body, f"Content-Length: {len(body)}"),
        alone(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body), "Transfer-Encoding: chunked"),
        alone(multipart, content_type="multipart/related; boundary=B"),
        alone(multipart, content_type="application/octet-stream"),
    ):
        async with open_loopback(lambda _, reply=reply: reply) as server:  # type: ignore[misc]
            assert (await take(server.url(), LONE)).taken == {"4.1": body}


def multipart(*parts: bytes, lengths: bool) -> Reply:
    """Return an answer of these parts, with the boundary B, which may stand in their payload, too."""
    framed = b"".join(
        b"--B\r\n" + (b"Content-Length: %d\r\n" % len(part) if lengths else b"") + b"\r\n" + part + b"\r\n"
        for part in parts
    )
    return ok(framed + b"--B--\r\n", Content_Type='multipart/related; type="application/dicom"; boundary=B')


@pytest.mark.parametrize("sop", [None, SopUID("4.1")], ids=["series", "instance"])
@pytest.mark.parametrize("inside", [b"\r\n--B\r\n\r\n", b"\r\n--B--\r\n"], ids=["delimiter", "closing delimiter"])
async def test_a_boundary_inside_the_payload_is_payload_or_damage(inside: bytes, sop: SopUID | None) -> None:
    """Where the part's length is stated, the payload is as it is; where it is not, nothing torn lands."""
    torn = make_instance("4.1", study=STUDY, series="1.1", pixels=bytes(32) + inside + bytes(32))
    whole = make_instance("4.2", study=STUDY, series="1.1")
    job = Job(1, STUDY, SeriesUID("1.1"), sop)
    parts = [torn] if sop else [whole, torn]
    async with open_loopback(lambda _: multipart(*parts, lengths=True)) as server:
        assert (await take(server.url(), job)).taken == ({"4.1": torn} if sop else {"4.2": whole, "4.1": torn})
    sink = MemorySink(job, (), {})
    async with open_loopback(lambda _: multipart(*parts, lengths=False)) as server:
        async with open_source(server.url()) as source:
            with pytest.raises((Truncated, BadMultipart, NotDicom)):
                await source.exchange(job, sink)
        # What is damaged is asked for three times; once where something has landed, which the caller goes on from.
        assert len(server.asked) == (3 if sop else 1)
    assert sink.taken == ({} if sop else {"4.2": whole})


@pytest.mark.parametrize("sop", [None, SopUID("4.1")], ids=["series", "instance"])
@pytest.mark.parametrize("kind", ["multipart/related; boundary=B", "application/dicom", "application/octet-stream"])
async def test_a_gzip_bomb_is_never_inflated(kind: str, sop: SopUID | None) -> None:
    """Nobody asked for a coding: its bytes are no DICOM, whatever they would become."""
    bomb = gzip.compress(b"--B\r\n\r\n" + bytes(20_000_000), 1)
    job = Job(1, STUDY, SeriesUID("1.1"), sop)
    sink = MemorySink(job, (), {})
    async with open_loopback(lambda _: ok(bomb, Content_Type=kind, Content_Encoding="gzip")) as server:
        async with open_source(server.url()) as source:
            with pytest.raises(DamagedError, match=r"encoded \(gzip\)"):
                await source.exchange(job, sink)
        assert len(server.asked) == 3
    assert sink.taken == {}


class StrictSink(MemorySink):
    """As the sink of a folder is: it takes nothing that is not of its series, and knows what is open."""

    def __init__(self) -> None:
        super().__init__(SERIES, (), {})
        self.open_parts = 0

    def begin(self, stated: Stated | None = None) -> None:
        assert stated is None
        assert self.open_parts == 0
        self.open_parts = 1
        super().begin(stated)

    def discard(self) -> None:
        self.open_parts = 0
        super().discard()

    def end(self, identity: "object") -> None:
        assert self.open_parts == 1
        series = getattr(identity, "series", "")
        sop = getattr(identity, "sop", "")
        if series != SERIES.series or "/" in sop:
            raise WrongInstance("not asked for")
        self.open_parts = 0
        super().end(identity)  # type: ignore[arg-type]


async def test_a_good_part_beside_a_bad_one_is_kept() -> None:
    sink = StrictSink()
    with origin_thread(CATALOG, rules=[Rule(action=Part(wrong="text", index=1))]) as origin:
        async with open_source(origin.url) as source:
            with pytest.raises(NotDicom):
                await source.exchange(SERIES, sink)
        assert len(origin.requests) == 1  # something landed: the caller decides what to ask for
    assert set(sink.taken) == {SOPS[0], SOPS[2]}


async def test_what_brought_nothing_is_asked_for_again() -> None:
    rules = [Rule(times=frozenset({1}), action=Status(status=503)), Rule(times=frozenset({2}), action=Cut())]
    with origin_thread(CATALOG, rules=rules) as origin:
        sink = await take(origin.url, SERIES)
        assert len(origin.requests) == 3
    assert set(sink.taken) == set(SOPS)


@pytest.mark.parametrize("wrong", ["length", "length_over"])
async def test_a_wrong_part_length_is_survived_by_searching(wrong: Literal["length", "length_over"]) -> None:
    """The server counts wrong every time."""
    with origin_thread(CATALOG, rules=[Rule(action=Part(wrong=wrong))]) as origin:
        sink = await take(origin.url, SERIES)
        assert len(origin.requests) == 2
    assert set(sink.taken) == set(SOPS)


CONTENT = make_instance("4.1", study=STUDY, series="1.1")
HAND_JOB = Job(1, STUDY, SeriesUID("1.1"))


@asynccontextmanager
async def by_hand(reply: Reply) -> AsyncIterator[tuple[Source, list[Asked]]]:
    async with (
        open_loopback(lambda _: reply) as server,
        open_source(server.url(), profile="generic") as source,
    ):
        yield source, server.asked


async def test_a_single_part_answer() -> None:
    sink = MemorySink(HAND_JOB, (), {})
    async with by_hand(ok(CONTENT, Content_Type="application/dicom")) as (source, asked):
        await source.exchange(HAND_JOB, sink)
    assert sink.taken == {"4.1": CONTENT}
    assert [each.target for each in asked] == ["/dicom-web/studies/2.25.1/series/1.1"]


async def test_what_a_server_took_is_asked_for_from_then_on() -> None:
    """For series and for instances: each has a ladder of its own."""
    accept = built_in("generic").accept
    one = Job(1, STUDY, SeriesUID("1.1"), SopUID("4.1"))

    def answer(asked: Asked) -> Reply:
        taken = accept.instance[1] if "/instances/" in asked.target else accept.series[2]
        if asked.headers["accept"] != taken:
            return ok(status="406 Not Acceptable")
        return ok(CONTENT, Content_Type="application/dicom")

    async with open_loopback(answer) as server, open_source(server.url(), profile="generic") as source:
        for job in (HAND_JOB, one, HAND_JOB, one):
            sink = MemorySink(job, (), {})
            await source.exchange(job, sink)
            assert sink.taken == {"4.1": CONTENT}
    assert [each.headers["accept"] for each in server.asked] == [
        *accept.series[:3],
        *accept.instance[:2],
        accept.series[2],
        accept.instance[1],
    ]


async def test_partial_content_is_kept_and_reported() -> None:
    sink = MemorySink(HAND_JOB, (), {})
    reply = ok(CONTENT, status="206 Partial Content", Content_Type="application/dicom")
    async with by_hand(reply) as (source, _):
        with pytest.raises(Unsupported, match="206"):
            await source.exchange(HAND_JOB, sink)
    assert sink.taken == {"4.1": CONTENT}


async def test_a_body_without_its_closing_delimiter() -> None:
    body = b"--b\r\nContent-Type: application/dicom\r\n\r\n" + CONTENT
    reply = ok(body, Content_Type='multipart/related; type="application/dicom"; boundary=b')
    async with by_hand(reply) as (source, _):
        with pytest.raises((Truncated, BadMultipart)):
            await source.exchange(HAND_JOB, MemorySink(HAND_JOB, (), {}))


async def test_a_server_that_cannot_be_searched_lists_nothing(tmp_path: Path) -> None:
    profile = tmp_path / "mine.toml"
    profile.write_text('name = "mine"\n[search]\navailable = false\n')
    with origin_thread(CATALOG) as origin:
        async with open_source(origin.url, profile=str(profile)) as source:
            assert await source.inventory(SERIES) is None
        assert origin.requests == []


@pytest.mark.parametrize(
    ("size_bytes", "kind", "tries"),
    [(31_000_000, Unsupported, 2), (None, Unsupported, 5), (1_000_000, ServerFailed, 5)],
)
async def test_a_failure_near_the_largest_answer_is_no_failure_of_its_parts(
    size_bytes: int | None, kind: type[HaulError], tries: int
) -> None:
    """IDC's proxy answers 500 for what is over 32 MB, as it does when Google is busy: again, then singly."""
    job = Job(1, STUDY, SeriesUID("1.1"), None, 60, size_bytes)
    async with (
        open_loopback(lambda _: ok(status="500 Internal Server Error")) as server,
        open_source(server.url(), profile="idc-proxy") as source,
    ):
        with pytest.raises(kind, match="500"):
            await source.exchange(job, MemorySink(job, (), {}))
    asked = [each.target for each in server.asked if each.target != "/quota_usage"]
    assert len(asked) == tries


async def test_an_instance_that_fails_and_a_server_without_a_largest_answer_fail_as_they_do() -> None:
    one = Job(1, STUDY, SeriesUID("1.1"), SopUID("4.1"), None, 31_000_000)
    for job, profile in ((one, "idc-proxy"), (HAND_JOB, "orthanc")):
        async with (
            open_loopback(lambda _: ok(status="500 Internal Server Error")) as server,
            open_source(server.url(), profile=profile) as source,
        ):
            with pytest.raises(ServerFailed):
                await source.exchange(job, MemorySink(job, (), {}))


async def test_a_refusal_that_passes_does_not_change_what_is_asked_for_from_then_on() -> None:
    """A rung below may be a form that the server has to make first, with other bytes than it stores."""
    rungs = built_in("generic").accept.series
    rules = [Rule(level="series", times=frozenset({2}), action=Status(status=400))]
    with origin_thread(CATALOG, style="azure", rules=rules) as origin:
        async with open_source(origin.url, profile="generic") as source:
            for _ in range(3):
                await source.exchange(SERIES, MemorySink(SERIES, (), {}))
        assert [entry.accept for entry in origin.requests] == [rungs[0], rungs[0], rungs[1], rungs[0]]


HTML = Status(status=200, body="<html>log in</html>")


def job_for(number: int) -> Job:
    return Job(number, STUDY, SeriesUID(f"1.{number}"))


async def test_a_source_that_gives_pages_instead_of_dicom_is_left_with_the_eighth_series() -> None:
    with origin_thread(CATALOG, rules=[Rule(action=HTML)]) as origin:
        async with open_source(origin.url) as source:
            for number in range(1, SERIES_DOWN):
                for _ in range(2):  # the same series twice is one
                    with pytest.raises(NotDicom):
                        await source.exchange(job_for(number), MemorySink(job_for(number), (), {}))
            with pytest.raises(SourceDown, match="text/html instead of DICOM; is a login page"):
                await source.exchange(job_for(SERIES_DOWN), MemorySink(job_for(SERIES_DOWN), (), {}))
        assert len(origin.requests) == 3 * (2 * (SERIES_DOWN - 1) + 1)


async def test_a_series_that_comes_in_between_shows_that_the_source_is_well() -> None:
    with origin_thread(CATALOG, rules=[Rule(path=r"/series/1\.\d+$", action=HTML)]) as origin:
        async with open_source(origin.url) as source:
            for number in range(1, 2 * SERIES_DOWN - 1):
                if number == SERIES_DOWN:
                    await source.exchange(SERIES, MemorySink(SERIES, (), {}))
                with pytest.raises(NotDicom):
                    await source.exchange(job_for(number), MemorySink(job_for(number), (), {}))
