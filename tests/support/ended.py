"""What came of a command, and the environment that commands run in."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Word = str | os.PathLike[str]

TIMEOUT_S = 60
_UNWANTED = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR")


@dataclass(frozen=True, slots=True)
class Ended:
    """A command that has ended."""

    code: int
    stdout: str
    stderr: str

    @property
    def json(self) -> dict[str, Any]:
        """The object on the last line of stdout."""
        table: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return table

    @property
    def complaint(self) -> str:
        """The line in which the command says why it gave up; there must be exactly one."""
        (line,) = (line for line in self.stderr.splitlines() if line.startswith("dicomhaul: "))
        return line.removeprefix("dicomhaul: ")


def environ_with(more: Mapping[str, str] | None) -> dict[str, str]:
    """Return the environment of a command: nothing in it that would change what it does, and `more`."""
    ours = {
        name: value
        for name, value in os.environ.items()
        if name.upper() not in _UNWANTED and not name.startswith("DICOMHAUL_")
    }
    return {**ours, "COLUMNS": "200", "NO_COLOR": "1", **(more or {})}


def ended(code: int, stdout: bytes, stderr: bytes) -> Ended:
    """Return what came of a command; none may have shown a traceback."""
    result = Ended(code, stdout.decode(), stderr.decode())
    assert "Traceback" not in result.stderr, result.stderr
    return result
