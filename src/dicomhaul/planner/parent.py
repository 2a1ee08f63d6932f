"""The parent's side of planning: ask the child, relay what it says."""

import re
import subprocess
from collections.abc import Callable, Iterable
from contextlib import suppress
from threading import Thread

import anyio.from_thread
import anyio.to_thread

from dicomhaul.errors import CohortError
from dicomhaul.plan.estimate import Summary
from dicomhaul.planner import standby
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
    process = standby.take()

    def relay(progress: Progress) -> None:
        anyio.from_thread.run_sync(on_progress, progress)

    try:
        return await anyio.to_thread.run_sync(_converse, process, request, relay, abandon_on_cancel=True)
    finally:
        process.kill()  # a cancelled call leaves the thread, which then reads to the end of what is left


def _converse(
    process: "subprocess.Popen[bytes]", request: PlanRequest, on_progress: Callable[[Progress], None]
) -> Reply:
    assert process.stdin is not None  # noqa: S101 - asked for where it is started, like the other two
    assert process.stdout is not None  # noqa: S101
    assert process.stderr is not None  # noqa: S101
    complaint: list[bytes] = []
    last: Reply | None = None
    with process:
        listener = Thread(target=lambda stream: complaint.append(stream.read()), args=[process.stderr])
        listener.start()
        try:
            # One that died before it listened says on stderr why.
            with suppress(BrokenPipeError):
                process.stdin.write(REQUEST_JSON.dump_json(request) + b"\n")
                process.stdin.flush()
            for line in process.stdout:
                last = REPLY_JSON.validate_json(line)
                if last.progress is not None:
                    on_progress(last.progress)
        except BaseException:
            process.kill()
            raise
        finally:
            listener.join()
    if last is not None and last.failed is not None:
        raise last.failed.as_error()
    if last is None or last.summary is None:
        raise CohortError(f"planning ended early (exit {process.returncode}): {_kind_of(complaint)}")
    return last


def _kind_of(complaint: Iterable[bytes]) -> str:
    """Of a traceback return only the kind of the error: its text may quote what a server sent."""
    for line in reversed(b"".join(complaint).decode(errors="replace").splitlines()):
        kind = line.lstrip(" |+-").partition(":")[0]  # groups of errors are drawn with boxes
        if re.fullmatch(r"[A-Za-z_][\w.]{0,79}", kind, re.ASCII):
            return kind
    return "it said nothing"
