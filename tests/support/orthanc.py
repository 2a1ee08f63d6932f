"""A real Orthanc with its DICOMweb plugin (Debian: orthanc, orthanc-dicomweb), filled with pydicom's test data.

One process on a free port, its storage below a temporary folder. What it holds is asked of its REST API, which is
another way in than the DICOMweb that is under test.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import pytest

_PLUGIN_FOLDERS = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")
_PLUGIN = "libOrthancDicomWeb.so*"
_START_TRIES = 5
_START_TIMEOUT_S = 30.0
# Orthanc 1.10 thinks about this one for seconds before it refuses it.
_SLOW_TO_REFUSE = frozenset({"SC_rgb_jpeg.dcm"})


class Held(NamedTuple):
    """One instance that Orthanc holds; `key` is its own name for it, which also depends on the Patient ID."""

    key: str
    study: str
    series: str
    sop: str


@dataclass(frozen=True)
class Orthanc:
    """A running Orthanc. What it holds is read once: nothing may be added while tests run.

    Attributes:
        rest_url: base URL of its REST API.
        url: DICOMweb base URL.
        refused: the files that it did not take.
    """

    rest_url: str
    url: str
    refused: tuple[Path, ...]

    @cached_property
    def held(self) -> tuple[Held, ...]:
        """All instances, identical identities included."""
        study_of = {one["ID"]: one["MainDicomTags"]["StudyInstanceUID"] for one in self.rest("/studies?expand")}
        series = {one["ID"]: one for one in self.rest("/series?expand")}
        found = []
        for one in self.rest("/instances?expand"):
            parent = series[one["ParentSeries"]]
            uid = parent["MainDicomTags"].get("SeriesInstanceUID", "")
            sop = one["MainDicomTags"]["SOPInstanceUID"]
            found.append(Held(one["ID"], study_of[parent["ParentStudy"]], uid, sop))
        return tuple(found)

    @cached_property
    def ambiguous(self) -> frozenset[tuple[str, str, str]]:
        """Identities (study, series, SOP) that it holds for two patients: WADO-RS answers 404 for them."""
        count = Counter((one.study, one.series, one.sop) for one in self.held)
        return frozenset(identity for identity, times in count.items() if times > 1)

    @cached_property
    def reachable(self) -> tuple[Held, ...]:
        """The instances that WADO-RS can give."""
        return tuple(one for one in self.held if (one.study, one.series, one.sop) not in self.ambiguous)

    def file(self, key: str) -> bytes:
        """Return an instance as it is stored."""
        return _get(self.rest_url, f"/instances/{key}/file")

    def rest(self, path: str) -> Any:
        """Return the JSON answer of the REST API."""
        return json.loads(_get(self.rest_url, path))


def pydicom_files() -> list[Path]:
    """Return the files of pydicom's and pydicom-data's test data that are on this disk; nothing is downloaded."""
    folders = []
    for name, below in (("pydicom", "data"), ("data_store", "data")):
        spec = find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise AssertionError(f"the package that holds {name} is not installed: pip install .[test]")
        folders += [Path(place) / below for place in spec.submodule_search_locations]
    return sorted(
        path for folder in folders for path in folder.rglob("*") if path.is_file() and path.name not in _SLOW_TO_REFUSE
    )


def require_orthanc() -> tuple[str, Path]:
    """Return Orthanc's program and its DICOMweb plugin. Skips the test where there is none; fails it under CI."""
    program = shutil.which("Orthanc")
    plugins = [path for folder in _PLUGIN_FOLDERS for path in sorted(Path(folder).glob(_PLUGIN))]
    if program is not None and plugins:
        return program, plugins[0]
    reason = "needs the Debian packages orthanc and orthanc-dicomweb"
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@contextmanager
def run_orthanc(folder: Path, files: list[Path], settings: dict[str, Any] | None = None) -> Iterator[Orthanc]:
    """Run an Orthanc in `folder` that holds what it takes of `files`, in their order."""
    program, plugin = require_orthanc()
    process, port = _start(program, plugin, folder, settings or {})
    try:
        rest_url = f"http://127.0.0.1:{port}"
        refused = _upload(port, files)
        yield Orthanc(rest_url, f"{rest_url}/dicom-web", refused)
    finally:
        process.kill()  # it takes seconds to end well, for a storage that is thrown away
        process.wait(timeout=30)


def _start(program: str, plugin: Path, folder: Path, settings: dict[str, Any]) -> tuple["subprocess.Popen[bytes]", int]:
    log = folder / "orthanc.log"
    for _ in range(_START_TRIES):
        port = _free_port()
        configuration = {
            "Name": "dicomhaul tests",
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": port,
            "DicomServerEnabled": False,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": False,
            "Plugins": [str(plugin)],
            **settings,
        }
        (folder / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")
        with log.open("wb") as out:
            process = subprocess.Popen([program, str(folder / "orthanc.json")], stdout=out, stderr=out)
        if _comes_up(process, port):
            return process, port
    raise AssertionError(f"Orthanc does not start: {log.read_text(encoding='utf-8', errors='replace')[-2000:]}")


def _comes_up(process: "subprocess.Popen[bytes]", port: int) -> bool:
    """Wait until Orthanc answers; False: it has exited, for example because somebody was quicker to take the port."""
    end = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < end:
        try:
            process.wait(timeout=0.02)
        except subprocess.TimeoutExpired:
            pass
        else:
            return False
        try:
            name = json.loads(_get(f"http://127.0.0.1:{port}", "/system"))["Name"]
        except (OSError, http.client.HTTPException):
            continue
        return bool(name == "dicomhaul tests")
    process.kill()
    process.wait()
    return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _upload(port: int, files: list[Path]) -> tuple[Path, ...]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    refused = []
    for path in files:
        connection.request("POST", "/instances", path.read_bytes())
        response = connection.getresponse()
        response.read()
        if response.status != 200:
            refused.append(path)
    connection.close()
    return tuple(refused)


def _get(base: str, path: str) -> bytes:
    connection = http.client.HTTPConnection(base.removeprefix("http://"), timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        content = response.read()
    finally:
        connection.close()
    if response.status != 200:
        raise AssertionError(f"Orthanc answers {response.status} to {path}")
    return content
