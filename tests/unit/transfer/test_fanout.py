"""Bounded concurrency with plain exceptions."""

import anyio
import pytest

from dicomhaul.errors import NotFound, SourceDown
from dicomhaul.transfer.fanout import each

pytestmark = pytest.mark.anyio


async def test_every_item_once_and_no_more_together_than_allowed() -> None:
    running, most, done = 0, 0, []

    async def work(item: int) -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        await anyio.lowlevel.checkpoint()
        running -= 1
        done.append(item)

    await each(range(20), work, at_once=3)
    assert sorted(done) == list(range(20))
    assert most == 3


async def test_nothing_to_do() -> None:
    async def work(item: int) -> None:
        raise AssertionError

    await each([], work, at_once=3)


async def test_the_first_error_cancels_the_others_and_comes_as_it_is() -> None:
    cancelled: list[int] = []

    async def work(item: int) -> None:
        if item == 2:
            raise SourceDown("gone")
        try:
            await anyio.sleep_forever()
        except BaseException:
            cancelled.append(item)
            raise

    with pytest.raises(SourceDown, match="gone"):
        await each(range(9), work, at_once=3)
    assert sorted(cancelled) == [0, 1]


async def test_two_errors_at_once_are_one() -> None:
    async def work(item: int) -> None:
        await anyio.lowlevel.checkpoint()
        raise NotFound(str(item))

    with pytest.raises(NotFound, match="0"):
        await each(range(2), work, at_once=2)
