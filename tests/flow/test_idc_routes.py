"""Cohorts over all of IDC's buckets, by every route there is: who was asked for what, what came, what was told."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Literal, NamedTuple, TypedDict, Unpack

import anyio
import pytest

from dicomhaul import Cohort, Hauler, HaulOptions, Observer, Report, SeriesMoved
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


class Options(TypedDict, total=False):
    """Of `HaulOptions`, what a test needs."""

    checksum: Literal["stated", "xxh3"]
    name_by: Literal["sop", "crdc"]


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Five series, 36 instances, 11 MB: two in IDC's first bucket, one and two in the others."""
    return [*idc_rows(DATA, 2), *idc_rows(CR, 1), *idc_rows(TWO, 2)]


@pytest.fixture(scope="module")
def holdings(rows: list[Series]) -> Holdings:
    """What the origins hold: these series, as large as the index says."""
    return synthetic_holdings(rows)


@pytest.fixture(autouse=True)
def _token(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the store on Google wants."""
    for name, value in TOKEN_ENVIRON.items():
        monkeypatch.setenv(name, value)


def pull(folder: Path, source: str, manifest: str, *more: Word) -> Ended:
    """Pull a manifest to `folder/dest`, as a user does."""
    (folder / "cohort.csv").write_text(manifest, encoding="utf-8")
    words: list[Word] = ["pull", folder / "cohort.csv", "--source", source, "-o", folder / "dest", "--json", *more]
    return run_command(*words, environ=TOKEN_ENVIRON)


def haul(
    folder: Path, source: str, manifest: str, observer: Observer = lambda _: None, **options: Unpack[Options]
) -> Report:
    """Do so as a program does: the same, without a process that has to start."""
    (folder / "cohort.csv").write_text(manifest, encoding="utf-8")

    async def pull_it() -> Report:
        async with Hauler(source, observer=observer, options=HaulOptions(**options)) as hauler:
            return await hauler.pull(Cohort.manifest(folder / "cohort.csv"), folder / "dest", check=False)

    return anyio.run(pull_it)


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


def test_the_copy_of_the_buckets_lands_the_same_though_objects_rot_on_the_way(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    rot = Rule(action=Part(wrong="flip"), level="object", times=frozenset({2, 4}))
    with idc_thread(holdings, rules={"gcs": [rot]}) as origins:
        report = haul(tmp_path, write_profiles(tmp_path, origins).source("gcs"), idc_manifest(rows))
        assert report.state == "complete", report.reason
        assert paths(origins.gcs.requests, "listing") == Counter(prefix(row, GCS_NAMES) for row in rows)
        asked = paths(origins.gcs.requests, "object")
        assert set(asked) == set(object_paths(holdings, rows, GCS_NAMES))
        assert sorted(asked.values()) == [1] * 34 + [2] * 2
    # What `test_whole_series_from_all_three_buckets...` lands by the bucket, byte for byte.
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows)
    assert read_checks(tmp_path / "dest") == {"CRC32C": 36}
    assert set(read_routes(tmp_path / "dest").values()) == {GCS}


def test_the_proxy_lands_the_same(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    with idc_thread(holdings) as origins:
        report = haul(tmp_path, write_profiles(tmp_path, origins).source("proxy"), idc_manifest(rows))
        assert report.state == "complete", report.reason
        assert paths(origins.proxy.requests, "series") == Counter(series_path(row) for row in rows)
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows)
    assert read_checks(tmp_path / "dest") == {"FRAMING": 36}
    assert set(read_routes(tmp_path / "dest").values()) == {PROXY}


def test_the_store_on_google_says_beforehand_what_it_cannot_give(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    held = [row for row in rows if row.bucket == DATA]
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("google")
        (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
        planned = run_command("plan", tmp_path / "cohort.csv", "--source", source, "--json")
        assert planned.code == 0, planned.stderr
        as_json = planned.json
        assert all(bucket in planned.stdout for bucket in (CR, TWO))
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
        report = haul(tmp_path, profiles.source("proxy", "bucket"), idc_manifest(rows))
        assert report.state == "complete", report.reason
        assert sum(paths(origins.proxy.requests, "instance").values()) == sum(row.expected or 0 for row in small)
        assert not paths(origins.proxy.requests, "series")  # each would have been too large
        assert {entry.status for entry in origins.proxy.requests} == {200}
    assert read_routes(tmp_path / "dest") == {row.series: PROXY if row in small else BUCKET for row in rows}
    assert 0 < len(small) < len(rows)
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows)


class Refusals(NamedTuple):
    """What a route does for good with some series, each in its own way, and by which route these then come."""

    first: IdcName
    second: IdcName
    ways: Sequence[tuple[Action, Level | None]]  # the level None: whatever is asked for of the series


REFUSALS = {
    "bucket": Refusals(
        "bucket",
        "proxy",
        [
            (Status(status=404), "listing"),  # the prefix is gone
            (Status(status=403, body="<Error/>"), "listing"),
            (Status(status=403, body="<Error/>"), "object"),
        ],
    ),
    "rotten": Refusals("bucket", "gcs", [(Part(wrong="flip"), "object")]),
    "absent from the store": Refusals("google", "proxy", [(Status(status=403), None)]),
    "empty in the store": Refusals("google", "bucket", [(Status(status=204), None)]),
    "proxy": Refusals("proxy", "bucket", [(Status(status=404), None), (Status(status=204), None)]),
}


@pytest.fixture(scope="module")
def alike() -> list[Series]:
    """Four series that every origin has."""
    return idc_rows(DATA, 4)


@pytest.mark.parametrize("refusals", REFUSALS.values(), ids=REFUSALS)
def test_what_one_route_refuses_goes_on_by_the_next(refusals: Refusals, alike: list[Series], tmp_path: Path) -> None:
    first, second, ways = refusals
    holdings = synthetic_holdings(alike)
    lost, cohort = alike[: len(ways)], alike[: len(ways) + 1]
    kept = cohort[-1]
    rules = {
        first: [
            Rule(action=action, level=level, path=prefix(row) if first == "bucket" else series_path(row))
            for (action, level), row in zip(ways, lost, strict=True)
        ]
    }
    events: list[object] = []
    with idc_thread(holdings, rules=rules) as origins:
        profiles = write_profiles(tmp_path, origins)
        report = haul(tmp_path, profiles.source(first, second), idc_manifest(cohort), events.append)
        assert report.state == "complete", report.reason
        for (_, level), row in zip(ways, lost, strict=True):
            if level == "object":  # each object failed on its own, and none is there
                assert set(object_paths(holdings, [row])) <= set(paths(origins.bucket.requests, "object"))
        requests = origins.by_name()[second].requests
        for row in lost:
            assert any(row.series in entry.path or (row.revision or "") in entry.path for entry in requests)
        assert not any(kept.series in entry.path or (kept.revision or "") in entry.path for entry in requests)
    by_first, by_second = f"local-{first}", f"local-{second}"
    assert report.series_moved == len(lost)
    assert {name: amount.series for name, amount in report.routes.items()} == {by_first: 1, by_second: len(lost)}
    assert read_routes(tmp_path / "dest") == {**{row.series: by_second for row in lost}, kept.series: by_first}
    moved = {each.series: (each.route, each.next_route) for each in events if isinstance(each, SeriesMoved)}
    assert moved == {row.series: (by_first, by_second) for row in lost}
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, cohort)


def test_what_landed_before_a_series_moved_is_kept(rows: list[Series], holdings: Holdings, tmp_path: Path) -> None:
    lost = rows[0]
    gone = sorted(object_paths(holdings, [lost]))[3]
    rules: dict[IdcName, list[Rule]] = {"bucket": [Rule(action=Status(status=404), level="object", path=gone)]}
    with idc_thread(holdings, rules=rules) as origins:
        source = write_profiles(tmp_path, origins).source("bucket", "proxy")
        report = haul(tmp_path, source, idc_manifest([lost]))
        retrieved = [entry for entry in origins.proxy.requests if entry.level in {"series", "instance"}]
    assert (report.state, report.series_moved) == ("complete", 1), report.reason
    assert report.instances_landed == lost.expected
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


def test_an_object_that_rotted_on_the_way_is_fetched_again(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    rot = Rule(action=Part(wrong="flip"), level="object", times=frozenset({2, 4}))
    with idc_thread(holdings, rules={"bucket": [rot]}) as origins:
        report = haul(tmp_path, write_profiles(tmp_path, origins).source("bucket"), idc_manifest(rows[:2]))
        asked = paths(origins.bucket.requests, "object")
    assert report.state == "complete", report.reason
    assert sorted(asked.values()) == [1] * 14 + [2] * 2
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows[:2])
    assert read_checks(tmp_path / "dest") == {"MD5": 16}


def test_files_are_named_as_the_objects_where_that_is_wanted(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    with idc_thread(holdings) as origins:
        profiles = write_profiles(tmp_path, origins)
        ended = pull(tmp_path, profiles.source("bucket"), idc_manifest(rows[:2]), "--name-by", "crdc")
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        again = haul(tmp_path, profiles.source("bucket"), idc_manifest(rows[:2]), name_by="crdc")
        assert (again.state, again.instances_landed) == ("complete", 0)
        more: list[list[Word]] = [["--name-by", "crdc"], ["--name-by", "crdc", "--dry-run"], ["--dry-run"]]
        for words in more:  # the last: the destination has such names
            refused = pull(tmp_path, profiles.source("proxy"), idc_manifest(rows[:1]), *words)
            assert (refused.code, "needs IDC's buckets" in refused.complaint) == (2, True)
        other = pull(tmp_path, profiles.source("bucket"), idc_manifest(rows[:1]), "--name-by", "sop", "--dry-run")
        assert (other.code, "are named by --name-by crdc" in other.complaint) == (2, True)
        both = pull(tmp_path, profiles.source("proxy", "bucket"), idc_manifest(rows), "--dry-run")
        assert (both.code, set(both.json["routes"])) == (0, {"local-bucket"})
    names = {Path(path).name for path in object_paths(holdings, rows[:2])}
    assert {Path(path).name for path in read_tree(tmp_path / "dest")} == names
    assert run_command("verify", tmp_path / "dest", "--json").code == 0


def test_pages_of_a_listing_and_xxh3_alone_which_compares_nothing(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    with idc_thread(holdings, page_max=3) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        report = haul(tmp_path, source, idc_manifest(rows[:1]), checksum="xxh3")
        assert report.state == "complete", report.reason
        assert paths(origins.bucket.requests, "listing") == {prefix(rows[0]): 3}
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, rows[:1])
    assert read_checks(tmp_path / "dest") == {"SIZE": rows[0].expected}


def test_a_series_whose_answer_the_proxy_cannot_finish_comes_instance_by_instance(
    rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    """App Engine's limit is lower than the profile believes: 500, without a word, each time."""
    chosen = next(row for row in rows if row.bucket == DATA)
    size = chosen.size_bytes or 0
    more: dict[IdcName, str] = {"proxy": f"[limits]\nresponse_bytes = {size * 11 // 10}"}
    with idc_thread(holdings, response_bytes=size * 9 // 10) as origins:
        report = haul(tmp_path, write_profiles(tmp_path, origins, more).source("proxy"), idc_manifest([chosen]))
        asked = [(entry.level, entry.status) for entry in origins.proxy.requests if entry.level != "usage"]
    assert report.state == "complete", report.reason
    assert set(asked) == {("series", 500), ("search", 200), ("instance", 200)}
    assert asked.count(("series", 500)) == report.retries + 1  # a busy proxy answers the same: it is tried again
    assert asked.count(("instance", 200)) == chosen.expected
    assert read_tree(tmp_path / "dest") == idc_tree(holdings, [chosen])
