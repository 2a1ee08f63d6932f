"""The planning child as a process: it ends cleanly with an answer, and when nobody waits for one any more."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import psutil

from dicomhaul.config.source import resolve_sources
from dicomhaul.land.layout import PLAIN_LAYOUT
from dicomhaul.model import Query, Series, SeriesUID, StudyUID
from dicomhaul.origin import Catalog, Rule, synthetic_catalog
from dicomhaul.origin.faults import Stall, Status
from dicomhaul.planner import standby
from dicomhaul.planner.request import REPLY_JSON, REQUEST_JSON, PlanRequest
from support.origin_process import origin_thread

_TIMEOUT_S = 60


@contextmanager
def closing_child(process: "subprocess.Popen[bytes]") -> Iterator["subprocess.Popen[bytes]"]:
    with process:
        try:
            yield process
        finally:
            process.kill()


def catalog() -> Catalog:
    return synthetic_catalog([Series(StudyUID("1.2"), SeriesUID("1.2.1"), modality="CT", expected=2)])


@contextmanager
def child(url: str) -> Iterator["subprocess.Popen[bytes]"]:
    """A child that has been asked to plan all of a server."""
    request = PlanRequest(
        query=Query(everything=True), source=resolve_sources(url), layout=PLAIN_LAYOUT, load=None, requests_per_s=None
    )
    with subprocess.Popen(
        [sys.executable, "-m", "dicomhaul.planner.child"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdin is not None
            process.stdin.write(REQUEST_JSON.dump_json(request) + b"\n")
            process.stdin.flush()
            yield process
        finally:
            process.kill()


def ended(process: "subprocess.Popen[bytes]") -> tuple[int, bytes, bytes]:
    """Return the exit code, stdout and stderr of a process whose standard input stays open."""
    assert process.stdout is not None
    assert process.stderr is not None
    out, err = process.stdout.read(), process.stderr.read()
    return process.wait(_TIMEOUT_S), out, err


def test_an_answer() -> None:
    with origin_thread(catalog()) as origin, child(origin.url) as process:
        code, out, err = ended(process)
    assert (code, err) == (0, b"")
    summary = REPLY_JSON.validate_json(out.splitlines()[-1]).summary
    assert summary is not None
    assert summary.total.instances == 2


def test_a_failure() -> None:
    with origin_thread(catalog(), rules=[Rule(action=Status(status=401))]) as origin, child(origin.url) as process:
        code, out, err = ended(process)
    assert (code, err) == (1, b"")
    failed = REPLY_JSON.validate_json(out.splitlines()[-1]).failed
    assert failed is not None
    assert failed.error == "Unauthorized"


def test_it_ends_with_its_parent() -> None:
    with origin_thread(catalog(), rules=[Rule(action=Stall())]) as origin, child(origin.url) as process:
        assert process.stdin is not None
        process.stdin.close()
        code, out, err = ended(process)
    assert (code, out, err) == (1, b"", b"")


def test_nothing_asked() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dicomhaul.planner.child"],
        input=b"",
        capture_output=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def started_ahead() -> psutil.Process:
    """Start a planning child ahead; other tests of this process may have left children of their own."""
    others = psutil.Process().children()
    standby.start_ahead()
    (ahead,) = (each for each in psutil.Process().children() if each not in others)
    return ahead


def test_one_that_was_started_ahead_is_taken_once() -> None:
    ahead = started_ahead()
    with closing_child(standby.take()) as taken, closing_child(standby.take()) as other:
        assert taken.pid == ahead.pid
        assert other.pid != taken.pid


def test_one_that_ended_meanwhile_is_replaced() -> None:
    ahead = started_ahead()
    ahead.kill()
    while ahead.status() != psutil.STATUS_ZOMBIE:
        pass
    with closing_child(standby.take()) as taken:
        assert taken.pid != ahead.pid


def test_one_that_nobody_takes_leaves_with_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "dicomhaul", "pull", "--no-such-option"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "no-such-option" in done.stderr
    assert "Traceback" not in done.stderr
