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

from support.crash_tasks import bucket, destinations, dicomweb, shards
from support.crashes import Task
from support.disk import ANY, open_disk
from support.siege import Siege

CUTS: Final = int(os.environ.get("DICOMHAUL_TEST_CUTS", "0"))
# In the order of a run; what it had no time for is not synced, so most of them go on where the one before them did.
MOMENTS: Final = (
    ("fsync folder", 8),
    (ANY, 300),
    ("fsync part", 8),
    ("rename part", 8),
    (ANY, 500),
    ("fsync journal", 6),
    ("write ledger", 8),
    ("rename index", 1),
    (ANY, 700),
)


@pytest.mark.parametrize(("open_task", "times"), [(dicomweb, 4), (bucket, 2), (shards, 1), (destinations, 1)])
@pytest.mark.timeout(120 + 20 * CUTS)
def test_what_is_left_goes_on_to_the_end(
    open_task: Callable[[Path], AbstractContextManager[Task]], times: int, tmp_path: Path
) -> None:
    with open_disk(tmp_path) as disk, open_task(tmp_path) as task:
        Siege(task, disk, tmp_path, open_task.__name__).cut(MOMENTS, CUTS or times)
