"""The pure decisions: what goes next, whole or singly, what it adds up to, whether it fits."""

from collections import Counter
from itertools import islice

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.model import Routing
from dicomhaul.plan.estimate import Amount, Group, Room, shortage, summarise
from dicomhaul.plan.order import turns, weight
from dicomhaul.plan.split import REQUEST_COST_BYTES, Ask, ask_again, largest_whole_bytes

counts = st.none() | st.integers(0, 10**6)


def test_three_large_ones_and_a_small_one() -> None:
    assert list(islice(turns(), 8)) == ["largest", "largest", "largest", "smallest"] * 2


@given(st.integers(0, 10**13), counts)
def test_stated_bytes_are_the_weight(size_bytes: int, expected: int | None) -> None:
    assert weight(expected, size_bytes) == size_bytes


def test_without_bytes_the_count_must_do() -> None:
    assert weight(200, None) > weight(100, None) > weight(None, None) > 0


@pytest.mark.parametrize(
    ("landed", "landed_bytes", "expected", "ask"),
    [
        (0, 0, None, Ask.WHOLE),
        (0, 0, 10, Ask.WHOLE),
        (3, 10**9, None, Ask.WHOLE),
        (9, REQUEST_COST_BYTES, 10, Ask.WHOLE),
        (9, REQUEST_COST_BYTES + 1, 10, Ask.SINGLY),
        (5, 5 * REQUEST_COST_BYTES, 10, Ask.WHOLE),
        (6, 5 * REQUEST_COST_BYTES, 10, Ask.SINGLY),
        (12, REQUEST_COST_BYTES, 10, Ask.WHOLE),  # more than expected: one may be missing all the same
    ],
)
def test_the_cheaper_way(landed: int, landed_bytes: int, expected: int | None, ask: Ask) -> None:
    assert ask_again(landed, landed_bytes, expected) is ask


@given(st.integers(1, 1000), st.integers(0, 10**10), st.integers(1, 2000))
def test_what_has_landed_never_makes_whole_more_attractive(landed: int, landed_bytes: int, expected: int) -> None:
    if ask_again(landed, landed_bytes, expected) is Ask.SINGLY:
        assert ask_again(landed, landed_bytes + 1, expected) is Ask.SINGLY
        assert ask_again(landed + 1, landed_bytes, expected) is Ask.SINGLY


def test_the_smaller_limit_holds() -> None:
    assert largest_whole_bytes(response_bytes=None, series_bytes=100) == 100
    assert largest_whole_bytes(response_bytes=30, series_bytes=100) == 30
    assert largest_whole_bytes(response_bytes=300, series_bytes=100) == 100


groups = st.builds(
    Group,
    st.none() | st.sampled_from(["a", "b"]),
    st.none() | st.sampled_from(["CC BY 4.0", "CC BY-NC 3.0"]),
    st.none() | st.sampled_from(["CT", "MR"]),
    st.sampled_from([Routing(("x", "y"), "why"), Routing(("x",), "why else"), Routing(("y",), ""), Routing((), "no")]),
    st.integers(1, 1000),
    counts,
    counts,
)


@given(st.lists(groups, max_size=8))
def test_every_table_adds_up_to_the_total(groups: list[Group]) -> None:
    summary = summarise(groups, skipped=Counter({"already there": 3}))
    rows = [group for group in groups if group.routing.routes]
    total = summary.total
    assert total.series == sum(row.series for row in rows)
    assert sum(summary.skipped.values()) == 3 + sum(row.series for row in groups if not row.routing.routes)
    sizes = [row.size_bytes for row in rows]
    assert total.size_bytes == (None if None in sizes else sum(size or 0 for size in sizes))
    for table in (summary.collections, summary.modalities, summary.routes):
        assert list(table) == sorted(table)
    reasons = {(name, reason): each for name, table in summary.reasons.items() for reason, each in table.items()}
    for amounts in (
        summary.collections.values(),
        summary.modalities.values(),
        summary.routes.values(),
        reasons.values(),
    ):
        assert sum(amount.series for amount in amounts) == total.series
        instances = [amount.instances for amount in amounts]
        assert (None in instances) == (total.instances is None)
        if total.instances is not None:
            assert sum(count or 0 for count in instances) == total.instances
    assert set(reasons) == {(row.routing.routes[0], row.routing.reason) for row in rows}
    for table in summary.reasons.values():
        assert [amount.series for amount in table.values()] == sorted(
            (amount.series for amount in table.values()), reverse=True
        )
    assert sum(summary.licenses.values()) == sum(row.series for row in rows if row.license)


def test_what_nobody_can_give_is_skipped_with_its_reason() -> None:
    group = Group("a", None, "CT", Routing((), "idc-google does not hold the bucket b"), 5, 50, 500)
    summary = summarise([group])
    assert summary.skipped == {"idc-google does not hold the bucket b": 5}
    assert (summary.total, summary.routes, summary.collections) == (Amount(), {}, {})


def test_an_amount_as_json() -> None:
    assert Amount(1, None, 3).as_json() == {"series": 1, "instances": None, "bytes": 3}


@pytest.mark.parametrize(
    ("amount", "room", "short_of"),
    [
        (Amount(1, 10, 10**6), Room(10**9, 1000), None),
        (Amount(1, 10, 10**9), Room(10**9, 1000), "bytes"),
        (Amount(1, 10**6, None), Room(10**9, None), "bytes"),  # blocks of the filesystem alone
        (Amount(1, 1000, 10**6), Room(10**12, 1000), "inodes"),
        (Amount(400, None, None), Room(10**12, 1000), None),
        (Amount(600, None, None), Room(10**12, 1000), "inodes"),
        (Amount(1, 1000, 10**6), Room(10**12, None), None),
        (Amount(1, None, None), Room(0, None), None),  # nobody states anything: try
        (Amount(0, 0, 0), Room(0, 0), None),
    ],
)
def test_whether_it_fits(amount: Amount, room: Room, short_of: str | None) -> None:
    problem = shortage(amount, room)
    assert (problem is None) if short_of is None else (problem is not None and short_of in problem)
