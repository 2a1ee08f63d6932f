"""Tells a URL what became of a run, as JSON by POST.

What goes out names no patient, no path and no server's words about them: counts, the state, UIDs of what failed and
why, and these bounded. The URL may itself be a secret: it stands in no message. A receiver that fails changes nothing
about the run; it is told as a notice.

The standard library sends it, in a thread: one small request after a run is not worth the engine's client, and the
proxy of the environment is obeyed.
"""

import http.client
import json
import re
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio.to_thread

from dicomhaul.errors import ConfigError
from dicomhaul.events import Event, Noticed
from dicomhaul.observe.redact import redact
from dicomhaul.ports import Clock
from dicomhaul.report import Report

ATTEMPTS: Final = 3
_TIMEOUT_S: Final = 10.0
_FIRST_WAIT_S: Final = 2.0
_SHOWN_FAILURES: Final = 20
_REASON_CHARS: Final = 300
_MOST_URL_BYTES: Final = 4096
_PATH: Final = re.compile(r"(?<![\w:/])(?:[A-Za-z]:)?[/\\][^\s'\",;:()]+")  # not that of a URL
_QUIET: Final = frozenset({"complete", "interrupted"})  # of these nobody needs to be woken
_RETRIED: Final = frozenset({408, 425, 429})


def check_url(url: str) -> str:
    """Return the host of a webhook's URL, which may be named. Raises ConfigError unless it is https, or loopback."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        parts.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        raise ConfigError("the URL of the webhook is malformed") from None
    if not host or not url.isascii() or not url.isprintable() or " " in url:
        raise ConfigError("the URL of the webhook is malformed")
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(host)):
        raise ConfigError("a webhook's URL begins with https://; http:// is for this very machine alone")
    if "@" in parts.netloc:
        raise ConfigError("the URL of the webhook holds a user: a secret belongs into its path")
    return host


def read_url(file: Path) -> str:
    """Return the URL that a file holds. Raises ConfigError."""
    try:
        with file.open("rb") as stream:
            raw = stream.read(_MOST_URL_BYTES + 1)
        url = raw.decode("ascii").strip()
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no text"
        raise ConfigError(f"cannot read the webhook's URL from {file}: {why}") from None
    check_url(url)
    return url


def is_worth_telling(state: str, *, always: bool) -> bool:
    """Say whether a run that ended so is told: each, or those that neither completed nor were stopped by somebody."""
    return always or state not in _QUIET


def message(name: str, report: Report | None, error: Exception | None) -> dict[str, Any]:
    """Return what is sent of a run: of its report, or of the error that ended it, which may carry one.

    An error is named by its class alone, since its words may hold paths: DiskFull, LedgerError, SyncRefused.
    """
    report = report if report is not None else getattr(error, "report", None)
    table: dict[str, Any] = {"job": name, "state": "failed" if error is not None else "", "reason": ""}
    if report is not None:
        table |= report.as_json()
        del table["dest"]
        table["failures"] = [
            {**each.as_json(), "reason": _plain(each.reason)} for each in report.failures[:_SHOWN_FAILURES]
        ]
        table["failures_in_all"] = len(report.failures)
        table["reason"] = _plain(report.reason)
    if error is not None:
        table |= {"state": "failed", "reason": type(error).__name__, "error": type(error).__name__}
    return table


def _plain(text: str) -> str:
    return _PATH.sub("[path]", redact(text))[:_REASON_CHARS]


async def post(url: str, table: dict[str, Any], *, clock: Clock, tell: Callable[[Event], None]) -> bool:
    """Send it, up to three times; say whether it arrived. What goes wrong is told in a notice, and nothing else.

    Args:
        url: where to, see `check_url`.
        table: what is sent.
        clock: waits between attempts.
        tell: is told what went wrong.
    """
    host, body = check_url(url), json.dumps(table).encode()
    why = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            await clock.sleep(_FIRST_WAIT_S * 2 ** (attempt - 1))
        why, again = await anyio.to_thread.run_sync(_send, url, body, abandon_on_cancel=True)
        if not why:
            return True
        if not again:
            break
    tell(Noticed(f"the webhook at {host} was not told: {why}"))
    return False


class _Stay(urllib.request.HTTPRedirectHandler):
    """A report goes where the user said and nowhere else."""

    def redirect_request(self, *_: Any) -> None:
        """Follow nobody."""


def _send(url: str, body: bytes) -> tuple[str, bool]:
    """Return what went wrong ('' if nothing), and whether another attempt may help."""
    request = urllib.request.Request(  # noqa: S310 - checked by `check_url`
        url, data=body, method="POST", headers={"Content-Type": "application/json", "User-Agent": "dicomhaul"}
    )
    tls = urllib.request.HTTPSHandler(context=ssl.create_default_context())
    handlers = [tls, _Stay()]
    if _is_loopback(urlsplit(url).hostname or ""):
        handlers.append(urllib.request.ProxyHandler({}))
    try:
        with urllib.request.build_opener(*handlers).open(request, timeout=_TIMEOUT_S):
            return "", False
    except urllib.error.HTTPError as error:
        with error:
            return f"HTTP {error.code}", error.code >= 500 or error.code in _RETRIED
    except (OSError, http.client.HTTPException) as error:  # its text may hold the URL
        reason = getattr(error, "reason", error)
        return f"{type(reason).__name__}", True


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
