"""What was found out, and what it means for a download. Pure."""

import enum
from dataclasses import dataclass


class Verdict(enum.StrEnum):
    """How a finding bears on a download."""

    OK = "ok"
    WARN = "warn"  # it works, with something to know or to do
    FAIL = "fail"  # a download needs it, and it does not work
    UNKNOWN = "unknown"  # it could not be told


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found out.

    Attributes:
        name: of the check.
        verdict: what it means.
        sentence: what was seen, without patient data, credentials or query strings.
        todo: what the user may do about it; '' where there is nothing to do.
    """

    name: str
    verdict: Verdict
    sentence: str
    todo: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as `--json` lists it."""
        return {"name": self.name, "verdict": str(self.verdict), "sentence": self.sentence, "todo": self.todo}


def ok(name: str, sentence: str) -> Finding:
    """Return a finding that nothing has to be done about."""
    return Finding(name, Verdict.OK, sentence)


def warn(name: str, sentence: str, todo: str = "") -> Finding:
    """Return a finding to know about."""
    return Finding(name, Verdict.WARN, sentence, todo)


def fail(name: str, sentence: str, todo: str = "") -> Finding:
    """Return a finding that stands in the way of a download."""
    return Finding(name, Verdict.FAIL, sentence, todo)


def unknown(name: str, sentence: str, todo: str = "") -> Finding:
    """Return that nothing was found out, and why."""
    return Finding(name, Verdict.UNKNOWN, sentence, todo)
