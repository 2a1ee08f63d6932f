"""Large objects are kept when they break off: what is noted is on the disk, and is gone on with only if it still is.

The limit is a KiB here instead of 16 MiB.
"""

import errno
import hashlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomhaul.errors import DiskFull, NotDicom, WrongInstance
from dicomhaul.land import writer as writer_room
from dicomhaul.land.sink import FolderSink
from dicomhaul.land.writer import Note
from dicomhaul.model import Check, Partial, Stated
from support.descriptors import open_descriptors
from support.failing import FailingCalls
from support.fakes import identity
from support.landing import Bench, open_bench

pytestmark = pytest.mark.anyio

LIMIT = 1024
CONTENT = bytes(range(256)) * 20  # five limits long
STEM = "0a1b2c3d-0000-4000-8000-000000000001"


@pytest.fixture(autouse=True)
def _small_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writer_room, "KEPT_BYTES", LIMIT)


def stated(content: bytes = CONTENT, *, etag: str | None = "v1", digest: bytes | None = None) -> Stated:
    md5 = hashlib.md5(content, usedforsecurity=False).digest()
    return Stated(STEM, len(content), etag, Check.MD5, md5 if digest is None else digest)


async def feed(sink: FolderSink, content: bytes, *, chunk_bytes: int = 100) -> None:
    for at in range(0, len(content), chunk_bytes):
        sink.write(memoryview(content)[at : at + chunk_bytes])
        await sink.drain()


async def leave(bench: Bench, size: int, *, content: bytes = CONTENT) -> Partial:
    """Let a part of the object come, and break off; return what is noted of it."""
    sink = bench.sink(batch_bytes=100)
    sink.begin(stated(content))
    await feed(sink, content[:size])
    sink.suspend()
    await sink.settle()
    return bench.partials()[STEM]


async def go_on(bench: Bench, partial: Partial, *, content: bytes = CONTENT) -> FolderSink:
    """Bring the rest of the object."""
    sink = bench.sink(batch_bytes=100)
    skimmed: list[bytes] = []
    assert await sink.reopen(stated(content), partial, lambda view: skimmed.append(bytes(view)))
    assert b"".join(skimmed) == content[: partial.offset]
    await feed(sink, content[partial.offset :])
    sink.end(identity("4.1"))
    await sink.settle()
    return sink


async def test_what_is_noted_is_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path) as bench:
        synced: dict[int, int] = {}
        seen: list[Partial] = []
        fsync = os.fsync

        def note_sync(fd: int) -> None:
            synced[os.fstat(fd).st_ino] = os.fstat(fd).st_size
            fsync(fd)

        def look(note: Note) -> None:
            partial = note.partial
            assert partial is not None
            path = bench.staging / partial.name
            assert synced[path.stat().st_ino] == path.stat().st_size == partial.offset
            assert bench.staging.stat().st_ino in synced  # and so is its name
            assert partial.xxh3 == xxhash.xxh3_128_digest(path.read_bytes())
            assert (note.series_id, note.stem, partial.stem, partial.etag) == (7, STEM, STEM, "v1")
            seen.append(partial)

        monkeypatch.setattr(os, "fsync", note_sync)
        monkeypatch.setattr(bench.writer, "_noted", look)
        sink = bench.sink(batch_bytes=100)
        sink.begin(stated())
        await feed(sink, CONTENT)
        sink.end(identity("4.1"))
        await sink.settle()
        assert [partial.offset for partial in seen] == [1100, 2200, 3300, 4400]  # whole batches
        assert bench.content() == {"4.1": CONTENT}


@pytest.mark.parametrize("size", [1, 100, LIMIT, 3000, len(CONTENT)])
@pytest.mark.parametrize("how", ["suspend", "abandon", "the run ends"])
async def test_what_came_is_kept_to_the_last_byte(tmp_path: Path, size: int, how: str) -> None:
    async with open_bench(tmp_path) as bench:
        before = open_descriptors()
        sink = bench.sink(batch_bytes=100)
        sink.begin(stated())
        await feed(sink, CONTENT[:size], chunk_bytes=70)
        if how == "suspend":
            sink.suspend()
            await sink.settle()
            assert open_descriptors() == before
        elif how == "abandon":
            sink.abandon()
        else:
            await sink.settle()
    partial = bench.partials()[STEM]
    assert partial.offset == size
    assert (bench.staging / partial.name).read_bytes() == CONTENT[:size]
    assert bench.tally.bytes_discarded == 0
    assert bench.staged == {}


@pytest.mark.parametrize(
    "what", [stated(etag=None), stated(CONTENT[:LIMIT]), None], ids=["without an ETag", "a small one", "not stated"]
)
async def test_others_are_not_kept(tmp_path: Path, what: Stated | None) -> None:
    async with open_bench(tmp_path) as bench:
        for how in (FolderSink.suspend, FolderSink.abandon):
            sink = bench.sink(batch_bytes=100)
            sink.begin(what)
            await feed(sink, CONTENT[:900])
            how(sink)
            await sink.settle()
        assert bench.notes == []
        assert bench.tally.bytes_discarded == 1800


async def test_nothing_is_kept_of_what_never_began(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        sink.suspend()
        sink.begin(stated())
        sink.suspend()
        await sink.settle()
        assert bench.notes == []
        assert list(bench.staging.iterdir()) == []


@pytest.mark.parametrize("size", [1, 1100, 3000, len(CONTENT)])
async def test_an_object_goes_on_where_it_broke_off(tmp_path: Path, size: int) -> None:
    async with open_bench(tmp_path) as bench:
        sink = await go_on(bench, await leave(bench, size))
        assert bench.content() == {"4.1": CONTENT}
        one = bench.staged["4.1"]
        assert (one.size_bytes, one.xxh3) == (len(CONTENT), xxhash.xxh3_128_digest(CONTENT))
        assert (one.check, one.stem, sink.landed) == (Check.MD5, STEM, {"4.1": len(CONTENT)})
        assert (sink.stems, sink.refused) == ({STEM: "4.1"}, {})
        assert bench.tally.bytes_received == len(CONTENT)  # none twice
        assert bench.tally.bytes_discarded == 0
    assert [path.name for path in bench.staging.iterdir()] == [one.name]


async def test_another_writer_goes_on(tmp_path: Path) -> None:
    """As in the next run: a thread that has never seen the part."""
    async with open_bench(tmp_path) as first:
        partial = await leave(first, 3000)
    async with open_bench(tmp_path) as second:
        second.notes.extend(first.notes)
        await go_on(second, partial)
        assert second.content() == {"4.1": CONTENT}


async def test_bytes_beyond_what_was_noted_do_not_count(tmp_path: Path) -> None:
    """They were written after the last note, and nobody knows what of them the disk had when the power went."""
    async with open_bench(tmp_path) as bench:
        partial = await leave(bench, 2000)
        with (bench.staging / partial.name).open("ab") as file:
            file.write(b"?" * 4000)  # more than the whole object has
        await go_on(bench, partial)
        assert bench.content() == {"4.1": CONTENT}


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[700] ^= 1
    path.write_bytes(content)


def _link(path: Path) -> None:
    elsewhere = path.parent.parent / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def _fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


HURTS: dict[str, Callable[[Path], None]] = {
    "damaged": _flip,
    "too short": lambda path: os.truncate(path, 1999),
    "empty": lambda path: os.truncate(path, 0),
    "gone": lambda path: path.unlink(),
    "a link": _link,
    "a pipe": _fifo,
}


async def begins_anew(bench: Bench, partial: Partial, what: Stated, content: bytes) -> None:
    """The part is not there, nor its note; and the same sink takes the object from its first byte."""
    assert bench.partials() == {}
    assert not (bench.staging / partial.name).is_symlink()
    assert not (bench.staging / partial.name).exists()
    sink = bench.sink(batch_bytes=100)
    sink.begin(what)
    await feed(sink, content)
    sink.end(identity("4.1"))
    await sink.settle()
    assert bench.content() == {"4.1": content}


@pytest.mark.parametrize("hurt", HURTS)
async def test_what_is_not_what_was_noted_is_not_gone_on_with(tmp_path: Path, hurt: str) -> None:
    async with open_bench(tmp_path) as bench:
        partial = await leave(bench, 2000)
        before = open_descriptors()
        HURTS[hurt](bench.staging / partial.name)
        sink = bench.sink()
        assert not await sink.reopen(stated(), partial, lambda _: None)
        assert open_descriptors() == before
        await begins_anew(bench, partial, stated(), CONTENT)


@pytest.mark.parametrize(
    ("partial", "what"),
    [
        (lambda partial: partial._replace(etag="v0"), stated()),
        (lambda partial: partial, stated(etag="v2")),
        (lambda partial: partial, stated(CONTENT[:1999])),
        (lambda partial: partial._replace(xxh3=bytes(16)), stated()),
        (lambda partial: partial._replace(offset=1999), stated()),
    ],
    ids=["another version before", "another version now", "smaller now", "another digest", "another length"],
)
async def test_another_version_is_not_gone_on_with(tmp_path: Path, partial: Any, what: Stated) -> None:
    async with open_bench(tmp_path) as bench:
        left = partial(await leave(bench, 2000))
        assert not await bench.sink().reopen(what, left, lambda _: None)
        await begins_anew(bench, left, what, CONTENT[: what.size_bytes])


async def test_what_is_no_instance_is_not_gone_on_with(tmp_path: Path) -> None:
    def skim(view: memoryview) -> None:
        raise NotDicom("it is something else")

    async with open_bench(tmp_path) as bench:
        partial = await leave(bench, 2000)
        assert not await bench.sink().reopen(stated(), partial, skim)
        assert bench.partials() == {}
        assert list(bench.staging.iterdir()) == []
        assert bench.writer.error is None


async def test_a_skim_that_fails_otherwise_tells_who_waits(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        partial = await leave(bench, 2000)
        with pytest.raises(Exception, match="division"):
            await bench.sink().reopen(stated(), partial, lambda _: 1 // 0)  # type: ignore[arg-type]
        assert (bench.staging / partial.name).exists()  # it is not to blame


@pytest.mark.parametrize("how", ["discard", "unwanted", "wrong"])
async def test_a_dropped_part_leaves_neither_file_nor_note(tmp_path: Path, how: str) -> None:
    async with open_bench(tmp_path) as bench:
        partial = await leave(bench, 2000)
        sink = bench.sink(known={"4.1"}, batch_bytes=100)
        assert await sink.reopen(stated(), partial, lambda _: None)
        await feed(sink, CONTENT[2000:])
        if how == "wrong":
            with pytest.raises(WrongInstance):
                sink.end(identity("4.1", series="1.2"))
            sink.discard()
        elif how == "unwanted":
            sink.end(identity("4.1"))
            assert sink.stems == {STEM: "4.1"}
        else:
            sink.discard()
        await sink.settle()
        assert (bench.staged, bench.partials()) == ({}, {})
        assert list(bench.staging.iterdir()) == []
        assert bench.tally.bytes_discarded == len(CONTENT) - 2000


async def test_what_went_on_and_is_not_what_is_stated_is_refused(tmp_path: Path) -> None:
    """The digest is of the whole object, also of what came in an earlier run."""
    async with open_bench(tmp_path) as bench:
        partial = await leave(bench, 2000)
        sink = bench.sink(batch_bytes=100)
        assert await sink.reopen(stated(digest=bytes(16)), partial, lambda _: None)
        await feed(sink, CONTENT[2000:])
        sink.end(identity("4.1"))
        await sink.settle()
        assert set(sink.refused) == {STEM}
        assert (sink.landed, sink.stems, bench.staged, bench.partials()) == ({}, {}, {}, {})
        assert list(bench.staging.iterdir()) == []
        assert bench.tally.bytes_discarded == len(CONTENT) - 2000


async def test_a_part_that_breaks_off_again_and_again_advances(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        partial = await leave(bench, 300)
        for more in (600, 0, 1600, 100):
            at = partial.offset
            sink = bench.sink(batch_bytes=100)
            assert await sink.reopen(stated(), partial, lambda _: None)
            await feed(sink, CONTENT[at : at + more])
            sink.suspend()
            await sink.settle()
            partial = bench.partials()[STEM]
            assert partial.offset == at + more
        await go_on(bench, partial)
        assert bench.content() == {"4.1": CONTENT}


@pytest.mark.parametrize("size", [2000, 900])
async def test_on_a_full_disk_what_is_noted_stays_and_the_rest_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    async with open_bench(tmp_path) as bench:
        before = open_descriptors()
        sink = bench.sink(batch_bytes=100)
        sink.begin(stated())
        await feed(sink, CONTENT[:size])
        await sink.settle()
        FailingCalls(monkeypatch, "writev", 1)
        with pytest.raises(DiskFull):
            await feed(sink, CONTENT[size:])
        sink.abandon()
        for _ in range(4):
            await bench.batches.acquire()
        assert open_descriptors() == before
    assert {stem: partial.offset for stem, partial in bench.partials().items()} == (
        {STEM: 1100} if size > LIMIT else {}
    )
    assert isinstance(bench.writer.error, DiskFull)


@pytest.mark.parametrize("kept", [True, False])
async def test_what_could_not_be_closed_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, kept: bool
) -> None:
    """A network filesystem says as late as that what it could not write."""
    async with open_bench(tmp_path) as bench:
        before = open_descriptors()
        sink = bench.sink(batch_bytes=100)
        sink.begin(stated() if kept else None)
        await feed(sink, CONTENT)
        await sink.settle()
        assert bool(bench.notes) == kept
        real = os.close

        def close(fd: int) -> None:
            real(fd)
            raise OSError(errno.ENOSPC, "No space left on device")

        monkeypatch.setattr(os, "close", close)
        sink.end(identity("4.1"))
        with pytest.raises(DiskFull):
            await sink.settle()
        monkeypatch.undo()
        assert open_descriptors() == before
        assert (bench.staged, bench.partials(), list(bench.staging.iterdir())) == ({}, {}, [])


async def test_a_writer_that_has_failed_reopens_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path) as bench:
        partial = await leave(bench, 2000)
        FailingCalls(monkeypatch, "fsync", 1, errno.EIO)
        sink = bench.sink()
        sink.begin()
        sink.end(identity("4.2"))
        with pytest.raises(Exception, match="Input/output"):
            await sink.settle()
        with pytest.raises(Exception, match="Input/output"):
            await bench.sink().reopen(stated(), partial, lambda _: None)
        assert (bench.staging / partial.name).read_bytes() == CONTENT[:2000]


async def test_a_cancelled_reopening_holds_nothing_open(tmp_path: Path) -> None:
    """Whoever comes next may go on with it, in another thread."""
    async with open_bench(tmp_path) as bench:
        partial = await leave(bench, 2000)
        before = open_descriptors()
        gate = threading.Event()
        sink = bench.sink()

        async def reopen() -> None:
            try:
                await sink.reopen(stated(), partial, lambda _: assert_(gate.wait(60)))
            except BaseException:
                sink.abandon()
                raise

        async with anyio.create_task_group() as group:
            group.start_soon(reopen)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        gate.set()
        await go_on(bench, partial)
        assert open_descriptors() == before
        assert bench.content() == {"4.1": CONTENT}


def assert_(held: bool) -> None:  # noqa: FBT001 - what an event answers
    assert held


@given(
    breaks=st.lists(st.tuples(st.integers(0, 2000), st.booleans()), max_size=6),
    chunk_bytes=st.integers(1, 300),
    batch_bytes=st.integers(1, 600),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_breaks(
    tmp_path_factory: pytest.TempPathFactory, breaks: list[tuple[int, bool]], chunk_bytes: int, batch_bytes: int
) -> None:
    """Each break is an exchange of its own, some of them a run of their own; every byte comes once."""
    folder = tmp_path_factory.mktemp("d")

    async def run() -> int:
        partial: Partial | None = None
        received = 0
        waiting: Iterator[tuple[int, bool]] = iter([*breaks, (len(CONTENT), True)])
        for size, _ in waiting:
            async with open_bench(folder) as bench:
                if partial is not None:
                    bench.notes.append(Note(7, STEM, partial))
                sink = bench.sink(batch_bytes=batch_bytes)
                at = 0
                if partial is not None:
                    assert await sink.reopen(stated(), partial, lambda _: None)
                    at = partial.offset
                else:
                    sink.begin(stated())
                await feed(sink, CONTENT[at : at + size], chunk_bytes=chunk_bytes)
                if at + size >= len(CONTENT):
                    sink.end(identity("4.1"))
                else:
                    sink.suspend()
                await sink.settle()
                received += bench.tally.bytes_received
                if bench.staged:
                    assert bench.content() == {"4.1": CONTENT}
                    assert bench.staged["4.1"].xxh3 == xxhash.xxh3_128_digest(CONTENT)
                    return received
            partial = bench.partials().get(STEM)
        raise AssertionError("it never ended")

    assert anyio.run(run) == len(CONTENT)
