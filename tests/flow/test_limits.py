"""Limits that the user sets, and the quota of a source: a clean stop, what it says, and going on."""

import re
from pathlib import Path

import pytest

from dicomhaul.model import Series
from dicomhaul.origin import Rule, Stall, Status, synthetic_holdings
from support.command import Ended, Word, run_command
from support.destination import (
    assert_recorded,
    expected_tree,
    read_index,
    read_partials,
    read_quota,
    read_tree,
)
from support.idc_origins import idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread

COUNTS = (6, 6, 6, 6)
SIZE_BYTES = 50_000
UNTIL = re.compile(r"used up until \d{4}-\d\d-\d\d 00:00 UTC")


def assert_paused(ended: Ended, dest: Path, reason: str) -> None:
    """The run stopped by itself, told why, and left a destination that can be used as it is."""
    assert (ended.code, ended.json["state"]) == (4, "paused"), ended.stderr
    assert reason in ended.json["reason"]
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
    tree = read_tree(dest)
    assert len(tree) == ended.json["instances_present"]
    if tree:
        assert {row["path"] for row in read_index(dest)} == set(tree)


@pytest.fixture
def words(tmp_path: Path) -> list[Word]:
    """How a made-up cohort is pulled, but for its source."""
    (tmp_path / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    return ["pull", tmp_path / "cohort.csv", "-o", tmp_path / "dest", "--json"]


def test_a_run_that_brought_enough_stops_and_the_next_goes_on(words: list[Word], tmp_path: Path) -> None:
    catalog, dest = made_up_catalog(*COUNTS, size_bytes=SIZE_BYTES), tmp_path / "dest"
    with origin_thread(catalog) as origin:
        words += ["--source", origin.url, "--transfers", "1"]
        ended = run_command(*words, "--max-transfer", "500K")
        assert_paused(ended, dest, "512,000 bytes came, which --max-transfer allows; run again to go on")
        assert 0 < ended.json["instances_landed"] <= 512_000 // SIZE_BYTES
        status = run_command("status", dest, "--json")
        assert (status.code, status.json["last_run"]["state"]) == (4, "paused")
        again = run_command("resume", dest, "--json", "--max-transfer", "1G")
        assert (again.code, again.json["state"]) == (0, "complete")
    assert again.json["instances_landed"] == sum(COUNTS) - ended.json["instances_landed"]
    assert read_tree(dest) == expected_tree(catalog)
    assert_recorded(dest, expected_tree(catalog))


def test_enough_that_is_all_of_it_is_no_pause(words: list[Word], tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(*COUNTS)) as origin:
        ended = run_command(*words, "--source", origin.url, "--max-transfer", "1G", "--max-duration", "1h")
    assert (ended.code, ended.json["state"], ended.json["reason"]) == (0, "complete", "")


def test_a_run_that_lasted_long_enough_stops_and_keeps_what_came(words: list[Word], tmp_path: Path) -> None:
    catalog, dest = made_up_catalog(*COUNTS, size_bytes=SIZE_BYTES), tmp_path / "dest"
    stalled = Rule(level="series", times=frozenset({2}), action=Stall(after_bytes=120_000))
    with origin_thread(catalog, rules=[stalled]) as origin:
        words += ["--transfers", "1"]
        ended = run_command(*words, "--source", origin.url, "--max-duration", "1s")
        assert_paused(ended, dest, "it ran for 1 s, which --max-duration allows; run again to go on")
        assert ended.json["instances_landed"] <= 6 + 2  # a whole series, and what came of the next
    with origin_thread(catalog) as origin:
        again = run_command(*words, "--source", origin.url)
    assert (again.code, again.json["state"]) == (0, "complete")
    assert again.json["instances_landed"] == sum(COUNTS) - ended.json["instances_landed"]
    assert read_tree(dest) == expected_tree(catalog)


def test_the_beginning_of_a_large_object_is_kept(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    (row,) = idc_rows("idc-open-data", 1, where="instanceCount = 1 AND series_size_MB BETWEEN 40 AND 50")
    holdings = synthetic_holdings([row])
    (tmp_path / "cohort.csv").write_text(idc_manifest([row]), encoding="utf-8")
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        words: list[Word] = ["pull", tmp_path / "cohort.csv", "--source", source, "-o", dest, "--json"]
        ended = run_command(*words, "--max-transfer", "36M")
        assert (ended.code, ended.json["state"], ended.json["instances_landed"]) == (4, "paused", 0), ended.stderr
        ((_, offset),) = read_partials(dest)
        assert offset >= 16 << 20
        origins.bucket.requests.clear()
        assert run_command(*words).code == 0
        asked = [entry.range for entry in origins.bucket.requests if entry.level == "object"]
    assert asked[-1] == f"bytes={offset}-"
    assert "" not in asked
    assert read_tree(dest) == idc_tree(holdings, [row])


def test_a_run_that_may_not_last_plans_nothing_and_says_so(words: list[Word], tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(*COUNTS)) as origin:
        ended = run_command(*words, "--source", origin.url, "--max-duration", "0.001s")
        assert_paused(ended, tmp_path / "dest", "it ran for 0.001 s")
        assert run_command(*words, "--source", origin.url).code == 0


def test_bytes_come_at_the_rate_that_the_time_of_day_allows(words: list[Word], tmp_path: Path) -> None:
    catalog = made_up_catalog(*COUNTS, size_bytes=SIZE_BYTES)
    with origin_thread(catalog) as origin:
        words += ["--source", origin.url]
        limited = run_command(*words, "--bwlimit", "00:00,1M 12:00,1M")
        assert (limited.code, limited.json["state"]) == (0, "complete")
        # A lower bound, which no busy machine breaks: 1.2 MB, of which a quarter of a second's worth is free.
        assert limited.json["elapsed_s"] > sum(COUNTS) * SIZE_BYTES / (1 << 20) - 0.3
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)


@pytest.mark.parametrize(
    ("option", "value", "hint"),
    [
        ("--bwlimit", "8,10M", "08:00,10M 19:00,off"),
        ("--bwlimit", "fast", "08:00,10M 19:00,off"),
        ("--quota", "a lot", "500M"),
        ("--max-transfer", "0", "500M"),
        ("--max-duration", "soon", "1h30m"),
    ],
)
def test_a_limit_that_is_none_is_refused_with_an_example(
    words: list[Word], option: str, value: str, hint: str, tmp_path: Path
) -> None:
    ended = run_command(*words, "--source", "http://127.0.0.1:9", option, value)
    assert ended.code == 2
    assert hint in ended.complaint
    assert not (tmp_path / "dest").exists()


# -- IDC's proxy; what it counts itself is tried in `test_idc_quota` ---------------------------------------------------


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Six series of 1 to 5 MB."""
    return idc_rows("idc-open-data", 6)


def series_bytes(row: Series) -> int:
    assert row.size_bytes is not None
    return row.size_bytes


def test_the_quota_that_the_user_sets_holds_over_runs_of_a_day(rows: list[Series], tmp_path: Path) -> None:
    dest, holdings = tmp_path / "dest", synthetic_holdings(rows)
    quota = sum(map(series_bytes, rows)) // 2
    (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
    # The usage page is broken: only the ledger knows.
    with idc_thread(holdings, rules={"proxy": [Rule(level="usage", action=Status(status=500))]}) as origins:
        profiles = write_profiles(tmp_path, origins, {"proxy": "[quota]\nbytes_per_day = 50_000_000_000"})
        words: list[Word] = ["pull", tmp_path / "cohort.csv", "--source", profiles.source("proxy"), "-o", dest]
        words += ["--json", "--transfers", "2", "--quota", f"{quota}/day"]
        ended = run_command(*words)
        assert_paused(ended, dest, f"of {quota:,} bytes a day are used")
        assert UNTIL.search(ended.json["reason"])
        spent = read_quota(dest)["local-proxy"]
        assert 0 < spent <= quota
        assert run_command(*words).code == 4
        assert spent <= read_quota(dest)["local-proxy"] <= quota


def test_an_answer_that_turns_out_too_large_is_asked_for_in_parts(rows: list[Series], tmp_path: Path) -> None:
    """The index says that it just fits; with its framing it does not, and the proxy fails as if it were busy."""
    dest, row = tmp_path / "dest", rows[0]
    holdings = synthetic_holdings([row])
    limits = f"[limits]\nattempts = 2\nresponse_bytes = {series_bytes(row) + 10_000}"
    (tmp_path / "cohort.csv").write_text(idc_manifest([row]), encoding="utf-8")
    with idc_thread(holdings, response_bytes=series_bytes(row) - 10_000) as origins:
        source = write_profiles(tmp_path, origins, {"proxy": limits}).source("proxy")
        ended = run_command("pull", tmp_path / "cohort.csv", "--source", source, "-o", dest, "--json")
        statuses = [(entry.level, entry.status) for entry in origins.proxy.requests if entry.level != "usage"]
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert statuses[:3] == [("series", 500), ("series", 500), ("search", 200)]
    assert statuses[3:] == [("instance", 200)] * (row.expected or 0)
    assert read_tree(dest) == idc_tree(holdings, [row])
