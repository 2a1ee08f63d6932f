"""What a status code means, decided by the source's profile. Pure: no clock, no I/O.

The class of the error is the verdict: RetryableError: again; Throttled: slower; SourceError: leave the source alone;
RefusedError: this resource will not come by this route.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from http import HTTPStatus

from dicomhaul.errors import (
    Forbidden,
    HaulError,
    NotFound,
    QuotaExhausted,
    ServerFailed,
    SourceDown,
    Throttled,
    Unauthorized,
    Unsupported,
)
from dicomhaul.net.retry_after import parse_retry_after
from dicomhaul.profile import Profile

_DAY_S = 86_400


def error_for_status(
    status: int, headers: Mapping[str, str], profile: Profile, *, now_s: float, host: str
) -> HaulError:
    """Return the error that an HTTP status stands for; the caller raises it.

    Args:
        status: any status that the caller does not take for success.
        headers: of the response; only `Retry-After` and `Content-Length` are read. Case-insensitive.
        profile: its `status` table comes first, then the rules of HTTP: 401 wants credentials, 403 and 404/410 are
            final for the resource, and so is whatever else is left.
        now_s: seconds since the epoch, UTC, for dates in `Retry-After` and for the end of the day's quota.
        host: how the message calls the server.
    """
    meaning = profile.status
    what = f"{host} answers {_named(status)}"
    retry_after_s = parse_retry_after(headers.get("Retry-After"), now_s=now_s)
    if status in meaning.quota:
        return quota_used_up(what, now_s)
    empty = headers.get("Content-Length", "").strip() == "0"
    if status in meaning.stop or (empty and status in meaning.stop_if_empty):
        if status in {401, 403}:
            return Unauthorized(f"{what}: it gives us nothing")
        return SourceDown(f"{what}: nothing will come from it until that is mended there")
    if status in meaning.throttle:
        return Throttled(what, retry_after_s=retry_after_s)
    if status in meaning.retry:
        return ServerFailed(what, retry_after_s=retry_after_s)
    return _by_http(status, what)


def _by_http(status: int, what: str) -> HaulError:
    match status:
        case 401:
            return Unauthorized(f"{what}: it wants credentials, or does not accept ours")
        case 407:
            return SourceDown("the proxy wants credentials (407)")
        case 403:
            return Forbidden(what, status=status)
        case 404 | 410:
            return NotFound(what, status=status)
    return Unsupported(what, status=status)


def _named(status: int) -> str:
    try:
        return f"{status} ({HTTPStatus(status).phrase})"
    except ValueError:
        return str(status)


def quota_used_up(what: str, now_s: float) -> QuotaExhausted:
    """Return the error that ends a day's quota, which says when there is a new one."""
    until_s = next_midnight_s(now_s)
    opens = datetime.fromtimestamp(until_s, UTC)
    return QuotaExhausted(f"{what}: the day's quota is used up until {opens:%Y-%m-%d %H:%M} UTC", until_s=until_s)


def next_midnight_s(now_s: float) -> float:
    """00:00 UTC of the day after: when the IDC proxy counts anew (docs/servers.md, "What status codes mean")."""
    return (now_s // _DAY_S + 1) * _DAY_S
