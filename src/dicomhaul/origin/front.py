"""What every origin does with a request, whatever it serves: enter it in the journal, ask the fault script, answer.

An origin says what a request names and how it is answered well; `listen` puts it on a port.
"""

import hashlib
import ssl
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from aiohttp import web

from dicomhaul.origin import faults as f
from dicomhaul.origin.answer import answer_of
from dicomhaul.origin.door import Door
from dicomhaul.origin.instead import NothingSent, strike_early, unauthorized
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.outlet import BodyFault, deliver

JOURNAL_PATH = "/_origin/journal"
_HEADER_LIMIT = 64 * 1024


class Front(ABC):
    """A running origin.

    Attributes:
        url: the base URL, without a slash at its end; '' until it listens.
        requests: the journal, oldest first. Live: an entry can change while its request is being answered.
        door: its port; None until it listens.
    """

    def __init__(self, faults: f.Script | None) -> None:
        self.url = ""
        self.requests: list[Entry] = []
        self.door: Door | None = None
        self._faults = faults or f.Script()
        self._worthless: set[bytes] = set()

    @abstractmethod
    def add_routes(self, router: web.UrlDispatcher) -> None:
        """Say which paths are answered, by `answer`."""

    @abstractmethod
    def _named(self, request: web.Request) -> tuple[str, f.Level | None]:
        """Return the path for journal and fault script, and what kind of thing is asked for; None: no such thing."""

    @abstractmethod
    async def _respond(self, request: web.Request, entry: Entry, fault: f.Action | None) -> web.StreamResponse:
        """Answer; `fault` is one that strikes within the body, or None."""

    def _refuse(self, request: web.Request) -> web.Response | None:  # noqa: ARG002 - most refuse nobody
        """Return the answer for a client that is not served at all; no fault strikes it."""
        return None

    def _settle(self, entry: Entry, response: web.StreamResponse | None) -> None:  # noqa: B027 - most count nothing
        """A request that was let in is over; `response` is None where its client left."""

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        path, level = self._named(request)
        entry = Entry(
            number=len(self.requests) + 1,
            method=request.method,
            path=path,
            query=request.rel_url.raw_query_string,
            level=level,
            accept=", ".join(request.headers.getall("Accept", [])),
            authorized="Authorization" in request.headers,
            client=request.remote or "",
            range=request.headers.get("Range", ""),
            if_match=request.headers.get("If-Match", ""),
        )
        self.requests.append(entry)
        refusal = self._refuse(request)
        if refusal is not None:
            return _ended(entry, refusal)
        if self._is_worthless(request):
            entry.fault = "expire"
            return _ended(entry, unauthorized())
        fault = self._faults.strike(path, level)
        response: web.StreamResponse | None = None
        try:
            response = await self._strike(request, entry, fault)
        except ConnectionResetError:  # the client has gone in the middle of the answer
            return NothingSent()
        finally:
            self._settle(entry, response)
        return _ended(entry, response)

    async def _strike(self, request: web.Request, entry: Entry, fault: f.Action | None) -> web.StreamResponse:
        match fault:
            case f.Expire():
                self._worthless.add(_fingerprint(request))
                entry.fault = fault.do
                return unauthorized()
            case f.Down():
                entry.fault = fault.do
                if self.door is not None:
                    await self.door.shut(fault.for_s)
                return NothingSent()
        early = await strike_early(request, entry, fault)
        if early is not None:
            return early
        response = await self._respond(request, entry, fault)
        if isinstance(fault, BodyFault) and isinstance(response, web.Response) and isinstance(response.body, bytes):
            answer = answer_of(response.status, response.headers, response.body)
            return await deliver(request, answer, entry, fault)
        return response

    def _is_worthless(self, request: web.Request) -> bool:
        return bool(self._worthless) and _fingerprint(request) in self._worthless

    async def journal(self, _: web.Request) -> web.Response:
        """Answer with the journal as a JSON list."""
        return web.json_response([entry.as_json() for entry in self.requests])


def _ended(entry: Entry, response: web.StreamResponse) -> web.StreamResponse:
    entry.status = 0 if isinstance(response, NothingSent) else response.status
    entry.done = True
    return response


def _fingerprint(request: web.Request) -> bytes:
    # The value itself is kept nowhere.
    return hashlib.sha256(request.headers.get("Authorization", "").encode()).digest()


@asynccontextmanager
async def listen(
    front: Front, base_path: str, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None
) -> AsyncIterator[None]:
    """Serve while the block runs; `front.url` is then set, and ends with `base_path`.

    Raises OSError where the port is taken.
    """
    application = web.Application()
    application.router.add_get(JOURNAL_PATH, front.journal)
    front.add_routes(application.router)
    runner = web.AppRunner(
        application,
        access_log=None,
        handler_cancellation=True,  # a stalled request ends when its client goes away
        shutdown_timeout=0.1,
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
    )
    await runner.setup()
    door = front.door = Door(runner, host, tls)
    try:
        scheme = "http" if tls is None else "https"
        front.url = f"{scheme}://{host}:{await door.open(port)}{base_path}"
        yield
    finally:
        await door.close()
        await runner.cleanup()
