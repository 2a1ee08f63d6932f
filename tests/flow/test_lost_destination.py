"""Destinations that go away in mid-run, and disks with little room: a clear stop; once they are back, all of it comes.

What needs a mount is tried where that is allowed; elsewhere a limit of `test_sick_disk` stands for it.
`DICOMHAUL_TEST_ROOMS=40` tries as many sizes of disks.
"""

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import pytest

from dicomhaul.origin import Origin, Rule
from dicomhaul.origin.faults import Slow
from support.command import Word, start_command, wait_until
from support.destination import assert_recorded, expected_tree, has_ledger, read_ledger, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.mounts import mounted, remounted
from support.origin_process import origin_thread
from support.quick_command import QuickCommands, quick_commands
from support.sick_disk import ANY_ROOM, SickDisk, Strike, sick_disk

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform != "linux", reason="LD_PRELOAD, mounts")]

COUNTS = (3, 12, 2)
SIZE_BYTES = 20_000
BY_HAND = "DICOMHAUL_TEST_ROOMS" in os.environ
ROOMS = int(os.environ.get("DICOMHAUL_TEST_ROOMS", "1"))


class Place(NamedTuple):
    """What each test needs."""

    quick: QuickCommands
    disk: SickDisk
    origin: Origin
    good: dict[str, bytes]
    words: list[Word]  # without -o


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    folder = tmp_path_factory.mktemp("place")
    rows = made_up_rows(*COUNTS, size_bytes=SIZE_BYTES)
    (folder / "cohort.csv").write_text(manifest_of(rows), encoding="utf-8")
    catalog = made_up_catalog(*COUNTS, size_bytes=SIZE_BYTES)
    with ExitStack() as stack:
        disk = stack.enter_context(sick_disk(folder))
        quick = stack.enter_context(quick_commands(folder, disk.environ))
        origin = stack.enter_context(origin_thread(catalog))
        words: list[Word] = ["pull", folder / "cohort.csv", "--source", origin.url, "--force", "-q", "--json"]
        yield Place(quick, disk, origin, expected_tree(catalog), words)


def share(room: int, least: int, more: int) -> int:
    return least + more * (room + 1) // (ROOMS + 1)


def rename(dest: Path) -> None:
    dest.rename(dest.with_name("away"))


def rename_back(dest: Path) -> None:
    dest.with_name("away").rename(dest)


def delete(dest: Path) -> None:
    shutil.rmtree(dest)


def lose_staging(dest: Path) -> None:
    shutil.rmtree(dest / ".dicomhaul" / "staging")


def nothing(_: Path) -> None:
    pass


@pytest.mark.parametrize(
    ("leave", "come_back"),
    [(rename, rename_back), (delete, nothing), (lose_staging, nothing)],
    ids=lambda each: each.__name__,
)
def test_a_destination_that_goes_away(
    leave: Callable[[Path], None], come_back: Callable[[Path], None], place: Place, tmp_path: Path
) -> None:
    """Nothing is made where it was, and what of it is left is as good as after any stop."""
    dest, catalog = tmp_path / "dest", place.origin.catalog
    _, longest, _ = catalog.series()
    # Its end comes once the destination has gone.
    drip = Rule(
        path=f"/series/{longest.series}",
        level="series",
        most=1,
        action=Slow(after_bytes=SIZE_BYTES * COUNTS[1] // 2, bytes_per_s=SIZE_BYTES * 2),
    )
    with origin_thread(catalog, rules=[drip]) as origin:
        words: list[Word] = [*place.words[:2], "--source", origin.url, "-o", dest, "--json"]
        with start_command(tmp_path, *words) as running:
            wait_until(lambda: len(list(dest.rglob("*.dcm"))) >= 2, "some instances", unless=running.process)
            leave(dest)
            ended = running.wait()
        assert (ended.code, ended.json["error"]) == (1, "NotWritable"), ended
        assert ended.complaint == ended.json["reason"]
        assert dest.exists() == (leave is lose_staging)
        come_back(dest)
        if leave is not delete:
            assert read_tree(dest).items() <= place.good.items()
        again = place.quick.run(*words)
        assert again.code == 0, again
    assert read_tree(dest) == place.good
    assert_recorded(dest, place.good)


def stopped_and_gone_on(place: Place, dest: Path, again: Callable[[], None], strike: Strike | None) -> int:
    """Pull where there is not enough room, then where there is; return how many instances came the first time."""
    with place.disk.over(dest, strike):
        ended = place.quick.run(*place.words, "-o", dest)
    assert (ended.code, ended.json["state"]) == (1, "failed"), ended
    assert ended.json["error"] in {"DiskFull", "LedgerError"}, ended
    assert ended.complaint == ended.json["reason"]
    assert read_tree(dest).items() <= place.good.items()
    before = [row for row in read_ledger(dest) if row.state == 1] if has_ledger(dest) else []
    again()
    resumed = place.quick.run(*place.words, "-o", dest)
    assert resumed.code == 0, resumed
    assert resumed.json["instances_landed"] <= sum(COUNTS) - len(before)
    assert read_tree(dest) == place.good
    assert_recorded(dest, place.good)
    return len(before)


@pytest.mark.parametrize("room", range(ROOMS))
def test_a_disk_with_little_room(room: int, place: Place, tmp_path: Path) -> None:
    dest, size = tmp_path / "dest", share(room, 64, 500)
    with mounted(dest, "-t", "tmpfs", "-o", f"size={size}k", "none") as allowed:
        strike = None if allowed else Strike(ANY_ROOM, "any", 20 + room * 10, errno.ENOSPC, lasting=True)
        stopped_and_gone_on(place, dest, lambda: remounted(dest, "size=32m") if allowed else None, strike)


@pytest.mark.parametrize("room", range(ROOMS))
def test_a_table_of_inodes_that_is_full(room: int, place: Place, tmp_path: Path) -> None:
    """There is room for bytes, and none for another file or folder."""
    dest, inodes = tmp_path / "dest", share(room, 4, 22)
    with mounted(dest, "-t", "tmpfs", "-o", f"size=32m,nr_inodes={inodes}", "none") as allowed:
        strike = None if allowed else Strike("create", "staged", 2 + room, errno.ENOSPC, lasting=True)
        stopped_and_gone_on(place, dest, lambda: remounted(dest, "nr_inodes=10000") if allowed else None, strike)


if BY_HAND:

    @pytest.mark.parametrize("room", range(ROOMS))
    def test_a_journaling_filesystem_with_little_room(room: int, place: Place, tmp_path: Path) -> None:
        """Blocks, of the size of a page, are given out late there. Somebody else's file fills it, and goes."""
        dest, image, filler = tmp_path / "dest", tmp_path / "disk.img", tmp_path / "dest" / "filler"
        with image.open("wb") as file:
            file.truncate(8 << 20)
        subprocess.run(["mkfs.ext4", "-q", "-b", "4096", "-m", "0", image], check=True)
        with mounted(dest, "-o", "loop", image) as allowed:
            assert allowed

            def again() -> None:
                filler.unlink()
                del place.good["filler"]

            place.good["filler"] = bytes(shutil.disk_usage(dest).free - share(room, 64, 500) * 1024)
            filler.write_bytes(place.good["filler"])
            stopped_and_gone_on(place, dest, again, None)


def test_a_ledger_that_may_only_be_read(place: Place, tmp_path: Path) -> None:
    """On a filesystem that was mounted so: what is there can be looked at and verified, and is not touched."""
    dest = tmp_path / "dest"
    with mounted(dest, "-t", "tmpfs", "-o", "size=32m", "none") as allowed:
        assert place.quick.run(*place.words, "-o", dest).code == 0
        if allowed:
            remounted(dest, "ro")
        strike = None if allowed else Strike("create", "any", 1, errno.EROFS, lasting=True)
        with place.disk.over(dest, strike):
            commands: list[list[Word]] = [[*place.words, "-o", dest], ["resume", dest, "--json"]]
            for words in commands:
                ended = place.quick.run(*words)
                assert (ended.code, ended.json["error"]) == (1, "NotWritable"), ended
        if allowed:
            for name in ("status", "verify"):
                assert place.quick.run(name, dest).code == 0
            remounted(dest, "rw")
        assert place.quick.run("resume", dest).code == 0
        assert_recorded(dest, place.good)
