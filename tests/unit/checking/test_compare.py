"""The table of `checking.compare`, line by line."""

from collections import Counter

import pytest

from dicomhaul.checking.compare import Compared, Here, InTree, Listed, Mark, compare


def here(sop: str, tree: InTree = "there", *, stem: str | None = None, size: int = 10) -> Here:
    return Here(sop, f"f/{sop}.dcm", stem, tree, size)


def compared(
    mine: list[Here], listed: list[Listed], *, revised: bool = False, wanted: set[str] | None = None
) -> Compared:
    return compare(mine, listed, folder="f", revised=revised, wanted=wanted)


def lines(found: Compared) -> list[str]:
    return sorted(f"{each.mark} {each.path}" + (f" x{each.instances}" * (each.instances > 1)) for each in found.marks)


@pytest.mark.parametrize(
    ("tree", "revised", "mark"),
    [
        ("there", False, "="),
        ("changed", False, "*"),
        ("gone", False, "+"),
        ("unreadable", False, "!"),
        ("there", True, "*"),
        ("gone", True, "+"),
    ],
)
@pytest.mark.parametrize("listed", [Listed(sop="1"), Listed(stem="s", size_bytes=10)])
def test_what_the_source_has(*, tree: InTree, revised: bool, mark: str, listed: Listed) -> None:
    if revised and listed.stem is not None:
        mark = "=" if tree == "there" else mark  # the very object is part of the new revision, too
    assert lines(compared([here("1", tree, stem="s")], [listed], revised=revised)) == [f"{mark} f/1.dcm"]


def test_what_only_one_of_them_has() -> None:
    assert lines(compared([here("1")], [Listed(sop="2")])) == ["+ f/2.dcm", "- f/1.dcm"]
    assert lines(compared([here("1", "gone")], [])) == []
    assert lines(compared([], [Listed(sop="2")])) == ["+ f/2.dcm"]


def test_an_object_of_another_size_differs() -> None:
    assert lines(compared([here("1", stem="s")], [Listed(stem="s", size_bytes=11)])) == ["* f/1.dcm"]


def test_objects_that_nobody_can_name_are_paired_by_size_and_then_by_number() -> None:
    mine = [here("1", size=10), here("2", size=20), here("3", size=99)]
    listed = [Listed(stem=stem, size_bytes=size) for stem, size in (("a", 20), ("b", 10), ("c", 30), ("d", 40))]
    found = compared(mine, listed)
    assert lines(found) == ["+ f/", "= f/1.dcm", "= f/2.dcm", "= f/3.dcm"]
    assert found.unnamed == 4
    assert lines(compared([*mine, here("4", "gone")], listed)) == ["+ f/4.dcm", "= f/1.dcm", "= f/2.dcm", "= f/3.dcm"]
    assert lines(compared(mine, listed[:2])) == ["- f/3.dcm", "= f/1.dcm", "= f/2.dcm"]
    assert lines(compared([], listed)) == ["+ f/ x4"]


def test_an_object_that_is_known_is_not_paired_with_another_of_its_size() -> None:
    found = compared([here("1", stem="gone from the bucket")], [Listed(stem="other", size_bytes=10)])
    assert lines(found) == ["+ f/", "- f/1.dcm"]


def test_of_a_new_revision_what_it_has_more_is_missing() -> None:
    mine = [here("1", stem="a"), here("2", stem="b")]
    listed = [Listed(stem=stem, size_bytes=10) for stem in "axyz"]
    assert lines(compared(mine, listed, revised=True)) == ["* f/2.dcm", "+ f/ x2", "= f/1.dcm"]


def test_only_what_is_wanted_is_missing() -> None:
    listed = [Listed(sop=sop) for sop in "123"]
    assert lines(compared([here("1")], listed, wanted={"1", "2"})) == ["+ f/2.dcm", "= f/1.dcm"]
    objects = [Listed(stem=stem, size_bytes=10) for stem in "abc"]
    assert lines(compared([here("1", stem="a")], objects, wanted={"1", "2"})) == ["+ f/2.dcm", "= f/1.dcm"]
    assert lines(compared([here("1")], objects, wanted={"1"})) == ["= f/1.dcm"]


def test_each_instance_counts_once() -> None:
    mine = [here(str(n), stem=f"s{n}" if n % 2 else None) for n in range(10)]
    listed = [Listed(stem=f"s{n}", size_bytes=10) for n in range(10)]
    assert Counter(each.mark for each in compared(mine, listed).marks) == {Mark.SAME: 10}
