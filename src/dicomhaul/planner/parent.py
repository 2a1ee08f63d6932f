"""The parent's side of planning: start the child, relay what it says."""

import re
import subprocess
import sys
from collections.abc import Callable, Iterable

import anyio
from anyio.abc import Process
from anyio.streams.text import TextReceiveStream

from dicomhaul.errors import CohortError
from dicomhaul.plan.estimate import Summary
from dicomhaul.planner.request import REPLY_JSON, REQUEST_JSON, PlanRequest, Progress, Reply
from dicomhaul.record.preview import Preview


async def foresee(request: PlanRequest) -> Preview:
    """Say what a sync would do, as `request.foreseeing` asks. Raises SyncRefused, and as `plan`."""
    preview = (await _ask(request, lambda _: None)).preview
    assert preview is not None  # noqa: S101 - asked for
    return preview


async def plan(request: PlanRequest, on_progress: Callable[[Progress], None] = lambda _: None) -> Summary:
    """Resolve a cohort in a child process; `on_progress` is told how far it is.

    Raises CohortError, ConfigError, SourceError, TransferError or LedgerError: whatever stopped the child. A cancelled
    call stops the child, and what it had not committed is gone.
    """
    summary = (await _ask(request, on_progress)).summary
    assert summary is not None  # noqa: S101 - seen to below
    return summary


async def _ask(request: PlanRequest, on_progress: Callable[[Progress], None]) -> Reply:
    # The request goes by standard input, which stays open: its end tells the child that nobody waits any more.
    # -P: a file of the working directory is not to be imported in place of a module.
    async with await anyio.open_process(
        [sys.executable, "-P", "-m", "dicomhaul.planner.child"], stderr=subprocess.PIPE, start_new_session=True
    ) as process:
        try:
            return await _converse(process, request, on_progress)
        finally:
            if process.returncode is None:
                process.kill()


async def _converse(process: Process, request: PlanRequest, on_progress: Callable[[Progress], None]) -> Reply:
    assert process.stdin is not None  # noqa: S101 - asked for above, like the other two
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    complaint: list[str] = []

    async def listen() -> None:
        complaint.extend([text async for text in TextReceiveStream(stderr, errors="replace")])

    stderr = process.stderr
    last: Reply | None = None
    async with anyio.create_task_group() as group:
        group.start_soon(listen)
        try:
            await process.stdin.send(REQUEST_JSON.dump_json(request) + b"\n")
            pending = b""
            async for chunk in process.stdout:
                *lines, pending = (pending + chunk).split(b"\n")
                for line in lines:
                    last = REPLY_JSON.validate_json(line)
                    if last.progress is not None:
                        on_progress(last.progress)
        except anyio.BrokenResourceError:
            pass  # it died before it listened; what it said on stderr tells why
        await process.wait()
    if last is not None and last.failed is not None:
        raise last.failed.as_error()
    if last is None or last.summary is None:
        raise CohortError(f"planning ended early (exit {process.returncode}): {_kind_of(complaint)}")
    return last


def _kind_of(complaint: Iterable[str]) -> str:
    """Of a traceback return only the kind of the error: its text may quote what a server sent."""
    for line in reversed("".join(complaint).splitlines()):
        kind = line.lstrip(" |+-").partition(":")[0]  # groups of errors are drawn with boxes
        if re.fullmatch(r"[A-Za-z_][\w.]{0,79}", kind, re.ASCII):
            return kind
    return "it said nothing"
