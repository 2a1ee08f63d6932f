"""The demo's cohort, profile and faults, as data."""

from typing import Final

# Of a real collection what is small, so that no instance need be smaller than the index says: 40 series of MR, CT and
# PT, 514 instances, 84 MB.
COLLECTION: Final = "cptac_cm"
CONDITION: Final = "series_size_MB < 5 AND instanceCount <= 40"

# Slow enough that there is a half-way to be killed at.
_PROFILE: Final = """\
name = "demo"
description = "the embedded origin"
index = "idc"                # cohorts are looked up in IDC's index
url = "{url}"

[limits]
requests_per_s = 20.0
"""

# Most answers have 28 to 33 instances of 65 to 130 kB: they are cut early and late.
FAULTS: Final = """\
[[rule]]
level = "series"
times = [5, 31]
action = { do = "status", status = 429, headers = { Retry-After = "1" } }

[[rule]]
level = "series"
every = 6
action = { do = "status", status = 503 }

[[rule]]
level = "series"
times = [3, 19, 37]
action = { do = "cut", after_bytes = 300000 }

[[rule]]
level = "series"
times = [8, 28, 44]
action = { do = "cut", after_bytes = 2500000 }
"""


def profile_toml(url: str) -> str:
    """Return the profile of the origin at `url`, as a user would write it."""
    return _PROFILE.format(url=url)
