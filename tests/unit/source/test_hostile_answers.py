"""Answers that never end, or hold nothing but rubbish: little memory, and an error before long."""

import tracemalloc
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path

import pytest

from dicomhaul.errors import BadMultipart, DamagedError, NotDicom, Truncated
from dicomhaul.source import receive
from dicomhaul.source.receive import Receiver
from dicomhaul.wire.framing import SinglePart
from dicomhaul.wire.multipart import MAX_EPILOGUE_BYTES, MultipartParser
from support.fakes import STUDY
from support.instances import make_instance
from support.landing import SERIES, open_bench

pytestmark = pytest.mark.anyio

MIB = 1 << 20
EMPTY = b"\r\n--b\r\n\r\n"
FOR_EVER = 100_000_000  # what a test would never see the end of


def parts_of(content: bytes) -> bytes:
    return b"\r\n--b\r\nContent-Type: application/dicom\r\n\r\n" + content


def feed(parser: MultipartParser | SinglePart, chunks: Iterator[bytes]) -> tuple[int, DamagedError]:
    """Feed until it raises; return how many bytes that took, and the error."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        try:
            parser.feed(chunk)
        except DamagedError as error:
            return size, error
    raise AssertionError("it would have gone on for ever")


async def test_parts_of_zero_bytes_gather_nowhere_and_come_to_an_end(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        parser = MultipartParser("b", Receiver(sink))
        tracemalloc.start()
        try:
            size, error = feed(parser, repeat(EMPTY * 100, FOR_EVER))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        await sink.settle()
        assert sink.landed == {}
    assert isinstance(error, Truncated)
    assert size < 11_000 * len(EMPTY)
    assert peak < MIB


async def test_a_damaged_part_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "_MOST_DAMAGED_BYTES", 4 * MIB)
    for framed in (True, False):
        async with open_bench(tmp_path / str(framed)) as bench:
            receiver = Receiver(bench.sink())
            parser = MultipartParser("b", receiver) if framed else SinglePart(receiver)
            if framed:
                parser.feed(parts_of(b""))
            size, error = feed(parser, repeat(b"<html>" * 10_000, FOR_EVER))
            bench.sink().abandon()
        assert isinstance(error, NotDicom)
        assert size < 5 * MIB


async def test_the_same_instance_for_ever(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "_MOST_UNWANTED", 1_000)
    part = parts_of(make_instance("4.1", study=STUDY, series=SERIES, pixels=bytes(64)))
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        size, error = feed(MultipartParser("b", Receiver(sink)), repeat(part, FOR_EVER))
        sink.discard()
        await sink.settle()
        assert sink.landed.keys() == {"4.1"}
    assert isinstance(error, BadMultipart)
    assert size < 1_010 * len(part)


async def test_an_instance_that_is_there_and_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "_MOST_UNWANTED_BYTES", 4 * MIB)
    begun = make_instance("4.1", study=STUDY, series=SERIES, pixels=bytes(64))[:-64]
    async with open_bench(tmp_path) as bench:
        parser = MultipartParser("b", Receiver(bench.sink(known={"4.1"})))
        parser.feed(parts_of(begun))
        size, error = feed(parser, repeat(bytes(100_000), FOR_EVER))
    assert isinstance(error, BadMultipart)
    assert size < 5 * MIB


async def test_an_instance_that_is_wanted_and_does_not_end_is_held_to_what_is_stated(tmp_path: Path) -> None:
    whole = make_instance("4.1", study=STUDY, series=SERIES, pixels=b"")
    begun = whole[:-4] + b"\xff\xff\xff\xff"  # encapsulated: fragments follow
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        parser = MultipartParser("b", Receiver(sink, most_bytes=4 * MIB))
        parser.feed(parts_of(begun))
        item = b"\xfe\xff\x00\xe0" + (65_528).to_bytes(4, "little") + bytes(65_528)
        size, error = feed(parser, repeat(item, FOR_EVER))
        sink.discard()
        await sink.settle()
        assert sink.landed == {}
    assert isinstance(error, BadMultipart)
    assert size < 5 * MIB


@pytest.mark.parametrize("filler", [b"x", b"\r\n", b"--b\r\n", b"\0"])
async def test_a_preamble_and_an_epilogue_have_to_end(tmp_path: Path, filler: bytes) -> None:
    junk = filler * (65_536 // len(filler))
    async with open_bench(tmp_path) as bench:
        if filler != b"--b\r\n":  # which would be parts
            assert feed(MultipartParser("b", Receiver(bench.sink())), repeat(junk, FOR_EVER))[0] < MIB
        parser = MultipartParser("b", Receiver(bench.sink()))
        parser.feed(parts_of(b"x") + b"\r\n--b--")
        assert parser.finished
        assert feed(parser, repeat(junk, FOR_EVER))[0] < 2 * MAX_EPILOGUE_BYTES


async def test_an_epilogue_of_some_length_is_ignored(tmp_path: Path) -> None:
    async with open_bench(tmp_path) as bench:
        parser = MultipartParser("b", Receiver(bench.sink()))
        parser.feed(parts_of(b"x") + b"\r\n--b--" + bytes(MAX_EPILOGUE_BYTES))
        parser.feed(bytes(MAX_EPILOGUE_BYTES))
        parser.close()


@pytest.mark.parametrize("header", [b"X: ", b"Content-Disposition: attachment; filename=../../", b""])
async def test_the_headers_of_a_part_have_to_end(tmp_path: Path, header: bytes) -> None:
    async with open_bench(tmp_path) as bench:
        parser = MultipartParser("b", Receiver(bench.sink()))
        parser.feed(b"--b\r\n" + header)
        assert feed(parser, repeat(b"y" * 10_000, FOR_EVER))[0] < 100_000


# Elements of the file meta information whose lengths are lies.
LIES = [
    b"\x02\0\0\0UL\x04\0\xfe\xff\xff\xff" + b"\x02\0\x01\0OB\0\0\xfe\xff\xff\xff",
    b"\x02\0\x01\0OB\0\0\xff\xff\xff\xff",
    b"\x02\0\x10\0UI\xff\xff",
    b"\x02\0\x02\x01OB\0\0\0\0\0\x80",
]


@pytest.mark.parametrize("meta", LIES)
async def test_a_length_that_is_a_lie_reserves_no_memory(tmp_path: Path, meta: bytes) -> None:
    async with open_bench(tmp_path) as bench:
        receiver = Receiver(bench.sink())
        receiver.begin({})
        receiver.data(memoryview(bytes(128) + b"DICM" + meta))
        tracemalloc.start()
        try:
            for _ in range(64):
                receiver.data(memoryview(bytes(16_384)))
            receiver.end()
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert receiver.error is not None
        assert peak < 2 * MIB


async def test_a_million_sequences_in_one_another(tmp_path: Path) -> None:
    whole = make_instance("4.1", study=STUDY, series=SERIES, pixels=b"")
    nested = b"\x08\0\x40\x11SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\0\xe0\xff\xff\xff\xff"
    async with open_bench(tmp_path) as bench:
        sink = bench.sink()
        receiver = Receiver(sink)
        receiver.begin({})
        receiver.data(memoryview(whole[:-12]))
        for _ in range(100):
            receiver.data(memoryview(nested * 10_000))
            await sink.drain()
        receiver.end()
        await sink.settle()
        assert sink.landed == {}
    assert isinstance(receiver.error, Truncated)
    assert "inside a sequence" in str(receiver.error)
