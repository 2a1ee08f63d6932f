"""Somebody else has put links, folders and open modes into the destination, before a run or while it runs."""

import os
from pathlib import Path

import pytest

from dicomhaul.errors import LandingError, LedgerError, NotWritable
from dicomhaul.land.folder import Folder, check_below
from dicomhaul.land.writer import Staged
from support.fakes import prepared_folder

PRECIOUS = b"precious"


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A folder of the user's that has nothing to do with the destination."""
    folder = tmp_path / "outside"
    folder.mkdir()
    (folder / "4.1.dcm").write_bytes(PRECIOUS)
    return folder


def stage(folder: Folder, sop: str, place: str = "a/b") -> Staged:
    (folder.staging / f"{sop}.part").write_bytes(b"x")
    return Staged(1, place, f"{sop}.dcm", sop, 1, bytes(16), f"{sop}.part")


def assert_untouched(outside: Path) -> None:
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == {"4.1.dcm": PRECIOUS}


@pytest.mark.parametrize("link", ["a", "a/b"])
def test_a_link_that_takes_a_folder_s_place_during_the_run(tmp_path: Path, outside: Path, link: str) -> None:
    folder = prepared_folder(tmp_path / "dest")
    folder.move([stage(folder, "4.0")])  # made, checked and remembered
    (folder.root / link).rename(tmp_path / "gone")
    (folder.root / link).symlink_to(outside, target_is_directory=True)
    (outside / "b").mkdir()
    with pytest.raises(NotWritable, match="symbolic link"):
        folder.move([stage(folder, "4.1")])
    (outside / "b").rmdir()
    assert_untouched(outside)


@pytest.mark.parametrize("link", [".dicomhaul", ".dicomhaul/staging", ".dicomhaul/shard-1-of-2"])
def test_our_own_folders_are_no_links(tmp_path: Path, outside: Path, link: str) -> None:
    place = tmp_path / "dest" / link
    place.parent.mkdir(parents=True)
    place.symlink_to(outside, target_is_directory=True)
    folder = Folder(tmp_path / "dest", "shard-1-of-2" if "shard" in link else "")
    with pytest.raises(NotWritable, match="symbolic link"):
        folder.prepare()
    assert_untouched(outside)


def test_the_destination_itself_may_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "dest").symlink_to(tmp_path / "disk", target_is_directory=True)
    folder = prepared_folder(tmp_path / "dest")
    folder.move([stage(folder, "4.1")])
    assert (tmp_path / "disk" / "a" / "b" / "4.1.dcm").read_bytes() == b"x"


def test_no_name_that_could_be_guessed_is_written_to(tmp_path: Path, outside: Path) -> None:
    folder = prepared_folder(tmp_path / "dest")
    (folder.staging / f"probe-{os.getpid()}").symlink_to(outside / "4.1.dcm")
    folder.prepare()
    assert_untouched(outside)
    assert folder.sweep() == 1
    assert_untouched(outside)


def test_a_folder_in_an_instance_s_place_is_a_clear_stop(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path)
    (folder.path("a/b", "4.1.dcm") / "deeper").mkdir(parents=True)
    with pytest.raises(NotWritable):
        folder.move([stage(folder, "4.1")])
    assert (folder.path("a/b", "4.1.dcm") / "deeper").is_dir()


@pytest.mark.skipif(os.name == "nt", reason="NTFS has no modes")
def test_a_private_folder_that_was_copied_with_open_modes_is_private_again(tmp_path: Path) -> None:
    for name in (".dicomhaul", ".dicomhaul/staging"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    folder = prepared_folder(tmp_path)
    assert [path.stat().st_mode & 0o777 for path in (folder.private, folder.staging)] == [0o700, 0o700]


IMPOSSIBLE = ("..", "../x", "a/../../x", "a/..", "/etc", "a//b", "a/", ".", "./a", "a/./b", "a\\..\\b", "a\0b",
              ".dicomhaul", ".DICOMHAUL/staging", ".dicomhaul/x")  # fmt: skip


@pytest.mark.parametrize("place", IMPOSSIBLE)
def test_a_ledger_of_somebody_else_cannot_name_a_folder_elsewhere(tmp_path: Path, place: str) -> None:
    folder = prepared_folder(tmp_path / "dest")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(LedgerError):
        folder.path(place, "4.1.dcm")
    staged = stage(folder, "4.1", place)
    with pytest.raises((LedgerError, LandingError)):
        folder.move([staged])
    (folder.staging / staged.name).unlink()
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("place", ["", "a", "a/b.c", "..a/b", "a.../b", "x.dicomhaul", ".dicomhaulx"])
def test_a_folder_that_only_looks_odd_is_one(place: str) -> None:
    assert check_below(place) == place
