"""How a feed asks its host: JSON from somewhere near the DICOMweb base URL, through gate, retry and credentials.

Whatever comes is checked: a feed that makes no sense is Unsupported, and its source is compared as a whole instead.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from dicomhaul.errors import Forbidden, RefusedError, Unsupported
from dicomhaul.feed.numbers import is_number
from dicomhaul.model import is_identifier
from dicomhaul.net.host import Host

ANSWER_BYTES: Final = 64 << 20
MOST_PAGES: Final = 500_000  # of one reading: a hundred million entries


class Asker:
    """Asks for JSON below one path of a host.

    Args:
        host: the source's.
        root: the path that what is asked for is relative to, without a slash at its end; '' for the host's own.
        what: how messages call what answers, such as "change feed".
        role: what an account needs to be allowed to ask; "" where nobody says.
    """

    def __init__(self, host: Host, root: str, what: str, *, role: str = "") -> None:
        self.host = host
        self.what = what
        self._root = root
        self._role = role

    async def get(self, path: str, params: Sequence[tuple[str, str]] = ()) -> Any:
        """Return what is at `path`; None for an empty answer.

        Raises:
            Forbidden: we may not; the message says what is missing, as far as it is known.
            RefusedError: there is no such thing, or it is none that we know.
            TransferError, SourceError: the server fails.
        """

        async def call(_attempt: int) -> Any:
            session = self.host.session
            async with session.get_from_root(
                f"{self._root}/{path}", accept="application/json", params=params
            ) as response:
                return await response.read_json(ANSWER_BYTES)

        try:
            return await self.host.attempt(call, label=self.what)
        except Forbidden as error:
            needs = f"; the account needs {self._role}" if self._role else ""
            raise Forbidden(f"the {self.what} is closed to us: {error}{needs}", status=error.status) from None
        except RefusedError as error:
            raise type(error)(f"the {self.what} cannot be read: {error}", status=error.status) from None

    def senseless(self, why: str) -> Unsupported:
        """Return the error that says what about an answer cannot be."""
        return Unsupported(f"the {self.what} of {self.host.name} cannot be followed: {why}")

    def identifier(self, value: Any) -> str:
        """Return a UID of an answer. Raises Unsupported; the value is not repeated."""
        if not isinstance(value, str) or not is_identifier(value.strip(" \0")):
            raise self.senseless("an entry has no UID where one belongs")
        return value.strip(" \0")

    def number(self, value: Any) -> int:
        """Return the number of an entry. Raises Unsupported."""
        if not is_number(value):
            raise self.senseless("an entry has no number")
        return int(value)

    def rows(self, answer: Any) -> list[Mapping[str, Any]]:
        """Return the entries of an answer; none where it is empty. Raises Unsupported."""
        if answer is None:
            return []
        if not isinstance(answer, list) or not all(isinstance(row, dict) for row in answer):
            raise self.senseless("it answers with something else than a list of entries")
        return answer


def above(base_url: str, segments: int) -> str:
    """Return the path of a base URL without its last so many segments, and without a slash at its end."""
    parts = [part for part in urlsplit(base_url).path.split("/") if part]
    kept = parts[: max(0, len(parts) - segments)]
    return "".join(f"/{part}" for part in kept)
