"""What happens to a series: the table, row by row, and what must hold whatever is held and wanted."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.plan.difference import REASONS, Action, Held, Wanted, judge

revisions = st.sampled_from([None, "a", "b"])
counts = st.none() | st.integers(1, 3)
folders = st.sampled_from(["x", "y"])
held = st.builds(Held, revisions, counts, st.booleans(), st.booleans(), st.just(False), folders)
wanted = st.builds(Wanted, revisions, counts, st.booleans(), folders)


@pytest.mark.parametrize(
    ("there", "now", "action"),
    [
        (None, None, Action.KEEP),
        (None, Wanted(), Action.ADD),
        (Held(), None, Action.WITHDRAW),
        (Held("a", leaving=True), Wanted("a"), Action.RESTORE),
        (Held(None, leaving=True), Wanted(None), Action.RESTORE),
        (Held("a", leaving=True), Wanted("b"), Action.REVISE),
        (Held("a", 3), Wanted("b", 3), Action.REVISE),
        (Held("a", 3), Wanted("b", whole=False), Action.REVISE),
        (Held(None, 3), Wanted("b", 3), Action.GROW),
        (Held("a", 2, whole=False), Wanted("a", 9), Action.GROW),
        (Held("a", 9), Wanted("a", 2, whole=False), Action.KEEP),
        (Held(None, 3), Wanted(None, 4), Action.GROW),
        (Held(None, None), Wanted(None, 4), Action.GROW),
        (Held(None, 3), Wanted(None, 3), Action.KEEP),
        (Held(None, 3), Wanted(None, None), Action.KEEP),
    ],
)
@pytest.mark.parametrize("following", [False, True])
def test_the_table(*, there: Held | None, now: Wanted | None, action: Action, following: bool) -> None:
    assert judge(there, now, following=following) is action


@pytest.mark.parametrize(("following", "action"), [(True, Action.ASK), (False, Action.GROW)])
def test_what_became_fewer_is_asked_for_where_removals_are_followed(*, following: bool, action: Action) -> None:
    assert judge(Held(None, 4), Wanted(None, 3), following=following) is action


@pytest.mark.parametrize(("complete", "action"), [(True, Action.ASK), (False, Action.KEEP)])
def test_a_server_that_states_no_number_is_asked_for_its_list(*, complete: bool, action: Action) -> None:
    assert judge(Held(None, 4, complete=complete), Wanted(), searched=True) is action


@pytest.mark.parametrize(
    ("revision", "following", "action"),
    [("a", True, Action.MOVE), ("a", False, Action.KEEP), (None, True, Action.KEEP)],
)
def test_what_is_filed_elsewhere_moves_where_an_index_says_so(
    *, revision: str | None, following: bool, action: Action
) -> None:
    there, now = Held(revision, 3, folder="old/1"), Wanted(revision, 3, folder="renamed/1")
    assert judge(there, now, following=following) is action
    part = Wanted(revision, 1, whole=False, folder="renamed/1")
    assert judge(there, part, following=following) is Action.KEEP


@given(there=held, now=wanted, searched=st.booleans(), following=st.booleans())
def test_what_is_done_settles_it(*, there: Held, now: Wanted, searched: bool, following: bool) -> None:
    """Once an action was carried out, the same cohort asks for nothing more; ASK alone may come again, of a search."""
    action = judge(there, now, searched=searched, following=following)
    assert action in REASONS
    after = there
    if action in {Action.REVISE, Action.GROW, Action.ASK}:
        whole = there.whole or now.whole
        expected = now.expected if now.whole else there.expected if action is not Action.REVISE else None
        folder = now.folder if action is Action.REVISE else there.folder
        after = Held(now.revision or there.revision, expected, whole, folder=folder)
    elif action is Action.MOVE:
        after = there._replace(folder=now.folder)
    again = judge(after, now, searched=False, following=following)
    assert again is Action.KEEP or (again is Action.MOVE and action in {Action.GROW, Action.ASK})


@given(there=held, now=wanted, searched=st.booleans(), following=st.booleans())
def test_nothing_that_is_wanted_leaves(*, there: Held, now: Wanted, searched: bool, following: bool) -> None:
    action = judge(there, now, searched=searched, following=following)
    assert action not in {Action.WITHDRAW, Action.ADD, Action.RESTORE}
    if there.revision == now.revision:
        assert action is not Action.REVISE
