"""Reading audit logs again: is every line as it was written, and does each log go on from the one before?

Lines at the end of a log leave no gap when they go. They are missed by who remembers a line: a later log that goes on
from it, a ledger that opened a later one, and whoever kept what `audit verify` printed (`head`).
"""

import os
import stat
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from dicomhaul.errors import ConfigError
from dicomhaul.trail.chain import BEFORE, Head, head_of
from dicomhaul.trail.follow import Rest, follow

Take = Callable[[Mapping[str, Any]], None]

_MOST_CLAIMS: Final = 1_000_000  # of lines of logs that were read before; a ledger claims one each time it is opened


class Finding(NamedTuple):
    """Something that is wrong with a log: at which line (from 0, as the lines number themselves), and why."""

    path: Path
    line: int
    reason: str

    def __str__(self) -> str:
        return f"{self.path}: line {self.line}: {self.reason}"


@dataclass(frozen=True, slots=True)
class FileProof:
    """What became of one file.

    Attributes:
        path: of it.
        head: its last line that is sound, with those before it.
        torn: numbers of the lines that tell of bytes which a crash left before them.
        continues: the line of an earlier log that it goes on from.
    """

    path: Path
    head: Head
    torn: tuple[int, ...] = ()
    continues: Head | None = None

    @property
    def lines(self) -> int:
        """How many lines are sound."""
        return self.head.number + 1


@dataclass(frozen=True, slots=True)
class Proof:
    """What became of several, in the order in which they were written."""

    files: tuple[FileProof, ...]
    findings: tuple[Finding, ...]


def prove(paths: Sequence[Path], *, must: Mapping[str, str] | None = None, take: Take = lambda _: None) -> Proof:
    """Read logs, the oldest first.

    Args:
        paths: of the files.
        must: seals of lines that have to be there, in hexadecimal, and who says so.
        take: is given each entry that is sound, in this order.

    Raises ConfigError where a file cannot be read.
    """
    read = _Reading(dict(must or {}), take)
    for path in paths:
        read.file(path)
    read.check_claims()
    for who in read.must.values():
        last = read.files[-1]
        said = f"a line that {who} remembers is in none of these logs: lines were cut off, or all were written anew"
        read.findings.append(Finding(last.path, last.lines, said))
    return Proof(tuple(read.files), tuple(read.findings))


class _Reading:
    """One reading of all the files."""

    def __init__(self, must: dict[str, str], take: Take) -> None:
        self.must = must  # what was not there so far
        self._take = take
        self.files: list[FileProof] = []
        self.findings: list[Finding] = []
        self._claims: dict[tuple[str, int], str] = {}  # log, number -> seal

    def file(self, path: Path) -> None:
        """Read one file."""
        logs = {each.head.log for each in self.files}
        last, torn, continues = BEFORE, [], None
        with _opened(path) as file:
            for found in follow(file, BEFORE):
                if isinstance(found, Rest):
                    if found.size_bytes or found.head is BEFORE:
                        why = found.why or "there is none"
                        self.findings.append(Finding(path, found.head.number + 1, why))
                    break
                entry, last = found.entry, found.head
                self.must.pop(last.sha256, None)
                if found.torn_bytes:
                    torn.append(last.number)
                if last.number == 0:
                    continues = head_of(entry.get("continues"))
                    self._claim(continues, logs)
                elif entry.get("event") == "opened":
                    self._claim(head_of(entry.get("last")), logs)
                self._take(entry)
        if self.files and last.number >= 0 and (continues is None or continues.log not in logs):
            self.findings.append(Finding(path, 0, f"it does not go on from {self.files[-1].path}"))
        self.files.append(FileProof(path, last, tuple(torn), continues))

    def _claim(self, claimed: Head | None, logs: set[str]) -> None:
        if claimed is not None and claimed.log in logs and len(self._claims) < _MOST_CLAIMS:
            self._claims[claimed.log, claimed.number] = claimed.sha256

    def check_claims(self) -> None:
        """See whether the lines that later logs remember are there."""
        for proof in self.files:
            claims = {number: seal for (log, number), seal in self._claims.items() if log == proof.head.log}
            if not claims:
                continue
            with _opened(proof.path) as file:
                for found in follow(file, BEFORE):
                    if not isinstance(found, Rest) and claims.get(found.head.number) == found.head.sha256:
                        del claims[found.head.number]
            said = "a later log, or a ledger, remembers a line with this number that is not there"
            self.findings += [Finding(proof.path, number, said) for number in sorted(claims)]


@contextmanager
def _opened(path: Path) -> Iterator[BinaryIO]:
    try:
        fd = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(fd, "rb") as file:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise ConfigError(f"cannot read the audit log {path}: it is no file")
            yield file
    except OSError as error:
        raise ConfigError(f"cannot read the audit log {path}: {error.strerror or error}") from None
