"""Running an origin, or any other async context, beside code that is not async."""

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, contextmanager
from typing import Final, TypeVar

T = TypeVar("T")

_START_TIMEOUT_S: Final = 60


@contextmanager
def in_thread(opened: AbstractAsyncContextManager[T], *, name: str = "origin") -> Iterator[T]:
    """Hold an async context open in a thread with a loop of its own, and yield what it gives.

    The journal of an origin may be read from the caller's thread. What goes wrong while the context opens is raised.
    """
    started: Future[T] = Future()
    stop: Future[None] = Future()

    async def run() -> None:
        async with opened as given:
            started.set_result(given)
            await asyncio.wrap_future(stop)

    def work() -> None:
        try:
            asyncio.run(run())
        except BaseException as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=work, name=name)
    thread.start()
    try:
        yield started.result(_START_TIMEOUT_S)
    finally:
        stop.set_result(None)
        thread.join()
