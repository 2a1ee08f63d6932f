"""`pull` of real instances, odd ones among them, from servers that frame, page and refuse in different ways."""

import warnings
from pathlib import Path

import pytest

from dicomhaul.origin import STYLES, Catalog, scan_folder
from support.command import run_command
from support.destination import assert_recorded, read_tree
from support.origin_process import origin_thread
from support.orthanc import Orthanc


@pytest.fixture(scope="module")
def stored(orthanc: Orthanc) -> dict[str, bytes]:
    """What a real Orthanc made of pydicom's files and can give, by the path where it must land."""
    return {f"{one.study}/{one.series}/{one.sop}.dcm": orthanc.file(one.key) for one in orthanc.reachable}


@pytest.fixture(scope="module")
def catalog(stored: dict[str, bytes], tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    folder = tmp_path_factory.mktemp("served")
    for number, content in enumerate(stored.values()):
        (folder / f"{number}.dcm").write_bytes(content)
    with warnings.catch_warnings(action="ignore"):  # pydicom finds fault with some of these real files
        found, left_out = scan_folder(folder)
    assert (len(found), left_out) == (154, [])
    return found


@pytest.mark.parametrize("style", STYLES)
def test_every_instance_lands_byte_for_byte(
    catalog: Catalog, stored: dict[str, bytes], style: str, tmp_path: Path
) -> None:
    with origin_thread(catalog, style=style) as origin:
        ended = run_command("pull", "--source", origin.url, "--all", "-o", tmp_path, "--json")
        retrieves = [entry for entry in origin.requests if entry.level in {"study", "series", "instance"}]
    assert (ended.code, ended.json["state"], ended.json["failures"]) == (0, "complete", [])
    assert ended.json["instances_landed"] == ended.json["instances_expected"] == 154
    assert read_tree(tmp_path) == stored
    assert_recorded(tmp_path, stored)
    series = {tuple(path.split("/")[:2]) for path in stored}
    answered = [entry.path for entry in retrieves if entry.status == 200]
    assert sorted(answered) == sorted(f"/studies/{study}/series/{uid}" for study, uid in series)
