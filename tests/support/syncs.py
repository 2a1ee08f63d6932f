"""Which folders are synced, and when."""

import os
from pathlib import Path

import pytest


class Syncs:
    """Notes which folders are synced."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._inodes: list[int] = []
        real = os.fsync

        def fsync(fd: int) -> None:
            self._inodes.append(os.fstat(fd).st_ino)
            real(fd)

        monkeypatch.setattr(os, "fsync", fsync)

    def take(self, root: Path) -> list[str]:
        """Return what was synced since the last call, relative to `root`, sorted."""
        names = {path.stat().st_ino: path.relative_to(root).as_posix() for path in (root, *root.rglob("*"))}
        inodes, self._inodes = self._inodes, []
        return sorted(names[inode] for inode in inodes)
