"""The benchmark's data is what servers would send: DICOM, framed and listed as they do. The relay is a line."""

import asyncio
import hashlib
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path

import pydicom
import pytest

from benchmarks.data import BOUNDARY, BUCKET, PAGE, Shape, build
from benchmarks.relay import Requests, Wire
from dicomhaul.wire.listing import parse_listing
from dicomhaul.wire.multipart import MultipartParser
from dicomhaul.wire.part10 import Skimmer

_SHAPES = (Shape(PAGE + 1, 5_000), Shape(2, 50_000))


class Parts:
    """A handler that keeps each part."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []

    def begin(self, headers: Mapping[str, str]) -> None:
        self.kept.append(b"")

    def data(self, view: memoryview) -> None:
        self.kept[-1] += view

    def end(self) -> None:
        pass


def test_bodies_and_objects_are_the_same_instances(tmp_path: Path) -> None:
    data = build(tmp_path, _SHAPES)
    assert data.instances == PAGE + 3
    for held, shape in zip(data.series, _SHAPES, strict=True):
        named = held.named
        parts = Parts()
        parser = MultipartParser(BOUNDARY, parts)
        parser.feed((tmp_path / "www" / "studies" / named.study / "series" / named.series).read_bytes())
        parser.close()
        pages = sorted((tmp_path / "www" / "listings").glob(f"{named.revision}.*"))
        refs = [
            ref
            for page in pages
            for ref in parse_listing(page.read_bytes(), bucket=BUCKET, prefix=f"{named.revision}/").objects
        ]
        assert [len(part) for part in parts.kept] == [ref.size_bytes for ref in refs] == list(held.sizes)
        assert abs(held.sizes[0] - shape.instance_bytes) <= 1
        assert [(tmp_path / "www" / BUCKET / ref.key).read_bytes() for ref in refs] == parts.kept
        skimmer = Skimmer()
        skimmer.feed(memoryview(parts.kept[-1]))
        identity = skimmer.finish()
        assert (identity.study, identity.series) == (named.study, named.series)
        dataset = pydicom.dcmread(tmp_path / "www" / BUCKET / refs[-1].key)
        assert dataset.SOPInstanceUID == identity.sop
        assert len({part[:4_000] for part in parts.kept}) == shape.instances  # each has a UID of its own


def test_the_same_shapes_give_the_same_bytes(tmp_path: Path) -> None:
    shapes = (Shape(3, 5_000),)
    first, second = build(tmp_path / "1", shapes), build(tmp_path / "2", shapes)
    for one in sorted((first.root / "www").rglob("*")):
        if one.is_file():
            assert one.read_bytes() == (second.root / one.relative_to(first.root)).read_bytes()
    some = min((first.root / "www" / BUCKET).rglob("*.dcm"))
    assert hashlib.sha256(some.read_bytes()[-500:]).hexdigest()[:16] == "99bae64f8f5cc411"  # the same everywhere


@pytest.mark.anyio
async def test_a_line_carries_one_after_the_other_in_the_order_that_they_came() -> None:
    wire = Wire(1e6)
    left_at: list[float] = []

    async def take(size_bytes: int) -> None:
        left_at.append(await wire.take(size_bytes))

    began_at = asyncio.get_running_loop().time()
    await asyncio.gather(*(take(size_bytes) for size_bytes in (20_000, 1_000, 30_000, 1_000)))
    assert left_at[0] >= began_at + 0.02
    between = [later - earlier for earlier, later in pairwise(left_at)]
    assert all(waited >= due - 1e-9 for waited, due in zip(between, (0.001, 0.03, 0.001), strict=True))


def record(kind: int, size_bytes: int) -> bytes:
    return bytes((kind, 3, 3)) + size_bytes.to_bytes(2, "big") + bytes(size_bytes)


def feed(requests: Requests, data: bytes, chunk: int) -> bool:
    return True in {requests.feed(data[at : at + chunk]): at for at in range(0, len(data), chunk)}


@pytest.mark.parametrize("chunk", [1, 3, 10_000])
def test_a_request_is_the_second_record_of_application_data(chunk: int) -> None:
    hello, changed, finished, request = record(22, 512), record(20, 1), record(23, 69), record(23, 300)
    for sent, expected in (
        ([hello, changed + finished], [False, False]),
        ([hello, changed + finished, request, request], [False, False, True, True]),
        ([hello, changed + finished + request], [False, True]),
    ):
        requests = Requests()
        found = [feed(requests, each, chunk) for each in sent]
        assert found == expected
