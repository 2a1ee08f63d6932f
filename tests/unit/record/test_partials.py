"""What staging holds of a large object: kept while somebody may go on with it, and swept as soon as nobody will."""

import os
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import xxhash

from dicomhaul.destination import open_destination
from dicomhaul.errors import LandingError
from dicomhaul.events import Tally
from dicomhaul.land.folder import Folder
from dicomhaul.land.writer import Note, Staged
from dicomhaul.model import Check, Partial, Proof, State
from dicomhaul.plan.estimate import Amount
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.recorder import Recorder
from dicomhaul.record.recovery import intent_batch, recover
from support.failing import FailingCalls
from support.fakes import prepared_folder, series_row, write_cohort

STEM = "0a1b2c3d-0000-4000-8000-000000000001"
OTHER = "not a uuid"
FOLDER = "2.25.1/1.1"
CONTENT = b"0123456789" * 10


@dataclass
class Bench:
    """A destination with two planned series, 1 and 2."""

    folder: Folder
    ledger: Ledger

    def begin(self, stem: str = STEM, *, series_id: int = 1, name: str = "a.part", content: bytes = CONTENT) -> Note:
        """Leave the beginning of an object in staging; return the note of it."""
        (self.folder.staging / name).write_bytes(content)
        return Note(series_id, stem, Partial(stem, "v1", name, len(content), xxhash.xxh3_128_digest(content)))

    def note(self, note: Note) -> None:
        with self.ledger.transaction():
            self.ledger.note_partial(note.series_id, note.stem, note.partial)

    def stage(self, sop: str, stem: str, *, series_id: int = 1) -> Staged:
        """Leave a whole object in staging."""
        name = f"{sop}.part"
        (self.folder.staging / name).write_bytes(CONTENT)
        digest = xxhash.xxh3_128_digest(CONTENT)
        return Staged(series_id, FOLDER, f"{sop}.dcm", sop, len(CONTENT), digest, name, Check.CRC32C, stem)

    def in_staging(self) -> set[str]:
        return {path.name for path in self.folder.staging.iterdir()}

    @contextmanager
    def recording(self) -> Iterator[Recorder]:
        recorder = Recorder(self.ledger, self.folder, Tally())
        recorder.start()
        yield recorder
        recorder.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    folder = prepared_folder(tmp_path)
    with closing(Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3")) as ledger:
        write_cohort(ledger, [series_row("1.1"), series_row("1.2")])
        yield Bench(folder, ledger)


# -- while a run moves bytes --------------------------------------------------------------------------------------


def test_the_last_note_of_an_object_counts(bench: Bench) -> None:
    first, second = bench.begin(name="a.part"), bench.begin(name="b.part", content=CONTENT * 2)
    other = bench.begin(OTHER, name="c.part")
    with bench.recording() as recorder:
        recorder.noted(first)
        recorder.noted(other)
        recorder.ask(lambda ledger: ledger.known(1)).result(60)
        recorder.noted(second)
        known = recorder.ask(lambda ledger: ledger.known(1)).result(60)
        assert known.partials == {STEM: second.partial, OTHER: other.partial}
        assert recorder.ask(lambda ledger: ledger.known(2)).result(60).partials == {}
        recorder.noted(Note(1, OTHER, None))
    assert bench.ledger.known(1).partials == {STEM: second.partial}
    assert bench.in_staging() == {"b.part"}


@pytest.mark.parametrize("stem", [STEM, OTHER])
@pytest.mark.parametrize("together", [True, False])
def test_the_receipt_of_the_whole_ends_the_note(bench: Bench, stem: str, *, together: bool) -> None:
    note, whole = bench.begin(stem), bench.stage("4.1", stem)
    with bench.recording() as recorder:
        recorder.noted(note)
        if not together:
            recorder.ask(lambda ledger: ledger.known(1)).result(60)
        recorder.staged([whole])
        known = recorder.ask(lambda ledger: ledger.known(1)).result(60)
    assert (known.partials, known.landed, known.stems) == ({}, {"4.1": len(CONTENT)}, {stem: "4.1"})
    assert bench.in_staging() == set()


def test_a_receipt_of_another_object_does_not(bench: Bench) -> None:
    note = bench.begin()
    with bench.recording() as recorder:
        recorder.noted(note)
        recorder.staged([bench.stage("4.1", OTHER), bench.stage("4.2", STEM, series_id=2)])
    assert bench.ledger.known(1).partials == {STEM: note.partial}
    assert bench.in_staging() == {"a.part"}


def test_a_series_that_came_by_another_route_wants_no_beginnings(bench: Bench) -> None:
    """They may have gigabytes: they go when this run ends, not when another one begins."""
    one, two = bench.begin(), bench.begin(series_id=2, name="b.part")
    with bench.recording() as recorder:
        recorder.noted(one)
        recorder.noted(two)
        recorder.change(lambda ledger: ledger.complete_series(1, Proof.COUNT, 0, "other"))
        assert recorder.ask(lambda ledger: ledger.known(1)).result(60).partials == {}
    assert bench.ledger.known(1).partials == {}
    assert bench.ledger.known(2).partials == {STEM: two.partial}
    assert bench.in_staging() == {"b.part"}


def test_a_note_that_comes_too_late_is_forgotten(bench: Bench) -> None:
    with bench.recording() as recorder:
        recorder.staged([bench.stage("4.1", STEM)])
        recorder.change(lambda ledger: ledger.complete_series(1, Proof.COUNT, 1, "other"))
        recorder.ask(lambda ledger: ledger.known(1)).result(60)
        recorder.noted(bench.begin())
    assert bench.ledger.partials() == []
    assert bench.in_staging() == set()


def test_a_staging_that_cannot_be_swept_ends_the_run_with_an_error(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder(bench.ledger, bench.folder, Tally())
    recorder.start()
    FailingCalls(monkeypatch, "scandir", 1)
    with pytest.raises(LandingError, match="clear"):
        recorder.close()


def test_what_is_there_of_an_object_need_not_find_room_again(bench: Bench) -> None:
    cohort_id = write_cohort(bench.ledger, [series_row("1.1", expected=5, size_bytes=1000)], name="one")
    for series_id, stem in ((1, STEM), (1, OTHER), (2, STEM)):  # the last one is not of this cohort
        bench.note(bench.begin(stem, series_id=series_id))
    assert bench.ledger.amount_planned(cohort_id) == Amount(1, 5, 1000 - 2 * len(CONTENT))


# -- when a run begins --------------------------------------------------------------------------------------------


def test_what_a_killed_run_noted_is_kept_and_the_rest_is_swept(bench: Bench) -> None:
    note = bench.begin()
    bench.note(note)
    (bench.folder.staging / "foreign.part").write_bytes(b"?")
    with (bench.folder.staging / "a.part").open("ab") as file:
        file.write(b"more, that was not noted")
    for _ in range(2):  # as often as it takes
        assert recover(bench.ledger, bench.folder) == 0
        assert bench.in_staging() == {"a.part"}
        assert bench.ledger.known(1).partials == {STEM: note.partial}


def _hurt_by_link(path: Path) -> None:
    elsewhere = path.parents[2] / "elsewhere"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


@pytest.mark.parametrize(
    "hurt",
    [lambda path: path.unlink(), lambda path: os.truncate(path, len(CONTENT) - 1), _hurt_by_link],
    ids=["gone", "too short", "a link"],
)
def test_a_note_whose_bytes_are_gone_goes(bench: Bench, hurt: object) -> None:
    bench.note(bench.begin())
    hurt(bench.folder.staging / "a.part")  # type: ignore[operator]
    recover(bench.ledger, bench.folder)
    assert (bench.ledger.partials(), bench.in_staging()) == ([], set())


@pytest.mark.parametrize("name", ["../ledger.sqlite3", "/etc/hostname", "..", ""])
def test_a_note_that_names_another_file_goes_and_the_file_stays(bench: Bench, name: str) -> None:
    bench.note(Note(1, STEM, Partial(STEM, "v1", name, 0, bytes(16))))
    recover(bench.ledger, bench.folder)
    assert bench.ledger.partials() == []
    assert bench.ledger.path.exists()


def test_notes_of_what_is_wanted_no_more_go(bench: Bench) -> None:
    complete, unknown = bench.begin(), bench.begin(series_id=99, name="b.part")
    landed = bench.begin(OTHER, series_id=2, name="c.part")
    for note in (complete, unknown, landed):
        bench.note(note)
    with bench.ledger.transaction():
        bench.ledger._db.execute("UPDATE series SET state = 1 WHERE id = 1")
        bench.ledger._db.execute("INSERT INTO instance (series_id, sop, state, stem) VALUES (2, '4.1', 1, ?)", (OTHER,))
    recover(bench.ledger, bench.folder)
    assert (bench.ledger.partials(), bench.in_staging()) == ([], set())


def test_a_series_that_failed_is_tried_again_from_where_it_broke_off(bench: Bench) -> None:
    note = bench.begin()
    bench.note(note)
    with bench.ledger.transaction():
        bench.ledger.fail_series(1, "reset")
    recover(bench.ledger, bench.folder)
    assert bench.ledger.known(1).partials == {STEM: note.partial}
    assert bench.in_staging() == {"a.part"}


def test_another_revision_has_other_objects(bench: Bench) -> None:
    write_cohort(bench.ledger, [series_row("1.1", revision="a")])
    bench.note(bench.begin())
    write_cohort(bench.ledger, [series_row("1.1", revision="b")])
    assert bench.ledger.partials() == []
    recover(bench.ledger, bench.folder)
    assert bench.in_staging() == set()


@pytest.mark.parametrize("moved", [True, False])
def test_what_is_adopted_keeps_its_proof_and_ends_its_note(bench: Bench, *, moved: bool) -> None:
    """Killed between the intent and the receipt of an object that had been noted on the way."""
    bench.note(bench.begin(name="4.1.part", content=CONTENT[:50]))
    whole = bench.stage("4.1", STEM)
    with bench.ledger.transaction():
        bench.ledger.add_intent(intent_batch([whole]))
    if moved:
        bench.folder.move([whole])
    assert recover(bench.ledger, bench.folder) == 1
    (row,) = bench.ledger.iter_files()
    assert (row.sop, row.check, row.size_bytes) == ("4.1", Check.CRC32C, len(CONTENT))
    assert bench.ledger.known(1).stems == {STEM: "4.1"}
    assert (bench.ledger.partials(), bench.in_staging()) == ([], set())


def test_an_adopted_file_has_the_name_that_was_announced(bench: Bench) -> None:
    bench.ledger.set_meta("name_by", "crdc")
    whole = bench.stage("4.1", STEM)
    with bench.ledger.transaction():
        bench.ledger.add_intent(intent_batch([replace(whole, file=f"{STEM}.dcm")]))
    assert recover(bench.ledger, bench.folder) == 1
    (row,) = bench.ledger.iter_files()
    assert row.file == f"{STEM}.dcm"
    assert bench.folder.path(row.folder, row.file).read_bytes() == CONTENT


def test_two_runs_of_a_destination(tmp_path: Path) -> None:
    """The second finds what the first had noted, and nothing else in staging."""
    with open_destination(tmp_path) as first:
        write_cohort(first.ledger, [series_row("1.1")])
        run = Bench(first.folder, first.ledger)
        note = run.begin()
        run.note(note)
        (first.folder.staging / "b.part").write_bytes(b"half")
    with open_destination(tmp_path) as second:
        assert second.adopted == 0
        assert second.ledger.known(1).partials == {STEM: note.partial}
        assert Bench(second.folder, second.ledger).in_staging() == {"a.part"}
        assert [work.series_id for work in second.ledger.iter_series(State.PLANNED)] == [1]
