"""What a person sees while a run goes on."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dicomhaul.events import Event, Tally


class Watching:
    """Placeholder."""

    def __init__(
        self,
        *,
        quiet: bool,
        verbose: int = 0,
        bars: bool = False,
        log_file: Path | None = None,
        level: str | None = None,
        log_format: str = "text",
    ) -> None:
        pass

    def hear(self, event: Event) -> None:
        import sys

        print(event, file=sys.stderr)

    @contextmanager
    def over(self, tally: Tally) -> Iterator[None]:
        yield
