"""Events and totals in words. Pure.

Reasons come from servers at times: control characters are taken out, so that none can move the cursor of a terminal or
forge a line of a log.
"""

from dicomhaul.events import (
    Event,
    GateClosed,
    Noticed,
    Planned,
    Retrying,
    SeriesFailed,
    SeriesLanded,
    SeriesMoved,
    SourceStopped,
    Tally,
)
from dicomhaul.observe.figures import duration, size


def printable(text: str) -> str:
    """Return `text` on one line, without anything that a terminal would obey."""
    return "".join(char if char.isprintable() else " " for char in text)


def sentence(event: Event) -> str:  # noqa: C901 - a line for each kind of event
    """Say what happened, on one line."""
    match event:
        case Planned(series, instances, size_bytes):
            parts = [f"{series:,} series"]
            if instances is not None:
                parts.append(f"{instances:,} instances")
            if size_bytes is not None:
                parts.append(size(size_bytes))
            text = f"planned: {', '.join(parts)}"
        case SeriesLanded(_, series, _, instances, proof):  # its folder may hold patient data
            text = f"complete: series {series}, {instances:,} instances (proof: {proof})"
        case SeriesFailed(_, series, missing, reason):
            lacks = "" if missing is None else f", {missing:,} instances missing"
            text = f"failed: series {series}{lacks}: {reason}"
        case SeriesMoved(_, series, route, next_route, reason):
            text = f"moved from {route} to {next_route}: series {series}: {reason}"
        case Retrying(job, attempt, wait_s, reason):
            text = f"again in {duration(wait_s)}: {job}, attempt {attempt} failed: {reason}"
        case GateClosed(host, wait_s, reason):
            text = f"waiting {duration(wait_s)} for {host}: {reason}"
        case SourceStopped(source, reason):
            text = f"stopped asking {source}: {reason}"
        case Noticed(message):
            text = message
    return printable(text)


def is_worth_a_line(event: Event) -> bool:
    """Say whether somebody who watches should read it; the rest shows in the totals."""
    return isinstance(event, SeriesFailed | SourceStopped | Noticed)


def share(tally: Tally, planned: Planned | None) -> float | None:
    """How much is done, from 0 to 1: by bytes where they are known, else by instances, else by series."""
    if planned is None:
        return None
    for done, wanted in (
        (tally.bytes_landed, planned.size_bytes),
        (tally.instances_landed, planned.instances),
        (tally.series_complete + tally.series_failed, planned.series),
    ):
        if wanted:
            return min(1.0, done / wanted)
    return 1.0


def totals(tally: Tally, planned: Planned | None) -> list[str]:
    """What has come: bytes, instances, series, and what went wrong if anything did; before that, what was found."""

    def of(wanted: str | None) -> str:
        return "" if wanted is None else f" of {wanted}"

    if planned is None:
        return [f"planning: {tally.series_found:,} series found"]
    size_bytes, instances = planned.size_bytes, planned.instances
    parts = [
        size(tally.bytes_landed) + of(None if size_bytes is None else size(size_bytes)),
        f"{tally.instances_landed:,}{of(None if instances is None else f'{instances:,}')} instances",
        f"{tally.series_complete:,} of {planned.series:,} series",
    ]
    for count, what in (
        (tally.series_failed, "failed"),
        (tally.series_moved, "moved to another route"),
        (tally.retries, "tried again"),
        (tally.throttled, "throttled"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    return parts
