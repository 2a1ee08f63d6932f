"""What a ledger says of patients is for its owner alone: its folder 0700, its files 0600, whatever was there before."""

import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomhaul.origin import Origin
from support.command import Word, start_command, wait_until
from support.destination import expected_tree, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.quick_command import QuickCommands, quick_commands

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="modes")

COUNTS = (2, 2)


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with origin_thread(made_up_catalog(*COUNTS)) as running:
        yield running


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickCommands]:
    with quick_commands(tmp_path_factory.mktemp("quick")) as commands:
        yield commands


@pytest.fixture
def words(origin: Origin, tmp_path: Path) -> list[Word]:
    (tmp_path / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    return ["pull", tmp_path / "cohort.csv", "--source", origin.url, "-o", tmp_path / "dest", "-q"]


def modes(folder: Path) -> set[tuple[str, int]]:
    """The kind and mode of a folder and of all that it holds."""
    every = (each.lstat().st_mode for each in (folder, *folder.rglob("*")))
    return {("folder" if stat.S_ISDIR(mode) else "file", stat.S_IMODE(mode)) for mode in every}


def loosen(folder: Path) -> None:
    for each in (folder, *folder.rglob("*")):
        each.chmod(0o777 if each.is_dir() else 0o666)


PRIVATE = {("folder", 0o700), ("file", 0o600)}


@pytest.mark.parametrize(("shard", "umask"), [((), 0o000), (("--shard", "1/1"), 0o077)])
def test_where_the_ledger_lies_with_its_data(
    shard: tuple[str, ...], umask: int, quick: QuickCommands, words: list[Word], tmp_path: Path
) -> None:
    """Made so whatever the umask lets, and again where somebody loosened it; the tree is as the umask says."""
    private = tmp_path / "dest" / ".dicomhaul"
    assert quick.run(*words, *shard, umask=umask).code == 0
    assert modes(private) == PRIVATE
    landed = [stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "dest").rglob("*.dcm")]
    assert set(landed) == {0o666 & ~umask}
    loosen(private)
    assert quick.run(*words, *shard, umask=umask).code == 0
    assert modes(private) == PRIVATE


@pytest.mark.parametrize(("shard", "there"), [((), "open to all"), (("--shard", "1/1"), "")])
def test_where_the_ledger_lies_elsewhere(
    shard: tuple[str, ...], there: str, quick: QuickCommands, words: list[Word], tmp_path: Path
) -> None:
    state = tmp_path / "far" / "state"
    if there:
        state.mkdir(parents=True)
        state.chmod(0o777)
    words = [*words, *shard, "--state-dir", state]
    assert quick.run(*words, umask=0).code == 0
    assert modes(state) == PRIVATE
    assert modes(tmp_path / "dest" / ".dicomhaul") - {("file", 0o666)} == {("folder", 0o700)}
    loosen(state)
    assert quick.run(*words, umask=0).code == 0
    assert modes(state) == PRIVATE


def test_a_folder_that_holds_other_things_stays_as_it_is(
    quick: QuickCommands, words: list[Word], tmp_path: Path
) -> None:
    """It is the user's for more than our ledger: closing it could lock others out. Our files in it are private."""
    state = tmp_path / "state"
    state.mkdir()
    (state / "notes.txt").write_text("mine", encoding="utf-8")
    loosen(state)
    assert quick.run(*words, "--state-dir", state, umask=0).code == 0
    assert stat.S_IMODE(state.stat().st_mode) == 0o777
    ours = {each.name: stat.S_IMODE(each.stat().st_mode) for each in state.iterdir()}
    assert ours.pop("notes.txt") == 0o666
    assert set(ours) == {"ledger.sqlite3", "lock"}
    assert set(ours.values()) == {0o600}


def test_journals_are_private_while_a_run_is_at_work(words: list[Word], tmp_path: Path) -> None:
    """Also those of a ledger that was open to all before."""
    private, seen = tmp_path / "dest" / ".dicomhaul", {"ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm"}
    private.mkdir(parents=True)
    (private / "ledger.sqlite3").touch()
    loosen(private)
    mask = os.umask(0)
    try:
        with start_command(tmp_path, *words) as running:
            wait_until(lambda: seen <= {each.name for each in private.iterdir()}, "journals", unless=running.process)
            running.process.kill()
            running.process.wait()
    finally:
        os.umask(mask)
    assert seen <= {each.name for each in private.iterdir()}
    assert modes(private) == PRIVATE
    assert read_tree(tmp_path / "dest").items() <= expected_tree(made_up_catalog(*COUNTS)).items()
