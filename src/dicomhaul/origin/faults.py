"""What an origin does wrong on purpose: rules read from TOML, and which of them strikes a request.

A script is a list of rules. The first rule that matches a request and whose turn it is decides; all that
match count the request. Choosing is pure but for the counters and the seeded random numbers of `Script`;
carrying an action out is the server's (and `framing`'s) work.

    seed = 7

    [[rule]]
    path = "/series/"                 # a regular expression searched in the path below the base URL
    level = "series"                  # search, study, series, instance, metadata; listing, object; usage
    times = [1, 2]                    # the first and the second matching request ...
    every = 5                         # ... or each fifth ...
    chance = 0.1                      # ... or one in ten; without any of these, all
    each_path = true                  # count each path on its own
    most = 3                          # strike at most three times in all
    action = { do = "status", status = 503, headers = { Retry-After = "2" }, body = "busy" }
"""

import random
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from dicomhaul.errors import ConfigError

# Of a DICOMweb server; of a bucket; of a quota.
Level = Literal["search", "study", "series", "instance", "metadata", "listing", "object", "usage"]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Status(_Table):
    """Answer with a status, and nothing of what was asked for. `status = 200` with HTML is a captive portal."""

    do: Literal["status"] = "status"
    status: int = Field(ge=200, le=599)
    headers: dict[str, str] = {}
    body: str = ""


class Cut(_Table):
    """Break the connection: after so many bytes of the body, or (None) before the status line.

    `reset` breaks it with a TCP RST, which may overtake bytes already sent; otherwise all of them arrive,
    then a FIN.
    """

    do: Literal["cut"] = "cut"
    after_bytes: int | None = Field(default=None, ge=0)
    reset: bool = False


class Stall(_Table):
    """Send nothing more, but keep the connection: after so many bytes of the body, or (None) before the
    status line.
    """

    do: Literal["stall"] = "stall"
    after_bytes: int | None = Field(default=None, ge=0)


class Truncate(_Table):
    """End the answer properly for HTTP, but after so many bytes of the body; None: just before a closing
    delimiter.
    """

    do: Literal["truncate"] = "truncate"
    after_bytes: int | None = Field(default=None, ge=0)


class Part(_Table):
    """Spoil one part of a well-framed answer, counted from 0; negative numbers count from the end. An object of a
    bucket is an answer of one part.

    omit: leave it out. duplicate: send it twice. foreign: an instance of another series in its place. text:
    something that is not DICOM. evil_uid: its SOP Instance UID becomes a path that climbs (`../`). cut: its
    second half is missing, inside whole framing. flip: the lowest bit of its last byte is another one. length: its
    Content-Length is one too small (one too large with `wrong="length_over"`).
    """

    do: Literal["part"] = "part"
    wrong: Literal["omit", "duplicate", "foreign", "text", "evil_uid", "cut", "flip", "length", "length_over"]
    index: int = 0


Action = Annotated[Status | Cut | Stall | Truncate | Part, Field(discriminator="do")]


class Rule(_Table):
    """When to strike, and how. See the module's docstring."""

    action: Action
    path: str = ""
    level: Level | None = None
    times: frozenset[int] = frozenset()
    every: int | None = Field(default=None, ge=1)
    chance: float | None = Field(default=None, ge=0, le=1)
    each_path: bool = False
    most: int | None = Field(default=None, ge=1)

    @field_validator("path")
    @classmethod
    def _check_path(cls, path: str) -> str:
        try:
            re.compile(path)
        except re.error as error:
            raise ValueError(f"not a regular expression: {error}") from None
        return path


class _File(_Table):
    seed: int = 0
    rule: list[Rule] = []


class Script:
    """Rules with their counters. One script belongs to one origin."""

    def __init__(self, rules: list[Rule] | tuple[Rule, ...] = (), *, seed: int = 0) -> None:
        self._rules = [(rule, re.compile(rule.path)) for rule in rules]
        self._seen: Counter[tuple[int, str]] = Counter()
        self._struck: Counter[int] = Counter()
        self._random = random.Random(seed)  # noqa: S311 - repeatable chaos, not a secret

    def strike(self, path: str, level: Level | None) -> Action | None:
        """Count a request for `path` (below the base URL) and return what to do to it; None: answer it well."""
        chosen: Action | None = None
        for number, (rule, pattern) in enumerate(self._rules):
            if (rule.level is not None and rule.level != level) or not pattern.search(path):
                continue
            key = (number, path if rule.each_path else "")
            self._seen[key] += 1
            if chosen is None and self._is_turn(rule, self._seen[key]) and self._is_left(number, rule):
                self._struck[number] += 1
                chosen = rule.action
        return chosen

    def _is_left(self, number: int, rule: Rule) -> bool:
        return rule.most is None or self._struck[number] < rule.most

    def _is_turn(self, rule: Rule, seen: int) -> bool:
        if not rule.times and rule.every is None and rule.chance is None:
            return True
        return (
            seen in rule.times
            or (rule.every is not None and seen % rule.every == 0)
            or (rule.chance is not None and self._random.random() < rule.chance)
        )


def read_script(path: Path) -> Script:
    """Read a fault script. Raises ConfigError, naming the file and what is wrong with it."""
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(f"cannot use the fault script {path}: {error}") from None
    return Script(file.rule, seed=file.seed)
