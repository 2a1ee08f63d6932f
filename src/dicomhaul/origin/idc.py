"""All of IDC's origins over the same holdings: the buckets on AWS and on Google, the proxy, the store on Google."""

import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final, Literal

from dicomhaul.origin.allowance import Allowance
from dicomhaul.origin.bucket import BucketOrigin, serve_bucket
from dicomhaul.origin.faults import Script
from dicomhaul.origin.front import Front
from dicomhaul.origin.holdings import BUCKETS, Holdings
from dicomhaul.origin.listing import PAGE_MAX
from dicomhaul.origin.server import Origin, serve
from dicomhaul.origin.style import IDC_GOOGLE, IDC_PROXY

IdcName = Literal["bucket", "gcs", "proxy", "google"]

PROXY_PATH: Final = "/current/viewer-only-no-downloads-see-tinyurl-dot-com-slash-3j3d9jyp/dicomWeb"
GOOGLE_PATH: Final = "/v1/projects/nci-idc-data/locations/us-central1/datasets/idc/dicomStores/idc-store/dicomWeb"
GCS_NAMES: Final = {"idc-open-data-two": "idc-open-idc1", "idc-open-data-cr": "idc-open-cr"}
TOKEN: Final = "origin-token"  # noqa: S105 - opens nothing but the embedded origin
BYTES_PER_DAY: Final = 50_000_000_000  # nobody tells the real one

_PROFILES: Final[Mapping[IdcName, str]] = {
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

    def by_name(self) -> dict[IdcName, Front]:
        """Return each by its name."""
        return {"bucket": self.bucket, "gcs": self.gcs, "proxy": self.proxy, "google": self.google}


def profile_toml(name: IdcName, url: str, more: str = "") -> str:
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


@dataclass(frozen=True, slots=True)
class Settings:
    """How the four behave.

    Attributes:
        allowance: of the proxy's clients; None: 50 GB a day.
        response_bytes: the largest answer of the proxy.
        token: the bearer token that the store on Google wants.
        multipart_above: of both kinds of buckets, see `bucket.serve_bucket`.
        page_max: likewise.
        tls: a server-side context; None: plain HTTP.
        host: the address to listen on.
    """

    allowance: Allowance | None = None
    response_bytes: int = 32_000_000
    token: str = TOKEN
    multipart_above: int | None = None
    page_max: int = PAGE_MAX
    tls: ssl.SSLContext | None = None
    host: str = "127.0.0.1"


def open_one(
    name: IdcName, holdings: Holdings, settings: Settings, *, faults: Script | None = None, port: int = 0
) -> AbstractAsyncContextManager[Front]:
    """Serve `holdings` by one of the four while the block runs; errors as `serve_idc`."""
    if name in {"bucket", "gcs"}:
        return _open_bucket(name, holdings, settings, faults, port)
    return _open_server(name, holdings, settings, faults, port)


def _open_bucket(
    name: IdcName, holdings: Holdings, settings: Settings, faults: Script | None, port: int
) -> AbstractAsyncContextManager[BucketOrigin]:
    return serve_bucket(
        holdings,
        cloud="gcs" if name == "gcs" else "s3",
        names=GCS_NAMES if name == "gcs" else {},
        faults=faults,
        multipart_above=settings.multipart_above,
        page_max=settings.page_max,
        host=settings.host,
        port=port,
        tls=settings.tls,
    )


def _open_server(
    name: IdcName, holdings: Holdings, settings: Settings, faults: Script | None, port: int
) -> AbstractAsyncContextManager[Origin]:
    metered = name == "proxy"
    return serve(
        holdings.catalog(None if metered else BUCKETS[:1]),
        style=replace(IDC_PROXY, response_bytes=settings.response_bytes) if metered else IDC_GOOGLE,
        faults=faults,
        base_path=PROXY_PATH if metered else GOOGLE_PATH,
        authorization=None if metered else f"Bearer {settings.token}",
        allowance=(settings.allowance or Allowance(BYTES_PER_DAY)) if metered else None,
        host=settings.host,
        port=port,
        tls=settings.tls,
    )


@asynccontextmanager
async def serve_idc(
    holdings: Holdings, settings: Settings | None = None, *, faults: Mapping[IdcName, Script] | None = None
) -> AsyncIterator[IdcOrigins]:
    """Serve `holdings` by all four while the block runs, each on a free port.

    Args:
        holdings: what IDC holds. The proxy has what is present, the store on Google what of it is in `idc-open-data`.
        settings: how they behave.
        faults: what each does wrong.

    Raises:
        OSError: there is no free port.
    """
    chosen, script = settings or Settings(), faults or {}
    async with (
        _open_bucket("bucket", holdings, chosen, script.get("bucket"), 0) as bucket,
        _open_bucket("gcs", holdings, chosen, script.get("gcs"), 0) as gcs,
        _open_server("proxy", holdings, chosen, script.get("proxy"), 0) as proxy,
        _open_server("google", holdings, chosen, script.get("google"), 0) as google,
    ):
        yield IdcOrigins(bucket, gcs, proxy, google)
