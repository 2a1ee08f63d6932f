"""A run of any length leaves a bounded number of samples, evenly spread; a killed one leaves its own."""

import sqlite3
from contextlib import closing
from itertools import pairwise
from pathlib import Path

import pytest

from dicomhaul.record.ledger import Ledger
from dicomhaul.record.samples import FIRST_INTERVAL_S, MOST, Rhythm, beat


def _noted(seconds: int, step_s: float) -> Rhythm:
    rhythm, at_s, kept = Rhythm(), 0.0, set[float]()
    while at_s < seconds:
        at_s += step_s
        due = beat(rhythm, at_s)
        if due is not None:
            rhythm = due.rhythm
            kept = (kept | {at_s}) - set(due.dropped)
            assert kept == set(rhythm.times)  # what the ledger holds is what the rhythm believes
    return rhythm


@pytest.mark.parametrize("seconds", [60, 3_600, 3_610, 100_000, 1_000_000])
def test_a_run_of_any_length_leaves_few_samples_in_even_steps(seconds: int) -> None:
    times = _noted(seconds, 2.5).times
    assert min(MOST // 2, seconds // FIRST_INTERVAL_S) <= len(times) < MOST
    steps = {later - earlier for earlier, later in pairwise(times)}
    assert len(steps) <= 1
    assert seconds - times[-1] <= max(steps)


def test_a_sample_waits_for_its_turn_and_the_last_does_not() -> None:
    assert beat(Rhythm(), FIRST_INTERVAL_S / 2) is None
    last = beat(Rhythm(), FIRST_INTERVAL_S / 2, last=True)
    assert last is not None
    assert last.rhythm.times == (FIRST_INTERVAL_S / 2,)
    assert beat(last.rhythm, FIRST_INTERVAL_S / 2, last=True) is None  # one row for one moment


def _rows(path: Path) -> list[tuple[int, int, int]]:
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT run_id, instances, bytes FROM sample ORDER BY run_id, at_s").fetchall()


def test_totals_are_those_of_the_run_that_began_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1_000.0]
    monkeypatch.setattr("dicomhaul.record.ledger.time.monotonic", lambda: now[0])
    path = tmp_path / "ledger.sqlite3"
    with closing(Ledger.open(path)) as ledger:
        ledger.add_sample(now[0], 5, 50, last=True)  # no run has begun: there is nothing to note it for
        ledger.begin_run("pull", "2026-01-01T00:00:00+00:00")
        ledger.add_sample(1_004.0, 1, 10)
        ledger.add_sample(1_011.0, 1, 10)
        ledger.add_sample(1_012.0, 2, 20)
        ledger.add_sample(1_013.0, last=True)
        ledger.begin_run("pull", "2026-01-02T00:00:00+00:00")
        ledger.add_sample(1_020.0, 1, 1)
        assert _rows(path) == [(1, 2, 20), (1, 4, 40), (2, 1, 1)]  # committed: another reader sees it


def test_a_full_run_thins_its_rows(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with closing(Ledger.open(path)) as ledger:
        ledger.begin_run("pull", "2026-01-01T00:00:00+00:00")
        _, began_s = ledger._run
        with ledger.transaction():
            for number in range(1, MOST + 1):
                ledger.add_sample(began_s + number * FIRST_INTERVAL_S, 1, 10)
    rows = _rows(path)
    assert len(rows) == MOST // 2
    assert rows[0] == (1, 2, 20)
    assert rows[-1] == (1, MOST, 10 * MOST)
