"""Two copies of one series: whatever they hold, the result is proven where it says so, and stable."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.model import State
from dicomhaul.record.copies import Combined, Copy, Row, combine

TIMES = ("2026-01-05", "2026-01-06")
SOPS = ("1", "2", "3")


def row(**said: Any) -> dict[str, Any]:
    return {
        "id": 1, "study": "1", "series": "1.1", "collection": None, "revision": None, "folder": "a", "expected": None,
        "size_bytes": None, "whole": 1, "cut": 0, "route": 1, "weight": 10, "state": 0, "proof": None, "reason": None,
        "came_by": None,
    } | said  # fmt: skip


def instance(sop: str, state: int, content: str = "x") -> dict[str, Any]:
    there = state == State.LANDED
    return {
        "sop": sop,
        "size_bytes": 1 if there else None,
        "xxh3": content.encode() if there else None,
        "state": state,
        "reason": "gone" if state == State.FAILED else None,
        "checked": 2 if there else 0,
        "stem": None,
    }


def landed(*sops: str, content: str = "x") -> dict[str, Row]:
    return {sop: instance(sop, 1, content) for sop in sops}


@st.composite
def copies(draw: st.DrawFn) -> Copy:
    """A copy as a ledger can hold it: complete only where nothing that it names is missing."""
    instances = {
        sop: instance(sop, draw(st.integers(0, 2)), draw(st.sampled_from("xy")))
        for sop in draw(st.sets(st.sampled_from(SOPS)))
    }
    whole = draw(st.integers(0, 1))
    states = {each["state"] for each in instances.values()}
    complete = states <= {1} and draw(st.booleans()) and bool(instances)
    state = 1 if complete else 2 if 2 in states and draw(st.booleans()) else 0
    return Copy(
        row(
            whole=whole,
            state=state,
            proof="count" if complete else None,
            came_by="r" if complete else None,
            reason="gone" if state == 2 else None,
            revision=draw(st.sampled_from([None, "a", "b"])),
            expected=(len(instances) if complete else 3) if not whole or draw(st.booleans()) else None,
            folder=draw(st.sampled_from("ab")),
            cut=draw(st.integers(0, 1)),
            collection=draw(st.sampled_from([None, "c"])),
        ),
        instances,
        draw(st.sampled_from(TIMES)),
    )


def again(made: Combined, one: Copy, other: Copy) -> Copy:
    return Copy(made.row, made.instances, max(one.asked_at, other.asked_at))


@given(ours=copies(), theirs=copies())
def test_whatever_is_combined(ours: Copy, theirs: Copy) -> None:
    made = combine(ours, theirs, one_tree=False)
    assert (made.row["id"], made.row["folder"]) == (ours.row["id"], ours.row["folder"])
    there = {sop for sop, each in made.instances.items() if each["state"] == State.LANDED}
    if made.row["state"] == State.LANDED:
        assert there == set(made.instances)
        assert made.row["proof"] is not None
        assert made.row["reason"] is None
    if None in (ours.row["revision"], theirs.row["revision"]) or ours.row["revision"] == theirs.row["revision"]:
        had = {sop for copy in (ours, theirs) for sop, each in copy.instances.items() if each["state"] == State.LANDED}
        assert there == had
    for sop in there:
        copy = theirs if sop in made.taken else ours
        assert copy.instances[sop]["xxh3"] == made.instances[sop]["xxh3"]
    assert made.replaced <= made.taken
    assert all(ours.instances[sop]["state"] == State.LANDED for sop in made.replaced)


@given(ours=copies(), theirs=copies())
def test_combining_again_changes_nothing(ours: Copy, theirs: Copy) -> None:
    made = combine(ours, theirs, one_tree=False)
    once_more = combine(again(made, ours, theirs), theirs, one_tree=False)
    assert (once_more.row, once_more.instances, once_more.taken) == (made.row, made.instances, frozenset())


@pytest.mark.parametrize(
    ("ours", "theirs", "state", "expected"),
    [
        pytest.param({"state": 1, "expected": 2}, {"expected": 2}, 1, 2, id="one is complete"),
        pytest.param({"state": 1, "expected": 2}, {"expected": 3}, 0, 3, id="the newer one states more"),
        pytest.param({"state": 1, "expected": 2}, {}, 1, 2, id="the newer one states nothing"),
        pytest.param({"state": 1, "expected": 2, "whole": 0}, {"expected": 3}, 0, 3, id="only a selection is complete"),
        pytest.param({"expected": 3}, {"state": 1, "expected": 2, "whole": 0}, 0, 3, id="the other way round"),
        pytest.param({"state": 2, "reason": "gone"}, {"state": 2, "reason": "gone"}, 2, None, id="both failed"),
        pytest.param({"state": 2, "reason": "gone"}, {}, 0, None, id="one is still to be tried"),
    ],
)
def test_the_state(ours: dict[str, Any], theirs: dict[str, Any], state: int, expected: int | None) -> None:
    copies = [
        Copy(row(proof="count" if said.get("state") == 1 else None, **said), landed("1", "2"), at)
        for said, at in ((ours, TIMES[0]), (theirs, TIMES[1]))
    ]
    made = combine(*copies, one_tree=False)
    assert (made.row["state"], made.row["expected"]) == (state, expected)


def test_what_a_user_named_is_wanted_though_the_whole_is_complete() -> None:
    whole = Copy(row(state=1, proof="count", expected=1), landed("1"), TIMES[1])
    selection = Copy(row(whole=0, expected=1), {"9": instance("9", 0)}, TIMES[0])
    made = combine(whole, selection, one_tree=False)
    assert (made.row["state"], sorted(made.instances)) == (0, ["1", "9"])


def test_what_an_inventory_once_named_is_not() -> None:
    whole = Copy(row(state=1, proof="count", expected=1), landed("1"), TIMES[1])
    begun = Copy(row(), {"9": instance("9", 0)}, TIMES[0])
    made = combine(whole, begun, one_tree=False)
    assert (made.row["state"], sorted(made.instances)) == (1, ["1"])


def test_a_selection_of_a_newer_revision_leaves_the_counts_open() -> None:
    whole = Copy(row(state=1, proof="count", expected=2, size_bytes=20, weight=20, revision="a"), landed("1"), TIMES[0])
    newer = Copy(row(state=1, proof="count", whole=0, expected=1, revision="b"), landed("2"), TIMES[1])
    made = combine(whole, newer, one_tree=False)
    assert {key: made.row[key] for key in ("revision", "whole", "expected", "size_bytes", "state")} == {
        "revision": "b", "whole": 1, "expected": None, "size_bytes": None, "state": 0
    }  # fmt: skip
    assert sorted(made.instances) == ["2"]


def test_two_selections_of_two_revisions_stay_wanted() -> None:
    older = Copy(row(state=1, proof="count", whole=0, expected=1, revision="a"), landed("1"), TIMES[0])
    newer = Copy(row(state=1, proof="count", whole=0, expected=1, revision="b"), landed("2"), TIMES[1])
    made = combine(older, newer, one_tree=False)
    assert {sop: each["state"] for sop, each in made.instances.items()} == {"1": 0, "2": 1}
    assert (made.row["state"], made.row["expected"]) == (0, 2)


def test_the_stronger_check_of_the_same_bytes_is_kept() -> None:
    ours = Copy(row(), {"1": {**instance("1", 1), "checked": 1}}, TIMES[0])
    theirs = Copy(row(), {"1": {**instance("1", 1), "checked": 3}}, TIMES[1])
    made = combine(ours, theirs, one_tree=False)
    assert (made.instances["1"]["checked"], made.taken) == (3, frozenset())
