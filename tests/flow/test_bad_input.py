"""Bad input: one line that says what is wrong, the right exit code, nothing begun, and no traceback."""

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from dicomhaul.origin import Origin, Rule, Status
from support.command import Ended, Word, run_command
from support.destination import expected_tree, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread

HTML = "<html><body>Please log in</body></html>"


@pytest.fixture
def dest(tmp_path: Path) -> Path:
    return tmp_path / "dest"


@pytest.fixture(scope="module")
def closed_url() -> Iterator[str]:
    """A URL on a port that refuses connections: bound, so that nobody else gets it, and not listened on."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}/dicom-web"


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with origin_thread(made_up_catalog(1)) as running:
        yield running


def assert_refused(ended: Ended, code: int, *hints: str) -> None:
    """Assert that the command gave up with `code` and one line that holds each of the hints."""
    assert ended.code == code, ended.stderr
    for hint in hints:
        assert hint in ended.complaint


@pytest.mark.parametrize(
    ("words", "hint"),
    [(["pull", "--all", "--frobnicate"], "--frobnicate"), (["frobnicate"], "frobnicate"), (["pull", "x"], "--to")],
    ids=["unknown flag", "unknown command", "no destination"],
)
def test_usage(words: list[str], hint: str) -> None:
    ended = run_command(*words)
    assert (ended.code, ended.stdout) == (2, "")
    assert hint in ended.stderr


@pytest.mark.parametrize(
    ("words", "hints"),
    [
        ([], ["TARGET", "--all"]),
        ([""], ["empty TARGET", "--all"]),
        (["--modality", ""], ["without a value"]),
        (["--source", "idc-bucket,http://127.0.0.1:9/", "--all"], ["only sources that hold IDC"]),
        (["qin_pet_phantom", "--license-allow", "CC-BY-4.0"], ["'CC-BY-4.0'", "did you mean CC BY 4.0"]),
        (["qin_pet_phantom", "--license-allow", "CC BY 4.0"], ["CC BY 3.0 (44 series)", "--where"]),
        (["qin_pet_phantom", "--idc-version", "999"], ["--idc-version 999", "knows the releases 1 to"]),
        (["--source", "frobnicate", "--all"], ["'frobnicate'", "idc-proxy"]),
        (["--source", "ftp://host/dicom-web", "--all"], ["http://"]),
        (["--source", "http://host:port/dicom-web", "--all"], ["URL"]),
        (["--source", "http://127.0.0.1:9/", "--profile", "frobnicate", "--all"], ["'frobnicate'"]),
        (["--source", "http://127.0.0.1:9/", "--all", "--layout", "../{StudyInstanceUID}"], ["layout"]),
        (["--source", "http://127.0.0.1:9/", "--all", "--layout", "{Frobnicate}"], ["Frobnicate"]),
        (["--source", "https://127.0.0.1:9/", "--all", "--ca-file", "nowhere.pem"], ["nowhere.pem"]),
        (["--source", "http://127.0.0.1:9/", "--collection", "qin_pet_phantom"], ["collection"]),
        (["--source", "http://127.0.0.1:9/", "nowhere.csv"], ["nowhere.csv"]),
    ],
    ids=[
        "no TARGET", "empty TARGET", "empty filter", "mixed list", "unknown licence",
        "other licence", "unknown release", "unknown source", "not HTTP", "bad port",
        "unknown profile", "climbing layout", "unknown field", "no CA file", "collection off IDC", "no manifest",
    ],
)  # fmt: skip
def test_what_makes_no_sense_is_said_before_anything_begins(words: list[str], hints: list[str], dest: Path) -> None:
    assert_refused(run_command("pull", *words, "-o", dest), 2, *hints)
    assert read_tree(dest) == {}


def test_json_says_it_too(dest: Path) -> None:
    ended = run_command("pull", "--modality", "XX", "qin_pet_phantom", "--source", "idc-proxy", "-o", dest, "--json")
    assert_refused(ended, 2)
    assert (ended.json["state"], ended.json["error"], ended.json["reason"]) == (
        "failed",
        "CohortError",
        ended.complaint,
    )


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ('name = "x"\nurl = 5\n', "url"),
        ('name = "x"\nfrobnicate = 1\n', "frobnicate"),
        ('name = "x"\n[limits]\nconcurrency_start = 0\n', "limits.concurrency_start"),
        ("name = ", "TOML"),
    ],
    ids=["wrong type", "unknown field", "out of range", "not TOML"],
)
def test_a_malformed_profile(text: str, hint: str, dest: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    ended = run_command("pull", "--all", "--source", tmp_path / "mine.toml", "-o", dest)
    assert_refused(ended, 2, "mine.toml", hint)


@pytest.mark.parametrize(
    ("words", "hints"),
    [
        (["--collection", "qin_pet_fantom"], ["qin_pet_fantom", "qin_pet_phantom"]),
        (["qin_pet_phantom", "--modality", "PTT"], ["PTT", "PT"]),
        (["qin_pet_phantom", "--modality", "MG"], []),
        (["--where", "no such column = 1"], []),
        (["--sql", "DROP TABLE index"], []),
        (["--sql", "SELECT * FROM read_csv('/etc/passwd')"], []),
    ],
    ids=["misspelled collection", "misspelled modality", "nothing matches", "bad where", "not a query", "other files"],
)
def test_an_impossible_cohort_of_the_index(words: list[str], hints: list[str], dest: Path) -> None:
    assert_refused(run_command("pull", *words, "--source", "idc-proxy", "-o", dest), 2, *hints)
    assert read_tree(dest) == {}


def test_a_search_that_finds_nothing(origin: Origin, dest: Path) -> None:
    assert_refused(run_command("pull", "--search", "PatientID=nobody", "--source", origin.url, "-o", dest), 2)


@pytest.mark.parametrize(
    ("action", "hint"),
    [
        (Status(status=200, body=HTML), "is there a DICOMweb server"),
        (Status(status=200, headers={"Content-Type": "application/dicom+json"}, body="[{"), "not JSON"),
        (Status(status=404), "127.0.0.1"),
        (Status(status=401), "credentials"),
    ],
    ids=["HTML", "half a JSON", "no search", "unauthorized"],
)
def test_a_server_that_cannot_be_searched(action: Status, hint: str, dest: Path) -> None:
    with origin_thread(made_up_catalog(1), rules=[Rule(level="search", action=action)]) as origin:
        ended = run_command("pull", "--all", "--source", origin.url, "-o", dest)
    assert_refused(ended, 1, hint)


def test_a_source_that_is_down_while_the_cohort_is_looked_up(closed_url: str, dest: Path) -> None:
    assert_refused(run_command("pull", "--all", "--source", closed_url, "-o", dest), 1, "127.0.0.1", "refused")


def test_a_source_that_is_down_when_the_cohort_is_known(closed_url: str, dest: Path) -> None:
    rows = made_up_rows(2, 2)
    words: list[Word] = ["pull", "-", "--source", closed_url, "-o", dest, "--json"]
    ended = run_command(*words, stdin=manifest_of(rows))
    assert (ended.code, ended.json["state"]) == (4, "paused")
    assert "refused" in ended.json["reason"]
    assert ended.json["failures"] == []
    assert run_command("status", dest).code == 4
    catalog = made_up_catalog(2, 2)
    with origin_thread(catalog) as origin:
        assert run_command("resume", dest, "--source", origin.url, "--json").json["state"] == "complete"
    assert read_tree(dest) == expected_tree(catalog)


def test_certificates(dest: Path, tmp_path: Path) -> None:
    authority = trustme.CA()
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(tls)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    catalog = made_up_catalog(2)
    with origin_thread(catalog, tls=tls) as origin:
        words: list[Word] = ["pull", "--all", "-o", dest, "--source"]
        assert_refused(run_command(*words, origin.url), 1, "certificate")
        plain = origin.url.replace("https://", "http://")
        assert_refused(run_command(*words, plain), 1, "127.0.0.1")
        assert run_command(*words, origin.url, "--ca-file", tmp_path / "ca.pem").code == 0
    assert read_tree(dest) == expected_tree(catalog)


def test_https_to_a_port_without(origin: Origin, dest: Path) -> None:
    url = origin.url.replace("http://", "https://")
    assert_refused(run_command("pull", "--all", "--source", url, "-o", dest), 1, "127.0.0.1")


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["status", "nowhere"], 1),
        (["verify", "nowhere"], 1),
        (["resume", "nowhere"], 1),
        (["plan", ""], 2),
        (["plan", "no_such_collection"], 2),
        (["plan", "a" * 300], 2),
        (["pull", "qin_pet_phantom", "-o", "d", "--license-allow", "CC BY 4.0"], 2),
        (["pull", "qin_pet_phantom", "-o", "d", "--source", "foo:bar"], 2),
        (["pull", "--all", "-o", "d", "--source", "http://127.0.0.1:9/x"], 1),
        (["pull", "a" * 300, "-o", "d", "--source", "http://127.0.0.1:9/x"], 2),
    ],
)
def test_the_last_line_is_an_object_at_every_stage(words: list[str], code: int, tmp_path: Path) -> None:
    done = run_command(*words, "--json", cwd=tmp_path)
    assert done.code == code
    assert done.json["state"] == "failed"
    assert done.json["reason"] == done.complaint


def test_an_empty_destination_is_not_the_current_folder(tmp_path: Path) -> None:
    done = run_command("pull", "--all", "--source", "http://127.0.0.1:9/x", "-o", "", cwd=tmp_path)
    assert done.code == 2
    assert "empty DEST" in done.stderr
    assert list(tmp_path.iterdir()) == []
