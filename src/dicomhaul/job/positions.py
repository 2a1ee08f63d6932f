"""Where each key of a TOML text stands. Pure.

No TOML library of Python tells lines of what it read. But TOML is a sequence of statements (a header, or
`key = value`), each of which is a TOML document by itself, and no beginning of a statement is one: an array, a table or
a text that is not closed yet is an error. So a statement ends with the first line at which what has been gathered can
be read.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from typing import Any

Path = tuple[str, ...]

_CLOSES = re.compile(r"[\]}]|\"\"\"|'''")  # a statement of several lines ends with one of these


def line_of_each_key(text: str) -> dict[Path, int]:
    """Return the line, from 1, on which each key and each header of a valid TOML document begins, by its whole path."""
    lines: dict[Path, int] = {}
    table: Path = ()
    for number, statement in _statements(text):
        found = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _header(found)
            lines.setdefault(table, number)
            continue
        for path in _paths(found):
            lines.setdefault(table + path, number)
    return lines


def _statements(text: str) -> Iterator[tuple[int, str]]:
    gathered, begun = "", 0
    for number, line in enumerate(text.split("\n"), start=1):
        if not gathered:
            begun = number
        elif not _CLOSES.search(line):
            gathered += f"{line}\n"
            continue
        gathered += f"{line}\n"
        try:
            tomllib.loads(gathered)
        except tomllib.TOMLDecodeError:
            continue
        yield begun, gathered
        gathered = ""


def _header(found: Mapping[str, Any]) -> Path:
    path: list[str] = []
    inner: Any = found
    while isinstance(inner, dict) and inner:
        ((name, inner),) = inner.items()
        path.append(name)
    return tuple(path)


def _paths(found: Mapping[str, Any]) -> Iterator[Path]:
    for name, value in found.items():
        yield (name,)
        if isinstance(value, dict):
            for path in _paths(value):
                yield (name, *path)
