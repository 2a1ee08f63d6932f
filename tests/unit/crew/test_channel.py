"""Messages between processes: whole, in order, from any thread, however the socket cuts them."""

import pickle
import socket
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from dicomhaul.crew.channel import Channel, open_channel

pytestmark = pytest.mark.anyio


class End:
    """One end, and what it heard."""

    def __init__(self) -> None:
        self.heard: list[object] = []
        self.gone = anyio.Event()
        self.channel: Channel | None = None

    def say(self, message: object) -> None:
        assert self.channel is not None
        self.channel.say(message)

    async def hears(self, count: int) -> list[object]:
        while len(self.heard) < count:
            await anyio.lowlevel.checkpoint()
        return self.heard


@asynccontextmanager
async def open_pair() -> AsyncIterator[tuple[End, End]]:
    ends = End(), End()
    for end, side in zip(ends, socket.socketpair(), strict=True):
        end.channel = await open_channel(side, end.heard.append, end.gone.set)
    yield ends
    for end in ends:
        assert end.channel is not None
        end.channel.close()
        await end.gone.wait()


async def test_what_is_said_is_heard_in_order() -> None:
    async with open_pair() as (one, other):
        for number in range(1_000):
            one.say(number)
        assert await other.hears(1_000) == list(range(1_000))
        other.say("answer")
        assert await one.hears(1) == ["answer"]


async def test_a_message_may_be_larger_than_any_buffer() -> None:
    async with open_pair() as (one, other):
        large = {str(number): number for number in range(200_000)}
        one.say(large)
        one.say("behind it")
        assert await other.hears(2) == [large, "behind it"]


async def test_threads_and_the_loop_say_theirs_in_their_order() -> None:
    async with open_pair() as (one, other):

        def talk(name: str) -> None:
            for number in range(500):
                one.say((name, number))

        threads = [threading.Thread(target=talk, args=(name,)) for name in "abc"]
        for thread in threads:
            thread.start()
        talk("loop")
        heard = await other.hears(2_000)
        for thread in threads:
            thread.join()
        for name in ("a", "b", "c", "loop"):
            assert [each for each in heard if isinstance(each, tuple) and each[0] == name] == [
                (name, number) for number in range(500)
            ]


async def test_what_was_said_before_the_end_is_heard() -> None:
    async with open_pair() as (one, other):
        assert one.channel is not None
        one.say("last words")
        one.channel.close()
        await other.gone.wait()
        assert other.heard == ["last words"]
        other.say("to nobody")


async def test_frames_come_in_any_pieces() -> None:
    end = End()
    channel = Channel(end.heard.append, end.gone.set)
    frames = [pickle.dumps([number, bytes(number)]) for number in range(5)]
    stream = b"".join(len(frame).to_bytes(4, "big") + frame for frame in frames)
    for at in range(len(stream)):
        channel.data_received(stream[at : at + 1])
    channel.data_received(stream + stream[:7])
    assert end.heard == [each for number in range(5) for each in (number, bytes(number))] * 2
