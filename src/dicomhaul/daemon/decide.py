"""Which runs begin now, and what a job's state becomes: the whole policy of the daemon. Pure.

| a job | what happens |
|---|---|
| was never seen before | its first run is at its next time, not at once |
| is due | its run begins, unless a run on the same destination goes on: then it waits, the longest due goes first |
| is due for more than a minute, as all are after downtime | it also waits for other such runs from the same host |
| is due several times over, after downtime or since a run took longer than its interval | one run stands for all |
| was interrupted by the end of the daemon | its run is due again |
| ended by itself, whatever its exit code | that time is done with; a failed run is not repeated before its next time |

A *slot* is a moment of the schedule. `covered` is the last slot that is done with: nothing up to there is due.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import Final

from dicomhaul.job.schedule import Schedule

LATE_S: Final = 60.0  # a run that begins so long after it was due catches up


@dataclass(frozen=True, slots=True)
class TimedJob:
    """A job file that has a schedule.

    Attributes:
        name: what it is called, as no other one is.
        file: where it stands.
        destination: absolute; two jobs on one destination never run at the same time.
        schedule: when it runs.
        max_age_s: it is overdue when its last success is older; None: never.
        metrics: the textfile that the job itself asks for; None: the daemon asks for one.
        host: whom it asks; runs that catch up ask one host one after the other.
    """

    name: str
    file: PurePath
    destination: PurePath
    schedule: Schedule
    max_age_s: float | None = None
    metrics: PurePath | None = None
    host: str = ""

    def is_late(self, slot: float, at: float) -> bool:
        """Say whether a run that begins at that time catches up on this slot."""
        return at - self.schedule.due_at(slot, self.name) > LATE_S


@dataclass(frozen=True, slots=True)
class Begun:
    """A run that has begun, or is about to."""

    id: str
    slot: float
    started_at: float
    destination: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended.

    Attributes:
        code: its exit code; negative: the signal that killed it.
        interrupted: the end of the daemon ended it.
        ended_at: when.
    """

    code: int
    interrupted: bool
    ended_at: float


@dataclass(frozen=True, slots=True)
class JobState:
    """What is remembered of a job.

    Attributes:
        since: when it was first seen.
        covered: nothing up to this slot is due.
        run: the run that goes on, or went on when the daemon was killed.
        last: the end of its last run that ended by itself, and `last_slot` which slot that was for.
        last_success: when a run last ended with exit code 0.
    """

    since: float
    covered: float
    run: Begun | None = None
    last: Ended | None = None
    last_slot: float | None = None
    last_success: float | None = None


State = Mapping[str, JobState]


@dataclass(frozen=True, slots=True)
class Start:
    """A run that is to begin now; `missed`: how many slots before its own it stands for, too (99 or more: 99)."""

    job: TimedJob
    slot: float
    missed: int


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be done now; look again at `wake_at`, or as soon as a run has ended. None: no job has a time."""

    starts: tuple[Start, ...]
    waiting: tuple[str, ...]  # due, but their destination is busy, or they catch up and so does another of their host
    wake_at: float | None


def decide(now: float, jobs: Sequence[TimedJob], state: State) -> Decision:
    """Say which runs begin now."""
    busy = {each.run.destination for each in state.values() if each.run is not None}
    catching_up: set[str] = set()
    due: list[tuple[float, str, TimedJob, float]] = []
    for job in jobs:
        known = state[job.name]
        if known.run is not None:
            if job.is_late(known.run.slot, known.run.started_at):
                catching_up.add(job.host)
            continue
        slot = job.schedule.last_due(now, job.name)
        if slot > known.covered:
            first = job.schedule.next_slot(known.covered)
            due.append((job.schedule.due_at(first, job.name), job.name, job, slot))
    starts: list[Start] = []
    waiting: list[str] = []
    for _, name, job, slot in sorted(due, key=lambda each: each[:2]):
        destination = str(job.destination)
        late = job.is_late(slot, now)
        if destination in busy or (late and job.host in catching_up):
            waiting.append(name)
            continue
        busy.add(destination)
        if late:
            catching_up.add(job.host)
        starts.append(Start(job, slot, job.schedule.count(state[name].covered, slot) - 1))
    times = [job.schedule.next_due(now, job.name) for job in jobs]
    return Decision(tuple(starts), tuple(waiting), min(times, default=None))


def first_seen(state: State, jobs: Iterable[TimedJob], now: float) -> State:
    """Return the state with those jobs in it that it did not know."""
    new = {job.name: JobState(since=now, covered=now) for job in jobs if job.name not in state}
    return {**state, **new} if new else state


def begin(state: State, name: str, run: Begun) -> State:
    """Return the state in which a run goes on."""
    return {**state, name: replace(state[name], run=run)}


def end(state: State, name: str, how: Ended | None) -> State:
    """Return the state after the run of a job; None: it is gone, and nobody knows how far it came."""
    known = state[name]
    if known.run is None:
        return state
    if how is None or how.interrupted:
        return {**state, name: replace(known, run=None)}
    done = replace(
        known,
        run=None,
        covered=max(known.covered, known.run.slot),
        last=how,
        last_slot=known.run.slot,
        last_success=how.ended_at if how.code == 0 else known.last_success,
    )
    return {**state, name: done}


def overdue_s(now: float, job: TimedJob, known: JobState) -> float | None:
    """Return by how many seconds a job's last success is too old; None: it is not, or nobody says what is."""
    if job.max_age_s is None:
        return None
    late = now - (known.last_success if known.last_success is not None else known.since) - job.max_age_s
    return late if late > 0.0 else None
