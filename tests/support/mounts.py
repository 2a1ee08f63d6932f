"""Small filesystems of a test's own, where mounting is allowed (it needs a privileged user)."""

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.command import Word

_MOUNT = shutil.which("mount")


@contextmanager
def mounted(place: Path, *options: Word) -> Iterator[bool]:
    """Mount something on a new folder `place`; yield False where that is not allowed."""
    place.mkdir(exist_ok=True)
    allowed = _MOUNT is not None and _mount(*options, place)
    try:
        yield allowed
    finally:
        if allowed:
            subprocess.run(["umount", "--lazy", place], check=True)  # a process that ends may still hold it


def remounted(place: Path, options: str) -> None:
    """Change how something is mounted on `place`."""
    assert _mount("-o", f"remount,{options}", place)


def _mount(*words: Word) -> bool:
    return subprocess.run([str(_MOUNT), *words], capture_output=True, check=False).returncode == 0
