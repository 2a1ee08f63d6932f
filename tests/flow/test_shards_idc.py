"""Shards of a cohort of IDC: split where it is planned, from a bucket, with files named as idc-index does."""

from pathlib import Path

from dicomhaul.origin import synthetic_holdings
from dicomhaul.plan.shard import shard_of
from support.command import Word, run_command
from support.destination import read_index, read_routes, read_tree
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
