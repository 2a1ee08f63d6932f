"""`ports.ObjectSource` on buckets: against a real S3 server."""

import hashlib
import uuid
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from dicomhaul import build
from dicomhaul.config.source import resolve_source
from dicomhaul.errors import NotFound
from dicomhaul.events import Tally
from dicomhaul.model import Job, SeriesUID
from dicomhaul.ports import SMALL_BYTES
from dicomhaul.source.bucket import BucketSource
from support.clock import FakeClock
from support.fakes import STUDY, MemorySink
from support.instances import make_instance
from support.s3_server import S3, run_s3

pytestmark = pytest.mark.anyio

BUCKET = "idc-open-data"
JOB = Job(1, STUDY, SeriesUID("1.1"))


@pytest.fixture(scope="module")
def s3() -> Iterator[S3]:
    with run_s3() as server:
        server.put_bucket(BUCKET)
        yield server


@asynccontextmanager
async def open_bucket(
    url: str, folder: Path, *, compare: bool = True, at_once: int = 32, gcs: bool = False
) -> AsyncIterator[BucketSource]:
    """Open the source that a user's profile at another URL describes."""
    file = folder / "mine.toml"
    file.write_text(f'name = "mine"\nextends = "{"idc-bucket-gcs" if gcs else "idc-bucket"}"\nurl = "{url}"\n')
    spec = resolve_source(str(file))
    async with build.open_source_host(
        spec, environ={}, clock=FakeClock(), observer=lambda _: None, tally=Tally(), concurrency=at_once
    ) as host:
        yield BucketSource(spec.name, host, spec.profile, compare=compare)


def instance(number: int, pixel_bytes: int = 64) -> bytes:
    return make_instance(f"4.{number}", study=STUDY, series="1.1", pixels=bytes([number % 251]) * pixel_bytes)


def put_series(s3: S3, contents: list[bytes]) -> str:
    """Store one revision of a series; return its name."""
    revision = str(uuid.uuid4())
    for content in contents:
        s3.put(BUCKET, f"{revision}/{uuid.uuid4()}.dcm", content)
    return revision


@pytest.mark.parametrize("at_once", [1, 32, 128])
async def test_what_a_bucket_holds_comes_as_it_is(s3: S3, tmp_path: Path, at_once: int) -> None:
    contents = [instance(number, 300 if number % 4 else SMALL_BYTES) for number in range(40)]
    revision = put_series(s3, contents)
    sink = MemorySink(JOB, (), {})
    async with open_bucket(s3.url, tmp_path, at_once=at_once) as source, anyio.create_task_group() as group:
        refs = await source.listing(BUCKET, revision)
        for ref in refs:
            if ref.size_bytes > SMALL_BYTES:
                own = MemorySink(JOB, (), sink.taken)
                group.start_soon(source.fetch, ref, own)
            else:
                group.start_soon(source.fetch, ref, sink)
    assert sink.taken == {f"4.{number}": content for number, content in enumerate(contents)}
    assert {ref.etag for ref in refs} == {hashlib.md5(content).hexdigest() for content in contents}
    assert sink.refused == {}


async def test_a_long_listing_comes_in_pages(s3: S3, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOTO_S3_DEFAULT_MAX_KEYS", "7")
    revision = str(uuid.uuid4())
    keys = [f"{revision}/{number:04}.dcm" for number in range(50)]
    for key in keys:
        s3.put(BUCKET, key, b"")
    async with open_bucket(s3.url, tmp_path) as source:
        assert [ref.key for ref in await source.listing(BUCKET, revision)] == keys


async def test_a_revision_that_is_not_there(s3: S3, tmp_path: Path) -> None:
    async with open_bucket(s3.url, tmp_path) as source:
        with pytest.raises(NotFound):
            await source.listing(BUCKET, str(uuid.uuid4()))
        with pytest.raises(NotFound):
            await source.listing("idc-no-such-bucket", str(uuid.uuid4()))


async def test_who_an_object_is(s3: S3, tmp_path: Path) -> None:
    revision = put_series(s3, [instance(1, 300_000)])
    async with open_bucket(s3.url, tmp_path) as source:
        (ref,) = await source.listing(BUCKET, revision)
        assert (await source.identify(ref)).sop == "4.1"
