"""A child process that ends when its parent does: it holds one end of a pipe, and the parent the other."""

import os
import threading


def end_with_parent() -> None:
    """From now on this process ends at once, exit 1, when its standard input does, which nobody may read any more."""
    threading.Thread(target=_watch, daemon=True).start()


def _watch() -> None:
    # Not by sys.stdin: a thread that waits in there makes Python abort when the process ends.
    while os.read(0, 4096):  # ends when nobody holds the other side any more
        pass
    os._exit(1)
