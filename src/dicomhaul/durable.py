"""Names that outlast a power cut: a file's bytes are safe once the file was synced, its name once its folder was.

Nothing here knows what the folders are for.
"""

import os
from pathlib import Path
from typing import Final

_FOLDER: Final = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_CLOEXEC", 0)


def sync_folder(folder: Path) -> None:
    """Make safe what was made, renamed and removed in a folder. Raises OSError."""
    if os.name == "nt":  # NTFS journals its directories; they cannot be opened
        return
    try:
        descriptor = os.open(folder, _FOLDER)
    except PermissionError:  # one may make something in a folder without being allowed to read it
        os.sync()
        return
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folders(folder: Path, mode: int = 0o777) -> None:
    """Make a folder, with `mode`, and those above it that are not there; their names are safe. Raises OSError."""
    if folder.is_dir():
        return
    if folder.parent != folder:
        make_folders(folder.parent)
    folder.mkdir(mode, exist_ok=True)
    sync_folder(folder.parent)
