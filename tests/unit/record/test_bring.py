"""Bringing files of one destination to another: linked or copied, and only what is there and right."""

import errno
import os
from pathlib import Path

import pytest
import xxhash

from dicomhaul.errors import DiskFull
from dicomhaul.land.folder import Folder
from dicomhaul.record.bring import Bringer
from dicomhaul.record.unite import Begun, Taken
from support.destination import read_tree

CONTENT = b"content of an instance"


@pytest.fixture
def there(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "there")
    folder.prepare()
    (folder.root / "old").mkdir()
    return folder


@pytest.fixture
def here(tmp_path: Path) -> Folder:
    folder = Folder(tmp_path / "here")
    folder.prepare()
    return folder


def taken(sop: str, *, size_bytes: int = len(CONTENT), content: bytes = CONTENT) -> Taken:
    return Taken("old", 7, "new", sop, f"{sop}-stem", size_bytes, xxhash.xxh3_128_digest(content), 0)


@pytest.fixture(params=["linked", "copied"])
def how(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "copied":

        def refuse(*_: object, **__: object) -> None:
            raise OSError(errno.EPERM, "no")

        monkeypatch.setattr(os, "link", refuse)
    return str(request.param)


@pytest.mark.parametrize("by_stem", [False, True])
def test_a_file_gets_its_place(there: Folder, here: Folder, how: str, *, by_stem: bool) -> None:
    name = "1-stem.dcm" if by_stem else "1.dcm"
    (there.root / "old" / name).write_bytes(CONTENT)
    bringer = Bringer(here, by_stem=lambda: by_stem)
    assert list(bringer.bring(there, [taken("1")])) == []
    assert read_tree(here.root) == {f"new/{name}": CONTENT}
    assert (bringer.linked, bringer.copied) == ((1, 0) if how == "linked" else (0, 1))
    assert (here.root / "new" / name).samefile(there.root / "old" / name) is (how == "linked")
    assert list(here.staging.iterdir()) == []
    if how == "linked":  # it is there: nothing is done, and nothing left
        assert list(bringer.bring(there, [taken("1")])) == []
        assert (bringer.linked, list(here.staging.iterdir())) == (1, [])


def test_another_file_in_its_place_is_replaced(there: Folder, here: Folder, how: str) -> None:
    (there.root / "old" / "1.dcm").write_bytes(CONTENT)
    (here.root / "new").mkdir()
    (here.root / "new" / "1.dcm").write_bytes(b"another")
    assert list(Bringer(here, by_stem=lambda: False).bring(there, [taken("1")])) == []
    assert read_tree(here.root) == {"new/1.dcm": CONTENT}


def test_what_is_not_there_is_told(there: Folder, here: Folder, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    (there.root / "old" / "short.dcm").write_bytes(CONTENT[:-1])
    (there.root / "old" / "linked.dcm").symlink_to(secret)
    (there.root / "old" / "folder.dcm").mkdir()
    size = len(str(secret))  # of the link itself
    folder_size = (there.root / "old" / "folder.dcm").stat().st_size
    wanted = [
        taken("gone"), taken("short"), taken("linked", size_bytes=size), taken("folder", size_bytes=folder_size)
    ]  # fmt: skip
    lost = list(Bringer(here, by_stem=lambda: False).bring(there, wanted))
    assert lost == [(7, "gone"), (7, "short"), (7, "linked"), (7, "folder")]
    assert read_tree(here.root) == {}


def test_a_copy_is_held_to_its_digest(there: Folder, here: Folder, how: str) -> None:
    """A link is the same file: what damaged it is for `verify` to find. A copy is read anyway."""
    (there.root / "old" / "1.dcm").write_bytes(CONTENT[::-1])
    lost = list(Bringer(here, by_stem=lambda: False).bring(there, [taken("1")]))
    assert lost == ([] if how == "linked" else [(7, "1")])


def test_a_full_disk(there: Folder, here: Folder, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    monkeypatch.setattr(os, "link", full)
    (there.root / "old" / "1.dcm").write_bytes(CONTENT)
    with pytest.raises(DiskFull):
        list(Bringer(here, by_stem=lambda: False).bring(there, [taken("1")]))
    (there.staging / "begun").write_bytes(CONTENT)
    with pytest.raises(DiskFull):
        Bringer(here, by_stem=lambda: False).carry(there, Begun("begun", 3), link=True)


@pytest.mark.parametrize("link", [True, False])
def test_what_is_begun_of_an_object(there: Folder, here: Folder, *, link: bool) -> None:
    """It will be written to: only who removes the other may share it."""
    (there.staging / "begun").write_bytes(CONTENT)
    (there.private / "outside").write_bytes(CONTENT)
    bringer = Bringer(here, by_stem=lambda: False)
    name = bringer.carry(there, Begun("begun", len(CONTENT) - 1), link=link)
    assert name is not None
    assert (here.staging / name).read_bytes() == CONTENT
    assert (here.staging / name).samefile(there.staging / "begun") is link
    assert bringer.carry(there, Begun("begun", len(CONTENT) + 1), link=link) is None
    assert bringer.carry(there, Begun("../outside", 1), link=link) is None
    assert bringer.carry(there, Begun("gone", 0), link=link) is None
