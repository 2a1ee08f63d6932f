"""A week of the daemon, by an injected clock, in which it is killed wherever it can be: each run happened once."""

import itertools
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePath
from typing import Literal

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomhaul.daemon import supervisor as supervisor_module
from dicomhaul.daemon.decide import Begun, Ended, JobState, State, TimedJob
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


Leaves = Literal["nothing", "stopped", "success"]


@dataclass
class Outliving:
    """A run whose daemon was killed: when it ends, and what it leaves then."""

    name: str
    run: Begun
    until: float
    leaves: Leaves


@dataclass
class World:
    """What outlives the daemon: its store, the runs' own records of their end, and what really happened."""

    clock: FakeClock
    saved: State | None = None
    results: dict[str, Ended] = field(default_factory=dict)
    made: dict[str, list[Made]] = field(default_factory=dict)
    busy: set[PurePath] = field(default_factory=set)
    outliving: list[Outliving] = field(default_factory=list)
    steps_left: float = float("inf")  # until the daemon is killed

    def step(self) -> None:
        """A moment at which the daemon may be killed."""
        if self.steps_left <= 0:
            raise Killed
        self.steps_left -= 1

    def settle(self) -> None:
        """Let what outlived its daemon come to its end, if it is time."""
        for each in sorted(self.outliving, key=lambda each: each.until):
            if each.until > self.clock.now():
                return
            self.outliving.remove(each)
            if each.leaves == "success":
                self.made.setdefault(each.name, []).append(Made(each.run.slot, each.run.started_at))
                self.results[each.run.id] = Ended(0, interrupted=False, ended_at=each.until)
            elif each.leaves == "stopped":
                self.results[each.run.id] = Ended(-15, interrupted=True, ended_at=each.until)

    def ends_of(self, destination: str) -> list[float]:
        """When those end that have the lock of a destination though their daemon is gone."""
        self.settle()
        return [each.until for each in self.outliving if each.run.destination == destination]


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
    """Runs that take a while, and after the end of their daemon as long as its life says."""

    world: World
    duration_s: float
    life: "Life"

    async def run(self, job: TimedJob, run: Begun) -> Ended:
        world = self.world
        world.step()
        while ends := world.ends_of(run.destination):
            await world.clock.sleep(max(ends) - world.clock.now())
        assert job.destination not in world.busy, "two runs on one destination"
        world.busy.add(job.destination)
        try:
            await world.clock.sleep(self.duration_s)
        except BaseException:
            until = world.clock.now() + self.life.lingers_s
            world.outliving.append(Outliving(job.name, run, until, self.life.leaves))
            raise
        finally:
            world.busy.discard(job.destination)
        world.made.setdefault(job.name, []).append(Made(run.slot, run.started_at))
        world.results[run.id] = Ended(0, interrupted=False, ended_at=world.clock.now())
        world.step()
        return world.results[run.id]

    def how_ended(self, run: Begun) -> Ended | None:
        self.world.settle()
        return self.world.results.get(run.id)

    def is_alive(self, run: Begun) -> bool:
        return self.world.ends_of(run.destination) != []

    def forget(self, keep: Collection[str]) -> None:
        self.world.settle()
        self.world.step()
        for run_id in set(self.world.results) - set(keep):
            del self.world.results[run_id]

    def stop(self) -> None:
        pass


@dataclass(frozen=True)
class Life:
    """How long a daemon lives, in steps and in seconds, and for how long there is none afterwards.

    Its runs go on for a while after it, and leave something.
    """

    steps: float
    seconds: float
    down_s: float
    lingers_s: float = 0.0
    leaves: Leaves = "nothing"


def live(jobs: list[TimedJob], lives: list[Life], *, duration_s: float) -> World:
    """Let a week pass; after those lives, the last one lasts until its end."""
    world = World(FakeClock(START))
    ids = map(str, itertools.count())

    async def one_life(life: Life) -> None:
        world.steps_left = life.steps
        children = Children(world, duration_s, life)
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
    world.settle()
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
    patch.setattr(supervisor_module, "OUTLIVED_LOOK_S", 180.0)
    yield
    patch.undo()


NIGHTLY = timed("nightly", "30 2 * * *", "/data/a", jitter_s=1800.0)
QUARTERLY = timed("quarterly", "10 */6 * * *", "/data/b")
BESIDE = timed("beside", "40 2,14 * * *", "/data/a")

leaves = st.sampled_from(Leaves.__args__)  # type: ignore[attr-defined]
kills = st.builds(
    Life,
    st.integers(0, 30) | st.just(float("inf")),
    st.floats(1.0, 2 * DAY),
    st.just(0.0),
    st.sampled_from((0.0, 5.0, 180.0)),
    leaves,
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


anything = st.builds(
    Life,
    st.integers(0, 30),
    st.floats(1.0, 2 * DAY),
    st.floats(0.0, 2 * DAY),
    st.sampled_from((0.0, 60.0, 7 * HOUR)),
    leaves,
)


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


@pytest.mark.parametrize("leaves", ["nothing", "stopped", "success"])
@pytest.mark.parametrize("down_s", [0.0, 60.0, HOUR])
def test_a_run_that_outlives_its_daemon_is_counted_if_it_succeeds_and_else_made_again(
    leaves: Leaves, down_s: float
) -> None:
    first = QUARTERLY.schedule.next_slot(START)
    killed = Life(float("inf"), first + 60.0 - START, down_s, lingers_s=120.0, leaves=leaves)
    again = Life(float("inf"), 30.0, 0.0)  # killed, too, while it waits
    world = live([QUARTERLY], [killed, again], duration_s=300.0)
    made = world.made["quarterly"]
    assert [each.slot for each in made] == all_slots(QUARTERLY)
    assert (made[0].started_at == first) == (leaves == "success")


def test_what_outlives_its_daemon_keeps_others_from_its_destination_alone() -> None:
    one, other = timed("one", "0 2 * * *", "/data/a"), timed("other", "30 2 * * *", "/data/a")
    third = timed("third", "30 2 * * *", "/data/b")
    first = one.schedule.next_slot(START)
    killed = Life(float("inf"), first + 60.0 - START, 0.0, lingers_s=HOUR, leaves="success")
    world = live([one, other, third], [killed], duration_s=60.0)
    assert len(world.made["one"]) == 7
    assert world.made["other"][0].started_at == pytest.approx(first + 60.0 + HOUR)
    assert world.made["third"][0].started_at == first + HOUR / 2


def test_a_daemon_that_is_stopped_does_not_wait_for_what_outlived_another() -> None:
    world = World(FakeClock(START))
    run = Begun("run", START - HOUR, START - HOUR, "/data/b")
    world.saved = {"quarterly": JobState(START - DAY, START - 7 * HOUR, run)}
    world.outliving.append(Outliving("quarterly", run, START + HOUR, "success"))
    children = Children(world, 60.0, Life(float("inf"), float("inf"), 0.0))
    daemon = Supervisor([QUARTERLY], store=Disk(world), runner=children, clock=world.clock)

    async def serve() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(daemon.serve)
            await world.clock.sleep(600.0)
            daemon.stop()

    anyio.run(serve)
    assert world.clock.now() < START + HOUR
    assert world.saved["quarterly"].run == run


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
