"""Synthetic series for cohort rows: as many instances as the row expects, of about the size that it states.

The SOP Instance UIDs follow from the Series Instance UID, and an instance's number can be read back from its
UID, so that nothing about an instance is kept. Everything is the same in each run.
"""

import hashlib
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from io import BytesIO

from pydicom import dcmread

from dicomhaul.model import Series
from dicomhaul.origin.catalog import Attributes, Catalog, attribute
from dicomhaul.origin.metadata import to_json
from dicomhaul.origin.modality import date_of, describe_series, geometry_of, kind_of, patient_of
from dicomhaul.origin.template import DEFLATED, EXPLICIT, IMPLICIT, RLE, Template, can_have, template_of

MIXED = (EXPLICIT, IMPLICIT, DEFLATED, RLE)
_NUMBER_BITS = 24
_UNKNOWN_BYTES = 64 * 1024


@dataclass(frozen=True)
class SyntheticSeries:
    """A `catalog.StoredSeries` made up for a row.

    Attributes:
        row: what to imitate; one instance where it expects no number.
        max_instance_bytes: no instance is (much) larger, whatever the row says; None: as the row says.
        syntaxes: transfer syntax UIDs, taken in turn by the instances; those that a class cannot have are
            left out.
    """

    row: Series
    max_instance_bytes: int | None = None
    syntaxes: tuple[str, ...] = (EXPLICIT,)

    @property
    def study(self) -> str:
        """Study Instance UID."""
        return self.row.study

    @property
    def series(self) -> str:
        """Series Instance UID."""
        return self.row.series

    @property
    def study_attributes(self) -> Attributes:
        """Patient and study."""
        return {
            "00080020": attribute("DA", date_of(self.row.study)),
            "00080030": attribute("TM", "120000"),
            "00080050": attribute("SH"),
            "00080090": attribute("PN"),
            "00081030": attribute("LO", "SYNTHETIC study"),
            "00100010": attribute("PN", {"Alphabetic": "SYNTHETIC^PATIENT"}),
            "00100020": attribute("LO", patient_of(self.row)),
            "00100030": attribute("DA"),
            "00100040": attribute("CS", "O"),
            "00200010": attribute("SH", "1"),
        }

    @property
    def series_attributes(self) -> Attributes:
        """The series alone."""
        return {
            "00080060": attribute("CS", self.row.modality or "OT"),
            "0008103E": attribute("LO", describe_series(self.row)),
            "00200011": attribute("IS", 1),
        }

    def __len__(self) -> int:
        """Say how many instances there are."""
        return max(1, self.row.expected or 1)

    def __iter__(self) -> Iterator["SyntheticInstance"]:
        """Yield the instances in the order of their numbers."""
        return (SyntheticInstance(self, number) for number in range(1, len(self) + 1))

    def find(self, sop: str) -> "SyntheticInstance | None":
        """Return the instance with this SOP Instance UID."""
        digits = sop.removeprefix("2.25.")
        if not digits.isascii() or not digits.isdigit() or len(sop) > 64:
            return None
        number = int(digits) - self._uid_base
        if not 1 <= number <= len(self) or self.sop_of(number) != sop:
            return None
        return SyntheticInstance(self, number)

    def sop_of(self, number: int) -> str:
        """Return the SOP Instance UID of the instance `number`, counted from 1."""
        return f"2.25.{self._uid_base + number}"

    def syntax_of(self, number: int) -> str:
        """Return the transfer syntax of an instance."""
        return self._syntaxes[number % len(self._syntaxes)]

    def template(self, number: int) -> Template:
        """Return the template that makes an instance."""
        return template_of(self.row, self.syntax_of(number), self.instance_bytes)

    @cached_property
    def instance_bytes(self) -> int:
        """The size to aim at."""
        stated = _UNKNOWN_BYTES if self.row.size_bytes is None else self.row.size_bytes // len(self)
        return stated if self.max_instance_bytes is None else min(stated, self.max_instance_bytes)

    @cached_property
    def _syntaxes(self) -> tuple[str, ...]:
        return tuple(one for one in self.syntaxes if can_have(self.row, one)) or (EXPLICIT,)

    @cached_property
    def _uid_base(self) -> int:
        # A UUID (PS3.5 section B.2) of version 8, whose last bits are left for the number. The first bit is set
        # so that each UID has the same 44 characters, which lets `template` put it into encoded bytes.
        revision = f" {self.row.revision}" if self.row.prior else ""  # which has instances of its own
        digest = hashlib.sha256(f"{self.row.study} {self.row.series}{revision}".encode()).digest()
        whole = int.from_bytes(digest[:16], "big") | 1 << 127
        whole = whole & ~(0xF << 76) | 0x8 << 76
        whole = whole & ~(0x3 << 62) | 0x2 << 62
        return whole >> _NUMBER_BITS << _NUMBER_BITS


@dataclass(frozen=True, slots=True)
class SyntheticInstance:
    """A `catalog.StoredInstance`, made anew each time it is read."""

    owner: SyntheticSeries
    number: int

    @property
    def sop(self) -> str:
        """SOP Instance UID."""
        return self.owner.sop_of(self.number)

    @property
    def transfer_syntax(self) -> str:
        """Transfer Syntax UID."""
        return self.owner.syntax_of(self.number)

    @property
    def size_bytes(self) -> int:
        """Length of the Part 10 file. A deflated one must be made to know it."""
        template = self.owner.template(self.number)
        if template.is_deflated:
            return sum(map(len, template.iter_chunks(self.sop, self.number)))
        return template.plain_bytes

    @property
    def attributes(self) -> Attributes:
        """What a search says of it."""
        return {
            "00080016": attribute("UI", kind_of(self.owner.row.modality).sop_class),
            "00080018": attribute("UI", self.sop),
            "00200013": attribute("IS", self.number),
            **_shape_of(self.owner.row, self.owner.instance_bytes),
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the Part 10 file."""
        for chunk in self.owner.template(self.number).iter_chunks(self.sop, self.number):
            yield chunk

    async def metadata(self) -> Attributes:
        """Return all attributes but bulk data."""
        small = SyntheticSeries(self.owner.row, 0)
        content = b"".join(small.template(self.number).iter_chunks(self.sop, self.number))
        return {**to_json(dcmread(BytesIO(content))), **self.attributes}


@lru_cache(maxsize=1024)
def _shape_of(row: Series, size_bytes: int) -> Attributes:
    shape = geometry_of(row, size_bytes)
    if shape is None:
        return {}
    return {"00280010": attribute("US", shape.rows), "00280011": attribute("US", shape.columns)}


def synthetic_catalog(
    rows: Iterable[Series], *, max_instance_bytes: int | None = None, syntaxes: tuple[str, ...] = (EXPLICIT,)
) -> Catalog:
    """Return a catalog with made-up instances for each row of a cohort; see `SyntheticSeries`."""
    return Catalog(SyntheticSeries(row, max_instance_bytes, syntaxes) for row in rows)
