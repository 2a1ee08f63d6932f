"""What became of the demo, in numbers, and what of it did not hold. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

_FAULTS: Final = ("503", "429", "cut")

Name = tuple[str, str]  # Series Instance UID, SOP Instance UID


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A ledger at one moment.

    Attributes:
        landed: every instance that is there -> its size in bytes and its XXH3-128.
        complete: Series Instance UIDs of the complete series.
        expected: instances that are wanted; None where that is not known.
        size_bytes: of all that is there.
    """

    landed: Mapping[Name, tuple[int, bytes]]
    complete: frozenset[str]
    expected: int | None

    @property
    def size_bytes(self) -> int:
        """Bytes of everything that is there."""
        return sum(size for size, _ in self.landed.values())


class Asked(NamedTuple):
    """One retrieve request: a series, or (with `sop`) one instance of it."""

    series: str
    sop: str | None


@dataclass(frozen=True, slots=True)
class Account:
    """What happened.

    Attributes:
        expected: instances that were wanted.
        before: instances that were there when the run was killed.
        after: instances that came after it.
        requests_before, requests_after: what the origin was asked until the kill, and since.
        again: instances that were there at the kill and came once more, with the series that they are a part of.
        faults: "503", "429" and "cut" -> how often the origin did that.
        size_bytes: of what is there in the end.
        sent_bytes: of the bodies that the origin sent, in both runs.
        broken: what should hold and does not, a sentence each.
    """

    expected: int
    before: int
    after: int
    requests_before: int
    requests_after: int
    again: int
    faults: Mapping[str, int]
    size_bytes: int
    sent_bytes: int
    broken: tuple[str, ...]


def account_of(
    at_kill: Snapshot, at_end: Snapshot, journal: Sequence[Mapping[str, Any]], *, until_kill: int
) -> Account:
    """Hold two snapshots of a ledger against the origin's journal (see `dicomhaul.origin.journal.Entry`).

    Args:
        at_kill: the ledger after the kill, before anybody touched it.
        at_end: the ledger in the end.
        journal: of the origin, from its start.
        until_kill: how many of its entries are older than the kill.
    """
    asked = list(_asked(journal[until_kill:]))
    whole = {each.series for each in asked if each.sop is None}
    singly = [(each.series, each.sop) for each in asked if each.sop is not None]
    faults = Counter(_fault(entry) for entry in journal if entry["fault"])
    return Account(
        expected=at_end.expected or 0,
        before=len(at_kill.landed),
        after=len(at_end.landed) - len(at_kill.landed),
        requests_before=until_kill,
        requests_after=len(journal) - until_kill,
        again=sum(series in whole for series, _ in at_kill.landed),
        faults={name: faults[name] for name in _FAULTS},
        size_bytes=at_end.size_bytes,
        sent_bytes=sum(entry["body_bytes"] for entry in journal),
        broken=tuple(_broken(at_kill, at_end, whole, singly, faults)),
    )


def _asked(journal: Iterable[Mapping[str, Any]]) -> Iterable[Asked]:
    for entry in journal:
        words = entry["path"].split("/")  # /studies/UID/series/UID[/instances/UID]
        if entry["level"] in {"series", "instance"}:
            yield Asked(words[4], words[6] if entry["level"] == "instance" else None)


def _fault(entry: Mapping[str, Any]) -> str:
    return str(entry["status"]) if entry["fault"] == "status" else str(entry["fault"])


def _broken(
    at_kill: Snapshot, at_end: Snapshot, whole: set[str], singly: Sequence[Name], faults: Mapping[str, int]
) -> Iterable[str]:
    if not 0 < len(at_kill.landed) < (at_kill.expected or 0):
        yield "the run was killed when it had all or nothing"
    if at_end.expected is None or len(at_end.landed) != at_end.expected:
        yield f"{len(at_end.landed)} instances are there, {at_end.expected} were wanted"
    changed = sum(at_end.landed.get(name) != content for name, content in at_kill.landed.items())
    if changed:
        yield f"{changed} instances that were there at the kill are gone or others"
    complete_again = len(at_kill.complete & (whole | {series for series, _ in singly}))
    if complete_again:
        yield f"{complete_again} complete series were asked for again"
    landed_again = sum(name in at_kill.landed for name in singly)
    if landed_again:
        yield f"{landed_again} instances that were there were asked for again, one by one"
    absent = [name for name in _FAULTS if not faults[name]]
    if absent:
        yield f"the origin never did this: {', '.join(absent)}"
