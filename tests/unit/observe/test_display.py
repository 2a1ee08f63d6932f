"""What a run shows: on a terminal, in a file, and not at all."""

import io
import subprocess
import sys

import pytest
from rich.console import Console

from dicomhaul import events
from dicomhaul.events import Tally
from dicomhaul.observe import Silence, choose_display
from dicomhaul.observe.display import Display
from dicomhaul.observe.lines import Lines
from dicomhaul.observe.progress import Moving

PLANNED = events.Planned(series=4, instances=200, size_bytes=100_000_000)
FAILED = events.SeriesFailed("1.1", "1.2", 3, "gone\x1b[2J")


class Time:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


def test_the_stream_decides_how() -> None:
    tally, stream = Tally(), io.StringIO()
    assert isinstance(choose_display(tally, stream, quiet=True, terminal=True), Silence)
    assert isinstance(choose_display(tally, stream, quiet=False, terminal=False), Lines)
    assert isinstance(choose_display(tally, stream, quiet=False, terminal=True), Moving)


def test_silence_is_silent(capfd: pytest.CaptureFixture[str]) -> None:
    with Silence() as shown:
        shown.observe(PLANNED)
        shown.observe(FAILED)
    assert capfd.readouterr() == ("", "")


def test_lines_tell_totals_rate_and_time_left() -> None:
    tally, stream, clock = Tally(), io.StringIO(), Time()
    with Lines(tally, stream, clock) as shown:
        shown.observe(PLANNED)
        clock.now_s += 10
        tally.bytes_landed, tally.bytes_received = 25_000_000, 30_000_000
        tally.instances_landed, tally.series_complete, tally.retries = 50, 1, 2
        shown.tick()
        shown.tick()  # nothing new: no line
        shown.observe(events.Retrying("series 1", 1, 1, "503"))
        shown.observe(events.GateClosed("host", 60, "503"))
        shown.observe(FAILED)
        clock.now_s += 5
        tally.bytes_landed, tally.instances_landed, tally.series_complete, tally.series_failed = 10**8, 197, 3, 1
    assert stream.getvalue().splitlines() == [
        "planned: 4 series, 200 instances, 100 MB",
        "25%: 25.0 MB of 100 MB, 50 of 200 instances, 1 of 4 series, 2 tried again, 3.00 MB/s, 30 s left",
        "waiting 1 min 00 s for host: 503",
        "failed: series 1.2, 3 instances missing: gone [2J",
        "100 MB of 100 MB, 197 of 200 instances, 3 of 4 series, 1 failed, 2 tried again, in 15 s",
    ]


def test_lines_do_without_a_plan_and_without_sizes() -> None:
    tally, stream = Tally(series_found=5, series_complete=1), io.StringIO()
    with Lines(tally, stream, Time()) as shown:
        shown.tick()
        shown.observe(events.Planned(2, None, None))
        tally.instances_landed = 6
        shown.tick()
    assert stream.getvalue().splitlines() == [
        "planning: 5 series found",
        "planned: 2 series",
        "50%: 0 B, 6 instances, 1 of 2 series",
        "0 B, 6 instances, 1 of 2 series, in 0 s",
    ]


class Broken(io.StringIO):
    def write(self, _text: str) -> int:
        raise BrokenPipeError


@pytest.mark.parametrize("closed", [True, False])
def test_a_reader_that_has_gone_does_not_stop_the_run(*, closed: bool) -> None:
    stream = io.StringIO() if closed else Broken()
    if closed:
        stream.close()
    with Lines(Tally(), stream, Time()) as shown:
        shown.observe(FAILED)
        shown.tick()


def drawn(shown: Moving, console: Console) -> str:
    with console.capture() as capture:
        console.print(shown.picture())
    return capture.get()


def test_the_picture_shows_totals_rate_time_left_and_waits() -> None:
    tally, clock = Tally(), Time()
    console = Console(file=io.StringIO(), width=120, force_terminal=False, legacy_windows=False)
    shown = Moving(tally, io.StringIO(), clock, console)
    assert "planning: 0 series found" in drawn(shown, console)
    shown.observe(PLANNED)
    tally.bytes_landed = tally.bytes_received = 50_000_000
    tally.instances_landed, tally.series_complete, tally.throttled = 100, 2, 1
    clock.now_s += 10
    shown.observe(events.GateClosed("pacs:8042", 30, "the server answers\x1b[2J 503"))
    picture = drawn(shown, console)
    for part in (
        " 50%",
        "5.00 MB/s",
        "10 s left",
        "50.0 MB of 100 MB · 100 of 200 instances · 2 of 4 series · 1 throttled",
        "waiting 30 s for pacs:8042: the server answers [2J 503",
    ):
        assert part in picture
    assert "\x1b" not in picture
    clock.now_s += 31
    assert "waiting" not in drawn(shown, console)


def test_a_terminal_keeps_failures_above_the_picture_and_markup_is_text() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=200, force_terminal=True, color_system=None, legacy_windows=False)
    with Moving(Tally(), stream, Time(), console) as shown:
        shown.observe(PLANNED)
        shown.observe(events.SeriesFailed("1.1", "1.2", 3, "[red]no[/red] markup"))
        shown.observe(events.SeriesLanded("1.1", "1.3", "f", 1, "count"))
    text = stream.getvalue()
    assert "failed: series 1.2, 3 instances missing: [red]no[/red] markup" in text
    assert "1.3" not in text
    assert text.endswith("\n\x1b[?25h")  # the last picture stays, and the cursor is shown again


def test_a_crash_leaves_the_terminal_as_it_was() -> None:
    stream = io.StringIO()
    console = Console(file=stream, width=80, force_terminal=True, legacy_windows=False)
    with pytest.raises(RuntimeError), Moving(Tally(), stream, Time(), console):
        raise RuntimeError
    assert stream.getvalue().rstrip().endswith("\x1b[?25h")  # the cursor is shown again


def test_all_displays_are_displays() -> None:
    shown: list[Display] = [Silence(), Lines(Tally(), io.StringIO()), Moving(Tally(), io.StringIO())]
    assert len(shown) == 3


def test_rich_is_loaded_for_a_terminal_only() -> None:
    code = (
        "import io, sys, dicomhaul.observe.logs; from dicomhaul.observe import choose_display;"
        "from dicomhaul.events import Tally; choose_display(Tally(), io.StringIO(), quiet=False, terminal=False);"
        "sys.exit('rich' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_run_that_never_had_a_plan_ends_without_totals() -> None:
    stream = io.StringIO()
    with Lines(Tally(), stream, Time()):
        pass
    assert stream.getvalue() == ""
