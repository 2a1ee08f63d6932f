"""The Python API where programs meet it: in a notebook, in a cancel scope, after a crash, with an error in hand."""

import asyncio
import dataclasses
import logging
import signal
import subprocess
import sys
from pathlib import Path

import anyio
import pyarrow.parquet as pq
import pytest

from dicomhaul import (
    Cohort,
    CohortError,
    ConfigError,
    Hauler,
    HaulOptions,
    IncompleteError,
    LandingError,
    LedgerError,
    SeriesFailed,
    SeriesLanded,
    pull_sync,
    verify,
)
from dicomhaul.land.writer import Staged
from dicomhaul.model import Query
from dicomhaul.origin import STYLES, Cut, Part, Rule, Stall, Status
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.recovery import intent_batch
from support.command import wait_until
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread

EVERYTHING = Cohort.search()
FIRST_STALLS = Rule(path="/series/1.2.826.0.1.0.0$", times=frozenset({1}), action=Stall())


def indexed(dest: Path) -> set[str]:
    return set(pq.read_table(dest / "index.parquet", columns=["path"]).column(0).to_pylist())


def on_disk(dest: Path) -> set[str]:
    return {path.relative_to(dest).as_posix() for path in dest.rglob("*.dcm")}


# -- one call -----------------------------------------------------------------------------------------------------


def test_pull_sync(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2, 3)) as origin:
        report = pull_sync(EVERYTHING, tmp_path, source=origin.url, transfers=2)
    assert report.state == "complete"
    paths = list(report.paths)
    assert {path.relative_to(tmp_path).as_posix() for path in paths} == on_disk(tmp_path)
    assert all(path.is_file() for path in paths)
    frame = report.to_dataframe()
    assert list(frame["SOPInstanceUID"]) == [path.stem for path in paths]


@pytest.mark.anyio
async def test_pull_sync_where_a_loop_is_running(tmp_path: Path) -> None:
    """As in a notebook: a cell is called from within the loop."""
    with origin_thread(made_up_catalog(2)) as origin:
        assert pull_sync(EVERYTHING, tmp_path, source=origin.url).state == "complete"


def test_pull_sync_raises_what_pull_raises(tmp_path: Path) -> None:
    with pytest.raises(CohortError):
        pull_sync(Cohort(Query(manifest="nonsense")), tmp_path, source="http://127.0.0.1:1")
    with pytest.raises(ConfigError):
        pull_sync(EVERYTHING, tmp_path, source="nonsense")


_SYNC = """
import sys
from dicomhaul import Cohort, pull_sync
try:
    pull_sync(Cohort.search(), sys.argv[2], source=sys.argv[1])
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


def test_pull_sync_and_control_c(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2, 3), rules=[FIRST_STALLS]) as origin:
        command = [sys.executable, "-c", _SYNC, origin.url, str(tmp_path)]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
            wait_until(lambda: len(on_disk(tmp_path)) == 3, "the other series has landed", unless=process)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate(timeout=60)
        assert out == b"interrupted\n"
        ledger = Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3", read_only=True)
        assert (ledger.last_run() or ("", "", ""))[2] == "interrupted"
        ledger.close()
        assert pull_sync(EVERYTHING, tmp_path, source=origin.url).instances_landed == 2


# -- what is reported ---------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_an_error_carries_its_report(tmp_path: Path) -> None:
    events: list[object] = []
    rules = [Rule(path="/series/1.2.826.0.1.0.0(/|$)", action=Status(status=404))]
    with origin_thread(made_up_catalog(2, 3), rules=rules) as origin:
        async with Hauler(origin.url, observer=events.append) as hauler:
            with pytest.raises(IncompleteError) as caught:
                await hauler.pull(EVERYTHING, tmp_path)
            report = await hauler.pull(EVERYTHING, tmp_path, check=False)
    for each in (caught.value.report, report):
        assert (each.state, each.series_planned, each.series_complete, each.series_failed) == ("partial", 2, 1, 1)
        assert {failure.series for failure in each.failures} == {"1.2.826.0.1.0.0"}
        assert each.as_json()["failures"][0]["series"] == "1.2.826.0.1.0.0"
    assert sum(isinstance(event, SeriesFailed) for event in events) == 2
    assert sum(isinstance(event, SeriesLanded) for event in events) == 1


@pytest.mark.anyio
async def test_series_that_two_cohorts_share_are_counted_once(tmp_path: Path) -> None:
    rows = made_up_rows(2, 3, 4)
    with origin_thread(made_up_catalog(2, 3, 4)) as origin:
        async with Hauler(origin.url) as hauler:
            for part in (rows[:2], rows[1:]):
                await hauler.pull(Cohort(Query(manifest=manifest_of(part))), tmp_path)
            report = await hauler.resume(tmp_path)
    assert (report.series_planned, report.series_complete, report.instances_present) == (3, 3, 9)
    assert report.instances_expected == 9


@pytest.mark.anyio
async def test_an_index_that_a_crash_left_behind_is_brought_up_to_date(tmp_path: Path) -> None:
    rows = made_up_rows(2, 3)
    with origin_thread(made_up_catalog(2, 3)) as origin:
        async with Hauler(origin.url) as hauler:
            await hauler.pull(Cohort(Query(manifest=manifest_of(rows[:1]))), tmp_path)
            older = (tmp_path / "index.parquet").read_bytes()
            await hauler.pull(Cohort(Query(manifest=manifest_of(rows[1:]))), tmp_path)
            (tmp_path / "index.parquet").write_bytes(older)  # as if the second run had died before it wrote the index
            ledger = Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3")
            ledger._db.execute("UPDATE run SET state = NULL, ended_at = NULL WHERE id = 2")
            ledger.close()
            report = await hauler.resume(tmp_path)
            assert report.instances_landed == 0
            assert indexed(tmp_path) == on_disk(tmp_path)
            stamp = (tmp_path / "index.parquet").stat().st_mtime_ns
            await hauler.resume(tmp_path)  # nothing to say: it stays as it is
    assert (tmp_path / "index.parquet").stat().st_mtime_ns == stamp


@pytest.mark.anyio
async def test_an_index_that_cannot_be_written_is_written_by_the_next_run(tmp_path: Path) -> None:
    (tmp_path / "index.parquet").mkdir()
    (tmp_path / "index.parquet" / "in the way").touch()
    with origin_thread(made_up_catalog(2)) as origin:
        async with Hauler(origin.url) as hauler:
            with pytest.raises(LandingError, match=r"cannot write index\.parquet") as caught:
                await hauler.pull(EVERYTHING, tmp_path)
            assert caught.value.report.state == "failed"
            (tmp_path / "index.parquet" / "in the way").unlink()
            (tmp_path / "index.parquet").rmdir()
            await hauler.pull(EVERYTHING, tmp_path)
    assert indexed(tmp_path) == on_disk(tmp_path)


@pytest.mark.anyio
async def test_an_index_that_was_deleted_is_written_again(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2)) as origin:
        async with Hauler(origin.url) as hauler:
            await hauler.pull(EVERYTHING, tmp_path)
            (tmp_path / "index.parquet").unlink()
            report = await hauler.pull(EVERYTHING, tmp_path)
    assert report.instances_landed == 0
    assert indexed(tmp_path) == on_disk(tmp_path) != set()


@pytest.mark.anyio
async def test_an_index_forgets_what_is_gone_and_does_not_come_again(tmp_path: Path) -> None:
    rules = [Rule(level="series", times=frozenset({2}), action=Status(status=401))]
    with origin_thread(made_up_catalog(3), rules=rules) as origin:
        async with Hauler(origin.url, options=HaulOptions(recheck=True)) as hauler:
            gone, *_ = (await hauler.pull(EVERYTHING, tmp_path)).paths
            gone.unlink()
            report = await hauler.pull(EVERYTHING, tmp_path, check=False)
    assert (report.state, report.instances_present) == ("paused", 2)
    assert indexed(tmp_path) == on_disk(tmp_path)


@pytest.mark.anyio
async def test_an_index_lists_what_was_adopted(tmp_path: Path) -> None:
    """Killed between the renames and their receipts: the next run finds all of it in place, and moves nothing."""
    rows = made_up_rows(2, 3)
    with origin_thread(made_up_catalog(2, 3)) as origin:
        async with Hauler(origin.url) as hauler:
            await hauler.pull(Cohort(Query(manifest=manifest_of(rows[:1]))), tmp_path)
            older = (tmp_path / "index.parquet").read_bytes()
            await hauler.pull(Cohort(Query(manifest=manifest_of(rows[1:]))), tmp_path)
            (tmp_path / "index.parquet").write_bytes(older)
            ledger = Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3")
            batch = [
                Staged(row.series_id, row.folder, row.file, row.sop, row.size_bytes, row.xxh3, f"{row.sop}.part")
                for row in ledger.iter_files()
                if row.series == rows[1].series
            ]
            ledger._db.execute("DELETE FROM instance WHERE series_id = 2")
            ledger._db.execute("UPDATE series SET state = 0, proof = NULL WHERE id = 2")
            ledger._db.execute("UPDATE run SET state = NULL, ended_at = NULL WHERE id = 2")
            ledger.add_intent(intent_batch(batch))
            ledger.close()
            origin.requests.clear()
            report = await hauler.resume(tmp_path)
            assert origin.requests == []
    assert (report.state, report.instances_landed, report.instances_present) == ("complete", 0, 5)
    assert indexed(tmp_path) == on_disk(tmp_path)
    assert len(indexed(tmp_path)) == 5


# -- what the ledger remembers ------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_every_request_of_a_search_in_pages_is_counted(tmp_path: Path) -> None:
    style = dataclasses.replace(STYLES["orthanc"], page_max=2)
    with origin_thread(made_up_catalog(*[1] * 14), style=style) as origin:
        async with Hauler(origin.url) as hauler:
            report = await hauler.pull(EVERYTHING, tmp_path)
            assert report.requests == len(origin.requests)
            assert len([entry for entry in origin.requests if entry.level == "search"]) > 3
            origin.requests.clear()
            again = await hauler.pull(EVERYTHING, tmp_path)  # each report counts its own
            assert again.requests == len(origin.requests)


@pytest.mark.anyio
async def test_the_same_words_to_two_servers_are_two_cohorts(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2)) as one, origin_thread(made_up_catalog(2, 3)) as two:
        for url in (one.url, two.url, one.url):
            async with Hauler(url) as hauler:
                await hauler.pull(EVERYTHING, tmp_path)
    ledger = Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3", read_only=True)
    assert [cohort.source for cohort in ledger.cohorts()] == [one.url, two.url]
    assert [ledger.standing(cohort.id).series_planned for cohort in ledger.cohorts()] == [1, 2]
    ledger.close()


@pytest.mark.anyio
async def test_a_run_that_found_nothing_has_failed(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2)) as origin:
        async with Hauler(origin.url) as hauler:
            with pytest.raises(CohortError):
                await hauler.pull(Cohort.search(PatientID="nobody"), tmp_path)
    ledger = Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3", read_only=True)
    started, ended, state = ledger.last_run() or ("", None, None)
    ledger.close()
    assert started
    assert (ended is not None, state) == (True, "failed")


# -- iterating ----------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_each_series_is_complete_when_it_is_yielded(tmp_path: Path) -> None:
    rules = [Rule(level="series", times=frozenset({1}), action=Cut(after_bytes=9_000))]
    with origin_thread(made_up_catalog(3, 2, 4), rules=rules) as origin:
        async with Hauler(origin.url) as hauler:
            async for series in hauler.iter_series(EVERYTHING, tmp_path):
                ledger = Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3", read_only=True)
                landed = [row.series for row in ledger.iter_landed()]
                ledger.close()
                assert series.series_instance_uid in landed
                assert all(path.is_file() for path in series.files)
                assert series.path == series.files[0].parent
                assert series.proof in {"count", "inventory"}


@pytest.mark.anyio
async def test_iterating_ends_with_the_error_of_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rules = [Rule(path="/series/1.2.826.0.1.0.0(/|$)", action=Status(status=404))]
    seen: list[int] = []

    async def iterate(hauler: Hauler) -> None:
        async for series in hauler.iter_series(EVERYTHING, tmp_path):
            seen.append(len(series.files))  # noqa: PERF401 - what came before the error counts

    with origin_thread(made_up_catalog(2, 3), rules=rules) as origin:
        async with Hauler(origin.url) as hauler:
            with pytest.raises(IncompleteError):
                await iterate(hauler)
    assert seen == [3]
    assert caplog.messages == []


@pytest.mark.anyio
async def test_iterating_to_where_nothing_can_land_says_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    async def iterate(hauler: Hauler) -> None:
        async for _ in hauler.iter_series(EVERYTHING, tmp_path / "file"):
            raise AssertionError

    with origin_thread(made_up_catalog(2)) as origin:
        async with Hauler(origin.url) as hauler:
            with pytest.raises(LandingError):
                await iterate(hauler)


@pytest.mark.anyio
async def test_a_cancel_scope_round_the_loop_ends_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Anyio's scopes cancel every await again, those of the clean-up too."""
    caplog.set_level(logging.WARNING)
    with origin_thread(made_up_catalog(2, 3), rules=[FIRST_STALLS]) as origin:
        async with Hauler(origin.url) as hauler:
            with anyio.CancelScope() as scope:
                async for _ in hauler.iter_series(EVERYTHING, tmp_path):
                    scope.cancel()
            assert scope.cancelled_caught
            await anyio.lowlevel.checkpoint()
            assert not [task for task in asyncio.all_tasks() if "iter_series" in repr(task.get_coro())]
            report = await hauler.pull(EVERYTHING, tmp_path)
    assert report.instances_present == 5
    assert caplog.messages == []


# -- cancelling ---------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_a_pull_that_times_out_keeps_what_is_whole(tmp_path: Path) -> None:
    """Cancelled in the middle of an answer: two of its instances are whole, and recorded."""
    rules = [Rule(level="series", times=frozenset({1}), action=Stall(after_bytes=20_000))]
    with origin_thread(made_up_catalog(6), rules=rules) as origin:
        async with Hauler(origin.url) as hauler:
            async with anyio.create_task_group() as group:
                group.start_soon(hauler.pull, EVERYTHING, tmp_path)
                await anyio.to_thread.run_sync(
                    lambda: wait_until(lambda: hauler.tally.bytes_received > 17_000, "two instances have come")
                )
                group.cancel_scope.cancel()
            assert list((tmp_path / ".dicomhaul" / "staging").iterdir()) == []
            ledger = Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3", read_only=True)
            recorded = {f"{row.folder}/{row.sop}.dcm" for row in ledger.iter_files()}
            ledger.close()
            assert recorded == on_disk(tmp_path)
            assert len(recorded) == 2
            report = await hauler.pull(EVERYTHING, tmp_path)
    assert (report.instances_present, report.instances_landed) == (6, 4)


@pytest.mark.anyio
async def test_a_stop_when_nothing_runs_does_nothing(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2)) as origin:
        async with Hauler(origin.url) as hauler:
            hauler.stop()
            assert (await hauler.pull(EVERYTHING, tmp_path)).state == "complete"
            hauler.stop()


# -- words --------------------------------------------------------------------------------------------------------


def test_cohorts_are_values() -> None:
    assert Cohort.idc("a", modality="CT").query == Query(targets=("a",), modality=("CT",))
    assert Cohort.idc(modality=["CT", "MR"]).query.modality == ("CT", "MR")
    assert Cohort.series("1.2", "1.3").query == Query(series=("1.2", "1.3"))
    assert Cohort.sql("SELECT 1").query == Query(sql="SELECT 1")
    assert Cohort.manifest(Path("a.csv")).query == Query(targets=("a.csv",))
    assert Cohort.search(PatientID="1").query == Query(search=("PatientID=1",))
    assert Cohort.search().query == Query(everything=True)


def test_a_dataframe_is_a_manifest() -> None:
    import pandas as pd  # noqa: PLC0415 - a second to load

    frame = pd.DataFrame({"SeriesInstanceUID": ["1.2"], "PatientName": ["DOE^JANE"], "instanceCount": [3]})
    assert Cohort.dataframe(frame).query.manifest == "SeriesInstanceUID,instanceCount\n1.2,3\n"


@pytest.mark.anyio
async def test_without_a_source_nothing_is_pulled(tmp_path: Path) -> None:
    async with Hauler() as hauler:
        with pytest.raises(ConfigError, match="where from"):
            await hauler.pull(EVERYTHING, tmp_path)
        with pytest.raises(LedgerError, match="nothing was ever asked for"):
            await hauler.resume(tmp_path)


# -- proving ------------------------------------------------------------------------------------------------------


@pytest.mark.anyio
async def test_what_is_damaged_is_found_and_brought_again(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(2, 3), rules=[Rule(times=frozenset({99}), action=Part(wrong="omit"))]) as origin:
        async with Hauler(origin.url, options=HaulOptions(state_dir=tmp_path / "state")) as hauler:
            report = await hauler.pull(EVERYTHING, tmp_path / "data")
            damaged, gone, _ = list(report.paths)[:3]
            damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
            gone.unlink()
            (tmp_path / "data" / "notes.txt").touch()
            found = verify(tmp_path / "data", state_dir=tmp_path / "state")
            assert found.foreign == ["notes.txt"]
            assert len(found.damaged) == len(found.failures) == 2
            assert {failure.sop for failure in found.failures} == {damaged.stem, gone.stem}
            assert found.instances == found.standing.instances_present == 5
            assert found.elapsed_s >= 0
            repaired = await hauler.resume(tmp_path / "data", damaged=found.damaged)
    assert (repaired.state, repaired.instances_landed) == ("complete", 2)
    again = verify(str(tmp_path / "data"), state_dir=tmp_path / "state", deep=True)
    assert (again.damaged, again.failures) == ([], ())


def test_there_is_nothing_to_prove(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="nothing was pulled here"):
        verify(tmp_path)
