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


def test_a_file_that_cannot_be_understood_stops_the_run_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "known.txt").write_text("no uid at all\n")
    words = ("--source", "http://127.0.0.1:9/dicom-web", "--accept-failures", tmp_path / "known.txt")
    ended = run_command("pull", "--all", *words, "-o", tmp_path / "dest")
    assert ended.code == 2
    assert "known.txt, line 1: it begins with no UID" in ended.complaint
    assert not (tmp_path / "dest").exists()
