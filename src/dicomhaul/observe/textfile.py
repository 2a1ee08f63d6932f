"""The metrics of a run as a textfile, for node_exporter's collector: written at the start, now and then, at the end.

A file appears in one step under its name, so nobody reads half of one; its permissions are what the umask allows, since
another user reads it. A file that cannot be written while the run goes on is told once and changes nothing else.
"""

import logging
import os
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol, Self

import anyio
import anyio.to_thread
from anyio.abc import TaskGroup

from dicomhaul.errors import ConfigError, LedgerError
from dicomhaul.events import Event, Planned, SourceStopped, Tally
from dicomhaul.net.gate import Gate
from dicomhaul.observe.metrics import HostFigures, RunFigures, exposition, run_metrics
from dicomhaul.ports import Clock
from dicomhaul.record.vitals import Vitals, read_vitals

if TYPE_CHECKING:
    from dicomhaul.net.host import Host

EACH_S: Final = 15.0
_LOOK_S: Final = 1.0

_log = logging.getLogger("dicomhaul.metrics")


class Hauls(Protocol):
    """Whose figures these are: a `Hauler`."""

    @property
    def tally(self) -> Tally:
        """See `Hauler.tally`."""
        ...

    @property
    def hosts(self) -> "list[Host]":
        """See `Hauler.hosts`."""
        ...


class MetricsFile:
    """Writes the metrics of one run; an async context manager round it. `hear` is an observer of the run.

    Args:
        path: the textfile.
        name: what the run is called: its job, or the command.
        destination: where it brings what it brings.
        ledger: the ledger there, whether there is one yet or not.
        clock: the time.
    """

    def __init__(self, path: Path, *, name: str, destination: Path, ledger: Path, clock: Clock) -> None:
        self._path = path
        self._name = name
        self._destination = str(destination.absolute())
        self._ledger = ledger
        self._clock = clock
        self._started_at = clock.now()
        self._ended_at: float | None = None
        self._state = "running"
        self._of: Hauls | None = None
        self._planned = 0
        self._looked_at = float("-inf")
        self._hosts: tuple[HostFigures, ...] = ()
        self._vitals: Vitals | None = None
        self._complained = False
        self._group: TaskGroup | None = None

    def of(self, hauls: Hauls) -> Self:
        """Say whose figures it writes; before it is entered."""
        self._of = hauls
        return self

    def hear(self, event: Event) -> None:
        """Learn what the totals do not tell."""
        match event:
            case Planned(series=series):
                self._planned += series
            case SourceStopped():  # soon its host is closed
                self._look()
            case _ if self._clock.monotonic() - self._looked_at >= _LOOK_S:  # and at the end they are closed, too
                self._look()
            case _:
                pass

    def ended(self, state: str) -> None:
        """Say how the run ended, before the block is left."""
        self._state = state

    async def __aenter__(self) -> Self:
        """Write the first one. Raises ConfigError where that cannot be done."""
        try:
            await anyio.to_thread.run_sync(self._write)
        except OSError as error:
            raise ConfigError(f"cannot write the metrics file {self._path}: {error.strerror}") from None
        self._group = await anyio.create_task_group().__aenter__()
        self._group.start_soon(self._go_on)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Write the last one."""
        assert self._group is not None  # noqa: S101 - entered
        self._group.cancel_scope.cancel()
        with suppress(anyio.get_cancelled_exc_class()):
            await self._group.__aexit__(None, None, None)
        if self._state == "running":
            self._state = "failed"
        self._ended_at = self._clock.now()
        with anyio.CancelScope(shield=True):
            await self._try()

    async def write_now(self) -> None:
        """Write how the run stands."""
        await self._try(vitals=False)

    async def _go_on(self) -> None:
        while True:
            await self._clock.sleep(EACH_S)
            await self.write_now()

    async def _try(self, *, vitals: bool = True) -> None:
        self._look()
        try:
            await anyio.to_thread.run_sync(lambda: self._write(vitals=vitals))
        except OSError as error:
            if not self._complained:
                self._complained = True
                _log.warning("cannot write the metrics file %s: %s", self._path, error.strerror)

    def _look(self) -> None:
        self._looked_at = self._clock.monotonic()
        if self._of is not None and (hosts := figures_of(self._of.hosts)):
            self._hosts = hosts

    def _write(self, *, vitals: bool = True) -> None:
        if vitals:  # neither first nor last is in anybody's way: nothing has begun, or all is over
            with suppress(LedgerError):  # there is none yet, or the run itself tells what is wrong with it
                self._vitals = read_vitals(self._ledger)
        tally = Tally() if self._of is None else self._of.tally
        figures = RunFigures(
            name=self._name,
            destination=self._destination,
            state=self._state,
            started_at=self._started_at,
            ended_at=self._ended_at,
            tally=tally,
            queued=max(0, self._planned - tally.series_complete - tally.series_failed),
            hosts=self._hosts,
            vitals=self._vitals,
        )
        now = self._clock.now()
        write_textfile(self._path, exposition(run_metrics(figures, now=now), now=now))


def figures_of(hosts: "Iterable[Host]") -> tuple[HostFigures, ...]:
    """Return how the gates and quotas of some hosts stand now."""
    found = []
    for host in hosts:
        if not isinstance(host.gate, Gate):  # another process has it
            continue
        gate, quota = host.gate.statistics(), host.quota
        found.append(
            HostFigures(
                host=host.name,
                running=gate.running,
                waiting=gate.waiting,
                at_once=gate.at_once,
                per_s=gate.per_s,
                closed_for_s=gate.closed_for_s,
                quota_bytes=None if quota is None else quota.limit_bytes,
                quota_left_bytes=None if quota is None else quota.left_bytes,
            )
        )
    return tuple(found)


def write_textfile(path: Path, content: bytes) -> None:
    """Put a textfile in its place, in one step. Raises OSError."""
    new = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        new.write_bytes(content)
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
