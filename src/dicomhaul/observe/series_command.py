"""A command of the user's for each series that has landed, while the cohort still comes: `--on-series`.

No shell runs: the command is split into words once, and `{folder}`, `{series}` and `{study}` in them are replaced. The
transfer never waits for it: what is to be done waits in a spool, and so many commands as allowed run at once. A command
that fails is told and counted, and changes nothing about the run, since the series is there in any case.

Commands run in sessions of their own: Ctrl-C at the terminal means the run, which then begins no more of them and waits
for those that run; the second signal kills them, too.
"""

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, NamedTuple, Self

import anyio
import anyio.abc

from dicomhaul.errors import ConfigError
from dicomhaul.events import Event, Noticed, SeriesLanded
from dicomhaul.observe.spool import Spool

_SECRET: Final = frozenset({"DICOMHAUL_USER", "DICOMHAUL_PASSWORD", "DICOMHAUL_TOKEN"})  # the source's


class Landed(NamedTuple):
    """What a command is told of its series; `folder` is relative to the destination."""

    study: str
    series: str
    folder: str
    instances: int


@dataclass(slots=True)
class Counts:
    """What became of the commands: how many ended well, how many did not, and for how many series none was begun."""

    done: int = 0
    failed: int = 0
    left: int = 0

    def as_json(self) -> dict[str, int]:
        """Return them as `--json` lists them."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class CommandLine:
    """The user's command, split into words."""

    words: tuple[str, ...]

    @classmethod
    def parse(cls, text: str, path: str | None) -> Self:
        """Split a command as a shell would. Raises ConfigError as `of_words`, and where it cannot be split."""
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise ConfigError(f"the command for each series cannot be split into words: {error}") from None
        return cls.of_words(words, path)

    @classmethod
    def of_words(cls, words: Sequence[str], path: str | None) -> Self:
        """Take a command as its words. Raises ConfigError where its program is not on `path`, the PATH of a shell."""
        if not words:
            raise ConfigError("the command for each series is empty")
        if shutil.which(words[0], path=path) is None:
            raise ConfigError(f"the command for each series names {words[0]!r}, which is no program that can be run")
        return cls(tuple(words))

    def of(self, dest: Path, landed: Landed) -> list[str]:
        """Return the words for one series."""
        put = {"{folder}": str(dest / landed.folder), "{series}": landed.series, "{study}": landed.study}
        return [self.words[0], *(_replaced(word, put) for word in self.words[1:])]


def _replaced(word: str, put: Mapping[str, str]) -> str:
    """Replace each placeholder once, from left to right: what was put in is not looked at again."""
    at = min((word.find(each) for each in put if each in word), default=-1)
    if at < 0:
        return word
    end = word.index("}", at) + 1
    return word[:at] + put[word[at:end]] + _replaced(word[end:], put)


def environ_of(environ: Mapping[str, str], dest: Path, landed: Landed) -> dict[str, str]:
    """Return the environment of the command for one series: ours less the source's credentials, and what landed."""
    return {name: value for name, value in environ.items() if name not in _SECRET} | {
        "DICOMHAUL_STUDY": landed.study,
        "DICOMHAUL_SERIES": landed.series,
        "DICOMHAUL_FOLDER": str(dest / landed.folder),
        "DICOMHAUL_DEST": str(dest),
        "DICOMHAUL_INSTANCES": str(landed.instances),
    }


class SeriesCommands:
    """Runs the command while its block lasts; leaving the block waits until all have run.

    An observer of the run: pass it `hear`. Of one event loop.

    Args:
        command: what to run.
        dest: the destination.
        at_once: the most commands at once.
        environ: ours.
        tell: is told of commands that fail.
    """

    def __init__(
        self,
        command: CommandLine,
        dest: Path,
        *,
        at_once: int,
        environ: Mapping[str, str],
        tell: Callable[[Event], None],
    ) -> None:
        self._command = command
        self._dest = dest.absolute()
        self._at_once = at_once
        self._environ = environ
        self._tell = tell
        self._spool = Spool()
        self._running: set[anyio.abc.Process] = set()
        self._came = anyio.Event()
        self._no_more = False
        self._stopped = False
        self._group: anyio.abc.TaskGroup | None = None
        self.counts = Counts()

    async def __aenter__(self) -> Self:
        self._group = anyio.create_task_group()
        await self._group.__aenter__()
        for _ in range(self._at_once):
            self._group.start_soon(self._work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._group is not None  # noqa: S101 - entered
        self._no_more = True
        self._came.set()
        if error is not None and not isinstance(error, Exception):  # cancelled: nobody waits
            self.kill()
        try:
            # An error of the run's is not handed to the group: what has landed is still to be done.
            await self._group.__aexit__(None, None, None)
        finally:
            self.counts.left += len(self._spool)
            self._spool.close()
        if self.counts.left:
            self._tell(Noticed(f"the command was not run for {self.counts.left:,} series that have landed"))

    def hear(self, event: Event) -> None:
        """Note a series that has landed; an `events.Observer`."""
        if not isinstance(event, SeriesLanded) or self._no_more:
            return
        if self._stopped:
            self.counts.left += 1
            return
        try:
            self._spool.put(Landed(event.study, event.series, event.folder, event.instances))
        except OSError as error:
            self._fails(event.series, f"it cannot wait for its turn: {error.strerror}")
            return
        self._came.set()

    def stop(self) -> None:
        """Begin no more commands; those that run may end."""
        if self._running and not self._stopped:
            self._tell(Noticed(f"commands that still run: {len(self._running)}; a second signal ends them"))
        self._stopped = True
        self._came.set()

    def kill(self) -> None:
        """End the commands that run, and all that these have started, at once."""
        self._stopped = True
        for process in self._running:
            _kill(process)

    async def _work(self) -> None:
        while True:
            if self._stopped:
                return
            if len(self._spool):
                await self._run(Landed(*self._spool.take()))  # type: ignore[arg-type]  # as `hear` put it
            elif self._no_more:
                return
            else:
                self._came = anyio.Event() if self._came.is_set() else self._came
                await self._came.wait()

    async def _run(self, landed: Landed) -> None:
        try:
            process = await anyio.open_process(
                self._command.of(self._dest, landed),
                stdin=subprocess.DEVNULL,
                stdout=2,  # our standard output is for what we print
                stderr=None,
                env=environ_of(self._environ, self._dest, landed),
                start_new_session=True,
            )
        except OSError as error:
            self._fails(landed.series, error.strerror or "it cannot be started")
            return
        self._running.add(process)
        try:
            code = await process.wait()
        except BaseException:
            _kill(process)
            with anyio.CancelScope(shield=True):
                await process.wait()
            raise
        finally:
            self._running.discard(process)
        if code == 0:
            self.counts.done += 1
        else:
            self._fails(landed.series, f"exit code {code}" if code > 0 else f"ended by signal {-code}")

    def _fails(self, series: str, why: str) -> None:
        self.counts.failed += 1
        self._tell(Noticed(f"the command for series {series} failed: {why}"))


def _kill(process: anyio.abc.Process) -> None:
    with suppress(ProcessLookupError):
        if os.name == "posix":
            os.killpg(process.pid, signal.SIGKILL)
        else:
            process.kill()
