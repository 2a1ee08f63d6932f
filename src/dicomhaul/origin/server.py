"""The embedded DICOMweb origin: QIDO-RS and WADO-RS over a catalog, in the style of a real server, with
faults.

A request goes this way: it is entered in the journal; the fault script says what to do to it; what it asks
for is looked up; an `Outlet` sends it, in the style's framing, and breaks it off where the fault wants that.

For tests and demonstrations only: plain GET, at most one fixed credential, a journal that grows with each
request.
"""

import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

from aiohttp import web

from dicomhaul.origin import faults as f
from dicomhaul.origin.accept import choose_offer
from dicomhaul.origin.catalog import Catalog, StoredInstance
from dicomhaul.origin.framing import Framing, Part, part_of, spoil
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.outlet import BrokenOffError, CloseDelimited, Outlet, break_connection, stall
from dicomhaul.origin.qido import BadQueryError, find_page, parse_search
from dicomhaul.origin.resource import Resource, parse_resource
from dicomhaul.origin.style import ORTHANC, Style

BASE_PATH = "/dicom-web"
JOURNAL_PATH = "/_origin/journal"
_HEADER_LIMIT = 64 * 1024

LateFault = f.Cut | f.Stall | f.Truncate


class Origin:
    """A running origin.

    Attributes:
        url: the DICOMweb base URL, without a slash at its end.
        requests: the journal, oldest first. Live: an entry can change while its request is being answered.
        catalog: what it holds.
        style: whom it plays.
    """

    def __init__(self, catalog: Catalog, style: Style, faults: f.Script, authorization: str | None) -> None:
        self.url = ""
        self.requests: list[Entry] = []
        self.catalog = catalog
        self.style = style
        self._faults = faults
        self._authorization = authorization
        self._pages: Counter[str] = Counter()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer any request below the base URL."""
        path = request.path.removeprefix(BASE_PATH)
        resource = parse_resource(path)
        level = None if resource is None else resource.level
        entry = Entry(
            number=len(self.requests) + 1,
            method=request.method,
            path=path,
            query=request.rel_url.raw_query_string,
            level=level,
            accept=", ".join(request.headers.getall("Accept", [])),
            authorized="Authorization" in request.headers,
        )
        self.requests.append(entry)
        fault = self._faults.strike(path, level)
        entry.fault = "" if fault is None else fault.do
        try:
            response = await self._answer(request, resource, entry, fault)
        except ConnectionResetError:  # the client has gone in the middle of the answer
            return web.Response()
        entry.status = response.status
        entry.done = True
        return response

    async def journal(self, _: web.Request) -> web.Response:
        """Answer with the journal as a JSON list."""
        return web.json_response([entry.as_json() for entry in self.requests])

    async def _answer(
        self, request: web.Request, resource: Resource | None, entry: Entry, fault: f.Action | None
    ) -> web.StreamResponse:
        struck = await self._strike_early(request, fault)
        if struck is not None:
            return struck
        if self._authorization not in {None, request.headers.get("Authorization")}:
            return self._error(401, "who are you?", {"WWW-Authenticate": 'Basic realm="origin"'})
        if request.method != "GET":
            return self._error(405, "only GET", {"Allow": "GET"})
        match resource:
            case None:
                response: web.StreamResponse = self._error(404, "no such resource")
            case Resource(level="search"):
                response = self._search(request, resource)
            case Resource(level="metadata"):
                response = await self._metadata(resource)
            case _:
                response = await self._retrieve(request, resource, entry, fault)
        return response

    async def _strike_early(self, request: web.Request, fault: f.Action | None) -> web.Response | None:
        match fault:
            case f.Status():
                content_type = "text/html" if fault.body.lstrip().startswith("<") else "text/plain"
                headers = {"Content-Type": content_type, **fault.headers}
                return web.Response(status=fault.status, headers=headers, body=fault.body.encode())
            case f.Cut(after_bytes=None):
                break_connection(request, reset=fault.reset)
                return web.Response()  # goes nowhere: its connection is closed
            case f.Stall(after_bytes=None):
                await stall()
        return None

    def _search(self, request: web.Request, resource: Resource) -> web.Response:
        if resource.template not in self.style.searches:
            return self._error(404, "no such search")
        try:
            search = parse_search(resource.depth, request.query.items(), self.style)
        except BadQueryError as error:
            return self._error(400, str(error))
        key = f"{resource.depth} {resource.study} {resource.series} {search.filters}"
        page = find_page(
            self.catalog,
            search,
            self.style,
            study=resource.study,
            series=resource.series,
            shift=self._pages[key],
        )
        self._pages[key] += 1
        headers = {"Content-Type": "application/dicom+json"}
        if self.style.warns and page.remaining:
            more = f"There are {page.remaining} additional results that can be requested"
            headers["Warning"] = f'299 {request.host}: "{more}"'
        if not page.results and self.style.empty == 204:
            return web.Response(status=204)
        return web.Response(body=json.dumps(page.results).encode(), headers=headers)

    async def _metadata(self, resource: Resource) -> web.Response:
        found = self._select(resource)
        if not found:
            return self._error(404, "no such resource")
        body = json.dumps([await instance.metadata() for instance in found]).encode()
        return web.Response(body=body, headers={"Content-Type": "application/dicom+json"})

    async def _retrieve(
        self, request: web.Request, resource: Resource, entry: Entry, fault: f.Action | None
    ) -> web.StreamResponse:
        found = self._select(resource)
        if not found:
            return self._error(404, "no such resource")
        offer = choose_offer(entry.accept, self.style, one_instance=resource.sop is not None)
        if offer is None or not all(offer.gives(instance.transfer_syntax) for instance in found):
            return self._error(self.style.refused, "cannot answer in an acceptable form")
        parts = [part_of(instance) for instance in found]
        if isinstance(fault, f.Part):
            parts = await spoil(fault, found, self._foreign(resource))
        entry.parts = len(parts)
        late = fault if isinstance(fault, LateFault) else None
        if offer.multipart:
            return await self._send_multipart(request, parts, entry, late)
        if not parts:
            return self._error(404, "no such resource")
        return await self._send_single(request, parts[0], entry, late)

    async def _send_multipart(
        self, request: web.Request, parts: Sequence[Part], entry: Entry, fault: LateFault | None
    ) -> web.StreamResponse:
        framing = Framing(self.style)
        size = framing.size_bytes(parts) if len(parts) < 2 else None
        response = await self._open(request, framing.content_type, size, fault)
        outlet = Outlet(request, response, entry, fault)
        try:
            async for piece in framing.body(parts):
                await outlet.write(piece)
            if fault is not None and fault.after_bytes is None:
                await outlet.flush()
                await outlet.break_off()
            await outlet.write(framing.closing)
            await outlet.finish()
        except BrokenOffError as broken:
            if not broken.ended:
                return response
        await response.write_eof()
        return response

    async def _send_single(
        self, request: web.Request, part: Part, entry: Entry, fault: LateFault | None
    ) -> web.StreamResponse:
        content_type = f"application/dicom; transfer-syntax={part.syntax}"
        response = await self._open(request, content_type, part.size_bytes, fault)
        outlet = Outlet(request, response, entry, fault)
        try:
            async for piece in part.chunks():
                await outlet.write(piece)
            await outlet.finish()
        except BrokenOffError as broken:
            if not broken.ended:
                return response
        await response.write_eof()
        return response

    async def _open(
        self, request: web.Request, content_type: str, size_bytes: int | None, fault: LateFault | None
    ) -> web.StreamResponse:
        headers = {"Content-Type": content_type}
        if self.style.outer == "chunked":
            response = web.StreamResponse(headers=headers)
            response.enable_chunked_encoding()
        elif size_bytes is None or isinstance(fault, f.Truncate):
            response = CloseDelimited(headers=headers)
            response.force_close()
        else:
            response = web.StreamResponse(headers=headers)
            response.content_length = size_bytes
        await response.prepare(request)
        return response

    def _select(self, resource: Resource) -> Sequence[StoredInstance]:
        if resource.study is None:
            return []
        return self.catalog.select(resource.study, resource.series, resource.sop)

    def _foreign(self, resource: Resource) -> StoredInstance | None:
        others = (one for one in self.catalog.series() if (one.study, one.series) != (resource.study, resource.series))
        return next((instance for one in others for instance in one), None)

    def _error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
        if self.style.json_errors:
            return web.json_response({"HttpStatus": status, "Message": message}, status=status, headers=headers)
        return web.Response(text=message, status=status, headers=headers)


@asynccontextmanager
async def serve(
    catalog: Catalog,
    *,
    style: Style = ORTHANC,
    faults: f.Script | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    authorization: str | None = None,
) -> AsyncIterator[Origin]:
    """Serve `catalog` while the block runs, and yield the running `Origin`.

    Args:
        catalog: what there is.
        style: whom to play.
        faults: what to do wrong; None: nothing.
        host: the address to listen on.
        port: 0 picks a free one.
        tls: a server-side context; None: plain HTTP.
        authorization: the Authorization header that each request must carry; others get a 401.

    Raises:
        OSError: the port is taken.
    """
    origin = Origin(catalog, style, faults or f.Script(), authorization)
    application = web.Application()
    application.router.add_get(JOURNAL_PATH, origin.journal)
    application.router.add_route("*", BASE_PATH + "{below:(/.*)?}", origin.answer)
    runner = web.AppRunner(
        application,
        access_log=None,
        handler_cancellation=True,  # a stalled request ends when its client goes away
        shutdown_timeout=0.1,
        max_line_size=_HEADER_LIMIT,
        max_field_size=_HEADER_LIMIT,
    )
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=tls)
        await site.start()
        scheme = "http" if tls is None else "https"
        origin.url = f"{scheme}://{host}:{runner.addresses[0][1]}{BASE_PATH}"
        yield origin
    finally:
        await runner.cleanup()
