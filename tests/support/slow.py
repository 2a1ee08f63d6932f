"""A catalog whose instances come slowly, so that a test can act in the middle of a transfer."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from dicomhaul.origin import Catalog
from dicomhaul.origin.catalog import Attributes, StoredInstance, StoredSeries


@dataclass(frozen=True, slots=True)
class SlowInstance:
    """A `StoredInstance` that waits before it comes."""

    inner: StoredInstance
    wait_s: float

    @property
    def sop(self) -> str:
        """SOP Instance UID."""
        return self.inner.sop

    @property
    def transfer_syntax(self) -> str:
        """Transfer Syntax UID."""
        return self.inner.transfer_syntax

    @property
    def size_bytes(self) -> int:
        """Length of the Part 10 file."""
        return self.inner.size_bytes

    @property
    def attributes(self) -> Attributes:
        """What a search says of it."""
        return self.inner.attributes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Wait, then yield the Part 10 file."""
        await asyncio.sleep(self.wait_s)  # in the origin's thread: the line is slow, no test waits for time to pass
        async for chunk in self.inner.chunks():
            yield chunk

    async def metadata(self) -> Attributes:
        """Return all attributes but bulk data."""
        return await self.inner.metadata()


@dataclass(frozen=True, slots=True)
class SlowSeries:
    """A `StoredSeries` of slow instances."""

    inner: StoredSeries
    wait_s: float

    @property
    def study(self) -> str:
        """Study Instance UID."""
        return self.inner.study

    @property
    def series(self) -> str:
        """Series Instance UID."""
        return self.inner.series

    @property
    def study_attributes(self) -> Attributes:
        """Patient and study."""
        return self.inner.study_attributes

    @property
    def series_attributes(self) -> Attributes:
        """The series alone."""
        return self.inner.series_attributes

    def __len__(self) -> int:
        """Say how many instances there are."""
        return len(self.inner)

    def __iter__(self) -> Iterator[StoredInstance]:
        """Yield the instances."""
        return (SlowInstance(one, self.wait_s) for one in self.inner)

    def find(self, sop: str) -> StoredInstance | None:
        """Return the instance with this SOP Instance UID."""
        found = self.inner.find(sop)
        return None if found is None else SlowInstance(found, self.wait_s)


def slow(catalog: Catalog, wait_s: float) -> Catalog:
    """Return the same catalog, each of whose instances waits `wait_s` before it comes."""
    return Catalog(SlowSeries(one, wait_s) for one in catalog.series())
