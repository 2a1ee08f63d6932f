"""Trying one call again: the only place that knows tenacity.

A RetryableError is worth `attempts` tries; a DamagedError, which comes of the data more often than of the line, at
most three. Both wait in between, exponentially and with jitter. Two waits are not made here but at the gate, where
they hold for everyone: after a Throttled (which has more tries, because it is answered by patience), and after a
failure of the host rather than of the job (which uses up no try). Any other error ends it at once.
"""

import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import tenacity

from dicomhaul.errors import DamagedError, HaulError, RetryableError, ServerFailed, Throttled

T = TypeVar("T")

BACKOFF_S = 0.5
BACKOFF_MAX_S = 30.0
DAMAGED_TRIES = 3
THROTTLED_TRIES = 4  # times the attempts


@dataclass(slots=True)
class Failures:
    """How one call has failed so far. Whoever makes the call notes each failure here before it is raised on."""

    counted: int = 0  # attempts used up
    damaged: int = 0
    throttled: int = 0
    uncounted: bool = False  # the latest was the host's failure
    progressed: bool = False  # the latest came after something had landed


class Retry:
    """Repeats a call while that may help.

    Args:
        attempts: tries that one call has.
        sleep: lets seconds pass.
        uniform: a random number between two; jitter.
    """

    def __init__(
        self,
        attempts: int,
        *,
        sleep: Callable[[float], Awaitable[None]],
        uniform: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._attempts = attempts
        self._sleep = sleep
        self._uniform = uniform

    async def run(
        self,
        call: Callable[[int], Awaitable[T]],
        failures: Failures,
        *,
        on_retry: Callable[[int, float, BaseException], None],
    ) -> T:
        """Return what `call(attempt)` returns, or raise its last error.

        Args:
            call: gets the number of the attempt, from 1, and notes its failures in `failures`.
            failures: starts empty.
            on_retry: told before each wait: the attempt that failed, the seconds to wait here, the error.
        """
        try:
            return await call(1)
        except (RetryableError, DamagedError) as error:
            first = error
        return await self._again(call, failures, on_retry, first)

    async def _again(
        self,
        call: Callable[[int], Awaitable[T]],
        failures: Failures,
        on_retry: Callable[[int, float, BaseException], None],
        first: HaulError,
    ) -> T:
        """Go on after the first attempt failed. What succeeds at once, as nearly everything does, never comes here:
        tenacity would cost more than all the rest of asking for an object of 9 KB.
        """

        def worth_it(state: tenacity.RetryCallState) -> bool:
            error = _error_of(state)
            return isinstance(error, (RetryableError, DamagedError)) and not failures.progressed

        def used_up(_state: tenacity.RetryCallState) -> bool:
            return (
                failures.counted >= self._attempts
                or failures.damaged >= DAMAGED_TRIES
                or failures.throttled >= self._attempts * THROTTLED_TRIES
            )

        def wait_s(state: tenacity.RetryCallState) -> float:
            return self._wait_s(_error_of(state), failures)

        def tell(state: tenacity.RetryCallState) -> None:
            error = _error_of(state)
            if error is not None:
                on_retry(state.attempt_number, state.upcoming_sleep, error)

        async def attempt() -> T:
            number = retrying.statistics["attempt_number"]
            if number == 1:
                raise first
            return await call(number)

        retrying = tenacity.AsyncRetrying(
            retry=worth_it, stop=used_up, wait=wait_s, before_sleep=tell, sleep=self._sleep, reraise=True
        )
        return await retrying(attempt)

    def _wait_s(self, error: BaseException | None, failures: Failures) -> float:
        at_the_gate = failures.uncounted or isinstance(error, Throttled)
        if at_the_gate or (isinstance(error, ServerFailed) and error.retry_after_s is not None):
            return 0.0
        longest_s: float = min(BACKOFF_MAX_S, BACKOFF_S * 2.0 ** (max(failures.counted, 1) - 1))
        return self._uniform(longest_s / 2.0, longest_s)


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return None if state.outcome is None else state.outcome.exception()
