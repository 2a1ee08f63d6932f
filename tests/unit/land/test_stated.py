"""What a source states of an object is held against its bytes, and what does not agree has not landed."""

import hashlib
import threading
from pathlib import Path

import anyio
import google_crc32c
import pytest

from dicomhaul.errors import WrongInstance
from dicomhaul.land.digests import hasher_for
from dicomhaul.land.sink import BATCH_BYTES, FolderSink
from dicomhaul.land.writer import Done, Segment
from dicomhaul.model import Check, Stated
from support.fakes import identity
from support.landing import Bench, open_bench

pytestmark = pytest.mark.anyio

CONTENT = b"instance" * 1000


def md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def crc32c(content: bytes) -> bytes:
    return int(google_crc32c.value(content)).to_bytes(4, "big")


def object_of(content: bytes, *, stem: str = "one", check: Check = Check.MD5, digest: bytes | None = None) -> Stated:
    """Return what an honest bucket states, unless `digest` is given."""
    honest = {Check.MD5: md5(content), Check.CRC32C: crc32c(content)}
    return Stated(stem, len(content), None, check, digest or honest.get(check))


def put(sink: FolderSink, what: Stated | None, content: bytes, sop: str, *, chunk_bytes: int = 999) -> None:
    """Push an object as a source does that has all of it: without a pause."""
    sink.begin(what)
    for at in range(0, len(content), chunk_bytes):
        sink.write(memoryview(content)[at : at + chunk_bytes])
    sink.end(identity(sop))


async def land(bench: Bench, what: Stated | None, content: bytes = CONTENT) -> FolderSink:
    sink = bench.sink()
    put(sink, what, content, "4.1")
    await sink.settle()
    return sink


@pytest.mark.parametrize(
    ("what", "check"),
    [
        (object_of(CONTENT), Check.MD5),
        (object_of(CONTENT, check=Check.CRC32C), Check.CRC32C),
        (object_of(CONTENT, check=Check.SIZE), Check.SIZE),
        (Stated("one", len(CONTENT), '"md5-2"', Check.MD5, None), Check.SIZE),
        (None, Check.FRAMING),
    ],
    ids=["md5", "crc32c", "size", "no digest after all", "nothing"],
)
async def test_what_agrees_lands_with_its_proof(tmp_path: Path, what: Stated | None, check: Check) -> None:
    async with open_bench(tmp_path) as bench:
        sink = await land(bench, what)
        one = bench.staged["4.1"]
        assert (one.check, one.stem) == (check, None if what is None else "one")
        assert one.file == "4.1.dcm"
        assert sink.refused == {}
        assert sink.stems == ({} if what is None else {"one": "4.1"})
        assert bench.content() == {"4.1": CONTENT}


@pytest.mark.parametrize(
    ("what", "why"),
    [
        (object_of(CONTENT, digest=md5(b"other")), "its MD5 is not the one that the source states"),
        (object_of(CONTENT, check=Check.CRC32C, digest=bytes(4)), "its CRC32C is not the one that the source states"),
        (object_of(CONTENT + b"?"), "8,000 bytes came, the source states 8,001"),
        (object_of(CONTENT[:-1], check=Check.SIZE), "8,000 bytes came, the source states 7,999"),
    ],
)
async def test_what_differs_is_refused(tmp_path: Path, what: Stated, why: str) -> None:
    async with open_bench(tmp_path) as bench:
        sink = await land(bench, what)
        assert sink.refused == {"one": why}
        assert (sink.landed, sink.stems, bench.staged) == ({}, {}, {})
        assert list(bench.staging.iterdir()) == []
        assert bench.tally.bytes_discarded == len(CONTENT)
        assert sink.wants("4.1")  # it can come again, through the same sink


async def test_one_of_many_in_a_batch_is_refused(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        for number in range(50):
            content = bytes([number]) * 100
            put(
                sink,
                object_of(content, stem=f"s{number}", digest=bytes(16) if number == 7 else None),
                content,
                f"4.{number}",
            )
            await sink.drain()
        await sink.settle()
        assert set(sink.refused) == {"s7"}
        assert set(sink.landed) == set(bench.staged) == {f"4.{number}" for number in range(50) if number != 7}
        assert bench.tally.bytes_discarded == 100


async def test_a_large_part_that_is_refused_counts_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes in two batches, and the writer is done with both before the sink hears of the first."""
    content = bytes(2 * BATCH_BYTES)
    async with open_bench(tmp_path) as bench:
        gate, ended = threading.Event(), threading.Event()
        work, done = bench.writer._batch, [0]

        def wait(segments: list[Segment], finished: Done) -> None:
            assert gate.wait(60)
            work(segments, finished)
            done[0] += 1
            if done[0] == 2:
                ended.set()

        monkeypatch.setattr(bench.writer, "_batch", wait)
        sink = bench.sink()
        sink.begin(object_of(content, digest=bytes(16)))
        sink.write(memoryview(content)[:BATCH_BYTES])
        await sink.drain()
        sink.write(memoryview(content)[BATCH_BYTES:])
        sink.end(identity("4.1"))
        await sink.drain()
        gate.set()
        assert ended.wait(60)  # the loop stands still meanwhile
        await sink.settle()
        assert bench.tally.bytes_discarded == len(content)
        assert set(sink.refused) == {"one"}


async def test_objects_that_are_there_are_known_by_their_stems(tmp_path: Path) -> None:
    """Whole, or as soon as their first bytes name them."""
    async with open_bench(tmp_path) as bench:
        sink = bench.sink(known={"4.1", "4.2"})
        put(sink, object_of(CONTENT), CONTENT, "4.1")
        sink.begin(object_of(CONTENT, stem="two"))
        sink.write(memoryview(CONTENT)[:10])
        assert not sink.wants("4.2")
        sink.discard()
        await sink.settle()
        assert sink.stems == {"one": "4.1", "two": "4.2"}
        assert (sink.landed, bench.staged) == ({}, {})


async def test_files_are_named_by_their_objects_where_that_is_wanted(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink(by_stem=True)
        put(sink, object_of(CONTENT, stem="0a1b-2c"), CONTENT, "4.1")
        put(sink, None, CONTENT, "4.2")
        await sink.settle()
        assert {sop: each.file for sop, each in bench.staged.items()} == {"4.1": "0a1b-2c.dcm", "4.2": "4.2.dcm"}


@pytest.mark.parametrize("stem", ["..", "", ".hidden", "a/b", "a\\b", "a b", "x" * 65, "nul\0"])
async def test_an_object_whose_name_could_leave_the_folder_is_refused(tmp_path: Path, stem: str) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink(by_stem=True)
        with pytest.raises(WrongInstance, match="name cannot be a file's"):
            put(sink, object_of(CONTENT, stem=stem), CONTENT, "4.1")
        sink.discard()
        await sink.settle()
        assert bench.staged == {}


async def test_many_share_a_sink(tmp_path: Path) -> None:
    """Each pushes its objects whole, and all wait for room together: no more is in flight than of one exchange."""
    async with open_bench(tmp_path) as bench:
        sink = bench.sink(batch_bytes=500)
        most, held = 0, 0
        sizes: list[int] = []
        submit = bench.writer.submit

        def count(segments: list[Segment], done: object) -> None:
            nonlocal most, held
            sizes.append(sum(len(view) for segment in segments for view in segment.views))
            held += 1
            most = max(most, held)

            def finished() -> None:
                nonlocal held
                held -= 1
                done()  # type: ignore[operator]

            submit(segments, finished)

        bench.writer.submit = count  # type: ignore[method-assign]

        async def fetch(worker: int) -> None:
            for number in range(20):
                content = f"{worker} {number}".encode() * 40
                put(sink, object_of(content, stem=f"{worker}-{number}"), content, f"4.{worker}.{number}")
                await sink.drain()

        async with anyio.create_task_group() as group:
            for worker in range(10):
                group.start_soon(fetch, worker)
        await sink.settle()
        assert bench.content() == {
            f"4.{worker}.{number}": f"{worker} {number}".encode() * 40 for worker in range(10) for number in range(20)
        }
        assert len(sink.landed) == len(sink.stems) == 200
        assert 1 <= most <= 2
        assert min(sizes[:-1]) >= 500  # none hands over what another has just begun to gather


def test_digests_are_the_published_ones() -> None:
    assert digest_of(Check.CRC32C, b"123456789").hex() == "e3069283"  # RFC 3720 appendix B.4
    assert digest_of(Check.MD5, b"message digest").hex() == "f96b697d7cb7938d525a2f31aaf161d0"  # RFC 1321 appendix A.5
    for check in (Check.SIZE, Check.FRAMING):
        with pytest.raises(ValueError, match=check.name):
            hasher_for(check)


def digest_of(check: Check, content: bytes) -> bytes:
    hasher = hasher_for(check)
    for number in range(len(content)):
        hasher.update(memoryview(content)[number : number + 1])
    return hasher.digest()
