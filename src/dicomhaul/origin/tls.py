"""Certificates for an origin, right ones and wrong ones, from an authority that is made up for the occasion."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

import trustme

Certificate = Literal["good", "expired", "not_yet", "other_name", "untrusted"]
OTHER_NAME: Final = "somebody-else.invalid"
_DAY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Identity:
    """Who an origin says that it is.

    Attributes:
        context: for `serve(tls=...)` and its kin.
        authority_pem: the authority's certificate, which a client is to trust (`SSL_CERT_FILE`).
    """

    context: ssl.SSLContext
    authority_pem: str


def make_identity(kind: Certificate = "good", host: str = "127.0.0.1") -> Identity:
    """Return a certificate for an origin on `host`, a name or an address, with its key.

    `kind` says what is wrong with it: nothing; it ended yesterday (`expired`); it begins tomorrow (`not_yet`); it is
    for `OTHER_NAME`; or another authority has signed it than the one that is returned (`untrusted`).
    """
    authority = trustme.CA()
    signer = trustme.CA() if kind == "untrusted" else authority
    now = datetime.now(UTC)
    begin, end = {"expired": (now - 2 * _DAY, now - _DAY), "not_yet": (now + _DAY, now + 2 * _DAY)}.get(
        kind, (now - _DAY, now + 30 * _DAY)
    )
    name = OTHER_NAME if kind == "other_name" else host
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    signer.issue_cert(name, not_before=begin, not_after=end).configure_cert(context)
    return Identity(context, authority.cert_pem.bytes().decode())
