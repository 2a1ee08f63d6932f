"""The power is cut at any call to the disk: what was not synced is gone, or some of it. What is left goes on.

A few cuts every day. `DICOMHAUL_TEST_CUTS=50` tries so many of each task, `DICOMHAUL_TEST_SEED=7` others; with `-s` it
prints which.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest

from support.command import run_command
from support.crash_tasks import adoption, bucket, destinations, dicomweb, shards
from support.crashes import Task
from support.destination import read_tree
from support.disk import ANY, LOCAL, NETWORK, open_disk
from support.siege import Moments, Siege

pytestmark = pytest.mark.long

CUTS: Final = int(os.environ.get("DICOMHAUL_TEST_CUTS", "0"))
MOMENTS: Final = (
    ("fsync folder", 12),
    (ANY, 300),
    ("fsync part", 8),
    ("rename part", 8),
    (ANY, 500),
    ("fsync journal", 6),
    ("write ledger", 8),
    ("rename index", 1),
    (ANY, 700),
)
# Between the notes of a large object, and after them.
OBJECTS: Final = (("write part", 9_000), ("write part", 9_000), *MOMENTS)
ADOPT: Final = (("unlink instance", 40), ("rename brought", 40), ("fsync folder", 8), (ANY, 200))
MERGE: Final = (("unlink ledger", 1), (ANY, 300), ("fsync folder", 12), (ANY, 600))


DAILY: Final = (
    (dicomweb, LOCAL, MOMENTS, 3),
    (dicomweb, NETWORK, MOMENTS, 1),
    (bucket, LOCAL, OBJECTS, 2),
    (shards, LOCAL, MERGE, 1),
    (adoption, LOCAL, ADOPT, 2),
)


@pytest.mark.parametrize(
    ("open_task", "kind", "moments", "times"), [*DAILY, (destinations, LOCAL, MERGE, 0)] if CUTS else DAILY
)
@pytest.mark.timeout(300 + 40 * CUTS)
def test_what_is_left_goes_on_to_the_end(
    open_task: Callable[[Path], AbstractContextManager[Task]], kind: str, moments: Moments, times: int, tmp_path: Path
) -> None:
    with open_disk(tmp_path, kind) as disk, open_task(tmp_path) as task:
        Siege(task, disk, tmp_path, f"{open_task.__name__}, {kind}").cut(moments, CUTS or times)


def test_a_ledger_that_lies_elsewhere_still_knows_its_destination(tmp_path: Path) -> None:
    with open_disk(tmp_path) as disk, dicomweb(tmp_path) as cohort:
        words = (*cohort.pull, "-o", disk.root / "dest", "--state-dir", disk.root / "of" / "all" / "ledgers", "--json")
        assert disk.cut_at("fsync part", 1, 0, tmp_path, *words) == "fsync part"
        assert run_command(*words).code == 0
        disk.cut(0)
        cohort.requests.clear()
        again = run_command(*words)
        assert (again.code, again.json["state"], cohort.requests) == (0, "complete", [])
        assert read_tree(disk.root / "dest") == cohort.good
