"""What shows a run to somebody: one protocol, and the choice between its forms.

A display listens to events, reads the tally whenever it likes, and owns the stream it was given (stderr). It has a
thread of its own, so that it goes on while the event loop is busy, and so that a run without a loop can have one.
"""

from types import TracebackType
from typing import Protocol, Self, TextIO

from dicomhaul.events import Event, Tally


class Display(Protocol):
    """Shows a run from `__enter__` to `__exit__`; `observe` may be called from any thread."""

    def __enter__(self) -> Self:
        """Begin to show."""
        ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Show the last totals and be done."""
        ...

    def observe(self, event: Event) -> None:
        """Take notice of an event."""
        ...


class Silence:
    """Shows nothing: for `-q`."""

    def __enter__(self) -> Self:
        """Do nothing."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Do nothing."""

    def observe(self, event: Event) -> None:
        """Do nothing."""


def choose_display(tally: Tally, stream: TextIO, *, quiet: bool, terminal: bool) -> Display:
    """Return the display that fits: nothing if `quiet`, moving if `stream` is a `terminal`, else plain lines."""
    if quiet:
        return Silence()
    if terminal:
        from dicomhaul.observe.progress import Moving  # noqa: PLC0415 - rich takes 0.1 s, only a terminal needs it

        return Moving(tally, stream)
    from dicomhaul.observe.lines import Lines  # noqa: PLC0415 - the same way as the other

    return Lines(tally, stream)
