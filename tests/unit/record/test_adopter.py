"""Files that somebody else brought: which are taken, where they go, what is left alone, and what a crash leaves."""

import errno
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import xxhash

from dicomhaul.audit.tree import OWN_NAMES
from dicomhaul.errors import NotWritable
from dicomhaul.land.found import iter_found
from dicomhaul.model import Proof, Receipt, SopUID, State
from dicomhaul.record import placing
from dicomhaul.record.adopt import Adopter, Adoption, Fate
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.placing import How
from dicomhaul.record.recovery import recover
from support.destination import read_tree
from support.fakes import STUDY, prepared_folder, series_row, write_cohort
from support.instances import make_instance

STEMS = [f"0000000{number}-0000-4000-8000-000000000000" for number in range(4)]
INDEX = "index.parquet"


def instance(sop: str, series: str = "1.1", pixels: bytes = bytes(64)) -> bytes:
    return make_instance(sop, study=STUDY, series=series, pixels=pixels)


SIZE = len(instance("4.1"))
THREE = {f"{STUDY}/1.1/4.{number}.dcm": instance(f"4.{number}") for number in (1, 2, 3)}


def write(folder: Path, files: Mapping[str, bytes]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


@dataclass
class Bench:
    """A destination at which a series 1.1 of three instances is wanted, and a tree beside it."""

    dest: Path
    tree: Path
    ledger: Ledger
    fates: list[Fate] = field(default_factory=list)

    def adopt(self, tree: Path | None = None, how: How = "any", *, dry_run: bool = False) -> Adoption:
        tree = tree or self.tree
        in_place = self.dest in (tree, *tree.parents)
        self.fates.clear()
        adopter = Adopter(
            self.ledger,
            prepared_folder(self.dest),
            how="move" if in_place else how,
            in_place=in_place,
            dry_run=dry_run,
            told=self.fates.append,
        )
        for found in iter_found(tree, leave_out=() if in_place else (self.dest,), own=OWN_NAMES, threads=2):
            adopter.take(found)
        adopter.finish()
        return adopter.totals

    def state(self, series_id: int = 1) -> tuple[State, str | None, str | None]:
        ((state, proof, came_by),) = self.ledger._db.execute(
            "SELECT state, proof, came_by FROM series WHERE id = ?", (series_id,)
        )
        return State(state), proof, came_by

    def reopen(self) -> int:
        """As the next run does; return what was announced and is recorded by that."""
        path = self.ledger.path
        self.ledger.close()
        self.ledger = Ledger.open(path)
        return recover(self.ledger, prepared_folder(self.dest))


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    dest, tree = tmp_path / "dest", tmp_path / "tree"
    folder = prepared_folder(dest)
    tree.mkdir()
    made = Bench(dest, tree, Ledger.open(folder.private / "ledger.sqlite3"))
    write_cohort(made.ledger, [series_row("1.1", expected=3)])
    yield made
    made.ledger.close()


def refuse(number: int) -> Callable[..., None]:
    def refused(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return refused


@pytest.mark.parametrize("how", ["any", "link", "copy", "move"])
def test_a_series_that_is_there_is_complete(bench: Bench, how: How) -> None:
    """Whatever the files are called, and however deep they lie."""
    write(bench.tree, {"a/b/c/one": instance("4.1"), "two.DCM": instance("4.2"), "a/IM0003": instance("4.3")})
    totals = bench.adopt(how=how)
    assert read_tree(bench.dest) == THREE
    assert bench.state() == (State.LANDED, str(Proof.COUNT), "adopted")
    assert (totals.files_seen, totals.adopted, totals.bytes_adopted, totals.series_completed) == (3, 3, 3 * SIZE, 1)
    ways = {"any": (3, 0, 0), "link": (3, 0, 0), "copy": (0, 3, 0), "move": (0, 0, 3)}
    assert (totals.linked, totals.copied, totals.moved) == ways[how]
    assert len(read_tree(bench.tree)) == (0 if how == "move" else 3)
    assert [path.stat().st_nlink for path in bench.dest.rglob("*.dcm")] == [2 if how in {"any", "link"} else 1] * 3
    assert bench.ledger.digests(1) == {Path(path).stem: xxhash.xxh3_128_digest(each) for path, each in THREE.items()}
    again = bench.adopt(how=how)
    assert (again.adopted, again.already_there) == (0, 0 if how == "move" else 3)


@pytest.mark.parametrize(("how", "ways"), [("any", (0, 3, 0)), ("move", (0, 0, 3)), ("link", None)])
def test_where_nothing_can_be_linked(
    bench: Bench, how: How, ways: tuple[int, int, int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "link", refuse(errno.EOPNOTSUPP))
    write(bench.tree, THREE)
    if ways is None:
        with pytest.raises(NotWritable, match="linked"):
            bench.adopt(how=how)
        return
    totals = bench.adopt(how=how)
    assert (totals.linked, totals.copied, totals.moved) == ways
    assert read_tree(bench.dest) == THREE
    assert read_tree(bench.tree) == ({} if how == "move" else THREE)


def test_a_move_to_another_filesystem(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "link", refuse(errno.EXDEV))
    monkeypatch.setattr(placing, "_device_of", lambda _: -1)
    write(bench.tree, THREE)
    assert bench.adopt(how="move").moved == 3
    assert (read_tree(bench.dest), read_tree(bench.tree)) == (THREE, {})


def test_what_is_no_instance_of_the_cohort_is_left_alone(bench: Bench, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    write(secret, {"4.3.dcm": instance("4.3")})
    write(
        bench.tree,
        {
            "4.1.dcm": instance("4.1"),
            "cut.dcm": instance("4.2")[:-10],
            "empty.dcm": b"",
            "empty": b"",
            "other.dcm": instance("9.9", series="9"),
            "bad-uid.dcm": instance("../../4.9"),
            "notes.txt": b"to be done",
            "index.parquet": b"ours",
            ".dicomhaul/4.2.dcm": instance("4.2"),
        },
    )
    (bench.tree / "linked.dcm").symlink_to(secret / "4.3.dcm")
    (bench.tree / "linked").symlink_to(secret)
    (bench.tree / "loop").symlink_to(bench.tree)
    os.mkfifo(bench.tree / "4.2.dcm")
    totals = bench.adopt()
    assert read_tree(bench.dest) == {f"{STUDY}/1.1/4.1.dcm": instance("4.1")}
    seen = (totals.files_seen, totals.not_files, totals.not_dicom, totals.damaged, totals.unwanted, totals.adopted)
    assert seen == (11, 4, 2, 2, 2, 1)
    assert bench.state()[0] is State.PLANNED
    assert {(each.what, Path(each.path).name) for each in bench.fates} == {
        ("damaged", "cut.dcm"),
        ("damaged", "empty.dcm"),
        ("not DICOM", "empty"),
        ("not DICOM", "notes.txt"),
        ("unwanted", "other.dcm"),
        ("unwanted", "bad-uid.dcm"),
        *(("not a file", name) for name in ("linked.dcm", "linked", "loop", "4.2.dcm")),
    }


def test_the_first_of_two_counts(bench: Bench) -> None:
    other = instance("4.1", pixels=b"\1" * 64)
    write(bench.tree, {"a": instance("4.1"), "b": instance("4.1"), "c": other})
    totals = bench.adopt()
    assert (totals.adopted, totals.already_there, totals.contested) == (1, 1, 1)
    later = bench.adopt()  # likewise, when it is recorded
    assert (later.adopted, later.already_there, later.contested) == (0, 2, 1)
    assert read_tree(bench.dest) == {f"{STUDY}/1.1/4.1.dcm": instance("4.1")}
    assert [Path(each.path).name for each in bench.fates] == ["c"]


def test_nothing_is_overwritten(bench: Bench) -> None:
    write(bench.dest, {f"{STUDY}/1.1/4.1.dcm": b"somebody's notes"})
    write(bench.tree, THREE)
    totals = bench.adopt()
    assert (totals.adopted, totals.contested) == (2, 1)
    assert read_tree(bench.dest) == {**THREE, f"{STUDY}/1.1/4.1.dcm": b"somebody's notes"}
    assert bench.state()[0] is State.PLANNED


def test_in_place(bench: Bench) -> None:
    """What lies right stays, the rest moves, a second one is told, and what is foreign is not touched."""
    right, second, third = THREE
    write(
        bench.dest,
        {
            "a/2.dcm": THREE[second],
            "a/same": THREE[right],
            "z/3": THREE[third],
            "z/other": instance("4.3", pixels=b"\1" * 64),
            "notes.txt": b"to be done",
            right: THREE[right],
        },
    )
    totals = bench.adopt(bench.dest)
    assert (totals.files_seen, totals.adopted, totals.moved, totals.already_there, totals.contested) == (6, 3, 2, 1, 1)
    assert bench.state() == (State.LANDED, str(Proof.COUNT), "adopted")
    left = {"a/same": THREE[right], "z/other": instance("4.3", pixels=b"\1" * 64), "notes.txt": b"to be done"}
    assert read_tree(bench.dest) == {**THREE, **left}
    again = bench.adopt(bench.dest)
    assert (again.files_seen, again.adopted, again.already_there, again.contested) == (6, 0, 4, 1)


def test_two_that_lie_in_each_others_place(bench: Bench) -> None:
    one, two, three = THREE
    write(bench.dest, {one: THREE[two], two: THREE[one], three: THREE[three]})
    totals = bench.adopt(bench.dest)
    assert (totals.adopted, totals.contested) == (1, 2)
    assert read_tree(bench.dest) == {one: THREE[two], two: THREE[one], three: THREE[three]}


def test_a_folder_of_the_destination_whose_files_are_linked_elsewhere(bench: Bench, tmp_path: Path) -> None:
    """A file with two names is not a move that was killed because one of them is asked for through a link."""
    write(bench.tree, THREE)
    bench.adopt()
    (tmp_path / "link").symlink_to(bench.dest)
    adopter = Adopter(bench.ledger, prepared_folder(bench.dest), how="move", in_place=True)
    for found in iter_found(tmp_path / "link"):
        adopter.take(found)
    adopter.finish()
    assert read_tree(bench.dest) == THREE


def test_a_destination_in_the_tree(bench: Bench) -> None:
    """It is not its own source; and met by another way, its files are the ones that are there."""
    write(bench.tree, THREE)
    bench.adopt()
    above = bench.dest.parent
    totals = bench.adopt(above, "move")
    assert (totals.files_seen, totals.already_there) == (3, 3)
    assert (read_tree(bench.dest), read_tree(bench.tree)) == (THREE, {})
    adopter = Adopter(bench.ledger, prepared_folder(bench.dest), how="move", in_place=False)
    for found in iter_found(above):
        adopter.take(found)
    adopter.finish()
    assert adopter.totals.already_there == 3
    assert read_tree(bench.dest) == THREE


def test_what_landed_and_is_gone_comes_back(bench: Bench) -> None:
    write(bench.tree, THREE)
    bench.adopt(how="copy")
    (bench.dest / STUDY / "1.1" / "4.2.dcm").unlink()
    totals = bench.adopt()
    assert (totals.adopted, totals.already_there) == (1, 2)
    assert read_tree(bench.dest) == THREE


def test_a_dry_run_says_the_same_and_changes_nothing(bench: Bench) -> None:
    write(bench.tree, {**THREE, "again": instance("4.1"), "other": instance("4.1", pixels=b"\1" * 64)})
    said = bench.adopt(dry_run=True)
    assert read_tree(bench.dest) == {}
    bench.ledger._db.execute("DELETE FROM instance")
    bench.ledger._db.execute("UPDATE series SET state = 0, came_by = NULL, proof = NULL")
    assert bench.adopt() == said
    assert (said.adopted, said.linked, said.already_there, said.contested) == (3, 3, 1, 1)


def test_chosen_instances(bench: Bench) -> None:
    write_cohort(bench.ledger, [series_row("2.2", instances=["5.1", "5.2"])], name="chosen")
    write(bench.tree, {f"5.{number}": instance(f"5.{number}", series="2.2") for number in (1, 3)})
    assert (bench.adopt().adopted, bench.adopt().unwanted, bench.state(2)[0]) == (1, 1, State.PLANNED)
    write(bench.tree, {"5.2": instance("5.2", series="2.2")})
    assert bench.adopt().adopted == 1
    assert bench.state(2) == (State.LANDED, str(Proof.INVENTORY), "adopted")


def test_nobody_states_how_many(bench: Bench) -> None:
    """The next pull asks for the inventory, not for all of it again."""
    write_cohort(bench.ledger, [series_row("2.2")], name="more")
    write(bench.tree, {"5.1": instance("5.1", series="2.2")})
    bench.adopt()
    (work,) = (work for work in bench.ledger.iter_series(State.PLANNED) if work.series == "2.2")
    assert work.cut


def test_more_than_are_stated_prove_nothing(bench: Bench) -> None:
    write(bench.tree, {**THREE, "more": instance("4.4")})
    assert bench.adopt().adopted == 4
    assert bench.state()[0] is State.PLANNED


def test_a_complete_series_takes_no_more(bench: Bench) -> None:
    write(bench.tree, THREE)
    bench.adopt()
    write(bench.tree, {"more": instance("4.4")})
    assert bench.adopt().unwanted == 1


def test_the_bytes_that_the_index_states(bench: Bench) -> None:
    """As many instances of another size are no proof; those that bear no object's name are brought again."""
    revised = series_row("3.3", expected=2, size_bytes=2 * SIZE, revision="r")
    write_cohort(bench.ledger, [revised], name="idc")
    longer = instance("6.2", series="3.3", pixels=bytes(70))
    write(bench.tree, {f"{STEMS[0]}.dcm": instance("6.1", series="3.3"), "6.2.dcm": longer})
    totals = bench.adopt()
    assert (totals.adopted, totals.series_unproven, bench.state(2)[0]) == (2, 1, State.PLANNED)
    known = bench.ledger.known(2)
    assert (known.landed, known.wanted, known.stems) == ({"6.1": SIZE}, ["6.2"], {STEMS[0]: "6.1"})
    write(bench.tree, {"6.2.dcm": instance("6.2", series="3.3")})
    (bench.dest / STUDY / "3.3" / "6.2.dcm").unlink()
    assert bench.adopt().series_completed == 1
    assert bench.state(2) == (State.LANDED, str(Proof.COUNT), "adopted")


@pytest.mark.parametrize("by_stem", [False, True])
def test_files_that_bear_their_objects_names(bench: Bench, *, by_stem: bool) -> None:
    if by_stem:
        bench.ledger.set_meta("name_by", "crdc")
    write_cohort(bench.ledger, [series_row("3.3", expected=3, revision="r")], name="idc")
    write(bench.tree, {f"{STEMS[0]}.dcm": instance("6.1", series="3.3"), STEMS[1]: instance("6.2", series="3.3"),
                       "6.3.dcm": instance("6.3", series="3.3")})  # fmt: skip
    assert bench.adopt().series_completed == 1
    assert bench.ledger.known(2).stems == {STEMS[0]: "6.1", STEMS[1]: "6.2"}
    names = [*STEMS[:2], "6.3"] if by_stem else ["6.1", "6.2", "6.3"]
    assert sorted(path.stem for path in bench.dest.rglob("*.dcm")) == names


def test_a_series_that_waits_for_its_place_is_left_to_it(bench: Bench) -> None:
    bench.ledger._db.execute("INSERT INTO swap (series_id, folder) VALUES (1, 'elsewhere')")
    write(bench.tree, THREE)
    assert bench.adopt().unwanted == 3


def test_a_file_that_changes_under_way_is_left_alone(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    write(bench.tree, THREE)
    files = list(iter_found(bench.tree))
    os.utime(files[1].path, ns=(1, 1))
    adopter = Adopter(bench.ledger, prepared_folder(bench.dest), how="any", in_place=False)
    for found in files:
        adopter.take(found)
    adopter.finish()
    assert (adopter.totals.adopted, adopter.totals.damaged) == (2, 1)
    assert len(read_tree(bench.dest)) == 2


class Killed(BaseException):
    """Nothing catches it."""


@pytest.mark.parametrize("how", ["any", "copy", "move", "in place"])
@pytest.mark.parametrize("linking", [True, False])
@pytest.mark.parametrize("step", ["stage", "add_intent", "place", "moved", "add_receipts", "clear"])
def test_killed_between_any_two_steps(
    bench: Bench, how: str, step: str, *, linking: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No file is lost, and the next one ends as an undisturbed one does."""
    tree = bench.dest if how == "in place" else bench.tree
    write(tree, {f"old/{number}": content for number, content in enumerate(THREE.values())})
    way: How = "move" if how == "in place" else how  # type: ignore[assignment]  # the other three are words of it

    def killed(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patched:
        if not linking:
            patched.setattr(os, "link", refuse(errno.EOPNOTSUPP))
        if step in {"stage", "place", "clear"}:
            patched.setattr(placing.Placer, step, killed)
        elif step == "moved":
            patched.setattr("dicomhaul.land.folder.Folder.move", killed)
        else:
            patched.setattr(Ledger, step, killed)
        with pytest.raises(Killed):
            bench.adopt(tree, way)
    bench.reopen()
    contents = {*read_tree(bench.dest).values(), *read_tree(bench.tree).values()}
    assert contents == set(THREE.values())
    with monkeypatch.context() as patched:
        if not linking:
            patched.setattr(os, "link", refuse(errno.EOPNOTSUPP))
        bench.adopt(tree, way)
    assert read_tree(bench.dest) == THREE
    assert len(read_tree(bench.tree)) == (3 if how in {"any", "copy"} else 0)
    assert bench.state()[0] is State.LANDED
    assert list((bench.dest / ".dicomhaul" / "staging").iterdir()) == []


def test_what_failed_at_the_source_is_there(bench: Bench) -> None:
    """As `adopting` does: what failed is wanted again first."""
    with bench.ledger.transaction():
        bench.ledger.add_receipts([Receipt(1, SopUID("4.1"), 1, b"1" * 16)])
        bench.ledger.add_wanted(1, ["4.2"])
        bench.ledger.fail_instance(1, "4.2", "404")
        bench.ledger.fail_series(1, "404")
    bench.ledger.retry_failed(1)
    write(bench.tree, THREE)
    totals = bench.adopt()
    assert (totals.adopted, totals.contested) == (2, 1)  # of the first the ledger says otherwise
    assert set(bench.ledger.known(1).landed) == {"4.1", "4.2", "4.3"}
