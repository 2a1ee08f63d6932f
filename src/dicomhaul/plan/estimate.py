"""What a plan adds up to. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple


class Group(NamedTuple):
    """Series that a plan treats alike, counted. `None` in a sum means that at least one series states nothing."""

    collection: str | None
    license: str | None
    modality: str | None
    route: str
    series: int
    instances: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of series, and what is stated of their content."""

    series: int = 0
    instances: int | None = 0
    size_bytes: int | None = 0

    def plus(self, group: Group) -> "Amount":
        """Return the sum; what is unknown stays unknown."""
        return Amount(
            self.series + group.series,
            _add(self.instances, group.instances),
            _add(self.size_bytes, group.size_bytes),
        )

    def as_json(self) -> dict[str, int | None]:
        """The keys of `plan --json`."""
        return {"series": self.series, "instances": self.instances, "bytes": self.size_bytes}


@dataclass(frozen=True, slots=True)
class Summary:
    """What `plan` prints.

    Attributes:
        total: everything that would come.
        collections: amounts by collection ('' where there is none).
        modalities: amounts by modality.
        licenses: series by licence.
        routes: amounts by route.
        skipped: reason -> series left out because the destination has them.
        source: the source that would be asked; None while none has been chosen.
        notes: sentences for the reader.
    """

    total: Amount = Amount()
    collections: dict[str, Amount] = field(default_factory=dict)
    modalities: dict[str, Amount] = field(default_factory=dict)
    licenses: dict[str, int] = field(default_factory=dict)
    routes: dict[str, Amount] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    source: str | None = None
    notes: tuple[str, ...] = ()


def _add(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def summarise(
    groups: Iterable[Group],
    *,
    skipped: Counter[str] | None = None,
    source: str | None = None,
    notes: tuple[str, ...] = (),
) -> Summary:
    """Add groups up, by everything that a plan shows."""
    total = Amount()
    collections: dict[str, Amount] = {}
    modalities: dict[str, Amount] = {}
    routes: dict[str, Amount] = {}
    licenses: Counter[str] = Counter()
    for group in groups:
        total = total.plus(group)
        for table, key in (
            (collections, group.collection),
            (modalities, group.modality),
            (routes, group.route),
        ):
            table[key or ""] = table.get(key or "", Amount()).plus(group)
        if group.license:
            licenses[group.license] += group.series
    return Summary(
        total=total,
        collections=dict(sorted(collections.items())),
        modalities=dict(sorted(modalities.items())),
        licenses=dict(licenses.most_common()),
        routes=dict(sorted(routes.items())),
        skipped=dict(skipped or {}),
        source=source,
        notes=notes,
    )


# What a destination needs beyond the instances: the ledger (125 bytes an instance, 400 a series), folders, slack of the
# filesystem's blocks.
_BYTES_PER_FILE = 4096
_FOLDERS_PER_SERIES = 2
_RESERVE_BYTES = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Room:
    """What the destination's filesystem has left; None where it does not say (inodes on Btrfs, Windows)."""

    free_bytes: int
    free_inodes: int | None


def shortage(total: Amount, room: Room) -> str | None:
    """Return why the plan does not fit, in words, or None if it does as far as can be told."""
    need_bytes = (total.size_bytes or 0) + (total.instances or 0) * _BYTES_PER_FILE
    if need_bytes and need_bytes + _RESERVE_BYTES > room.free_bytes:
        return (
            f"the plan needs about {need_bytes:,} bytes and {_RESERVE_BYTES:,} to spare, "
            f"the destination has {room.free_bytes:,} free"
        )
    need_inodes = (total.instances or 0) + total.series * _FOLDERS_PER_SERIES
    if room.free_inodes is not None and need_inodes > room.free_inodes:
        return f"the plan needs about {need_inodes:,} inodes, the destination has {room.free_inodes:,} free"
    return None
