"""Holdings whose series have as many bytes as IDC's index states, to the byte, as its real ones do."""

import struct
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, replace

from dicomhaul.model import Series
from dicomhaul.origin import Holdings, synthetic_holdings
from dicomhaul.origin.catalog import StoredInstance
from support.slow import SlowInstance, SlowSeries

_HEADER = struct.Struct("<HH2s2xI")


@dataclass(frozen=True, slots=True)
class PaddedInstance(SlowInstance):
    """A `StoredInstance` in explicit VR little endian, with a Data Set Trailing Padding (PS3.10 section 7.2)."""

    padding_bytes: int = 0  # with its header

    @property
    def size_bytes(self) -> int:
        """Length of the Part 10 file."""
        return self.inner.size_bytes + self.padding_bytes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the Part 10 file."""
        async for chunk in self.inner.chunks():
            yield chunk
        value = bytes(self.padding_bytes - _HEADER.size)
        yield _HEADER.pack(0xFFFC, 0xFFFC, b"OB", len(value)) + value


@dataclass(frozen=True, slots=True)
class PaddedSeries(SlowSeries):
    """A `StoredSeries` whose first instance is padded."""

    padding_bytes: int = 0

    def __iter__(self) -> Iterator[StoredInstance]:
        """Yield the instances."""
        first, *others = self.inner
        yield PaddedInstance(first, self.wait_s, self.padding_bytes)
        yield from others

    def find(self, sop: str) -> StoredInstance | None:
        """Return the instance with this SOP Instance UID."""
        return next((one for one in self if one.sop == sop), None)


def exact_holdings(rows: list[Series]) -> Holdings:
    """Return made-up instances for these rows, each series as large as its row says. Raises ValueError where that is
    too small.
    """
    revisions = []
    for row, each in zip(rows, synthetic_holdings(rows).revisions, strict=True):
        padding_bytes = (row.size_bytes or 0) - sum(one.size_bytes for one in each.series)
        if padding_bytes < _HEADER.size or padding_bytes % 2:
            raise ValueError(f"series {row.series} cannot be padded by {padding_bytes} bytes")
        revisions.append(replace(each, series=PaddedSeries(each.series, 0, padding_bytes)))
    return Holdings(tuple(revisions))
