"""What every sink owes a source. The folder's is the real one; the one in memory stands in for it in other tests."""

import hashlib
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import anyio
import pytest

from dicomhaul.events import Tally
from dicomhaul.land.sink import Batches, FolderSink, staging_names
from dicomhaul.land.writer import Staged, Writer
from dicomhaul.model import Check, Job, Partial, SeriesUID, Stated
from dicomhaul.ports import SettlingSink
from support.fakes import STUDY, MemorySink, identity, prepared_folder, push

pytestmark = pytest.mark.anyio

JOB = Job(1, STUDY, SeriesUID("1.1"))


class OpenSink(Protocol):
    def __call__(self, known: Sequence[str] = ()) -> SettlingSink: ...


class Adapter(NamedTuple):
    """A kind of sink: how to open one, and what all of them have taken."""

    open: OpenSink
    content: Callable[[], dict[str, bytes]]


def in_memory() -> Adapter:
    taken: dict[str, bytes] = {}

    def open_sink(known: Sequence[str] = ()) -> MemorySink:
        return MemorySink(JOB, known, taken)

    return Adapter(open_sink, lambda: taken)


@pytest.fixture(params=["folder", "memory"])
async def adapter(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Adapter]:
    if request.param == "memory":
        yield in_memory()
        return
    staging = prepared_folder(tmp_path).staging
    staged: list[Staged] = []
    writer, names, batches = Writer(staging, staged.extend, lambda _: None), staging_names(), Batches(4)

    def open_sink(known: Sequence[str] = ()) -> FolderSink:
        return FolderSink(JOB, "f", known=known, writer=writer, batches=batches, names=names, tally=Tally())

    writer.start()
    yield Adapter(open_sink, lambda: {each.sop: (staging / each.name).read_bytes() for each in staged})
    writer.close()
    await anyio.to_thread.run_sync(writer.join)


async def test_a_part_is_taken_whole(adapter: Adapter) -> None:
    sink = adapter.open()
    assert not sink.progressed()
    await push(sink, b"abc" * 1000, identity("4.1"), chunk_bytes=7)
    assert sink.progressed()
    await sink.settle()
    assert adapter.content() == {"4.1": b"abc" * 1000}
    assert sink.landed == {"4.1": 3000}


async def test_a_discarded_part_leaves_nothing(adapter: Adapter) -> None:
    sink = adapter.open()
    sink.begin()
    sink.write(memoryview(b"abc"))
    sink.discard()
    sink.write(memoryview(b"def"))
    sink.discard()
    await sink.drain()
    await push(sink, b"next", identity("4.2"))
    await sink.settle()
    assert adapter.content() == {"4.2": b"next"}


async def test_discarding_when_nothing_is_open(adapter: Adapter) -> None:
    sink = adapter.open()
    sink.discard()
    await sink.settle()
    assert (sink.landed, sink.progressed()) == ({}, False)


async def test_known_instances_and_those_that_came_are_not_wanted(adapter: Adapter) -> None:
    sink = adapter.open(known=["4.1"])
    assert not sink.wants("4.1")
    assert sink.wants("4.2")
    await push(sink, b"x", identity("4.1"))
    assert not sink.progressed()
    await push(sink, b"y", identity("4.2"))
    assert not sink.wants("4.2")
    await push(sink, b"z", identity("4.2"))
    await sink.settle()
    assert adapter.content() == {"4.2": b"y"}


async def test_several_attempts_through_one_sink(adapter: Adapter) -> None:
    """An attempt that broke in a part discards it; the next begins with the same part."""
    sink = adapter.open()
    for _ in range(3):
        sink.begin()
        sink.write(memoryview(b"half"))
        await sink.drain()
        sink.discard()
    await push(sink, b"whole", identity("4.1"))
    await sink.settle()
    assert adapter.content() == {"4.1": b"whole"}


async def test_an_abandoned_sink_waits_for_nothing(adapter: Adapter) -> None:
    sink = adapter.open()
    await push(sink, b"whole", identity("4.1"))
    sink.begin()
    sink.write(memoryview(b"half"))
    sink.abandon()
    other = adapter.open()
    await push(other, b"other", identity("4.2"))
    await other.settle()
    assert adapter.content() == {"4.1": b"whole", "4.2": b"other"}


def stated(content: bytes, *, stem: str = "one", digest: bytes | None = None) -> Stated:
    return Stated(stem, len(content), "v1", Check.MD5, digest or hashlib.md5(content, usedforsecurity=False).digest())


def put(sink: SettlingSink, what: Stated, content: bytes, sop: str) -> None:
    sink.begin(what)
    sink.write(memoryview(content))
    sink.end(identity(sop))


async def test_objects_are_known_by_their_stems(adapter: Adapter) -> None:
    """Those that came, and those that were there already."""
    sink = adapter.open(known=["4.2", "4.3"])
    put(sink, stated(b"abc"), b"abc", "4.1")
    put(sink, stated(b"abc", stem="two"), b"abc", "4.2")
    sink.begin(stated(b"abc", stem="three"))
    assert not sink.wants("4.3")
    sink.discard()
    await sink.settle()
    assert (sink.stems, sink.refused) == ({"one": "4.1", "two": "4.2", "three": "4.3"}, {})
    assert adapter.content() == {"4.1": b"abc"}


async def test_bytes_that_are_not_those_that_are_stated_do_not_land(adapter: Adapter) -> None:
    sink = adapter.open()
    put(sink, stated(b"abc", digest=bytes(16)), b"abc", "4.1")
    put(sink, stated(b"def", stem="two"), b"def", "4.2")
    await sink.settle()
    assert set(sink.refused) == {"one"}
    assert (sink.landed, sink.stems) == ({"4.2": 3}, {"two": "4.2"})
    assert adapter.content() == {"4.2": b"def"}


async def test_a_small_object_that_breaks_off_begins_anew(adapter: Adapter) -> None:
    sink = adapter.open()
    sink.suspend()  # nothing is open yet
    sink.begin(stated(b"whole"))
    sink.write(memoryview(b"who"))
    sink.suspend()
    put(sink, stated(b"whole"), b"whole", "4.1")
    await sink.settle()
    assert adapter.content() == {"4.1": b"whole"}


async def test_what_is_not_there_is_not_gone_on_with(adapter: Adapter) -> None:
    sink = adapter.open()
    assert not await sink.reopen(stated(b"whole"), Partial("one", "v1", "gone.part", 3, bytes(16)), lambda _: None)
    put(sink, stated(b"whole"), b"whole", "4.1")
    await sink.settle()
    assert adapter.content() == {"4.1": b"whole"}
