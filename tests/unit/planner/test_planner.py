"""Planning in a child process: what is said, who dies when, and what is left in the ledger."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import anyio
import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul import errors
from dicomhaul.config.options import QUERY_JSON
from dicomhaul.config.source import Connection, resolve_sources
from dicomhaul.errors import CohortError, ConfigError, HaulError, QuotaExhausted, ServerFailed, SourceDown
from dicomhaul.land.layout import IDC_LAYOUT, PLAIN_LAYOUT
from dicomhaul.model import Query
from dicomhaul.origin import Rule, Stall, Status
from dicomhaul.plan.estimate import Amount, Summary
from dicomhaul.planner.parent import _kind_of, plan
from dicomhaul.planner.request import (
    REPLY_JSON,
    REQUEST_JSON,
    Failed,
    Load,
    PlanRequest,
    Progress,
    Reply,
)
from dicomhaul.record.ledger import Ledger
from support.command import wait_until
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread

EVERYTHING = Query(everything=True)
SECRET = "never-shown"


def request_for(url: str, query: Query = EVERYTHING, *, load: Path | None = None) -> PlanRequest:
    return PlanRequest(
        query=query,
        source=resolve_sources(url, profile="generic"),
        layout=PLAIN_LAYOUT,
        load=None if load is None else Load(load, True, "all", "mark", "2024-01-01T00:00:00+00:00"),
    )


# -- what is said -------------------------------------------------------------------------------------------------

amounts = st.builds(Amount, st.integers(0, 99), st.none() | st.integers(0, 99), st.none() | st.integers(0, 10**14))
tables = st.dictionaries(st.text(max_size=5), amounts, max_size=3)
summaries = st.builds(
    Summary,
    total=amounts,
    collections=tables,
    modalities=tables,
    licenses=st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3),
    routes=tables,
    reasons=st.dictionaries(st.text(max_size=5), tables, max_size=2),
    skipped=st.dictionaries(st.text(max_size=5), st.integers(0, 9), max_size=3),
    source=st.text(max_size=9),
    notes=st.lists(st.text(max_size=20), max_size=3).map(tuple),
)


@given(
    st.builds(Reply, summary=summaries)
    | st.builds(Reply, progress=st.builds(Progress, st.integers(0, 10**7)))
    | st.builds(Reply, failed=st.builds(Failed, st.text(max_size=9), st.text(max_size=40)))
)
def test_a_reply_is_one_line_and_comes_back_as_it_was(reply: Reply) -> None:
    line = REPLY_JSON.dump_json(reply)
    assert b"\n" not in line
    assert REPLY_JSON.validate_json(line) == reply


@pytest.mark.parametrize("word", ["idc", "idc-google,idc-proxy", f"https://user:{SECRET}@pacs.example/dicom-web"])
def test_a_request_comes_back_as_it_was(word: str, tmp_path: Path) -> None:
    connection = Connection(auth="basic", token_file=tmp_path / "token", ca_file=tmp_path / "ca.pem")
    request = PlanRequest(
        Query(targets=("a\nb", "ü"), manifest="x\r\ny", study=("1.2",), limit_series=3),
        resolve_sources(word, connection=connection),
        "{SeriesInstanceUID}",
        Load(tmp_path / "ledger", False, "name", "mark", "now"),
        tmp_path,
        2.5,
    )
    line = REQUEST_JSON.dump_json(request)
    assert b"\n" not in line
    back = REQUEST_JSON.validate_json(line)
    assert back == request
    assert SECRET not in repr(back)


def iter_error_classes() -> Iterator[type[HaulError]]:
    for value in vars(errors).values():
        if isinstance(value, type) and issubclass(value, HaulError) and value is not errors.IncompleteError:
            yield value


@pytest.mark.parametrize("kind", list(iter_error_classes()))
def test_every_error_of_the_child_is_raised_as_what_it_was(kind: type[HaulError]) -> None:
    raised = Failed(kind.__name__, "why").as_error()
    assert type(raised) is kind
    assert str(raised) == "why"
    assert not isinstance(raised, QuotaExhausted) or raised.until_s == 0.0


@pytest.mark.parametrize(
    ("before", "quota_bytes", "sources"),
    [("", 20_000_000, "idc-google"), ("[quota]\nbytes_per_day = 20_000_000", None, "mine.toml")],
    ids=["user", "profile"],
)
def test_a_quota_of_any_source_is_planned_with(
    before: str, quota_bytes: int | None, sources: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.toml").write_text(f'name = "mine"\nextends = "idc-google"\nurl = "http://127.0.0.1:9"\n{before}')
    source = resolve_sources(f"{sources},idc-bucket")
    request = PlanRequest(Query(collection=("qin_pet_phantom",)), source, IDC_LAYOUT, quota_bytes=quota_bytes)
    summary = anyio.run(plan, request)
    first, bucket = (spec.name for spec in source.specs)
    size_bytes = {name: amount.size_bytes or 0 for name, amount in summary.routes.items()}
    assert 0 < size_bytes[first] <= 20_000_000
    assert sum(size_bytes.values()) == summary.total.size_bytes
    assert any(f"more than what is left of today's quota of {first}" in why for why in summary.reasons[bucket])
    assert summary.quotas == {first: (20_000_000, 0)}


def test_an_error_of_an_unknown_kind_is_still_one() -> None:
    assert isinstance(Failed("Nonsense", "why").as_error(), CohortError)


# -- the child ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_plan_is_added_up_and_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    told: list[Progress] = []
    with origin_thread(made_up_catalog(2, 3, 4)) as origin:
        summary = await plan(request_for(origin.url), told.append)
    assert summary.total.series == 3
    assert summary.total.instances == 9
    assert [each.series for each in told] == sorted(each.series for each in told)
    assert told[-1] == Progress(series=3, requests=len(origin.requests))
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - Path.iterdir is not for async code


@pytest.mark.anyio
async def test_rows_go_into_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with origin_thread(made_up_catalog(2, 3)) as origin:
        await plan(request_for(origin.url, load=path))
    ledger = Ledger.open(path, read_only=True)
    (cohort,) = ledger.cohorts()
    assert QUERY_JSON.validate_json(cohort.query) == EVERYTHING
    assert (cohort.name, cohort.fingerprint, cohort.source) == ("all", "mark", origin.url)
    assert ledger.standing(cohort.id).instances_expected == 5
    ledger.close()


@pytest.mark.anyio
async def test_no_credential_reaches_the_ledger(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    with origin_thread(made_up_catalog(2), authorization="Basic dTpuZXZlci1zaG93bg==") as origin:
        url = origin.url.replace("//", f"//u:{SECRET}@")
        request = request_for(url, load=path)
        await plan(
            PlanRequest(
                request.query,
                resolve_sources(url, profile="generic", connection=Connection(auth="basic")),
                request.layout,
                request.load,
            )
        )
    assert SECRET.encode() not in path.read_bytes()


@pytest.mark.anyio
async def test_a_manifest_that_says_everything_needs_no_server(tmp_path: Path) -> None:
    query = Query(manifest=manifest_of(made_up_rows(2, 3)))
    summary = await plan(request_for("http://127.0.0.1:1", query))
    assert (summary.total.series, summary.total.instances) == (2, 5)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("query", "layout", "kind"),
    [
        (Query(search=("Nonsense=1",)), PLAIN_LAYOUT, (CohortError, ConfigError)),
        (Query(everything=True), "{StudyDescription}/{SeriesInstanceUID}", (ConfigError,)),
        (Query(everything=True), "{Nonsense}", (ConfigError,)),
    ],
)
async def test_what_stopped_the_child_is_raised(query: Query, layout: str, kind: tuple[type[HaulError], ...]) -> None:
    request = PlanRequest(query, resolve_sources("http://127.0.0.1:1", profile="generic"), layout)
    with pytest.raises(kind):
        await plan(request)


@pytest.mark.anyio
async def test_a_server_that_fails_while_it_is_searched(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    profile = tmp_path / "mine.toml"
    profile.write_text('name = "mine"\n[limits]\nattempts = 1\n')
    rules = [Rule(path=r"/series", action=Status(status=500))]
    with origin_thread(made_up_catalog(2, 3), rules=rules) as origin:
        request = PlanRequest(
            EVERYTHING,
            resolve_sources(origin.url, profile=str(profile)),
            PLAIN_LAYOUT,
            Load(path, True, "all", "mark", "now"),
        )
        with pytest.raises((ServerFailed, SourceDown), match="500"):
            await plan(request)
    ledger = Ledger.open(path, read_only=True)
    assert ledger.cohorts() == []
    ledger.close()


@pytest.mark.anyio
async def test_a_file_of_the_working_directory_is_no_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("json", "queue", "random", "uuid", "dicomhaul"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('imported from the working directory')")
    monkeypatch.chdir(tmp_path)
    query = Query(manifest=manifest_of(made_up_rows(2)))
    assert (await plan(request_for("http://127.0.0.1:1", query))).total.series == 1


# -- who dies when ------------------------------------------------------------------------------------------------

_STALLED = [Rule(action=Stall())]


def children() -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process().children(recursive=True)
        if child.is_running()
        and child.status() != psutil.STATUS_ZOMBIE
        and "dicomhaul.planner.child" in child.cmdline()
    ]


@pytest.mark.anyio
async def test_a_child_that_is_killed_is_an_error(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2), rules=_STALLED) as origin:

        def kill() -> None:
            wait_until(lambda: bool(origin.requests), "the child asks the server")
            (child,) = children()
            child.send_signal(signal.SIGKILL)

        async with anyio.create_task_group() as group:
            group.start_soon(anyio.to_thread.run_sync, kill)
            with pytest.raises(CohortError, match="planning ended early"):
                await plan(request_for(origin.url, load=tmp_path / "ledger.sqlite3"))
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    assert ledger.cohorts() == []
    ledger.close()


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ([b"Traceback ...\n", b"ValueError: secret of a server\n"], "ValueError"),
        ([b"  | ExceptionGroup: one\n  +-+---- 1 ----\n    | KeyError: 'x'\n    +-----\n"], "KeyError"),
        ([b"duckdb.duckdb.OutOfMemoryException: x"], "duckdb.duckdb.OutOfMemoryException"),
        ([], "it said nothing"),
    ],
)
def test_of_a_child_that_breaks_off_only_the_kind_of_the_error_is_told(said: list[bytes], kind: str) -> None:
    assert _kind_of(said) == kind


@pytest.mark.anyio
async def test_a_cancelled_plan_leaves_no_child() -> None:
    with origin_thread(made_up_catalog(2), rules=_STALLED) as origin:
        async with anyio.create_task_group() as group:
            group.start_soon(plan, request_for(origin.url))
            await anyio.to_thread.run_sync(lambda: wait_until(lambda: bool(origin.requests), "the child asks"))
            assert len(children()) == 1
            group.cancel_scope.cancel()
    assert children() == []


_PARENT = """
import os, sys
import anyio
from dicomhaul.planner.parent import plan
from dicomhaul.planner.request import REQUEST_JSON
print(os.getpid(), flush=True)
anyio.run(plan, REQUEST_JSON.validate_json(sys.stdin.buffer.readline()))
"""


def test_a_child_whose_parent_was_killed_ends(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2), rules=_STALLED) as origin:
        line = REQUEST_JSON.dump_json(request_for(origin.url, load=tmp_path / "ledger.sqlite3")) + b"\n"
        command = [sys.executable, "-c", _PARENT]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
            assert parent.stdin is not None
            parent.stdin.write(line)
            parent.stdin.flush()
            wait_until(lambda: bool(origin.requests), "the child asks the server", unless=parent)
            (child,) = psutil.Process(parent.pid).children()
            parent.send_signal(signal.SIGKILL)
            parent.wait(60)
            wait_until(lambda: not child.is_running() or child.status() == psutil.STATUS_ZOMBIE, "the child ends")
    ledger = Ledger.open(tmp_path / "ledger.sqlite3")
    assert ledger.cohorts() == []
    ledger.close()


def test_a_child_that_is_told_nonsense_says_so() -> None:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "dicomhaul.planner.child"],
        input=json.dumps({"query": 1}) + "\n",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ},
    )
    assert done.returncode != 0
    assert done.stdout == ""
    assert "validation error" in done.stderr
