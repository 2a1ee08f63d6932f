"""One request as the product sends it, bounded in time and bytes, whose answer is kept whatever its status.

No retries and no gate: what the server does the first time is what a diagnosis is about.
"""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import anyio

from dicomhaul.doctor.budget import Budget
from dicomhaul.errors import HaulError, NotDicom, TimedOut, TransferError
from dicomhaul.net.connecting import open_session
from dicomhaul.net.endpoint import Endpoint
from dicomhaul.net.response import Response
from dicomhaul.net.session import Session
from dicomhaul.ports import Clock, Credentials
from dicomhaul.wire.dicom_json import Attributes, parse_answer

JSON: Final = "application/dicom+json"
ANSWER_BYTES: Final = 8 << 20
REQUEST_S: Final = 30.0  # for one answer, from the request to its last byte
_DROPPED_BYTES: Final = 64 * 1024  # of a refusal; read, since that keeps the connection
_NONE: Final[Mapping[str, str]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Answer:
    """What came in answer to one request.

    Attributes:
        status: of HTTP.
        headers: case-insensitive.
        body: as much of it as was wanted.
        whole: the body ended, as HTTP understands it, within what was wanted.
        broken: why it did not end; '' where it did, or was not read to its end on purpose.
        first_byte_s: from the request to the headers.
        took_s: to the end.
        reused: it came over a connection that had been used before.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    whole: bool
    broken: str
    first_byte_s: float
    took_s: float
    reused: bool

    @property
    def ok(self) -> bool:
        """The status is a success."""
        return 200 <= self.status < 300

    def rows(self) -> list[Attributes] | None:
        """Return the rows of a search; None where this is no answer to one, or was cut."""
        if not self.ok or not self.whole:
            return None
        try:
            return parse_answer(self.body)
        except NotDicom:
            return None


class Asker:
    """Asks one host. Made by `open_asker`."""

    def __init__(self, session: Session, budget: Budget, clock: Clock, request_s: float) -> None:
        self._session = session
        self._clock = clock
        self._request_s = request_s
        self.budget = budget
        self.last_reused = False  # of the request sent last; what runs side by side overwrites it

    async def get(
        self,
        path: str,
        *,
        accept: str = JSON,
        params: Sequence[tuple[str, str]] = (),
        headers: Mapping[str, str] = _NONE,
        limit_bytes: int = ANSWER_BYTES,
    ) -> Answer:
        """Ask for `path` below the base URL, and read at most `limit_bytes` of the answer.

        Raises:
            TransferError, SourceError: no answer came, as `Session.get` has it; TimedOut, too, where it took longer
                than a request may.
            BudgetSpentError: it may not be asked, or brings too much.
        """
        began = self._clock.monotonic()
        try:
            with anyio.fail_after(self._request_s):
                async with self._session.get(
                    path, accept=accept, params=params, headers=headers, any_status=True
                ) as response:
                    headers_at = self._clock.monotonic()
                    reused = self.last_reused
                    wanted = limit_bytes if response.status < 300 else min(limit_bytes, _DROPPED_BYTES)
                    body, whole, broken = await self._read(response, wanted)
        except TimeoutError:
            raise TimedOut(f"no whole answer within {self._request_s:.0f} s") from None
        return Answer(
            status=response.status,
            headers=response.headers,
            body=body,
            whole=whole,
            broken=broken,
            first_byte_s=headers_at - began,
            took_s=self._clock.monotonic() - began,
            reused=reused,
        )

    async def search(self, path: str, *params: tuple[str, str], limit_bytes: int = ANSWER_BYTES) -> Answer:
        """Search by QIDO-RS; otherwise as `get`."""
        return await self.get(path, params=params, limit_bytes=limit_bytes)

    async def usage(self, path: str, limit_bytes: int) -> object:
        """Return the JSON of a page at the root of the host, which costs nothing of a quota. Raises as `get`."""
        try:
            with anyio.fail_after(self._request_s):
                async with self._session.get_from_root(path, accept="application/json") as response:
                    return await response.read_json(limit_bytes)
        except TimeoutError:
            raise TimedOut(f"no whole answer within {self._request_s:.0f} s") from None

    async def _read(self, response: Response, limit_bytes: int) -> tuple[bytes, bool, str]:
        pieces: list[bytes] = []
        left = limit_bytes
        try:
            async for chunk in response.iter_chunks():
                self.budget.take(len(chunk))
                pieces.append(chunk[:left])
                left -= len(chunk)
                if left < 0:
                    return b"".join(pieces), False, ""
        except TransferError as error:
            return b"".join(pieces), False, str(error)
        return b"".join(pieces), True, ""


@asynccontextmanager
async def open_asker(
    endpoint: Endpoint, credentials: Credentials, *, budget: Budget, clock: Clock, request_s: float = REQUEST_S
) -> AsyncIterator[Asker]:
    """Open a session whose every request draws from `budget`. Raises ConfigError."""
    asker: list[Asker] = []

    def before_sending(reused: bool) -> None:  # noqa: FBT001 - as `open_session` calls it
        budget.send()
        for each in asker:
            each.last_reused = reused

    async with open_session(endpoint, credentials, clock=clock, before_sending=before_sending) as session:
        asker.append(Asker(session, budget, clock, request_s))
        yield asker[0]


def reason_of(error: HaulError) -> str:
    """Return what a finding says of an error: its message, in one line."""
    return " ".join(str(error).split())
