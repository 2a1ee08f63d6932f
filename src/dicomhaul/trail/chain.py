"""Lines of an audit log, each sealed together with the one before it. Pure.

A line is one JSON object, in UTF-8, with `number` first (from 0, without gaps) and `sha256` last: the SHA-256 of the
previous line's `sha256` (of the first line: 64 zeros), followed by the line without its own `sha256` and its line end.
So a line that was changed does not fit its own seal, and one that was dropped, inserted or moved does not fit its
neighbours. Lines that were cut off at the end leave a shorter log that is sound in itself: only who remembers a `Head`
can tell.

Nobody holds a key: who can write the file can make another one that is sound. Heads that lie elsewhere, in the ledgers
and wherever `audit verify` was printed to, are what such a log cannot be made to fit.
"""

import hashlib
import json
import re
from typing import Any, Final, NamedTuple

FORMAT: Final = 1
BEGUN: Final = "log begun"  # the event of the first line
TORN: Final = "torn"  # of the line that tells of bytes before it which are no lines
MOST_LINE_BYTES: Final = 1 << 16
MOST_TORN_BYTES: Final = 16 << 20  # what a crash can leave of one batch

_GENESIS: Final = "0" * 64
_SEAL: Final = re.compile(rb',"sha256":"([0-9a-f]{64})"\}\n\Z')
_SEAL_BYTES: Final = 78
_HEX: Final = re.compile(r"[0-9a-f]{1,64}\Z")


class Head(NamedTuple):
    """The last line of a log that somebody has seen.

    Attributes:
        log: the log's id, a random one.
        number: of the line; -1: before the first.
        sha256: its seal, in hexadecimal.
        end: the offset behind it in the file, in bytes.
    """

    log: str
    number: int
    sha256: str
    end: int

    def as_json(self) -> dict[str, str | int]:
        """Return it as a later log, or a later run, names it."""
        return {"log": self.log, "number": self.number, "sha256": self.sha256}


class BrokenError(Exception):
    """A line is not what belongs there; the message says why."""


BEFORE: Final = Head("", -1, _GENESIS, 0)


def seal(before: Head, facts: str) -> tuple[bytes, Head]:
    """Return the line that follows `before`, and the head that it makes; `facts` is a JSON object that is not empty."""
    body = f'{{"number":{before.number + 1},{facts[1:]}'
    digest = hashlib.sha256(f"{before.sha256}{body}".encode()).hexdigest()
    line = f'{body[:-1]},"sha256":"{digest}"}}\n'.encode()
    return line, Head(before.log, before.number + 1, digest, before.end + len(line))


def seal_first(log: str, time: str, continues: Head | None) -> tuple[bytes, Head]:
    """Return the first line of a log, and its head. `continues`: the line of an earlier log that it goes on from."""
    facts = {
        "time": time,
        "event": BEGUN,
        "format": FORMAT,
        "log": log,
        "continues": None if continues is None else continues.as_json(),
    }
    return seal(BEFORE._replace(log=log), json.dumps(facts, separators=(",", ":")))


def unseal(line: bytes, before: Head) -> tuple[dict[str, Any], Head]:
    """Return the entry of a line that should follow `before`, and its head. Raises BrokenError."""
    if len(line) > MOST_LINE_BYTES:
        raise BrokenError(f"it is longer than {MOST_LINE_BYTES:,} bytes")
    if not line.endswith(b"\n"):
        raise BrokenError("it has no end")
    found = _SEAL.search(line, max(0, len(line) - _SEAL_BYTES))
    if found is None:
        raise BrokenError("it has no seal")
    body = line[: found.start()] + b"}"
    try:
        entry = json.loads(body)
    except (ValueError, RecursionError):
        raise BrokenError("it is no JSON") from None
    if not isinstance(entry, dict) or type(entry.get("number")) is not int:
        raise BrokenError("it has no number")
    if entry["number"] != before.number + 1:
        raise BrokenError(f"it has the number {entry['number']}: lines were dropped, inserted or moved")
    if hashlib.sha256(before.sha256.encode() + body).hexdigest().encode() != found[1]:
        raise BrokenError("it was changed, or what comes before it was")
    log = before.log
    if before.number < 0:
        log = str(entry.get("log"))
        if entry.get("event") != BEGUN or entry.get("format") != FORMAT or not _HEX.match(log):
            raise BrokenError(f"it does not begin an audit log of format {FORMAT}")
    return entry, Head(log, entry["number"], found[1].decode(), before.end + len(line))


def torn_facts(time: str, torn: bytes) -> str:
    """Return the facts of the line that tells of bytes, ending with a line end, which a crash left before it."""
    facts = {"time": time, "event": TORN, "size_bytes": len(torn), "torn_sha256": hashlib.sha256(torn).hexdigest()}
    return json.dumps(facts, separators=(",", ":"))


def tells_of(entry: dict[str, Any], torn: bytes) -> bool:
    """Say whether an entry is the one that tells of these bytes."""
    return (
        entry.get("event") == TORN
        and entry.get("size_bytes") == len(torn)
        and entry.get("torn_sha256") == hashlib.sha256(torn).hexdigest()
    )


def head_of(told: object) -> Head | None:
    """Return the head that a line names (`as_json`); None where it names none."""
    if not isinstance(told, dict):
        return None
    log, number, sha256 = told.get("log"), told.get("number"), told.get("sha256")
    if not (isinstance(log, str) and type(number) is int and isinstance(sha256, str)):
        return None
    return Head(log, number, sha256, 0)
