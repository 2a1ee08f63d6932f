"""Killed at any call to the disk and run again: the same tree, the same ledger, nothing asked for that is there.

20 moments every day. `DICOMHAUL_TEST_KILLS=50` tries so many of each task, `DICOMHAUL_TEST_SEED=7` others; with `-s` it
prints which.
"""

import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Final

import pytest

from support.crash_tasks import adoption, bucket, destinations, dicomweb, shards
from support.crashes import Task
from support.disk import LOCAL, NETWORK, open_disk
from support.siege import Moments, Siege

KILLS: Final = int(os.environ.get("DICOMHAUL_TEST_KILLS", "0"))
# In the order of a run.
PULL: Final = (
    ("mkdir", 4),
    ("write journal", 60),
    ("write part", 12),
    ("fsync part", 12),
    ("fsync journal", 4),
    ("rename part", 8),
    ("fsync folder", 6),
    ("write journal", 20),
    ("write ledger", 8),
    ("write index", 50),
    ("rename index", 1),
    ("write lock", 1),
    ("rename lock", 1),
    ("unlink journal", 2),
)
OBJECTS: Final = (
    ("write journal", 60),
    ("write part", 9_000),
    ("write part", 9_000),
    ("fsync part", 3),
    ("write journal", 12),
    ("rename part", 8),
    ("fsync folder", 6),
    ("fsync journal", 6),
    ("fsync index", 1),
)
MERGE: Final = (
    ("write journal", 120),
    ("link brought", 10),
    ("fsync journal", 6),
    ("rename brought", 10),
    ("fsync folder", 12),
    ("write ledger", 30),
    ("unlink ledger", 2),
    ("unlink mark", 2),
    ("write index", 40),
    ("rename index", 1),
    ("rmdir", 4),
)
ADOPT: Final = (
    ("link brought", 40),
    ("write journal", 60),
    ("rename brought", 40),
    ("fsync folder", 8),
    ("unlink instance", 40),
    ("write journal", 100),
    ("rename index", 1),
)


# Where the ledger has no WAL, a commit ends with the removal of its journal.
NO_WAL: Final = (
    ("unlink journal", 30),
    ("write ledger", 20),
    ("fsync ledger", 6),
    ("unlink journal", 6),
    ("rename part", 8),
    ("write journal", 30),
    ("fsync folder", 12),
    ("rename index", 1),
)


@pytest.mark.parametrize(
    ("open_task", "kind", "moments", "times"),
    [
        (dicomweb, LOCAL, PULL, 8),
        (dicomweb, NETWORK, NO_WAL, 2),
        (bucket, LOCAL, OBJECTS, 4),
        (shards, LOCAL, MERGE, 3),
        (destinations, LOCAL, MERGE, 3),
        (adoption, LOCAL, ADOPT, 4),
    ],
)
@pytest.mark.timeout(300 + 40 * KILLS)
def test_the_end_is_the_same_as_of_an_undisturbed_run(
    open_task: Callable[[Path], AbstractContextManager[Task]], kind: str, moments: Moments, times: int, tmp_path: Path
) -> None:
    with open_disk(tmp_path, kind) as disk, open_task(tmp_path) as task:
        Siege(task, disk, tmp_path, f"{open_task.__name__}, {kind}").kill(moments, KILLS or times)
