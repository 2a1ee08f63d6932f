"""`--audit-log`: what runs do to a destination stands in a log, once; who alters the log is found out."""

import json
import shutil
from pathlib import Path
from typing import Any
from uuid import NAMESPACE_OID, uuid5

from dicomhaul.origin import Rule, Status, synthetic_catalog, synthetic_holdings
from support.command import run_command
from support.destination import read_ledger
from support.idc_origins import idc_rows, idc_thread, write_profiles
from support.idc_releases import write_release
from support.made_up import made_up_rows, manifest_of
from support.origin_process import origin_thread

ROWS = made_up_rows(2, 3, series_a_study=1)
CATALOG = synthetic_catalog(ROWS)


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines()]


def told(log: Path, event: str) -> list[dict[str, Any]]:
    return [entry for entry in entries(log) if entry["event"] == event]


def test_a_pull_a_repair_and_a_failure_stand_in_the_log_and_it_is_sound(tmp_path: Path) -> None:
    dest, log = tmp_path / "dest", tmp_path / "audit.log"
    audited = ("--audit-log", log, "--json", "-q")
    refused = [Rule(path=f"/{ROWS[0].series}(/instances/[^/]+)?$", level=level, action=Status(status=404))
               for level in ("series", "instance")]  # fmt: skip
    with origin_thread(CATALOG, rules=refused) as origin:
        pulled = run_command("pull", "--source", origin.url, "--all", "-o", dest, *audited)
    assert pulled.code == 3, pulled.stderr
    assert len(told(log, "failed")) + len(told(log, "series failed")) >= 1
    with origin_thread(CATALOG) as origin:
        assert run_command("resume", dest, "--source", origin.url, *audited).code == 0
        damaged = min(dest.rglob("*.dcm"))
        damaged.write_bytes(b"other bytes")
        assert run_command("verify", dest, "--repair", "--source", origin.url, *audited).code == 0
    created = told(log, "created")
    landed = [row for row in read_ledger(dest) if row.state == 1]
    assert {(each["study"], each["series"], each["sop"], each["size_bytes"], each["xxh3"]) for each in created} == {
        (row.study, row.series, row.sop, row.size_bytes, row.xxh3.hex()) for row in landed if row.xxh3 is not None
    }
    assert [(each["sop"], each["reason"]) for each in told(log, "wanted again")] == [(damaged.stem, "damaged or gone")]
    assert len(created) == len(landed) + 1
    assert [each["command"] for each in told(log, "run begun")] == ["pull", "resume", "resume"]
    assert [each["state"] for each in told(log, "run ended")] == ["partial", "complete", "complete"]
    proof = run_command("audit", "verify", log, "--dest", dest, "--json")
    assert (proof.code, proof.json["findings"], proof.json["ledger"]["different"]) == (0, [], 0), proof


def test_a_sync_that_revises_withdraws_and_files_elsewhere_says_so_and_no_patient(tmp_path: Path) -> None:
    kept, revised, withdrawn = (row._replace(patient="NEMO-4711") for row in idc_rows("idc-open-data", 3))
    other = revised._replace(revision=str(uuid5(NAMESPACE_OID, "other")), expected=2, size_bytes=4_000)
    rows = {23: [kept, revised, withdrawn], 24: [kept._replace(collection="renamed_collection"), other]}
    releases = {number: write_release(tmp_path, number, each) for number, each in rows.items()}
    holdings = synthetic_holdings([*rows[23], other], max_instance_bytes=3_000)
    dest, log = tmp_path / "dest", tmp_path / "audit.log"
    with idc_thread(holdings) as origins:
        words = ("--all", "--source", write_profiles(tmp_path, origins).source("bucket"), "-o", dest, "--json", "-q")
        for number in (23, 24):
            more = ("--max-delete-fraction", "1", "--audit-log", log)
            ended = run_command("sync", *words, *more, environ=releases[number].environ)
            assert ended.code == 0, ended.stderr
    removed = {(entry["series"], entry["sop"]) for entry in told(log, "removed")}
    trash = [path.stem for path in (dest / ".dicomhaul" / "trash").rglob("*.dcm")]
    assert sorted(sop for _, sop in removed) == sorted(trash)
    assert {series for series, _ in removed} == {revised.series, withdrawn.series}
    assert {(entry["series"], entry["sop"]) for entry in told(log, "released")} == removed
    assert [entry["series"] for entry in told(log, "series moved")] == [kept.series]
    proof = run_command("audit", "verify", log, "--dest", dest, "--json")
    assert (proof.code, proof.json["findings"], proof.json["ledger"]["different"]) == (0, [], 0), proof
    assert "NEMO-4711" not in log.read_text()


def test_a_log_that_was_cut_or_would_lie_in_the_destination_stops_the_run(tmp_path: Path) -> None:
    dest, log = tmp_path / "dest", tmp_path / "audit.log"
    with origin_thread(CATALOG) as origin:
        words = ("pull", "--source", origin.url, "--all", "-o", dest, "--json", "-q")
        inside = run_command(*words, "--audit-log", dest / "audit.log")
        assert (inside.code, inside.json["error"], dest.exists()) == (2, "ConfigError", False)
        assert run_command(*words, "--audit-log", log).code == 0
        whole = log.read_text().splitlines(keepends=True)
        log.write_text("".join(whole[:-1]))
        refused = run_command(*words, "--audit-log", log)
        assert (refused.code, refused.json["error"]) == (1, "AuditError")
    alone = run_command("audit", "verify", log, "--json")
    assert (alone.code, alone.json["state"]) == (0, "complete")
    by_ledger = run_command("audit", "verify", log, "--dest", dest)
    assert (by_ledger.code, "remembers is in none of these logs" in by_ledger.stdout) == (3, True)
    head = json.loads(whole[-1])["sha256"]
    assert run_command("audit", "verify", log, "--head", head).code == 3
    log.write_text("".join(whole))
    found = run_command("audit", "verify", log, "--head", head)
    assert (found.code, head in found.stdout) == (0, True)


def test_shards_that_are_merged_and_a_tree_that_is_adopted_are_told_to_the_instance(tmp_path: Path) -> None:
    dest, other, log = tmp_path / "dest", tmp_path / "other", tmp_path / "audit.log"
    audited = ("--audit-log", log, "--json", "-q")
    cohort = tmp_path / "cohort.csv"
    cohort.write_text(manifest_of(ROWS), encoding="utf-8")
    with origin_thread(CATALOG) as origin:
        for shard in ("1/2", "2/2"):
            ended = run_command("pull", cohort, "--source", origin.url, "-o", dest, "--shard", shard, *audited)
            assert ended.code == 0, ended.stderr
        assert run_command("merge", dest, *audited).code == 0
        shutil.copytree(dest, tmp_path / "tree", ignore=shutil.ignore_patterns(".dicomhaul", "index.parquet"))
        adopted = run_command("adopt", tmp_path / "tree", cohort, "--source", origin.url, "-o", other, *audited)
    assert (adopted.code, adopted.json["adopted"]) == (0, 5), adopted.stderr
    assert [each["command"] for each in told(log, "run begun")] == ["pull", "pull", "adopt"]
    for each in (dest, other):
        proof = run_command("audit", "verify", log, "--dest", each, "--json")
        assert (proof.code, proof.json["findings"]) == (0, []), proof
        assert (proof.json["ledger"]["instances"], proof.json["ledger"]["different"]) == (5, 0)
