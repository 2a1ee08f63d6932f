"""`sync` of a real Orthanc to which instances are added, and of which some are replaced and removed, between syncs."""

import http.client
import json
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.command import Ended, run_command
from support.destination import read_tree
from support.instances import make_instance
from support.orthanc import Orthanc, run_orthanc

pytestmark = pytest.mark.timeout(300)


class Filled:
    """An Orthanc, and a model of what it holds."""

    def __init__(self, orthanc: Orthanc) -> None:
        self._orthanc = orthanc
        self._keys: dict[str, str] = {}
        self.held: dict[str, bytes] = {}

    def store(self, study: str, series: str, sop: str, *, version: int = 0) -> None:
        content = make_instance(sop, study=study, series=series, pixels=bytes([version]) * 64)
        path = f"{study}/{series}/{sop}.dcm"
        self._keys[path] = self._ask("POST", "/instances", content)["ID"]
        self.held[path] = content

    def remove(self, study: str, series: str, sop: str) -> None:
        path = f"{study}/{series}/{sop}.dcm"
        self._ask("DELETE", f"/instances/{self._keys.pop(path)}")
        del self.held[path]

    def _ask(self, method: str, path: str, body: bytes | None = None) -> dict[str, str]:
        connection = http.client.HTTPConnection(urlsplit(self._orthanc.rest_url).netloc, timeout=60)
        try:
            connection.request(method, path, body)
            response = connection.getresponse()
            answer = response.read()
        finally:
            connection.close()
        assert response.status == 200, answer
        said: dict[str, str] = json.loads(answer)
        return said

    def sync(self, dest: Path, *more: str) -> Ended:
        ended = run_command(
            "sync", "--all", "--source", self._orthanc.url, "--profile", "orthanc", "-o", dest, "--json", *more
        )
        assert ended.code == 0, ended.stderr
        return ended


def test_a_real_orthanc_is_followed(tmp_path: Path) -> None:
    (tmp_path / "orthanc").mkdir()
    with run_orthanc(tmp_path / "orthanc", [], {"OverwriteInstances": True}) as running:
        there, dest = Filled(running), tmp_path / "mirror"
        for study in ("1.2.1", "1.2.2"):
            for series in (f"{study}.1", f"{study}.2"):
                for number in range(1, 6):
                    there.store(study, series, f"{series}.{number}")
        compared = there.sync(dest).json["requests"]
        assert read_tree(dest) == there.held

        assert there.sync(dest).json["requests"] <= 2  # the cursor's

        there.store("1.2.1", "1.2.1.1", "1.2.1.1.3", version=7)
        there.store("1.2.1", "1.2.1.2", "1.2.1.2.6")
        for number in range(1, 4):
            there.store("1.2.3", "1.2.3.1", f"1.2.3.1.{number}")
        report = there.sync(dest).json
        assert (report["instances_landed"], report["series_added"]) == (5, 1)
        assert report["requests"] < compared + 15
        assert read_tree(dest) == there.held

        gone = "1.2.2", "1.2.2.1", "1.2.2.1.4"
        there.remove(*gone)
        there.sync(dest)
        assert set(read_tree(dest)) - set(there.held) == {"/".join(gone) + ".dcm"}  # which it does not tell
        there.sync(dest, "--reconcile", "0", "--max-delete", "1")
        assert read_tree(dest) == there.held
