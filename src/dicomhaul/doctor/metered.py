"""A source with a quota: every byte counts, so it is asked for its usage page and for one study, and no more."""

from dataclasses import dataclass
from typing import Final

from dicomhaul.doctor.ask import Answer, Asker
from dicomhaul.doctor.finding import Finding, fail, ok, unknown, warn
from dicomhaul.net.quota import USAGE_BYTES, Usage, parse_usage
from dicomhaul.profile import Profile

REQUESTS: Final = 12
BODY_BYTES: Final = 2 << 20
_NEARLY: Final = 0.9


@dataclass(slots=True)
class Metered:
    """What was seen. `usage`: None where the page cannot be read, or there is none."""

    usage: Usage | None = None
    problem: str = ""


async def read_usage(asker: Asker, profile: Profile, seen: Metered) -> None:
    """Read the usage page, which is not charged (servers.md section 3)."""
    if profile.quota.usage_path is not None:
        seen.usage = parse_usage(await asker.usage(profile.quota.usage_path, USAGE_BYTES))


def judge_quota(seen: Metered, profile: Profile, first: Answer | None) -> list[Finding]:
    """Say what is left, and what this source is for."""
    found = [_judge_usage(seen, profile)]
    if first is not None and first.status in profile.status.quota:
        found = [fail("quota", f"the day's quota is used up ({first.status})", "it opens again at 00:00 UTC")]
    bulk = "use it for single instances"
    if profile.index == "idc":
        bulk = "IDC's policy: bulk goes through its public buckets (--source idc); this is for what they cannot give"
    return [*found, warn("policy", "what it gives counts against a daily quota, so nothing was retrieved here", bulk)]


def _judge_usage(seen: Metered, profile: Profile) -> Finding:
    usage = seen.usage
    limit = profile.quota.bytes_per_day
    if usage is None:
        said = f"the profile says {limit:,} bytes a day; " if limit is not None else ""
        return unknown("quota", f"{said}what is used of it could not be read{seen.problem and f': {seen.problem}'}")
    limit = usage.limit_bytes if limit is None else limit
    if limit is None:
        return ok("quota", f"{usage.bytes_used:,} bytes are used today; the limit cannot be told yet")
    said = f"{usage.bytes_used:,} of {limit:,} bytes are used today"
    if usage.bytes_used >= limit:
        return fail("quota", said, "it opens again at 00:00 UTC")
    if usage.bytes_used >= _NEARLY * limit:
        return warn("quota", said, "little is left until 00:00 UTC")
    return ok("quota", said)
