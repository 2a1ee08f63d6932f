"""`--audit-log`: what runs do to a destination stands in a log, once; who alters the log is found out."""

import json
from pathlib import Path
from typing import Any

from dicomhaul.origin import Rule, Status, synthetic_catalog
from support.command import run_command
from support.destination import read_ledger
from support.made_up import made_up_rows
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
