"""What an origin holds: studies, series and instances, looked up by UID. How their bytes come to be is not
known here.

Attributes are kept the way QIDO-RS answers them, as DICOM JSON (PS3.18 annex F): tag in eight upper-case
hexadecimal digits -> `{"vr": ..., "Value": [...]}`.
"""

from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from typing import Any, Protocol

Attributes = dict[str, dict[str, Any]]


def attribute(vr: str, *values: Any) -> dict[str, Any]:
    """Return one DICOM JSON attribute; one without values has no `Value`, as PS3.18 section F.2.5 wants it."""
    return {"vr": vr, "Value": list(values)} if values else {"vr": vr}


def values_of(attributes: Attributes, tag: str) -> list[Any]:
    """Return the values of an attribute; empty where it is absent or has none."""
    values: list[Any] = attributes.get(tag, {}).get("Value", [])
    return values


class StoredInstance(Protocol):
    """One instance. `size_bytes` is the exact length of what `chunks` yields."""

    @property
    def sop(self) -> str:
        """SOP Instance UID."""
        ...

    @property
    def transfer_syntax(self) -> str:
        """Transfer Syntax UID of the stored bytes."""
        ...

    @property
    def size_bytes(self) -> int:
        """Length of the Part 10 file."""
        ...

    @property
    def attributes(self) -> Attributes:
        """What a search says of it."""
        ...

    def chunks(self) -> AsyncIterator[bytes]:
        """Yield the Part 10 file as stored."""
        ...

    async def metadata(self) -> Attributes:
        """Return all attributes but bulk data."""
        ...


class StoredSeries(Protocol):
    """One series; its instances are made when they are asked for."""

    @property
    def study(self) -> str:
        """Study Instance UID."""
        ...

    @property
    def series(self) -> str:
        """Series Instance UID."""
        ...

    @property
    def study_attributes(self) -> Attributes:
        """Patient and study, less what depends on the other series."""
        ...

    @property
    def series_attributes(self) -> Attributes:
        """The series alone."""
        ...

    def __len__(self) -> int:
        """Say how many instances there are."""
        ...

    def __iter__(self) -> Iterator[StoredInstance]:
        """Yield the instances in the order in which they are served."""
        ...

    def find(self, sop: str) -> StoredInstance | None:
        """Return the instance with this SOP Instance UID."""
        ...


class Catalog:
    """Series by study and UID. A (study, series) pair that comes twice counts once, the first."""

    def __init__(self, series: Iterable[StoredSeries]) -> None:
        self._studies: dict[str, dict[str, StoredSeries]] = {}
        for one in series:
            self._studies.setdefault(one.study, {}).setdefault(one.series, one)

    def __len__(self) -> int:
        """Say how many instances there are in all."""
        return sum(len(one) for one in self.series())

    def studies(self, study: str | None = None) -> Iterator[list[StoredSeries]]:
        """Yield each study, or only `study`, as the list of its series."""
        if study is None:
            for members in self._studies.values():
                yield list(members.values())
        elif study in self._studies:
            yield list(self._studies[study].values())

    def series(self, study: str | None = None, series: str | None = None) -> Iterator[StoredSeries]:
        """Yield the series of all studies or of `study`; with `series`, only the one of that UID."""
        for members in self.studies(study):
            yield from (one for one in members if series is None or one.series == series)

    def select(self, study: str, series: str | None, sop: str | None) -> Sequence[StoredInstance]:
        """Return the instances that a retrieve asks for; empty where there is none."""
        found: list[StoredInstance] = []
        for one in self.series(study, series):
            if sop is None:
                found += one
            elif (instance := one.find(sop)) is not None:
                found.append(instance)
        return found
