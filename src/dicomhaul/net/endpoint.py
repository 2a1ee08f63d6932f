"""Where a host is and how to connect to it: its base URL, checked, and its TLS contexts."""

import hashlib
import re
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from yarl import URL

from dicomhaul.errors import ConfigError
from dicomhaul.net.proxy import Proxies
from dicomhaul.profile import Profile

# A host as it stands in messages, too, whoever named it: a name of at most 253 characters (RFC 1035 section 2.3.4; with
# the underscore, which real networks use), or an address, which may name a zone (RFC 6874).
_HOST = re.compile(r"[0-9A-Za-z._-]{1,253}|[0-9A-Fa-f:.]{2,45}(%[0-9A-Za-z._-]{1,32})?")
_CERTIFICATE = re.compile("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a host is and how to connect to it.

    `base_url` holds no credentials and no query. `ca_file` is used in place of
    the system's authorities. `max_connections` bounds open connections.
    """

    base_url: str
    profile: Profile
    max_connections: int
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    proxies: Proxies = field(default_factory=Proxies)

    @property
    def host(self) -> str:
        """How messages call it: name, and port if the URL has one. Raises ConfigError for a URL that is none."""
        return host_of(parse_base(self.base_url))


class Tls:
    """The TLS contexts of a session: one for the host, and one without our client certificate for anybody else."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._contexts: dict[bool, ssl.SSLContext] = {}

    def context(self, *, at_home: bool) -> ssl.SSLContext:
        """Return the context for the host itself, or for another that it redirects to."""
        if at_home not in self._contexts:
            self._contexts[at_home] = tls_context(self._endpoint, with_certificate=at_home)
        return self._contexts[at_home]


def tls_context(endpoint: Endpoint, *, with_certificate: bool = True) -> ssl.SSLContext:
    """Return a context that trusts whom the endpoint trusts, and shows our certificate, if there is one.

    Raises ConfigError for a file that cannot be read.
    """
    ca_file = endpoint.ca_file
    try:
        context = ssl.create_default_context(cafile=ca_file)
    except OSError as error:
        raise ConfigError(f"cannot use the CA file {ca_file}: {error.strerror or 'not PEM'}") from None
    certificate = endpoint.client_cert
    if with_certificate and certificate is not None:
        try:
            context.load_cert_chain(certificate, endpoint.client_key, password=_no_passphrase)
        except OSError as error:
            raise ConfigError(
                f"cannot use the client certificate {certificate}: {error.strerror or 'not PEM'}"
            ) from None
    return context


def fingerprint_of(certificate: Path) -> str:
    """Name a client certificate, by the SHA-256 of the first one in its file. Raises ConfigError."""
    try:
        found = _CERTIFICATE.search(certificate.read_text("ascii", errors="replace"))
        der = b"" if found is None else ssl.PEM_cert_to_DER_cert(found[0])
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot use the client certificate {certificate}: {error}") from None
    return f"client certificate, sha256 {hashlib.sha256(der).hexdigest()}"


def _no_passphrase() -> str:
    """OpenSSL would ask on the terminal otherwise, and a nightly run would hang."""
    raise ConfigError("the key of the client certificate has a passphrase; use one without")


def parse_base(base_url: str) -> URL:
    """Return a base URL as one. Raises ConfigError if it is none, or holds a user, a query or a fragment."""
    try:
        url = URL(base_url)
        usable = can_be_asked(url)
    except ValueError:
        usable = False
    if not usable:
        raise ConfigError("the URL of a source begins with http:// or https:// and a host")
    if url.user is not None or url.password is not None or url.query_string or url.fragment:
        raise ConfigError(f"the URL of {host_of(url)} has a user, a query or a fragment, which it cannot have")
    return url


def can_be_asked(url: URL) -> bool:
    """Say whether a URL is one of HTTP, whose host can be asked for and told.

    Raises ValueError for a host that no name server could be asked for.
    """
    host = url.raw_host or ""
    return url.scheme in {"http", "https"} and _HOST.fullmatch(host) is not None and bool(host.encode("idna"))


def host_of(url: URL) -> str:
    """How messages call the host of a URL: name, and port if the URL has one."""
    host = url.host_subcomponent or ""
    return host if url.explicit_port is None else f"{host}:{url.explicit_port}"
