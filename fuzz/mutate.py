"""Inputs made from seeds by small changes, for where nothing watches coverage. The same seed makes the same inputs."""

import random
from collections.abc import Iterator, Sequence

_NUMBERS = (0, 1, 2, 0x7F, 0x80, 0xFF, 0xFFFE, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFE, 0xFFFFFFFF)
_MOST_CHANGES = 6


def iter_mutations(seeds: Sequence[bytes], words: Sequence[bytes], max_bytes: int, seed: int) -> Iterator[bytes]:
    """Yield changed seeds without end; each is at most `max_bytes` long."""
    choice = random.Random(seed)
    while True:
        data = bytearray(choice.choice(seeds))
        for _ in range(choice.randint(1, _MOST_CHANGES)):
            _change(data, choice, seeds, words)
        yield bytes(data[:max_bytes])


def _change(data: bytearray, choice: random.Random, seeds: Sequence[bytes], words: Sequence[bytes]) -> None:
    at = choice.randint(0, len(data))
    span = min(choice.choice((1, 2, 4, 8, 64)), len(data) - at)
    kind = choice.randrange(9)
    if kind == 0 and at < len(data):
        data[at] ^= 1 << choice.randrange(8)
    elif kind == 1 and at < len(data):
        data[at] = choice.randrange(256)
    elif kind == 2:
        del data[at : at + span]
    elif kind == 3:
        data[at:at] = data[at : at + span]
    elif kind == 4:
        data[at:at] = choice.choice(words)
    elif kind == 5:
        data[at : at + span] = choice.choice(words)
    elif kind == 6:
        size = choice.choice((1, 2, 4))
        data[at : at + size] = (choice.choice(_NUMBERS) & ((1 << 8 * size) - 1)).to_bytes(size, "little")
    elif kind == 7:
        other = choice.choice(seeds)
        cut = choice.randint(0, len(other))
        data[at:] = other[cut:]
    else:
        data[at:at] = choice.randbytes(span)
