"""Runs an async command: signals become a clean stop, errors become JSON where that was asked for."""

import ctypes
import os
import signal
import sys
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, TypeVar

import anyio

from dicomhaul.errors import HaulError

T = TypeVar("T")

# What the system raises and no room foresaw: one line is of more use than a traceback.
FOREIGN_ERRORS: Final = (OSError, UnicodeError)
_M_ARENA_MAX: Final = -8  # of glibc's malloc.h


@dataclass(slots=True)
class Stop:
    """Whether a signal came, what it does when it comes, and what is left to do when a second one ends the process."""

    signal_number: int | None = None
    call: Callable[[], None] = field(default=lambda: None)
    at_once: Callable[[], None] = field(default=lambda: None)

    @property
    def exit_code(self) -> int | None:
        """128 plus the signal; None if there was none."""
        return None if self.signal_number is None else 128 + self.signal_number


def run_async(body: Callable[[Stop], Awaitable[T]]) -> T:
    """Run `body` in an event loop. SIGINT or SIGTERM calls `stop.call`; a second one ends the process at once."""

    async def main() -> T:
        stop = Stop()
        async with anyio.create_task_group() as group:
            group.start_soon(_listen, stop)
            result: list[T] = []
            failed: list[Exception] = []
            try:
                result.append(await body(stop))
            except Exception as error:  # noqa: BLE001 - raised below as it is, not in the task group's ExceptionGroup
                failed.append(plain_error(error))
            group.cancel_scope.cancel()
        if failed:
            raise failed[0]
        return result[0]

    _share_one_heap()
    return anyio.run(main)


def _share_one_heap() -> None:
    """Let all threads of the process allocate from one heap, where the C library is glibc.

    It gives each thread its own otherwise, and holes in each: over an hour of runs a quarter more memory. The
    interpreter's lock lets one thread allocate at a time anyway.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)  # musl has none
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)


async def _listen(stop: Stop) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if stop.signal_number is not None:
                stop.at_once()
                os._exit(128 + number)
            stop.signal_number = int(number)
            stop.call()


def plain_error(error: Exception) -> Exception:
    """Return the error in a group that a person can be told; `error` itself where it is none, or holds a bug, too."""
    if not isinstance(error, ExceptionGroup) or error.split((HaulError, *FOREIGN_ERRORS))[1] is not None:
        return error
    inner = [plain_error(each) for each in error.exceptions]
    return next((each for each in inner if isinstance(each, HaulError)), inner[0])
