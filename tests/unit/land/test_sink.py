"""The sink and its writer thread: every byte in its file, none of a dropped part, and never much in memory."""

import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomhaul.errors import DiskFull, LandingError, NotWritable, WrongInstance
from dicomhaul.land.sink import BATCH_BYTES, FolderSink
from dicomhaul.land.writer import Segment, Staged
from support.descriptors import open_descriptors
from support.failing import FailingCalls
from support.fakes import identity, push
from support.landing import BATCHES, open_bench

pytestmark = pytest.mark.anyio


async def test_parts_become_staged_files(tmp_path: Path) -> None:
    content = os.urandom(3 * BATCH_BYTES + 17)
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        await push(sink, content, identity("4.1"))
        await push(sink, b"", identity("4.2"))
        await push(sink, b"short", identity("4.3"), chunk_bytes=1)
        assert sink.progressed()
        await sink.settle()
        assert sink.landed == {"4.1": len(content), "4.2": 0, "4.3": 5}
        assert bench.content() == {"4.1": content, "4.2": b"", "4.3": b"short"}
        one = bench.staged["4.1"]
        assert (one.series_id, one.folder, one.size_bytes) == (7, "a/b", len(content))
        assert one.xxh3 == xxhash.xxh3_128_digest(content)
        assert bench.tally.bytes_received == len(content) + 5
        assert bench.tally.bytes_discarded == 0


async def test_what_is_known_or_came_twice_is_dropped_and_counted(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink(known={"4.1"})
        assert not sink.wants("4.1")
        await push(sink, b"known", identity("4.1"))
        assert not sink.progressed()
        await push(sink, b"new", identity("4.2"))
        await push(sink, b"again", identity("4.2"))
        await sink.settle()
        assert bench.content() == {"4.2": b"new"}
        assert bench.tally.bytes_discarded == len(b"knownagain")


def digest(content: bytes) -> bytes:
    return xxhash.xxh3_128_digest(content)


async def test_the_second_copy_of_an_instance_is_known_by_its_digest(tmp_path: Path) -> None:
    """Whether it is named within its first bytes, behind them, or at its end."""
    async with open_bench(tmp_path) as bench:
        sink = bench.sink(known={"4.9"})
        for sop in ("4.1", "4.2", "4.3", "4.4"):
            await push(sink, b"first", identity(sop))
        await push(sink, b"known", identity("4.9"))  # came with an earlier answer
        for named_at in (1, 3, 5):
            sop, content = f"4.{named_at // 2 + 1}", b"other"
            sink.begin()
            sink.write(memoryview(content)[:named_at])
            assert not sink.wants(sop)
            sink.discard()
            sink.write(memoryview(content)[named_at:])
            sink.gone_by()
        await push(sink, b"first", identity("4.4"))
        await sink.settle()
        assert sink.repeated == dict.fromkeys(["4.1", "4.2", "4.3"], digest(b"other")) | {"4.4": digest(b"first")}
        assert bench.content() == dict.fromkeys(["4.1", "4.2", "4.3", "4.4"], b"first")


async def test_a_copy_that_does_not_end_is_none(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        await push(sink, b"first", identity("4.1"))
        for _ in range(2):  # cut by the next part, and by the end of the answer
            sink.begin()
            sink.write(memoryview(b"oth"))
            assert not sink.wants("4.1")
            sink.discard()
        await push(sink, b"next", identity("4.2"))
        sink.gone_by()
        await sink.settle()
        assert sink.repeated == {}


async def test_copies_that_differ_or_that_nobody_has_seen_whole_have_no_digest(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        large = bytes(BATCH_BYTES)
        for sop in ("4.1", "4.2"):
            await push(sink, b"first", identity(sop))
        await push(sink, b"second", identity("4.1"))
        await push(sink, b"third", identity("4.1"))
        await push(sink, b"second", identity("4.1"))
        await push(sink, large, identity("4.2"), chunk_bytes=BATCH_BYTES // 2)  # named at its end, when it is on disk
        await sink.settle()
        assert sink.repeated == {"4.1": None, "4.2": None}
        assert bench.content() == {"4.1": b"first", "4.2": b"first"}


async def test_what_gathered_meanwhile_is_handed_over_in_batches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path) as bench:
        batches: list[int] = []
        submit = bench.writer.submit

        def spy(segments: list[Segment], done: Callable[[], None]) -> None:
            batches.append(sum(len(view) for segment in segments for view in segment.views))
            submit(segments, done)

        monkeypatch.setattr(bench.writer, "submit", spy)
        sink = bench.sink()
        for number in range(12):  # many fetches share a sink, and all of them wait for one slow disk
            sink.begin()
            sink.write(memoryview(bytes(BATCH_BYTES)))
            sink.end(identity(f"4.{number}"))
        sink.begin()
        sink.write(memoryview(b"open"))
        await sink.drain()
        assert (max(batches), sum(batches)) == (2 * BATCH_BYTES, 12 * BATCH_BYTES)
        sink.end(identity("4.12"))
        await sink.settle()
        assert len(bench.content()) == 13


async def test_the_rest_of_a_discarded_part_goes_by(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        sink.begin()
        sink.write(memoryview(b"x" * (2 * BATCH_BYTES)))
        await sink.drain()
        sink.write(memoryview(b"y" * 10))
        sink.discard()
        sink.write(memoryview(b"z" * 5))
        sink.end(identity("4.1"))
        sink.discard()
        await sink.settle()
        assert bench.staged == {}
        assert sink.landed == {}
        assert bench.tally.bytes_discarded == 2 * BATCH_BYTES + 15


@pytest.mark.parametrize(
    "who",
    [
        identity("4.1", series="1.2"),
        identity("4.1", study="2.25.9"),
        identity("../../4.1"),
        identity(""),
        identity("4.1", study=""),
    ],
)
async def test_an_instance_that_was_not_asked_for_is_refused(tmp_path: Path, who: Any) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        with pytest.raises(WrongInstance) as caught:
            await push(sink, b"foreign", who)
        assert "/" not in str(caught.value)
        sink.discard()
        await sink.settle()
        assert (sink.landed, bench.staged) == ({}, {})


async def test_a_job_for_one_instance_takes_no_other(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink(sop="4.1")
        with pytest.raises(WrongInstance):
            sink.wants("4.2")
        await push(sink, b"one", identity("4.1"))
        await sink.settle()
        assert bench.content() == {"4.1": b"one"}


async def test_an_abandoned_exchange_keeps_what_is_whole(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        await push(sink, b"whole", identity("4.1"))
        sink.begin()
        sink.write(memoryview(b"half"))
        sink.abandon()
    assert bench.content() == {"4.1": b"whole"}


async def test_a_part_that_is_open_at_the_end_is_dropped(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        sink.begin()
        sink.write(memoryview(bytes(2 * BATCH_BYTES)))
        await sink.drain()
    assert bench.staged == {}


@given(parts=st.lists(st.lists(st.integers(0, 60), max_size=6), max_size=12), dropped=st.sets(st.integers(0, 11)))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_of_parts(
    tmp_path_factory: pytest.TempPathFactory, parts: list[list[int]], dropped: set[int]
) -> None:
    """Batches of 16 bytes instead of a megabyte: parts begin, end and are dropped at every place of a batch."""

    async def run() -> None:
        async with open_bench(tmp_path_factory.mktemp("d")) as bench:
            sink, expected = bench.sink(batch_bytes=16), {}
            for number, sizes in enumerate(parts):
                content = [bytes([number]) * size for size in sizes]
                sink.begin()
                for chunk in content:
                    sink.write(memoryview(chunk))
                    await sink.drain()
                if number in dropped:
                    sink.discard()
                else:
                    sink.end(identity(f"4.{number}"))
                    expected[f"4.{number}"] = b"".join(content)
            await sink.settle()
            assert bench.content() == expected
            assert sink.landed == {sop: len(content) for sop, content in expected.items()}

    anyio.run(run)


async def test_memory_stays_bounded_while_the_disk_is_slow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A writer that writes nothing holds at most two batches of an exchange, and four of all; the sources wait."""
    async with open_bench(tmp_path) as bench:
        gate, held, most = threading.Event(), [0], [0]
        submit, work = bench.writer.submit, bench.writer._segment

        def count(segments: list[Segment], done: Any) -> None:
            size = sum(len(view) for segment in segments for view in segment.views)
            held[0] += size
            most[0] = max(most[0], held[0])

            def finished() -> None:
                held[0] -= size
                done()

            submit(segments, finished)

        def wait(segment: Segment, completed: list[Staged]) -> None:
            assert gate.wait(60)
            work(segment, completed)

        monkeypatch.setattr(bench.writer, "submit", count)
        monkeypatch.setattr(bench.writer, "_segment", wait)
        chunk = memoryview(bytes(256 * 1024))
        written = [0] * 4

        async def source(number: int) -> None:
            sink = bench.sink()
            sink.begin()
            for _ in range(40):
                sink.write(chunk)
                written[number] += len(chunk)
                await sink.drain()
            sink.end(identity(f"4.{number}"))
            await sink.settle()

        async with anyio.create_task_group() as group:
            for number in range(4):
                group.start_soon(source, number)
            await anyio.wait_all_tasks_blocked()
            assert held[0] == BATCHES * BATCH_BYTES  # what `Batches` allows all of them
            assert max(written) <= 3 * BATCH_BYTES  # two in flight, one gathered
            gate.set()
        assert most[0] <= BATCHES * BATCH_BYTES + len(chunk)
        assert [each.size_bytes for each in bench.staged.values()] == [40 * len(chunk)] * 4


async def test_one_exchange_may_not_take_every_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others would starve behind it."""
    async with open_bench(tmp_path) as bench:
        gate, queued = threading.Event(), [0]
        submit, work = bench.writer.submit, bench.writer._segment

        def count(segments: list[Segment], done: Any) -> None:
            queued[0] += 1
            submit(segments, done)

        def wait(segment: Segment, completed: list[Staged]) -> None:
            assert gate.wait(60)
            work(segment, completed)

        monkeypatch.setattr(bench.writer, "submit", count)
        monkeypatch.setattr(bench.writer, "_segment", wait)
        sink = bench.sink()
        async with anyio.create_task_group() as group:
            group.start_soon(lambda: push(sink, bytes(8 * BATCH_BYTES), identity("4.1"), chunk_bytes=BATCH_BYTES))
            await anyio.wait_all_tasks_blocked()
            stalled = queued[0]
            gate.set()
        assert stalled == 2
        await sink.settle()
    assert bench.staged["4.1"].size_bytes == 8 * BATCH_BYTES


async def push_all(sink: FolderSink, *contents: bytes) -> None:
    """Push instances 4.0, 4.1 and so on, and wait for them."""
    for number, content in enumerate(contents):
        await push(sink, content, identity(f"4.{number}"))
    await sink.settle()


@pytest.mark.parametrize("name", ["writev", "fsync"])
@pytest.mark.parametrize("nth", [1, 2, 3])
async def test_a_full_disk_stops_the_writer_and_keeps_what_was_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, nth: int
) -> None:
    async with open_bench(tmp_path) as bench:
        FailingCalls(monkeypatch, name, nth)
        sink = bench.sink()
        with pytest.raises(DiskFull, match="No space"):
            await push_all(sink, *(bytes([number]) * BATCH_BYTES for number in range(5)))
        with pytest.raises(DiskFull):  # and stays so
            await push_all(bench.sink(), b"x")
    assert bench.content() == {f"4.{number}": bytes([number]) * BATCH_BYTES for number in range(nth - 1)}


@pytest.mark.parametrize("name", ["writev", "fsync"])
async def test_what_failed_takes_no_room_on_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """It goes at once, not when the run ends."""
    async with open_bench(tmp_path) as bench:
        FailingCalls(monkeypatch, name, 1)
        sink, descriptors = bench.sink(), open_descriptors()
        await push(sink, b"short", identity("4.1"))
        sink.begin()
        sink.write(memoryview(bytes(BATCH_BYTES)))
        await sink.drain()
        for _ in range(BATCHES):  # once all of them are free, the writer is done
            await bench.batches.acquire()
        assert isinstance(bench.writer.error, DiskFull)
        assert bench.leftovers() == set()
        assert open_descriptors() == descriptors


async def test_a_denied_file_is_not_writable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path) as bench:
        FailingCalls(monkeypatch, "open", 1, errno.EACCES)
        sink = bench.sink()
        with pytest.raises(NotWritable):
            await push_all(sink, bytes(BATCH_BYTES))
    assert bench.staged == {}


async def test_a_writer_that_meets_the_unexpected_tells_those_who_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_bench(tmp_path) as bench:
        monkeypatch.setattr(bench.writer, "_segment", lambda *_: 1 // 0)
        sink = bench.sink()
        with pytest.raises(LandingError, match="writing failed"):
            await push_all(sink, bytes(BATCH_BYTES))


async def test_a_kernel_that_takes_little_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.writev

    def some(fd: int, views: list[memoryview]) -> int:
        first = next(view for view in views if len(view))
        return real(fd, [first[: max(1, len(first) // 2)]])

    monkeypatch.setattr(os, "writev", some)
    content = os.urandom(5000)
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        await push(sink, content, identity("4.1"), chunk_bytes=700)
        await sink.settle()
        assert bench.content() == {"4.1": content}


async def test_more_views_than_one_call_takes(tmp_path: Path) -> None:
    content = os.urandom(3000)
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        await push(sink, content, identity("4.1"), chunk_bytes=1)
        await sink.settle()
        assert bench.content() == {"4.1": content}


async def test_a_system_without_writev(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "writev")
    content = os.urandom(3000)
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        await push(sink, content, identity("4.1"), chunk_bytes=100)
        await sink.settle()
        assert bench.content() == {"4.1": content}


async def test_a_cancelled_wait_gives_its_batch_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_bench(tmp_path) as bench:
        gate, work = threading.Event(), bench.writer._segment

        def wait(segment: Segment, completed: list[Staged]) -> None:
            assert gate.wait(60)
            work(segment, completed)

        monkeypatch.setattr(bench.writer, "_segment", wait)

        async def fill(number: int) -> None:
            sink = bench.sink()
            try:
                await push(sink, bytes(8 * BATCH_BYTES), identity(f"4.{number}"), chunk_bytes=BATCH_BYTES)
            except BaseException:
                sink.abandon()
                raise

        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(fill, number)
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        gate.set()
        sink = bench.sink()
        with anyio.fail_after(60):
            await push(sink, bytes(8 * BATCH_BYTES), identity("4.9"), chunk_bytes=BATCH_BYTES)
            await sink.settle()
    assert set(bench.staged) == {"4.9"}
