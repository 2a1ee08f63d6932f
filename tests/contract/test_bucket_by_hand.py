"""`ports.ObjectSource` on buckets that misbehave: what they say is written by hand, byte for byte."""

import base64
import gzip
import hashlib
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import google_crc32c
import pytest

from dicomhaul import build
from dicomhaul.config.source import resolve_source
from dicomhaul.errors import (
    DamagedError,
    Disconnected,
    HaulError,
    NotDicom,
    NotFound,
    ServerFailed,
    SourceDown,
    Throttled,
    Truncated,
    Unsupported,
)
from dicomhaul.events import Tally
from dicomhaul.model import Check, Identity, Job, ObjectRef, Partial, SeriesUID, Stated
from dicomhaul.ports import SMALL_BYTES
from dicomhaul.source.bucket import BucketSource
from support.clock import FakeClock
from support.fakes import STUDY, MemorySink
from support.instances import make_instance
from support.loopback import Asked, Loopback, Reply, ok, open_loopback

pytestmark = pytest.mark.anyio

MB = 1 << 20
JOB = Job(1, STUDY, SeriesUID("1.1"))
REVISION = "085e85b3-3780-47f6-8538-585bcca95336"
KEY = f"{REVISION}/4a1d.dcm"
SMALL = make_instance("4.1", study=STUDY, series="1.1", pixels=bytes(range(250)) * 40)
LARGE = make_instance("4.1", study=STUDY, series="1.1", pixels=bytes(range(256)) * (12 * MB // 256))
ETAG = hashlib.md5(LARGE).hexdigest()


def ref_of(content: bytes, *, etag: str | None = "") -> ObjectRef:
    """What a listing states of the object; its ETag is its MD5 unless another one is given."""
    return ObjectRef("idc-open-data", KEY, len(content), hashlib.md5(content).hexdigest() if etag == "" else etag)


class WatchedSink(MemorySink):
    """Notes what is said to it, refuses what is out of turn, and keeps the beginnings that are suspended."""

    def __init__(self, known: Iterable[str] = (), *, staged: bytes = b"") -> None:
        super().__init__(JOB, known, {})
        self.calls: list[str] = []
        self.stated: list[Stated | None] = []
        self.suspended: bytes | None = None
        self.staged = staged

    def begin(self, stated: Stated | None = None) -> None:
        assert self._part is None
        self.calls.append("begin")
        self.stated.append(stated)
        super().begin(stated)

    def end(self, identity: Identity) -> None:
        self.calls.append("end")
        super().end(identity)

    def discard(self) -> None:
        if self._part is not None:
            self.calls.append("discard")
        super().discard()

    def suspend(self) -> None:
        if self._part is not None:
            self.calls.append("suspend")
            self.suspended = b"".join(self._part)
        super().suspend()

    async def reopen(self, stated: Stated, partial: Partial, skim: Callable[[memoryview], None]) -> bool:
        self.calls.append("reopen")
        if len(self.staged) < partial.offset:
            return False
        super().begin(stated)
        self.stated.append(stated)
        view = memoryview(self.staged)[: partial.offset]
        skim(view[: len(view) // 2])
        skim(view[len(view) // 2 :])
        super().write(view)
        return True


@asynccontextmanager
async def bucket(
    answer: Callable[[Asked], Reply], folder: Path, *, compare: bool = True, gcs: bool = False
) -> AsyncIterator[tuple[BucketSource, Loopback]]:
    async with open_loopback(answer) as server:
        file = folder / "mine.toml"
        parent = "idc-bucket-gcs" if gcs else "idc-bucket"
        file.write_text(f'name = "mine"\nextends = "{parent}"\nurl = "{server.url("")}"\n')
        spec = resolve_source(str(file))
        async with build.open_source_host(
            spec, environ={}, clock=FakeClock(), observer=lambda _: None, tally=Tally()
        ) as host:
            yield BucketSource(spec.name, host, spec.profile, compare=compare), server


def head(status: str, headers: Mapping[str, str | int]) -> bytes:
    lines = [f"HTTP/1.1 {status}", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Held:
    """Answers with one object as a bucket should; `cut` bytes an answer at most, then the connection breaks."""

    def __init__(self, content: bytes, *, cut: int | None = None, ranges: bool = True, etag: str | None = "") -> None:
        self.content = content
        self.cut = cut
        self.ranges = ranges
        self.etag = hashlib.md5(content).hexdigest() if etag == "" else etag
        self.headers: dict[str, str] = {}
        self.sent = 0

    def __call__(self, asked: Asked) -> Reply:
        wanted = asked.headers.get("range")
        begin, end = 0, len(self.content)
        headers: dict[str, str | int] = dict(self.headers)
        if self.etag is not None:
            headers["ETag"] = f'"{self.etag}"'
        status = "200 OK"
        if wanted is not None and self.ranges:
            if asked.headers.get("if-match", f'"{self.etag}"') != f'"{self.etag}"':
                return ok(status="412 Precondition Failed")
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), min(end, int(last) + 1) if last else end
            status = "206 Partial Content"
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(self.content)}"
        headers["Content-Length"] = end - begin
        body = self.content[begin:end]
        if self.cut is not None and len(body) > self.cut:
            self.sent += self.cut
            return Reply(head(status, headers) + body[: self.cut], then="close")
        self.sent += len(body)
        return Reply(head(status, headers) + body)


async def fetch(
    answer: Callable[[Asked], Reply],
    folder: Path,
    ref: ObjectRef,
    sink: MemorySink,
    *,
    partial: Partial | None = None,
    compare: bool = True,
) -> list[Asked]:
    async with bucket(answer, folder, compare=compare) as (source, server):
        await source.fetch(ref, sink, partial)
    return server.asked


# -- an answer that breaks off ------------------------------------------------------------------------------------


async def test_what_breaks_off_goes_on_where_it_was(tmp_path: Path) -> None:
    """Five attempts would not do: they count anew after progress."""
    held, sink = Held(LARGE, cut=3 * MB // 2), WatchedSink()
    asked = await fetch(held, tmp_path, ref_of(LARGE), sink)
    assert sink.taken == {"4.1": LARGE}
    assert sink.calls == ["begin", "end"]
    assert len(asked) > 5
    assert "range" not in asked[0].headers
    assert all(each.headers["if-match"] == f'"{ETAG}"' for each in asked[1:])
    assert {each.target for each in asked} == {f"/idc-open-data/{KEY}"}


async def test_a_crumb_is_no_progress(tmp_path: Path) -> None:
    """What came of the object is kept for the next run."""
    held, sink = Held(LARGE, cut=200_000), WatchedSink()
    async with bucket(held, tmp_path) as (source, server):
        with pytest.raises(Disconnected) as raised:
            await source.fetch(ref_of(LARGE), sink)
    assert len(server.asked) == 5
    assert (raised.value.job, raised.value.attempt) == (f"object {KEY}", 5)
    assert sink.calls == ["begin", "suspend"]
    assert sink.suspended is not None
    assert LARGE.startswith(sink.suspended)


async def test_a_body_that_ends_early_by_closing_goes_on_too(tmp_path: Path) -> None:
    held = Held(LARGE)
    replies = iter([Reply(head("200 OK", {"ETag": f'"{ETAG}"'}) + LARGE[: 2 * MB], then="close")])
    sink = WatchedSink()
    asked = await fetch(lambda each: next(replies, None) or held(each), tmp_path, ref_of(LARGE), sink)
    assert sink.taken == {"4.1": LARGE}
    assert asked[1].headers["range"] == f"bytes={2 * MB}-"


async def test_a_server_without_ranges_begins_anew(tmp_path: Path) -> None:
    held, sink = Held(LARGE, cut=9 * MB, ranges=False), WatchedSink()

    def answer(asked: Asked) -> Reply:
        if len(sink.calls) > 2:
            held.cut = None
        return held(asked)

    await fetch(answer, tmp_path, ref_of(LARGE), sink)
    assert sink.taken == {"4.1": LARGE}
    assert sink.calls == ["begin", "discard", "begin", "discard", "begin", "end"]


async def test_a_server_without_ranges_that_always_breaks_is_given_up(tmp_path: Path) -> None:
    held, sink = Held(LARGE, cut=2 * MB, ranges=False), WatchedSink()
    async with bucket(held, tmp_path) as (source, server):
        with pytest.raises(Disconnected):
            await source.fetch(ref_of(LARGE), sink)
    assert len(server.asked) == 6  # the first brought more than ever before; then five did not


async def test_without_an_etag_nothing_goes_on(tmp_path: Path) -> None:
    held, sink = Held(LARGE, cut=2 * MB, etag=None), WatchedSink()

    def answer(asked: Asked) -> Reply:
        assert "range" not in asked.headers
        reply = held(asked)
        held.cut = None
        return reply

    await fetch(answer, tmp_path, ref_of(LARGE, etag=None), sink)
    assert sink.calls == ["begin", "discard", "begin", "end"]


@pytest.mark.parametrize(
    "content_range",
    [
        f"bytes 0-{len(LARGE) - 1}/{len(LARGE)}",
        f"bytes {2 * MB}-{len(LARGE) - 1}/{len(LARGE) + 1}",
        f"bytes */{len(LARGE)}",
        "bytes 5-1/9",
        "",
    ],
)
async def test_another_range_than_was_asked_for(tmp_path: Path, content_range: str) -> None:
    held, sink = Held(LARGE, cut=3 * MB), WatchedSink()

    def answer(asked: Asked) -> Reply:
        if "range" not in asked.headers:
            reply = held(asked)
            held.cut = None
            return reply
        rest = LARGE[int(asked.headers["range"][6:-1]) :]
        return ok(rest, status="206 Partial Content", Content_Range=content_range)

    await fetch(answer, tmp_path, ref_of(LARGE), sink)
    assert sink.taken == {"4.1": LARGE}
    assert sink.calls == ["begin", "discard", "begin", "end"]


async def test_a_range_may_come_in_pieces(tmp_path: Path) -> None:
    held, sink = Held(LARGE, cut=2 * MB), WatchedSink()

    def answer(asked: Asked) -> Reply:
        if "range" not in asked.headers:
            return held(asked)
        begin = int(asked.headers["range"][6:-1])
        piece = LARGE[begin : begin + 3 * MB]
        told = f"bytes {begin}-{begin + len(piece) - 1}/{len(LARGE)}"
        return ok(piece, status="206 Partial Content", Content_Range=told)

    await fetch(answer, tmp_path, ref_of(LARGE), sink)
    assert sink.taken == {"4.1": LARGE}
    assert sink.calls == ["begin", "end"]


@pytest.mark.parametrize("status", ["412 Precondition Failed", "416 Range Not Satisfiable"])
async def test_an_object_that_changed_in_between(tmp_path: Path, status: str) -> None:
    held, sink = Held(LARGE, cut=2 * MB), WatchedSink()

    async with bucket(lambda each: ok(status=status) if "range" in each.headers else held(each), tmp_path) as (
        source,
        server,
    ):
        with pytest.raises(Unsupported, match="has changed since"):
            await source.fetch(ref_of(LARGE), sink)
    assert sink.calls == ["begin", "discard"]
    assert len(server.asked) == 2


async def test_an_answer_that_nobody_asked_to_be_partial(tmp_path: Path) -> None:
    for content in (SMALL, LARGE):
        reply = ok(content, status="206 Partial Content", Content_Range=f"bytes 0-{len(content) - 1}/{len(content)}")
        sink = WatchedSink()
        with pytest.raises(DamagedError):
            await fetch(lambda _, reply=reply: reply, tmp_path, ref_of(content), sink)  # type: ignore[misc]
        assert sink.taken == {}


# -- what is not what was listed ----------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize(
    ("headers", "change", "error", "message"),
    [
        ({"ETag": '"another"'}, 0, Unsupported, "has changed since"),
        ({"Content-Encoding": "gzip"}, 0, Unsupported, "encoded"),
        ({"x-goog-stored-content-encoding": "gzip"}, 0, Unsupported, "encoded"),
        ({}, 2, DamagedError, "bytes, the bucket lists"),
        ({}, -2, DamagedError, "bytes, the bucket lists"),
    ],
)
async def test_an_answer_that_is_another_object(  # noqa: PLR0917 - pytest's own
    tmp_path: Path, content: bytes, headers: dict[str, str], change: int, error: type[HaulError], message: str
) -> None:
    body = content[:change] if change < 0 else content + bytes(change)
    if "Content-Encoding" in headers:
        body = gzip.compress(body, 0)
    sink = WatchedSink()
    reply = Reply(head("200 OK", {**headers, "Content-Length": len(body)}) + body)
    with pytest.raises(error, match=message):
        await fetch(lambda _: reply, tmp_path, ref_of(content), sink)
    assert sink.calls == []


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
async def test_a_body_that_states_no_length_and_does_not_end(tmp_path: Path, content: bytes) -> None:
    sink = WatchedSink()
    reply = Reply(head("200 OK", {}) + content + bytes(10), then="close")
    with pytest.raises(DamagedError, match="goes on beyond"):
        await fetch(lambda _: reply, tmp_path, ref_of(content), sink)
    assert sink.taken == {}
    assert sink._part is None


async def test_a_small_object_that_states_no_length_and_ends_early(tmp_path: Path) -> None:
    sink = WatchedSink()
    reply = Reply(head("200 OK", {}) + SMALL[:-2], then="close")
    with pytest.raises(Truncated):
        await fetch(lambda _: reply, tmp_path, ref_of(SMALL), sink)
    assert sink.calls == []


@pytest.mark.parametrize("size", [100, SMALL_BYTES + 1])
async def test_what_is_not_dicom_is_not_kept(tmp_path: Path, size: int) -> None:
    sink = WatchedSink()
    page = b"<html>" * (size // 6 + 1)
    with pytest.raises(NotDicom):
        await fetch(Held(page), tmp_path, ref_of(page), sink)
    assert sink.taken == {}
    assert "suspend" not in sink.calls


async def test_an_instance_that_is_cut_inside_a_whole_object(tmp_path: Path) -> None:
    for content in (SMALL[:-100], LARGE[:-100]):
        sink = WatchedSink()
        with pytest.raises(Truncated):
            await fetch(Held(content), tmp_path, ref_of(content), sink)
        assert sink.taken == {}
        assert "suspend" not in sink.calls


class RefusingSink(WatchedSink):
    """Finds what it was given damaged, at the very end."""

    def end(self, identity: Identity) -> None:
        self.calls.append("end")
        raise DamagedError("not what was asked for")


async def test_what_the_sink_finds_damaged_leaves_no_part_open_in_it(tmp_path: Path) -> None:
    """Others share it: the next of them begins a part."""
    sink = RefusingSink()
    with pytest.raises(DamagedError):
        await fetch(Held(SMALL), tmp_path, ref_of(SMALL), sink)
    assert sink.calls == ["begin", "end", "discard"] * (len(sink.calls) // 3)


async def test_an_object_that_is_gone(tmp_path: Path) -> None:
    for status in ("204 No Content", "404 Not Found"):
        with pytest.raises(NotFound):
            await fetch(lambda _, status=status: ok(status=status), tmp_path, ref_of(LARGE), WatchedSink())  # type: ignore[misc]


async def test_a_large_object_that_is_there_already_is_left_alone(tmp_path: Path) -> None:
    """Its bytes are not waited for."""
    sink = WatchedSink(["4.1"])
    reply = Reply(head("200 OK", {"Content-Length": len(LARGE)}) + LARGE[:100_000], then="hang")
    await fetch(lambda _: reply, tmp_path, ref_of(LARGE), sink)
    assert sink.calls == ["begin", "discard"]


async def test_a_small_object_that_is_there_already_says_who_it_is(tmp_path: Path) -> None:
    sink = WatchedSink(["4.1"])
    await fetch(Held(SMALL), tmp_path, ref_of(SMALL), sink)
    assert sink.stems == {"4a1d": "4.1"}
    assert sink.taken == {}


async def test_a_bucket_that_wants_less(tmp_path: Path) -> None:
    held = Held(SMALL)
    replies = iter([ok(status="503 Slow Down"), ok(status="500 Internal Server Error")])
    sink = WatchedSink()
    async with bucket(lambda each: next(replies, None) or held(each), tmp_path) as (source, server):
        await source.fetch(ref_of(SMALL), sink)
    assert sink.taken == {"4.1": SMALL}
    assert len(server.asked) == 3


# -- what is stated -----------------------------------------------------------------------------------------------


def crc32c(content: bytes) -> bytes:
    return int(google_crc32c.value(content)).to_bytes(4, "big")


@pytest.mark.parametrize("content", [SMALL, LARGE], ids=["small", "large"])
@pytest.mark.parametrize("compare", [True, False])
async def test_what_the_bucket_states_goes_to_the_sink(tmp_path: Path, content: bytes, *, compare: bool) -> None:
    sink = WatchedSink()
    ref = ref_of(content)
    await fetch(Held(content), tmp_path, ref, sink, compare=compare)
    check, digest = (Check.MD5, hashlib.md5(content).digest()) if compare else (Check.SIZE, None)
    assert sink.stated == [Stated("4a1d", len(content), ref.etag, check, digest)]


async def test_google_states_its_hashes_in_headers_of_their_own(tmp_path: Path) -> None:
    """In two lines of the same name."""
    sink = WatchedSink()
    hashes = [base64.b64encode(each).decode() for each in (crc32c(SMALL), hashlib.md5(SMALL).digest())]
    lines = f"Content-Length: {len(SMALL)}\r\nx-goog-hash: crc32c={hashes[0]}\r\nx-goog-hash: md5={hashes[1]}"
    reply = Reply(f"HTTP/1.1 200 OK\r\n{lines}\r\n\r\n".encode() + SMALL)
    async with bucket(lambda _: reply, tmp_path, gcs=True) as (source, server):
        await source.fetch(ref_of(SMALL)._replace(bucket="idc-open-data-two"), sink)
    assert sink.stated == [Stated("4a1d", len(SMALL), ref_of(SMALL).etag, Check.CRC32C, crc32c(SMALL))]
    assert server.asked[0].target == f"/idc-open-idc1/{KEY}"


# -- what an earlier run left -------------------------------------------------------------------------------------


def partial(offset: int = 5 * MB, etag: str = ETAG) -> Partial:
    return Partial("4a1d", etag, "1-7.part", offset, b"")


async def test_what_an_earlier_run_left_is_gone_on_with(tmp_path: Path) -> None:
    held, sink = Held(LARGE), WatchedSink(staged=LARGE)
    held.headers["x-goog-hash"] = f"crc32c={base64.b64encode(crc32c(LARGE)).decode()}"
    asked = await fetch(held, tmp_path, ref_of(LARGE), sink, partial=partial())
    assert sink.taken == {"4.1": LARGE}
    assert sink.calls == ["reopen", "end"]
    assert sink.stated == [Stated("4a1d", len(LARGE), ETAG, Check.CRC32C, crc32c(LARGE))]
    assert held.sent == len(LARGE) - 5 * MB + 1
    assert [each.headers["if-match"] for each in asked] == [f'"{ETAG}"'] * 2


async def test_what_an_earlier_run_left_whole_is_only_ended(tmp_path: Path) -> None:
    held, sink = Held(LARGE), WatchedSink(staged=LARGE)
    await fetch(held, tmp_path, ref_of(LARGE), sink, partial=partial(len(LARGE)))
    assert sink.taken == {"4.1": LARGE}
    assert held.sent == 1


@pytest.mark.parametrize(
    ("left", "staged", "ranges", "calls"),
    [
        (partial(etag="older"), LARGE, True, ["begin", "end"]),
        (partial(len(LARGE) + 1), LARGE, True, ["begin", "end"]),
        (partial(0), LARGE, True, ["begin", "end"]),
        (partial(), b"", True, ["reopen", "begin", "end"]),
        (partial(), bytes(6 * MB), True, ["reopen", "discard", "begin", "end"]),
        (partial(), LARGE, False, ["begin", "end"]),
    ],
    ids=["another version", "too much", "nothing", "not what was recorded", "not DICOM", "no ranges"],
)
async def test_what_is_of_no_use_is_fetched_anew(
    tmp_path: Path, left: Partial, staged: bytes, calls: list[str], *, ranges: bool
) -> None:
    held, sink = Held(LARGE, ranges=ranges), WatchedSink(staged=staged)
    await fetch(held, tmp_path, ref_of(LARGE), sink, partial=left)
    assert sink.taken == {"4.1": LARGE}
    assert sink.calls == calls


async def test_what_an_earlier_run_left_of_an_object_that_changed(tmp_path: Path) -> None:
    sink = WatchedSink(staged=LARGE)
    with pytest.raises(Unsupported, match="has changed since"):
        await fetch(Held(LARGE, etag="new"), tmp_path, ref_of(LARGE), sink, partial=partial())
    assert sink.calls == []


async def test_a_host_that_is_lost_keeps_what_came(tmp_path: Path) -> None:
    held, sink = Held(LARGE, cut=2 * MB), WatchedSink()
    async with bucket(lambda each: ok(status="500 No") if "range" in each.headers else held(each), tmp_path) as (
        source,
        _,
    ):
        with pytest.raises(ServerFailed):
            await source.fetch(ref_of(LARGE), sink)
    assert sink.calls == ["begin", "suspend"]


# -- listings -----------------------------------------------------------------------------------------------------


def page(keys: Iterable[str], token: str | None = None, *, size: int = 1) -> Reply:
    rows = "".join(
        f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>&quot;e&quot;</ETag></Contents>" for key in keys
    )
    more = "" if token is None else f"<NextContinuationToken>{token}</NextContinuationToken>"
    told = str(token is not None).lower()
    return ok(f"<ListBucketResult><IsTruncated>{told}</IsTruncated>{more}{rows}</ListBucketResult>".encode())


async def listing(folder: Path, *pages: Reply) -> tuple[list[ObjectRef], list[Asked]]:
    replies = iter(pages)
    async with bucket(lambda _: next(replies), folder) as (source, server):
        return await source.listing("idc-open-data", REVISION), server.asked


def keys(*names: str) -> list[str]:
    return [f"{REVISION}/{name}" for name in names]


async def test_pages_of_a_listing_follow_each_other(tmp_path: Path) -> None:
    refs, asked = await listing(
        tmp_path,
        page(keys("a.dcm"), "1+/=&amp;x"),
        page(keys("b.dcm", "b/c.dcm", "index.html"), "2"),
        page(keys("c.dcm")),
    )
    assert [ref.stem for ref in refs] == ["a", "b", "c"]
    assert refs[0] == ObjectRef("idc-open-data", f"{REVISION}/a.dcm", 1, "e")
    first = f"/idc-open-data?list-type=2&prefix={REVISION}%2F"
    assert [each.target for each in asked] == [
        first,
        f"{first}&continuation-token=1%2B%2F%3D%26x",
        f"{first}&continuation-token=2",
    ]


async def test_an_object_on_two_pages_is_one(tmp_path: Path) -> None:
    refs, _ = await listing(tmp_path, page(keys("a.dcm", "b.dcm"), "1"), page(keys("b.dcm", "c.dcm")))
    assert [ref.stem for ref in refs] == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("pages", "error"),
    [
        ([page(keys("a.dcm"), "1"), page(keys("b.dcm"), "2"), page(keys("c.dcm"), "1")], Unsupported),
        ([page(keys("a.dcm"), "1"), page(keys("a.dcm"), size=2)], Unsupported),
        ([page([])], NotFound),
        ([page(keys("readme.txt"))], NotFound),
        ([ok(b"<Error><Code>AccessDenied</Code></Error>")], Unsupported),
        ([ok(b"<ListBucketResult>" + b" " * (5 << 20))], Unsupported),
        ([ok(status="403 Forbidden")], HaulError),
    ],
)
async def test_a_listing_that_is_no_good(tmp_path: Path, pages: list[Reply], error: type[HaulError]) -> None:
    with pytest.raises(error):
        await listing(tmp_path, *pages)


async def test_a_listing_without_end_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dicomhaul.source.bucket._MOST_PAGES", 7)
    pages = (page([], str(number)) for number in range(100))
    with pytest.raises(Unsupported, match="does not end"):
        await listing(tmp_path, *pages)
    monkeypatch.setattr("dicomhaul.source.bucket._MOST_OBJECTS", 3)
    pages = (page(keys(f"{number}.dcm"), str(number)) for number in range(100))
    with pytest.raises(Unsupported, match="does not end: 4 objects in 4 pages"):
        await listing(tmp_path, *pages)


async def test_a_listing_that_is_cut_is_asked_for_again(tmp_path: Path) -> None:
    whole = page(keys("a.dcm"))
    refs, asked = await listing(
        tmp_path, ok(b"<ListBucketResult><Contents>"), Reply(whole.data[:-9], then="close"), whole
    )
    assert len(refs) == 1
    assert len(asked) == 3


async def test_a_bucket_that_wants_fewer_listings(tmp_path: Path) -> None:
    refs, _ = await listing(tmp_path, ok(status="503 Slow Down"), page(keys("a.dcm")))
    assert len(refs) == 1
    with pytest.raises((Throttled, SourceDown)):
        await listing(tmp_path, *(ok(status="503 Slow Down") for _ in range(40)))


@pytest.mark.parametrize(("name", "revision"), [("../evil", REVISION), ("a/b", REVISION), ("idc-open-data", "../x")])
async def test_what_could_lead_elsewhere_is_not_asked_for(tmp_path: Path, name: str, revision: str) -> None:
    async with bucket(lambda _: page([]), tmp_path) as (source, server):
        with pytest.raises(Unsupported):
            await source.listing(name, revision)
    assert server.asked == []


# -- who an object is ---------------------------------------------------------------------------------------------


def deep(uid_at: int) -> bytes:
    """An instance whose UIDs lie behind `uid_at` bytes of a private element."""
    whole = make_instance("4.1", study=STUDY, series="1.1", pixels=bytes(3 * MB))
    at = whole.index(b"\x08\x00\x18\x00UI")
    sequence = b"\x08\x00\x17\x00UN\0\0" + uid_at.to_bytes(4, "little") + bytes(uid_at)
    return whole[:at] + sequence + whole[at:]


async def who(content: bytes, folder: Path, *, ranges: bool = True) -> tuple[Identity, list[Asked]]:
    async with bucket(Held(content, ranges=ranges), folder) as (source, server):
        return await source.identify(ref_of(content)), server.asked


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(("content", "requests"), [(SMALL[:400], 1), (LARGE, 1), (deep(5_000), 2), (deep(70_000), 3)])
async def test_the_first_bytes_say_who_an_object_is(
    tmp_path: Path, content: bytes, requests: int, *, ranges: bool
) -> None:
    identity, asked = await who(content, tmp_path, ranges=ranges)
    assert (identity.study, identity.series, identity.sop) == (STUDY, "1.1", "4.1")
    assert [each.headers["range"] for each in asked] == [
        f"bytes=0-{min(4096, len(content)) - 1}",
        "bytes=4096-65535",
        "bytes=65536-1048575",
    ][:requests]


BARE = deep(2 * MB)[SMALL.index(b"\x08\x00\x16\x00UI") :]


@pytest.mark.parametrize("content", [BARE, b"<html>" * 100, b"", SMALL[:200]])
async def test_an_object_that_does_not_say_who_it_is(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(NotDicom):
        await who(content, tmp_path)


@pytest.mark.parametrize(
    "reply",
    [
        ok(SMALL[:4096], status="206 Partial Content", Content_Range=f"bytes 9-4104/{len(SMALL)}"),
        ok(SMALL[:100], status="206 Partial Content", Content_Range=f"bytes 0-99/{len(SMALL)}"),
        Reply(head("200 OK", {}) + SMALL[:90], then="close"),
    ],
)
async def test_first_bytes_that_are_others_or_fewer(tmp_path: Path, reply: Reply) -> None:
    async with bucket(lambda _: reply, tmp_path) as (source, _):
        with pytest.raises(DamagedError):
            await source.identify(ref_of(SMALL))
