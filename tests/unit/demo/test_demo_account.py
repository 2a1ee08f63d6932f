"""The demo's account: numbers from two ledgers and a journal, and a sentence for each thing that did not hold."""

from typing import Any

import pytest

from dicomhaul.demo import Account, Snapshot, account_of

A1, A2, B1, B2, C1 = ("A", "1"), ("A", "2"), ("B", "1"), ("B", "2"), ("C", "1")
HELD = {name: (10, bytes([number] * 16)) for number, name in enumerate((A1, A2, B1, B2, C1))}
AT_KILL = Snapshot({name: HELD[name] for name in (A1, A2, B1)}, frozenset({"A"}), 5)
AT_END = Snapshot(HELD, frozenset("ABC"), 5)


def entry(path: str, *, fault: str = "", status: int = 200, body_bytes: int = 10) -> dict[str, Any]:
    level = {2: "study", 4: "series", 6: "instance"}.get(path.count("/"), "search")
    return {"path": path, "level": level, "fault": fault, "status": status, "body_bytes": body_bytes}


SERIES_A = "/studies/1/series/A"
SERIES_B = "/studies/1/series/B"
SERIES_C = "/studies/1/series/C"
BEFORE = [
    entry(SERIES_A, fault="status", status=503, body_bytes=0),
    entry(SERIES_A),
    entry(SERIES_B, fault="cut"),
]
AFTER = [
    entry(SERIES_C, fault="status", status=429, body_bytes=0),
    entry(SERIES_C),
    entry(SERIES_B + "/instances/2"),
]


def account(
    *, at_kill: Snapshot = AT_KILL, at_end: Snapshot = AT_END, after: list[dict[str, Any]] | None = None
) -> Account:
    journal = BEFORE + (AFTER if after is None else after)
    return account_of(at_kill, at_end, journal, until_kill=len(BEFORE))


def test_a_demo_that_holds() -> None:
    assert account() == Account(
        expected=5,
        before=3,
        after=2,
        requests_before=3,
        requests_after=3,
        again=0,
        faults={"503": 1, "429": 1, "cut": 1},
        size_bytes=50,
        sent_bytes=40,
        broken=(),
    )


def test_a_series_that_had_come_in_part_may_come_again() -> None:
    found = account(after=[*AFTER[:2], entry(SERIES_B)])
    assert (found.again, found.broken) == (1, ())


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"at_kill": Snapshot({}, frozenset(), 5)}, "the run was killed when it had all or nothing"),
        (
            {"at_kill": Snapshot(HELD, frozenset(), 5), "after": AFTER[:1]},
            "the run was killed when it had all or nothing",
        ),
        (
            {"at_end": Snapshot({name: HELD[name] for name in (A1, A2, B1, B2)}, frozenset("AB"), 5)},
            "4 instances are there, 5 were wanted",
        ),
        (
            {"at_end": Snapshot({**HELD, A1: (10, b"other")}, frozenset("ABC"), 5)},
            "1 instances that were there at the kill are gone or others",
        ),
        ({"after": [*AFTER, entry(SERIES_A)]}, "1 complete series were asked for again"),
        (
            {"after": [*AFTER, entry(SERIES_B + "/instances/1")]},
            "1 instances that were there were asked for again, one by one",
        ),
        ({"after": AFTER[1:]}, "the origin never did this: 429"),
    ],
)
def test_what_does_not_hold_is_said(changes: dict[str, Any], sentence: str) -> None:
    assert account(**changes).broken == (sentence,)
