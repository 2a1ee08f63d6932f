"""A set of numbers, kept as ranges, against Python's own set."""

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.feed.numbers import Numbers

FEW = st.integers(0, 40)


@given(st.lists(FEW), st.lists(st.tuples(FEW, FEW).map(lambda pair: (min(pair), max(pair)))))
def test_it_is_a_set(numbers: list[int], ranges: list[tuple[int, int]]) -> None:
    ours, theirs = Numbers(ranges), {each for first, last in ranges for each in range(first, last + 1)}
    for number in numbers:
        ours.add(number)
    theirs |= set(numbers)
    assert [number for number in range(42) if number in ours] == sorted(theirs)
    held = ours.ranges()
    assert all(last + 1 < first for (_, last), (first, _) in itertools.pairwise(held))
    assert Numbers.from_json(json.loads(json.dumps(held))).ranges() == held
    assert ours.united(Numbers([(3, 5)])).ranges() == Numbers([*held, (3, 5)]).ranges()


def test_a_feed_that_counts_upwards_is_one_range() -> None:
    numbers = Numbers()
    for number in range(10_000):
        numbers.add(number)
    assert numbers.ranges() == [(0, 9_999)]


def test_of_too_many_ranges_the_lowest_are_forgotten() -> None:
    numbers = Numbers(most=3)
    for number in (1, 3, 5, 7):
        numbers.add(number)
    assert numbers.ranges() == [(3, 3), (5, 5), (7, 7)]
    assert numbers.ranges(2) == [(5, 5), (7, 7)]


@pytest.mark.parametrize(
    "stored", [None, {}, [1], [[1]], [[1, 2, 3]], [["1", 2]], [[True, 2]], [[-1, 2]], [[0, 1 << 63]]]
)
def test_what_is_no_list_of_ranges_is_refused(stored: object) -> None:
    with pytest.raises(ValueError, match="no "):
        Numbers.from_json(stored)
