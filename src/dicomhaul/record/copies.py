"""What two ledgers say of one series, made one. Pure.

A copy of a series is its row and the rows of its instances. Of two copies the one that was asked for last is the newer.

| the copies | what comes of it |
|---|---|
| of two revisions | the newer copy's instances; what landed of the other revision is no part of the series any more |
| of one revision, or nobody states it | the instances of both |
| one has an instance, the other lacks it | it has landed |
| both have it, with the same bytes | it has landed |
| both have it, with other bytes | the newer copy's bytes; in one tree, with one file for both, it is wanted again |
| one copy is complete | so is the series, unless the newer copy states another count, or something named is missing |

Uniting the result with either copy again changes nothing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from dicomhaul.model import State

Row = Mapping[str, Any]  # column -> value

_WANTED: Final = {"size_bytes": None, "xxh3": None, "state": int(State.PLANNED), "reason": None, "checked": 0}
_OURS: Final = frozenset({"id", "folder"})  # say where things are at this destination
_COUNTS: Final = frozenset({"expected", "size_bytes"})  # true of one revision, and of the whole or of a selection


@dataclass(frozen=True, slots=True)
class Copy:
    """What one ledger says of a series: rows of the tables `series` and, by SOP Instance UID, `instance`.

    `asked_at`: when the newest of the cohorts that want it was planned (ISO 8601, UTC).
    """

    row: Row
    instances: Mapping[str, Row]
    asked_at: str

    @property
    def whole(self) -> bool:
        """Whether all of it is wanted."""
        return bool(self.row["whole"])

    def is_in(self, state: State) -> bool:
        """Whether the series is in this state."""
        return bool(self.row["state"] == state)


class Combined(NamedTuple):
    """The series as the united ledger has it.

    `taken`: instances whose file is that of the other copy; `replaced`: those of them of which our file has other
    bytes; `contested`: the copies disagreed about a revision or about bytes.
    """

    row: dict[str, Any]
    instances: dict[str, Row]
    taken: frozenset[str]
    replaced: frozenset[str]
    contested: bool


def combine(ours: Copy, theirs: Copy, *, one_tree: bool) -> Combined:
    """Make one series of two copies. `one_tree`: the files of both lie in one folder, so that each is there once."""
    theirs_newer = (theirs.asked_at, theirs.is_in(State.LANDED)) > (ours.asked_at, ours.is_in(State.LANDED))
    newer, older = (theirs, ours) if theirs_newer else (ours, theirs)
    revised = None not in (newer.row["revision"], older.row["revision"]) and (
        newer.row["revision"] != older.row["revision"]
    )
    differing = frozenset(
        sop for sop, row in ours.instances.items() if sop in theirs.instances and _differ(row, theirs.instances[sop])
    )
    whole = newer.whole or older.whole
    if revised:
        instances = dict(newer.instances)
        if not whole:  # single instances that were wanted stay wanted: by name, whatever the revision
            for sop, row in older.instances.items():
                instances.setdefault(sop, {**row, **_WANTED, "stem": None})
    else:
        instances = _union(ours, theirs, newer)
    if one_tree:
        for sop in differing & instances.keys():
            instances[sop] = {**instances[sop], **_WANTED}
    row = _row(newer, older, revised=revised)
    done = _done(row, [newer] if revised else [newer, older])
    if done is ours and ours.whole and theirs.whole:  # what an inventory of theirs once named is not wanted any more
        instances = {sop: each for sop, each in instances.items() if sop in ours.instances or _landed(each)}
    if not whole:
        row["expected"] = len(instances)
    _settle(row, instances, done, newer, older if not revised else newer)
    row |= {name: ours.row[name] for name in _OURS}
    landed = {sop for sop, each in instances.items() if _landed(each)}
    taken = frozenset(sop for sop in landed if _is_theirs(sop, instances[sop], ours))
    return Combined(row, instances, taken, taken & differing, revised or bool(differing))


def _union(ours: Copy, theirs: Copy, newer: Copy) -> dict[str, Row]:
    united: dict[str, Row] = {}
    for sop in (*ours.instances, *(sop for sop in theirs.instances if sop not in ours.instances)):
        copies = [copy.instances[sop] for copy in (ours, theirs) if sop in copy.instances]
        landed = [each for each in copies if _landed(each)]
        planned = [each for each in copies if each["state"] == State.PLANNED]
        chosen = (landed or planned or copies)[0]
        if len(landed) > 1:
            if _differ(*landed):
                chosen = newer.instances[sop]
            else:  # the same bytes: what was proven of them once is proven
                chosen = {**chosen, "checked": max(each["checked"] for each in landed)}
        united[sop] = chosen
    return united


def _row(newer: Copy, older: Copy, *, revised: bool) -> dict[str, Any]:
    row = {
        name: older.row[name] if value is None and name not in _COUNTS else value for name, value in newer.row.items()
    }
    row["whole"] = int(newer.whole or older.whole)
    row["cut"] = max(newer.row["cut"], older.row["cut"])
    row["weight"] = (newer if newer.whole or not older.whole else older).row["weight"]
    if row["whole"]:
        stating = [copy for copy in ([newer] if revised else [newer, older]) if copy.whole]
        for name in _COUNTS:
            row[name] = next((copy.row[name] for copy in stating if copy.row[name] is not None), None)
    elif row["size_bytes"] is None and not revised:
        row["size_bytes"] = older.row["size_bytes"]
    return row


def _done(row: Row, copies: list[Copy]) -> Copy | None:
    """The copy that is complete as `row` wants the series."""
    for copy in copies:
        as_wanted = not row["whole"] or (copy.whole and row["expected"] in (None, copy.row["expected"]))
        if copy.is_in(State.LANDED) and as_wanted:
            return copy
    return None


def _settle(row: dict[str, Any], instances: Mapping[str, Row], done: Copy | None, newer: Copy, older: Copy) -> None:
    """Set the state, and what belongs to it."""
    row |= {"proof": None, "came_by": None, "reason": None}
    states = {each["state"] for each in instances.values()}
    if done is not None and states <= {State.LANDED}:
        row |= {name: done.row[name] for name in ("state", "proof", "came_by", "cut")}
        return
    failed = next((copy for copy in (newer, older) if copy.is_in(State.FAILED)), None)
    unfinished = any(copy.is_in(State.PLANNED) for copy in (newer, older))
    if failed is None or unfinished or State.PLANNED in states:
        row["state"] = int(State.PLANNED)
    else:
        row |= {"state": int(State.FAILED), "reason": failed.row["reason"]}


def _landed(row: Row) -> bool:
    return bool(row["state"] == State.LANDED)


def _differ(one: Row, other: Row) -> bool:
    return _landed(one) and _landed(other) and bool(one["xxh3"] != other["xxh3"])


def _is_theirs(sop: str, row: Row, ours: Copy) -> bool:
    known = ours.instances.get(sop)
    return known is None or not _landed(known) or bool(known["xxh3"] != row["xxh3"])
