"""Several processes that haul as one run: what comes, what hosts see, what limits hold, and what a death leaves."""

import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path
from typing import Final

import anyio
import psutil
import pytest

from dicomhaul import Cohort, GateClosed, Hauler, HaulOptions, SeriesLanded, SeriesMoved
from dicomhaul.events import Event
from dicomhaul.model import Series
from dicomhaul.origin import Holdings, Rule, Stall, Status, synthetic_holdings
from support.command import Running, Word, run_command, start_command, wait_until
from support.crash_tasks import bucket, dicomweb
from support.crashes import Cohort as CohortTask
from support.destination import assert_recorded, expected_tree, read_ledger, read_quota, read_tree
from support.disk import open_disk
from support.idc_origins import idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.sick_disk import Strike, sick_disk
from support.siege import Siege
from support.slow import slow

KILLS: Final = int(os.environ.get("DICOMHAUL_TEST_KILLS", "0"))
# Of these the hands do the parts, the parent the others.
MOMENTS: Final = (("write part", 12), ("rename part", 8), ("fsync part", 6), ("write journal", 60), ("write part", 40))
DATA, CR = "idc-open-data", "idc-open-data-cr"
COUNTS = (20, 20, 3)
WAIT_S = 0.02
STOP_S = 10.0  # see test_stopped


def hands_of(running: Running) -> list[psutil.Process]:
    """The processes that haul for a command."""
    children = psutil.Process(running.process.pid).children()
    return [child for child in children if any("dicomhaul.crew" in word for word in child.cmdline())]


def cohort(folder: Path, *counts: int) -> Path:
    (folder / "cohort.csv").write_text(manifest_of(made_up_rows(*counts)), encoding="utf-8")
    return folder / "cohort.csv"


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Two series that only the bucket has, two that the proxy has, too."""
    return [*idc_rows(DATA, 2), *idc_rows(CR, 2)]


@pytest.fixture(scope="module")
def holdings(rows: list[Series]) -> Holdings:
    return synthetic_holdings(rows)


def test_series_come_by_both_routes_and_move_and_nobody_is_asked_twice(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    events: list[Event] = []
    refused = Rule(level="listing", path=rows[0].revision or "", action=Status(status=404))
    (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")

    with idc_thread(holdings, rules={"bucket": [refused]}) as origins:
        source = write_profiles(tmp_path, origins).source("bucket", "proxy")

        async def pull(processes: int) -> dict[str, object]:
            options = HaulOptions(processes=processes)
            async with Hauler(source, observer=events.append, options=options) as hauler:
                report = await hauler.pull(Cohort.manifest(tmp_path / "cohort.csv"), tmp_path / f"by {processes}")
                return report.as_json()

        alone, together = (anyio.run(pull, processes) for processes in (1, 2))
        asked = Counter((entry.level, entry.path) for origin in (origins.bucket, origins.proxy)
                        for entry in origin.requests if entry.level != "usage")  # fmt: skip
    assert set(asked.values()) == {2}  # once by each
    assert [event.next_route for event in events if isinstance(event, SeriesMoved)] == ["local-proxy"] * 2
    tree = idc_tree(holdings, rows)
    for dest in (tmp_path / "by 1", tmp_path / "by 2"):
        assert read_tree(dest) == tree
        assert_recorded(dest, tree)
    assert read_ledger(tmp_path / "by 1") == read_ledger(tmp_path / "by 2")
    unlike = {"dest", "elapsed_s"}
    assert {key: value for key, value in alone.items() if key not in unlike} == {
        key: value for key, value in together.items() if key not in unlike
    }


def test_a_throttle_that_one_process_meets_holds_all_of_them_back(tmp_path: Path) -> None:
    heard: list[tuple[float, Event]] = []
    catalog = made_up_catalog(*[2] * 12)
    throttled = Rule(level="series", times=frozenset(range(1, 5)), action=Status(status=429, retry_after_s=1))

    def hear(event: Event) -> None:
        heard.append((time.monotonic(), event))

    async def pull(url: str) -> int:
        async with Hauler(url, observer=hear, options=HaulOptions(processes=2, transfers=4)) as hauler:
            report = await hauler.pull(Cohort.manifest(cohort(tmp_path, *[2] * 12)), tmp_path / "dest")
            return report.throttled

    with origin_thread(slow(catalog, WAIT_S), rules=[throttled]) as origin:
        assert anyio.run(pull, origin.url) == 4
        assert len([entry for entry in origin.requests if entry.level == "series"]) == 16
    closed_at = next(at for at, event in heard if isinstance(event, GateClosed))
    assert min(at for at, event in heard if isinstance(event, SeriesLanded)) - closed_at >= 0.99
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)


@pytest.mark.long
def test_limits_hold_over_all_processes(tmp_path: Path) -> None:
    catalog, dest = made_up_catalog(*[2] * 20, size_bytes=50_000), tmp_path / "dest"
    words: list[Word] = ["pull", cohort(tmp_path, *[2] * 20), "-o", dest, "--processes", "2", "--json"]
    with origin_thread(catalog) as origin:
        words += ["--source", origin.url, "--transfers", "4"]
        ended = run_command(*words, "--max-transfer", "500K", "--bwlimit", "1M")
        assert (ended.code, ended.json["state"]) == (4, "paused"), ended.stderr
        assert "--max-transfer" in ended.json["reason"]
        assert 0 < ended.json["bytes_landed"] <= 512_000
        ended = run_command(*words, "--quota", "900K/day")
        assert (ended.code, ended.json["state"]) == (4, "paused"), ended.stderr
        assert "used up until" in ended.json["reason"]
        (used,) = read_quota(dest).values()
        under_way = 4 * 2 * 51_000  # nobody states a size, so what has begun when the quota ends is not held back
        assert 0 < ended.json["bytes_landed"] < used <= (900 << 10) + under_way


@pytest.mark.long
def test_a_signal_in_the_middle_of_a_transfer(tmp_path: Path) -> None:
    dest, catalog = tmp_path / "dest", made_up_catalog(*COUNTS)
    stalled = Rule(level="series", times=frozenset({2}), action=Stall(after_bytes=20_000))
    with origin_thread(slow(catalog, WAIT_S), rules=[stalled]) as origin:
        words: list[Word] = ["pull", cohort(tmp_path, *COUNTS), "--source", origin.url, "-o", dest, "--json"]
        with start_command(tmp_path, *words, "--processes", "2") as running:
            wait_until(lambda: any(dest.rglob("*.dcm")), "something lands", unless=running.process)
            running.signal(signal.SIGINT)
            ended = running.wait(STOP_S)
        assert (ended.code, ended.json["state"]) == (130, "interrupted"), ended.stderr
        landed = {f"{row.folder}/{row.sop}.dcm" for row in read_ledger(dest) if row.state == 1}
        assert 0 < len(landed) < sum(COUNTS)
        assert ended.json["instances_landed"] == ended.json["instances_present"] == len(landed)
        assert set(read_tree(dest)) == landed
        assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
        assert run_command("resume", dest, "--json").json["instances_landed"] == sum(COUNTS) - len(landed)
    assert read_tree(dest) == expected_tree(catalog)


def test_a_process_that_is_killed_ends_the_run_and_what_is_recorded_stays(tmp_path: Path) -> None:
    dest, catalog = tmp_path / "dest", made_up_catalog(*COUNTS)
    with origin_thread(slow(catalog, WAIT_S)) as origin:
        words: list[Word] = ["pull", cohort(tmp_path, *COUNTS), "--source", origin.url, "-o", dest, "--json"]
        with start_command(tmp_path, *words, "--processes", "2") as running:
            wait_until(lambda: any(dest.rglob("*.dcm")), "something lands", unless=running.process)
            for hand in hands_of(running):
                hand.kill()
            ended = running.wait(STOP_S)
        assert (ended.code, ended.json["state"], ended.json["error"]) == (1, "failed", "CrewError")
        assert "was killed (SIGKILL), perhaps because memory ran out; run again to go on" in ended.complaint
        landed = {f"{row.folder}/{row.sop}.dcm" for row in read_ledger(dest) if row.state == 1}
        assert 0 < len(landed) < sum(COUNTS)
        assert set(read_tree(dest)) == landed
        assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
        again = run_command(*words)
        assert (again.code, again.json["instances_landed"]) == (0, sum(COUNTS) - len(landed))
    assert read_tree(dest) == expected_tree(catalog)
    assert_recorded(dest, expected_tree(catalog))


@pytest.mark.long
def test_when_the_parent_is_killed_its_hands_end_and_the_next_run_goes_on_at_once(tmp_path: Path) -> None:
    dest, catalog = tmp_path / "dest", made_up_catalog(*COUNTS)
    with origin_thread(slow(catalog, WAIT_S)) as origin:
        words: list[Word] = ["pull", cohort(tmp_path, *COUNTS), "--source", origin.url, "-o", dest, "--json"]
        with start_command(tmp_path, *words, "--processes", "2") as running:
            wait_until(lambda: any(dest.rglob("*.dcm")), "something lands", unless=running.process)
            hands = hands_of(running)
            assert len(hands) == 2
            hands[0].suspend()  # one that cannot end yet holds the destination
            running.process.kill()
            running.process.wait(STOP_S)
        refused = run_command(*words)
        assert (refused.code, refused.json["error"]) == (1, "LedgerError")
        assert "another dicomhaul" in refused.complaint
        hands[0].resume()
        again = run_command(*words)
        assert again.code == 0, again.stderr
        assert not any(hand.is_running() for hand in hands)
    assert read_tree(dest) == expected_tree(catalog)
    assert_recorded(dest, expected_tree(catalog))


@pytest.mark.long
@pytest.mark.parametrize("open_task", [dicomweb, bucket] if KILLS else [bucket])
@pytest.mark.timeout(120 + 20 * KILLS)
def test_killed_at_any_call_to_the_disk_it_goes_on(
    open_task: Callable[[Path], AbstractContextManager[CohortTask]], tmp_path: Path
) -> None:
    """The parent alone, or all of them. `DICOMHAUL_TEST_KILLS=50` tries so many of each task."""
    with open_disk(tmp_path) as disk, open_task(tmp_path) as task:
        together = replace(task, pull=(*task.pull, "--processes", "2"))
        Siege(together, disk, tmp_path, f"{open_task.__name__} by two").kill(MOMENTS, KILLS or 1)


@pytest.mark.long
def test_a_full_disk_that_one_process_meets_ends_the_run_as_ever(tmp_path: Path) -> None:
    catalog, dest = made_up_catalog(*COUNTS), tmp_path / "dest"
    with sick_disk(tmp_path) as disk, origin_thread(catalog) as origin:
        words: list[Word] = ["pull", cohort(tmp_path, *COUNTS), "--source", origin.url, "-o", dest, "--json"]
        with disk.over(dest, Strike("write", "staged", 12, errno.ENOSPC, lasting=True)):
            ended = run_command(*words, "--processes", "2", environ=disk.environ)
        assert (ended.code, ended.json["error"], ended.json["state"]) == (1, "DiskFull", "failed")
        assert ended.complaint == "cannot write to the destination: No space left on device"
        landed = {f"{row.folder}/{row.sop}.dcm" for row in read_ledger(dest) if row.state == 1}
        assert set(read_tree(dest)) == landed
        assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
        assert run_command(*words).code == 0
    assert read_tree(dest) == expected_tree(catalog)
