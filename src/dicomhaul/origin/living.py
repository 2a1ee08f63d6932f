"""An archive that changes: synthetic instances are stored, stored again with other bytes, and removed, in any order.

What happens is noted in a chronicle. The bytes of an instance follow from its UID and how often it was stored.
"""

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

from dicomhaul.model import Series, SeriesUID, StudyUID
from dicomhaul.origin.catalog import Attributes, Catalog
from dicomhaul.origin.chronicle import Chronicle, Name
from dicomhaul.origin.synthetic import SyntheticInstance, SyntheticSeries


@dataclass(frozen=True, slots=True)
class LivingInstance:
    """A `catalog.StoredInstance`: the instance `index` of a series, as it was stored the `version`-th time."""

    made_up: SyntheticInstance
    version: int

    @property
    def sop(self) -> str:
        """SOP Instance UID."""
        return self.made_up.sop

    @property
    def transfer_syntax(self) -> str:
        """Transfer Syntax UID."""
        return self.made_up.transfer_syntax

    @property
    def size_bytes(self) -> int:
        """Length of the Part 10 file."""
        return self.made_up.size_bytes

    @property
    def attributes(self) -> Attributes:
        """What a search says of it."""
        return self.made_up.attributes

    def content(self) -> bytes:
        """Return the Part 10 file."""
        return b"".join(self.made_up.owner.template(self.made_up.number).iter_chunks(self.sop, self.version))

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the Part 10 file."""
        yield self.content()

    async def metadata(self) -> Attributes:
        """Return all attributes but bulk data."""
        return await self.made_up.metadata()


class LivingSeries:
    """A `catalog.StoredSeries` whose instances come and go; they are served in the order in which they came."""

    def __init__(self, row: Series) -> None:
        self.made_up = SyntheticSeries(row)
        self.there: dict[int, int] = {}  # index -> version

    @property
    def study(self) -> str:
        """Study Instance UID."""
        return self.made_up.study

    @property
    def series(self) -> str:
        """Series Instance UID."""
        return self.made_up.series

    @property
    def study_attributes(self) -> Attributes:
        """Patient and study."""
        return self.made_up.study_attributes

    @property
    def series_attributes(self) -> Attributes:
        """The series alone."""
        return self.made_up.series_attributes

    def __len__(self) -> int:
        """Say how many instances there are."""
        return len(self.there)

    def __iter__(self) -> Iterator[LivingInstance]:
        """Yield the instances."""
        for index, version in list(self.there.items()):
            yield LivingInstance(SyntheticInstance(self.made_up, index), version)

    def find(self, sop: str) -> LivingInstance | None:
        """Return the instance with this SOP Instance UID."""
        found = self.made_up.find(sop)
        version = None if found is None else self.there.get(found.number)
        return None if found is None or version is None else LivingInstance(found, version)


class LivingArchive(Catalog):
    """A catalog that changes.

    Args:
        instance_bytes: about how large each is.
        chronicle: where what happens is noted; None: in one of its own.
    """

    MOST = 1_000  # instances of a series

    def __init__(self, instance_bytes: int = 2_000, chronicle: Chronicle | None = None) -> None:
        super().__init__([])
        self.chronicle = chronicle or Chronicle()
        self._bytes = instance_bytes
        self._stored: dict[tuple[str, str, int], int] = {}  # how often, those that are gone too

    def store(self, study: str, series: str, index: int, *, modality: str = "CT") -> Name:
        """Store the instance `index` (from 1) of a series: a new one, or another version of one that is there."""
        row = Series(
            StudyUID(study),
            SeriesUID(series),
            modality=modality,
            expected=self.MOST,
            size_bytes=self.MOST * self._bytes,
        )
        members = self._studies.setdefault(study, {})
        held = members.setdefault(series, LivingSeries(row))
        assert isinstance(held, LivingSeries)  # noqa: S101 - nothing else is ever put there
        version = self._stored[study, series, index] = self._stored.get((study, series, index), 0) + 1
        is_new = index not in held.there
        held.there[index] = version
        name = Name(study, series, held.made_up.sop_of(index))
        self.chronicle.note("create" if is_new else "update", name)
        return name

    def remove(self, study: str, series: str, index: int) -> Name:
        """Remove an instance; with its last one, a series and a study are gone too."""
        held = self._studies[study][series]
        assert isinstance(held, LivingSeries)  # noqa: S101 - as above
        del held.there[index]
        if not held.there:
            del self._studies[study][series]
            if not self._studies[study]:
                del self._studies[study]
        name = Name(study, series, held.made_up.sop_of(index))
        self.chronicle.note("delete", name)
        return name

    def contents(self) -> dict[Name, bytes]:
        """Return every instance that is there."""
        return {
            Name(one.study, one.series, instance.sop): instance.content()
            for one in self.series()
            for instance in one
            if isinstance(instance, LivingInstance)
        }
