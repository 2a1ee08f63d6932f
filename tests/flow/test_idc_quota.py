"""The proxy's daily quota: never passed where it can be known, the end of the day where it cannot.

The origin counts as the proxy's own source does: what was yielded, at the end of a request; more than the limit at the
beginning of one is a 429.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomhaul.model import Series
from dicomhaul.origin import Allowance, Entry, Holdings, IdcOrigins, Rule, synthetic_holdings
from dicomhaul.origin.faults import Status
from dicomhaul.origin.idc import IdcName
from support.command import Ended, Word, run_command
from support.destination import read_quota, read_routes, read_tree
from support.idc_origins import IdcProfiles, idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles

ME = "127.0.0.1"
BUCKET, PROXY = "local-bucket", "local-proxy"
ONE_AT_A_TIME: dict[IdcName, str] = {"proxy": "[limits]\nconcurrency_start = 1\nconcurrency_max = 1"}


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Six series of one or two MB each."""
    return idc_rows("idc-open-data", 6)


@pytest.fixture(scope="module")
def holdings(rows: list[Series]) -> Holdings:
    return synthetic_holdings(rows)


@contextmanager
def running(
    folder: Path,
    holdings: Holdings,
    allowance: Allowance,
    *,
    more: dict[IdcName, str] | None = None,
    usage: bool = True,
) -> Iterator[tuple[IdcOrigins, IdcProfiles]]:
    """Run the origins; without `usage`, the page that tells what is left is out of order."""
    rules: dict[IdcName, list[Rule]] = {} if usage else {"proxy": [Rule(action=Status(status=404), level="usage")]}
    with idc_thread(holdings, rules=rules, allowance=allowance) as origins:
        yield origins, write_profiles(folder, origins, more)


def pull(folder: Path, source: str, rows: list[Series], *more: Word) -> Ended:
    (folder / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
    words: list[Word] = ["pull", folder / "cohort.csv", "--source", source, "-o", folder / "dest", "--json", *more]
    return run_command(*words)


def size_of(holdings: Holdings) -> int:
    """Bytes of all instances."""
    return sum(one.size_bytes for each in holdings.revisions for one in each.series)


def retrieves(requests: list[Entry]) -> list[Entry]:
    return [entry for entry in requests if entry.level in {"study", "series", "instance"}]


def test_what_does_not_fit_the_day_comes_by_another_route(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    total = size_of(holdings)
    before = 1_000_000  # somebody behind the same address was there before
    allowance = Allowance(before + total // 2, used={ME: before})
    with running(tmp_path, holdings, allowance) as (origins, profiles):
        ended = pull(tmp_path, profiles.source("proxy", "bucket"), rows)
        asked = origins.proxy.requests
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert asked[0].level == "usage"  # before anything that costs
    assert {entry.status for entry in asked} == {200}
    assert before < allowance.used(ME) <= allowance.limit_bytes
    assert read_quota(tmp_path / "dest") == {PROXY: allowance.used(ME) - before}
    assert set(read_routes(tmp_path / "dest").values()) == {BUCKET, PROXY}
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows)


def test_at_the_end_of_the_day_the_run_pauses_and_says_when_it_can_go_on(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    total = size_of(holdings)
    allowance = Allowance(total // 2, used={ME: 1})
    with running(tmp_path, holdings, allowance) as (origins, profiles):
        paused = pull(tmp_path, profiles.source("proxy"), rows)
        assert (paused.code, paused.json["state"]) == (4, "paused"), paused.stderr
        assert "00:00 UTC" in paused.json["reason"]
        assert 0 < paused.json["series_complete"] < len(rows)
        assert paused.json["series_failed"] == 0
        assert allowance.used(ME) <= allowance.limit_bytes
        assert {entry.status for entry in origins.proxy.requests} == {200}
        landed = read_tree(tmp_path / "dest")
        asked = len(retrieves(origins.proxy.requests))
        again = pull(tmp_path, profiles.source("proxy"), rows)  # still the same day
        assert (again.code, again.json["instances_landed"]) == (4, 0)
        assert len(retrieves(origins.proxy.requests)) == asked
        allowance.limit_bytes = 10 * total  # the next day
        ended = run_command("resume", tmp_path / "dest", "--json")
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        assert {entry.status for entry in origins.proxy.requests} == {200}
        assert len({entry.path for entry in retrieves(origins.proxy.requests)}) == len(
            retrieves(origins.proxy.requests)
        )
    tree = idc_tree(holdings, rows)
    assert read_tree(tmp_path / "dest") == tree
    assert landed.items() <= tree.items()


@pytest.mark.parametrize("then", ["bucket", "nothing"])
def test_a_429_is_the_end_of_the_day_and_is_not_tried_again(
    then: str, rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    """Nobody says what is left: the request that passes the limit completes, and the next is the last."""
    allowance = Allowance(size_of(holdings) // 2)
    with running(tmp_path, holdings, allowance, more=ONE_AT_A_TIME, usage=False) as (origins, profiles):
        names: tuple[IdcName, ...] = ("proxy", "bucket") if then == "bucket" else ("proxy",)
        ended = pull(tmp_path, profiles.source(*names), rows, "-v")
        asked = retrieves(origins.proxy.requests)
    assert [entry.status for entry in asked] == [200] * (len(asked) - 1) + [429]
    before_last = allowance.used(ME) - asked[-2].charged_bytes
    assert before_last <= allowance.limit_bytes < allowance.used(ME)
    assert read_quota(tmp_path / "dest") == {PROXY: allowance.used(ME)}
    assert f"stopped asking {PROXY}" in ended.stderr
    if then == "bucket":
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        assert ended.json["series_moved"] >= 1
        assert set(read_routes(tmp_path / "dest").values()) == {BUCKET, PROXY}
        assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows)
    else:
        assert (ended.code, ended.json["state"]) == (4, "paused")
        assert "00:00 UTC" in ended.json["reason"]
        assert ended.json["series_complete"] == len(asked) - 1


def test_many_at_once_start_nothing_after_the_first_429(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    allowance = Allowance(1, used={ME: 2})
    with running(tmp_path, holdings, allowance, usage=False) as (origins, profiles):
        ended = pull(tmp_path, profiles.source("proxy", "bucket"), rows)
        asked = retrieves(origins.proxy.requests)
    assert {entry.status for entry in asked} == {429}
    assert len(asked) <= 4  # as many as the proxy sees at once in the beginning
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert set(read_routes(tmp_path / "dest").values()) == {BUCKET}


def test_what_the_user_allows_is_held_to_the_byte(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    mine = size_of(holdings) // 3
    allowance = Allowance(1 << 40)
    with running(tmp_path, holdings, allowance) as (_, profiles):
        paused = pull(tmp_path, profiles.source("proxy"), rows, "--quota", str(mine))
        assert (paused.code, paused.json["state"]) == (4, "paused"), paused.stderr
        assert 0 < allowance.used(ME) <= mine
        ended = pull(tmp_path, profiles.source("proxy", "bucket"), rows, "--quota", str(mine))
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert allowance.used(ME) <= mine  # the ledger knows what this day has brought
    assert read_quota(tmp_path / "dest") == {PROXY: allowance.used(ME)}
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows)


def test_a_500_of_the_proxy_is_tried_again(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    """Google's own 429, per minute, arrives like this."""
    rules: dict[IdcName, list[Rule]] = {"proxy": [Rule(action=Status(status=500), level="series", every=3)]}
    with idc_thread(holdings, rules=rules) as origins:
        ended = pull(tmp_path, write_profiles(tmp_path, origins).source("proxy"), rows)
        statuses = [entry.status for entry in retrieves(origins.proxy.requests)]
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert statuses.count(500) == ended.json["retries"] > 0
    assert statuses.count(200) == len(rows)


def test_a_client_that_is_denied_asks_no_more(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    allowance = Allowance(1 << 40, denied=frozenset({ME}))
    with running(tmp_path, holdings, allowance, more=ONE_AT_A_TIME) as (origins, profiles):
        ended = pull(tmp_path, profiles.source("proxy", "bucket"), rows)
        assert [entry.status for entry in retrieves(origins.proxy.requests)] == [403]
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert set(read_routes(tmp_path / "dest").values()) == {BUCKET}
