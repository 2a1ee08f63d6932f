"""The same stable split of a cohort on every machine. Pure."""

import hashlib
import re
from typing import Final

from dicomhaul.errors import ConfigError
from dicomhaul.model import Shard

_MOST: Final = 100_000
HEX_DIGITS: Final = 8  # of the MD5 of a Series Instance UID; DuckDB's md5() gives the same


def shard_of(series: str, of: int) -> int:
    """Return the number, from 1, of the shard among `of` that a Series Instance UID falls into."""
    digest = hashlib.md5(series.encode(), usedforsecurity=False).hexdigest()
    return int(digest[:HEX_DIGITS], 16) % of + 1


def parse_shard(text: str) -> Shard:
    """Read `I/N`. Raises ConfigError."""
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", text)
    shard = Shard(int(match[1]), int(match[2])) if match else Shard(0, 0)
    if not 1 <= shard.number <= shard.of <= _MOST:
        raise ConfigError(f"--shard {text}: it is I/N, such as 3/8, with I from 1 to N")
    return shard
