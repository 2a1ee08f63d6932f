"""Carries out the faults that stand instead of an answer."""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Final

from aiohttp import web

from dicomhaul.origin import faults as f
from dicomhaul.origin.journal import Entry
from dicomhaul.origin.outlet import break_connection, stall

_BLOCK_BYTES: Final = 64 * 1024
_INSTEAD: Final = (f.Status, f.Redirect, f.Flood, f.Raw)


class NothingSent(web.Response):
    """What a handler returns when the connection is closed already: it goes nowhere, and has no status."""


def unauthorized() -> web.Response:
    """Return the answer to a credential that is worth nothing."""
    return web.Response(status=401, headers={"WWW-Authenticate": 'Bearer realm="origin"'}, text="who are you?")


async def strike_early(request: web.Request, entry: Entry, fault: f.Action | None) -> web.StreamResponse | None:
    """Do what a fault wants instead of an answer, and return that; None: the answer is to be given."""
    if isinstance(fault, _INSTEAD) or (isinstance(fault, f.Cut | f.Stall) and fault.after_bytes is None):
        entry.fault = fault.do
    match fault:
        case f.Status():
            return web.Response(status=fault.status, headers=_headers_of(fault), body=fault.body.encode())
        case f.Redirect():
            return web.Response(status=fault.status, headers={"Location": _location(request, entry, fault)})
        case f.Flood():
            return await _flood(request, entry, fault)
        case f.Raw():
            return await _send_raw(request, entry, fault)
        case f.Cut(after_bytes=None, reset=reset):
            await break_connection(request, reset=reset)
            return NothingSent()
        case f.Stall(after_bytes=None):
            await stall()
    return None


def _headers_of(fault: f.Status) -> dict[str, str]:
    headers = {"Content-Type": _type_of(fault.body), **fault.headers}
    if fault.retry_after_s is None:
        return headers
    if fault.retry_after_as == "seconds":
        return {**headers, "Retry-After": str(fault.retry_after_s)}
    then = datetime.now(UTC) + timedelta(seconds=fault.retry_after_s)
    return {**headers, "Retry-After": format_datetime(then, usegmt=True)}


def _type_of(body: str) -> str:
    begin = body.lstrip()[:1]
    return {"<": "text/html", "{": "application/json", "[": "application/json"}.get(begin, "text/plain")


def _location(request: web.Request, entry: Entry, fault: f.Redirect) -> str:
    if not fault.to:
        return request.rel_url.raw_path_qs
    return fault.to.replace("{path}", request.rel_url.raw_path).replace("{number}", str(entry.number))


async def _flood(request: web.Request, entry: Entry, fault: f.Flood) -> web.StreamResponse:
    headers: Mapping[str, str] = {"Content-Type": _type_of(fault.before or fault.unit), **fault.headers}
    response = web.StreamResponse(status=fault.status, headers=headers)
    response.enable_chunked_encoding()
    await response.prepare(request)
    for block in _blocks(fault.before.encode(), fault.unit.encode(), fault.count, fault.after.encode()):
        await response.write(block)
        entry.body_bytes += len(block)
    await response.write_eof()
    return response


async def _send_raw(request: web.Request, entry: Entry, fault: f.Raw) -> web.StreamResponse:
    words = (each.encode("latin-1") for each in (fault.before, fault.unit, fault.after))
    before, unit, after = words
    for block in _blocks(before, unit, fault.count, after):
        if request.transport is None or request.transport.is_closing():
            return NothingSent()
        request.transport.write(block)
        entry.body_bytes += len(block)
        await request.writer.drain()
    if fault.end == "stall":
        await stall()
    await break_connection(request, reset=fault.end == "reset")
    return NothingSent()


def _blocks(before: bytes, unit: bytes, count: int, after: bytes) -> Iterator[bytes]:
    if before:
        yield before
    at_once = max(1, _BLOCK_BYTES // len(unit))
    whole, rest = divmod(count, at_once)
    block = unit * at_once if whole else b""
    for _ in range(whole):
        yield block
    if rest:
        yield unit * rest
    if after:
        yield after
