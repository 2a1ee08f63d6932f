"""`dicomhaul origin` as a process: its first lines are URLs, it serves, and it stops when it is told to."""

import json
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from urllib.parse import urljoin

import pytest
from pydicom.data import get_testdata_file

from dicomhaul.config.source import resolve_sources
from support.command import run_command
from support.origin_process import fetch_journal, origin_process, origin_processes


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


def test_all_of_idc_with_profiles(tmp_path: Path) -> None:
    small = ("--max-instance-bytes", "1000", "--quota", "5000", "--page-max", "2", "--profiles", str(tmp_path))
    with origin_processes(4, "qin_pet_phantom", "--play", "idc", *small) as urls:
        assert list(urls) == ["bucket", "gcs", "proxy", "google"]
        sources = resolve_sources(",".join(str(tmp_path / f"local-{name}.toml") for name in urls))
        with urllib.request.urlopen(f"{urls['bucket']}/idc-open-data/?list-type=2", timeout=60) as response:
            page = response.read()
        with urllib.request.urlopen(urljoin(urls["proxy"], "/quota_usage"), timeout=60) as response:
            usage = json.load(response)
        assert [entry["path"] for entry in fetch_journal(urls["bucket"])] == ["/idc-open-data/"]
    assert sources.base_urls == tuple(urls.values())
    assert page.count(b"<Key>") == 2
    assert usage["bytes_used"] == 0


def test_tls_and_a_credential(tmp_path: Path) -> None:
    authority = tmp_path / "ca.pem"
    words = ("--tls", "good", "--tls-authority", str(authority), "--authorization", "Bearer a")
    with origin_process("qin_pet_phantom", *words) as url:
        trusting = ssl.create_default_context(cafile=authority)
        with pytest.raises(urllib.error.HTTPError, match="401"):
            urllib.request.urlopen(f"{url}/studies", timeout=60, context=trusting)
        request = urllib.request.Request(f"{url}/studies", headers={"Authorization": "Bearer a"})
        with urllib.request.urlopen(request, timeout=60, context=trusting) as response:
            assert len(json.load(response)) == 4


def test_a_folder_as_a_bucket(tmp_path: Path) -> None:
    file = get_testdata_file("CT_small.dcm", download=False)
    (tmp_path / "one.dcm").write_bytes(Path(str(file)).read_bytes())
    with (
        origin_process("--folder", str(tmp_path), "--play", "bucket") as url,
        urllib.request.urlopen(f"{url}/idc-open-data/?list-type=2", timeout=60) as response,
    ):
        assert f"<Size>{(tmp_path / 'one.dcm').stat().st_size}</Size>".encode() in response.read()


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--play", "idc", "--port", "8042"], "--port is for one origin"),
        (["--quota", "5"], "--quota is the proxy's"),
        (["--play", "proxy", "--profiles", "/nowhere/at/all"], "/nowhere/at/all is no folder"),
        (["--profiles", "."], "--profiles belongs to IDC's origins"),
        (["--tls-authority", "/tmp/ca.pem"], "--tls-authority goes with --tls"),
        (["--tls", "good", "--tls-authority", "/nowhere/ca.pem"], "cannot write /nowhere/ca.pem"),
        (["--play", "bucket", "--authorization", "Bearer x"], "--authorization is for a DICOMweb server"),
        (["--style", "nobody"], "no style is called 'nobody'"),
    ],
)
def test_what_makes_no_sense(words: list[str], complaint: str) -> None:
    ended = run_command("origin", "qin_pet_phantom", *words)
    assert ended.code == 2
    assert complaint in ended.complaint
