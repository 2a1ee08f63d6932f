"""What every sink owes a source. The folder's is the real one; the one in memory stands in for it in other tests."""

from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import anyio
import pytest

from dicomhaul.events import Tally
from dicomhaul.land.sink import Batches, FolderSink, staging_names
from dicomhaul.land.writer import Staged, Writer
from dicomhaul.model import Job, SeriesUID
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
