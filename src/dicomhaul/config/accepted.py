"""Failures that are known, so that they raise no alarm every night: a file that names them, and which of them are met.

A line is `UID`, or `UID<TAB>text`, or `UID,text`: the Series or SOP Instance UID of what fails, and a text that stands
in the reason. Without a text, any reason is accepted. Empty lines, and lines that begin with `#`, say nothing.

| named UID | text | failure | verdict |
|---|---|---|---|
| its SOP Instance UID | none, or in the reason | any | accepted |
| its Series Instance UID | none, or in the reason | of the series, or of any instance of it | accepted |
| either | not in the reason | any | a failure: something else is wrong now |
| neither | any | any | a failure |

Of a study that nobody has, for which no series is known, the Study Instance UID is the one that counts.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from dicomhaul.errors import ConfigError
from dicomhaul.model import Failure, is_identifier

_MOST_BYTES: Final = 64 << 20
_COMMENT: Final = "#"


@dataclass(frozen=True, slots=True)
class Accepted:
    """Failures that are known.

    Attributes:
        reasons: UID -> the texts of which one has to stand in the reason; '' stands in any.
    """

    reasons: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a file. Raises ConfigError, naming the file and the line."""
        try:
            with path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise ConfigError(f"--accept-failures {path}: {error.strerror or 'cannot be read'}") from None
        if len(content) > _MOST_BYTES:
            raise ConfigError(f"--accept-failures {path}: more than {_MOST_BYTES:,} bytes")
        try:
            text = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            raise ConfigError(f"--accept-failures {path}, line {line}: not UTF-8 text") from None
        return cls.parse(text, str(path))

    @classmethod
    def parse(cls, text: str, name: str) -> Self:
        """Read the text of a file, called `name` in messages. Raises ConfigError, naming the line."""
        reasons: dict[str, dict[str, None]] = {}
        for number, line in enumerate(text.split("\n"), start=1):
            entry = line.strip()
            if not entry or entry.startswith(_COMMENT):
                continue
            at = min((at for at in map(entry.find, "\t,") if at >= 0), default=len(entry))
            uid, reason = entry[:at].strip(), entry[at + 1 :].strip()
            if not is_identifier(uid):
                # Without what stands there: a file of another kind may have a patient's name in its first column.
                raise ConfigError(
                    f"--accept-failures {name}, line {number}: it begins with no UID; a line is a Series or SOP "
                    "Instance UID, then a tab or a comma, then what the reason contains, or nothing"
                )
            reasons.setdefault(uid, {})[reason] = None
        return cls({uid: tuple(texts) for uid, texts in reasons.items()})

    def accepts(self, failure: Failure) -> bool:
        """Say whether a failure is one of these."""
        return any(text in failure.reason for uid in _uids(failure) for text in self.reasons.get(uid, ()))

    def split(self, failures: Iterable[Failure]) -> tuple[tuple[Failure, ...], tuple[Failure, ...]]:
        """Return the failures that are none of these, and those that are."""
        others: list[Failure] = []
        known: list[Failure] = []
        for failure in failures:
            (known if self.accepts(failure) else others).append(failure)
        return tuple(others), tuple(known)

    def named(self, failures: Iterable[Failure]) -> set[str]:
        """Return the UIDs of these that fail, whatever the reason."""
        if not self.reasons:
            return set()
        return {uid for failure in failures for uid in _uids(failure) if uid in self.reasons}


def _uids(failure: Failure) -> list[str]:
    named = [uid for uid in (failure.sop, failure.series) if uid]
    return named or [failure.study]
