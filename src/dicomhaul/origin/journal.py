"""What an origin was asked for, one entry a request, so that tests can hold it against what was needed."""

from dataclasses import asdict, dataclass
from typing import Any

from dicomhaul.origin.faults import Level


@dataclass(slots=True)
class Entry:
    """One request. It is complete once `done` is true.

    Attributes:
        number: counts from 1, in order of arrival.
        path: below the base URL, so that it starts with `/studies` or the like; of a listing, bucket and prefix.
        query: as sent, percent-encoded.
        authorized: whether an Authorization header came; its value is not kept.
        status: of the answer; 0 where none was sent.
        parts: instances in the answer, as planned; a fault may have cut it.
        body_bytes: of the body of a retrieve, an object or a listing that were handed to the transport.
        fault: what a fault script did to it: the action's name; "" for an honest answer.
        client: the address of whoever asked.
        range, if_match: the headers of these names; "" where they did not come.
        charged_bytes: counted against the client's daily allowance.
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
    client: str = ""
    range: str = ""
    if_match: str = ""
    charged_bytes: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return it as a JSON object with the names of the attributes."""
        return asdict(self)
