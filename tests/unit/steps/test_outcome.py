"""How a run ended: which of several reasons it gives."""

import json

import pytest

from dicomhaul.errors import DiskFull, SourceDown, SourceError
from dicomhaul.events import Tally
from dicomhaul.plan.difference import Difference
from dicomhaul.record.removals import Removed
from dicomhaul.steps.outcome import Outcome, spent_between

DOWN: dict[str, SourceError] = {"https://a.example": SourceDown("no answer")}
CASES = {
    "all there": (Outcome(due=1, cohorts=[1], finished=True), 0, 0, "complete"),
    "failures": (Outcome(due=1, cohorts=[1], finished=True), 0, 2, "partial"),
    "stopped": (Outcome(due=1, cohorts=[1]), 3, 0, "interrupted"),
    "a limit": (Outcome(due=1, cohorts=[1], reached="so long"), 3, 0, "paused"),
    "a limit before the last cohort": (Outcome(due=2, cohorts=[1], finished=True, reached="so long"), 0, 0, "paused"),
    "a limit with the last byte": (Outcome(due=1, cohorts=[1], reached="so long"), 0, 0, "complete"),
    "an error after a limit": (Outcome(due=1, cohorts=[1], reached="so long", error=DiskFull("full")), 3, 0, "failed"),
    "an error": (Outcome(due=1, cohorts=[1], finished=True, error=DiskFull("full")), 0, 0, "failed"),
    "a source is down": (Outcome(due=1, cohorts=[1], finished=True, down=DOWN), 3, 0, "paused"),
    "another source had it": (Outcome(due=1, cohorts=[1], finished=True, down=DOWN), 0, 0, "complete"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_state_of_a_run(case: str) -> None:
    outcome, left, failures, expected = CASES[case]
    state, reason = outcome.state(left, failures)
    assert (state, bool(reason)) == (expected, expected != "complete")


@pytest.mark.parametrize("case", CASES)
def test_nothing_leaves_unless_the_run_came_to_its_end(case: str) -> None:
    assert CASES[case][0].may_settle == (case in {"all there", "failures"})


def test_what_the_ledger_keeps_of_a_run() -> None:
    before, now = Tally(requests=2, bytes_landed=5), Tally(requests=9, bytes_landed=15)
    outcome = Outcome(difference=Difference(added=1, revised=2, withdrawn=3), removed=Removed(instances=4))
    kept = json.loads(outcome.tally_json(spent_between(before, now)))
    names = ("requests", "bytes_landed", "series_added", "series_revised", "series_withdrawn", "instances_removed")
    assert [kept[name] for name in names] == [7, 10, 1, 2, 3, 4]
