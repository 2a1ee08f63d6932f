"""Starts runs as processes (`child`), ends them, and reads how they ended, whoever started them."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import Final, Literal, Protocol

import anyio
from anyio.abc import Process
from pydantic import TypeAdapter, ValidationError

from dicomhaul.daemon.decide import Begun, Ended, TimedJob
from dicomhaul.land.kernel_lock import HELD, try_lock
from dicomhaul.land.writer import landing_error

_ENDED: Final = TypeAdapter(Ended)
_MOST_BYTES: Final = 4096
_CHILD: Final = "dicomhaul.daemon.child"


class Runner(Protocol):
    """Makes runs."""

    async def run(self, job: TimedJob, run: Begun) -> Ended:
        """Make a run and wait for its end. Cancelled, it leaves the run to end by itself: the daemon is gone."""
        ...

    def how_ended(self, run: Begun) -> Ended | None:
        """Say how a run of an earlier daemon ended; None: it did not, or nobody has seen it end."""
        ...

    def is_alive(self, run: Begun) -> bool:
        """Say whether anything of a run of an earlier daemon goes on. Raises LandingError where nobody can say."""
        ...

    def forget(self, keep: Collection[str]) -> None:
        """Remove what is known of the end of runs, but of those with these ids."""
        ...

    def stop(self) -> None:
        """Let all that runs come to a clean end."""
        ...


class Processes:
    """A Runner whose runs are processes.

    Args:
        folder: where results and locks lie.
        command: the command line of a run.
        form: how their log is labelled.
        clock_now: seconds since the epoch.
    """

    def __init__(
        self,
        folder: Path,
        *,
        command: Callable[[TimedJob], list[str]],
        form: Literal["text", "json"],
        clock_now: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._command = command
        self._form = form
        self._now = clock_now
        self._running: set[Process] = set()
        self._stopping = False

    async def run(self, job: TimedJob, run: Begun) -> Ended:
        """See `Runner.run`."""
        result = self._result(run.id)
        lock = str(self._lock(run))
        words = [sys.executable, "-P", "-m", _CHILD, str(result), lock, job.name, self._form, *self._command(job)]
        process = await anyio.open_process(
            words, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=None, start_new_session=True
        )
        self._running.add(process)
        if self._stopping:  # since it was asked for
            process.terminate()
        try:
            code = await process.wait()
        finally:
            self._running.discard(process)
        # Without a result it was killed itself: by us, before it listened; else what it ran may go on, with the lock.
        return self.how_ended(run) or Ended(code or 1, interrupted=self._stopping, ended_at=self._now())

    def how_ended(self, run: Begun) -> Ended | None:
        """See `Runner.how_ended`."""
        try:
            with self._result(run.id).open("rb") as file:
                return _ENDED.validate_json(file.read(_MOST_BYTES), strict=True)
        except (FileNotFoundError, ValidationError):
            return None

    def is_alive(self, run: Begun) -> bool:
        """See `Runner.is_alive`: it has the lock of its destination, from before it begins until after its record."""
        lock = self._lock(run)
        try:
            descriptor = os.open(lock, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return False
        except OSError as error:
            raise landing_error(error, f"open {lock}") from error
        try:
            try_lock(descriptor)
        except OSError as error:
            if error.errno not in HELD:
                raise landing_error(error, f"lock {lock}") from error
            return True
        finally:
            os.close(descriptor)  # and with it, the lock
        return False

    def forget(self, keep: Collection[str]) -> None:
        """See `Runner.forget`."""
        for path in self._folder.glob("*.json"):
            if path.stem not in keep:
                with suppress(FileNotFoundError):
                    path.unlink()

    def stop(self) -> None:
        """See `Runner.stop`."""
        self._stopping = True
        for process in self._running:
            with suppress(ProcessLookupError):
                process.terminate()

    def _lock(self, run: Begun) -> Path:
        return self._folder / f"{hashlib.sha256(run.destination.encode()).hexdigest()[:32]}.lock"

    def _result(self, run_id: str) -> Path:
        return self._folder / f"{run_id}.json"
