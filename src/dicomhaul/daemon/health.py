"""Whether the daemon and its jobs are well, as one object. Pure.

Well means: the loop has turned within its bound, each job file can be read, and no job that says so (`max_age`) has had
its last success longer ago.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import PurePath
from typing import Any

from dicomhaul.daemon.decide import State, TimedJob, overdue_s

LOOP_S = 90.0  # three looks


def health(
    now: float, *, jobs: Sequence[TimedJob], state: State, idle_s: float, errors: Mapping[PurePath, tuple[str, ...]]
) -> tuple[bool, dict[str, Any]]:
    """Return whether all is well, and the object that says so: job by job, times in RFC 3339, UTC; null: never."""
    table: dict[str, Any] = {}
    overdue = False
    for job in jobs:
        known = state[job.name]
        late_s = overdue_s(now, job, known)
        overdue = overdue or late_s is not None
        table[job.name] = {
            "destination": str(job.destination),
            "running": known.run is not None,
            "last_success": _time(known.last_success),
            "last_end": _time(None if known.last is None else known.last.ended_at),
            "last_exit_code": None if known.last is None else known.last.code,
            "next": _time(job.schedule.next_due(now, job.name)),
            "overdue_s": None if late_s is None else round(late_s),
        }
    stuck = idle_s > LOOP_S
    well = not (stuck or overdue or errors)
    unreadable = [line for lines in errors.values() for line in lines]
    return well, {"ok": well, "loop_idle_s": round(idle_s, 1), "unreadable": unreadable, "jobs": table}


def _time(moment: float | None) -> str | None:
    return None if moment is None else datetime.fromtimestamp(moment, UTC).isoformat(timespec="seconds")
