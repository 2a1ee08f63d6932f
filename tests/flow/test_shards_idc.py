"""Shards of a cohort of IDC: split where it is planned, from a bucket, with files named as idc-index does."""

import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

from dicomhaul.origin import synthetic_holdings
from dicomhaul.plan.shard import shard_of
from support.command import Word, run_command
from support.destination import read_checks, read_index, read_quota, read_routes, read_tree
from support.idc_origins import idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles


def test_shards_by_buckets_are_merged_and_found_complete(tmp_path: Path) -> None:
    rows = [*idc_rows("idc-open-data", 2), *idc_rows("idc-open-data-two", 2)]
    holdings = synthetic_holdings(rows)
    (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
    dests = [tmp_path / "1", tmp_path / "2"]
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        words: list[Word] = [tmp_path / "cohort.csv", "--source", source, "--name-by", "crdc", "--json"]
        for number, dest in enumerate(dests, 1):
            shard = f"{number}/2"
            planned = run_command("plan", *words[:3], "--shard", shard, "--json").json
            done = run_command("pull", *words, "--shard", shard, "-o", dest).json
            mine = sum(1 for row in rows if shard_of(row.series, 2) == number)
            assert (planned["series"], done["state"], done["series_complete"]) == (mine, "complete", mine)
        out = tmp_path / "out"
        merged = run_command("merge", *dests, "-o", out, "--json")
        instances = sum(row.expected or 0 for row in rows)
        assert (merged.code, merged.json["instances_linked"], merged.json["notes"]) == (0, instances, [])
        origins.bucket.requests.clear()
        again = run_command("pull", *words, "-o", out).json
        assert (again["state"], again["instances_present"], again["requests"]) == ("complete", instances, 0)
        assert origins.bucket.requests == []
    tree = read_tree(out)
    assert sorted(tree.values()) == sorted(idc_tree(holdings, rows).values())
    assert tree == read_tree(dests[0]) | read_tree(dests[1])
    assert sorted(row["path"] for row in read_index(out)) == sorted(tree)
    assert set(read_routes(out).values()) == {"local-bucket"}
    assert run_command("verify", out, "--json").json["state"] == "complete"


def test_what_is_known_of_shards_is_known_of_the_whole(tmp_path: Path) -> None:
    """Routes, what bytes were held against, object names, a quota's bytes; and a lock proves the whole by digests."""
    rows = idc_rows("idc-open-data", 6)
    holdings = synthetic_holdings(rows, max_instance_bytes=20_000)
    taken = {row.revision for row in rows[:3]}
    chosen = [held.series for held in holdings.revisions if held.uuid in taken]
    single = {each.series: [next(iter(each)).sop] for each in chosen}
    manifest, dest, cohort, again = (tmp_path / name for name in ("cohort.csv", "d", "cohort.lock", "again"))
    manifest.write_text(idc_manifest(rows[3:], single), encoding="utf-8")
    with idc_thread(holdings) as origins:
        words: list[Word] = ["--source", write_profiles(tmp_path, origins).source("bucket", "proxy"), "--json"]
        for number in (1, 2):
            part: list[Word] = ["--shard", f"{number}/2", "-o", dest, "--lock", tmp_path / f"{number}.lock"]
            assert run_command("pull", manifest, *words, *part).code == 0
        before = known(*(dest / f".dicomhaul/shard-{number}-of-2" for number in (1, 2)))
        assert run_command("merge", dest).code == 0
        assert known(dest / ".dicomhaul") == before
        proven = run_command("verify", dest, "--lock", tmp_path / "2.lock", "--json")
        assert (proven.code, proven.json["lock"]["findings"]) == (0, [])
        assert proven.json["lock"]["series_proven"] == sum(shard_of(row.series, 2) == 2 for row in rows)
        done = run_command("pull", manifest, *words, "-o", dest, "--lock", cohort)
        assert (done.code, done.json["instances_landed"]) == (0, 0)
        for number in (1, 2):  # a lock is a cohort that can be split, too
            part = ["--shard", f"{number}/2", "-o", again]
            assert run_command("pull", cohort, *words, *part).code == 0
    assert set(read_routes(dest).values()) == {"local-bucket", "local-proxy"}
    assert set(read_checks(dest)) == {"MD5", "FRAMING"}
    assert all(read_quota(dest).values())
    instances = len(read_tree(dest))
    assert run_command("merge", again).code == 0
    assert read_tree(again) == read_tree(dest)
    proven = run_command("verify", again, "--lock", cohort, "--json")
    assert (proven.code, proven.json["lock"]["digests_compared"]) == (0, instances)


def known(*folders: Path) -> dict[str, list[tuple[Any, ...]]]:
    """Return what some ledgers know together of series, instances and quotas."""
    queries = {
        "series": "SELECT series, came_by, proof, state, revision FROM series",
        "instance": "SELECT series, sop, i.size_bytes, xxh3, checked, stem, i.state FROM instance i "
        "JOIN series s ON s.id = series_id",
        "quota": "SELECT source, day, bytes FROM quota_day",
    }
    found: dict[str, list[tuple[Any, ...]]] = {name: [] for name in queries}
    for folder in folders:
        with closing(sqlite3.connect(folder / "ledger.sqlite3")) as db:
            for name, query in queries.items():
                found[name] += db.execute(query)
    quota: Counter[tuple[str, str]] = Counter()
    for source, day, size_bytes in found["quota"]:
        quota[source, day] += size_bytes
    return {name: sorted(each, key=repr) for name, each in {**found, "quota": list(quota.items())}.items()}
