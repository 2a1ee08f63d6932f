"""Bounded concurrency over a stream of items, with plain exceptions."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from dicomhaul.errors import HaulError

T = TypeVar("T")


async def each(items: Sequence[T], work: Callable[[T], Awaitable[None]], *, at_once: int) -> None:
    """Await `work(item)` for every item, at most `at_once` together.

    The first HaulError cancels the others and is raised as it is, not as a group: callers decide by its class.
    """
    queue = iter(items)
    first: list[HaulError] = []

    async def take(scope: anyio.CancelScope) -> None:
        for item in queue:
            try:
                await work(item)
            except HaulError as error:
                first.append(error)
                scope.cancel()
                return

    async with anyio.create_task_group() as group:
        for _ in range(min(at_once, len(items))):
            group.start_soon(take, group.cancel_scope)
    if first:
        raise first[0]
