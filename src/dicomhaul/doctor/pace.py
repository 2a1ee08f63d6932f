"""How fast, and how many at once: latency, an idle connection, and the number at which more at once stops paying.

The ramp stops at the first sign that the server is asked too much: a throttle, a 5xx, a broken connection.
"""

import statistics
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

import anyio

from dicomhaul.doctor.ask import Answer, Asker
from dicomhaul.doctor.budget import BudgetSpentError
from dicomhaul.doctor.finding import Finding, ok, unknown, warn
from dicomhaul.errors import HaulError
from dicomhaul.ports import Clock
from dicomhaul.profile import Limits, Status

STEPS: Final = (1, 2, 4, 8, 16)
IDLE_S: Final = 1.5
_LATENCY_TIMES: Final = 5
_GAIN: Final = 1.1  # of throughput, for which it is worth having more at once
_FEWEST: Final = 8  # requests of a step, so that one slow answer does not rule it
_TELLING_S: Final = 0.1  # a step that is quicker says nothing that matters
_LEAST: Final = 4  # at once, whatever was measured: small answers say little of large ones

Call = Callable[[], Awaitable[Answer]]


@dataclass(frozen=True, slots=True)
class Step:
    """So many at once gave so many answers a second."""

    at_once: int
    per_s: float
    took_s: float


@dataclass(slots=True)
class Paced:
    """What was seen, as far as it was measured.

    Attributes:
        first_byte_s: the median, over a connection that was open.
        steps: of the ramp, upwards.
        stopped: why the ramp ended early; '' where it did not.
        stopped_at: how many at once that was.
        survives: an idle connection could be used again; None: not known.
        keep_alive: what the server says of it (`Keep-Alive`), in seconds.
        closes: the server closes every connection.
    """

    first_byte_s: float | None = None
    steps: list[Step] = field(default_factory=list)
    stopped: str = ""
    stopped_at: int = 0
    survives: bool | None = None
    keep_alive_s: int | None = None
    closes: bool = False


async def measure_latency(call: Call, seen: Paced) -> None:
    """Ask a few times, one after the other."""
    times = [(await call()).first_byte_s for _ in range(_LATENCY_TIMES)]
    seen.first_byte_s = statistics.median(times[1:])  # the first may have connected


async def climb(
    call: Call, seen: Paced, *, status: Status, clock: Clock, steps: Sequence[int] = STEPS, most: Callable[[], int]
) -> None:
    """Ask for the same thing by more and more at once. `most` says how many requests may still be spent on it."""
    idle_steps = 0
    for at_once in steps:
        count = max(_FEWEST, 2 * at_once)
        if count > most():
            seen.stopped = f"no more than {seen.steps[-1].at_once if seen.steps else 0} at once could be tried here"
            return
        began = clock.monotonic()
        problem = await _step(call, at_once, count, status)
        took_s = max(clock.monotonic() - began, 1e-6)
        if problem:
            seen.stopped, seen.stopped_at = problem, at_once
            return
        best = max((step.per_s for step in seen.steps), default=0.0)
        seen.steps.append(Step(at_once, count / took_s, took_s))
        idle_steps = 0 if count / took_s > best * _GAIN else idle_steps + 1
        if idle_steps == 2:
            return


async def _step(call: Call, at_once: int, count: int, status: Status) -> str:
    """Send `count` requests, `at_once` at a time; return why the ramp should stop, or ''."""
    left = count
    problems: list[str] = []

    async def worker() -> None:
        nonlocal left
        while left > 0 and not problems:
            left -= 1
            try:
                answer = await call()
            except BudgetSpentError:
                problems.append("the requests that may be sent were used up")
            except HaulError as error:
                problems.append(str(error))
            else:
                if answer.status in {*status.throttle, 429} or answer.status >= 500:
                    problems.append(f"it answers {answer.status}")
                elif answer.broken:
                    problems.append(answer.broken)

    async with anyio.create_task_group() as group:
        for _ in range(at_once):
            group.start_soon(worker)
    return problems[0] if problems else ""


async def wait_idle(asker: Asker, path: str, seen: Paced, clock: Clock) -> None:
    """See whether a connection that nobody used for a while can be used again. `asker` is used by nobody else."""
    first = await asker.get(path, params=[("limit", "1")])
    seen.keep_alive_s = keep_alive_of(first.headers.get("Keep-Alive"))
    if "close" in first.headers.get("Connection", "").lower():
        seen.closes = True
        return
    await clock.sleep(IDLE_S)
    seen.survives = (await asker.get(path, params=[("limit", "1")])).reused


def keep_alive_of(header: str | None) -> int | None:
    """Return the seconds that a `Keep-Alive: timeout=N` header names; None without one."""
    for word in (header or "")[:200].split(","):
        name, _, value = word.strip().partition("=")
        if name.lower() == "timeout" and value.isascii() and value.isdigit() and len(value) <= 6:
            return int(value)
    return None


def knee(steps: Sequence[Step], gain: float = _GAIN) -> int | None:
    """Return the number at once from which on more brings less than `gain` in all; None without any step.

    The smallest whose throughput is within `gain` of the best that was seen.
    """
    best = max((step.per_s for step in steps), default=0.0)
    return next((step.at_once for step in steps if step.per_s * gain >= best), None)


def at_once_for(seen: Paced, limits: Limits) -> tuple[int, int] | None:
    """Return how many at once a profile should begin with, and allow; None: what it says is not contradicted.

    Never more than the profile allows already: that is a matter of manners, too. Nothing follows where the last step
    still paid, nor from answers that come so quickly that their number a second is chance.
    """
    if seen.stopped_at:
        most = max(1, min(limits.concurrency_max, max((step.at_once for step in seen.steps), default=1)))
        return min(limits.concurrency_start, most), most
    at = knee(seen.steps)
    if at is None or at >= min(seen.steps[-1].at_once, limits.concurrency_max) or not _tells(seen.steps, at):
        return None
    most = min(limits.concurrency_max, max(2 * at, _LEAST))
    return min(limits.concurrency_start, most), most


def _tells(steps: Sequence[Step], at: int) -> bool:
    """The step with `at` at once took long enough for its answers a second to be no chance."""
    return all(step.took_s >= _TELLING_S for step in steps if step.at_once == at)


def judge_pace(seen: Paced, limits: Limits) -> list[Finding]:
    """Say what a download will meet."""
    return [judge_latency(seen), _judge_at_once(seen), _judge_idle(seen, limits)]


def judge_latency(seen: Paced) -> Finding:
    """Say how long it takes to be answered."""
    if seen.first_byte_s is None:
        return unknown("latency", "not measured")
    said = f"{seen.first_byte_s * 1000:.1f} ms from a request to the first byte of its answer (median)"
    if seen.first_byte_s > 1.0:
        return warn("latency", said, "whole series in one answer help; single instances will be slow")
    return ok("latency", said)


def _judge_at_once(seen: Paced) -> Finding:
    rates = ", ".join(f"{step.at_once}: {step.per_s:.0f}" for step in seen.steps)
    if seen.stopped_at:
        todo = f"keep to {max((step.at_once for step in seen.steps), default=1)} at once, as the proposed profile does"
        return warn(
            "at once", f"at {seen.stopped_at} at once: {seen.stopped} (answers a second: {rates or 'none'})", todo
        )
    at = knee(seen.steps)
    if at is None:
        return unknown("at once", seen.stopped or "not measured")
    by_number = f"(answers a second by how many at once: {rates})"
    more = f"; {seen.stopped}" if seen.stopped else ""
    if not _tells(seen.steps, at):
        quick = "answers come too quickly, and too few were asked for, to tell how many at once pay"
        return unknown("at once", f"{quick} {by_number}{more}")
    if at == seen.steps[-1].at_once:
        return ok("at once", f"up to {at} at once still pays; more was not tried {by_number}{more}")
    return ok("at once", f"more than {at} at once stops paying {by_number}{more}")


def _judge_idle(seen: Paced, limits: Limits) -> Finding:
    if seen.closes:
        return warn("idle connections", "it closes the connection after each answer", "each request costs a connection")
    if seen.survives is None:
        return unknown("idle connections", "not measured")
    says = f"; it says that it keeps one for {seen.keep_alive_s} s" if seen.keep_alive_s is not None else ""
    if seen.survives:
        return ok("idle connections", f"a connection that is idle for {IDLE_S} s can be used again{says}")
    said = f"a connection that is idle for {IDLE_S} s is closed{says}"
    if limits.keepalive_s < IDLE_S:
        return ok("idle connections", f"{said}, as the profile knows")
    return warn("idle connections", said, "the proposed profile opens a new one in time")


def keepalive_for(seen: Paced, limits: Limits) -> float | None:
    """Return how long a profile should use an idle connection; None: what it says is not contradicted."""
    if seen.closes:
        return None
    if seen.survives is False and limits.keepalive_s >= IDLE_S:
        return 0.5
    if seen.keep_alive_s is not None and seen.keep_alive_s > 0 and limits.keepalive_s >= seen.keep_alive_s:
        return max(0.5, seen.keep_alive_s / 2)
    return None
