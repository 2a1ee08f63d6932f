"""The audit log says what the ledger says, once, wherever the process that writes them is killed."""

import json
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from dicomhaul.errors import AuditError, LedgerError
from dicomhaul.model import Receipt, SopUID
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.planned import plan_cohort
from dicomhaul.record.told import Comparison, open_told
from dicomhaul.trail.proof import prove
from support.made_up import made_up_rows

ROWS = made_up_rows(3)
BY = {"account": "nobody"}

# Lands three instances, each in a transaction of its own, and dies at one of the moments that it counts.
DIES = """
import os, sys
from pathlib import Path
from dicomhaul.model import Receipt, SopUID
from dicomhaul.record import outbox
from dicomhaul.record.ledger import Ledger
from dicomhaul.trail.log import AuditLog
left = int(sys.argv[3])

def mortal(cls, name):
    real = getattr(cls, name)
    def call(*words, **named):
        global left
        left -= 1
        if left == 0:
            os._exit(7)
        found = real(*words, **named)
        left -= 1
        if left == 0:
            os._exit(7)
        return found
    setattr(cls, name, call)

for cls, name in ((AuditLog, "append"), (outbox.Outbox, "acknowledge"), (AuditLog, "_write")):
    mortal(cls, name)
ledger = Ledger.open(Path(sys.argv[1]))
ledger.audit(Path(sys.argv[2]), {"account": "nobody"})
run = ledger.begin_run("pull", "2026-01-01T00:00:00+00:00")
for number in range(3):
    with ledger.transaction():
        ledger.add_receipts([Receipt(1, SopUID(f"1.9.{number}"), 10 + number, bytes([number] * 16))])
ledger.end_run(run, "2026-01-01T00:00:01+00:00", "complete", "{}")
ledger.close()
"""


def planned(path: Path) -> Path:
    with closing(Ledger.open(path)) as ledger:
        plan_cohort(
            ledger, name="c", fingerprint="f", query="{}", source="s", planned_at="2026-01-01", layout="", rows=ROWS
        )
    return path


def entries(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]


def told(log: Path, event: str) -> list[dict[str, Any]]:
    return [entry for entry in entries(log) if entry["event"] == event]


def compare(ledger: Path, *logs: Path) -> Comparison:
    with open_told(ledger) as there:
        assert prove(logs, take=there.take).findings == ()
        return there.compare()


def land(ledger: Ledger, *numbers: int) -> None:
    with ledger.transaction():
        ledger.add_receipts(Receipt(1, SopUID(f"1.9.{each}"), 10 + each, bytes([each] * 16)) for each in numbers)


@pytest.mark.parametrize("moment", range(1, 34, 2))
def test_killed_at_any_moment_the_log_equals_the_ledger_after_the_next_run(moment: int, tmp_path: Path) -> None:
    path, log = planned(tmp_path / "ledger.sqlite3"), tmp_path / "audit.log"
    died = subprocess.run([sys.executable, "-c", DIES, str(path), str(log), str(moment)], check=False)
    assert died.returncode == 7
    if log.exists() and log.stat().st_size:
        # What waits in the ledger makes up for what the log lacks: nothing differs even now.
        assert compare(path, log).different == 0
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
        run_id = ledger.begin_run("resume", "2026-01-02T00:00:00+00:00")
        land(ledger, 0, 1, 2)
        ledger.end_run(run_id, "2026-01-02T00:00:01+00:00", "complete", "{}")
    made = compare(path, log)
    assert (made.instances, made.different, made.waiting, made.repeated) == (3, 0, 0, 0)
    numbers = [entry["from"][1] for entry in entries(log) if "from" in entry]
    assert numbers == list(range(1, len(numbers) + 1))  # nothing twice, nothing left out
    assert [entry["reason"] for entry in told(log, "baseline")] == ["the log of this destination begins"]


def test_what_came_without_the_log_is_told_by_the_next_run_with_it(tmp_path: Path) -> None:
    path, log = planned(tmp_path / "ledger.sqlite3"), tmp_path / "audit.log"
    with closing(Ledger.open(path)) as ledger:
        land(ledger, 1)
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
        ledger.begin_run("pull", "2026-01-01")
        land(ledger, 2)
    assert [entry["sop"] for entry in told(log, "present")] == ["1.9.1"]
    with closing(Ledger.open(path)) as ledger:
        ledger.begin_run("pull", "2026-01-02")
        land(ledger, 3)
        ledger.plan_again([(1, "1.9.1")], "gone")
    assert compare(path, log).different == 2
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
    assert told(log, "baseline")[-1]["reason"] == "there were runs without the log"
    assert compare(path, log).different == 0


def test_a_copy_of_a_ledger_that_was_put_back_starts_from_what_is_there(tmp_path: Path) -> None:
    path, log = planned(tmp_path / "ledger.sqlite3"), tmp_path / "audit.log"
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
        ledger.begin_run("pull", "2026-01-01")
    kept = path.read_bytes()
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
        land(ledger, 1)
    path.write_bytes(kept)
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
        land(ledger, 2)
    assert told(log, "baseline")[-1]["reason"] == "the ledger is older than its log"
    assert compare(path, log).different == 0


def test_what_replaces_fails_and_leaves_is_told_by_its_name(tmp_path: Path) -> None:
    path, log = planned(tmp_path / "ledger.sqlite3"), tmp_path / "audit.log"
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
        land(ledger, 1, 2)
        with ledger.transaction():
            ledger.add_receipts([Receipt(1, SopUID("1.9.1"), 99, b"\1" * 16)])
            ledger.add_wanted(1, ["1.9.3"])
            ledger.fail_instance(1, "1.9.3", "r" * 5_000)
        ledger.plan_again([(1, "1.9.2")], "damaged")
        with suppress(LedgerError), ledger.transaction():
            ledger.add_receipts([Receipt(1, SopUID("1.9.7"), 1, b"\7" * 16)])
            raise LedgerError("rolled back")
    assert [(entry["sop"], entry["size_bytes"]) for entry in told(log, "replaced")] == [("1.9.1", 99)]
    assert [(entry["sop"], len(entry["reason"])) for entry in told(log, "failed")] == [("1.9.3", 1_000)]
    assert [(entry["sop"], entry["reason"]) for entry in told(log, "wanted again")] == [("1.9.2", "damaged")]
    assert [entry["sop"] for entry in told(log, "created")] == ["1.9.1", "1.9.2"]
    assert compare(path, log).different == 0


def test_without_its_log_a_run_does_not_go_on_and_nothing_is_lost(tmp_path: Path) -> None:
    path, log = planned(tmp_path / "ledger.sqlite3"), tmp_path / "audit.log"
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
        ledger.begin_run("pull", "2026-01-01")
        log.rename(tmp_path / "kept")
        log.mkdir()
        with pytest.raises(AuditError):
            land(ledger, 1)
        log.rmdir()
        (tmp_path / "kept").rename(log)
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
    assert [entry["sop"] for entry in told(log, "created")] == ["1.9.1"]
    assert compare(path, log).different == 0


def test_an_instance_that_somebody_altered_in_the_ledger_differs(tmp_path: Path) -> None:
    path, log = planned(tmp_path / "ledger.sqlite3"), tmp_path / "audit.log"
    with closing(Ledger.open(path)) as ledger:
        ledger.audit(log, BY)
        land(ledger, 1, 2, 3)
    with closing(Ledger.open(path)) as ledger:
        land(ledger, 4)
        ledger._db.execute("UPDATE instance SET xxh3 = zeroblob(16) WHERE sop = '1.9.2'")
        ledger._db.execute("DELETE FROM instance WHERE sop = '1.9.3'")
    made = compare(path, log)
    assert made.different == 3
    assert {(each.sop, each.reason) for each in made.differences} == {
        ("1.9.2", "the log has it with another size or digest"),
        ("1.9.3", "the log has it, the ledger does not"),
        ("1.9.4", "the log does not know that it is there"),
    }


@pytest.mark.parametrize("memory", ["[]", "{", '{"log": 1}', "[" * 9_999, '{"log":"a","number":-5}'])
def test_what_a_ledger_cannot_remember_is_a_damage(memory: str, tmp_path: Path) -> None:
    path = planned(tmp_path / "ledger.sqlite3")
    with closing(Ledger.open(path)) as ledger:
        ledger.set_meta("trail", memory)
        with pytest.raises(LedgerError, match="makes no sense"):
            ledger.audit(tmp_path / "audit.log", BY)
