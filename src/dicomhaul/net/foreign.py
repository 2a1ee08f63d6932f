"""What aiohttp, ssl and the system raise, as errors of ours: one table, from the narrow to the wide.

Messages name the host and never the URL: a path holds UIDs, and a query string can hold a patient.
"""

import os
import socket
import ssl
from collections.abc import Callable

import aiohttp
from aiohttp.http import HttpProcessingError

from dicomhaul.errors import ConfigError, Disconnected, HaulError, SourceDown, TimedOut

FOREIGN: tuple[type[Exception], ...] = (aiohttp.ClientError, HttpProcessingError, OSError)

# OpenSSL's verify codes for a chain that ends in an authority which is not trusted here.
_UNKNOWN_AUTHORITY = {18, 19, 20, 21}


def error_for(exception: Exception, host: str) -> HaulError:
    """Return our error for one of `FOREIGN`; the caller raises it. `host` is how messages call the other end."""
    for kind, make in _TABLE:
        if isinstance(exception, kind):
            return make(exception, host)
    raise TypeError(f"not foreign: {type(exception).__name__}") from exception


def connect_error_for(exception: OSError, host: str) -> HaulError:
    """Likewise for what kept a connection from coming about, where aiohttp had no part in it."""
    match exception:
        case ssl.SSLCertVerificationError():
            return _certificate(exception, host)
        case ssl.SSLError():
            return _tls(exception, host)
        case socket.gaierror():
            return _dns(exception, host)
        case TimeoutError():
            return _connect_timeout(exception, host)
    return _connect(exception, host)


def _certificate(exception: Exception, host: str) -> HaulError:
    inner = getattr(exception, "certificate_error", exception)
    message = getattr(inner, "verify_message", "") or "it does not verify"
    hint = ""
    if getattr(inner, "verify_code", None) in _UNKNOWN_AUTHORITY:
        hint = "; if that is right, name its authority with --ca-file"
    return SourceDown(f"the TLS certificate of {host} is not accepted: {message}{hint}")


def _tls(exception: Exception, host: str) -> HaulError:
    inner = exception.os_error if isinstance(exception, aiohttp.ClientConnectorError) else exception
    reason = str(getattr(inner, "reason", None) or "handshake failed").lower().replace("_", " ")
    if "wrong version number" in reason or "record layer" in reason or "http request" in reason:
        return SourceDown(f"{host} does not speak TLS on this port: is its URL http://, not https://?")
    if "certificate required" in reason or "handshake failure" in reason:
        return SourceDown(f"{host} refuses the TLS handshake ({reason}): does it want a client certificate?")
    return Disconnected(f"no TLS connection to {host}: {reason}", connected=False)


def _proxy_answer(exception: Exception, host: str) -> HaulError:
    status = exception.status if isinstance(exception, aiohttp.ClientResponseError) else 0
    if status in {401, 403, 407}:
        return SourceDown(f"the proxy does not let us through to {host} ({status})")
    return Disconnected(f"the proxy does not reach {host} ({status})", connected=False)


def _proxy(exception: Exception, host: str) -> HaulError:
    return Disconnected(f"no connection to the proxy for {host}: {_reason(exception)}", connected=False)


def _dns(_exception: Exception, host: str) -> HaulError:
    return Disconnected(f"the name of {host} cannot be looked up", connected=False)


def _connect(exception: Exception, host: str) -> HaulError:
    return Disconnected(f"no connection to {host}: {_reason(exception)}", connected=False)


def _connect_timeout(_exception: Exception, host: str) -> HaulError:
    return TimedOut(f"no connection to {host} within the time allowed", connected=False)


def _silence(_exception: Exception, host: str) -> HaulError:
    return TimedOut(f"{host} has gone silent")


def _not_http(_exception: Exception, host: str) -> HaulError:
    return Disconnected(f"{host} does not answer in HTTP, or not as it should: is its URL https://, not http://?")


def _payload(_exception: Exception, host: str) -> HaulError:
    return Disconnected(f"{host} ended the body too early")


def _closed(_exception: Exception, host: str) -> HaulError:
    return Disconnected(f"{host} closed the connection without an answer")


def _url(_exception: Exception, host: str) -> HaulError:
    return ConfigError(f"the URL of {host} is not one that can be asked")


def _broken(exception: Exception, host: str) -> HaulError:
    return Disconnected(f"the connection to {host} broke: {_reason(exception)}")


def _reason(exception: Exception) -> str:
    inner = exception.os_error if isinstance(exception, aiohttp.ClientConnectorError) else exception
    number = getattr(inner, "errno", None)
    text = os.strerror(number) if number is not None and number > 0 else getattr(inner, "strerror", None)
    return text.splitlines()[0].lower() if text else type(inner).__name__


_TABLE: tuple[tuple[type[Exception], Callable[[Exception, str], HaulError]], ...] = (
    (aiohttp.ClientConnectorCertificateError, _certificate),
    (aiohttp.ClientConnectorSSLError, _tls),
    (aiohttp.ClientConnectorDNSError, _dns),
    (aiohttp.ClientProxyConnectionError, _proxy),
    (aiohttp.ClientConnectorError, _connect),
    (aiohttp.ClientHttpProxyError, _proxy_answer),
    (aiohttp.ConnectionTimeoutError, _connect_timeout),
    (TimeoutError, _silence),
    (aiohttp.InvalidURL, _url),
    (aiohttp.ClientResponseError, _not_http),
    (HttpProcessingError, _not_http),
    (aiohttp.ClientPayloadError, _payload),
    (aiohttp.ServerDisconnectedError, _closed),
    (ssl.SSLCertVerificationError, _certificate),
    (ssl.SSLError, _tls),
    (aiohttp.ClientError, _broken),
    (OSError, _broken),
)
