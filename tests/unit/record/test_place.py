"""Where the ledger lives, and when SQLite must not use WAL."""

from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from dicomhaul.destination import open_destination
from dicomhaul.errors import ConfigError, LedgerError
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.place import filesystem_of, place_of


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[Path, str]:
    """Mount points of the test's own, and their filesystems."""
    table = {Path("/"): "ext4"}
    monkeypatch.setattr(
        psutil,
        "disk_partitions",
        lambda *, all: [SimpleNamespace(mountpoint=str(mount), fstype=kind) for mount, kind in table.items()],  # noqa: A006 - psutil's name
    )
    return table


def test_the_nearest_mount_counts(mounts: dict[Path, str], tmp_path: Path) -> None:
    mounts[tmp_path] = "NFS4"
    mounts[tmp_path / "a"] = "xfs"
    assert filesystem_of(tmp_path / "b" / "not" / "yet") == "nfs4"
    assert filesystem_of(tmp_path / "a" / "not" / "yet") == "nfs4"  # a is no folder yet
    (tmp_path / "a").mkdir()
    assert filesystem_of(tmp_path / "a" / "not" / "yet") == "xfs"
    assert filesystem_of(tmp_path / "ab") == "nfs4"
    assert filesystem_of(Path("/")) == "ext4"


def test_a_link_leads_to_another_filesystem(mounts: dict[Path, str], tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    mounts[tmp_path / "far"] = "lustre"
    (tmp_path / "near").symlink_to(tmp_path / "far")
    assert filesystem_of(tmp_path / "near" / "x") == "lustre"


@pytest.mark.parametrize(("kind", "wal"), [("ext4", True), ("nfs", False), ("lustre", False), ("", True)])
def test_no_wal_on_a_network(mounts: dict[Path, str], tmp_path: Path, kind: str, wal: bool) -> None:  # noqa: FBT001
    mounts[tmp_path] = kind
    place = place_of(tmp_path / "dest")
    assert place.wal is wal
    assert place.ledger == tmp_path / "dest" / ".dicomhaul" / "ledger.sqlite3"
    with open_destination(tmp_path / "dest") as destination:
        (mode,) = destination.ledger._db.execute("PRAGMA journal_mode").fetchone()
    assert mode == ("wal" if wal else "delete")


def test_the_state_folder_s_filesystem_counts(mounts: dict[Path, str], tmp_path: Path) -> None:
    mounts[tmp_path / "dest"] = "nfs"
    (tmp_path / "dest").mkdir()
    assert place_of(tmp_path / "dest").wal is False
    assert place_of(tmp_path / "dest", tmp_path / "state").wal is True


def test_a_destination_is_held_by_one(tmp_path: Path) -> None:
    with open_destination(tmp_path), pytest.raises(LedgerError, match="another"), open_destination(tmp_path):
        pass


def test_a_ledger_kept_elsewhere_belongs_to_one_destination(tmp_path: Path) -> None:
    state = tmp_path / "state"
    for _ in range(2):
        with open_destination(tmp_path / "one", state) as destination:
            assert destination.ledger.path == state / "ledger.sqlite3"
    with pytest.raises(ConfigError, match="another destination"), open_destination(tmp_path / "two", state):
        pass
    (tmp_path / "one").rename(tmp_path / "moved")
    with open_destination(tmp_path / "moved", state):
        pass


def test_a_destination_that_was_emptied_is_not_called_complete(tmp_path: Path) -> None:
    with open_destination(tmp_path / "one", tmp_path / "state"):
        pass
    (tmp_path / "one").rename(tmp_path / "gone")
    with pytest.raises(ConfigError, match="emptied"), open_destination(tmp_path / "one", tmp_path / "state"):
        pass


def test_one_layout_a_destination(tmp_path: Path) -> None:
    with open_destination(tmp_path) as destination:
        assert destination.layout(None, "{SeriesInstanceUID}") == "{SeriesInstanceUID}"
        assert destination.layout("one", "{SeriesInstanceUID}") == "one"  # asking decides nothing: planning does
        destination.ledger.set_meta("layout", "{SeriesInstanceUID}")
        assert destination.layout(None, "other") == "{SeriesInstanceUID}"
        assert destination.layout("{SeriesInstanceUID}", "other") == "{SeriesInstanceUID}"
        with pytest.raises(ConfigError, match="has the layout"):
            destination.layout("{Modality}/{SeriesInstanceUID}", "other")


def test_a_damaged_ledger_is_refused(tmp_path: Path) -> None:
    with open_destination(tmp_path) as destination:
        path = destination.ledger.path
    content = bytearray(path.read_bytes())
    content[4096 : 4096 * 4] = b"\xff" * (4096 * 3)
    path.write_bytes(bytes(content))
    with pytest.raises(LedgerError, match="ledger"), open_destination(tmp_path):
        pass
    path.write_bytes(b"this is no database, whatever its name says" * 100)
    with pytest.raises(LedgerError, match="not a database"), open_destination(tmp_path):
        pass


def test_a_ledger_is_closed_when_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "ledger.sqlite3"
    Ledger.open(path).close()
    ledger = Ledger.open(path)
    ledger._db.execute("PRAGMA user_version=99")
    ledger.close()
    with pytest.raises(LedgerError, match="version 99"):
        Ledger.open(path)
