"""The embedded DICOMweb origin: QIDO-RS and WADO-RS over a catalog, in the style of a real server, with
faults.

A request goes this way: it is entered in the journal; an allowance may refuse it; the fault script says what to do to
it; what it asks for is looked up and framed as the style does; an `Outlet` sends it, and breaks it off where the fault
wants that; what was sent is charged to the allowance.

For tests and demonstrations only: plain GET, at most one fixed credential, a journal that grows with each
request.
"""

import json
import ssl
from collections import Counter
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web

from dicomhaul.origin import faults as f
from dicomhaul.origin.accept import choose_offer
from dicomhaul.origin.allowance import Allowance
from dicomhaul.origin.answer import Answer
from dicomhaul.origin.catalog import Catalog, StoredInstance
from dicomhaul.origin.feed import Teller
from dicomhaul.origin.framing import Framing, Part, part_of
from dicomhaul.origin.front import Front, listen
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.misframe import misframed, strikes
from dicomhaul.origin.outlet import deliver
from dicomhaul.origin.pages import spoilt_page
from dicomhaul.origin.qido import BadQueryError, Page, Search, find_page, parse_search
from dicomhaul.origin.resource import Resource, parse_resource
from dicomhaul.origin.spoil import spoil
from dicomhaul.origin.style import ORTHANC, Style

BASE_PATH: Final = "/dicom-web"
USAGE_PATH: Final = "/quota_usage"


class Origin(Front):
    """A running DICOMweb origin.

    Attributes:
        url, requests: see `Front`.
        catalog: what it holds.
        style: whom it plays.
        allowance: what its clients may have; None: everything.
        teller: tells what changed; None: nobody does.
    """

    def __init__(
        self,
        catalog: Catalog,
        style: Style,
        faults: f.Script | None,
        *,
        base_path: str,
        authorization: frozenset[str],
        allowance: Allowance | None,
        teller: Teller | None,
    ) -> None:
        super().__init__(faults)
        self.teller = teller
        self.catalog = catalog
        self.style = style
        self.allowance = allowance
        self._base_path = base_path
        self._authorization = authorization
        self._pages: Counter[str] = Counter()

    def add_routes(self, router: web.UrlDispatcher) -> None:
        """See `Front`. Other paths of the host are a 404."""
        for root in () if self.teller is None else self.teller.roots:
            router.add_get(root + "{below:(/.*)?}", self.answer)
        router.add_route("*", self._base_path + "{below:(/.*)?}", self.answer)
        if self.allowance is not None:
            router.add_get(USAGE_PATH, self.answer)

    def _named(self, request: web.Request) -> tuple[str, f.Level | None]:
        if request.path == USAGE_PATH:
            return USAGE_PATH, "usage"
        if self._is_told(request.path):
            return request.path, "feed"
        path = request.path.removeprefix(self._base_path)
        resource = parse_resource(path)
        return path, None if resource is None else resource.level

    def _is_told(self, path: str) -> bool:
        roots = () if self.teller is None else self.teller.roots
        return any(path == root or path.startswith(f"{root}/") for root in roots)

    def _refuse(self, request: web.Request) -> web.Response | None:
        allowance, client = self.allowance, request.remote or ""
        if allowance is None or request.path == USAGE_PATH:
            return None
        if client in allowance.denied:
            return web.Response(status=403)
        if allowance.is_over(client):
            return web.Response(status=429, text=allowance.page(), content_type="text/html", charset="utf-8")
        return None

    def _settle(self, entry: Entry, response: web.StreamResponse | None) -> None:
        if self.allowance is None or entry.level == "usage":
            return
        entry.charged_bytes += entry.body_bytes + len(_body(response))
        self.allowance.charge(entry.client, entry.charged_bytes)

    async def _respond(self, request: web.Request, entry: Entry, fault: f.Action | None) -> web.StreamResponse:
        if self.allowance is not None and entry.level == "usage":
            return web.json_response(self.allowance.usage(entry.client))
        response = await self._answer(request, entry, fault)
        limit = self.style.response_bytes
        if limit is not None and isinstance(response, web.Response) and len(_body(response)) > limit:
            return _too_large(entry, len(_body(response)))
        return response

    async def _answer(self, request: web.Request, entry: Entry, fault: f.Action | None) -> web.StreamResponse:
        if self._authorization and request.headers.get("Authorization") not in self._authorization:
            return self._error(401, "who are you?", {"WWW-Authenticate": 'Basic realm="origin"'})
        if request.method != "GET":
            return self._error(405, "only GET", {"Allow": "GET"})
        if self.teller is not None and entry.level == "feed":
            return self.teller.tell(entry.path, request.query)
        resource = parse_resource(entry.path)
        match resource:
            case None:
                response: web.StreamResponse = self._error(404, "no such resource")
            case Resource(level="search"):
                response = self._search(request, resource, entry, fault)
            case Resource(level="metadata"):
                response = await self._metadata(resource)
            case _:
                response = await self._retrieve(request, resource, entry, fault)
        return response

    def _search(self, request: web.Request, resource: Resource, entry: Entry, fault: f.Action | None) -> web.Response:
        if resource.template not in self.style.searches:
            return self._error(404, "no such search")
        try:
            search = parse_search(resource.depth, request.query.items(), self.style)
        except BadQueryError as error:
            return self._error(400, str(error))
        key = f"{resource.depth} {resource.study} {resource.series} {search.filters}"
        shift = self._pages[key]

        def page_of(wanted: Search) -> Page:
            below = resource.study, resource.series
            return find_page(self.catalog, wanted, self.style, study=below[0], series=below[1], shift=shift)

        page = page_of(search)
        if isinstance(fault, f.Pages):
            spoilt = spoilt_page(search, fault, page_of)
            entry.fault, page = (fault.do, spoilt) if spoilt != page else ("", page)
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
            return self._error(self.style.missing, "no such resource")
        body = json.dumps([await instance.metadata() for instance in found]).encode()
        return web.Response(body=body, headers={"Content-Type": "application/dicom+json"})

    async def _retrieve(
        self, request: web.Request, resource: Resource, entry: Entry, fault: f.Action | None
    ) -> web.StreamResponse:
        found = self._select(resource)
        if not found:
            return self._error(self.style.missing, "no such resource")
        offer = choose_offer(entry.accept, self.style, one_instance=resource.sop is not None)
        if offer is None or not all(offer.gives(instance.transfer_syntax) for instance in found):
            return self._error(self.style.refused, "cannot answer in an acceptable form")
        parts = [part_of(instance) for instance in found]
        if isinstance(fault, f.Part):
            spoilt = await spoil(fault, found, self._foreign(resource, fault))
            entry.fault, parts = (fault.do, spoilt) if spoilt is not None else ("", parts)
        entry.parts = len(parts)
        if offer.multipart:
            answer = await self._framed(parts, entry, fault)
        elif parts:
            answer = _single(parts[0], self.style.outer if self.style.outer == "chunked" else "length")
        else:
            return self._error(self.style.missing, "no such resource")
        limit = self.style.response_bytes
        if limit is not None and answer.size_bytes > limit:
            return _too_large(entry, answer.size_bytes)
        return await deliver(request, answer, entry, fault)

    async def _framed(self, parts: Sequence[Part], entry: Entry, fault: f.Action | None) -> Answer:
        framing = Framing(self.style)
        body = framing.body(parts)
        outer: f.Outer = "length" if self.style.outer == "close" and len(parts) < 2 else self.style.outer
        if isinstance(fault, f.Multipart) and strikes(fault, parts):
            entry.fault = fault.do
            if fault.wrong == "single":
                entry.parts = 1
                return _single(parts[fault.count], outer)
            body = await misframed(framing, parts, fault)
        return Answer(200, {"Content-Type": body.content_type}, body.iter_chunks, body.size_bytes, outer, body.closing)

    def _select(self, resource: Resource) -> Sequence[StoredInstance]:
        if resource.study is None:
            return []
        return self.catalog.select(resource.study, resource.series, resource.sop)

    def _foreign(self, resource: Resource, fault: f.Part) -> StoredInstance | None:
        others = (one for one in self.catalog.series() if (one.study, one.series) != (resource.study, resource.series))
        if fault.wrong == "foreign_study":
            others = (one for one in self.catalog.series() if one.study != resource.study)
        return next((instance for one in others for instance in one), None)

    def _error(self, status: int, message: str, headers: Mapping[str, str] | None = None) -> web.Response:
        if self.style.json_errors:
            return web.json_response({"HttpStatus": status, "Message": message}, status=status, headers=headers)
        return web.Response(text=message, status=status, headers=headers)


def _single(part: Part, outer: f.Outer) -> Answer:
    headers = {"Content-Type": f"application/dicom; transfer-syntax={part.syntax}"}
    return Answer(200, headers, part.chunks, part.size_bytes, outer)


def _body(response: web.StreamResponse | None) -> bytes:
    """Return the body of an answer that is not streamed."""
    body = response.body if isinstance(response, web.Response) else None
    return body if isinstance(body, bytes) else b""


def _too_large(entry: Entry, size_bytes: int) -> web.Response:
    # What the proxy had yielded when App Engine threw it away is counted all the same.
    entry.charged_bytes = size_bytes
    return web.Response(status=500)


@asynccontextmanager
async def serve(
    catalog: Catalog,
    *,
    style: Style = ORTHANC,
    faults: f.Script | None = None,
    host: str = "127.0.0.1",
    port: int = 0,
    tls: ssl.SSLContext | None = None,
    authorization: str | Collection[str] | None = None,
    base_path: str = BASE_PATH,
    allowance: Allowance | None = None,
    teller: Teller | None = None,
) -> AsyncIterator[Origin]:
    """Serve `catalog` while the block runs, and yield the running `Origin`.

    Args:
        catalog: what there is.
        style: whom to play.
        faults: what to do wrong; None: nothing.
        host: the address to listen on.
        port: 0 picks a free one.
        tls: a server-side context; None: plain HTTP.
        authorization: the Authorization header that each request must carry, or several of which it must carry one;
            others get a 401.
        base_path: what the DICOMweb paths stand below.
        allowance: what each client may have in a day; None: everything.
        teller: tells what changed; None: nobody does.

    Raises:
        OSError: the port is taken.
    """
    valid = frozenset([authorization]) if isinstance(authorization, str) else frozenset(authorization or ())
    origin = Origin(
        catalog, style, faults, base_path=base_path, authorization=valid, allowance=allowance, teller=teller
    )
    async with listen(origin, base_path, host=host, port=port, tls=tls):
        yield origin
