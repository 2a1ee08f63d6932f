"""Runs an async command: signals become a clean stop, errors become JSON where that was asked for."""

import os
import signal
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

import anyio

from dicomhaul.cli.output import emit_json
from dicomhaul.errors import HaulError

T = TypeVar("T")


@dataclass(slots=True)
class Stop:
    """Whether a signal came, and what it does when it comes."""

    signal_number: int | None = None
    call: Callable[[], None] = field(default=lambda: None)

    @property
    def exit_code(self) -> int | None:
        """128 plus the signal; None if there was none."""
        return None if self.signal_number is None else 128 + self.signal_number


def run_async(body: Callable[[Stop], Awaitable[T]], *, as_json: bool) -> T:
    """Run `body` in an event loop. SIGINT or SIGTERM calls `stop.call`; a second one ends the process at once."""

    async def main() -> T:
        stop = Stop()
        async with anyio.create_task_group() as group:
            group.start_soon(_listen, stop)
            result: list[T] = []
            failed: list[HaulError] = []
            try:
                result.append(await body(stop))
            except HaulError as error:  # as it is, not in the task group's ExceptionGroup
                failed.append(error)
            group.cancel_scope.cancel()
        if failed:
            raise failed[0]
        return result[0]

    try:
        return anyio.run(main)
    except HaulError as error:
        if as_json:
            emit_json(_failed(error))
        raise


async def _listen(stop: Stop) -> None:
    with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        async for number in signals:
            if stop.signal_number is not None:
                os._exit(128 + number)
            stop.signal_number = int(number)
            stop.call()


def _failed(error: HaulError) -> dict[str, Any]:
    report = error.report
    table: dict[str, Any] = report.as_json() if report is not None else {}
    return {**table, "state": "failed", "reason": str(error), "error": type(error).__name__}
