"""What identifies a patient, or opens a door, is planted wherever a server can put it: no output of ours shows it."""

import gzip
import json
import re
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from dicomhaul.origin.thread import in_thread
from support.command import Ended, run_command
from support.instances import make_instance
from support.loopback import Asked, Loopback, Reply, ok, open_loopback

MARK = "QZCANARY"
TOKEN = "QZCANARYtoken0123456789"
NAME = "QZCANARY^JANE"
DICOM = "multipart/related; type=application/dicom; boundary=b"
PROFILE = """
name = "hostile"
[limits]
attempts = 1
concurrency_start = 16
stall_timeout_s = 2.0
"""
LAYOUT = "{PatientID}/{Modality}_{SeriesInstanceUID}"


def study(number: int) -> str:
    return f"1.2.{number}"


def instance(number: int, *, sop: str | None = None, series: str | None = None) -> bytes:
    return make_instance(sop or f"1.4.{number}", study=study(number), series=series or f"1.3.{number}")


def part(content: bytes, headers: str = "Content-Type: application/dicom") -> bytes:
    return b"--b\r\n" + headers.encode() + b"\r\n\r\n" + content + b"\r\n--b--"


def raw(text: str) -> Reply:
    return Reply(text.encode("latin-1"), then="close")


def answers(number: int, port: int) -> dict[str, Reply]:
    """One answer to a retrieval for each way in which a server can say something."""
    header = {"Content_Type": DICOM, "X_Patient": NAME, "Content_Disposition": f"attachment; filename=../{NAME}"}
    good = part(instance(number))
    return {
        "good": ok(good, **header),
        "html": ok(f"<html>{NAME}</html>".encode(), Content_Type="text/html"),
        "media type": ok(NAME.encode(), Content_Type=f"text/{MARK}; charset={MARK}"),
        "boundary": ok(good, Content_Type=f"multipart/related; boundary={MARK}"),
        "json": ok(json.dumps({"patient": NAME}).encode(), Content_Type="application/json"),
        "404": ok(NAME.encode(), status=f"404 {NAME}"),
        "403": ok(NAME.encode(), status=f"403 {NAME}", WWW_Authenticate=f'Bearer realm="{TOKEN}"'),
        "500": ok(NAME.encode(), status=f"500 {NAME}", Retry_After=NAME),
        "418": ok(NAME.encode(), status=f"418 {NAME}"),
        "204": raw(f"HTTP/1.1 204 {NAME}\r\n\r\n"),
        "206": ok(good, status=f"206 {NAME}", Content_Type=DICOM, Content_Range=NAME),
        "no header": raw(f"HTTP/1.1 200 OK\r\n{NAME}\r\n\r\n"),
        "bad header": raw(f"HTTP/1.1 200 OK\r\nX: a\x00{NAME}\r\n\r\n"),
        "no HTTP": raw(f"{NAME} {TOKEN}\r\n\r\n"),
        "length": raw(f"HTTP/1.1 200 OK\r\nContent-Length: {NAME}\r\n\r\n"),
        "chunk": raw(f"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{NAME}\r\n"),
        "coding": ok(good, Content_Type=DICOM, Transfer_Encoding=MARK),
        "gzip": ok(gzip.compress(good)[:-9] + NAME.encode(), Content_Type=DICOM, Content_Encoding="gzip"),
        "content coding": ok(good[:-40], Content_Type=DICOM, Content_Encoding=MARK),
        "cut": ok(good[:-40], Content_Type=DICOM),
        "part header": ok(part(instance(number), NAME), Content_Type=DICOM),
        "no DICOM": ok(part(NAME.encode() * 100), Content_Type=DICOM),
        "sop": ok(part(instance(number, sop=NAME)), Content_Type=DICOM),
        "series": ok(part(instance(number, series=NAME)), Content_Type=DICOM),
        "path": ok(part(instance(number, sop=f"../{NAME}")), Content_Type=DICOM),
        "location": ok(status="302 Found", Location=f"/{MARK}/?PatientName={NAME}&token={TOKEN}"),
        "scheme": ok(status="302 Found", Location=f"ftp://host/{NAME}"),
        "user": ok(status="302 Found", Location=f"http://{MARK}:{TOKEN}@127.0.0.1:1/{NAME}"),
        "abroad": ok(status="302 Found", Location=f"http://localhost:{port}/{MARK}?PatientName={NAME}"),
        "nonsense": ok(status="302 Found", Location=f"http://[{NAME}"),
    }


# After each a good one: a source that fails for everything is given up, and what it says later would not be seen.
WAYS = [way for each in answers(0, 0) for way in (each, "good")]


def row(**attributes: Any) -> dict[str, Any]:
    tags = {
        "PatientName": ("00100010", "PN"), "PatientID": ("00100020", "LO"), "StudyInstanceUID": ("0020000D", "UI"),
        "SeriesInstanceUID": ("0020000E", "UI"), "SOPInstanceUID": ("00080018", "UI"), "Modality": ("00080060", "CS"),
        "StudyDescription": ("00081030", "LO"), "RetrieveURL": ("00081190", "UR"),
    }  # fmt: skip
    return {
        tags[name][0]: {"vr": tags[name][1], "Value": [{"Alphabetic": value} if tags[name][1] == "PN" else value]}
        for name, value in attributes.items()
    }


PATIENT = {"PatientName": NAME, "PatientID": MARK, "StudyDescription": NAME, "Modality": MARK,
           "RetrieveURL": f"http://127.0.0.1:1/{MARK}?token={TOKEN}"}  # fmt: skip


def listed(rows: list[dict[str, Any]]) -> Reply:
    return ok(json.dumps(rows).encode(), Content_Type="application/dicom+json", Warning=f'299 "{NAME}"')


class Server:
    """Lists a study for each way of answering, and answers retrievals of it in that way."""

    def __init__(self) -> None:
        self.running = Loopback()
        self.searches: dict[str, Reply] = {}  # instead of what would be answered, by the end of the path

    def __call__(self, asked: Asked) -> Reply:  # noqa: PLR0911 - one for each resource
        path = asked.target.partition("?")[0]
        for end, reply in self.searches.items():
            if path.endswith(end):
                return reply
        found = re.search(r"/studies/1\.2\.(\d+)", path)
        if "offset=0" not in asked.target and "limit=" in asked.target:
            return listed([])
        if path.endswith("/studies"):
            return listed([row(**PATIENT, StudyInstanceUID=study(number)) for number in range(len(WAYS))])
        if found is None:
            status = "404" if asked.headers["host"].startswith("127.0.0.1") else "401"
            return ok(NAME.encode(), status=f"{status} {NAME}", WWW_Authenticate=f"Bearer {TOKEN}")
        number = int(found[1])
        if path.endswith("/series"):
            return listed([row(**PATIENT, StudyInstanceUID=study(number), SeriesInstanceUID=f"1.3.{number}")])
        if path.endswith("/instances"):
            uids = {"StudyInstanceUID": study(number), "SeriesInstanceUID": f"1.3.{number}"}
            return listed([row(**PATIENT, **uids, SOPInstanceUID=f"1.4.{number}")])
        return answers(number, self.running.port)[WAYS[number]]


def assert_silent(ended: Ended, *files: Path) -> None:
    for name, text in {
        "stdout": ended.stdout,
        "stderr": ended.stderr,
        **{str(f): f.read_text() for f in files},
    }.items():
        lines = [line for line in text.splitlines() if MARK.lower() in line.lower()]
        assert not lines, f"{name}: {lines[0][:500]}"


def messages(ledger: Path) -> list[str]:
    """Every text of a ledger that says what happened; the columns that name a patient are not among them."""
    with closing(sqlite3.connect(ledger)) as db:
        columns = (("series", "reason"), ("instance", "reason"), ("run", "tally"), ("cohort", "missing"),
                   ("route", "reason"), ("cohort", "source"), ("cohort", "query"), ("meta", "value"))  # fmt: skip
        return [str(value) for table, name in columns for (value,) in db.execute(f"SELECT {name} FROM {table}")]


@pytest.fixture
def environ() -> dict[str, str]:
    return {"DICOMHAUL_TOKEN": TOKEN, "PYTHONASYNCIODEBUG": "1", "PYTHONWARNINGS": "default"}


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_run_at_its_most_verbose(tmp_path: Path, environ: dict[str, str], form: str) -> None:
    server = Server()
    profile = tmp_path / "hostile.toml"
    profile.write_text(PROFILE)
    dest, log = tmp_path / "dest", tmp_path / "run.log"
    with in_thread(open_loopback(server), name="hostile") as server.running:
        said = ("--log-file", log, "--log-level", "debug", "--log-format", form, "-vv", "--json")
        source = ("--source", server.running.url(), "--profile", profile, "--transfers", "1")
        ended = run_command("pull", *source, "--all", "-o", dest, "--layout", LAYOUT, *said, environ=environ)
        asked = list(server.running.asked)
    assert_silent(ended, log)
    assert ended.code == 3, ended.stderr
    assert ended.json["series_complete"] + ended.json["series_failed"] == len(WAYS)
    reasons = {failure["reason"] for failure in ended.json["failures"]}
    assert len(reasons) >= 15  # they are told apart, and say more than that something failed
    assert not [text for text in messages(dest / ".dicomhaul" / "ledger.sqlite3") if MARK.lower() in text.lower()]
    assert_silent(run_command("status", dest))
    most = Counter(one.target for one in asked).most_common(1)[0]
    assert most[1] <= 6, most  # three tries of an answer that is damaged, of the series and after its inventory
    assert any(one.headers.get("authorization") == f"Bearer {TOKEN}" for one in asked)
    for one in asked:
        if not one.headers["host"].startswith("127.0.0.1"):
            assert "authorization" not in one.headers
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dest", "hostile.toml", "run.log"]


@pytest.mark.parametrize(
    "searches",
    [
        {"/studies": listed([row(**PATIENT, StudyInstanceUID=NAME)])},
        {"/studies": listed([row(**PATIENT)])},
        {"/series": listed([row(**PATIENT, SeriesInstanceUID=f"../{MARK}")])},
        {"/series": listed([row(**PATIENT, StudyInstanceUID=NAME, SeriesInstanceUID="1.3")])},
        {"/studies": ok(f'[{{"{NAME}'.encode(), Content_Type=f"application/json; x={MARK}")},
        {"/studies": ok(f"<p>{NAME}</p>".encode(), Content_Type="text/html")},
        {"/studies": ok(NAME.encode(), status=f"400 {NAME}")},
        {"/studies": raw(f"HTTP/1.1 200 OK\r\n{NAME}\r\n\r\n")},
    ],
)  # fmt: skip
def test_a_search_that_fails(tmp_path: Path, environ: dict[str, str], searches: dict[str, Reply]) -> None:
    server = Server()
    server.searches = searches
    profile = tmp_path / "hostile.toml"
    profile.write_text(PROFILE)
    with in_thread(open_loopback(server), name="hostile") as server.running:
        source = ("--source", server.running.url(), "--profile", profile)
        ended = run_command("plan", *source, "--all", "--json", environ=environ)
    assert ended.code in {1, 2}, ended.stdout
    assert ended.complaint
    assert_silent(ended)
