"""`--accept-failures`: what is known to fail raises no alarm, what fails otherwise does; what is mended is told."""

from pathlib import Path

from dicomhaul.origin import Rule, Status, synthetic_catalog
from support.command import Ended, run_command
from support.made_up import made_up_rows
from support.origin_process import origin_thread

ROWS = made_up_rows(2, 2, 2, series_a_study=1)
CATALOG = synthetic_catalog(ROWS)
GONE, BROKEN = ROWS[0].series, ROWS[1].series


def refusing(series: str, status: int) -> list[Rule]:
    path = f"/{series}(/instances/[^/]+)?$"
    return [Rule(path=path, level=level, action=Status(status=status)) for level in ("series", "instance")]


def test_what_is_known_to_fail_is_no_alarm_until_it_fails_otherwise(tmp_path: Path) -> None:
    dest, known = tmp_path / "dest", tmp_path / "known.txt"
    known.write_text(f"# of the old archive\n{GONE},404\n{BROKEN}\t403\n")

    def ended(command: str, *words: str) -> Ended:
        return run_command(command, *words, "--accept-failures", known, "--json")

    with origin_thread(CATALOG, rules=[*refusing(GONE, 404), *refusing(BROKEN, 403)]) as origin:
        pulled = ended("pull", "--source", origin.url, "--all", "-o", str(dest))
    assert (pulled.code, pulled.json["state"], pulled.json["failures"]) == (0, "complete", [])
    assert (pulled.json["failures_accepted"], pulled.json["series_failed"]) == (3, 2)

    proven = ended("verify", str(dest))
    assert (proven.code, proven.json["state"], proven.json["failures_accepted"]) == (0, "complete", 3)
    assert run_command("verify", dest, "--json").code == 3

    # Another reason is another failure; what no longer fails is said in the run that mended it.
    with origin_thread(CATALOG, rules=refusing(BROKEN, 410)) as origin:
        again = ended("resume", str(dest), "--source", origin.url)
    assert (again.code, again.json["state"]) == (3, "partial")
    assert {failure["series"] for failure in again.json["failures"]} == {BROKEN}
    assert again.json["failures_accepted"] == 0
    assert [line for line in again.stderr.splitlines() if "no longer fails" in line] == [
        f"{GONE} no longer fails: --accept-failures need not name it any more"
    ]

    with origin_thread(CATALOG) as origin:
        whole = ended("resume", str(dest), "--source", origin.url)
        quiet = ended("resume", str(dest), "--source", origin.url)
    assert (whole.code, whole.json["series_complete"]) == (0, 3)
    assert f"{BROKEN} no longer fails" in whole.stderr
    assert GONE not in whole.stderr
    assert "no longer fails" not in quiet.stderr


def test_a_mirror_with_known_failures_is_well_and_tries_them_each_night(tmp_path: Path) -> None:
    dest, known = tmp_path / "dest", tmp_path / "known.txt"
    known.write_text(f"{GONE}\t404\n")

    def synced(url: str) -> Ended:
        words = ("--source", url, "--all", "-o", dest, "--reconcile", "0", "--json")
        return run_command("sync", *words, "--accept-failures", known)

    with origin_thread(CATALOG, rules=refusing(GONE, 404)) as origin:
        first, second = synced(origin.url), synced(origin.url)
        asked = [entry for entry in origin.requests if GONE in entry.path and entry.status == 404]
        known.write_text(f"{GONE}\t410\n")  # fails, but not so
        alarm = synced(origin.url)
    for ended in (first, second):
        assert (ended.code, ended.json["state"], ended.json["failures"]) == (0, "complete", [])
        assert ended.json["failures_accepted"] > 0
        assert ended.json["series_withdrawn"] == ended.json["instances_removed"] == 0
    assert len(asked) >= 2
    assert (alarm.code, alarm.json["state"], alarm.json["failures_accepted"]) == (3, "partial", 0)
    assert {failure["series"] for failure in alarm.json["failures"]} == {GONE}


def test_a_file_that_cannot_be_understood_stops_the_run_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("no uid at all\n")
    words = ("--source", "http://127.0.0.1:9/dicom-web", "--accept-failures", tmp_path / "known.txt")
    ended = run_command("pull", "--all", *words, "-o", tmp_path / "dest")
    assert ended.code == 2
    assert "known.txt, line 1: it begins with no UID" in ended.complaint
    assert not (tmp_path / "dest").exists()
