"""What a crash left at a destination, and whether what was pulled after it is what an undisturbed run would have."""

import json
import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import xxhash

from dicomhaul.cohort.lock import open_lock
from dicomhaul.origin import Entry
from dicomhaul.plan.split import Ask, ask_again
from support.command import Word
from support.destination import (
    LedgerRow,
    assert_recorded,
    has_ledger,
    read_ledger,
    read_run_state,
    read_series_states,
    read_tree,
)

PRIVATE = ".dicomhaul"


class Left(NamedTuple):
    """What a ledger holds after a crash.

    Attributes:
        landed: what is recorded.
        announced: what an intent names and is there, whole, in staging or at its place: it is adopted, not asked for.
        begun: stem of a large object -> how much of it is noted.
        planned: whether there is a plan.
    """

    landed: list[LedgerRow]
    announced: list[LedgerRow]
    begun: dict[str, int]
    planned: bool

    @property
    def identities(self) -> set[tuple[str, str, str]]:
        """Study, series and SOP Instance UID of all that is recorded."""
        return {(row.study, row.series, row.sop) for row in self.landed}


NOTHING = Left([], [], {}, planned=False)


class Task(Protocol):
    """What a command is to do at a destination, however often it is begun.

    Attributes:
        good: the tree that comes of it.
        requests: what the origin was asked for, to be read and cleared.
    """

    @property
    def good(self) -> Mapping[str, bytes]: ...

    @property
    def requests(self) -> list[Entry]: ...

    def prepare(self, dest: Path) -> None:
        """Put there what has to be there."""

    def words(self, dest: Path) -> tuple[Word, ...]:
        """Return the command."""

    def asked_again(self, before: Left) -> list[str]:
        """Return what was asked for although it was there before, and the cost rule would rather not."""

    def assert_whole(self, dest: Path, calm: Path) -> None:
        """Assert that there is what an undisturbed run has made of `calm`."""


@dataclass(frozen=True, slots=True)
class Cohort:
    """The task of pulling something.

    Attributes:
        pull: the command, but for `-o` and `--lock`, which follow.
        good: the tree that it makes.
        requests: what the origin was asked for, to be read and cleared.
        expected: how many instances a series has, by its path on a DICOMweb server.
        objects: which SOP Instance UID lies under a key of a bucket.
        lock: whether a lock is written beside the destination.
    """

    pull: tuple[Word, ...]
    good: dict[str, bytes]
    requests: list[Entry]
    expected: Mapping[str, int] = field(default_factory=dict)
    objects: Mapping[str, str] = field(default_factory=dict)
    lock: bool = False

    def prepare(self, dest: Path) -> None:
        """Nothing: a pull makes its destination."""

    def words(self, dest: Path) -> tuple[Word, ...]:
        """Return the command that pulls it to `dest`."""
        lock = ("--lock", dest.with_suffix(".lock")) if self.lock else ()
        return (*self.pull, *lock, "-o", dest, "--json", "-q")

    def asked_again(self, before: Left) -> list[str]:
        """Return what was asked for although it was there before, and the cost rule would rather not."""
        there: dict[str, dict[str, int]] = {}
        for row in (*before.landed, *before.announced):
            there.setdefault(f"/studies/{row.study}/series/{row.series}", {})[row.sop] = row.size_bytes or 0
        recorded = {row.sop for row in (*before.landed, *before.announced)}
        wrong = []
        for entry in self.requests:
            if entry.level == "object":
                stem = entry.path.rpartition("/")[2].removesuffix(".dcm")
                begin = int(entry.range.removeprefix("bytes=").partition("-")[0] or 0)
                if self.objects[entry.path] in recorded or begin < before.begun.get(stem, 0):
                    wrong.append(f"{entry.path} {entry.range}")
            elif entry.level in {"series", "instance"}:
                series, _, sop = entry.path.partition("/instances/")
                if sop in there.get(series, {}) or (not sop and self._is_dear(series, there.get(series, {}))):
                    wrong.append(entry.path)
        return wrong

    def _is_dear(self, series: str, there: Mapping[str, int]) -> bool:
        """Whether a series is asked for as a whole where what is missing of it had to be asked for singly."""
        choice = ask_again(landed=len(there), landed_bytes=sum(there.values()), expected=self.expected[series])
        return len(there) == self.expected[series] or (bool(there) and choice is Ask.SINGLY)

    def assert_whole(self, dest: Path, calm: Path) -> None:
        """Assert that a destination holds what an undisturbed run has made of `calm`."""
        assert read_tree(dest) == self.good
        assert_recorded(dest, self.good)
        assert read_ledger(dest) == read_ledger(calm)
        assert read_series_states(dest) == read_series_states(calm)
        assert read_run_state(dest) == "complete"
        if self.lock:
            with open_lock(dest.with_suffix(".lock")) as lock:
                digests = sorted(digest for row in lock for digest in (row.xxh3 or {}).values())
            assert digests == sorted(map(xxhash.xxh3_128_hexdigest, self.good.values()))


def left_at(dest: Path, scratch: Path, good: Mapping[str, bytes], told: str) -> Left:
    """Read what a crash left, on a copy: reading a ledger mends it. What is recorded is there, and nothing is torn."""
    tree = read_tree(dest) if dest.exists() else {}
    assert [path for path, content in tree.items() if good.get(path) != content] == [], told
    copy = scratch / "copy"
    shutil.rmtree(copy, ignore_errors=True)
    if (dest / PRIVATE).exists():
        shutil.copytree(dest / PRIVATE, copy / PRIVATE, ignore=shutil.ignore_patterns("staging", "*-shm"))
    if not has_ledger(copy):
        return NOTHING
    landed = [row for row in read_ledger(copy) if row.state == 1]
    for row in landed:
        path = f"{row.folder}/{row.sop}.dcm"
        assert path in tree, f"{told}: {path} is recorded and not there"
        assert (row.size_bytes, row.xxh3) == (len(tree[path]), xxhash.xxh3_128_digest(tree[path])), told
    with closing(sqlite3.connect(copy / PRIVATE / "ledger.sqlite3")) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)], told
        ((cohorts,),) = db.execute("SELECT count(*) FROM cohort")
        begun = {stem: (name, size) for stem, name, size in db.execute("SELECT stem, name, offset FROM partial")}
        intents = [part for (batch,) in db.execute("SELECT batch FROM intent") for part in json.loads(batch)]
        uids = {key: uids for key, *uids in db.execute("SELECT id, study, series FROM series")}
    moving = {part[6] for part in intents}  # what becomes of these is the intent's affair
    noted = {stem: (name, size) for stem, (name, size) in begun.items() if name not in moving}
    for name, size in noted.values():
        staged = dest / PRIVATE / "staging" / name
        assert staged.exists(), f"{told}: the beginning of an object is noted and not there"
        assert staged.stat().st_size >= size, told
    announced = list(_iter_announced(intents, uids, dest))
    return Left(landed, announced, {stem: size for stem, (_, size) in noted.items()}, planned=bool(cohorts))


def _iter_announced(intents: list[Any], uids: Mapping[int, list[str]], dest: Path) -> Iterator[LedgerRow]:
    for series_id, folder, file, sop, size, digest, name, *_ in intents:
        for path in (dest / PRIVATE / "staging" / name, dest / folder / file):
            if path.exists() and xxhash.xxh3_128_hexdigest(path.read_bytes()) == digest:
                yield LedgerRow._make([*uids[series_id], sop, folder, size, bytes.fromhex(digest), 0, 0])
                break


def assert_swept(dest: Path) -> None:
    """Assert that nothing is left in staging. After a cut there may be again, until the next run."""
    assert list((dest / PRIVATE / "staging").iterdir()) == []
