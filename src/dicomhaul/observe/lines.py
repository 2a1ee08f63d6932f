"""Plain lines, for a stream that is no terminal: one every ten seconds, one at the end, one for what goes wrong."""

import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TextIO

from dicomhaul.events import Event, GateClosed, Planned, Tally
from dicomhaul.observe.figures import Speed, duration, size
from dicomhaul.observe.wording import is_worth_a_line, sentence, share, totals

_EVERY_S: Final = 10.0


class Lines:
    """Implements `display.Display` without control codes.

    Args:
        tally: the run's totals.
        stream: where lines go; when it breaks, the run goes on and nothing is shown any more.
        monotonic: seconds that never run backwards.
    """

    def __init__(self, tally: Tally, stream: TextIO, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._tally = tally
        self._stream: TextIO | None = stream
        self._monotonic = monotonic
        self._planned: Planned | None = None
        self._received = Speed()
        self._landed = Speed()
        self._began_s = 0.0
        self._last = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="progress-lines", daemon=True)

    def __enter__(self) -> Self:
        """Begin to show."""
        self._began_s = self._monotonic()
        self._sample()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the last totals and be done."""
        self._stop.set()
        self._thread.join()
        if self._planned is not None:  # else nothing came about, and the error says why
            parts = totals(self._tally, self._planned)
            self._print(f"{', '.join(parts)}, in {duration(self._monotonic() - self._began_s)}")

    def observe(self, event: Event) -> None:
        """Print what somebody should read at once."""
        if isinstance(event, Planned):
            self._planned = event
        if isinstance(event, Planned | GateClosed) or is_worth_a_line(event):
            self._print(sentence(event))

    def tick(self) -> None:
        """Print one line of totals, unless nothing has changed since the last."""
        self._sample()
        parts = totals(self._tally, self._planned)
        text = ", ".join(parts)
        if text == self._last:
            return
        self._last = text
        done = share(self._tally, self._planned)
        rate = self._received.per_s
        left_s = self._landed.left_s(self._planned.size_bytes if self._planned else None)
        head = "" if done is None else f"{done:.0%}: "
        tail = "" if rate is None else f", {size(rate)}/s"
        tail += "" if left_s is None else f", {duration(left_s)} left"
        self._print(f"{head}{text}{tail}")

    def _sample(self) -> None:
        now_s = self._monotonic()
        self._received.add(now_s, self._tally.bytes_received)
        self._landed.add(now_s, self._tally.bytes_landed)

    def _run(self) -> None:
        while not self._stop.wait(_EVERY_S):
            self.tick()

    def _print(self, text: str) -> None:
        with self._lock:
            if self._stream is None:
                return
            try:
                self._stream.write(f"{text}\n")
                self._stream.flush()
            except (OSError, ValueError):  # a pipe that nobody reads any more; ValueError: closed
                self._stream = None
