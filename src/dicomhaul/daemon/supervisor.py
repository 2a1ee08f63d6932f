"""The daemon's loop: decide, write down, do; from the first look to a clean end.

What must not be here: when a run is due (`job.schedule`), which one begins (`decide`), how one is made (`runner`).

The order makes a run happen once, whenever the daemon is killed: its beginning is saved before it is made, its end is
known from its own record (`Runner.how_ended`) before it is saved, and that record is forgotten only afterwards. A run
that outlives its daemon goes on for the next one, too: until nothing of it is alive, it is not known to be gone.
"""

import logging
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final, Protocol

import anyio
from anyio.abc import TaskGroup

from dicomhaul.daemon.decide import Begun, Ended, Start, State, TimedJob, begin, decide, end, first_seen
from dicomhaul.daemon.runner import Runner
from dicomhaul.ports import Clock

LOOK_S: Final = 30.0  # at least that often: the wall clock may be set, or the machine sleep
OUTLIVED_LOOK_S: Final = 1.0  # between looks whether a run of an earlier daemon has ended

_log = logging.getLogger("dicomhaul.daemon")


class Keeps(Protocol):
    """Where the state outlasts the daemon: `Store`."""

    def load(self) -> State | None:
        """See `Store.load`."""
        ...

    def save(self, state: State) -> None:
        """See `Store.save`."""
        ...


class Supervisor:
    """Runs jobs at their times.

    Args:
        jobs: no two of one name.
        store: where the state is kept.
        runner: makes the runs.
        clock: says when it is.
        new_id: names a run as no other one is, of this daemon or an earlier one.

    Raises LedgerError for a state that cannot be read, LandingError where it cannot be written, or nobody can say
    whether a run of an earlier daemon goes on.
    """

    def __init__(
        self,
        jobs: Sequence[TimedJob],
        *,
        store: Keeps,
        runner: Runner,
        clock: Clock,
        new_id: Callable[[], str] = lambda: uuid.uuid4().hex,
    ) -> None:
        self._jobs = tuple(jobs)
        self._store = store
        self._runner = runner
        self._clock = clock
        self._new_id = new_id
        self._changed = anyio.Event()
        self._stopping = False
        self._said: tuple[str, ...] = ()
        self._turned_at = clock.monotonic()
        loaded = store.load()
        if loaded is None:
            _log.info("nothing ran here before: each job waits for its next time")
        self._state: State = loaded or {}
        self._outlived = self._recover()

    @property
    def jobs(self) -> tuple[TimedJob, ...]:
        """What is run."""
        return self._jobs

    @property
    def state(self) -> State:
        """Where each job stands; jobs that are no more, too."""
        return self._state

    @property
    def idle_s(self) -> float:
        """Seconds since the loop turned last: LOOK_S and a little while all is well."""
        return self._clock.monotonic() - self._turned_at

    def change(self, jobs: Sequence[TimedJob]) -> None:
        """Run these jobs from now on; what runs goes on to its end. Raises LandingError."""
        self._jobs = tuple(jobs)
        self._save(first_seen(self._state, jobs, self._clock.now()))
        self._changed.set()

    def stop(self) -> None:
        """Start nothing any more, end what runs, cleanly; `serve` returns once it has ended.

        A run that outlived an earlier daemon is left to the next one.
        """
        self._stopping = True
        self._runner.stop()
        self._changed.set()

    async def serve(self) -> None:
        """Run jobs until `stop` is called. Raises LandingError where the state cannot be written."""
        async with anyio.create_task_group() as group:
            for name, run in self._outlived.items():
                group.start_soon(self._wait_for, name, run)
            while not self._stopping:
                self._changed = anyio.Event()
                wait_s = self._turn(group)
                self._turned_at = self._clock.monotonic()
                await self._sleep(wait_s)

    def _recover(self) -> dict[str, Begun]:
        """Learn how the runs of an earlier daemon ended; return those that go on, by job."""
        state = first_seen(self._state, self._jobs, self._clock.now())
        outlived: dict[str, Begun] = {}
        for name, known in state.items():
            if known.run is None:
                continue
            if self._goes_on(known.run):
                _log.warning("%s: its run for %s outlived its daemon; it goes on", name, _when(known.run.slot))
                outlived[name] = known.run
            else:
                state = self._learn(state, name, known.run)
        if state != self._state:
            self._save(state)
        self._runner.forget([run.id for run in outlived.values()])
        return outlived

    async def _wait_for(self, name: str, run: Begun) -> None:
        """Wait for the end of a run of an earlier daemon, and count it."""
        while self._goes_on(run):
            if self._stopping:
                return
            await self._clock.sleep(OUTLIVED_LOOK_S)
        self._close(self._learn(self._state, name, run))

    def _goes_on(self, run: Begun) -> bool:
        return self._runner.how_ended(run) is None and self._runner.is_alive(run)

    def _learn(self, state: State, name: str, run: Begun) -> State:
        """Return the state after a run that goes on no more: its record is looked for after its last sign of life."""
        how = self._runner.how_ended(run)
        if how is None or how.interrupted:
            _log.warning("%s: its run for %s was interrupted; it is made again", name, _when(run.slot))
        return end(state, name, how)

    def _turn(self, group: TaskGroup) -> float:
        """Begin what is due; return for how long there is nothing to do."""
        now = self._clock.now()
        decision = decide(now, self._jobs, self._state)
        if decision.waiting and decision.waiting != self._said:
            _log.info("waiting for another run on their destination or host: %s", ", ".join(decision.waiting))
        self._said = decision.waiting
        for start in decision.starts:
            run = Begun(self._new_id(), start.slot, now, str(start.job.destination))
            self._save(begin(self._state, start.job.name, run))
            also = f", and for {start.missed} times before it" if start.missed else ""
            _log.info("%s: runs for %s%s", start.job.name, _when(start.slot), also)
            group.start_soon(self._run, start, run)
        return LOOK_S if decision.wake_at is None else min(LOOK_S, max(0.0, decision.wake_at - now))

    async def _run(self, start: Start, run: Begun) -> None:
        name = start.job.name
        try:
            how = await self._runner.run(start.job, run)
        except OSError as error:  # no process could be made: the next time may find memory, or a new interpreter
            _log.error("%s: its run cannot be started: %s", name, error.strerror)
            how = Ended(1, interrupted=False, ended_at=self._clock.now())
        took_s = how.ended_at - run.started_at
        level = logging.INFO if how.code == 0 or how.interrupted else logging.ERROR
        _log.log(level, "%s: ended with exit code %d after %.0f s", name, how.code, took_s)
        self._close(end(self._state, name, how))

    def _close(self, state: State) -> None:
        """Save the state after a run, then forget its record."""
        self._save(state)
        self._runner.forget([each.run.id for each in self._state.values() if each.run is not None])
        self._changed.set()

    def _save(self, state: State) -> None:
        self._store.save(state)
        self._state = state

    async def _sleep(self, wait_s: float) -> None:
        """Sleep, but no longer than until something changes."""
        async with anyio.create_task_group() as group:

            async def sleep() -> None:
                await self._clock.sleep(wait_s)
                self._changed.set()

            group.start_soon(sleep)
            await self._changed.wait()
            group.cancel_scope.cancel()


def _when(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="minutes")
