"""All of IDC's origins over the same holdings: the buckets on AWS and on Google, the proxy, the store on Google."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

from dicomhaul.origin.allowance import Allowance
from dicomhaul.origin.bucket import BucketOrigin, serve_bucket
from dicomhaul.origin.faults import Script
from dicomhaul.origin.front import Front
from dicomhaul.origin.holdings import BUCKETS, Holdings
from dicomhaul.origin.server import Origin, serve
from dicomhaul.origin.style import IDC_GOOGLE, IDC_PROXY

Name = Literal["bucket", "gcs", "proxy", "google"]

PROXY_PATH: Final = "/current/viewer-only-no-downloads-see-tinyurl-dot-com-slash-3j3d9jyp/dicomWeb"
GOOGLE_PATH: Final = "/v1/projects/nci-idc-data/locations/us-central1/datasets/idc/dicomStores/idc-store/dicomWeb"
GCS_NAMES: Final = {"idc-open-data-two": "idc-open-idc1", "idc-open-data-cr": "idc-open-cr"}
TOKEN: Final = "origin-token"  # noqa: S105 - opens nothing but the embedded origin
BYTES_PER_DAY: Final = 50_000_000_000  # nobody tells the real one

_PROFILES: Final[Mapping[Name, str]] = {
    "bucket": "idc-bucket",
    "gcs": "idc-bucket-gcs",
    "proxy": "idc-proxy",
    "google": "idc-google",
}


@dataclass(frozen=True, slots=True)
class IdcOrigins:
    """The four, running."""

    bucket: BucketOrigin
    gcs: BucketOrigin
    proxy: Origin
    google: Origin

    def by_name(self) -> dict[Name, Front]:
        """Return each by its name."""
        return {"bucket": self.bucket, "gcs": self.gcs, "proxy": self.proxy, "google": self.google}


def profile_toml(name: Name, url: str, more: str = "") -> str:
    """Return a profile for one of them, as a user would write it: it is called `local-<name>`.

    `more` is TOML that is added: top-level keys first, then tables.
    """
    lines = [
        f'name = "local-{name}"',
        f'extends = "{_PROFILES[name]}"',
        f'url = "{url}"',
        'index = "idc"',
        f'kind = "{"bucket" if name in {"bucket", "gcs"} else "dicomweb"}"',
        *more.splitlines(),
    ]
    if name == "google" and "[auth]" not in lines:
        lines += ["[auth]", 'kind = "bearer"']
    return "\n".join([*lines, ""])


@asynccontextmanager
async def serve_idc(
    holdings: Holdings,
    *,
    faults: Mapping[Name, Script] | None = None,
    allowance: Allowance | None = None,
    response_bytes: int = 32_000_000,
    token: str = TOKEN,
    multipart_above: int | None = None,
    page_max: int = 1000,
    tls: ssl.SSLContext | None = None,
    host: str = "127.0.0.1",
    ports: Mapping[Name, int] | None = None,
) -> AsyncIterator[IdcOrigins]:
    """Serve `holdings` by all four while the block runs.

    Args:
        holdings: what IDC holds. The proxy has what is present, the store on Google what of it is in `idc-open-data`.
        faults: what each does wrong.
        allowance: of the proxy's clients; None: 50 GB a day.
        response_bytes: the largest answer of the proxy.
        token: the bearer token that the store on Google wants.
        multipart_above: of both kinds of buckets, see `bucket.serve_bucket`.
        page_max: likewise.
        tls: a server-side context; None: plain HTTP.
        host: the address to listen on.
        ports: where each listens; 0, or one that is not named, picks a free one.

    Raises:
        OSError: a port is taken.
    """
    script, at = faults or {}, ports or {}
    proxy_style = replace(IDC_PROXY, response_bytes=response_bytes)
    async with AsyncExitStack() as stack:
        bucket = await stack.enter_async_context(
            serve_bucket(
                holdings,
                faults=script.get("bucket"),
                multipart_above=multipart_above,
                page_max=page_max,
                host=host,
                port=at.get("bucket", 0),
                tls=tls,
            )
        )
        gcs = await stack.enter_async_context(
            serve_bucket(
                holdings,
                cloud="gcs",
                names=GCS_NAMES,
                faults=script.get("gcs"),
                multipart_above=multipart_above,
                page_max=page_max,
                host=host,
                port=at.get("gcs", 0),
                tls=tls,
            )
        )
        proxy = await stack.enter_async_context(
            serve(
                holdings.catalog(),
                style=proxy_style,
                faults=script.get("proxy"),
                base_path=PROXY_PATH,
                allowance=allowance or Allowance(BYTES_PER_DAY),
                host=host,
                port=at.get("proxy", 0),
                tls=tls,
            )
        )
        google = await stack.enter_async_context(
            serve(
                holdings.catalog(BUCKETS[:1]),
                style=IDC_GOOGLE,
                faults=script.get("google"),
                base_path=GOOGLE_PATH,
                authorization=f"Bearer {token}",
                host=host,
                port=at.get("google", 0),
                tls=tls,
            )
        )
        yield IdcOrigins(bucket, gcs, proxy, google)
