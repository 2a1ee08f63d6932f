"""A bound on what SQL that somebody else wrote may take: time and memory of the process that runs it.

DuckDB has a limit of memory, but not all that it allocates is on that account; and it can be interrupted between
batches, but not inside a function that compares two long texts. So the process itself is bounded. It holds nothing that
would be lost with it: what it writes is one transaction.
"""

import os
import threading
from collections.abc import Callable
from typing import Final

try:
    import resource
except ImportError:  # Windows
    resource = None  # type: ignore[assignment]

MEMORY_BYTES: Final = 2 << 30  # without a bomb the process takes 0.7 GB at most


def bound_process(time_s: float, last_words: Callable[[], None]) -> None:
    """From now on the process has no more than `MEMORY_BYTES` of memory of its own, and ends after `time_s`.

    `last_words` is called before it ends for that, from another thread.
    """
    if resource is not None:
        hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
        most = MEMORY_BYTES if hard == resource.RLIM_INFINITY else min(hard, MEMORY_BYTES)
        resource.setrlimit(resource.RLIMIT_DATA, (most, hard))

    def give_up() -> None:
        last_words()
        os._exit(1)

    timer = threading.Timer(time_s, give_up)
    timer.daemon = True
    timer.start()
