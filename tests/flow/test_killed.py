"""Killed at any moment and run again: the same tree, the same ledger, nothing asked for again that need not be.

One turn of eight kills; `DICOMHAUL_TEST_KILLS=50` makes as many turns as it takes, `DICOMHAUL_TEST_SEED` moves them.
"""

import os
import random
from pathlib import Path

import pytest

from dicomhaul.origin import Entry
from dicomhaul.plan.split import Ask, ask_again
from support.command import Word, run_command, start_command, wait_until
from support.destination import (
    LedgerRow,
    assert_recorded,
    expected_tree,
    has_ledger,
    read_ledger,
    read_series_states,
    read_tree,
)
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.slow import slow

KILLS = int(os.environ.get("DICOMHAUL_TEST_KILLS", "8"))
SEED = int(os.environ.get("DICOMHAUL_TEST_SEED", "1"))
COUNTS = (1, 30, 2, 12, 40, 3, 1, 25)
# Large enough that asking singly can be the cheaper way once much of a series is there.
SIZE_BYTES = 300_000
WAIT_S = 0.01
MOMENTS = ("start", "planning", "asking", "staging", "landing", "landing", "landing", "index")


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A destination that was pulled without disturbance."""
    folder = tmp_path_factory.mktemp("calm")
    (folder / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    with origin_thread(made_up_catalog(*COUNTS, size_bytes=SIZE_BYTES)) as origin:
        assert run_command("pull", folder / "cohort.csv", "--source", origin.url, "-o", folder / "dest").code == 0
    return folder / "dest"


def identities(rows: list[LedgerRow]) -> set[tuple[str, str, str]]:
    return {(row.study, row.series, row.sop) for row in rows if row.state == 1}


def landed_at(dest: Path) -> list[LedgerRow]:
    """What the ledger of a destination holds after a kill; its tables may not even be there."""
    if not has_ledger(dest):
        return []
    return [row for row in read_ledger(dest) if row.state == 1]


def needless(before: list[LedgerRow], requests: list[Entry]) -> list[str]:
    """Return the retrieves of what had landed before, but for series where draining it is the cheaper way."""
    landed: dict[str, dict[str, int]] = {}
    for row in before:
        landed.setdefault(f"/studies/{row.study}/series/{row.series}", {})[row.sop] = row.size_bytes or 0
    expected = {f"/studies/{row.study}/series/{row.series}": row.expected for row in made_up_rows(*COUNTS)}
    wrong = []
    for entry in requests:
        if entry.level not in {"series", "instance"}:
            continue
        series, _, sop = entry.path.partition("/instances/")
        there = landed.get(series, {})
        if sop in there:
            wrong.append(entry.path)
        elif not sop and there:
            count, wanted = len(there), expected[series]
            choice = ask_again(landed=count, landed_bytes=sum(there.values()), expected=wanted)
            if count == wanted or choice is Ask.SINGLY:
                wrong.append(entry.path)
    return wrong


def has_come(moment: str, dest: Path, requests: list[Entry], parts: int) -> bool:
    """Say whether a run has come to a moment; 'landing' is when `parts` instances are in the tree."""
    ours = dest / ".dicomhaul"
    signs = {
        "start": dest.exists(),
        "planning": (ours / "ledger.sqlite3").exists(),
        "asking": bool(requests),
        "staging": any((ours / "staging").glob("*.part")),
        "index": (dest / ".index.parquet.part").exists() or (dest / "index.parquet").exists(),
    }
    return signs[moment] if moment in signs else sum(1 for _ in dest.rglob("*.dcm")) >= parts


@pytest.mark.parametrize("turn", range(-(-KILLS // len(MOMENTS))))
def test_the_end_is_the_same_as_of_an_undisturbed_run(turn: int, calm: Path, tmp_path: Path) -> None:
    random_ = random.Random(SEED * 1000 + turn)
    catalog = made_up_catalog(*COUNTS, size_bytes=SIZE_BYTES)
    good, dest = expected_tree(catalog), tmp_path / "dest"
    (tmp_path / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    with origin_thread(slow(catalog, WAIT_S)) as origin:
        pull: list[Word] = ["pull", tmp_path / "cohort.csv", "--source", origin.url, "-o", dest, "--json", "-q"]
        before: list[LedgerRow] = []
        for number, moment in enumerate(MOMENTS):
            told = f"turn {turn}, kill {number} ({moment}), seed {SEED}"
            origin.requests.clear()
            parts = random_.randint(min(len(before) + 1, len(good)), len(good))
            with start_command(tmp_path, *(["resume", dest, "-q"] if before and number % 2 else pull)) as running:
                process = running.process
                wait_until(
                    lambda: process.poll() is not None or has_come(moment, dest, origin.requests, parts),  # noqa: B023
                    told,
                )
                process.kill()
                process.wait()
            assert needless(before, origin.requests) == [], told
            now = landed_at(dest)
            assert identities(now) >= identities(before), told
            before = now
            tree = read_tree(dest)  # what is there is whole, recorded or not
            assert all(good[path] == content for path, content in tree.items()), told
            assert {f"{row.folder}/{row.sop}.dcm" for row in now} <= set(tree), told
        status = run_command("status", dest, "--json")
        assert status.json["instances_present"] == len(before)
        origin.requests.clear()
        ended = run_command(*pull)
        assert needless(before, origin.requests) == []
    assert (ended.code, ended.json["state"]) == (0, "complete")
    assert read_tree(dest) == read_tree(calm) == good
    assert_recorded(dest, good)
    assert read_ledger(dest) == read_ledger(calm)
    assert read_series_states(dest) == read_series_states(calm)
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
