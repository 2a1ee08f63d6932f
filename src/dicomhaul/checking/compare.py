"""One series at the destination against the same series at its source. Pure.

| at the source | in the ledger | in the tree | mark |
|---|---|---|---|
| yes | landed | as it landed, and as large as the source states | `=` |
| yes | landed | of another size than landed, or than the source states; no regular file | `*` |
| yes | landed | gone | `+` |
| yes | landed | cannot be looked at | `!` |
| yes | not landed | - | `+` |
| yes, in another revision | landed | there | `*` |
| no | landed | there | `-` |
| no | landed | gone | none |

The marks are those of `rclone check --combined`. A bucket's key does not name an instance: where the ledger knows an
object by its stem, that is what is compared; the others (the instances came by another route) are paired with the
instances that no object is known of, by their sizes and then by their number, and counted as unnamed.
"""

import enum
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from dicomhaul.land.folder import instance_file, instance_path

InTree = Literal["there", "gone", "changed", "unreadable"]


class Mark(enum.StrEnum):
    """What became of a path."""

    SAME = "="
    MISSING = "+"
    BESIDES = "-"
    DIFFERENT = "*"
    ERROR = "!"


class Here(NamedTuple):
    """One instance that the ledger has as landed, and what the tree says of it."""

    sop: str
    path: str
    stem: str | None
    tree: InTree
    size_bytes: int  # as it landed


class Listed(NamedTuple):
    """One instance of the source's inventory: of a bucket's object the stem is known, else the SOP Instance UID."""

    sop: str | None = None
    stem: str | None = None
    size_bytes: int | None = None
    etag: str | None = None


class Marked(NamedTuple):
    """One path and its mark; `instances` that a mark of a folder stands for. `etag`: what the source states besides."""

    mark: Mark
    path: str
    instances: int = 1
    etag: str | None = None


@dataclass(frozen=True, slots=True)
class Compared:
    """What comparing one series gave; `unnamed`: instances that were paired by size or number alone."""

    marks: list[Marked]
    unnamed: int = 0


def compare(
    here: Sequence[Here], listed: Sequence[Listed], *, folder: str, revised: bool, wanted: Collection[str] | None
) -> Compared:
    """Compare one series.

    Args:
        here: what the ledger has as landed.
        listed: the source's inventory.
        folder: where its instances lie, relative to the destination.
        revised: the source has another revision than the one that landed.
        wanted: the only instances that are wanted of it; None: all.
    """
    by_sop = {each.sop: each for each in here}
    by_stem = {each.stem: each for each in here if each.stem is not None}
    marks: list[Marked] = []
    nameless: list[Listed] = []
    met: set[str] = set()
    asked = set(by_sop) if wanted is None else {*wanted, *by_sop}
    for each in listed:
        mine = by_sop.get(each.sop) if each.sop is not None else by_stem.get(each.stem or "")
        if mine is not None:
            met.add(mine.sop)
            marks.append(_marked(mine, each, revised=revised and each.stem is None))
        elif each.sop is None:
            nameless.append(each)
        elif wanted is None or each.sop in asked:
            marks.append(Marked(Mark.MISSING, _path(folder, each.sop)))
    rest = [each for each in here if each.sop not in met]
    if wanted is not None and nameless:  # which of them are wanted, nobody knows
        marks += [Marked(Mark.MISSING, _path(folder, sop)) for sop in sorted(set(wanted) - set(by_sop))]
        nameless = nameless[: sum(each.stem is None for each in rest)]
    if revised:
        left = len(nameless) - len(rest)
        marks += [Marked(Mark.DIFFERENT if each.tree != "gone" else Mark.MISSING, each.path) for each in rest]
        return Compared([*marks, *_missing(folder, left)])
    pairs, unpaired, left = _paired([each for each in rest if each.stem is None], nameless)
    marks += [_marked(mine, other, revised=False) for mine, other in pairs]
    alone = [*unpaired, *(each for each in rest if each.stem is not None)]
    marks += [Marked(Mark.BESIDES, each.path) for each in alone if each.tree != "gone"]
    return Compared([*marks, *_missing(folder, left)], unnamed=len(pairs) + max(0, left))


def besides(here: Sequence[Here]) -> list[Marked]:
    """Mark the instances of a series that the source does not have at all."""
    return [Marked(Mark.BESIDES, each.path) for each in here if each.tree != "gone"]


def by_tree(here: Sequence[Here]) -> list[Marked]:
    """Mark the instances of a series of which the source only says how many there are, and as many have landed."""
    return [_marked(each, Listed(), revised=False) for each in here]


def folder_error(folder: str) -> Marked:
    """Mark a series that nobody could be asked about."""
    return Marked(Mark.ERROR, f"{folder}/")


def _marked(mine: Here, other: Listed, *, revised: bool) -> Marked:
    if mine.tree == "gone":
        return Marked(Mark.MISSING, mine.path)
    if mine.tree == "unreadable":
        return Marked(Mark.ERROR, mine.path)
    if mine.tree == "changed" or revised or other.size_bytes not in {None, mine.size_bytes}:
        return Marked(Mark.DIFFERENT, mine.path)
    return Marked(Mark.SAME, mine.path, etag=other.etag)


def _paired(here: Sequence[Here], listed: Sequence[Listed]) -> tuple[list[tuple[Here, Listed]], list[Here], int]:
    """Pair by size, then by number; return the pairs, what is here alone, and how many are listed alone."""
    by_size: dict[int | None, list[Listed]] = {}
    for each in listed:
        by_size.setdefault(each.size_bytes, []).append(each)
    pairs: list[tuple[Here, Listed]] = []
    odd: list[Here] = []
    for mine in here:
        same = by_size.get(mine.size_bytes)
        if same:
            pairs.append((mine, same.pop()._replace(etag=None)))  # of several, nobody knows whose digest it is
        else:
            odd.append(mine)
    left = len(listed) - len(pairs)
    # A DICOMweb server may encode an instance in another way than the bucket has it: its size says nothing then.
    pairs += [(mine, Listed()) for mine in odd[:left]]
    return pairs, odd[left:], max(0, left - len(odd))


def _missing(folder: str, count: int) -> list[Marked]:
    return [Marked(Mark.MISSING, f"{folder}/", count)] if count > 0 else []


def _path(folder: str, sop: str) -> str:
    return instance_path(folder, instance_file(sop))
