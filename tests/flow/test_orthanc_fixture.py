"""What the real Orthanc holds and answers: the facts that the flow tests against it lean on."""

import http.client
import json
from collections import Counter
from urllib.parse import urlsplit

import pytest

from support import orthanc as room
from support.orthanc import Held, Orthanc, require_orthanc

STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'


def ask(orthanc: Orthanc, path: str, accept: str = STORED) -> tuple[int, http.client.HTTPMessage, bytes]:
    parts = urlsplit(orthanc.url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=60)
    connection.request("GET", parts.path + path, headers={"Accept": accept})
    response = connection.getresponse()
    body = response.read()
    connection.close()
    return response.status, response.headers, body


def test_it_holds_156_instances_and_can_give_154(orthanc: Orthanc) -> None:
    assert (len(orthanc.held), len(orthanc.reachable), len(orthanc.ambiguous)) == (156, 154, 1)
    ((study, _, _),) = orthanc.ambiguous
    assert study == "1.2.999.999.99.9.9999.8888"
    assert ask(orthanc, f"/studies/{study}")[0] == 404


def test_searches_list_the_ambiguous_study_twice(orthanc: Orthanc) -> None:
    studies = json.loads(ask(orthanc, "/studies", "application/dicom+json")[2])
    count = Counter(one["0020000D"]["Value"][0] for one in studies)
    assert (len(studies), len(count)) == (58, 57)
    assert [uid for uid, times in count.items() if times == 2] == [one[0] for one in orthanc.ambiguous]
    assert len(json.loads(ask(orthanc, "/instances", "application/dicom+json")[2])) == 156


def test_a_series_ends_with_its_connection(orthanc: Orthanc) -> None:
    (largest, _), *_ = Counter((one.study, one.series) for one in orthanc.held).most_common(1)
    status, headers, body = ask(orthanc, f"/studies/{largest[0]}/series/{largest[1]}")
    assert (status, headers["Connection"]) == (200, "close")
    assert {"Content-Length", "Transfer-Encoding"}.isdisjoint(headers)
    assert body.endswith(b"--\r\n")


def test_files_are_the_stored_bytes(orthanc: Orthanc) -> None:
    content = {path.read_bytes() for path in room.pydicom_files()}
    assert all(orthanc.file(one.key) in content for one in orthanc.held)


def test_some_identities_are_no_uids(orthanc: Orthanc) -> None:
    """One real file has hexadecimal digests for UIDs; it is among the 154 and must land."""
    odd = [one for one in orthanc.reachable if not one.sop.replace(".", "").isdigit()]
    assert [(len(one.study), len(one.series), len(one.sop)) for one in odd] == [(64, 64, 64)]
    assert isinstance(odd[0], Held)


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_a_missing_orthanc_is_never_silent(
    monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]
) -> None:
    monkeypatch.setenv("CI", ci)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(outcome, match="orthanc-dicomweb"):
        require_orthanc()
