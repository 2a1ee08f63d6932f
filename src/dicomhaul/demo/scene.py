"""The demo's cohort, profile and faults, as data."""

from typing import Final

# 49 series of MR, CT and RTSTRUCT, 649 instances.
COLLECTION: Final = "mri_dir"
CONDITION: Final = "instanceCount <= 20"

MAX_INSTANCE_BYTES: Final = 64_000

# Slow enough that there is a half-way to be killed at.
_PROFILE: Final = """\
name = "demo"
description = "the embedded origin"
index = "idc"                # cohorts are looked up in IDC's index
url = "{url}"

[limits]
requests_per_s = 15.0
"""

# Most answers are 14 to 18 instances of 64 kB: they are cut early and late.
FAULTS: Final = """\
[[rule]]
level = "series"
times = [9, 24, 41]
action = { do = "status", status = 429, headers = { Retry-After = "1" } }

[[rule]]
level = "series"
every = 6
action = { do = "status", status = 503 }

[[rule]]
level = "series"
times = [4, 20, 33, 47]
action = { do = "cut", after_bytes = 300000 }

[[rule]]
level = "series"
times = [8, 28, 38, 52]
action = { do = "cut", after_bytes = 900000 }
"""


def profile_toml(url: str) -> str:
    """Return the profile of the origin at `url`, as a user would write it."""
    return _PROFILE.format(url=url)
