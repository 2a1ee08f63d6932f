"""A tree of files that knows what a power cut would leave of it. Pure: `disk_process` serves it.

What POSIX promises and no more: the bytes of a file are safe once the file was synced, a name once its folder was. Of
what was not synced a cut leaves nothing, all or some of it: pages of 4 KiB of a write without the others, a new name
without the one that it replaced going, a name without the bytes. A file system may be kinder; none may be worse.
"""

import random
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import count

_PAGE_BYTES = 4096
_numbers: Iterator[int] = count(1)


@dataclass(slots=True, eq=False)
class File:
    """A file: its bytes, those that were synced, and what was written since (None: cut or grown to this size)."""

    mode: int
    content: bytearray = field(default_factory=bytearray)
    synced: bytearray = field(default_factory=bytearray)
    since: list[tuple[int, bytes | None]] = field(default_factory=list)
    number: int = field(default_factory=lambda: next(_numbers))
    links: int = 0

    def write(self, offset: int, piece: bytes) -> None:
        """Write, not synced."""
        _write(self.content, offset, piece)
        self.since.append((offset, piece))

    def resize(self, size: int) -> None:
        """Cut it, or let it grow by zeros; not synced."""
        _resize(self.content, size)
        self.since.append((size, None))

    def sync(self) -> None:
        """From now on these bytes are safe."""
        for offset, piece in self.since:
            if piece is None:
                _resize(self.synced, offset)
            else:
                _write(self.synced, offset, piece)
        self.since.clear()

    def left(self, chance: random.Random, share: float) -> bytearray:
        """Return what a cut leaves, `share` of what was not synced."""
        left = bytearray(self.synced)
        for offset, piece in self.since:
            if piece is None:
                if chance.random() < share:
                    _resize(left, offset)
                continue
            at = 0
            while at < len(piece):
                end = min(len(piece), at + _PAGE_BYTES - (offset + at) % _PAGE_BYTES)
                if chance.random() < share:
                    _write(left, offset + at, piece[at:end])
                at = end
        return left


@dataclass(slots=True, eq=False)
class Folder:
    """A folder: its names, those that were synced, and what each name has meant since (None: nothing)."""

    mode: int = stat.S_IFDIR | 0o755
    names: dict[str, "Node"] = field(default_factory=dict)
    synced: dict[str, "Node"] = field(default_factory=dict)
    since: dict[str, list["Node | None"]] = field(default_factory=dict)
    number: int = field(default_factory=lambda: next(_numbers))

    def put(self, name: str, node: "Node | None") -> None:
        """Let a name mean something else, or nothing; not synced."""
        before = self.names.pop(name, None)
        if isinstance(before, File):
            before.links -= 1
        if node is not None:
            self.names[name] = node
        if isinstance(node, File):
            node.links += 1
        self.since.setdefault(name, []).append(node)

    def sync(self) -> None:
        """From now on these names are safe."""
        self.synced = dict(self.names)
        self.since.clear()

    def settle(self) -> None:
        """From now on all that is below is safe."""
        self.sync()
        for node in self.names.values():
            if isinstance(node, Folder):
                node.settle()
            else:
                node.sync()

    def left(self, chance: random.Random, share: float) -> "dict[str, Node]":
        """Return what a cut leaves of the names: of each that was not synced any of what it has meant."""
        left = dict(self.synced)
        for name, meanings in self.since.items():
            if chance.random() < share:
                node = chance.choice(meanings)
                left.pop(name, None)
                if node is not None:
                    left[name] = node
        return left


Node = File | Folder


def after_power_cut(root: Folder, seed: int) -> Folder:
    """Return the tree that a cut leaves: all of it is synced. Seed 0 leaves nothing that was not."""
    chance = random.Random(seed)
    shares = (0.0, 0.5, 1.0)
    names, pages = (0.0, 0.0) if seed == 0 else (chance.choice(shares), chance.choice(shares))
    made: dict[int, Node] = {}

    def left(node: Node) -> Node:
        if node.number in made:
            return made[node.number]
        if isinstance(node, File):
            content = node.left(chance, pages)
            made[node.number] = file = File(node.mode, content, bytearray(content))
            return file
        made[node.number] = folder = Folder(node.mode)
        for name, each in node.left(chance, names).items():
            folder.put(name, left(each))
        folder.sync()
        return folder

    whole = left(root)
    assert isinstance(whole, Folder)
    return whole


def _write(content: bytearray, offset: int, piece: bytes) -> None:
    if offset > len(content):
        _resize(content, offset)
    content[offset : offset + len(piece)] = piece


def _resize(content: bytearray, size: int) -> None:
    if size < len(content):
        del content[size:]
    else:
        content.extend(bytes(size - len(content)))
