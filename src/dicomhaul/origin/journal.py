"""What an origin was asked for, one entry a request, so that tests can hold it against what was needed."""

from dataclasses import asdict, dataclass
from typing import Any

from dicomhaul.origin.faults import Level


@dataclass(slots=True)
class Entry:
    """One request. It is complete once `done` is true.

    Attributes:
        number: counts from 1, in order of arrival.
        path: below the base URL, so that it starts with `/studies` or the like.
        query: as sent, percent-encoded.
        authorized: whether an Authorization header came; its value is not kept.
        status: of the answer; 0 where none was sent.
        parts: instances in the answer, as planned; a fault may have cut it.
        body_bytes: of the multipart or single body that were handed to the transport.
        fault: what a fault script did to it: the action's name; "" for an honest answer.
    """

    number: int
    method: str
    path: str
    query: str
    level: Level | None
    accept: str
    authorized: bool
    status: int = 0
    parts: int = 0
    body_bytes: int = 0
    fault: str = ""
    done: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object with the names of the attributes."""
        return asdict(self)
