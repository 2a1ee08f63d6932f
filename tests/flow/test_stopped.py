"""Signals, and a second process: a clean stop, a destination that can be gone on with, one writer at a time."""

import signal
from pathlib import Path

import pytest

from dicomhaul.origin import Entry, Rule, Stall
from support.command import Word, run_command, start_command, wait_until
from support.destination import assert_recorded, expected_tree, read_ledger, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.slow import slow

STOP_S = 10.0  # far less than what a silent server is given; two seconds on a machine that does nothing else
WAIT_S = 0.02
COUNTS = (20, 20, 3)


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["SIGINT", "SIGTERM"])
def test_a_signal_in_the_middle_of_a_transfer(number: signal.Signals, code: int, tmp_path: Path) -> None:
    dest, catalog = tmp_path / "dest", made_up_catalog(*COUNTS)
    (tmp_path / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    stalled = Rule(level="series", times=frozenset({2}), action=Stall(after_bytes=20_000))
    with origin_thread(slow(catalog, WAIT_S), rules=[stalled]) as origin:
        words: list[Word] = ["pull", tmp_path / "cohort.csv", "--source", origin.url, "-o", dest, "--json"]
        with start_command(tmp_path, *words) as running:
            wait_until(lambda: any(dest.rglob("*.dcm")), "something lands", unless=running.process)
            running.signal(number)
            ended = running.wait(STOP_S)
        assert (ended.code, ended.json["state"]) == (code, "interrupted")
        landed = {f"{row.folder}/{row.sop}.dcm" for row in read_ledger(dest) if row.state == 1}
        assert 0 < len(landed) < sum(COUNTS)
        assert ended.json["instances_landed"] == ended.json["instances_present"] == len(landed)
        assert set(read_tree(dest)) == landed
        assert list((dest / ".dicomhaul" / "staging").iterdir()) == []

        status = run_command("status", dest, "--json")
        assert (status.code, status.json["last_run"]["state"]) == (4, "interrupted")

        origin.requests.clear()
        resumed = run_command("resume", dest, "--json")
        assert (resumed.code, resumed.json["state"]) == (0, "complete")
        assert resumed.json["instances_landed"] == sum(COUNTS) - len(landed)
        assert not any(gone_for_nothing(entry, landed) for entry in origin.requests)
    assert read_tree(dest) == expected_tree(catalog)
    assert_recorded(dest, expected_tree(catalog))


def gone_for_nothing(entry: Entry, landed: set[str]) -> bool:
    """Say whether an instance was asked for by name that had landed."""
    return entry.level == "instance" and entry.path.rpartition("/")[2] in {
        path.rpartition("/")[2].removesuffix(".dcm") for path in landed
    }


def test_a_signal_while_the_cohort_is_looked_up(tmp_path: Path) -> None:
    dest, catalog = tmp_path / "dest", made_up_catalog(2)
    with origin_thread(catalog, rules=[Rule(level="search", times=frozenset({1}), action=Stall())]) as origin:
        words: list[Word] = ["pull", "--all", "--source", origin.url, "-o", dest, "--json"]
        with start_command(tmp_path, *words) as running:
            wait_until(lambda: bool(origin.requests), "the search", unless=running.process)
            running.signal(signal.SIGINT)
            ended = running.wait(STOP_S)
        assert (ended.code, ended.json["state"]) == (130, "interrupted")
        assert run_command(*words).code == 0
    assert read_tree(dest) == expected_tree(catalog)


def test_a_second_process_is_refused(tmp_path: Path) -> None:
    dest, catalog = tmp_path / "dest", made_up_catalog(2)
    with origin_thread(catalog, rules=[Rule(level="series", times=frozenset({1}), action=Stall())]) as origin:
        words: list[Word] = ["pull", "--all", "--source", origin.url, "-o", dest, "--json"]
        with start_command(tmp_path, *words) as running:
            wait_until(
                lambda: any(entry.level == "series" for entry in origin.requests), "a retrieve", unless=running.process
            )
            refused = run_command(*words)
            assert (refused.code, refused.json["error"]) == (1, "LedgerError")
            assert str(running.process.pid) in refused.complaint
            assert "another dicomhaul" in refused.complaint
            assert run_command("status", dest).code == 4  # looking is allowed
            assert running.process.poll() is None
            running.signal(signal.SIGTERM)
            assert running.wait().code == 143
        assert run_command(*words).code == 0
    assert read_tree(dest) == expected_tree(catalog)
