"""A destination takes instances by renaming, syncs what it touched, and follows no link out of itself."""

import errno
from pathlib import Path

import pytest

from dicomhaul.errors import DiskFull, LandingError, NotWritable
from dicomhaul.land.folder import Folder, instance_path
from dicomhaul.land.writer import Staged
from dicomhaul.model import Partial
from support.failing import FailingCalls
from support.fakes import prepared_folder
from support.syncs import Syncs


def stage(folder: Folder, sop: str, *, place: str = "a/b", content: bytes = b"x") -> Staged:
    (folder.staging / f"{sop}.part").write_bytes(content)
    return Staged(1, place, f"{sop}.dcm", sop, len(content), bytes(16), f"{sop}.part")


def test_staged_parts_get_their_place(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path / "new" / "dest")
    folder.move([stage(folder, "4.1", content=b"one"), stage(folder, "4.2", place="a/c")])
    assert folder.path("a/b", "4.1.dcm").read_bytes() == b"one"
    assert (tmp_path / "new" / "dest" / instance_path("a/c", "4.2.dcm")).is_file()
    assert list(folder.staging.iterdir()) == []


def test_a_second_move_replaces_the_first(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path)
    folder.move([stage(folder, "4.1", content=b"old")])
    folder.move([stage(folder, "4.1", content=b"new")])
    assert folder.path("a/b", "4.1.dcm").read_bytes() == b"new"


def test_every_folder_that_was_touched_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepared_folder(tmp_path)
    (tmp_path / "there").mkdir()  # by somebody who may have died before syncing its parent
    syncs = Syncs(monkeypatch)
    folder.move([stage(folder, "4.1"), stage(folder, "4.2"), stage(folder, "4.3", place="there")])
    assert syncs.take(tmp_path) == [".", "a", "a/b", "there"]
    folder.move([stage(folder, "4.4"), stage(folder, "4.5", place="a/c")])
    assert syncs.take(tmp_path) == ["a", "a/b", "a/c"]
    folder.move([stage(folder, "4.6", place="d"), stage(folder, "4.7", place="d/e")])
    assert syncs.take(tmp_path) == [".", "d", "d", "d/e"]  # "d" again, after "e" was made in it


def test_a_new_destination_is_synced_from_where_it_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs(monkeypatch)
    folder = Folder(tmp_path / "over" / "there")
    folder.prepare()
    assert syncs.take(tmp_path) == [".", "over", "over/there", "over/there/.dicomhaul"]
    folder.prepare()
    assert syncs.take(tmp_path) == []


def test_what_a_dead_run_renamed_is_synced_up_to_the_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepared_folder(tmp_path)
    folder.move([stage(folder, "4.1"), stage(folder, "4.2", place="a/c")])
    syncs = Syncs(monkeypatch)
    folder.sync(["a/b", "a/c"])
    assert syncs.take(tmp_path) == [".", "a", "a/b", "a/c"]


@pytest.mark.parametrize("link", ["a", "a/b"])
def test_a_link_in_the_tree_is_not_followed(tmp_path: Path, link: str) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    folder = prepared_folder(tmp_path / "dest")
    (folder.root / link).parent.mkdir(exist_ok=True)
    (folder.root / link).symlink_to(outside, target_is_directory=True)
    with pytest.raises(NotWritable, match="symbolic link"):
        folder.move([stage(folder, "4.1")])
    assert list(outside.iterdir()) == []


def test_a_link_in_an_instance_s_place_is_replaced(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.write_bytes(b"precious")
    folder = prepared_folder(tmp_path / "dest")
    place = folder.path("a/b", "4.1.dcm")
    place.parent.mkdir(parents=True)
    place.symlink_to(outside)
    folder.move([stage(folder, "4.1")])
    assert outside.read_bytes() == b"precious"
    assert not place.is_symlink()


def test_a_file_where_a_folder_belongs(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path)
    (tmp_path / "a").write_bytes(b"")
    with pytest.raises(NotWritable):
        folder.move([stage(folder, "4.1")])


@pytest.mark.parametrize(("name", "nth"), [("replace", 1), ("replace", 2), ("fsync", 1), ("mkdir", 1), ("mkdir", 2)])
def test_a_failure_has_a_class_and_no_patient_in_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, nth: int
) -> None:
    folder = prepared_folder(tmp_path)
    batch = [stage(folder, "4.1", place="DOE^JANE"), stage(folder, "4.2", place="DOE^JANE/x")]
    with monkeypatch.context() as patch:
        FailingCalls(patch, name, nth)
        with pytest.raises(DiskFull) as caught:
            folder.move(batch)
    assert "DOE" not in str(caught.value)
    left = [part for part in batch if (folder.staging / part.name).exists()]
    folder.move(left)  # nothing of what failed is remembered as done
    assert folder.path("DOE^JANE", "4.1.dcm").is_file()
    assert folder.path("DOE^JANE/x", "4.2.dcm").is_file()


def test_an_error_of_another_kind_is_a_landing_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = prepared_folder(tmp_path)
    FailingCalls(monkeypatch, "replace", 1, errno.EIO)
    with pytest.raises(LandingError) as caught:
        folder.move([stage(folder, "4.1")])
    assert type(caught.value) is LandingError


def test_the_sweep_empties_staging(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path)
    for name in ("1.part", "2.part"):
        (folder.staging / name).write_bytes(b"")
    assert folder.sweep() == 2
    assert list(folder.staging.iterdir()) == []


def test_only_what_staging_itself_has_is_held(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path)
    (folder.staging / "a.part").write_bytes(b"0123")
    (tmp_path / "outside").write_bytes(b"0123")
    held = {
        name: folder.holds(Partial("stem", "etag", name, 4, bytes(16)))
        for name in ("a.part", "../../outside", str(tmp_path / "outside"))
    }
    assert held == {"a.part": True, "../../outside": False, str(tmp_path / "outside"): False}
    assert not folder.holds(Partial("stem", "etag", "a.part", 5, bytes(16)))


def test_what_cannot_be_swept_is_a_landing_error(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path)
    (folder.staging / "folder").mkdir()
    with pytest.raises(LandingError, match="clear"):
        folder.sweep()


def test_the_private_folder_is_private(tmp_path: Path) -> None:
    folder = prepared_folder(tmp_path)
    assert folder.private.stat().st_mode & 0o777 == 0o700
    folder.prepare()  # again does no harm


def test_a_destination_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(LandingError, match="destination"):
        Folder(tmp_path / "file").prepare()
    with pytest.raises(NotWritable):
        Folder(tmp_path / "file" / "below").prepare()


def test_the_room_of_a_destination_that_is_not_there_yet(tmp_path: Path) -> None:
    room = Folder(tmp_path / "not" / "yet").room()
    assert room.free_bytes > 0
    assert not (tmp_path / "not").exists()
