"""A command's threads share one heap, so that a run of a week leaves no holes in many."""

import subprocess
import sys

import pytest

_PROGRAM = """
import ctypes, sys, threading
from dicomhaul.cli.harness import run_async

async def body(stop):
    together = threading.Barrier(8)

    def allocate():
        together.wait()
        kept = [bytes(1000 + n) for n in range(2000)]
        together.wait()
        del kept

    threads = [threading.Thread(target=allocate) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

if sys.argv[1] == "shared":
    run_async(body)
else:
    import anyio
    anyio.run(body, None)
libc = ctypes.CDLL(None)
libc.fdopen.restype = ctypes.c_void_p
libc.malloc_info(0, ctypes.c_void_p(libc.fdopen(1, b"w")))
libc.fflush(None)
"""


def heaps(how: str) -> int:
    done = subprocess.run([sys.executable, "-c", _PROGRAM, how], capture_output=True, text=True, check=True)
    return done.stdout.count("<heap nr=")


@pytest.mark.skipif(sys.platform != "linux", reason="only glibc gives each thread a heap of its own")
def test_threads_of_a_command_share_one_heap() -> None:
    assert heaps("as it is") > 1
    assert heaps("shared") == 1
