"""A large object of a bucket, killed in its middle and run again: what came is not asked for a second time.

`DICOMHAUL_TEST_OBJECT_BYTES` makes it larger than the 64 MiB of every day.
"""

import contextlib
import hashlib
import json
import os
import signal
import sqlite3
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Final

import pytest

from support.command import run_command, start_command, wait_until
from support.fakes import STUDY
from support.instances import make_instance

SIZE: Final = int(os.environ.get("DICOMHAUL_TEST_OBJECT_BYTES", str(64 << 20)))
STEP: Final = 1 << 20
LOST: Final = (16 << 20) + (12 << 20)  # since the last note; and what the sockets of both sides hold
REVISION: Final = "085e85b3-3780-47f6-8538-585bcca95336"
KEY: Final = f"/idc-open-data/{REVISION}/4a1dfa3c-2b3e-4a6f-9a39-ba7e9f2d6c11.dcm"


class Bucket(ThreadingHTTPServer):
    """Holds one object; `stop_at`: no answer goes on behind this byte of it, until `done`."""

    daemon_threads = True

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.etag = hashlib.md5(content, usedforsecurity=False).hexdigest()
        self.sent = 0
        self.asked: list[str | None] = []  # the Range of each GET of the object
        self.stop_at: int | None = None
        self.done = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_GET(self) -> None:
        bucket = self.server
        if not self.path.startswith(KEY):
            listing = (
                f"<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>{KEY.split('/', 2)[2]}</Key>"
                f"<Size>{len(bucket.content)}</Size><ETag>&quot;{bucket.etag}&quot;</ETag></Contents></ListBucketResult>"
            )
            self._head(200, len(listing))
            self.wfile.write(listing.encode())
            return
        wanted = self.headers["Range"]
        bucket.asked.append(wanted)
        begin, end = 0, len(bucket.content)
        if wanted is None:
            self._head(200, end)
        else:
            assert self.headers["If-Match"] == f'"{bucket.etag}"'
            first, _, last = wanted.removeprefix("bytes=").partition("-")
            begin, end = int(first), int(last) + 1 if last else end
            self._head(206, end - begin, f"bytes {begin}-{end - 1}/{len(bucket.content)}")
        self._send(begin, end)

    def _send(self, begin: int, end: int) -> None:
        bucket = self.server
        for at in range(begin, end, STEP):
            if bucket.stop_at is not None and at >= bucket.stop_at:
                bucket.done.wait()
                self.close_connection = True
                return
            try:
                self.wfile.write(bucket.content[at : min(at + STEP, end)])
            except OSError:  # the client is gone
                self.close_connection = True
                return
            bucket.sent += min(STEP, end - at)

    def _head(self, status: int, length: int, content_range: str | None = None) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(length))
        self.send_header("ETag", f'"{self.server.etag}"')
        if content_range is not None:
            self.send_header("Content-Range", content_range)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        pass


@pytest.fixture(scope="module")
def content() -> bytes:
    return make_instance("4.1", study=STUDY, series="1.1", pixels=bytes(range(256)) * (SIZE // 256))


@pytest.fixture
def bucket(content: bytes) -> Iterator[Bucket]:
    server = Bucket(content)
    thread = threading.Thread(target=server.serve_forever, name="bucket")
    thread.start()
    try:
        yield server
    finally:
        server.done.set()
        server.shutdown()
        thread.join()
        server.server_close()


def write_cohort(folder: Path, bucket: Bucket) -> tuple[Path, Path]:
    """Write a profile for the bucket and a lock of the one series in it."""
    profile, lock = folder / "mine.toml", folder / "cohort.lock"
    profile.write_text(f'name = "mine"\nextends = "idc-bucket"\nurl = "{bucket.url}"\n')
    header = {"dicomhaul_lock": 1, "written_by": "a test", "created": "2024-01-01T00:00:00+00:00", "query": {}}
    series = {
        "series": "1.1",
        "study": STUDY,
        "revision": REVISION,
        "bucket": "idc-open-data",
        "instances": 1,
        "size_bytes": len(bucket.content),
    }
    lock.write_text(f"{json.dumps(header | {'idc_version': 25, 'series': 1})}\n{json.dumps(series)}\n")
    return profile, lock


def noted(dest: Path) -> int:
    """How much of the object the ledger knows to be there."""
    with contextlib.suppress(sqlite3.Error):
        path = dest / ".dicomhaul" / "ledger.sqlite3"
        with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as ledger:
            row = ledger.execute("SELECT max(offset) FROM partial").fetchone()
            return int(row[0] or 0)
    return 0


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_a_run_that_ended_inside_an_object_goes_on_there(tmp_path: Path, bucket: Bucket, number: int) -> None:
    profile, lock = write_cohort(tmp_path, bucket)
    dest = tmp_path / "dest"
    words = ("pull", lock, "--source", profile, "-o", dest, "--json", "-q")
    bucket.stop_at = SIZE // 2
    with start_command(tmp_path, *words) as running:
        wait_until(lambda: noted(dest) >= SIZE // 2 - (20 << 20), "half of it was noted", unless=running.process)
        running.signal(number)
        running.process.wait()
    before = noted(dest)
    assert before > 0
    bucket.stop_at = None

    ended = run_command(*words)

    assert ended.code == 0, ended.stderr
    assert (ended.json["state"], ended.json["instances_landed"]) == ("complete", 1)
    assert bucket.asked == [None, f"bytes={before}-{before}", f"bytes={before}-"]
    assert bucket.sent <= len(bucket.content) + LOST
    (landed,) = dest.rglob("*.dcm")
    assert landed.read_bytes() == bucket.content
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
    assert noted(dest) == 0
    status = run_command("status", dest, "--json").json
    assert status["checked"]["md5"] == 1
