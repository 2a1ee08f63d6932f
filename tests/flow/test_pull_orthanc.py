"""`pull` of everything that a real Orthanc holds, held against what Orthanc itself says that it stores."""

from pathlib import Path

import pytest

from support.command import Ended, run_command
from support.destination import assert_recorded, read_tree
from support.orthanc import Orthanc


@pytest.fixture(scope="module")
def stored(orthanc: Orthanc) -> dict[str, bytes]:
    """What WADO-RS can give, as Orthanc stores it, by the path where it must land."""
    return {f"{one.study}/{one.series}/{one.sop}.dcm": orthanc.file(one.key) for one in orthanc.reachable}


def pull_all(orthanc: Orthanc, dest: Path, *more: str) -> Ended:
    return run_command("pull", "--source", orthanc.url, "--all", "-o", dest, "--json", *more)


def assert_all_but_one(ended: Ended, orthanc: Orthanc) -> None:
    assert ended.code == 3
    report = ended.json
    ((study, series, sop),) = orthanc.ambiguous
    (failure,) = report["failures"]
    assert (failure["study"], failure["series"], failure["sop"]) == (study, series, sop)
    assert "404" in failure["reason"]
    assert report["state"] == "partial"
    assert (report["instances_present"], report["instances_failed"], report["series_failed"]) == (154, 1, 1)


def test_everything_lands_but_what_cannot_be_had(orthanc: Orthanc, stored: dict[str, bytes], tmp_path: Path) -> None:
    first = pull_all(orthanc, tmp_path, "--profile", "orthanc")
    assert_all_but_one(first, orthanc)
    assert first.json["instances_landed"] == len(stored) == 154
    assert read_tree(tmp_path) == stored
    assert_recorded(tmp_path, stored)

    again = pull_all(orthanc, tmp_path, "--profile", "orthanc")
    assert_all_but_one(again, orthanc)
    assert again.json["instances_landed"] == again.json["bytes_landed"] == again.json["bytes_discarded"] == 0
    assert read_tree(tmp_path) == stored

    for deep in ((), ("--deep",)):
        verified = run_command("verify", tmp_path, "--json", *deep)
        assert_all_but_one(verified, orthanc)
        assert verified.json["bytes_checked"] == sum(map(len, stored.values()))

    status = run_command("status", tmp_path, "--json")
    assert_all_but_one(status, orthanc)


def test_a_server_of_unknown_kind(orthanc: Orthanc, stored: dict[str, bytes], tmp_path: Path) -> None:
    """Nothing in the URL says that this is Orthanc: the profile for any server must do."""
    assert_all_but_one(pull_all(orthanc, tmp_path), orthanc)
    assert read_tree(tmp_path) == stored
