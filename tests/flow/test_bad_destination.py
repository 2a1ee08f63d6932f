"""Destinations that cannot be used, disks that fill up, ledgers that are damaged: one line, exit 1, nothing lost."""

import resource
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from dicomhaul.origin import Origin
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, expected_tree, read_ledger, read_tree
from support.made_up import made_up_catalog
from support.mounts import mounted, remounted
from support.origin_process import origin_thread

COUNTS = (4, 4)
ROOM_BYTES = 2_000_000


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with origin_thread(made_up_catalog(*COUNTS)) as running:
        yield running


@pytest.fixture(scope="module")
def pulled(origin: Origin, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A complete destination, to be copied."""
    dest = tmp_path_factory.mktemp("pulled") / "dest"
    assert run_command("pull", "--all", "--source", origin.url, "-o", dest).code == 0
    return dest


def pull(origin: Origin, dest: Path, *more: Word, before: Callable[[], None] | None = None) -> Ended:
    return run_command("pull", "--all", "--source", origin.url, "-o", dest, "--json", *more, before=before)


def limit_files() -> None:
    """Make every write beyond some bytes of a file fail, as a quota would."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (ROOM_BYTES, ROOM_BYTES))


def test_a_file_is_no_destination(origin: Origin, tmp_path: Path) -> None:
    (tmp_path / "dest").write_text("mine", encoding="utf-8")
    for dest in (tmp_path / "dest", tmp_path / "dest" / "below"):
        ended = pull(origin, dest)
        assert (ended.code, ended.json["error"]) == (1, "NotWritable")
        assert str(dest) in ended.complaint
    assert (tmp_path / "dest").read_text(encoding="utf-8") == "mine"


def test_a_destination_that_may_only_be_read(origin: Origin, pulled: Path, tmp_path: Path) -> None:
    """A mount where that is allowed; else permissions, which then bind, because we are not root."""
    dest = tmp_path / "dest"
    with mounted(dest, "-t", "tmpfs", "-o", "ro", "none") as allowed:
        mode = dest.stat().st_mode
        if not allowed:
            dest.chmod(0o500)
        ended = pull(origin, dest)
        if not allowed:
            dest.chmod(mode)
    assert (ended.code, ended.json["error"]) == (1, "NotWritable")
    assert str(dest) in ended.complaint


def test_a_disk_that_fills_up(tmp_path: Path) -> None:
    """A small filesystem where mounting is allowed; else a limit on the size of a file, met by a large instance."""
    dest, catalog = tmp_path / "dest", made_up_catalog(1, 1, 1, size_bytes=ROOM_BYTES)
    with origin_thread(catalog) as origin, mounted(dest, "-t", "tmpfs", "-o", "size=5m", "none") as allowed:
        ended = pull(origin, dest, "--transfers", "1", "--force", before=None if allowed else limit_files)
        assert (ended.code, ended.json["state"], ended.json["error"]) == (1, "failed", "DiskFull")
        assert "Traceback" not in ended.stdout
        tree, landed = read_tree(dest), [row for row in read_ledger(dest) if row.state == 1]
        assert len(tree) == len(landed) == ended.json["instances_landed"] == (2 if allowed else 0)
        assert tree.items() <= expected_tree(catalog).items()
        if allowed:
            remounted(dest, "size=128m")
        resumed = run_command("resume", dest, "--json")
        assert resumed.code == 0, resumed.stderr
        assert (resumed.code, resumed.json["instances_landed"]) == (0, 3 - len(landed))
        assert read_tree(dest) == expected_tree(catalog)
        assert_recorded(dest, expected_tree(catalog))


def test_a_plan_that_does_not_fit_is_refused(tmp_path: Path) -> None:
    """By what the index says: ten terabytes more than any disk here has."""
    profile = tmp_path / "local.toml"
    profile.write_text('name = "local"\nindex = "idc"\nurl = "http://127.0.0.1:9/dicom-web"\n', encoding="utf-8")
    ended = run_command("pull", "--modality", "SM", "--source", profile, "-o", tmp_path / "dest", "--json")
    assert (ended.code, ended.json["error"]) == (1, "DiskFull")
    assert "--force" in ended.complaint


def overwrite_pages(ledger: Path) -> None:
    content = bytearray(ledger.read_bytes())
    content[4096:] = b"\xa5" * (len(content) - 4096)
    ledger.write_bytes(content)


def overwrite_everything(ledger: Path) -> None:
    ledger.write_bytes(bytes(range(256)) * 64)


def cut_off(ledger: Path) -> None:
    ledger.write_bytes(ledger.read_bytes()[: 4096 * 3])


def become_text(ledger: Path) -> None:
    ledger.write_text("this is no ledger\n", encoding="utf-8")


def become_another_database(ledger: Path) -> None:
    ledger.unlink()
    with sqlite3.connect(ledger) as db:
        db.execute("CREATE TABLE something (else_)")
    db.close()


def become_a_folder(ledger: Path) -> None:
    ledger.unlink()
    ledger.mkdir()


@pytest.mark.parametrize(
    "damage",
    [overwrite_pages, overwrite_everything, cut_off, become_text, become_another_database, become_a_folder],
)
def test_a_damaged_ledger(damage: Callable[[Path], None], origin: Origin, pulled: Path, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    shutil.copytree(pulled, dest)
    ledger = dest / ".dicomhaul" / "ledger.sqlite3"
    damage(ledger)
    left = ledger.read_bytes() if ledger.is_file() else None
    commands: list[list[Word]] = [
        ["pull", "--all", "--source", origin.url, "-o", dest],
        ["status", dest],
        ["verify", dest],
    ]
    for words in commands:
        ended = run_command(*words)
        assert ended.code == 1, words
        assert "ledger" in ended.complaint
    assert read_tree(dest) == expected_tree(origin.catalog)
    assert (ledger.read_bytes() if ledger.is_file() else None) == left  # for whoever wants to rescue it


def test_an_empty_ledger_is_a_new_one(origin: Origin, pulled: Path, tmp_path: Path) -> None:
    """A run that is killed early leaves one, so it is no damage; what lies in the tree is brought again."""
    dest = tmp_path / "dest"
    shutil.copytree(pulled, dest)
    (dest / ".dicomhaul" / "ledger.sqlite3").write_bytes(b"")
    for command in ("status", "verify"):
        ended = run_command(command, dest)
        assert ended.code == 1
        assert "nothing was pulled here" in ended.complaint
    assert pull(origin, dest).code == 0
    assert read_tree(dest) == expected_tree(origin.catalog)
    assert_recorded(dest, expected_tree(origin.catalog))


def test_where_nothing_was_pulled(tmp_path: Path) -> None:
    for command in ("status", "verify", "resume"):
        ended = run_command(command, tmp_path / "nowhere")
        assert ended.code == 1
        assert "nothing was" in ended.complaint
    ended = run_command("status", tmp_path)
    assert (ended.code, list(tmp_path.iterdir())[1:]) == (1, [])
