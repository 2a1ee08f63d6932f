"""A revision takes its place: whatever stops it, a reader sees one revision, and the next open ends it well."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import pytest
import xxhash

from dicomhaul.audit.tree import verify_tree
from dicomhaul.errors import LedgerError
from dicomhaul.land import exchange
from dicomhaul.land.folder import check_below
from dicomhaul.land.trash import purge
from dicomhaul.land.writer import Staged
from dicomhaul.model import Proof, State
from dicomhaul.plan.removal import RemovalLimits
from dicomhaul.record.departing import Following
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.recovery import receipt_of, recover
from dicomhaul.record.removals import remove_outgoing
from dicomhaul.record.swaps import due_swaps, swap_due
from support.fakes import prepared_folder, series_row, write_cohort

PLACE = "2.25.1/1.1"
OLD = {"4.1": b"old one", "4.2": b"old two"}
NEW = {"4.1": b"new one", "4.3": b"new three"}
TODAY = date(2026, 3, 1)


class Killed(BaseException):
    """Nothing that a process could catch."""


class Mirror:
    """A destination whose one series is revised."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = prepared_folder(root)
        self.ledger = Ledger.open(root / ".dicomhaul" / "ledger.sqlite3")

    def plan(self, revision: str, expected: int) -> None:
        write_cohort(self.ledger, [series_row("1.1", expected=expected, revision=revision)])

    def bring(self, content: dict[str, bytes]) -> None:
        """Land these instances where the series lands now; it is complete, and has not taken its place yet."""
        (side,) = (work.folder for state in State for work in self.ledger.iter_series(state))
        for sop, text in content.items():
            (self.folder.staging / f"{sop}.part").write_bytes(text)
            digest = xxhash.xxh3_128_digest(text)
            part = Staged(1, side, f"{sop}.dcm", sop, len(text), digest, f"{sop}.part")
            self.folder.move([part])
            with self.ledger.transaction():
                self.ledger.add_receipts([receipt_of(part)])

    def complete(self) -> None:
        with self.ledger.transaction():
            self.ledger.complete_series(1, Proof.COUNT, None, "bucket")

    def settle(self) -> None:
        swap_due(self.ledger, self.folder, self.ledger.take_completed())
        remove_outgoing(self.ledger, self.folder, TODAY)

    def reopen(self) -> None:
        self.ledger.close()
        self.folder = prepared_folder(self.root)
        self.ledger = Ledger.open(self.ledger.path)
        recover(self.ledger, self.folder)

    def seen(self) -> dict[str, bytes]:
        """What a reader finds in the series' folder."""
        return {path.stem: path.read_bytes() for path in (self.root / PLACE).iterdir() if path.suffix == ".dcm"}

    def trash(self) -> dict[str, bytes]:
        place = self.root / ".dicomhaul" / "trash" / TODAY.isoformat() / PLACE
        return {path.name: path.read_bytes() for path in place.iterdir()} if place.is_dir() else {}

    def beside(self) -> list[str]:
        place = self.root / ".dicomhaul" / "beside"
        return sorted(path.name for path in place.iterdir()) if place.is_dir() else []

    def foreign(self) -> list[str]:
        found = verify_tree(self.root, [], leaving=self.ledger.iter_leaving())
        known = {f"{row.folder}/{row.file}" for row in self.ledger.iter_files()}
        return [finding.path for finding in found if finding.path not in known]


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[Mirror]:
    """A destination that holds a revision, of which another one has come and is complete beside it."""
    made = Mirror(tmp_path / "mirror")
    made.plan("a", 2)
    made.bring(OLD)
    made.complete()
    made.settle()
    assert made.seen() == OLD
    made.plan("b", 2)
    made.bring(NEW)
    assert made.seen() == OLD
    yield made
    made.ledger.close()


@contextmanager
def killed_at(patch: pytest.MonkeyPatch, nth: int) -> Iterator[list[str]]:
    """Let the process die before the n-th step that changes something; yield those that were taken."""
    steps: list[str] = []

    def counted(name: str, real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if len(steps) == nth:
                raise Killed
            steps.append(name)
            return real(*arguments, **named)

        return call

    with patch.context() as here:
        here.setattr(os, "rename", counted("rename", os.rename))
        here.setattr(os, "rmdir", counted("rmdir", os.rmdir))
        here.setattr(exchange, "exchange_names", counted("exchange", exchange.exchange_names))
        here.setattr(Ledger, "transaction", counted("transaction", Ledger.transaction))
        yield steps


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two renames"])
def test_killed_anywhere_it_ends_well(*, exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not exchanges:
        monkeypatch.setattr(exchange, "exchange_names", lambda *_: False)
    done, nth, seen = False, 0, set()
    while not done:
        mirror = Mirror(tmp_path / f"{nth}")
        mirror.plan("a", 2)
        mirror.bring(OLD)
        mirror.complete()
        mirror.settle()
        (mirror.root / PLACE / "notes.txt").write_text("a reader's own")
        mirror.plan("b", 2)
        mirror.bring(NEW)
        mirror.complete()
        with killed_at(monkeypatch, nth) as steps:
            try:
                mirror.settle()
                done = True
            except Killed:
                pass
        there = mirror.seen() if (mirror.root / PLACE).is_dir() else {}
        assert there in ([OLD, NEW] if exchanges else [OLD, NEW, {}]), steps
        seen.add(frozenset(there))
        mirror.reopen()
        remove_outgoing(mirror.ledger, mirror.folder, TODAY)
        assert mirror.seen() == NEW, steps
        assert (mirror.root / PLACE / "notes.txt").read_text() == "a reader's own"
        assert {name.removesuffix(".dcm"): text for name, text in mirror.trash().items()} == OLD, steps
        assert (mirror.beside(), mirror.foreign()) == ([], [f"{PLACE}/notes.txt"])
        assert list(mirror.ledger.iter_leaving()) == []
        assert [row.folder for row in mirror.ledger.iter_files()] == [PLACE] * 2
        mirror.ledger.close()
        nth += 1
    assert {frozenset(OLD), frozenset(NEW)} <= seen
    assert nth > 8


@pytest.mark.parametrize("exchanges", [True, False], ids=["exchange", "two renames"])
@pytest.mark.parametrize("taken", [True, False], ids=["somebody's folder is there", "nothing is there"])
def test_a_series_that_is_filed_elsewhere_goes_there_whenever_it_is_killed(
    *, taken: bool, exchanges: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not exchanges:
        monkeypatch.setattr(exchange, "exchange_names", lambda *_: False)
    renamed = "renamed/1.1"
    done, nth = False, 0
    while not done:
        mirror = Mirror(tmp_path / f"{nth}")
        mirror.plan("a", 2)
        mirror.bring(OLD)
        mirror.complete()
        mirror.settle()
        (mirror.root / PLACE / "notes.txt").write_text("a reader's own")
        if taken:
            (mirror.root / renamed).mkdir(parents=True)
            (mirror.root / renamed / "notes.txt").write_text("another's")
        row = series_row("1.1", expected=2, revision="a")._replace(folder=renamed, license="CC0")
        write_cohort(mirror.ledger, [row], following=Following(RemovalLimits()))
        assert [found.license for found in mirror.ledger.iter_members()] == ["CC0"]
        assert mirror.seen() == OLD
        with killed_at(monkeypatch, nth) as steps:
            try:
                swap_due(mirror.ledger, mirror.folder)
                done = True
            except Killed:
                pass
        mirror.reopen()
        there = {path.name: path.read_bytes() for path in (mirror.root / renamed).iterdir()}
        assert {name: there.get(f"{name}.dcm") for name in OLD} == OLD, steps
        notes = sorted(text for name, text in there.items() if name.startswith("notes"))
        assert notes == sorted([b"a reader's own", *[b"another's"] * taken]), steps
        assert not (mirror.root / PLACE).exists() or not any((mirror.root / PLACE).iterdir())
        assert [found.folder for found in mirror.ledger.iter_files()] == [renamed] * 2
        assert due_swaps(mirror.ledger) == []
        mirror.ledger.close()
        nth += 1
    assert nth > 3


def follow(mirror: Mirror, folder: str, revision: str = "a", *, prior: bool = False) -> None:
    """A sync plans that this revision of the series is filed there."""
    row = series_row("1.1", expected=2, revision=revision)._replace(folder=folder, prior=prior)
    write_cohort(mirror.ledger, [row], following=Following(RemovalLimits(fraction=1.0)))


def places(mirror: Mirror) -> set[str]:
    """The folders that hold instances."""
    found = {path.parent.relative_to(mirror.root).as_posix() for path in mirror.root.rglob("*.dcm")}
    return {name for name in found if not name.startswith(".dicomhaul/")}


@pytest.fixture
def holding(tmp_path: Path) -> Iterator[Mirror]:
    """A destination that holds a revision, and nothing else."""
    made = Mirror(tmp_path / "holding")
    made.plan("a", 2)
    made.bring(OLD)
    yield made
    made.ledger.close()


def test_what_is_half_there_is_filed_elsewhere_at_once_and_goes_on_there(holding: Mirror) -> None:
    with holding.ledger.transaction():
        holding.ledger.withdraw_instances(1, ["4.2"], "gone")
    follow(holding, "renamed/1.1")
    assert [row.sop for row in holding.ledger.iter_seen()] == ["4.1"]  # in the index, wherever it lies
    assert swap_due(holding.ledger, holding.folder) == 1
    assert (places(holding), due_swaps(holding.ledger), holding.foreign()) == ({"renamed/1.1"}, [], [])
    removed = remove_outgoing(holding.ledger, holding.folder, TODAY)
    assert (removed.instances, removed.gone) == (1, 0)  # what was on its way out went along
    holding.bring({"4.3": b"the rest"})
    assert {path.name for path in (holding.root / "renamed" / "1.1").iterdir()} == {"4.1.dcm", "4.3.dcm"}


def test_what_moves_counts_as_present_where_something_else_leaves(holding: Mirror) -> None:
    row, other = series_row("1.1", expected=2, revision="a"), series_row("1.2", expected=1, revision="x")
    write_cohort(holding.ledger, [row, other])
    part = Staged(2, other.folder, "5.1.dcm", "5.1", 1, xxhash.xxh3_128_digest(b"x"), "x.part")
    with holding.ledger.transaction():
        holding.ledger.add_receipts([receipt_of(part)])
    following = Following(RemovalLimits(fraction=0.5))  # one of three leaves
    write_cohort(holding.ledger, [row._replace(folder="renamed/1.1")], following=following)
    assert [found.series for found in holding.ledger.iter_files()] == ["1.1", "1.1"]


def test_a_folder_that_was_gone_before_it_could_move_comes_anew_to_its_new_place(holding: Mirror) -> None:
    holding.complete()
    for path in (holding.root / PLACE).iterdir():
        path.unlink()
    (holding.root / PLACE).rmdir()
    follow(holding, "renamed/1.1")
    swap_due(holding.ledger, holding.folder)
    assert (set(holding.ledger.known(1).wanted), due_swaps(holding.ledger)) == (set(OLD), [])
    holding.bring(OLD)
    assert places(holding) == {"renamed/1.1"}


def test_a_prior_revision_stays_where_it_is(holding: Mirror) -> None:
    holding.complete()
    follow(holding, "UNKNOWN/1.1", prior=True)
    assert swap_due(holding.ledger, holding.folder) == 0
    assert places(holding) == {PLACE}


@pytest.mark.parametrize("meanwhile", ["revised", "withdrawn"])
def test_what_is_wanted_again_under_another_name_goes_there(holding: Mirror, meanwhile: str) -> None:
    holding.complete()
    if meanwhile == "revised":
        follow(holding, PLACE, "b")
    else:
        other = series_row("1.2", expected=1, revision="x")
        write_cohort(holding.ledger, [other], following=Following(RemovalLimits(fraction=1.0)))
    follow(holding, "renamed/1.1")
    assert swap_due(holding.ledger, holding.folder) == 1
    assert remove_outgoing(holding.ledger, holding.folder, TODAY).instances == 0
    assert (places(holding), holding.foreign()) == ({"renamed/1.1"}, [])
    assert sorted(row.sop for row in holding.ledger.iter_files()) == sorted(OLD)


def test_one_folder_of_two_names_is_left_as_it_is(holding: Mirror) -> None:
    """As on a filesystem where case does not count; here a link makes two names of one."""
    above, _, name = PLACE.partition("/")
    (holding.root / "Same").symlink_to(above)
    inode = exchange.inode_of(holding.folder, PLACE)
    assert inode is not None
    assert exchange.take_place(holding.folder, PLACE, f"Same/{name}", inode, ())
    assert holding.seen() == OLD


def test_what_leaves_is_no_stranger_before_and_after(mirror: Mirror) -> None:
    assert mirror.foreign() == []
    assert sorted(row.sop for row in mirror.ledger.iter_seen()) == sorted(OLD)
    mirror.complete()
    swap_due(mirror.ledger, mirror.folder)
    assert (mirror.seen(), mirror.foreign()) == (NEW, [])
    assert sorted(row.sop for row in mirror.ledger.iter_seen()) == sorted(NEW)


def test_revised_again_before_it_was_complete(mirror: Mirror) -> None:
    (first,) = mirror.beside()
    mirror.plan("c", 1)
    mirror.bring({"4.9": b"newest"})
    mirror.complete()
    mirror.settle()
    assert mirror.seen() == {"4.9": b"newest"}
    assert {name.removesuffix(".dcm"): text for name, text in mirror.trash().items()} == OLD
    assert first not in mirror.beside()


def test_revised_back_what_lies_there_is_wanted_again(mirror: Mirror) -> None:
    mirror.plan("a", 2)
    assert set(mirror.ledger.known(1).landed) == set(OLD)
    mirror.complete()
    mirror.settle()
    assert (mirror.seen(), mirror.trash(), mirror.beside()) == (OLD, {}, [])


def test_twice_on_one_day_nothing_in_the_trash_is_replaced(mirror: Mirror) -> None:
    mirror.complete()
    mirror.settle()
    mirror.plan("c", 1)
    mirror.bring({"4.1": b"newest"})
    mirror.complete()
    mirror.settle()
    assert sorted(mirror.trash().values()) == sorted([*OLD.values(), *NEW.values()])


def test_a_folder_that_was_lost_before_its_turn_comes_again(mirror: Mirror) -> None:
    (side,) = mirror.beside()
    mirror.complete()
    for path in (mirror.root / ".dicomhaul" / "beside" / side).iterdir():
        path.unlink()
    (mirror.root / ".dicomhaul" / "beside" / side).rmdir()
    mirror.settle()
    assert mirror.seen() == OLD
    assert set(mirror.ledger.known(1).wanted) == set(NEW)
    mirror.bring(NEW)
    mirror.complete()
    mirror.settle()
    assert mirror.seen() == NEW


def test_what_is_gone_already_is_noted(mirror: Mirror) -> None:
    (mirror.root / PLACE / "4.2.dcm").unlink()
    mirror.complete()
    swap_due(mirror.ledger, mirror.folder)
    removed = remove_outgoing(mirror.ledger, mirror.folder, TODAY)
    assert (removed.instances, removed.size_bytes, removed.gone) == (1, len(OLD["4.1"]), 1)


def test_instances_that_came_back_under_their_name_stay(mirror: Mirror) -> None:
    mirror.complete()
    mirror.settle()
    with mirror.ledger.transaction():
        mirror.ledger.withdraw_instances(1, ["4.1"], "gone")
    assert mirror.foreign() == []
    mirror.bring({"4.1": b"back"})
    assert remove_outgoing(mirror.ledger, mirror.folder, TODAY).instances == 0
    assert mirror.seen() == {**NEW, "4.1": b"back"}


def test_the_trash_is_emptied_by_the_days_in_its_names(mirror: Mirror) -> None:
    trash, elsewhere = mirror.root / ".dicomhaul" / "trash", mirror.root / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "precious").write_text("x")
    for name in ("2026-01-29", "2026-01-30", "2026-02-28", "2026-02-30", "mine", "2026-01-01x"):
        (trash / name / "a").mkdir(parents=True)
        (trash / name / "a" / "x.dcm").write_text("x")
    (trash / "2020-01-01").symlink_to(elsewhere)
    assert purge(mirror.folder, TODAY, 30) == 2
    assert sorted(path.name for path in trash.iterdir()) == [
        "2020-01-01",
        "2026-01-01x",
        "2026-02-28",
        "2026-02-30",
        "mine",
    ]
    assert (elsewhere / "precious").exists()
    assert purge(mirror.folder, TODAY, 0) == 1


@pytest.mark.parametrize(
    "folder",
    [
        ".dicomhaul", ".dicomhaul/beside", ".dicomhaul/beside/../x", f".dicomhaul/beside/{'a' * 31}",
        f".dicomhaul/trash/{'a' * 32}", f".dicomhaul/beside/{'a' * 32}/x", f".DICOMHAUL/beside/{'a' * 32}",
        f".dicomhaul/shard-0-of-2/beside/{'a' * 32}", f"x/.dicomhaul/beside/../../{'a' * 32}",
    ],
)  # fmt: skip
def test_of_our_own_folders_only_side_folders_hold_series(folder: str) -> None:
    with pytest.raises(LedgerError):
        check_below(folder)
    assert check_below(f".dicomhaul/shard-1-of-2/beside/{'0a' * 16}")
