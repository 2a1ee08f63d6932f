"""`dicomhaul origin` as a process: its first line is the URL, it serves, and it stops when it is told to."""

import json
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from support.origin_process import fetch_journal, origin_process


def search(url: str, path: str) -> list[dict[str, dict[str, list[str]]]]:
    with urllib.request.urlopen(url + path, timeout=60) as response:
        found: list[dict[str, dict[str, list[str]]]] = json.load(response)
    return found


def test_rows_of_the_index() -> None:
    with origin_process("qin_pet_phantom", "--style", "strict", "--page-max", "2") as url:
        found = search(url, "/studies")
        journal = fetch_journal(url)
    assert [one["00081030"]["Value"] for one in found] == [["SYNTHETIC study"]] * 2
    assert [(entry["path"], entry["level"]) for entry in journal] == [("/studies", "search")]


def test_a_folder_with_faults(tmp_path: Path) -> None:
    file = get_testdata_file("CT_small.dcm", download=False)
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "one.dcm").write_bytes(Path(str(file)).read_bytes())
    faults = tmp_path / "faults.toml"
    faults.write_text("[[rule]]\ntimes = [1]\naction = { do = 'status', status = 503 }\n", encoding="utf-8")
    with origin_process("--folder", str(tmp_path / "served"), "--faults", str(faults)) as url:
        with pytest.raises(urllib.error.HTTPError, match="503"):
            search(url, "/instances")
        assert len(search(url, "/instances")) == 1
