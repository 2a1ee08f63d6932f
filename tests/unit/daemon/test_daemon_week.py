"""A week of the daemon, by an injected clock, in which it is killed wherever it can be: each run happened once."""

import itertools
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomhaul.daemon import supervisor as supervisor_module
from dicomhaul.daemon.decide import Begun, Ended, State, TimedJob
from dicomhaul.daemon.supervisor import Supervisor
from dicomhaul.job.schedule import schedule_of
from support.clock import FakeClock

HOUR, DAY = 3600.0, 86_400.0
START = 1_792_656_000.0  # 2026-10-22, so that the clocks are put back on the fourth day
END = START + 7 * DAY


class Killed(BaseException):
    """SIGKILL: nothing that the daemon would still do is done."""


@dataclass
class Made:
    """A run that came to its end."""

    slot: float
    started_at: float


@dataclass
class World:
    """What outlives the daemon: its store, the runs' own records of their end, and what really happened."""

    clock: FakeClock
    saved: State | None = None
    results: dict[str, Ended] = field(default_factory=dict)
    made: dict[str, list[Made]] = field(default_factory=dict)
    busy: set[PurePath] = field(default_factory=set)
    interrupted: int = 0
    steps_left: float = float("inf")  # until the daemon is killed

    def step(self) -> None:
        """A moment at which the daemon may be killed."""
        if self.steps_left <= 0:
            raise Killed
        self.steps_left -= 1


@dataclass
class Disk:
    """The store."""

    world: World

    def load(self) -> State | None:
        return self.world.saved

    def save(self, state: State) -> None:
        self.world.step()
        self.world.saved = state
        self.world.step()


@dataclass
class Children:
    """Runs that take a while, and end with their daemon; some leave a record of that, some were killed, too."""

    world: World
    duration_s: float
    seconds_to_stop: int = 0

    async def run(self, job: TimedJob, run: Begun) -> Ended:
        world = self.world
        world.step()
        assert job.destination not in world.busy, "two runs on one destination"
        world.busy.add(job.destination)
        try:
            await world.clock.sleep(self.duration_s)
        except BaseException:
            world.interrupted += 1
            if world.interrupted % 2:
                world.results[run.id] = Ended(-15, interrupted=True, ended_at=world.clock.now())
            raise
        finally:
            world.busy.discard(job.destination)
        world.made.setdefault(job.name, []).append(Made(run.slot, run.started_at))
        world.results[run.id] = Ended(0, interrupted=False, ended_at=world.clock.now())
        world.step()
        return world.results[run.id]

    def how_ended(self, run: Begun) -> Ended | None:
        return self.world.results.get(run.id)

    def forget(self, keep: Collection[str]) -> None:
        self.world.step()
        for run_id in set(self.world.results) - set(keep):
            del self.world.results[run_id]

    def stop(self) -> None:
        pass


@dataclass(frozen=True)
class Life:
    """How long a daemon lives, in steps and in seconds, and for how long there is none afterwards."""

    steps: float
    seconds: float
    down_s: float


def live(jobs: list[TimedJob], lives: list[Life], *, duration_s: float) -> World:
    """Let a week pass; after those lives, the last one lasts until its end."""
    world = World(FakeClock(START))
    ids = map(str, itertools.count())

    async def one_life(life: Life) -> None:
        world.steps_left = life.steps
        children = Children(world, duration_s)
        daemon = Supervisor(jobs, store=Disk(world), runner=children, clock=world.clock, new_id=lambda: next(ids))

        async def die() -> None:
            await world.clock.sleep(min(life.seconds, END - world.clock.now()))
            raise Killed

        async with anyio.create_task_group() as group:
            group.start_soon(die)
            group.start_soon(daemon.serve)

    async def week() -> None:
        for life in [*lives, Life(float("inf"), float("inf"), 0.0)]:
            if world.clock.now() >= END:
                break
            with suppress(Killed):
                try:
                    await one_life(life)
                except BaseExceptionGroup as group:
                    if group.split(Killed)[1] is not None:
                        raise
            world.clock.advance(life.down_s)

    anyio.run(week)
    return world


def timed(name: str, cron: str, destination: str, jitter_s: float = 0.0, host: str = "") -> TimedJob:
    """A job of a host of its own, unless it is said."""
    schedule = schedule_of(cron, "Europe/Berlin", jitter_s)
    return TimedJob(name, Path(f"/jobs/{name}.toml"), Path(destination), schedule, host=host or name)


def all_slots(job: TimedJob) -> list[float]:
    """The slots of the week whose run can end in it."""
    found, slot = [], START
    while (slot := job.schedule.next_slot(slot)) < END - HOUR:
        found.append(slot)
    return found


@pytest.fixture(autouse=True, scope="module")
def _looks_seldom() -> object:
    patch = pytest.MonkeyPatch()
    patch.setattr(supervisor_module, "LOOK_S", 6 * HOUR)  # the clock is never set: looks between times change nothing
    yield
    patch.undo()


NIGHTLY = timed("nightly", "30 2 * * *", "/data/a", jitter_s=1800.0)
QUARTERLY = timed("quarterly", "10 */6 * * *", "/data/b")
BESIDE = timed("beside", "40 2,14 * * *", "/data/a")

kills = st.builds(
    Life,
    st.integers(0, 30) | st.just(float("inf")),
    st.floats(1.0, 2 * DAY),
    st.just(0.0),
)


@settings(max_examples=12)
@given(st.lists(kills, max_size=30))
def test_killed_and_started_again_each_run_happened_once(lives: list[Life]) -> None:
    world = live([NIGHTLY, QUARTERLY, BESIDE], lives, duration_s=300.0)
    for job in (NIGHTLY, QUARTERLY, BESIDE):
        made = [each.slot for each in world.made[job.name]]
        # One more may have ended within the last hour.
        assert made[: len(all_slots(job))] == all_slots(job)
        assert len(made) <= len(all_slots(job)) + 1


anything = st.builds(Life, st.integers(0, 30), st.floats(1.0, 2 * DAY), st.floats(0.0, 2 * DAY))


@settings(max_examples=12)
@given(st.lists(anything, max_size=30), st.sampled_from((60.0, 5 * HOUR, 7 * HOUR, 30 * HOUR)))
def test_however_long_it_is_down_and_runs_take_none_is_made_twice_and_each_is_caught_up_once(
    lives: list[Life], duration_s: float
) -> None:
    jobs = [NIGHTLY, QUARTERLY, BESIDE]
    world = live(jobs, lives, duration_s=duration_s)
    for job in jobs:
        made = world.made.get(job.name, [])
        slots = [each.slot for each in made]
        assert slots == sorted(set(slots)), "a slot was run twice"
        for each in made:  # it stands for all that was missed, up to the last one
            assert each.slot == job.schedule.last_due(each.started_at, job.name)


def test_a_run_that_takes_longer_than_its_interval_is_followed_by_one_for_all_that_fell_due() -> None:
    world = live([QUARTERLY], [], duration_s=13 * HOUR)
    made = world.made["quarterly"]
    assert [each.started_at for each in made[1:]] == [each.started_at + 13 * HOUR for each in made[:-1]]
    assert [later.slot - each.slot for each, later in itertools.pairwise(made)][:2] == [12 * HOUR, 12 * HOUR]


def test_after_days_without_a_daemon_one_run_catches_up() -> None:
    world = live([QUARTERLY], [Life(float("inf"), DAY, 5 * DAY)], duration_s=60.0)
    made = world.made["quarterly"]
    caught_up = [each for each in made if each.started_at == START + 6 * DAY]
    assert len(caught_up) == 1
    assert len(made) == 4 + 1 + 4


def test_a_new_job_waits_for_its_next_time() -> None:
    world = live([NIGHTLY], [], duration_s=60.0)
    first = world.made["nightly"][0]
    assert first.slot == NIGHTLY.schedule.next_slot(START)
    assert first.started_at == NIGHTLY.schedule.due_at(first.slot, "nightly") > first.slot


def test_two_jobs_on_one_destination_wait_for_each_other() -> None:
    one, other = timed("one", "0 2 * * *", "/data/a"), timed("other", "30 2 * * *", "/data/a")
    world = live([one, other], [], duration_s=HOUR)
    waits = [later.started_at - later.slot for later in world.made["other"]]
    assert waits == [HOUR / 2] * 7
    assert len(world.made["one"]) == 7


def test_after_downtime_the_runs_that_catch_up_ask_one_host_one_after_the_other() -> None:
    crowd = [timed(f"{hour}", f"0 {hour} * * *", f"/data/{hour}", host="pacs") for hour in (2, 3, 4)]
    other = timed("5", "0 5 * * *", "/data/5", host="elsewhere")
    world = live([*crowd, other], [Life(float("inf"), HOUR, DAY)], duration_s=HOUR)
    back = START + HOUR + DAY
    caught_up = {name: made[0].started_at - back for name, made in world.made.items()}
    assert caught_up == {"2": 0.0, "3": HOUR, "4": 2 * HOUR, "5": 0.0}
    # What begins at its time waits for nobody.
    assert all(each.started_at == each.slot for made in world.made.values() for each in made[1:])
