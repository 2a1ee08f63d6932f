"""Telling a failing host from a failing job. Pure state; the caller brings the time.

Three rules:

1. **First contact.** While the host has not answered anything in this run, every failure is the host's. All wait,
   one tries, with growing pauses. It is down after 4 such rounds, or once 15 s have gone by without a connection, so
   that a wrong URL is reported within half a minute; where it takes a connection and then keeps silent, with the
   second round, since each lasts as long as silence may.
2. **A lost host.** It has answered before, and now no connection comes about: the network, or a restart. All wait,
   one probes, with pauses up to 30 s; it is down after 5 minutes. Such failures say nothing about the job and do not
   use up its attempts, so no job fails because the line was gone for a minute.
3. **A sick host.** It answers or connects, and still fails (5xx, cut, silence). That may be the job: some resources
   are a 500 for ever. Such failures use up the job's attempts. When 3 different jobs have failed and none succeeded
   in between, one at a time goes on, with pauses up to 8 s, so that an outage cannot run through the cohort and mark
   it failed. The host is down when 8 different jobs have failed over 5 minutes. Fewer jobs than that end by their
   own attempts and fail as jobs: a run whose last series is always a 503 ends with that series failed, not with the
   host down.

Any success, and any progress within a series, forgets all of it. Failures of requests that began before the last
counted one are the same round: sixteen connections reset together are one event.
"""

from typing import NamedTuple

FIRST_CONTACT_ROUNDS = 4
FIRST_CONTACT_S = 15.0
PATIENCE_S = 300.0
SICK_JOBS = 3
DOWN_JOBS = 8

_FIRST_PAUSE_S = 0.5
_LOST_PAUSE_S = 30.0
_SICK_PAUSE_S = 8.0


class Reaction(NamedTuple):
    """What a failure leads to."""

    pause_s: float = 0.0  # nobody asks the host for so long; 0.0: go on
    down: bool = False  # give the host up
    counts: bool = True  # it is the job's failure, and uses up one of its attempts


class Breaker:
    """Whether one host can still be asked."""

    def __init__(self) -> None:
        self._answered = False
        self._began_at: float | None = None  # of the first failure since the last success
        self._counted_at = float("-inf")
        self._rounds = 0  # since it opened
        self._lost = False
        self._jobs: set[str] = set()

    @property
    def is_open(self) -> bool:
        """Only one request at a time may try."""
        return self._rounds > 0

    def answered(self) -> None:
        """An HTTP response came, whatever its status: the host is there."""
        self._answered = True
        if self._lost:
            self._forget()

    def succeeded(self) -> None:
        """A request did what it should, or its error was not the host's."""
        self._answered = True
        if self._began_at is not None:
            self._forget()

    def failed(self, *, job: str, connected: bool, began_at: float, now: float) -> Reaction:
        """A request failed.

        Args:
            job: whose request it was; only told apart from others.
            connected: a connection had come about.
            began_at: when the request began, on the clock of `now`.
            now: monotonic seconds.
        """
        if self._began_at is None:
            self._began_at = began_at
        lasted_s = now - self._began_at
        same_round = began_at < self._counted_at
        if not connected or not self._answered:
            too_long = lasted_s >= FIRST_CONTACT_S and (not connected or self._rounds > 0)
            return self._failed_host(same_round=same_round, too_long=too_long, now=now)
        if len(self._jobs) < DOWN_JOBS:
            self._jobs.add(job)
        if same_round or len(self._jobs) < SICK_JOBS:
            return Reaction()
        down = len(self._jobs) >= DOWN_JOBS and lasted_s >= PATIENCE_S
        return Reaction(pause_s=self._pause(now, _SICK_PAUSE_S), down=down)

    def _failed_host(self, *, same_round: bool, too_long: bool, now: float) -> Reaction:
        if same_round:
            return Reaction(counts=False)
        self._lost = True
        pause_s = self._pause(now, _LOST_PAUSE_S)
        if self._answered:
            down = self._began_at is not None and now - self._began_at >= PATIENCE_S
        else:
            down = too_long or self._rounds >= FIRST_CONTACT_ROUNDS
        return Reaction(pause_s=pause_s, down=down, counts=False)

    def _pause(self, now: float, longest_s: float) -> float:
        pause_s: float = min(longest_s, _FIRST_PAUSE_S * 2.0**self._rounds)
        self._rounds += 1
        self._counted_at = now
        return pause_s

    def _forget(self) -> None:
        self._began_at = None
        self._rounds = 0
        self._lost = False
        self._jobs.clear()
