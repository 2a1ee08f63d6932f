"""Rules of a fault script, read from TOML, and which of them strikes a request.

The first rule that matches a request and whose turn it is decides; all that match count the request. Choosing is pure
but for the counters of `Script`. What is drawn at random follows from the seed, the rule, the path and how often
that was drawn for before: not from what else is asked for at the same time.
"""

import random
import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, field_validator

from dicomhaul.errors import ConfigError
from dicomhaul.origin.faults.body import Cut, Gzip, Range, Slow, Stall, Struck, Truncate
from dicomhaul.origin.faults.content import Multipart, Pages, Part
from dicomhaul.origin.faults.instead import Down, Expire, Flood, Raw, Redirect, Status
from dicomhaul.origin.faults.table import Table

# Of a DICOMweb server; of a bucket; of a quota; of what tells changes.
Level = Literal["search", "study", "series", "instance", "metadata", "listing", "object", "usage", "feed"]

Action = Annotated[
    Status
    | Redirect
    | Flood
    | Raw
    | Expire
    | Down
    | Cut
    | Stall
    | Truncate
    | Slow
    | Gzip
    | Range
    | Part
    | Multipart
    | Pages,
    Field(discriminator="do"),
]


class Rule(Table):
    """When to strike, and how.

    Attributes:
        action: what to do.
        path: a regular expression searched in the path below the base URL; of a listing, in `/bucket/prefix`.
        level: what kind of thing is asked for; None: any.
        times: strike the n-th matching request, counted from 1, for each n of these ...
        every: ... and each n-th ...
        chance: ... and any other with this probability. With none of the three: all.
        each_path: count each path on its own.
        most: strike at most so many times in all.
    """

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


class _File(Table):
    seed: int = 0
    rule: list[Rule] = Field(default_factory=list)


class Script:
    """Rules with their counters. One script belongs to one origin.

    Args:
        rules: the first whose turn it is decides.
        seed: of all that is drawn at random.
    """

    def __init__(self, rules: list[Rule] | tuple[Rule, ...] = (), *, seed: int = 0) -> None:
        self._rules = [(rule, re.compile(rule.path)) for rule in rules]
        self._seed = seed
        self._seen: Counter[tuple[int, str]] = Counter()
        self._struck: Counter[int] = Counter()
        self._drawn: Counter[tuple[int, str]] = Counter()

    def strike(self, path: str, level: Level | None) -> Action | None:
        """Count a request for `path` (below the base URL) and return what to do to it; None: answer it well."""
        chosen: Action | None = None
        for number, (rule, pattern) in enumerate(self._rules):
            if (rule.level is not None and rule.level != level) or not pattern.search(path):
                continue
            key = (number, path if rule.each_path else "")
            self._seen[key] += 1
            if chosen is None and self._is_turn(number, path, self._seen[key]) and self._is_left(number, rule):
                self._struck[number] += 1
                chosen = self._placed(number, path, rule.action)
        return chosen

    def _is_left(self, number: int, rule: Rule) -> bool:
        return rule.most is None or self._struck[number] < rule.most

    def _is_turn(self, number: int, path: str, seen: int) -> bool:
        rule, _ = self._rules[number]
        if not rule.times and rule.every is None and rule.chance is None:
            return True
        return (
            seen in rule.times
            or (rule.every is not None and seen % rule.every == 0)
            or (rule.chance is not None and self._draw(number, path) < rule.chance)
        )

    def _placed(self, number: int, path: str, action: Action) -> Action:
        if not isinstance(action, Struck) or action.within_bytes is None:
            return action
        after_bytes = int(self._draw(number, path) * (action.within_bytes + 1))
        return action.model_copy(update={"after_bytes": after_bytes, "within_bytes": None})

    def _draw(self, number: int, path: str) -> float:
        self._drawn[number, path] += 1
        words = f"{self._seed} {number} {self._drawn[number, path]} {path}"
        return random.Random(words).random()  # noqa: S311 - repeatable chaos, not a secret


def read_script(path: Path) -> Script:
    """Read a fault script. Raises ConfigError, naming the file and what is wrong with it."""
    try:
        file = _File.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError, ValidationError) as error:
        raise ConfigError(f"cannot use the fault script {path}: {error}") from None
    return Script(file.rule, seed=file.seed)
