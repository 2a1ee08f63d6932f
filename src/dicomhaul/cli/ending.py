"""How a command that hauls comes to its end: run, report, exit code."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, NoReturn

import typer

from dicomhaul.cli.harness import Stop, run_async
from dicomhaul.cli.output import EXIT_CODES, emit_json, print_report, say
from dicomhaul.cli.watch import Watching

if TYPE_CHECKING:
    from dicomhaul.hauler import Hauler
    from dicomhaul.observe.series_command import Counts
    from dicomhaul.report import Report


def finish(hauler: "Hauler", watching: Watching, call: "Callable[[], Awaitable[Report]]", *, as_json: bool) -> None:
    """Run a haul, print its report, and exit with its code."""
    commands = watching.commands

    async def body(stop: Stop) -> "tuple[Report, int | None]":
        async with AsyncExitStack() as stack:
            stop.call = hauler.stop
            await stack.enter_async_context(hauler)
            stack.enter_context(watching.over(hauler.tally))
            if commands is not None:
                await stack.enter_async_context(commands)
                stop.at_once = commands.kill

                def end() -> None:
                    hauler.stop()
                    commands.stop()

                stop.call = end
            if watching.metrics is not None:
                await stack.enter_async_context(watching.metrics.of(hauler))
            report = await call()
            watching.ended(report)
        return report, stop.exit_code

    report, signalled = run_async(body)
    leave(report, signalled, commands=None if commands is None else commands.counts, as_json=as_json)


def leave(
    report: "Report",
    signalled: int | None,
    *,
    as_json: bool,
    commands: "Counts | None" = None,
    more: Mapping[str, Any] | None = None,
) -> NoReturn:
    """Print the report of a run, and of the commands for its series, and exit with its code.

    Args:
        report: what became of the run.
        signalled: the exit code of the signal that stopped it.
        as_json: print an object.
        commands: what became of the commands.
        more: what else stands in the object.
    """
    if as_json:
        ran = {} if commands is None else {"on_series": commands.as_json()}
        emit_json({**report.as_json(), **ran, **(more or {})})
    else:
        print_report(report)
        if commands is not None:
            say(
                f"  command for each series: {commands.done:,} done, {commands.failed:,} failed, "
                f"{commands.left:,} not begun"
            )
    stopped = report.state == "interrupted" or (commands is not None and commands.left > 0)
    raise typer.Exit(signalled if stopped and signalled is not None else EXIT_CODES.get(report.state, 1))
