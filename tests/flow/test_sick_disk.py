"""Disks that fail under a run, at any call: one clear stop, nothing wrong in the tree, and the next run ends as ever.

Each strike is a run of its own; here some, spread over all of them. `DICOMHAUL_TEST_STRIKES=all pytest --timeout=0`
tries every one, `DICOMHAUL_TEST_SEED` chooses others.
"""

import errno
import os
import random
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from dicomhaul.origin import Origin
from support.command import Ended
from support.destination import (
    assert_recorded,
    expected_tree,
    has_ledger,
    read_ledger,
    read_series_states,
    read_tree,
)
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.quick_command import QuickCommands, quick_commands
from support.sick_disk import ANY, ANY_ROOM, SHORT, SickDisk, Strike, sick_disk

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD, /proc")]

COUNTS = (3, 2, 2)
STRIKES = os.environ.get("DICOMHAUL_TEST_STRIKES", "1")  # of each test; or "all"
SEED = int(os.environ.get("DICOMHAUL_TEST_SEED", "1"))
ERRORS = {"DiskFull", "NotWritable", "LandingError", "LedgerError"}


@dataclass(frozen=True, slots=True)
class Ward:
    """What each strike needs."""

    quick: QuickCommands
    disk: SickDisk
    origin: Origin
    folder: Path
    calm: Path

    def pull(self, dest: Path, strike: Strike | None = None) -> Ended:
        self.origin.requests.clear()
        with self.disk.over(dest, strike):
            return self.quick.run(
                "pull", self.folder / "cohort.csv", "--source", self.origin.url, "-o", dest, "--json", "-q"
            )


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ward]:
    folder = tmp_path_factory.mktemp("ward")
    (folder / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    with ExitStack() as stack:
        disk = stack.enter_context(sick_disk(folder))
        quick = stack.enter_context(quick_commands(folder, disk.environ))
        origin = stack.enter_context(origin_thread(made_up_catalog(*COUNTS)))
        ward = Ward(quick, disk, origin, folder, folder / "calm")
        assert ward.pull(ward.calm).code == 0
        yield ward


def chosen(strikes: Sequence[Strike]) -> list[Strike]:
    """Return all of them, or as many as are wanted: of as many kinds as there can be."""
    if STRIKES == "all":
        return list(strikes)
    most: dict[tuple[str, str], int] = {}
    for strike in strikes:
        most[strike.act, strike.thing] = max(strike.nth, most.get((strike.act, strike.thing), 0))
    # No two runs make the same number of calls: one of the last may not come.
    sure = [strike for strike in strikes if strike.nth <= max(1, most[strike.act, strike.thing] * 3 // 4)]
    shuffled = random.Random(SEED).sample(sure, len(sure))
    seen: dict[tuple[str, str], int] = {}
    turns = []
    for strike in shuffled:
        kind = strike.act, strike.thing
        turns.append(seen.get(kind, 0))
        seen[kind] = turns[-1] + 1
    order = sorted(range(len(shuffled)), key=lambda index: turns[index])  # stable: first one of each kind
    return [shuffled[index] for index in order[: int(STRIKES)]]


def assert_survived(ward: Ward, dest: Path, strike: Strike) -> bool:
    """Pull on a disk that fails, then on one that does not; return whether the first run was stopped.

    Some strikes do no harm: what a run only looks for, or would only tidy up.
    """
    ended = ward.pull(dest, strike)
    good = expected_tree(ward.origin.catalog)
    told = f"{strike}: {ended}"
    assert ward.disk.struck or STRIKES == "all", told
    assert ended.code in ({0, 1} if ward.disk.struck else {0}), told
    if ended.code == 1:
        assert ended.json["error"] in ERRORS, told
        assert ended.json["state"] == "failed", told
        assert ended.complaint == ended.json["reason"], told
    else:
        assert_same_end(ward, dest, told)
    tree = read_tree(dest)
    assert tree.items() <= good.items(), told
    before = read_ledger(dest) if has_ledger(dest) else []
    assert {f"{row.folder}/{row.sop}.dcm" for row in before if row.state == 1} <= set(tree), told

    again = ward.pull(dest)
    assert again.code == 0, f"{told}, then {again}"
    assert_same_end(ward, dest, told)
    complete = {f"/studies/{row.study}/series/{row.series}" for row in before if row.series_state == 1}
    assert not [entry.path for entry in ward.origin.requests if entry.path in complete], told
    return ended.code == 1


def assert_same_end(ward: Ward, dest: Path, told: str) -> None:
    good = expected_tree(ward.origin.catalog)
    assert read_tree(dest) == good, told
    assert_recorded(dest, good)
    assert read_ledger(dest) == read_ledger(ward.calm), told
    assert read_series_states(dest) == read_series_states(ward.calm), told
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == [], told


def survive(ward: Ward, folder: Path, strikes: Sequence[Strike]) -> None:
    """Try those that are chosen."""
    some = chosen(strikes)
    stopped = sum(assert_survived(ward, folder / str(number), strike) for number, strike in enumerate(some))
    assert stopped > len(some) // 2 or STRIKES != "all"


@pytest.fixture(scope="module")
def calls(ward: Ward, tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], int]:
    """How many calls a whole run makes, by act and thing."""
    assert ward.pull(tmp_path_factory.mktemp("counted") / "dest").code == 0
    return ward.disk.counted()


def each_call(calls: dict[tuple[str, str], int], acts: set[str], error: int, *, lasting: bool) -> list[Strike]:
    return [
        Strike(act, thing, nth, error, lasting=lasting)
        for (act, thing), count in sorted(calls.items())
        for nth in range(1, count + 1)
        if act in acts
    ]


def test_a_disk_that_is_full_from_any_write_on(ward: Ward, calls: dict[tuple[str, str], int], tmp_path: Path) -> None:
    taking = sum(count for (act, _), count in calls.items() if act in {"create", "write", "mkdir"})
    survive(ward, tmp_path, [Strike(ANY_ROOM, ANY, nth, errno.ENOSPC, lasting=True) for nth in range(1, taking + 1)])


def test_a_call_that_fails_once(ward: Ward, calls: dict[tuple[str, str], int], tmp_path: Path) -> None:
    """As a worn disk does, or a network filesystem that hiccups. What is fatal and what is not is the run's to say."""
    acts = {"read", "write", "sync", "close", "cut", "open", "create", "rename", "mkdir", "unlink"}
    survive(ward, tmp_path, each_call(calls, acts, errno.EIO, lasting=False))


def test_a_filesystem_that_turns_read_only(ward: Ward, calls: dict[tuple[str, str], int], tmp_path: Path) -> None:
    acts = {"create", "rename", "mkdir", "unlink", "write"}
    survive(ward, tmp_path, each_call(calls, acts, errno.EROFS, lasting=True))


def test_a_place_that_may_not_be_used(ward: Ward, calls: dict[tuple[str, str], int], tmp_path: Path) -> None:
    acts = {"open", "create", "rename", "mkdir", "unlink"}
    survive(ward, tmp_path, each_call(calls, acts, errno.EACCES, lasting=True))


def test_writes_that_take_only_half(ward: Ward, tmp_path: Path) -> None:
    """A write may take less than it is given, without an error: no byte is lost, and no run is stopped."""
    strike = Strike("write", ANY, 1, SHORT, lasting=True)
    assert ward.pull(tmp_path, strike).code == 0
    assert ward.disk.struck
    assert_same_end(ward, tmp_path, "short writes")
