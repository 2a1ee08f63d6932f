"""Orthanc as Debian ships it (orthanc, orthanc-dicomweb), filled by its REST API; over HTTP, as it comes."""

import http.client
import json
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from benchmarks.data import Shape, iter_instances
from benchmarks.origin_nginx import free_port

_PLUGINS: Final = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc")
_STARTS_WITHIN_S: Final = 30.0


def is_installed() -> bool:
    """Say whether Orthanc and its DICOMweb plugin are there."""
    return shutil.which("Orthanc") is not None and bool(_plugins())


def _plugins() -> list[Path]:
    return [path for folder in _PLUGINS for path in sorted(Path(folder).glob("libOrthancDicomWeb.so*"))]


@contextmanager
def orthanc(root: Path, shapes: Sequence[Shape]) -> Iterator[str]:
    """Run one that holds the instances of `shapes`; yield its URL. Its DICOMweb service is at `/dicom-web`."""
    program, plugins = shutil.which("Orthanc"), _plugins()
    if program is None or not plugins:
        sys.exit("Orthanc is not installed")
    port = free_port()
    configuration = {
        "StorageDirectory": str(root / "orthanc"),
        "IndexDirectory": str(root / "orthanc"),
        "HttpPort": port,
        "DicomServerEnabled": False,
        "RemoteAccessAllowed": False,
        "Plugins": [str(plugins[0])],
    }
    (root / "orthanc.json").write_text(json.dumps(configuration), encoding="utf-8")
    with (root / "orthanc.log").open("wb") as log:
        process = subprocess.Popen([program, str(root / "orthanc.json")], stdout=log, stderr=log)
    try:
        _wait_for(process, port, root / "orthanc.log")
        _fill(port, shapes)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()  # it takes seconds to end well, for a storage that is thrown away
        process.wait()


def _wait_for(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    end = time.monotonic() + _STARTS_WITHIN_S
    while time.monotonic() < end and process.poll() is None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        try:
            connection.request("GET", "/system")
            if connection.getresponse().status == 200:
                return
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    sys.exit(f"Orthanc does not start: {log.read_text(encoding='utf-8', errors='replace')[-500:]}")


def _fill(port: int, shapes: Sequence[Shape]) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    for instance in iter_instances(shapes):
        connection.request("POST", "/instances", instance)
        answer = connection.getresponse()
        answer.read()
        if answer.status != 200:
            sys.exit(f"Orthanc answers {answer.status} to an instance")
    connection.close()
