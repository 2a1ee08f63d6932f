"""Land, then record: in this order, whatever fails, and what a crash leaves between the two is adopted."""

import sqlite3
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import xxhash
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dicomhaul.errors import DiskFull, HaulError, LedgerError
from dicomhaul.events import Tally
from dicomhaul.land.folder import Folder
from dicomhaul.land.writer import Staged
from dicomhaul.model import Proof, Receipt, State
from dicomhaul.ports import Ledger as LedgerPort
from dicomhaul.record import recorder as recorder_room
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.recorder import Recorder
from dicomhaul.record.recovery import intent_batch, recover
from support.descriptors import open_descriptors
from support.failing import FailingCalls
from support.fakes import prepared_folder, series_row, write_cohort
from support.syncs import Syncs

FOLDER = "2.25.1/1.1"
CONTENT = {f"4.{number}": bytes([number]) * 100 for number in range(6)}


@dataclass
class Bench:
    """A destination with one planned series, 1, whose parts can be staged."""

    folder: Folder
    ledger: Ledger

    def stage(self, *sops: str) -> list[Staged]:
        batch = []
        for sop in sops:
            content = CONTENT[sop]
            name = f"{sop}.part"
            (self.folder.staging / name).write_bytes(content)
            batch.append(Staged(1, FOLDER, f"{sop}.dcm", sop, len(content), xxhash.xxh3_128_digest(content), name))
        return batch

    def in_place(self) -> set[str]:
        return {path.stem for path in self.folder.root.rglob("*.dcm")}

    def recorded(self) -> set[str]:
        return set(self.ledger.known(1).landed)

    def reopen(self) -> None:
        path = self.ledger.path
        self.ledger.close()
        self.ledger = Ledger.open(path)
        self.folder = prepared_folder(self.folder.root)


@contextmanager
def open_bench(root: Path) -> Iterator[Bench]:
    bench = Bench(prepared_folder(root), Ledger.open(root / ".dicomhaul" / "ledger.sqlite3"))
    write_cohort(bench.ledger, [series_row("1.1", expected=len(CONTENT))])
    try:
        yield bench
    finally:
        bench.ledger.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    with open_bench(tmp_path) as opened:
        yield opened


def test_what_is_told_takes_effect_in_order(bench: Bench) -> None:
    tally = Tally()
    recorder = Recorder(bench.ledger, bench.folder, tally)
    recorder.start()
    seen: list[str] = []
    recorder.staged(bench.stage("4.0", "4.1"))
    recorder.change(
        lambda ledger: ledger.complete_series(1, Proof.COUNT, None, "fake"), lambda: seen.append("complete")
    )
    known = recorder.ask(lambda ledger: ledger.known(1)).result(60)
    assert set(known.landed) == {"4.0", "4.1"}
    assert seen == ["complete"]
    assert bench.in_place() == {"4.0", "4.1"}
    recorder.staged(bench.stage("4.2"))
    recorder.close()
    assert bench.recorded() == {"4.0", "4.1", "4.2"}
    assert bench.ledger.intents() == []
    assert (tally.instances_landed, tally.bytes_landed) == (3, 300)


def test_what_was_committed_is_told_from_the_recorder_s_thread(bench: Bench) -> None:
    recorder = Recorder(bench.ledger, bench.folder, Tally())
    threads: list[threading.Thread] = []
    recorder.start()
    recorder.change(lambda _: None, lambda: threads.append(threading.current_thread()))
    recorder.close()
    assert threads == [recorder]


class Order:
    """Notes what happens to the ledger and the folder, in order."""

    def __init__(self, bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps: list[str] = []
        self._wrap(monkeypatch, bench.ledger, "add_intent")
        self._wrap(monkeypatch, bench.ledger, "add_receipts")
        self._wrap(monkeypatch, bench.ledger, "drop_intent")
        self._wrap(monkeypatch, bench.folder, "move")
        bench.ledger._db.set_trace_callback(lambda sql: self.steps.append(sql) if sql == "COMMIT" else None)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, owner: Any, name: str) -> None:
        real = getattr(owner, name)

        def call(*arguments: Any) -> Any:
            self.steps.append(name)
            return real(*arguments)

        monkeypatch.setattr(owner, name, call)


def test_intent_rename_receipt(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    recorder = Recorder(bench.ledger, bench.folder, Tally())
    order = Order(bench, monkeypatch)
    recorder.start()
    recorder.staged(bench.stage("4.0"))
    recorder.close()
    assert order.steps == ["add_intent", "COMMIT", "move", "add_receipts", "drop_intent", "COMMIT"]


@pytest.mark.parametrize("name", ["replace", "fsync"])
@pytest.mark.parametrize("nth", [1, 2, 3])
def test_a_full_disk_stops_the_recording_and_nothing_is_claimed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, name: str, nth: int
) -> None:
    tally = Tally()
    recorder = Recorder(bench.ledger, bench.folder, tally)
    committed: list[int] = []
    with monkeypatch.context() as patch:
        FailingCalls(patch, name, nth)
        recorder.staged(bench.stage(*CONTENT))
        recorder.change(
            lambda ledger: ledger.complete_series(1, Proof.COUNT, None, "fake"), lambda: committed.append(1)
        )
        recorder.start()
        waiting = recorder.ask(lambda ledger: ledger.known(1))
        with pytest.raises(DiskFull):
            waiting.result(60)
        recorder.staged(bench.stage("4.5"))
        with pytest.raises(DiskFull):
            recorder.close()
    assert committed == []
    assert tally.instances_landed == 0
    assert bench.recorded() == set()
    assert [work.series_id for work in bench.ledger.iter_series(State.PLANNED)] == [1]

    bench.reopen()
    assert recover(bench.ledger, bench.folder) == len(CONTENT)  # all of it was whole, renamed or not
    assert_all_there(bench, set(CONTENT))


def assert_all_there(bench: Bench, sops: set[str]) -> None:
    assert bench.recorded() == bench.in_place() == sops
    assert bench.ledger.intents() == []
    assert list(bench.folder.staging.iterdir()) == []
    for row in bench.ledger.iter_files():
        content = bench.folder.path(row.folder, row.file).read_bytes()
        assert content == CONTENT[row.sop]
        assert (row.size_bytes, row.xxh3) == (len(content), xxhash.xxh3_128_digest(content))


@given(
    renamed=st.sets(st.sampled_from(sorted(CONTENT))),
    damaged=st.sets(st.sampled_from(sorted(CONTENT))),
    gone=st.sets(st.sampled_from(sorted(CONTENT))),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_crash_between_intent_and_receipt(
    tmp_path_factory: pytest.TempPathFactory, renamed: set[str], damaged: set[str], gone: set[str]
) -> None:
    """A process that dies leaves an intent and some renames; a disk that dies leaves files that are none."""
    with open_bench(tmp_path_factory.mktemp("d")) as bench:
        batch = bench.stage(*CONTENT)
        with bench.ledger.transaction():
            bench.ledger.add_intent(intent_batch(batch))
        bench.folder.move([part for part in batch if part.sop in renamed])
        for part in batch:
            staged, final = bench.folder.staging / part.name, bench.folder.path(part.folder, part.file)
            place = final if part.sop in renamed else staged
            if part.sop in gone:
                place.unlink()
            elif part.sop in damaged:
                place.write_bytes(b"?" * 100)
        (bench.folder.staging / "unfinished.part").write_bytes(b"half")
        bench.reopen()
        whole = set(CONTENT) - gone - damaged
        assert recover(bench.ledger, bench.folder) == len(whole)
        assert bench.recorded() == whole
        assert bench.ledger.intents() == []
        assert list(bench.folder.staging.iterdir()) == []
        assert recover(bench.ledger, bench.folder) == 0


def test_an_older_instance_in_place_is_not_taken_for_the_new_one(bench: Bench) -> None:
    (part,) = bench.stage("4.1")
    final = bench.folder.path(FOLDER, "4.1.dcm")
    final.parent.mkdir(parents=True)
    final.write_bytes(b"older")
    with bench.ledger.transaction():
        bench.ledger.add_intent(intent_batch([part]))
    assert recover(bench.ledger, bench.folder) == 1
    assert_all_there(bench, {"4.1"})


@pytest.mark.parametrize("moved", [True, False])
def test_what_is_adopted_is_on_the_disk_before_it_is_recorded(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, *, moved: bool
) -> None:
    """Neither the rename of the run that died nor the folders that it made may have been synced."""
    batch = bench.stage("4.1")
    with bench.ledger.transaction():
        bench.ledger.add_intent(intent_batch(batch))
    if moved:
        bench.folder.move(batch)
    bench.reopen()
    syncs = Syncs(monkeypatch)
    synced: list[str] = []
    add_receipts = bench.ledger.add_receipts

    def add(receipts: Iterable[Receipt]) -> None:
        synced.extend(syncs.take(bench.folder.root))
        add_receipts(receipts)

    monkeypatch.setattr(bench.ledger, "add_receipts", add)
    assert recover(bench.ledger, bench.folder) == 1
    assert synced == [".", "2.25.1", FOLDER]


def test_a_full_disk_while_adopting_leaves_the_intent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    with bench.ledger.transaction():
        bench.ledger.add_intent(intent_batch(bench.stage("4.0", "4.1")))
    with monkeypatch.context() as patch:
        FailingCalls(patch, "replace", 2)
        with pytest.raises(DiskFull):
            recover(bench.ledger, bench.folder)
    assert bench.recorded() == set()
    bench.reopen()
    assert recover(bench.ledger, bench.folder) == 2
    assert_all_there(bench, {"4.0", "4.1"})


def test_a_link_is_not_adopted(bench: Bench, tmp_path: Path) -> None:
    (part,) = bench.stage("4.1")
    with bench.ledger.transaction():
        bench.ledger.add_intent(intent_batch([part]))
    elsewhere = tmp_path / "elsewhere"
    (bench.folder.staging / part.name).rename(elsewhere)
    final = bench.folder.path(FOLDER, "4.1.dcm")
    final.parent.mkdir(parents=True)
    final.symlink_to(elsewhere)
    assert recover(bench.ledger, bench.folder) == 0


class _Hurt(HaulError):
    pass


@pytest.mark.parametrize("error", [_Hurt("hurt"), ValueError("surprise"), sqlite3.OperationalError("disk I/O error")])
def test_a_change_that_fails_takes_its_round_with_it(bench: Bench, error: Exception) -> None:
    tally = Tally()
    committed: list[str] = []
    recorder = Recorder(bench.ledger, bench.folder, tally)

    def fail(_: LedgerPort) -> None:
        raise error

    recorder.staged(bench.stage("4.0"))
    recorder.change(fail, lambda: committed.append("failed"))
    recorder.change(lambda _: None, lambda: committed.append("in its round"))
    recorder.start()
    with pytest.raises(HaulError):
        recorder.ask(lambda ledger: ledger.known(1)).result(60)
    assert recorder.error is not None
    with pytest.raises(type(recorder.error), match=str(error)):
        recorder.close()
    assert bench.recorded() == set()
    assert committed == []
    assert (tally.instances_landed, tally.bytes_landed) == (0, 0)
    bench.reopen()
    assert recover(bench.ledger, bench.folder) == 1


def test_a_question_that_fails_hurts_nobody_else(bench: Bench) -> None:
    recorder = Recorder(bench.ledger, bench.folder, Tally())
    recorder.start()
    with pytest.raises(LedgerError, match="division"):
        recorder.ask(lambda _: 1 // 0).result(60)
    forgotten = recorder.ask(lambda ledger: ledger.known(1))
    forgotten.cancel()
    recorder.staged(bench.stage("4.0"))
    recorder.close()
    assert bench.recorded() == {"4.0"}


def test_a_round_is_bounded(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recorder_room, "_MOST_PARTS", 2)
    order = Order(bench, monkeypatch)
    recorder = Recorder(bench.ledger, bench.folder, Tally())
    for sop in CONTENT:
        recorder.staged(bench.stage(sop))
    recorder.start()
    recorder.close()
    assert order.steps.count("move") == 3
    assert bench.recorded() == set(CONTENT)


def test_a_commit_that_fails_is_rolled_back(bench: Bench) -> None:
    """A reader that holds the file in rollback mode makes COMMIT itself fail."""
    path = bench.ledger.path
    bench.ledger.close()
    bench.ledger = Ledger.open(path, wal=False)
    bench.ledger._db.execute("PRAGMA busy_timeout=0")
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM series").fetchall()
    with pytest.raises(LedgerError, match="locked"), bench.ledger.transaction():
        bench.ledger.add_wanted(1, ["4.0"])
    reader.execute("COMMIT")
    reader.close()
    assert bench.ledger.known(1).wanted == []
    with bench.ledger.transaction():
        bench.ledger.add_wanted(1, ["4.1"])
    assert bench.ledger.known(1).wanted == ["4.1"]


def test_a_full_disk_is_named_although_sqlite_rolled_back_by_itself(bench: Bench) -> None:
    db = bench.ledger._db
    db.execute(
        "CREATE TEMP TRIGGER full BEFORE INSERT ON intent BEGIN SELECT RAISE(ROLLBACK, 'database or disk is full'); END"
    )
    with pytest.raises(LedgerError, match="disk is full"), bench.ledger.transaction():
        bench.ledger.add_intent("[]")
    db.execute("DROP TRIGGER full")
    with bench.ledger.transaction():
        bench.ledger.add_wanted(1, ["4.1"])
    assert bench.ledger.known(1).wanted == ["4.1"]


def test_descriptors_are_given_back(bench: Bench) -> None:
    """`errno.EMFILE` after a thousand folders would stop a run."""
    before = open_descriptors()
    recorder = Recorder(bench.ledger, bench.folder, Tally())
    recorder.staged(bench.stage(*CONTENT))
    recorder.start()
    recorder.close()
    assert open_descriptors() == before
