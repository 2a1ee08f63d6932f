"""Progress on a terminal: totals that move, and above them a line for what goes wrong.

The only place of this room that knows rich.
"""

import time
from collections.abc import Callable
from types import TracebackType
from typing import Final, Self, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from dicomhaul.events import Event, GateClosed, Planned, Tally
from dicomhaul.observe.figures import Speed, duration, size
from dicomhaul.observe.wording import is_worth_a_line, printable, sentence, share, totals

_PER_S: Final = 5


class Moving:
    """Implements `display.Display` on a terminal; rich's thread asks for a new picture five times a second.

    Args:
        tally: the run's totals.
        stream: the terminal.
        monotonic: seconds that never run backwards.
        console: draws; made for `stream` unless given.
    """

    def __init__(
        self,
        tally: Tally,
        stream: TextIO,
        monotonic: Callable[[], float] = time.monotonic,
        console: Console | None = None,
    ) -> None:
        self._tally = tally
        self._monotonic = monotonic
        self._console = console or Console(file=stream, highlight=False, force_terminal=True)
        self._planned: Planned | None = None
        self._received = Speed()
        self._landed = Speed()
        self._began_s = monotonic()
        self._closed: tuple[float, GateClosed] | None = None  # until when, and why
        self._live = Live(
            console=self._console,
            get_renderable=self.picture,
            refresh_per_second=_PER_S,
            redirect_stdout=False,  # the one JSON object of --json goes there untouched
            redirect_stderr=False,
        )

    def __enter__(self) -> Self:
        """Begin to show."""
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Draw the last picture and leave it there."""
        self._live.stop()

    def observe(self, event: Event) -> None:
        """Print above the picture what somebody should read; remember what the picture shows."""
        if isinstance(event, Planned):
            self._planned = event
        elif isinstance(event, GateClosed):
            self._closed = (self._monotonic() + event.wait_s, event)
        elif is_worth_a_line(event):
            self._console.print(Text(sentence(event)), soft_wrap=True)

    def picture(self) -> Group:
        """Draw the totals as they are now."""
        now_s = self._monotonic()
        self._received.add(now_s, self._tally.bytes_received)
        self._landed.add(now_s, self._tally.bytes_landed)
        done = share(self._tally, self._planned)
        rate = self._received.per_s
        left_s = self._landed.left_s(self._planned.size_bytes if self._planned else None)
        head = Table.grid(padding=(0, 2))
        head.add_row(
            ProgressBar(total=1.0, completed=done or 0.0, width=30, pulse=done is None, animation_time=now_s),
            Text("" if done is None else f"{done:4.0%}"),
            Text("" if rate is None else f"{size(rate)}/s"),
            Text(duration(now_s - self._began_s)),
            Text("" if left_s is None else f"{duration(left_s)} left"),
        )
        lines: list[Table | Text] = [head, Text(" · ".join(totals(self._tally, self._planned)))]
        if self._closed is not None and now_s < self._closed[0]:
            until_s, closed = self._closed
            waiting = f"waiting {duration(until_s - now_s)} for {closed.host}: {closed.reason}"
            lines.append(Text(printable(waiting), overflow="ellipsis", no_wrap=True))
        return Group(*lines)
