"""Which HTTP proxy a URL goes through, as the environment says it. Pure: the caller brings the environment.

aiohttp could read the environment itself (`trust_env`), but would then also send what `~/.netrc` holds, and would look
both up again for each request.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import unquote, urlsplit, urlunsplit
from urllib.request import proxy_bypass_environment  # type: ignore[attr-defined]  # not in typeshed

from dicomhaul.errors import ConfigError

_SCHEMES = ("http", "https")


@dataclass(frozen=True, slots=True)
class Proxy:
    """One proxy. `authorization` is the value of a Proxy-Authorization header."""

    url: str
    authorization: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Proxies:
    """The proxies to use: by the scheme of the URL that is asked for, less the hosts that are asked directly."""

    by_scheme: Mapping[str, Proxy] = field(default_factory=dict)
    direct: str = ""  # as NO_PROXY has it

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> "Proxies":
        """Read HTTP_PROXY, HTTPS_PROXY, ALL_PROXY and NO_PROXY; names in lower case win, as in curl.

        Raises ConfigError for a proxy that is not http:// or https://.
        """
        found: dict[str, Proxy] = {}
        for scheme in _SCHEMES:
            for name in (f"{scheme}_proxy", f"{scheme}_proxy".upper(), "all_proxy", "ALL_PROXY"):
                if environ.get(name):
                    found[scheme] = _parse(environ[name], name)
                    break
        return cls(found, environ.get("no_proxy") or environ.get("NO_PROXY") or "")

    def for_url(self, scheme: str, host: str, port: int | None) -> Proxy | None:
        """Return the proxy for a URL of these parts; None: ask directly."""
        proxy = self.by_scheme.get(scheme)
        where = host if port is None else f"{host}:{port}"
        if proxy is None or (self.direct and proxy_bypass_environment(where, {"no": self.direct})):
            return None
        return proxy


def _parse(value: str, name: str) -> Proxy:
    text = value if "://" in value else f"http://{value}"
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if host is None or parts.scheme not in _SCHEMES:
        raise ConfigError(f"{name} does not hold the URL of an HTTP proxy")
    authorization = None
    if parts.username is not None:
        pair = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
        authorization = "Basic " + base64.b64encode(pair.encode()).decode("ascii")
    where = f"[{host}]" if ":" in host else host
    return Proxy(urlunsplit((parts.scheme, where if port is None else f"{where}:{port}", "", "", "")), authorization)
