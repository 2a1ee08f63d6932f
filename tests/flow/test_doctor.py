"""`doctor` as a process: against servers of every style, a real Orthanc, IDC's origins, and what cannot be used."""

import socket
import ssl
import warnings
from pathlib import Path

import pytest
import trustme

from dicomhaul import Connection, examine, resolve_sources
from dicomhaul.doctor.budget import REQUESTS
from dicomhaul.model import Series, SeriesUID, StudyUID
from dicomhaul.origin import Allowance, Catalog, scan_folder, synthetic_holdings
from dicomhaul.origin.holdings import BUCKETS
from dicomhaul.profile import read_profile
from support.command import Ended, run_command
from support.idc_origins import TOKEN_ENVIRON, idc_thread, write_profiles
from support.instances import make_instance
from support.made_up import made_up_catalog
from support.origin_process import origin_thread
from support.orthanc import Orthanc
from support.real_instances import real_path
from support.s3_server import run_s3


def verdicts(ended: Ended) -> dict[str, str]:
    return {one["name"]: one["verdict"] for one in ended.json["findings"]}


def sentence(ended: Ended, name: str) -> str:
    return next(f"{one['sentence']} {one['todo']}" for one in ended.json["findings"] if one["name"] == name)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return made_up_catalog(3, 2, 4, 1, 5, 2, 3, 3, 2, 2, 2, 2, *[1] * 12)


# What each style shows: pages, wildcards, counts, single-part, framing.
STYLES = {
    "orthanc": ("there are 12 in all", "are understood", "ok", "(400)", "body ends when the connection closes"),
    "azure": (
        "a limit of 1,000 is refused, 200 is not",
        "are not understood",
        "warn",
        "comes as application/dicom",
        "chunked",
    ),
    "dcm4chee": ("there are 12 in all", "are understood", "ok", "(406)", "nothing after the closing delimiter"),
    "google": ("there are 12 in all", "are not understood", "warn", "comes as application/dicom", "without quotes"),
    "strict": ("pages are cut at 10 rows", "are understood", "ok", "comes as application/dicom", "in quotes"),
}


@pytest.mark.parametrize("style", STYLES)
def test_a_server_of_every_style(catalog: Catalog, style: str, tmp_path: Path) -> None:
    proposed = tmp_path / "mine.toml"
    with origin_thread(catalog, style=style) as origin:
        ended = run_command("doctor", origin.url, "--json", "-o", proposed)
        asked = len(origin.requests)
    assert (ended.code, ended.json["state"]) == (0, "usable")
    assert asked == ended.json["requests"] <= REQUESTS
    pages, wildcards, counts, single, framing = STYLES[style]
    assert pages in sentence(ended, "pages")
    assert wildcards in sentence(ended, "wildcards")
    assert verdicts(ended)["counts"] == counts
    assert single in sentence(ended, "single-part")
    assert framing in sentence(ended, "framing")
    assert verdicts(ended)["paging"] == "ok"
    assert ("204" if style in {"azure", "dcm4chee", "google", "strict"} else "empty list") in sentence(
        ended, "empty answers"
    )
    profile = read_profile(proposed)
    assert profile.url == origin.url
    assert profile.search.wildcards == ("not" not in wildcards)
    assert profile.search.page.studies == (10 if style == "strict" else 100)


def test_a_proposed_profile_can_be_pulled_by(catalog: Catalog, tmp_path: Path) -> None:
    proposed = tmp_path / "mine.toml"
    with origin_thread(catalog, style="strict", authorization="Basic dTpw") as origin:  # u, p
        environ = {"DICOMHAUL_USER": "u", "DICOMHAUL_PASSWORD": "p"}
        kept = run_command("doctor", origin.url, "-o", proposed, environ=environ)
        pulled = run_command("pull", "--source", proposed, "--all", "-o", tmp_path / "data", "--json", environ=environ)
    assert kept.code == 0
    assert f"use it as --source {proposed}" in kept.stdout
    assert 'kind = "basic"' in proposed.read_text()
    assert (pulled.code, pulled.json["state"]) == (0, "complete")
    assert pulled.json["instances_landed"] == sum(len(one) for one in catalog.series())


def test_transcoding_is_found_out(tmp_path: Path) -> None:
    for name in ("CT_small.dcm", "JPEG2000.dcm"):
        (tmp_path / name).write_bytes(real_path(name).read_bytes())
    with warnings.catch_warnings(action="ignore"):  # pydicom finds fault with real files
        stored, _ = scan_folder(tmp_path)
    with origin_thread(stored, style="azure") as origin:
        ended = run_command("doctor", origin.url, "--profile", "azure", "--auth", "none", "--json")
    assert ended.code == 0
    assert "transfer-syntax=* brings JPEG 2000" in sentence(ended, "transfer syntax")
    assert "406" in sentence(ended, "transfer syntax")
    assert "CompressedSamples" not in ended.stdout  # the patient's name


def test_a_real_orthanc(orthanc: Orthanc) -> None:
    ended = run_command("doctor", orthanc.url, "--profile", "orthanc", "--json")
    assert (ended.code, ended.json["state"]) == (0, "usable")
    assert ended.json["requests"] <= REQUESTS
    found = verdicts(ended)
    assert {name for name, verdict in found.items() if verdict == "fail"} == set()
    assert "single-part" in found
    assert "(400)" in sentence(ended, "single-part")
    assert "Content-Length" in sentence(ended, "framing")
    assert "when the connection closes" in sentence(ended, "framing")
    assert "200 with an empty list" in sentence(ended, "empty answers")
    assert "is closed; it says that it keeps one for 1 s, as the profile knows" in sentence(ended, "idle connections")
    assert found["transfer syntax"] == "ok"
    names = [one["MainDicomTags"].get("PatientName", "") for one in _patients(orthanc)]
    assert not any(name in ended.stdout for name in names if len(name) > 3)


def _patients(orthanc: Orthanc) -> list[dict[str, dict[str, str]]]:
    found: list[dict[str, dict[str, str]]] = orthanc.rest("/patients?expand")
    return found


def test_a_port_where_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    ended = run_command("doctor", f"http://127.0.0.1:{port}/dicom-web", "--json")
    assert (ended.code, ended.json["state"], ended.json["requests"]) == (1, "unreachable", 0)
    assert verdicts(ended) == {"reachable": "fail"}
    assert "refused" in sentence(ended, "reachable")
    assert ended.json["profiles"] == {}


def test_a_name_that_nobody_has() -> None:
    ended = run_command("doctor", "https://no-such-host.invalid/dicom-web")
    assert ended.code == 1
    assert "the name no-such-host.invalid cannot be looked up" in ended.stdout


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context_for(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def test_tls(authority: trustme.CA, tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(ca_file))
    with origin_thread(made_up_catalog(2), tls=context_for(authority, "127.0.0.1")) as origin:
        trusted = run_command("doctor", origin.url, "--ca-file", ca_file, "--json")
        unknown = run_command("doctor", origin.url, "--json")
    assert trusted.code == 0
    assert "TLSv1.3; certificate for 127.0.0.1" in sentence(trusted, "tls")
    assert (unknown.code, unknown.json["state"], unknown.json["requests"]) == (3, "unusable", 0)
    assert verdicts(unknown) == {"reachable": "ok", "tls": "fail"}
    assert "--ca-file" in sentence(unknown, "tls")
    with origin_thread(made_up_catalog(2), tls=context_for(authority, "pacs.example.org")) as origin:
        wrong = run_command("doctor", origin.url, "--ca-file", ca_file, "--json")
    assert (wrong.code, verdicts(wrong)["tls"]) == (3, "fail")
    assert "not valid for '127.0.0.1'" in sentence(wrong, "tls")


def test_a_server_that_refuses(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2), authorization="Bearer right") as origin:
        anonymous = run_command("doctor", origin.url, "--json", "-o", tmp_path / "none.toml")
        wrong = run_command("doctor", origin.url, "--json", environ={"DICOMHAUL_TOKEN": "never-show"})
    assert (anonymous.code, verdicts(anonymous)["auth"]) == (3, "fail")
    assert "it asks for Basic" in sentence(anonymous, "auth")
    assert not (tmp_path / "none.toml").exists()
    assert (wrong.code, verdicts(wrong)["auth"]) == (3, "fail")
    assert "never-show" not in wrong.stdout + wrong.stderr


def idc_rows() -> list[Series]:
    return [
        Series(
            StudyUID("1.2"),
            SeriesUID(f"1.2.{number}"),
            modality="CT",
            revision=f"00000000-0000-4000-8000-00000000000{number}",
            bucket=bucket,
            expected=3,
            size_bytes=36_000,
        )
        for number, bucket in enumerate(BUCKETS)
    ]


def test_idc(tmp_path: Path) -> None:
    with idc_thread(synthetic_holdings(idc_rows())) as origins:
        profiles = write_profiles(tmp_path, origins)
        both = run_command("doctor", profiles.source("bucket", "proxy"), "--json")
        asked = {name: len(origin.requests) for name, origin in origins.by_name().items()}
        gcs = run_command("doctor", profiles.source("gcs"), "--json", "-o", tmp_path / "mine.toml")
        google = run_command("doctor", profiles.source("google"), "--json", environ=TOKEN_ENVIRON)
    assert (both.code, both.json["state"]) == (0, "usable")
    assert asked["bucket"] + asked["proxy"] == both.json["requests"] <= REQUESTS
    assert 2 < asked["proxy"] <= 12
    found = {(one["source"], one["name"]): one for one in both.json["findings"]}
    assert "MD5" in found["local-bucket", "checksums"]["sentence"]
    assert found["local-bucket", "ranges"]["verdict"] == found["local-bucket", "versions"]["verdict"] == "ok"
    assert all(bucket in found["local-bucket", "listing"]["sentence"] for bucket in BUCKETS)
    assert "bytes are used today" in found["local-proxy", "quota"]["sentence"]
    assert found["local-proxy", "policy"]["verdict"] == "warn"
    assert found["local-proxy", "single-part"]["verdict"] == found["local-proxy", "latency"]["verdict"] == "ok"
    assert list(both.json["profiles"]) == ["local-bucket", "local-proxy"]
    (tmp_path / "proxy.toml").write_text(both.json["profiles"]["local-proxy"])
    assert 'extends = "idc-proxy"' in (tmp_path / "proxy.toml").read_text()
    assert read_profile(tmp_path / "proxy.toml").limits.response_bytes == 32_000_000
    assert "CRC32C" in sentence(gcs, "checksums")
    assert read_profile(tmp_path / "mine.toml").bucket.names["idc-open-data-cr"] == "idc-open-cr"
    assert (google.code, verdicts(google)["auth"]) == (0, "ok")


def test_a_real_s3_server(tmp_path: Path) -> None:
    instance = make_instance("1.2.3.1", study="1.2.3", series="1.2.3.0")
    with run_s3() as s3:
        s3.put_bucket("idc-open-data")
        for number in range(3):
            s3.put("idc-open-data", f"0000-1/{number}.dcm", instance)
        mine = tmp_path / "mine.toml"
        mine.write_text(f'name = "mine"\nextends = "idc-bucket"\nurl = "{s3.url}"\n')
        ended = run_command("doctor", mine, "--json")
    found = verdicts(ended)
    assert (ended.code, ended.json["requests"] <= REQUESTS) == (0, True)
    assert (found["listing"], found["checksums"], found["ranges"], found["versions"]) == ("warn", "ok", "ok", "ok")
    assert "idc-open-data-cr answers 40" in sentence(ended, "listing")  # two buckets are not there


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense",), "neither a URL"),
        (("idc", "-o", "mine.toml"), "takes the profile of one source"),
        (("http://127.0.0.1:1/rs", "-o", "there.toml"), "there.toml is there already"),
        (("http://127.0.0.1:1/rs", "--auth", "bearer"), "DICOMHAUL_TOKEN"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "there.toml").write_text("kept")
    ended = run_command("doctor", *words, cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.complaint
    assert (tmp_path / "there.toml").read_text() == "kept"


def test_where_no_profile_is_proposed_none_is_written(tmp_path: Path) -> None:
    with idc_thread(synthetic_holdings(idc_rows()), allowance=Allowance(1_000_000)) as origins:
        proxy = write_profiles(tmp_path, origins).source("proxy")
        ended = run_command("doctor", proxy, "-o", tmp_path / "mine.toml")
        shown = run_command("doctor", proxy)
    assert (ended.code, shown.code) == (3, 0)  # little is left of its quota, and nothing is wrong with it
    assert "mine.toml is not written: too little is known" in ended.complaint
    assert not (tmp_path / "mine.toml").exists()


def test_where_to_is_looked_at_before_anything_is_asked(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2)) as origin:
        ended = run_command("doctor", origin.url, "-o", tmp_path / "no" / "mine.toml")
        assert not origin.requests
    assert ended.code == 1
    assert "mine.toml: there is no such folder" in ended.complaint


def test_python_is_told_the_same(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2), style="strict", authorization="Basic dTpw") as origin:
        (found,) = examine(origin.url, connection=Connection(auth="basic", user="u", password="p"))
        asked = len(origin.requests)
        (refused,) = examine(resolve_sources(origin.url))
    assert (found.usable, found.reachable, found.requests) == (True, True, asked)
    assert (refused.usable, refused.reachable, refused.profile) == (False, True, None)
    (tmp_path / "mine.toml").write_text(found.profile or "")
    assert read_profile(tmp_path / "mine.toml").url == origin.url


def test_people_are_told_in_words(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2)) as origin:
        shown = run_command("doctor", origin.url)
    assert shown.code == 0
    assert "  ok       multipart: instances come as multipart/related" in shown.stdout
    text = shown.stdout.partition("proposed profile (-o FILE keeps it):\n")[2]
    (tmp_path / "shown.toml").write_text("\n".join(line[4:] for line in text.splitlines()))
    assert read_profile(tmp_path / "shown.toml").url == origin.url
