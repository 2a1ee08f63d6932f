"""Reading files that lie somewhere: to their end, whatever they are called, and never through a link."""

import os
from pathlib import Path

import pytest
import xxhash

from dicomhaul.errors import NotWritable
from dicomhaul.land import found as found_room
from dicomhaul.land.found import Flaw, Found, iter_found, read_found
from support.instances import make_instance

WHOLE = make_instance("4.1", study="1", series="1.1")


def read(tmp_path: Path, content: bytes, name: str = "one") -> Found:
    (tmp_path / name).write_bytes(content)
    return read_found(str(tmp_path / name))


def test_an_instance(tmp_path: Path) -> None:
    found = read(tmp_path, WHOLE, "0a.dcm")
    assert (found.flaw, found.size_bytes, found.xxh3) == (None, len(WHOLE), xxhash.xxh3_128_digest(WHOLE))
    assert (found.identity.study, found.identity.series, found.identity.sop) == ("1", "1.1", "4.1")
    assert found.name == "0a"


def test_the_buffer_is_no_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that was read lives on in the buffer after the next piece has come."""
    monkeypatch.setattr(found_room, "_BUFFER_BYTES", 7)
    monkeypatch.setattr(found_room, "_local", type("_Local", (), {})())
    found = read(tmp_path, WHOLE)
    assert (found.flaw, found.identity.sop, found.xxh3) == (None, "4.1", xxhash.xxh3_128_digest(WHOLE))


def test_a_bare_data_set(tmp_path: Path) -> None:
    bare = WHOLE[WHOLE.index(b"\x08\x00\x16\x00") :]
    assert read(tmp_path, bare).identity.sop == "4.1"


@pytest.mark.parametrize("kept", [*range(132, len(WHOLE) - 76, 13), len(WHOLE) - 77, len(WHOLE) - 64, len(WHOLE) - 1])
def test_a_file_that_was_cut(kept: int, tmp_path: Path) -> None:
    """Except between two elements, where nothing in the file tells."""
    found = read(tmp_path, WHOLE[:kept])
    assert found.flaw in {Flaw.DAMAGED, None}
    if found.flaw is None:
        assert WHOLE[kept : kept + 2] in {b"\x08\x00", b"\x20\x00", b"\xe0\x7f"}


@pytest.mark.parametrize(
    ("content", "name", "flaw"),
    [
        (b"", "one", Flaw.NOT_DICOM),
        (b"", "one.dcm", Flaw.DAMAGED),
        (WHOLE[:100], "one.dcm", Flaw.DAMAGED),
        (WHOLE[:100], "one", Flaw.NOT_DICOM),
        (b"to be done", "notes.dcm", Flaw.NOT_DICOM),
        (b'{"a": 1}' * 100, "a.json", Flaw.NOT_DICOM),
        (b"PK\3\4" + bytes(500), "a.zip", Flaw.NOT_DICOM),
        (bytes(128) + b"DICM" + b"\xff" * 70_000, "one", Flaw.DAMAGED),
        (WHOLE + b"\xff" * 40, "one", Flaw.DAMAGED),
    ],
)
def test_what_is_no_instance(content: bytes, name: str, flaw: Flaw, tmp_path: Path) -> None:
    assert read(tmp_path, content, name).flaw is flaw


def test_what_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where the tests run as a user who may read everything."""
    (tmp_path / "folder").mkdir()
    for name in ("a", "b", "folder/c"):
        (tmp_path / name).write_bytes(WHOLE)
    opened, listed = os.open, os.scandir

    def refuse(path: str, *rest: int) -> int:
        if path.endswith("/a"):
            raise PermissionError(13, "Permission denied")
        return opened(path, *rest)

    def hide(path: str) -> object:
        if path.endswith("/folder"):
            raise PermissionError(13, "Permission denied")
        return listed(path)

    monkeypatch.setattr(os, "open", refuse)
    monkeypatch.setattr(os, "scandir", hide)
    found = {Path(each.path).name: each for each in iter_found(tmp_path)}
    assert {name: each.flaw for name, each in found.items()} == {"a": Flaw.DAMAGED, "b": None, "folder": Flaw.DAMAGED}
    assert "Permission denied" in found["a"].reason
    monkeypatch.setattr(os, "scandir", lambda _: hide("/folder"))
    with pytest.raises(NotWritable):
        list(iter_found(tmp_path))


def test_links_are_not_followed(tmp_path: Path) -> None:
    tree, secret = tmp_path / "tree", tmp_path / "secret"
    for folder in (tree, secret):
        folder.mkdir()
    (secret / "one.dcm").write_bytes(WHOLE)
    (tree / "one.dcm").symlink_to(secret / "one.dcm")
    (tree / "all").symlink_to(secret)
    (tree / "up").symlink_to(tree)
    assert {each.flaw for each in iter_found(tree)} == {Flaw.NOT_A_FILE}
    (tmp_path / "link").symlink_to(secret)  # but the tree itself may be one
    assert [each.flaw for each in iter_found(tmp_path / "link")] == [None]
    assert read_found(str(tree / "one.dcm")).flaw is Flaw.DAMAGED  # which took a file's place after it was listed


def test_folder_by_folder_and_by_name(tmp_path: Path) -> None:
    names = ["b/2", "a/1", "a/.dicomhaul/x", "3", ".dicomhaul/y", "ours", "a/ours", "left/4"]
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(WHOLE)
    found = iter_found(tmp_path, leave_out=[tmp_path / "left"], own=["ours"], threads=3)
    assert [str(Path(each.path).relative_to(tmp_path)) for each in found] == ["3", "a/1", "a/ours", "b/2"]


def test_many_small_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(found_room, "_TASK_FILES", 3)
    for number in range(50):
        (tmp_path / f"{number:02}").write_bytes(make_instance(f"4.{number}", study="1", series="1.1"))
    assert [each.identity.sop for each in iter_found(tmp_path, threads=2)] == [f"4.{number}" for number in range(50)]
