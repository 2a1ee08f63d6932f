"""Ledgers that are cut, overwritten, or lost in part: one clear stop, or the same end. Never another one.

A half pulled destination is copied for each damage. Here some of them, spread over all pages of its ledger;
`DICOMHAUL_TEST_PAGES=all pytest --timeout=0` tries every page with every damage, `DICOMHAUL_TEST_SEED` chooses others.
"""

import os
import random
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from dicomhaul.origin import Origin, Rule
from dicomhaul.origin.faults import Stall
from support.command import Ended, Word, start_command, wait_until
from support.destination import (
    LedgerRow,
    assert_recorded,
    expected_tree,
    has_ledger,
    read_ledger,
    read_series_states,
    read_tree,
)
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.quick_command import QuickCommands, quick_commands

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform == "win32", reason="commands are forked")]

COUNTS = (3, 30, 2, 12)
PAGES = os.environ.get("DICOMHAUL_TEST_PAGES", "5")  # damages; or "all"
SEED = int(os.environ.get("DICOMHAUL_TEST_SEED", "1"))
SIZE_BYTES = 60_000


@dataclass(frozen=True, slots=True)
class Half:
    """A destination where half of a cohort is, and what its ledger's readers say of it.

    `killed` is as a killed run left it, with a WAL; `settled` is the same after SQLite merged that.
    """

    quick: QuickCommands
    origin: Origin
    good: dict[str, bytes]
    killed: Path
    settled: Path
    manifest: Path
    calm: list[LedgerRow]


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Half]:
    folder = tmp_path_factory.mktemp("half")
    manifest, killed, settled = folder / "cohort.csv", folder / "killed", folder / "settled"
    rows = made_up_rows(*COUNTS, size_bytes=SIZE_BYTES)
    manifest.write_text(manifest_of(rows), encoding="utf-8")
    longest = max(rows, key=lambda row: row.expected or 0)
    stall = Rule(
        path=f"/series/{longest.series}",
        level="series",
        most=1,
        action=Stall(after_bytes=SIZE_BYTES * COUNTS[1] * 3 // 4),
    )
    with ExitStack() as stack:
        origin = stack.enter_context(origin_thread(made_up_catalog(*COUNTS, size_bytes=SIZE_BYTES), rules=[stall]))
        quick = stack.enter_context(quick_commands(folder))
        with start_command(folder, "pull", manifest, "--source", origin.url, "-o", killed, "-q") as running:
            others = sum(COUNTS) - COUNTS[1]
            wait_until(lambda: recorded(killed) > others, "some of the longest series", unless=running.process)
            running.process.kill()
            running.process.wait()
        shutil.copytree(killed, settled)
        with closing(sqlite3.connect(ledger_of(settled))) as db:
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        good = expected_tree(origin.catalog)
        assert quick.run("pull", manifest, "--source", origin.url, "-o", folder / "calm").code == 0
        yield Half(quick, origin, good, killed, settled, manifest, read_ledger(folder / "calm"))


def recorded(dest: Path) -> int:
    return sum(row.state for row in read_ledger(dest)) if has_ledger(dest) else 0


def ledger_of(dest: Path) -> Path:
    return dest / ".dicomhaul" / "ledger.sqlite3"


def pull(half: Half, dest: Path, *, resumed: bool = False) -> Ended:
    words: list[Word] = ["pull", half.manifest, "--source", half.origin.url, "-o", dest]
    return half.quick.run(*(["resume", dest] if resumed else words), "--json", "-q")


def assert_same_end(half: Half, dest: Path, told: str) -> None:
    assert read_tree(dest) == half.good, told
    assert_recorded(dest, half.good)
    assert read_ledger(dest) == half.calm, told
    assert set(read_series_states(dest).values()) == {1}, told


# -- every page ------------------------------------------------------------------------------------------------------

Damage = Callable[[bytes, int, int], bytes]


def zeros(content: bytes, at: int, size: int) -> bytes:
    return content[:at] + bytes(size) + content[at + size :]


def noise(content: bytes, at: int, size: int) -> bytes:
    return content[:at] + random.Random(at).randbytes(size) + content[at + size :]


def another_page(content: bytes, at: int, size: int) -> bytes:
    other = (at + size) % len(content)
    return content[:at] + content[other : other + size] + content[at + size :]


def half_a_page(content: bytes, at: int, size: int) -> bytes:
    """A sector that was never written: as a torn write leaves it."""
    return content[: at + size // 2] + bytes(size // 2) + content[at + size :]


def cut(content: bytes, at: int, size: int) -> bytes:
    return content[:at]


def cut_inside(content: bytes, at: int, size: int) -> bytes:
    return content[: at + size // 3]


DAMAGES: tuple[Damage, ...] = (zeros, noise, another_page, half_a_page, cut, cut_inside)


def damaged_pages(ledger: Path) -> list[tuple[Damage, int]]:
    pages = list(product(DAMAGES, range(ledger.stat().st_size // page_size(ledger))))
    pages.remove((cut, 0))  # an empty one is a new one: test_bad_destination
    return pages if PAGES == "all" else random.Random(SEED).sample(pages, int(PAGES))


def page_size(ledger: Path) -> int:
    return int.from_bytes(ledger.read_bytes()[16:18])


def facts(table: dict[str, Any]) -> dict[str, Any]:
    """What a command said, but how long it took and where."""
    return {key: value for key, value in table.items() if key not in {"elapsed_s", "dest"}}


def test_any_page_of_a_ledger(half: Half, tmp_path: Path) -> None:
    """Each command stops, or says and does what it would have without the damage; a stopped one changes nothing."""
    sound = {name: facts(half.quick.run(name, half.settled, "--json").json) for name in ("status", "verify")}
    stopped = 0
    for number, (damage, page) in enumerate(damaged_pages(ledger_of(half.settled))):
        told = f"{damage.__name__} of page {page}, seed {SEED}"
        dest = tmp_path / str(number)
        shutil.copytree(half.settled, dest)
        ledger = ledger_of(dest)
        size = page_size(ledger)
        ledger.write_bytes(damage(ledger.read_bytes(), page * size, size))
        left, tree = ledger.read_bytes(), read_tree(dest)
        for name, said in sound.items():
            ended = half.quick.run(name, dest, "--json")
            if ended.code == 1:
                assert "ledger" in ended.complaint, told
            else:
                assert facts(ended.json) == said, f"{told}: {name}"
        assert (ledger.read_bytes(), read_tree(dest)) == (left, tree), told
        ended = pull(half, dest, resumed=True)
        if ended.code == 1:
            stopped += 1
            assert "ledger" in ended.complaint, told
            assert (ledger.read_bytes(), read_tree(dest)) == (left, tree), told  # for whoever wants to rescue it
        else:
            assert ended.code == 0, f"{told}: {ended}"
            assert_same_end(half, dest, told)
        shutil.rmtree(dest)
    assert stopped


# -- the WAL ---------------------------------------------------------------------------------------------------------


def beside(dest: Path, end: str) -> Path:
    return ledger_of(dest).with_name(f"ledger.sqlite3-{end}")


def lose_the_wal(dest: Path) -> None:
    beside(dest, "wal").unlink()


def cut_the_wal(dest: Path) -> None:
    content = beside(dest, "wal").read_bytes()
    beside(dest, "wal").write_bytes(content[: len(content) // 2])


def tear_the_wal(dest: Path) -> None:
    """Its middle was never written."""
    content = beside(dest, "wal").read_bytes()
    third = len(content) // 3
    beside(dest, "wal").write_bytes(content[:third] + bytes(third) + content[2 * third :])


def spoil_the_wal(dest: Path) -> None:
    beside(dest, "wal").write_bytes(random.Random(SEED).randbytes(50_000))


def spoil_the_index_of_the_wal(dest: Path) -> None:
    beside(dest, "shm").write_bytes(random.Random(SEED).randbytes(32_768))


@pytest.mark.parametrize(
    "damage",
    [
        lose_the_wal,
        cut_the_wal,
        tear_the_wal,
        spoil_the_wal,
        spoil_the_index_of_the_wal,
    ],
)
def test_a_wal_that_a_killed_run_left(damage: Callable[[Path], None], half: Half, tmp_path: Path) -> None:
    """What was lost of it was not recorded: the ledger is that of an earlier moment, and the rest comes again."""
    dest = tmp_path / "dest"
    shutil.copytree(half.killed, dest)
    assert beside(dest, "wal").stat().st_size > 32
    damage(dest)
    looked = half.quick.run("status", dest, "--json")
    assert looked.code == 4 or "nothing was pulled here" in looked.complaint
    ended = pull(half, dest)
    assert ended.code == 0, ended
    assert_same_end(half, dest, damage.__name__)


# -- what cannot be used ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lock", "ledger.sqlite3-wal"])
def test_a_folder_where_a_file_of_ours_belongs(name: str, half: Half, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    shutil.copytree(half.settled, dest)
    place = dest / ".dicomhaul" / name
    place.unlink(missing_ok=True)
    place.mkdir()
    before = read_tree(dest)
    ended = pull(half, dest)
    assert ended.code == 1
    assert ended.json["error"] in {"LandingError", "NotWritable", "LedgerError"}
    assert str(dest) in ended.complaint
    assert read_tree(dest) == before
    place.rmdir()
    assert pull(half, dest).code == 0
    assert_same_end(half, dest, name)
