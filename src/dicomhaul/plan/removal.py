"""How much a sync may remove from a mirror. Pure.

A sick server answers with nothing, or with a part, and means no harm: an answer of which a mirror would lose more than
it loses on other days is not believed.

| removes | of present | limits | verdict |
|---|---|---|---|
| 0 | any | any | goes on |
| n | m | `instances` given, n <= it | goes on |
| n | m | `instances` given, n > it | refused |
| n | m | `fraction` alone, n <= m * fraction | goes on |
| n | m | `fraction` alone, n > m * fraction | refused |
"""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RemovalLimits:
    """The most that one sync may remove: so many `instances`, if given; else this `fraction` of what is present."""

    instances: int | None = None
    fraction: float = 0.05


def refusal(removing: int, present: int, limits: RemovalLimits) -> str | None:
    """Say why so many instances of those that are present are not removed, and what to do; None: they may be."""
    if limits.instances is not None:
        if removing <= limits.instances:
            return None
        allowed = f"--max-delete allows {limits.instances:,}"
    else:
        if removing <= present * limits.fraction:
            return None
        allowed = f"--max-delete-fraction allows {limits.fraction:.4g} of them"
    return (
        f"the source would have {removing:,} of {present:,} instances removed, and {allowed}: nothing was changed; "
        f"see what it is with --dry-run, and if it is right, repeat with --max-delete {removing}"
    )
