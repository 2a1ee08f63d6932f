"""`plan` predicts, and `--probe` measures."""

from pathlib import Path

from support.command import run_command
from support.made_up import made_up_catalog
from support.origin_process import origin_thread

SIZES = (4, 6)


def test_what_a_plan_predicts_without_and_with_a_rate(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(*SIZES), style="orthanc") as origin:
        plain = run_command("plan", "--all", "--source", origin.url, "--json")
        assert plain.code == 0
        assert plain.json["forecast"]["files"] == sum(SIZES)
        assert plain.json["forecast"]["seconds"] is None
        told = run_command("plan", "--all", "--source", origin.url, "--rate", "80M")
    assert "forecast:   time unknown" in told.stdout or "at" in told.stdout
    assert "assumed:" in told.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_probe_measures_and_leaves_nothing(tmp_path: Path) -> None:
    dest = tmp_path / "below" / "d"
    with origin_thread(made_up_catalog(*SIZES)) as origin:
        done = run_command("plan", "--all", "--source", origin.url, "--probe", "-o", dest, "--json")
        retrieved = [entry for entry in origin.requests if "dicom+json" not in (entry.accept or "")]
    assert done.code == 0, done.stderr
    assert any("as it was measured" in each for each in done.json["forecast"]["assumptions"])
    assert len(retrieved) == len(SIZES)
    assert list(tmp_path.iterdir()) == []
