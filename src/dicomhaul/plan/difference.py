"""What is to happen to one series, between what a mirror holds and what its cohort wants now. Pure.

One truth for a plan that is carried out, one that is only shown, and the ledger's SQL, which calls `judge`.

| held | wanted | so |
|---|---|---|
| no | yes | ADD |
| no, but its files have not left yet, of the same revision | yes | RESTORE |
| no, but its files have not left yet, of another revision | yes | REVISE |
| yes | by no cohort any more | WITHDRAW |
| of one revision | of another one | REVISE |
| without a revision | of a revision that is stated now | GROW |
| single instances | all of it | GROW |
| all of it, so many | all of it, more; or a number is stated for the first time | GROW |
| all of it, so many | all of it, fewer | ASK where removals are followed, else GROW |
| complete | all of it; a server was searched, and states neither number nor revision | ASK |
| of one revision, in a folder | of the same, the present one, in another folder, where removals are followed | MOVE |
| otherwise | | KEEP |

GROW: what is there stays, what is missing comes. ASK: the source's own list of its instances decides what comes and
what goes. REVISE: the new revision comes beside the old one, and takes its place once it is complete. MOVE: what a
revision is filed under has changed (IDC renames a collection), so its folder is called otherwise. Of a prior revision
the index no longer says all that a layout may name, so it stays where it is.
"""

import enum
from typing import Final, NamedTuple


class Action(enum.IntEnum):
    """What happens to a series. The numbers are those of the ledger's SQL."""

    KEEP = 0
    ADD = 1
    RESTORE = 2
    REVISE = 3
    GROW = 4
    ASK = 5
    WITHDRAW = 6
    MOVE = 7


class Held(NamedTuple):
    """What a mirror has of a series.

    Attributes:
        revision: which one; None: nobody stated any.
        expected: instances that the whole series has, as far as that is known.
        whole: all of them are wanted, not only some.
        complete: they are there.
        leaving: nobody wanted it any more, and its files have not left yet.
        folder: where it belongs; None: wherever it is.
    """

    revision: str | None = None
    expected: int | None = None
    whole: bool = True
    complete: bool = True
    leaving: bool = False
    folder: str | None = None


class Wanted(NamedTuple):
    """What a cohort wants of a series: as `Held`."""

    revision: str | None = None
    expected: int | None = None
    whole: bool = True
    folder: str | None = None


REASONS: Final = {
    Action.KEEP: "it is here",
    Action.ADD: "it is new",
    Action.RESTORE: "it was about to leave, and is wanted again",
    Action.REVISE: "the source has another revision",
    Action.GROW: "more of it is wanted",
    Action.ASK: "the source's list of its instances decides",
    Action.WITHDRAW: "no cohort wants it any more",
    Action.MOVE: "it belongs in another folder now",
}


def judge(  # noqa: PLR0911 - one way out for each row of the table
    held: Held | None, wanted: Wanted | None, *, searched: bool = False, following: bool = False
) -> Action:
    """Judge one pair.

    Args:
        held: what is here; None: nothing.
        wanted: what the cohorts want now; None: nothing.
        searched: `wanted` is a server's answer of now, which may be another than the last one.
        following: what the source has no more is removed, too.
    """
    if wanted is None:
        return Action.KEEP if held is None else Action.WITHDRAW
    if held is None:
        return Action.ADD
    if held.leaving:
        return Action.RESTORE if held.revision == wanted.revision else Action.REVISE
    if wanted.revision is not None and wanted.revision != held.revision:
        return Action.GROW if held.revision is None else Action.REVISE
    if not wanted.whole:
        return Action.KEEP
    if not held.whole:
        return Action.GROW
    action = _by_number(held, wanted, searched=searched, following=following)
    moves = following and wanted.revision is not None and wanted.folder not in {None, held.folder}
    return Action.MOVE if action is Action.KEEP and moves else action


def _by_number(held: Held, wanted: Wanted, *, searched: bool, following: bool) -> Action:
    if wanted.expected is None:
        unsure = searched and wanted.revision is None and held.complete
        return Action.ASK if unsure else Action.KEEP
    if wanted.expected == held.expected:
        return Action.KEEP
    fewer = held.expected is not None and wanted.expected < held.expected
    return Action.ASK if fewer and following else Action.GROW


class Difference(NamedTuple):
    """What came of judging a whole cohort: series that are new, that have another revision, that leave."""

    added: int = 0
    revised: int = 0
    withdrawn: int = 0
