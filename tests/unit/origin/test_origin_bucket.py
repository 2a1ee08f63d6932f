"""The embedded buckets over HTTP: listings, objects, ranges, what is refused; the same as a real S3 server's."""

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from uuid import NAMESPACE_OID, uuid5
from xml.etree import ElementTree as ET

import aiohttp
import google_crc32c
import pytest

from dicomhaul.model import ObjectRef, Series, SeriesUID, StudyUID
from dicomhaul.origin import BucketOrigin, Holdings, Rule, Script, serve_bucket, stored_holdings, synthetic_holdings
from dicomhaul.origin.faults import Action, Cut, Part, Status, Truncate
from dicomhaul.origin.listing import Cloud
from dicomhaul.wire.listing import Page, parse_listing
from support.made_up import made_up_catalog
from support.s3_server import run_s3

pytestmark = pytest.mark.anyio

ONE, TWO, OLD = (f"00000000-0000-4000-8000-00000000000{number}" for number in range(3))
DATA, CR = "idc-open-data", "idc-open-data-cr"
BOTH = pytest.mark.parametrize("cloud", ["s3", "gcs"])


def make_rows() -> list[Series]:
    study = StudyUID("1.2")
    return [
        Series(study, SeriesUID("1.2.1"), modality="CT", revision=ONE, bucket=DATA, expected=5, size_bytes=45_000),
        Series(study, SeriesUID("1.2.2"), modality="MR", revision=TWO, bucket=CR, expected=2, size_bytes=20_000),
        Series(
            study,
            SeriesUID("1.2.1"),
            modality="CT",
            revision=OLD,
            bucket=DATA,
            expected=3,
            size_bytes=20_000,
            prior=True,
        ),
    ]


@dataclass
class Answer:
    """An answer that has ended."""

    status: int
    headers: Any
    body: bytes


@asynccontextmanager
async def running(
    *actions: Action, holdings: Holdings | None = None, **more: Any
) -> AsyncIterator[tuple[BucketOrigin, "Asker"]]:
    script = Script([Rule(action=action, most=1) for action in actions])
    held = holdings or synthetic_holdings(make_rows())
    async with (
        serve_bucket(held, faults=script, **more) as origin,
        aiohttp.ClientSession(auto_decompress=False) as session,
    ):
        yield origin, Asker(origin.url, session)


class Asker:
    """Asks an origin."""

    def __init__(self, url: str, session: aiohttp.ClientSession) -> None:
        self._url = url
        self._session = session

    async def __call__(self, path: str, method: str = "GET", **headers: str) -> Answer:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self._session.request(method, self._url + path, headers=names) as response:
            return Answer(response.status, response.headers, await response.read())

    async def page(self, bucket: str, prefix: str, more: str = "") -> Page:
        answer = await self(f"/{bucket}/?list-type=2&prefix={prefix}{more}")
        assert (answer.status, answer.headers["Content-Type"]) == (200, "application/xml")
        return parse_listing(answer.body, bucket=bucket, prefix=prefix)


async def stored(holdings: Holdings, bucket: str, key: str) -> bytes:
    found = holdings.find(bucket, key)
    assert found is not None
    return b"".join([chunk async for chunk in found.chunks()])


def error_code(answer: Answer) -> str | None:
    assert answer.headers["Content-Type"] == "application/xml"
    return ET.fromstring(answer.body).findtext("Code")


@BOTH
async def test_a_series_is_listed_with_sizes_and_digests(cloud: Cloud) -> None:
    async with running(cloud=cloud) as (origin, ask):
        page = await ask.page(DATA, f"{ONE}/")
        contents = {ref.key: await stored(origin.holdings, DATA, ref.key) for ref in page.objects}
    assert page.token is None
    assert page.objects == [
        ObjectRef(DATA, key, len(content), hashlib.md5(content).hexdigest())
        for key, content in sorted(contents.items())
    ]
    sops = [one.sop for one in next(each for each in origin.holdings.revisions if each.uuid == ONE).series]
    assert {ref.stem for ref in page.objects} == {str(uuid5(NAMESPACE_OID, sop)) for sop in sops}
    (entry,) = origin.requests
    assert (entry.path, entry.level, entry.status, entry.client) == (f"/{DATA}/{ONE}/", "listing", 200, "127.0.0.1")
    assert entry.body_bytes > 1_000


async def test_a_listing_comes_in_pages() -> None:
    async with running(page_max=2) as (origin, ask):
        pages = [await ask.page(DATA, f"{ONE}/")]
        while pages[-1].token is not None:
            pages.append(await ask.page(DATA, f"{ONE}/", f"&continuation-token={pages[-1].token}"))
        assert [len(page.objects) for page in pages] == [2, 2, 1]
        keys = [ref.key for page in pages for ref in page.objects]
        assert keys == sorted(origin.holdings.keys(DATA, f"{ONE}/"))
        assert [ref.key for ref in (await ask.page(DATA, f"{ONE}/", f"&start-after={keys[3]}")).objects] == keys[4:]
        assert len((await ask.page(DATA, f"{ONE}/", "&max-keys=1")).objects) == 1
        assert await ask.page(DATA, f"{ONE}/", "&max-keys=0") == Page([], None)
        assert await ask.page(DATA, "nobody/") == Page([], None)


async def test_a_bucket_without_a_prefix_lists_every_revision() -> None:
    async with running() as (origin, ask):
        answer = await ask(f"/{DATA}?list-type=2")
    listed = [key.text for key in ET.fromstring(answer.body).iter("{http://s3.amazonaws.com/doc/2006-03-01/}Key")]
    assert listed == [*origin.holdings.keys(DATA, f"{ONE}/"), *origin.holdings.keys(DATA, f"{OLD}/")]
    assert len(listed) == 8


async def test_a_prior_revision_has_instances_of_its_own_and_is_in_buckets_alone() -> None:
    holdings = synthetic_holdings(make_rows())
    present, _, old = holdings.revisions
    assert {one.sop for one in present.series}.isdisjoint(one.sop for one in old.series)
    assert [len(one) for one in holdings.catalog().series()] == [5, 2]
    assert [one.series for one in holdings.catalog([DATA]).series()] == ["1.2.1"]


@BOTH
async def test_an_object_and_what_is_stated_of_it(cloud: Cloud) -> None:
    async with running(cloud=cloud) as (origin, ask):
        (ref, *_) = (await ask.page(DATA, f"{ONE}/")).objects
        content = await stored(origin.holdings, DATA, ref.key)
        whole, head = await ask(f"/{DATA}/{ref.key}"), await ask(f"/{DATA}/{ref.key}", "HEAD")
    assert (whole.status, whole.body, head.status, head.body) == (200, content, 200, b"")
    for answer in (whole, head):
        assert answer.headers["Content-Length"] == str(len(content))
        assert answer.headers["ETag"] == f'"{ref.etag}"'
        assert answer.headers["Accept-Ranges"] == "bytes"
        assert ("x-goog-hash" in answer.headers) == (cloud == "gcs")
    if cloud == "gcs":
        crc = google_crc32c.value(content).to_bytes(4, "big")
        md5 = hashlib.md5(content).digest()
        assert whole.headers["x-goog-hash"] == (
            f"crc32c={base64.b64encode(crc).decode()},md5={base64.b64encode(md5).decode()}"
        )
    entry = origin.requests[1]
    assert (entry.path, entry.level, entry.body_bytes, entry.done) == (
        f"/{DATA}/{ref.key}",
        "object",
        len(content),
        True,
    )


async def test_what_was_uploaded_in_parts_has_no_md5() -> None:
    large = Series(
        StudyUID("1"), SeriesUID("1.1"), modality="SM", revision=ONE, bucket=DATA, expected=1, size_bytes=20_000_000
    )
    holdings = synthetic_holdings([large])
    (key,) = holdings.keys(DATA, "")
    content = await stored(holdings, DATA, key)
    parts = [hashlib.md5(content[at : at + (8 << 20)]).digest() for at in range(0, len(content), 8 << 20)]
    expected = f"{hashlib.md5(b''.join(parts)).hexdigest()}-3"
    async with running(holdings=holdings, multipart_above=8 << 20) as (_, ask):
        (ref,) = (await ask.page(DATA, f"{ONE}/")).objects
        answer = await ask(f"/{DATA}/{key}")
    assert (ref.etag, answer.headers["ETag"], ref.size_bytes) == (expected, f'"{expected}"', len(content))
    async with running(holdings=holdings, multipart_above=8 << 20, cloud="gcs") as (_, ask):
        assert (await ask(f"/{DATA}/{key}", "HEAD")).headers["x-goog-hash"].count("=") == 3  # crc32c=XXXXXX== alone


async def test_ranges_and_versions() -> None:
    async with running() as (origin, ask):
        (ref, *_) = (await ask.page(DATA, f"{ONE}/")).objects
        content, path = await stored(origin.holdings, DATA, ref.key), f"/{DATA}/{ref.key}"
        rest = await ask(path, Range="bytes=4000-", If_Match=f'"{ref.etag}"')
        assert (rest.status, rest.body) == (206, content[4000:])
        assert rest.headers["Content-Range"] == f"bytes 4000-{len(content) - 1}/{len(content)}"
        assert rest.headers["Content-Length"] == str(len(content) - 4000)
        first = await ask(path, Range="bytes=0-4095")
        assert (first.status, first.body) == (206, content[:4096])
        beyond = await ask(path, Range=f"bytes={len(content)}-")
        assert (beyond.status, error_code(beyond)) == (416, "InvalidRange")
        assert beyond.headers["Content-Range"] == f"bytes */{len(content)}"
        other = await ask(path, Range="bytes=4000-", If_Match='"another"')
        assert (other.status, error_code(other)) == (412, "PreconditionFailed")
        assert (await ask(path, Range="bytes=1-2,4-5")).body == content
        asked = origin.requests[1]
        assert (asked.range, asked.if_match, asked.status) == ("bytes=4000-", f'"{ref.etag}"', 206)
        assert asked.body_bytes == len(content) - 4000


async def test_a_large_object_is_cut_at_any_byte() -> None:
    row = Series(
        StudyUID("1"), SeriesUID("1.1"), modality="SM", revision=ONE, bucket=DATA, expected=1, size_bytes=3_000_000
    )
    holdings = synthetic_holdings([row])
    (key,) = holdings.keys(DATA, "")
    content = await stored(holdings, DATA, key)
    async with running(holdings=holdings) as (_, ask):
        for begin, end in ((0, 1), (262_143, 262_145), (1, 2_999_999), (262_144, 524_288), (5, 2_000_000)):
            assert (await ask(f"/{DATA}/{key}", Range=f"bytes={begin}-{end - 1}")).body == content[begin:end]


@pytest.mark.parametrize(
    ("path", "method", "status", "code"),
    [
        ("/nobody/?list-type=2", "GET", 404, "NoSuchBucket"),
        ("/nobody/x.dcm", "GET", 404, "NoSuchBucket"),
        (f"/{DATA}/{ONE}/x.dcm", "GET", 404, "NoSuchKey"),
        (f"/{CR}/{ONE}/x.dcm", "GET", 404, "NoSuchKey"),
        ("/idc-open-data-two/?list-type=2", "GET", 403, "AccessDenied"),
        ("/idc-open-data-two/x", "GET", 403, "AccessDenied"),
        ("/", "GET", 403, "AccessDenied"),
        (f"/{DATA}/{ONE}/x.dcm", "PUT", 405, "MethodNotAllowed"),
        (f"/{DATA}/?prefix=x", "GET", 501, "NotImplemented"),
        (f"/{DATA}/?list-type=2&fetch-owner=true", "GET", 501, "NotImplemented"),
        (f"/{DATA}/?list-type=2&max-keys=-1", "GET", 400, "InvalidArgument"),
        (f"/{DATA}/?list-type=2&continuation-token=%3F", "GET", 400, "InvalidArgument"),
    ],
)
async def test_what_is_refused(path: str, method: str, status: int, code: str) -> None:
    async with running(closed=frozenset({"idc-open-data-two"})) as (origin, ask):
        answer = await ask(path, method)
        assert (answer.status, error_code(answer), origin.requests[0].status) == (status, code, status)


async def test_another_cloud_calls_buckets_otherwise() -> None:
    async with running(cloud="gcs", names={CR: "idc-open-cr"}) as (_, ask):
        assert len((await ask.page("idc-open-cr", f"{TWO}/")).objects) == 2
        assert b"<Name>idc-open-cr</Name>" in (await ask("/idc-open-cr/?list-type=2")).body
        assert (await ask(f"/{CR}/?list-type=2")).status == 404


async def test_faults_strike_listings_and_objects() -> None:
    rules = [
        Rule(
            action=Status(status=503, body="<Error/>"), level="listing", path=f"^/{DATA}/{ONE}/$", times=frozenset({1})
        ),
        Rule(action=Cut(after_bytes=100), level="object", times=frozenset({1})),
    ]
    async with (
        serve_bucket(synthetic_holdings(make_rows()), faults=Script(rules)) as origin,
        aiohttp.ClientSession() as session,
    ):
        ask = Asker(origin.url, session)
        assert (await ask(f"/{DATA}/?list-type=2&prefix={ONE}/")).status == 503
        (ref, *_) = (await ask.page(DATA, f"{ONE}/")).objects
        with pytest.raises(aiohttp.ClientPayloadError):
            await ask(f"/{DATA}/{ref.key}")
        assert len((await ask(f"/{DATA}/{ref.key}")).body) == ref.size_bytes
        assert [(entry.fault, entry.body_bytes) for entry in origin.requests[2:]] == [
            ("cut", 100),
            ("", ref.size_bytes),
        ]


async def test_spoiled_objects() -> None:
    spoilt = [Part(wrong=wrong) for wrong in ("flip", "cut", "text", "omit")]
    actions: list[Action] = [*spoilt, Truncate(after_bytes=50)]
    async with running(*actions) as (origin, ask):
        (key, *_) = origin.holdings.keys(DATA, f"{ONE}/")
        content, path = await stored(origin.holdings, DATA, key), f"/{DATA}/{key}"
        flipped, cut, text, gone, short = [await ask(path) for _ in range(5)]
    assert flipped.body == content[:-1] + bytes([content[-1] ^ 1])
    assert flipped.headers["ETag"] == cut.headers["ETag"] == f'"{hashlib.md5(content).hexdigest()}"'
    assert cut.body == content[: len(content) // 2]
    assert b"DICM" not in text.body
    assert (gone.status, short.body) == (404, content[:50])


async def test_any_catalog_can_lie_in_a_bucket() -> None:
    catalog = made_up_catalog(2, 1)
    async with running(holdings=stored_holdings(catalog)) as (_, ask):
        one = next(catalog.series())
        page = await ask.page(DATA, f"{uuid5(NAMESPACE_OID, one.series)}/")
    assert [ref.size_bytes for ref in page.objects] == [each.size_bytes for each in one]


async def test_what_an_s3_server_answers_is_what_this_answers() -> None:
    """The same objects in both: the same pages, and the same statuses, headers and bytes of objects."""
    holdings = synthetic_holdings(make_rows())
    with run_s3() as s3:
        s3.put_bucket(DATA)
        for key in holdings.keys(DATA, ""):
            s3.put(DATA, key, await stored(holdings, DATA, key))
        async with running(holdings=holdings) as (_, ask), aiohttp.ClientSession(auto_decompress=False) as session:
            await compare(ask, Asker(s3.url, session), holdings)


async def compare(ask: Asker, real: Asker, holdings: Holdings) -> None:
    ref = next(holdings.keys(DATA, ""))
    size = len(await stored(holdings, DATA, ref))
    for prefix, most in ((f"{ONE}/", 1000), (f"{ONE}/", 2), (f"{OLD}/", 1), ("nobody/", 10)):
        ours, theirs = await walk(ask, prefix, most), await walk(real, prefix, most)
        assert ours == theirs
        assert sum(map(len, ours)) == len(list(holdings.keys(DATA, prefix)))
    ranges = [{"Range": f"bytes={span}"} for span in ("0-0", "100-", "-10", f"{size}-")]
    for headers in ({}, *ranges, {"If_Match": '"other"'}):
        ours_answer, theirs_answer = await ask(f"/{DATA}/{ref}", **headers), await real(f"/{DATA}/{ref}", **headers)
        assert told(ours_answer) == told(theirs_answer), headers
    for path in (f"/{DATA}/{ONE}/none.dcm", "/nobody/?list-type=2"):
        assert error_code(await ask(path)) == ET.fromstring((await real(path)).body).findtext("Code")


async def walk(ask: Asker, prefix: str, most: int) -> list[list[ObjectRef]]:
    pages = [await ask.page(DATA, prefix, f"&max-keys={most}")]
    while (token := pages[-1].token) is not None:
        pages.append(await ask.page(DATA, prefix, f"&max-keys={most}&continuation-token={token}"))
    return [page.objects for page in pages]


def told(answer: Answer) -> tuple[Any, ...]:
    """What a reader goes by; the body of an error is its server's own."""
    if answer.status >= 400:
        return (answer.status,)
    headers = [answer.headers.get(name) for name in ("Content-Length", "Content-Range", "ETag", "Accept-Ranges")]
    return answer.status, headers, answer.body
