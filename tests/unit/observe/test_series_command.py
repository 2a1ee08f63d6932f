"""The words of a command for a series, what it is told, and the spool in which series wait."""

import sys
from pathlib import Path

import pytest

from dicomhaul.errors import ConfigError
from dicomhaul.events import Event, Noticed, Planned, SeriesLanded
from dicomhaul.observe.series_command import CommandLine, Landed, SeriesCommands, environ_of
from dicomhaul.observe.spool import Spool

LANDED = Landed("1.2", "1.2.3", "p {series}/x", 7)
DEST = Path("/data")


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("sh -c 'ls {folder}'", ["sh", "-c", "ls /data/p {series}/x"]),
        ("sh {study}-{series}.{series}", ["sh", "1.2-1.2.3.1.2.3"]),
        ("sh {folder}", ["sh", "/data/p {series}/x"]),  # what was put in is not looked at again, and is one word
        ("sh {other} {} }{ {series", ["sh", "{other}", "{}", "}{", "{series"]),
        ("sh", ["sh"]),
    ],
)
def test_placeholders_are_replaced_once_and_nothing_else_is(command: str, expected: list[str]) -> None:
    assert CommandLine.parse(command, "/bin").of(DEST, LANDED) == expected


@pytest.mark.parametrize("command", ["", "  ", "sh 'x", "no-such-program {folder}", "/etc/passwd", "{folder}"])
def test_what_cannot_be_run_is_refused(command: str) -> None:
    with pytest.raises(ConfigError, match="the command for each series"):
        CommandLine.parse(command, "/bin")


def test_a_command_is_told_of_its_series_and_of_no_secret() -> None:
    ours = {"PATH": "/bin", "DICOMHAUL_TOKEN": "x", "DICOMHAUL_PASSWORD": "x", "DICOMHAUL_USER": "x"}
    assert environ_of(ours, DEST, LANDED) == {
        "PATH": "/bin",
        "DICOMHAUL_STUDY": "1.2",
        "DICOMHAUL_SERIES": "1.2.3",
        "DICOMHAUL_FOLDER": "/data/p {series}/x",
        "DICOMHAUL_DEST": "/data",
        "DICOMHAUL_INSTANCES": "7",
    }


@pytest.mark.parametrize("in_memory", [1, 2, 3, 100])
def test_what_waits_comes_out_in_order_however_little_fits_in_memory(in_memory: int) -> None:
    spool, out = Spool(in_memory), []
    for number in range(20):
        spool.put((number, "ü\n"))
        if number % 3 == 0:
            out.append(spool.take())
    assert len(spool) == 20 - len(out)
    while len(spool):
        out.append(spool.take())
    spool.put((20, "after"))
    out.append(spool.take())
    spool.close()
    assert out == [*((number, "ü\n") for number in range(20)), (20, "after")]
    with pytest.raises(IndexError):
        spool.take()


@pytest.mark.anyio
async def test_a_flood_of_series_is_taken_at_once_and_none_is_lost(tmp_path: Path) -> None:
    told: list[Event] = []
    line = CommandLine((sys.executable, "-S", "-E", "-c", "import os; open(os.environ['OUT'] + '/{series}', 'w')"))
    environ = {"OUT": str(tmp_path)}
    async with SeriesCommands(line, DEST, at_once=3, environ=environ, tell=told.append) as commands:
        commands.hear(Planned(9, None, None))
        for number in range(9):
            commands.hear(SeriesLanded("1", f"1.{number}", "f", 1, "count"))
        assert commands.counts.done == 0  # nobody waited
    assert {path.name for path in tmp_path.iterdir()} == {f"1.{number}" for number in range(9)}  # noqa: ASYNC240 - it is over
    assert (commands.counts.as_json(), told) == ({"done": 9, "failed": 0, "left": 0}, [])


@pytest.mark.anyio
async def test_a_run_that_fails_still_lets_what_has_landed_be_done(tmp_path: Path) -> None:
    told: list[Event] = []
    commands = SeriesCommands(
        CommandLine.parse("false", "/bin:/usr/bin"),
        DEST,
        at_once=1,
        environ={"PATH": "/bin:/usr/bin"},
        tell=told.append,
    )

    async def run() -> None:
        async with commands:
            commands.hear(SeriesLanded("1", "1.1", "f", 1, "count"))
            raise ConfigError("the run")

    with pytest.raises(ConfigError):
        await run()
    assert commands.counts.as_json() == {"done": 0, "failed": 1, "left": 0}
    assert told == [Noticed("the command for series 1.1 failed: exit code 1")]
