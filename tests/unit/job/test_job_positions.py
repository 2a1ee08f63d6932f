"""Lines of keys: those that an editor shows, however the file is written."""

import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.job.positions import line_of_each_key


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("a = 1\n", {("a",): 1}),
        ("# [x]\n\n[t]\n  a = 1\nb = 2", {("t",): 3, ("t", "a"): 4, ("t", "b"): 5}),
        ("[t]\na = [\n  1, # ]\n  2,\n]\nb = 1\n", {("t",): 1, ("t", "a"): 2, ("t", "b"): 6}),
        ('a = """\n[t]\nb = 1\n"""\nc = 1', {("a",): 1, ("c",): 5}),
        ("a = '''\nb = 1'''\nc = 1", {("a",): 1, ("c",): 3}),
        ("a = {b = 1, c = {d = 2}}\n", {("a",): 1, ("a", "b"): 1, ("a", "c"): 1, ("a", "c", "d"): 1}),
        ('["x y".z]\n"a.b" = 1\nc.d = 2', {("x y", "z"): 1, ("x y", "z", "a.b"): 2,
                                           ("x y", "z", "c"): 3, ("x y", "z", "c", "d"): 3}),
        ('a = "]"\n[b]\n', {("a",): 1, ("b",): 2}),
        ("[a]\n[b]\n[a.c]\nd = 1", {("a",): 1, ("b",): 2, ("a", "c"): 3, ("a", "c", "d"): 4}),
    ],
)  # fmt: skip
def test_each_key_is_where_it_begins(text: str, expected: dict[tuple[str, ...], int]) -> None:
    tomllib.loads(text)
    assert line_of_each_key(text) == expected


_VALUES = st.sampled_from(
    ["1", '"]"', "'[x]'", "[\n1,\n2\n]", '"""\n[t]\na=1\n"""', "{x = [1]}", "[[1],\n[2]]", "1979-05-27"]
)


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 2), _VALUES), max_size=12))
def test_whatever_stands_before_a_key_its_line_is_right(entries: list[tuple[bool, int, str]]) -> None:
    text, table = "", ("",)
    expected: dict[tuple[str, ...], int] = {}
    for number, (opens, blank, value) in enumerate(entries):
        text += "\n# = [\n" * blank
        if opens:
            table = (f"t{number}",)
            expected[table] = text.count("\n") + 1
            text += f"[t{number}]\n"
        expected[(*filter(None, table), f"k{number}")] = text.count("\n") + 1
        text += f"k{number} = {value}\n"
    tomllib.loads(text)
    found = line_of_each_key(text)
    assert {path: line for path, line in found.items() if path[-1] != "x"} == expected
