"""`plan` predicts, and `--probe` measures."""

import signal
from pathlib import Path

import pytest

from dicomhaul.origin import Allowance, Rule, synthetic_holdings
from dicomhaul.origin.faults import Stall, Status
from dicomhaul.record.scratch import sweep_scratch
from support.command import Word, run_command, start_command, wait_until
from support.idc_origins import idc_manifest, idc_rows, idc_thread, write_profiles
from support.made_up import made_up_catalog
from support.origin_process import origin_thread

SIZES = (4, 6)


def test_what_a_plan_predicts_from_a_rate() -> None:
    """All of it from the index: nobody is asked."""
    said = run_command("plan", "qin_pet_phantom", "--source", "idc-bucket", "--rate", "1Mi", "--json").json
    assert said["forecast"]["seconds"] == pytest.approx(said["bytes"] / (1 << 20), abs=0.1)
    assert (said["forecast"]["files"], said["forecast"]["rate_bytes_per_s"]) == (said["instances"], 1 << 20)
    assert said["forecast"]["quota_days"] == 0
    halved = run_command(
        "plan", "qin_pet_phantom", "--source", "idc-bucket", "--rate", "1Mi", "--bwlimit", "512Ki", "--json"
    )
    assert halved.json["forecast"]["seconds"] == pytest.approx(said["forecast"]["seconds"] * 2, abs=0.2)
    told = run_command("plan", "qin_pet_phantom", "--source", "idc-bucket").stdout
    assert "forecast:   time unknown" in told
    assert "assumed:    no rate is known: --rate 80M says one, --probe measures it" in told
    assert run_command("plan", "qin_pet_phantom", "--rate", "fast").code == 2
    both = run_command("plan", "qin_pet_phantom", "--rate", "80M", "--probe")
    assert (both.code, "choose one of them" in both.stderr) == (2, True)


def test_the_quota_of_a_source_that_nobody_can_stand_in_for(tmp_path: Path) -> None:
    rows = idc_rows("idc-open-data", 3)
    total = sum(row.size_bytes or 0 for row in rows)
    manifest = tmp_path / "cohort.csv"
    manifest.write_text(idc_manifest(rows), encoding="utf-8")
    allowance = Allowance(total, used={"127.0.0.1": total // 2})
    with idc_thread(synthetic_holdings(rows), allowance=allowance) as origins:
        source = write_profiles(tmp_path, origins).source("proxy")
        said = run_command("plan", manifest, "--source", source, "--rate", "1G", "--json")
        assert [entry.level for entry in origins.proxy.requests] == ["usage"]
    assert said.json["forecast"]["quota_days"] == 2
    assert f"{total // 2:,} of them used today" in " ".join(said.json["forecast"]["assumptions"])
    unread = run_command("plan", manifest, "--source", source, "--rate", "1G", "--json")  # nobody is there any more
    assert (unread.code, unread.json["forecast"]["quota_days"]) == (0, 0)
    (note,) = unread.json["notes"]
    assert note.endswith("planned as if there were none")


def test_a_probe_measures_and_leaves_nothing(tmp_path: Path) -> None:
    dest = tmp_path / "below" / "d"
    with origin_thread(made_up_catalog(*SIZES)) as origin:
        done = run_command("plan", "--all", "--source", origin.url, "--probe", "-o", dest, "--json")
        retrieved = [entry for entry in origin.requests if "dicom+json" not in (entry.accept or "")]
    forecast = done.json["forecast"]
    assert (done.code, len(retrieved)) == (0, len(SIZES))
    assert (forecast["files"], forecast["seconds"] is None, forecast["disk_bytes"] is None) == (
        sum(SIZES),
        False,
        False,
    )
    said = " ".join(forecast["assumptions"])
    assert "goes on as it was measured" in said
    assert "it is too little to go by" in said
    assert "as large as those measured" in said  # a search states no sizes
    assert list(tmp_path.iterdir()) == []


def test_a_probe_that_brings_nothing_says_so() -> None:
    refused = [Rule(level="series", action=Status(status=404)), Rule(level="instance", action=Status(status=404))]
    with origin_thread(made_up_catalog(*SIZES), rules=refused) as origin:
        done = run_command("plan", "--all", "--source", origin.url, "--probe", "--json")
    assert (done.code, done.json["forecast"]["seconds"]) == (0, None)
    assert "could not be measured: nothing came" in " ".join(done.json["forecast"]["assumptions"])


def test_a_probe_can_be_stopped(tmp_path: Path) -> None:
    dest = tmp_path / "d"
    dest.mkdir()
    stalls = Rule(level="series", action=Stall(after_bytes=100))
    with origin_thread(made_up_catalog(*SIZES), rules=[stalls]) as origin:
        words: list[Word] = ["plan", "--all", "--source", origin.url, "--probe", "-o", dest]
        with start_command(tmp_path, *words) as running:
            wait_until(
                lambda: any(entry.level == "series" for entry in origin.requests), "the probe", unless=running.process
            )
            assert [each.name.startswith(".dicomhaul-probe-") for each in dest.iterdir()] == [True]
            running.signal(signal.SIGINT)
            assert running.wait().code == 130
    assert list(dest.iterdir()) == []


@pytest.mark.parametrize("command", ["plan", "pull"])
def test_what_a_killed_probe_left_is_swept_by_the_next(command: str, tmp_path: Path) -> None:
    dest = tmp_path / "d"
    foreign = tmp_path / ".dicomhaul-probe-notes"  # by its name alone
    foreign.mkdir()
    stalls = Rule(level="series", action=Stall(after_bytes=100), most=1)
    with origin_thread(made_up_catalog(*SIZES), rules=[stalls]) as origin:
        words: list[Word] = ["plan", "--all", "--source", origin.url, "--probe", "-o", dest]
        with start_command(tmp_path, *words) as running:
            wait_until(
                lambda: any(entry.level == "series" for entry in origin.requests), "the probe", unless=running.process
            )
            sweep_scratch(tmp_path)  # its maker lives
            (left,) = set(tmp_path.glob(".dicomhaul-probe-*")) - {foreign}
            running.signal(signal.SIGKILL)
            running.wait()
        assert left.is_dir()
        more = ["--probe"] if command == "plan" else []
        assert run_command(command, "--all", "--source", origin.url, "-o", dest, *more).code == 0
    assert list(tmp_path.glob(".dicomhaul-probe-*")) == [foreign]
