"""What a plan adds up to. Pure."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from dicomhaul.model import Routing
from dicomhaul.plan.difference import Difference


class Group(NamedTuple):
    """Series that a plan treats alike, counted. `None` in a sum means that at least one series states nothing."""

    collection: str | None
    license: str | None
    modality: str | None
    routing: Routing
    series: int
    instances: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of series, and what is stated of their content."""

    series: int = 0
    instances: int | None = 0
    size_bytes: int | None = 0

    def plus(self, group: "Group | Amount") -> "Amount":
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
        routes: amounts by the source that is asked first.
        reasons: the same, by why it is; in each route the largest first.
        skipped: reason -> series that would not come: the destination has them, or nobody chosen can give them.
        source: the sources that would be asked.
        notes: sentences for the reader.
        difference: what it changed, where it was written down.
        quotas: source -> bytes that it gives a day (UTC), and bytes of them that are used, where the plan asked.
    """

    total: Amount = Amount()
    collections: dict[str, Amount] = field(default_factory=dict)
    modalities: dict[str, Amount] = field(default_factory=dict)
    licenses: dict[str, int] = field(default_factory=dict)
    routes: dict[str, Amount] = field(default_factory=dict)
    reasons: dict[str, dict[str, Amount]] = field(default_factory=dict)
    skipped: dict[str, int] = field(default_factory=dict)
    source: str = ""
    notes: tuple[str, ...] = ()
    quotas: dict[str, tuple[int, int]] = field(default_factory=dict)
    difference: Difference = Difference()  # noqa: RUF009 - frozen


def _add(one: int | None, other: int | None) -> int | None:
    return None if one is None or other is None else one + other


def summarise(
    groups: Iterable[Group],
    *,
    skipped: Counter[str] | None = None,
    source: str = "",
    notes: tuple[str, ...] = (),
) -> Summary:
    """Add groups up, by everything that a plan shows. Those without a route are skipped, for the reason they have."""
    total = Amount()
    left_out = Counter(skipped)
    collections: dict[str, Amount] = {}
    modalities: dict[str, Amount] = {}
    routes: dict[str, Amount] = {}
    reasons: dict[str, dict[str, Amount]] = {}
    licenses: Counter[str] = Counter()
    for group in groups:
        if not group.routing.routes:
            left_out[group.routing.reason] += group.series
            continue
        total = total.plus(group)
        for table, key in (
            (collections, group.collection),
            (modalities, group.modality),
            (routes, group.routing.routes[0]),
            (reasons.setdefault(group.routing.routes[0], {}), group.routing.reason),
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
        reasons={name: _largest_first(table) for name, table in sorted(reasons.items())},
        skipped=dict(left_out),
        source=source,
        notes=notes,
    )


def _largest_first(table: dict[str, Amount]) -> dict[str, Amount]:
    return dict(sorted(table.items(), key=lambda item: (-item[1].series, item[0])))


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


def disk_bytes(total: Amount) -> int | None:
    """Return what a destination needs for so much; None where nobody states sizes and numbers."""
    if total.size_bytes is None or total.instances is None:
        return None
    return total.size_bytes + total.instances * _BYTES_PER_FILE


def shortage(total: Amount, room: Room) -> str | None:
    """Return why the plan does not fit, in words, or None if it does as far as can be told."""
    need_bytes = disk_bytes(Amount(total.series, total.instances or 0, total.size_bytes or 0)) or 0
    if need_bytes and need_bytes + _RESERVE_BYTES > room.free_bytes:
        return (
            f"the plan needs about {need_bytes:,} bytes and {_RESERVE_BYTES:,} to spare, "
            f"the destination has {room.free_bytes:,} free"
        )
    need_inodes = (total.instances or 0) + total.series * _FOLDERS_PER_SERIES
    if room.free_inodes is not None and need_inodes > room.free_inodes:
        return f"the plan needs about {need_inodes:,} inodes, the destination has {room.free_inodes:,} free"
    return None
