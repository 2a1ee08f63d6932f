"""What the daemon remembers, in a folder of its own: written before and after each run, and safe once it is written.

```
state.json     what ran, and what runs (decide.State)
lock           one daemon at a time
runs/          how each run ended, until it is in state.json; a lock for each destination
metrics/       what the runs tell of themselves
```

A state that cannot be read is an error, never a fresh start: every run would be made twice, or left out.
"""

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Literal

from pydantic import Field, TypeAdapter, ValidationError

from dicomhaul.daemon.decide import JobState, State
from dicomhaul.durable import make_folders, sync_folder
from dicomhaul.errors import LedgerError
from dicomhaul.land.writer import landing_error
from dicomhaul.record.lock import exclusive

_MOST_BYTES: Final = 16 << 20


@dataclass(frozen=True, slots=True)
class _Stored:
    """The file: version 1."""

    version: Literal[1]
    jobs: Annotated[dict[str, JobState], Field(max_length=100_000)]


_STORED: Final = TypeAdapter(_Stored)


class Store:
    """The daemon's folder. Made by `open_store`."""

    def __init__(self, folder: Path) -> None:
        self._file = folder / "state.json"
        self.runs = folder / "runs"
        self.metrics = folder / "metrics"

    def load(self) -> State | None:
        """Return what was saved last; None: nothing ever was. Raises LedgerError for what cannot be read."""
        try:
            with self._file.open("rb") as file:
                text = file.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise LedgerError(f"cannot read {self._file}: {error.strerror}") from error
        try:  # of one that is too large the end is missing
            return _STORED.validate_json(text, strict=True).jobs
        except ValidationError:
            raise LedgerError(
                f"{self._file} is damaged: it says which runs were made. Put back a copy of it; or remove it, and each "
                "job waits for its next time"
            ) from None

    def save(self, state: State) -> None:
        """Save it; once this returns it outlasts a power cut. Raises LandingError."""
        write_durably(self._file, _STORED.dump_json(_Stored(1, dict(state)), indent=1))


def write_durably(file: Path, content: bytes) -> None:
    """Replace a file in one step; once this returns it outlasts a power cut. Raises LandingError."""
    new = file.with_name(f".{file.name}.new")
    try:
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | getattr(os, "O_NOFOLLOW", 0), 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(content)
            out.flush()
            os.fsync(out.fileno())
        new.replace(file)
        sync_folder(file.parent)
    except OSError as error:
        raise landing_error(error, f"write {file}") from error


@contextmanager
def open_store(folder: Path) -> Iterator[Store]:
    """Open the daemon's folder, made if it is not there, for this process alone.

    Raises LedgerError where another daemon has it, LandingError where it cannot be made or written.
    """
    store = Store(folder)
    try:
        for each in (folder, store.runs, store.metrics):
            make_folders(each, 0o700)
    except OSError as error:
        raise landing_error(error, f"make {folder}") from error
    with ExitStack() as stack:
        try:
            stack.enter_context(exclusive(folder / "lock"))
        except LedgerError as error:
            raise LedgerError(f"another daemon is at work with {folder}; stop it, or use another --state") from error
        yield store
