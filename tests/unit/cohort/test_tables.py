"""Tables that are not in the wheel: whole or not at all, and clear words when they cannot be had."""

import hashlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import platformdirs
import pytest
from idc_index_data import __version__ as index_version

from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError

PARQUET = b"PAR1" + bytes(range(256)) * 8 + b"PAR1"  # what is between the magics is nobody's business here
SHA256 = hashlib.sha256(PARQUET).hexdigest()


class Release(BaseHTTPRequestHandler):
    """Serves what `answers` holds by path: (status, headers, body)."""

    answers: ClassVar[dict[str, tuple[int, dict[str, str], bytes]]] = {}
    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.asked.append(self.path)
        status, headers, body = self.answers.get(self.path, (404, {}, b"not here"))
        self.send_response(status)
        for name, value in ({"Content-Length": str(len(body))} | headers).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (its name there)
        """Say nothing."""


@pytest.fixture
def release(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(Release, "answers", {})
    monkeypatch.setattr(Release, "asked", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), Release) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/25.0.5"
        server.shutdown()
        thread.join()


def serve(body: bytes = PARQUET, *, status: int = 200, sha256: str | None = SHA256, **headers: str) -> None:
    Release.answers["/25.0.5/sm_index.parquet"] = (status, {n.replace("_", "-"): v for n, v in headers.items()}, body)
    if sha256 is not None:
        Release.answers["/25.0.5/sm_index.parquet.sha256"] = (200, {}, f"{sha256}  sm_index.parquet\n".encode())


def test_a_table_is_fetched_once_and_announced(release: str, tmp_path: Path) -> None:
    serve()
    told: list[str] = []
    shelf = Shelf(folder=tmp_path / "deep" / "er", base_url=release, notice=told.append)
    path = shelf.ensure("sm_index")
    assert path == tmp_path / "deep" / "er" / "sm_index.parquet"
    assert path.read_bytes() == PARQUET
    assert shelf.ensure("sm_index") == path
    assert Release.asked == ["/25.0.5/sm_index.parquet.sha256", "/25.0.5/sm_index.parquet"]
    assert told == [f"fetching the table sm_index of IDC's index {index_version}"]
    assert [entry.name for entry in path.parent.iterdir()] == ["sm_index.parquet"]


def test_a_release_without_sha256_files_is_taken_by_length_and_form(release: str, tmp_path: Path) -> None:
    serve(sha256=None)
    assert Shelf(folder=tmp_path, base_url=release).ensure("sm_index").read_bytes() == PARQUET


@pytest.mark.parametrize(
    ("served", "why"),
    [
        ({"status": 404}, "HTTP 404"),
        ({"status": 503}, "HTTP 503"),
        ({"body": PARQUET[:-100]}, "SHA-256"),
        ({"sha256": "0" * 64}, "SHA-256"),
        ({"sha256": "<html>"}, "SHA-256"),
        ({"body": PARQUET[:-100], "sha256": None, "Content_Length": str(len(PARQUET))}, "of 2,056 bytes"),
        ({"body": b"<html>sign in</html>", "sha256": None}, "not a parquet file"),
        ({"body": b"PAR1", "sha256": None}, "not a parquet file"),
        ({"body": b"", "sha256": None}, "not a parquet file"),
    ],
)
def test_nothing_stays_of_a_table_that_did_not_come_whole(
    release: str, tmp_path: Path, served: dict[str, Any], why: str
) -> None:
    serve(**served)
    shelf = Shelf(folder=tmp_path, base_url=release)
    with pytest.raises(CohortError, match=why) as caught:
        shelf.ensure("sm_index")
    assert list(tmp_path.iterdir()) == []
    message = str(caught.value)
    assert message.startswith("the table sm_index is not part of the installed index and cannot be fetched from 127")
    assert "connect to the internet and try again" in message
    assert "\n" not in message


def test_offline_is_said_plainly(tmp_path: Path) -> None:
    shelf = Shelf(folder=tmp_path, base_url="http://127.0.0.1:9/25.0.5")
    with pytest.raises(CohortError, match="Connection refused"):
        shelf.ensure("sm_index")


def test_a_folder_that_cannot_be_written_is_said_plainly(release: str, tmp_path: Path) -> None:
    serve()
    (tmp_path / "file").write_text("")
    with pytest.raises(CohortError, match=r"Not a directory|File exists"):
        Shelf(folder=tmp_path / "file" / "below", base_url=release).ensure("sm_index")


def test_only_http_is_spoken(tmp_path: Path) -> None:
    (tmp_path / "sm_index.parquet").write_bytes(PARQUET)
    with pytest.raises(CohortError, match="not an http"):
        Shelf(folder=tmp_path / "to", base_url=tmp_path.as_uri()).ensure("sm_index")


def test_tables_stand_where_idc_index_looks() -> None:
    shelf = Shelf()
    assert set(shelf.bundled) >= {
        "index",
        "prior_versions_index",
        "collections_index",
        "analysis_results_index",
        "version_metadata_index",
    }
    assert {"sm_index", "sm_instance_index", "clinical_index", "seg_index"} <= set(shelf.fetchable)
    folder = Path(platformdirs.user_data_dir("idc_index_data", "IDC", version=index_version))
    assert shelf.fetchable["sm_index"] == folder / "sm_index.parquet"
    assert shelf.idc_version == int(index_version.split(".")[0])
