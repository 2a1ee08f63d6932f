"""The planning child's process: started when there is something to plan, or ahead of that.

What the child imports takes it as long as what a command imports takes the command. So a command that is going to plan
starts the child first of all, and both import at once; that is a third of what `dicomhaul pull` waits before it asks
for its first instance. A child that nothing is asked of ends with the process that started it, and says nothing.

What must not be here: an import that takes time.
"""

import subprocess
import sys

# What is started ahead is started before there is anybody to hand it to. One at most.
_ahead: "list[subprocess.Popen[bytes]]" = []


def start_ahead() -> None:
    """Start a child for the next `take`."""
    if not _ahead:
        _ahead.append(_start("--ahead"))


def take() -> "subprocess.Popen[bytes]":
    """Return a child that waits for its request on standard input. It is the caller's to end."""
    while _ahead:
        process = _ahead.pop()
        if process.poll() is None:
            return process
        _end(process)
    return _start()


def dismiss() -> None:
    """End a child that nobody has taken."""
    while _ahead:
        _end(_ahead.pop())


def _start(*options: str) -> "subprocess.Popen[bytes]":
    # The request goes by standard input, which stays open: its end tells the child that nobody waits any more.
    # -P: a file of the working directory is not to be imported in place of a module.
    return subprocess.Popen(
        [sys.executable, "-P", "-m", "dicomhaul.planner.child", *options],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def _end(process: "subprocess.Popen[bytes]") -> None:
    process.kill()
    process.communicate()
