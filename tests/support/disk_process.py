"""A disk of our own, mounted by FUSE: `python -m support.disk_process FOLDER KIND`. `support.disk` starts it.

It counts the calls that change something, by what they do to what ("rename part", "fsync journal"). At the one that it
was told of it says `hit` and holds everything still, until it is told what happened at this moment:

- `died`: whoever called is gone; this call is not carried out, and everything goes on;
- `lives`: it is carried out;
- `cut SEED`: the power is. No call succeeds any more, and after the next mount there is what the cut left.

One thread serves, so nothing happens between the call before and the end. Orders come as lines on standard input, one
answer each on standard output, and `hit` and `mounted` besides.
"""

import errno
import json
import os
import stat
import sys
import threading
import time
from collections import Counter
from typing import Any

import mfusepy

from support.volatile import File, Folder, Node, after_power_cut


class Disk(mfusepy.Operations):  # type: ignore[misc]  # untyped
    """Carries out calls on a tree; see the module."""

    use_ns = True

    def __init__(self) -> None:
        self.root = Folder()
        self.seen: Counter[str] = Counter()
        self._left: Folder | None = None  # by a cut
        self._awaited: tuple[str, int] | None = None
        self._verdict: list[str] = []
        self._told = threading.Event()
        self._open: dict[int, File] = {}
        self._next = 1
        self._mounted_s = time.time_ns()

    # -- orders, in another thread ------------------------------------------------------------------------------

    def order(self, words: list[str]) -> str:
        """Take an order; return the answer."""
        match words:
            case ["await", nth, *kind]:
                self.seen.clear()
                self._awaited = (" ".join(kind), int(nth))
            case ["count"]:
                counted, self._awaited = json.dumps(self.seen), None
                self.seen.clear()
                return counted
            case ["settle"]:
                self.root.settle()
            case ["cut", seed] if not self._is_held:
                self._cut(int(seed))
            case _:
                self._verdict = words
                self._told.set()
        return "done"

    @property
    def _is_held(self) -> bool:
        return self._awaited is not None and self._awaited[1] == 0

    def _cut(self, seed: int) -> None:
        self._left = after_power_cut(self.root, seed)

    def power_up(self) -> None:
        """After a cut, before the next mount."""
        assert self._left is not None
        self.root, self._left = self._left, None
        self._open.clear()

    # -- moments ------------------------------------------------------------------------------------------------

    def _about_to(self, does: str, path: str | None) -> None:
        """Count a call before it is carried out. Raises an I/O error where it must not be.

        What is of no consequence is not counted: a file that has no name any more (None), memory that SQLite shares.
        """
        if self._left is not None:
            raise mfusepy.FuseOSError(errno.EIO)
        if path is None or path.endswith("-shm"):
            return
        kind = f"{does} {what(path)}".rstrip()
        self.seen[kind] += 1
        if self._awaited is None or self._awaited[0] not in {kind, "any"} or not self._awaited[1]:
            return
        self._awaited = (self._awaited[0], self._awaited[1] - 1)
        if self._awaited[1]:
            return
        say(f"hit {kind}")
        self._told.wait()
        self._told.clear()
        self._awaited = None
        match self._verdict:
            case ["cut", seed]:
                self._cut(int(seed))
                raise mfusepy.FuseOSError(errno.EIO)
            case ["died"]:
                raise mfusepy.FuseOSError(errno.EIO)

    # -- calls --------------------------------------------------------------------------------------------------

    def _find(self, path: str) -> Node:
        if self._left is not None:
            raise mfusepy.FuseOSError(errno.EIO)
        node: Node = self.root
        for name in path.split("/"):
            if name:
                if not isinstance(node, Folder):
                    raise mfusepy.FuseOSError(errno.ENOTDIR)
                if name not in node.names:
                    raise mfusepy.FuseOSError(errno.ENOENT)
                node = node.names[name]
        return node

    def _parent(self, path: str) -> tuple[Folder, str]:
        above, _, name = path.rpartition("/")
        folder = self._find(above)
        if not isinstance(folder, Folder):
            raise mfusepy.FuseOSError(errno.ENOTDIR)
        return folder, name

    def _file(self, path: str, fh: int | None) -> File:
        if self._left is not None:
            raise mfusepy.FuseOSError(errno.EIO)
        node = self._open[fh] if fh else self._find(path)
        if not isinstance(node, File):
            raise mfusepy.FuseOSError(errno.EISDIR)
        return node

    def _handle(self, file: File) -> int:
        handle, self._next = self._next, self._next + 1
        self._open[handle] = file
        return handle

    def init(self, path: str) -> None:
        say("mounted")

    def getattr(self, path: str, fh: int | None = None) -> dict[str, Any]:
        node = self._open[fh] if fh in self._open else self._find(path)
        links, size = (node.links, len(node.content)) if isinstance(node, File) else (2, 0)
        return {
            "st_mode": node.mode,
            "st_ino": node.number,
            "st_nlink": links,
            "st_size": size,
            "st_uid": os.getuid(),
            "st_gid": os.getgid(),
            "st_mtime": self._mounted_s,
        }

    def readdir(self, path: str, fh: int) -> list[tuple[str, dict[str, int], int]]:
        folder = self._find(path)
        assert isinstance(folder, Folder)
        found = [(".", folder), ("..", folder), *folder.names.items()]
        return [(name, {"st_mode": node.mode, "st_ino": node.number}, 0) for name, node in found]

    def statfs(self, path: str) -> dict[str, int]:
        return {"f_bsize": 4096, "f_frsize": 4096, "f_blocks": 1 << 28, "f_bfree": 1 << 28, "f_bavail": 1 << 28}

    def create(self, path: str, mode: int, fi: Any = None) -> int:
        folder, name = self._parent(path)
        self._about_to("create", path)
        file = File(stat.S_IFREG | stat.S_IMODE(mode))
        folder.put(name, file)
        return self._handle(file)

    def open(self, path: str, flags: int) -> int:
        file = self._file(path, None)
        if flags & os.O_TRUNC:
            self._about_to("truncate", path)
            file.resize(0)
        return self._handle(file)

    def release(self, path: str, fh: int) -> int:
        self._open.pop(fh, None)
        return 0

    def read(self, path: str, size: int, offset: int, fh: int) -> bytes:
        return bytes(self._file(path, fh).content[offset : offset + size])

    def write(self, path: str, data: bytes, offset: int, fh: int) -> int:
        file = self._file(path, fh)
        self._about_to("write", path)
        file.write(offset, data)
        return len(data)

    def truncate(self, path: str, length: int, fh: int | None = None) -> int:
        file = self._file(path, fh)
        self._about_to("truncate", path)
        file.resize(length)
        return 0

    def fsync(self, path: str, datasync: int, fh: int) -> int:
        file = self._file(path, fh)
        self._about_to("fsync", path)
        file.sync()
        return 0

    def fsyncdir(self, path: str, datasync: int, fh: int) -> int:
        folder = self._find(path)
        assert isinstance(folder, Folder)
        self._about_to("fsync folder", "")
        folder.sync()
        return 0

    def mkdir(self, path: str, mode: int) -> int:
        folder, name = self._parent(path)
        self._about_to("mkdir", "")
        folder.put(name, Folder(stat.S_IFDIR | stat.S_IMODE(mode)))
        return 0

    def rmdir(self, path: str) -> int:
        folder, name = self._parent(path)
        node = self._find(path)
        if not isinstance(node, Folder) or node.names:
            raise mfusepy.FuseOSError(errno.ENOTEMPTY)
        self._about_to("rmdir", "")
        folder.put(name, None)
        return 0

    def unlink(self, path: str) -> int:
        folder, name = self._parent(path)
        self._about_to("unlink", path)
        folder.put(name, None)
        return 0

    def rename(self, old: str, new: str) -> int:
        (source, before), (target, after) = self._parent(old), self._parent(new)
        node = self._find(old)
        self._about_to("rename", old)
        target.put(after, node)
        source.put(before, None)
        return 0

    def link(self, target: str, source: str) -> int:
        folder, name = self._parent(target)
        file = self._file(source, None)
        self._about_to("link", target)
        folder.put(name, file)
        return 0

    def chmod(self, path: str, mode: int) -> int:
        node = self._find(path)
        node.mode = stat.S_IFMT(node.mode) | stat.S_IMODE(mode)
        return 0

    def chown(self, path: str, uid: int, gid: int) -> int:
        return 0

    def utimens(self, path: str, times: tuple[int, int] | None = None) -> int:
        return 0


def what(path: str) -> str:
    """Name what lies at a path, as moments are told from each other."""
    above, _, name = path.rpartition("/")
    if above.endswith("/staging"):
        return "part" if name.endswith(".part") else "brought" if name.startswith("brought-") else "probe"
    ends = {".sqlite3": "ledger", "-wal": "journal", "-journal": "journal", ".dcm": "instance"}
    for end, said in ends.items():
        if name.endswith(end):
            return said
    for part, said in {"index.parquet": "index", ".lock": "lock"}.items():
        if part in name:
            return said
    return "mark" if name else ""


def say(line: str) -> None:
    """Answer."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main() -> None:
    """Serve until standard input ends; after each cut there is another mount."""
    disk, ended = Disk(), threading.Event()

    def listen() -> None:
        for line in sys.stdin:
            say(disk.order(line.split()))
        ended.set()

    threading.Thread(target=listen, daemon=True).start()
    while True:
        # nothreads: calls are carried out one after another. use_ino: names of one file are told to be that.
        options = {"use_ino": True, "hard_remove": True, "kernel_cache": True, "subtype": sys.argv[2]}
        mfusepy.FUSE(disk, sys.argv[1], foreground=True, nothreads=True, **options)
        if disk._left is None or ended.is_set():
            return
        disk.power_up()


if __name__ == "__main__":
    main()
