"""`pull` from a source that fails as a whole: one line that says why, nothing marked as failed that was not tried, and
as few requests as it takes to know.
"""

import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from dicomhaul.model import State
from dicomhaul.net.breaker import FIRST_CONTACT_ROUNDS
from dicomhaul.origin import Catalog, Entry, Rule, Stall, Status, make_identity, synthetic_catalog
from dicomhaul.origin.faults import Action
from dicomhaul.origin.tls import Certificate
from dicomhaul.source.stranger import SERIES_DOWN
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, expected_tree, has_ledger, read_ledger, read_series_states, read_tree
from support.made_up import made_up_rows, manifest_of
from support.origin_process import origin_thread

AT_ONCE = 2
ROWS = made_up_rows(*[2] * 12, series_a_study=1)
CATALOG = synthetic_catalog(ROWS)
HTML = Status(status=200, body="<html><body>Please log in</body></html>", headers={"Content-Type": "text/html"})


@dataclass(frozen=True, slots=True)
class Source:
    """A source that fails, while it does."""

    url: str
    requests: list[Entry]


@contextmanager
def closed_port() -> Iterator[Source]:
    """A port on which nobody listens, and nobody else will: it is bound."""
    with closing(socket.socket()) as sock:
        sock.bind(("127.0.0.1", 0))
        yield Source(f"http://127.0.0.1:{sock.getsockname()[1]}/dicom-web", [])


@contextmanager
def unknown_name() -> Iterator[Source]:
    """A name that no resolver knows (RFC 6761 section 6.4)."""
    yield Source("http://pacs.invalid/dicom-web", [])


@contextmanager
def tls_origin(folder: Path, certificate: Certificate) -> Iterator[Source]:
    """An origin with a certificate of an authority that is written to `ca.pem`."""
    identity = make_identity(certificate)
    (folder / "ca.pem").write_text(identity.authority_pem, encoding="ascii")
    with origin_thread(CATALOG, tls=identity.context) as origin:
        yield Source(origin.url, origin.requests)


@contextmanager
def failing(action: Action) -> Iterator[Source]:
    """An origin that fails every request."""
    with origin_thread(CATALOG, rules=[Rule(action=action)]) as origin:
        yield Source(origin.url, origin.requests)


def pull(folder: Path, url: str, *more: Word, limits: str = "") -> Ended:
    """Pull the cohort by a manifest, so that nobody has to search."""
    (folder / "cohort.csv").write_text(manifest_of(ROWS), encoding="utf-8")
    (folder / "mine.toml").write_text(f'name = "mine"\nextends = "generic"\nurl = "{url}"\n[limits]\n{limits}\n')
    words: list[Word] = ["pull", folder / "cohort.csv", "--source", folder / "mine.toml", "-o", folder / "dest"]
    return run_command(*words, "--json", "--transfers", str(AT_ONCE), *more)


def assert_stopped(ended: Ended, dest: Path, reason: str, *, failed: int = 0) -> None:
    """The run was paused, says why, and left nothing; only series that were tried count as failed."""
    assert (ended.code, ended.json["state"]) == (4, "paused"), ended.stderr
    assert re.search(reason, ended.json["reason"]), ended.json["reason"]
    assert ended.json["instances_landed"] == 0
    assert_empty(dest)
    states = list(read_series_states(dest).values())
    assert (states.count(State.FAILED), states.count(State.PLANNED)) == (failed, len(ROWS) - failed)


def assert_empty(dest: Path) -> None:
    """Nothing has landed, and nothing is said to have."""
    assert [path.name for path in dest.iterdir()] == [".dicomhaul"]
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
    assert [row for row in read_ledger(dest) if row.state == State.LANDED] == []


def assert_goes_on(folder: Path, catalog: Catalog = CATALOG) -> None:
    """The same destination, with a source that is well again: all of it comes, each series by one request."""
    with origin_thread(catalog) as origin:
        ended = run_command("resume", folder / "dest", "--source", origin.url, "--json")
        asked = [entry.path for entry in origin.requests]
    assert (ended.code, ended.json["state"], ended.json["failures"]) == (0, "complete", [])
    assert read_tree(folder / "dest") == expected_tree(catalog)
    assert_recorded(folder / "dest", expected_tree(catalog))
    assert len(asked) == len(set(asked)) == len(ROWS)


# How a source fails as a whole; what the run says; how many requests reach it at most.
NO_CONNECTION = {
    "connection refused": (closed_port, r"is down: no connection to 127\.0\.0\.1:\d+: connection refused"),
    "DNS failure": (unknown_name, r"is down: the name of pacs\.invalid\S* cannot be looked up"),
}


@pytest.mark.parametrize("fault", NO_CONNECTION)
def test_a_source_that_cannot_be_reached(fault: str, tmp_path: Path) -> None:
    opened, reason = NO_CONNECTION[fault]
    with opened() as source:
        ended = pull(tmp_path, source.url)
    assert_stopped(ended, tmp_path / "dest", reason)
    # Who is asked first fails together; after that, one probes.
    assert FIRST_CONTACT_ROUNDS <= ended.json["requests"] <= AT_ONCE + FIRST_CONTACT_ROUNDS - 1


CERTIFICATES: dict[Certificate, str] = {
    "expired": "certificate .* is not accepted: .*expired",
    "other_name": r"not valid for '127\.0\.0\.1'",
}


@pytest.mark.parametrize("certificate", CERTIFICATES)
def test_a_certificate_that_is_not_to_be_accepted(certificate: Certificate, tmp_path: Path) -> None:
    with tls_origin(tmp_path, certificate) as source:
        ended = pull(tmp_path, source.url, "--ca-file", tmp_path / "ca.pem")
        assert source.requests == []
    assert_stopped(ended, tmp_path / "dest", CERTIFICATES[certificate])
    assert ended.json["requests"] <= AT_ONCE


def test_a_certificate_that_is_right(tmp_path: Path) -> None:
    """So that it is the certificate which the others are refused for."""
    with tls_origin(tmp_path, "good") as source:
        ended = pull(tmp_path, source.url, "--ca-file", tmp_path / "ca.pem")
        assert len(source.requests) == len(ROWS)
    assert (ended.code, ended.json["state"]) == (0, "complete")
    assert read_tree(tmp_path / "dest") == expected_tree(CATALOG)


def test_a_host_that_accepts_and_keeps_silent(tmp_path: Path) -> None:
    """Its first silence is everybody's; the second ends it."""
    with failing(Stall()) as source:
        # Longer than 15 s must not be waited for here: with a shorter silence it takes all the rounds.
        ended = pull(tmp_path, source.url, limits="stall_timeout_s = 0.3")
        asked = len(source.requests)
    assert_stopped(ended, tmp_path / "dest", r"is down: 127\.0\.0\.1:\d+ has gone silent")
    assert asked <= AT_ONCE + FIRST_CONTACT_ROUNDS - 1


def test_a_source_that_answers_html_to_everything(tmp_path: Path) -> None:
    with failing(HTML) as source:
        ended = pull(tmp_path, source.url)
        series = {entry.path for entry in source.requests if entry.level == "series"}
        asked = len(source.requests)
    assert ended.code == 4, ended.stderr
    assert "text/html instead of DICOM" in ended.json["reason"]
    assert "login page" in ended.json["reason"]
    assert len(series) < len(ROWS)
    assert asked <= len(series) * 10  # each three times, its list, each of its two instances three times
    assert ended.json["series_failed"] < SERIES_DOWN
    assert_empty(tmp_path / "dest")
    assert_goes_on(tmp_path)


def test_a_source_that_wants_credentials(tmp_path: Path) -> None:
    with failing(Status(status=401)) as source:
        ended = pull(tmp_path, source.url)
        assert 1 <= len(source.requests) <= AT_ONCE
    assert_stopped(ended, tmp_path / "dest", r"401 \(Unauthorized\): it wants credentials")


# While the cohort is resolved by a search, the same are fatal: there is nothing yet to go on with.
FATAL = {
    "connection refused": (closed_port, "connection refused"),
    "HTML with 200": (lambda: failing(HTML), "is there a DICOMweb server at this URL"),
}


@pytest.mark.parametrize("fault", FATAL)
def test_a_source_that_cannot_be_searched(fault: str, tmp_path: Path) -> None:
    opened, reason = FATAL[fault]
    dest = tmp_path / "dest"
    with ExitStack() as stack:
        source = stack.enter_context(opened())
        ended = run_command("pull", "--all", "--source", source.url, "-o", dest)
        assert len(source.requests) <= 1
    assert ended.code == 1
    assert re.search(reason, ended.complaint)
    assert read_tree(dest) == {}
    assert not has_ledger(dest) or read_series_states(dest) == {}
