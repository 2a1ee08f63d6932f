"""Cohorts over all of IDC's buckets, by every route there is: who was asked for what, what came, what was told."""

from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from dicomhaul.model import Series
from dicomhaul.origin import Entry, Holdings, Rule, synthetic_holdings
from dicomhaul.origin.faults import Action, Level, Part, Status
from dicomhaul.origin.idc import GCS_NAMES, IdcName
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, read_checks, read_routes, read_tree
from support.idc_origins import (
    TOKEN_ENVIRON,
    idc_manifest,
    idc_rows,
    idc_thread,
    idc_tree,
    write_profiles,
)

DATA, CR, TWO = "idc-open-data", "idc-open-data-cr", "idc-open-data-two"
BUCKET, GCS, PROXY, GOOGLE = "local-bucket", "local-gcs", "local-proxy", "local-google"


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Five series, 36 instances, 11 MB: two in IDC's first bucket, one and two in the others."""
    return [*idc_rows(DATA, 2), *idc_rows(CR, 1), *idc_rows(TWO, 2)]


@pytest.fixture(scope="module")
def holdings(rows: list[Series]) -> Holdings:
    """What the origins hold: these series, as large as the index says."""
    return synthetic_holdings(rows)


def pull(folder: Path, source: str, manifest: str, *more: Word) -> Ended:
    """Pull a manifest to `folder/dest`."""
    (folder / "cohort.csv").write_text(manifest, encoding="utf-8")
    words: list[Word] = ["pull", folder / "cohort.csv", "--source", source, "-o", folder / "dest", "--json", *more]
    return run_command(*words, environ=TOKEN_ENVIRON)


def paths(requests: list[Entry], level: str) -> Counter[str]:
    """How often each thing of a level was asked for."""
    return Counter(entry.path for entry in requests if entry.level == level)


def series_path(row: Series) -> str:
    return f"/studies/{row.study}/series/{row.series}"


def prefix(row: Series, names: dict[str, str] | None = None) -> str:
    bucket = row.bucket or ""
    return f"/{(names or {}).get(bucket, bucket)}/{row.revision}/"


def object_paths(holdings: Holdings, rows: list[Series], names: dict[str, str] | None = None) -> Counter[str]:
    keys = {each.uuid: each.sops for each in holdings.revisions}
    return Counter(prefix(row, names) + key.rpartition("/")[2] for row in rows for key in keys[row.revision or ""])


def test_whole_series_from_all_three_buckets_and_single_instances_from_the_proxy(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    whole, chosen = [rows[0], *rows[2:]], rows[1]
    sops = [one.sop for one in holdings.revisions[1].series][1:3]
    with idc_thread(holdings) as origins:
        profiles = write_profiles(tmp_path, origins)
        ended = pull(tmp_path, profiles.source("bucket", "proxy"), idc_manifest(whole, {chosen.series: sops}))
        words: list[Word] = ["plan", tmp_path / "cohort.csv", "--source", profiles.source("bucket", "proxy"), "--json"]
        planned = run_command(*words).json
        assert {name: route["series"] for name, route in planned["routes"].items()} == {BUCKET: 4, PROXY: 1}
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        assert paths(origins.bucket.requests, "listing") == Counter(prefix(row) for row in whole)
        assert paths(origins.bucket.requests, "object") == object_paths(holdings, whole)
        assert paths(origins.proxy.requests, "instance") == Counter(
            f"{series_path(chosen)}/instances/{sop}" for sop in sops
        )
        assert not paths(origins.proxy.requests, "series")
        assert [origin.requests for origin in (origins.gcs, origins.google)] == [[], []]
    tree = {
        path: content
        for path, content in idc_tree(holdings, rows).items()
        if chosen.series not in path or any(sop in path for sop in sops)
    }
    assert read_tree(tmp_path / "dest") == tree
    assert_recorded(tmp_path / "dest", tree)
    assert read_routes(tmp_path / "dest") == {
        **{row.series: BUCKET for row in whole},
        chosen.series: PROXY,
    }
    assert read_checks(tmp_path / "dest") == {"MD5": 28, "FRAMING": 2}
    assert {name: route["series"] for name, route in ended.json["routes"].items()} == {BUCKET: 4, PROXY: 1}


@pytest.mark.parametrize("name", ["gcs", "proxy"])
def test_another_route_lands_the_same(name: IdcName, rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source(name)
        ended = pull(tmp_path, source, idc_manifest(rows))
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        if name == "gcs":
            assert paths(origins.gcs.requests, "listing") == Counter(prefix(row, GCS_NAMES) for row in rows)
            assert paths(origins.gcs.requests, "object") == object_paths(holdings, rows, GCS_NAMES)
        else:
            assert paths(origins.proxy.requests, "series") == Counter(series_path(row) for row in rows)
    # What `test_whole_series_from_all_three_buckets...` lands by the bucket, byte for byte.
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows)
    assert read_checks(tmp_path / "dest") == {"CRC32C" if name == "gcs" else "FRAMING": 36}
    assert set(read_routes(tmp_path / "dest").values()) == {f"local-{name}"}


def test_the_store_on_google_says_beforehand_what_it_cannot_give(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    held = [row for row in rows if row.bucket == DATA]
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("google")
        (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
        planned = run_command("plan", tmp_path / "cohort.csv", "--source", source)
        assert planned.code == 0, planned.stderr
        assert all(bucket in planned.stdout for bucket in (CR, TWO))
        as_json = run_command("plan", tmp_path / "cohort.csv", "--source", source, "--json").json
        assert as_json["series"] == 2
        assert sum(as_json["skipped"].values()) == 3
        assert all("does not hold the bucket" in reason for reason in as_json["skipped"])
        assert origins.google.requests == []
        ended = pull(tmp_path, source, idc_manifest(rows))
        assert paths(origins.google.requests, "series") == Counter(series_path(row) for row in held)
        assert not origins.proxy.requests
        assert not origins.bucket.requests
    assert (ended.code, ended.json["state"], ended.json["series_complete"]) == (3, "partial", 2)
    assert {failure["series"] for failure in ended.json["failures"]} == {row.series for row in rows[2:]}
    assert all("does not hold the bucket" in failure["reason"] for failure in ended.json["failures"])
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, held)


def test_what_is_larger_than_an_answer_of_the_proxy(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    limit = 300_000  # the instances of two series are smaller, those of the others larger
    small = [row for row in rows if (row.size_bytes or 0) < limit * (row.expected or 1)]
    more: dict[IdcName, str] = {"proxy": f"[limits]\nresponse_bytes = {limit}"}
    with idc_thread(holdings, response_bytes=limit) as origins:
        profiles = write_profiles(tmp_path, origins, more)
        (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
        words: list[Word] = ["plan", tmp_path / "cohort.csv", "--json", "--source"]
        alone = run_command(*words, profiles.source("proxy")).json
        assert sum(alone["skipped"].values()) == len(rows) - len(small)
        assert all("larger than an answer" in reason for reason in alone["skipped"])
        ended = pull(tmp_path, profiles.source("proxy", "bucket"), idc_manifest(rows))
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        assert sum(paths(origins.proxy.requests, "instance").values()) == sum(row.expected or 0 for row in small)
        assert not paths(origins.proxy.requests, "series")  # each would have been too large
        assert {entry.status for entry in origins.proxy.requests} == {200}
    assert read_routes(tmp_path / "dest") == {row.series: PROXY if row in small else BUCKET for row in rows}
    assert 0 < len(small) < len(rows)
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows)


class Refusal(NamedTuple):
    """What a route does for good with one series, and by which route it then comes."""

    first: IdcName
    second: IdcName
    action: Action
    level: Level | None  # None: whatever is asked for of the series


REFUSALS = {
    "prefix gone": Refusal("bucket", "proxy", Status(status=404), "listing"),
    "bucket closed": Refusal("bucket", "proxy", Status(status=403, body="<Error/>"), "listing"),
    "objects closed": Refusal("bucket", "proxy", Status(status=403, body="<Error/>"), "object"),
    "objects rotten": Refusal("bucket", "gcs", Part(wrong="flip"), "object"),
    "absent from the store": Refusal("google", "proxy", Status(status=403), None),
    "empty in the store": Refusal("google", "bucket", Status(status=204), None),
    "absent from the proxy": Refusal("proxy", "bucket", Status(status=404), None),
    "empty at the proxy": Refusal("proxy", "bucket", Status(status=204), None),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_series_that_one_route_refuses_goes_on_by_the_next(
    refusal: Refusal, rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    first, second, action, level = refusal
    cohort, lost = rows[:2], rows[0]
    place = prefix(lost) if first == "bucket" else series_path(lost)
    rules = {first: [Rule(action=action, level=level, path=place)]}
    with idc_thread(holdings, rules=rules) as origins:
        profiles = write_profiles(tmp_path, origins)
        ended = pull(tmp_path, profiles.source(first, second), idc_manifest(cohort), "-v")
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        if level == "object":  # each object failed on its own, and none is there
            assert set(paths(origins.bucket.requests, "object")) == set(object_paths(holdings, cohort))
        requests = origins.by_name()[second].requests
        assert any(lost.series in entry.path or (lost.revision or "") in entry.path for entry in requests)
        assert not any(rows[1].series in entry.path or (rows[1].revision or "") in entry.path for entry in requests)
    assert ended.json["series_moved"] == 1
    assert read_routes(tmp_path / "dest") == {lost.series: f"local-{second}", rows[1].series: f"local-{first}"}
    assert {name: route["series"] for name, route in ended.json["routes"].items()} == {
        f"local-{first}": 1,
        f"local-{second}": 1,
    }
    assert f"moved from local-{first} to local-{second}: series {lost.series}" in ended.stderr
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, cohort)


def test_what_landed_before_a_series_moved_is_kept(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    lost = rows[0]
    gone = sorted(object_paths(holdings, [lost]))[3]
    rules: dict[IdcName, list[Rule]] = {"bucket": [Rule(action=Status(status=404), level="object", path=gone)]}
    with idc_thread(holdings, rules=rules) as origins:
        source = write_profiles(tmp_path, origins).source("bucket", "proxy")
        ended = pull(tmp_path, source, idc_manifest([lost]))
        retrieved = [entry for entry in origins.proxy.requests if entry.level in {"series", "instance"}]
    assert (ended.code, ended.json["state"], ended.json["series_moved"]) == (0, "complete", 1), ended.stderr
    assert ended.json["instances_landed"] == lost.expected
    assert len(retrieved) == 1  # the series is small: asking for it once costs less than asking who is missing
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, [lost])
    assert read_checks(tmp_path / "dest") == {"MD5": (lost.expected or 0) - 1, "FRAMING": 1}


def test_a_series_that_every_route_refuses_fails_with_each_reason(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    lost = rows[0]
    rules: dict[IdcName, list[Rule]] = {
        "bucket": [Rule(action=Status(status=404), level="listing", path=prefix(lost))],
        "proxy": [Rule(action=Status(status=404), path=series_path(lost))],
    }
    with idc_thread(holdings, rules=rules) as origins:
        source = write_profiles(tmp_path, origins).source("bucket", "proxy")
        ended = pull(tmp_path, source, idc_manifest(rows[:2]))
    assert (ended.code, ended.json["state"], ended.json["series_complete"]) == (3, "partial", 1)
    (failure,) = ended.json["failures"]
    assert failure["series"] == lost.series
    assert all(name in failure["reason"] for name in (BUCKET, PROXY))
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, [rows[1]])


@pytest.mark.parametrize("name", ["bucket", "gcs"])
def test_an_object_that_rotted_on_the_way_is_fetched_again(
    name: IdcName, rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    rules = {name: [Rule(action=Part(wrong="flip"), level="object", times=frozenset({2, 4}))]}
    with idc_thread(holdings, rules=rules) as origins:
        source = write_profiles(tmp_path, origins).source(name)
        ended = pull(tmp_path, source, idc_manifest(rows[:2]))
        asked = paths(origins.by_name()[name].requests, "object")
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert sorted(asked.values()) == [1] * 14 + [2] * 2
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows[:2])
    assert read_checks(tmp_path / "dest") == {"MD5" if name == "bucket" else "CRC32C": 16}


def test_xxh3_alone_compares_nothing(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        ended = pull(tmp_path, source, idc_manifest(rows[:1]), "--checksum", "xxh3")
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert read_checks(tmp_path / "dest") == {"SIZE": rows[0].expected}


def test_files_are_named_as_the_objects_where_that_is_wanted(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    with idc_thread(holdings) as origins:
        profiles = write_profiles(tmp_path, origins)
        ended = pull(tmp_path, profiles.source("bucket"), idc_manifest(rows[:2]), "--name-by", "crdc")
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        again = pull(tmp_path, profiles.source("bucket"), idc_manifest(rows[:2]), "--name-by", "crdc")
        assert (again.code, again.json["instances_landed"]) == (0, 0)
        refused = pull(tmp_path, profiles.source("proxy"), idc_manifest(rows[:1]), "--name-by", "crdc")
        assert refused.code == 2
    names = {Path(path).name for path in object_paths(holdings, rows[:2])}
    assert {Path(path).name for path in read_tree(tmp_path / "dest")} == names
    assert run_command("verify", tmp_path / "dest", "--json").code == 0


def test_pages_of_a_listing(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    with idc_thread(holdings, page_max=3) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        ended = pull(tmp_path, source, idc_manifest(rows[:1]))
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        assert paths(origins.bucket.requests, "listing") == {prefix(rows[0]): 3}
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows[:1])


def test_a_series_whose_answer_the_proxy_cannot_finish_comes_instance_by_instance(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    """App Engine's limit is lower than the profile believes: 500, without a word, each time."""
    chosen = next(row for row in rows if row.bucket == DATA)
    size = chosen.size_bytes or 0
    more: dict[IdcName, str] = {"proxy": f"[limits]\nresponse_bytes = {size * 11 // 10}"}
    with idc_thread(holdings, response_bytes=size * 9 // 10) as origins:
        ended = pull(tmp_path, write_profiles(tmp_path, origins, more).source("proxy"), idc_manifest([chosen]))
        asked = [(entry.level, entry.status) for entry in origins.proxy.requests if entry.level != "usage"]
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert set(asked) == {("series", 500), ("search", 200), ("instance", 200)}
    assert asked.count(("series", 500)) == ended.json["retries"] + 1  # a busy proxy answers the same: it is tried again
    assert asked.count(("instance", 200)) == chosen.expected
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, [chosen])
