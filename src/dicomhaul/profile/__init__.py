"""Differences between DICOMweb servers, as data.

A profile is a TOML file. Those in `configs/` are shipped; a user copies one, changes what differs, and names the file
as SOURCE. Nothing in the code asks "is this Azure?": it asks the profile.
"""

import fnmatch
import re
import tomllib
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dicomhaul.errors import ConfigError

MULTIPART_STORED = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_CREDENTIALS = re.compile(r"[^/?#]*//[^/?#]*@")  # in front of a URL's host


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Auth(_Table):
    """How to authenticate unless the user says otherwise; `scope` is the OAuth 2 scope to ask for.

    `role` says, to people, what an account needs to be allowed to read.
    """

    kind: Literal["none", "basic", "bearer", "google", "azure"] = "none"
    scope: str = ""
    role: str = ""


class Accept(_Table):
    """The Accept header, as ladders: each rung is tried when the one above was `refused`."""

    series: list[str] = Field(default=[MULTIPART_STORED], min_length=1)
    instance: list[str] = Field(default=[MULTIPART_STORED], min_length=1)
    refused: list[int] = [406]


class Page(_Table):
    """The largest `limit` that a QIDO search may ask for, by level."""

    studies: int = Field(default=100, ge=1)
    series: int = Field(default=100, ge=1)
    instances: int = Field(default=100, ge=1)


class Search(_Table):
    """What QIDO-RS can do here."""

    available: bool = True
    page: Page = Page()
    max_offset: int | None = None  # a search that needs a larger offset cannot be finished
    wildcards: bool = True


class Limits(_Table):
    """How much at once."""

    response_bytes: int | None = None  # no single answer can be larger; larger series are cut into instances
    series_bytes: int = 2_000_000_000  # a series above this is cut, so that an interruption costs little
    concurrency_start: int = Field(default=4, ge=1)
    concurrency_max: int = Field(default=16, ge=1)
    requests_per_s: float | None = Field(default=None, gt=0)
    keepalive_s: float = Field(default=15.0, ge=0)  # how long an idle connection may be used again
    connect_timeout_s: float = Field(default=10.0, gt=0)
    stall_timeout_s: float = Field(default=60.0, gt=0)  # longest silence while a body comes, or before it begins
    attempts: int = Field(default=5, ge=1)  # of one exchange, counted anew after progress


class Bucket(_Table):
    """Public buckets that hold IDC's series, `<crdc_series_uuid>/<crdc_instance_uuid>.dcm`, under `url`/bucket."""

    names: dict[str, str] = {}  # the bucket of the index -> what it is called here, where that differs


class Quota(_Table):
    """A daily allowance of bytes, counted from 00:00 UTC."""

    bytes_per_day: int | None = Field(default=None, gt=0)  # where it is known beforehand
    # Path on the host, whatever the base URL, whose JSON tells `bytes_used` and `fraction_used`.
    usage_path: str | None = Field(default=None, pattern=r"^/[A-Za-z0-9._~/-]*$")


class Feed(_Table):
    """How a server tells what has changed; see the room `feed`.

    `root`: where what tells it lies, relative to the base URL: `..` for each segment of its path to leave out.
    """

    kind: Literal["study-date", "azure", "orthanc"] = "study-date"
    root: str = Field(default="", pattern=r"^(\.\.(/\.\.){0,7})?$")


class Status(_Table):
    """What the status codes mean. What is not listed: 401 asks for credentials, 403, 404 and 410 are final for the
    resource, any other 4xx or 5xx is final too.
    """

    retry: list[int] = [408, 500, 502, 503, 504]
    throttle: list[int] = [429]
    quota: list[int] = []  # the day's quota is gone, until 00:00 UTC
    stop: list[int] = []  # stop asking this source
    stop_if_empty: list[int] = []  # likewise, where the answer has no body; with one it is final for the resource


class Profile(_Table):
    """One kind of server."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9._-]*$")
    description: str = ""
    url: str | None = None  # base URL, for a service that has only one; may hold {idc_version}, never credentials
    hosts: list[str] = []  # glob patterns: a URL with such a host gets this profile
    ports: list[int] = []  # likewise, on any host
    kind: Literal["dicomweb", "bucket"] = "dicomweb"
    holds: list[str] | None = None  # the buckets of IDC's index whose series are here; None: all
    index: Literal["idc"] | None = None  # cohorts for it are looked up in this index instead of by QIDO
    auth: Auth = Auth()
    accept: Accept = Accept()
    search: Search = Search()
    limits: Limits = Limits()
    status: Status = Status()
    bucket: Bucket = Bucket()
    quota: Quota = Quota()
    feed: Feed = Feed()

    def day_bytes(self, allowed: int | None) -> int | None:
        """Return what such a server may give a day, where somebody states it: the profile, or the user.

        `allowed` is the user's limit for DICOMweb servers, in bytes; a bucket is not held against it.
        """
        said = (self.quota.bytes_per_day, allowed if self.kind == "dicomweb" else None)
        return min((each for each in said if each is not None), default=None)

    def is_metered(self, allowed: int | None) -> bool:
        """Whether such a server has a quota, by all that tells so; `allowed` as in `day_bytes`."""
        return self.day_bytes(allowed) is not None or self.quota.usage_path is not None or bool(self.status.quota)


def _folder() -> Any:
    packaged = resources.files("dicomhaul") / "configs"  # in a wheel
    return packaged if packaged.is_dir() else Path(__file__).resolve().parents[3] / "configs"  # in a checkout


def _merge(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(merged.get(key), dict)
        merged[key] = _merge(merged[key], value) if both else value
    return merged


def _read(text: str, where: str) -> Profile:
    try:
        table = tomllib.loads(text)
        parent = table.pop("extends", None)
        if parent is not None:
            inherited = built_in(str(parent)).model_dump(exclude={"name", "description", "url", "hosts", "ports"})
            table = _merge(inherited, table)
        profile = Profile.model_validate(table)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{where} is not valid TOML: {error}") from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise ConfigError(f"{where}: {field or 'profile'}: {first['msg']}") from None
    if profile.url is not None and _CREDENTIALS.match(profile.url):
        raise ConfigError(
            f"{where}: url: put user and password into DICOMHAUL_USER and DICOMHAUL_PASSWORD, and say --auth basic"
        )
    return profile


@cache
def built_in_names() -> tuple[str, ...]:
    """The names of the shipped profiles, sorted."""
    return tuple(sorted(entry.name[:-5] for entry in _folder().iterdir() if entry.name.endswith(".toml")))


@cache
def built_in(name: str) -> Profile:
    """Return a shipped profile. Raises ConfigError, naming those there are."""
    if name not in built_in_names():
        raise ConfigError(f"no profile is called {name!r}; there are: {', '.join(built_in_names())}")
    return _read((_folder() / f"{name}.toml").read_text(encoding="utf-8"), f"profile {name}")


def read_profile(path: Path) -> Profile:
    """Read a user's profile file. Raises ConfigError, naming the file and the field."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"cannot read the profile {path}: {error}") from None
    return _read(text, str(path))


def profile_for_url(url: str) -> Profile:
    """Return the shipped profile whose host patterns or ports match the URL; else `generic`."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    profiles = [built_in(name) for name in built_in_names()]
    for profile in profiles:
        if any(fnmatch.fnmatchcase(host, pattern) for pattern in profile.hosts):
            return profile
    for profile in profiles:
        if parts.port in profile.ports:
            return profile
    return built_in("generic")
