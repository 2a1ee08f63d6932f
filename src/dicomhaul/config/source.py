"""SOURCE, recognised: a built-in name, a profile file, or a DICOMweb base URL; for IDC also a list of them.

`idc` stands for IDC's public buckets and its proxy, in this order. A list is an order of preference: `plan.route` gives
each series the routes that can bring it.

No credential is ever part of a SourceSpec's text forms: a user and password in the URL are taken out of it.
"""

import re
from dataclasses import dataclass, field, replace
from importlib import metadata
from pathlib import Path
from typing import Final, Literal
from urllib.parse import unquote, urlsplit, urlunsplit

from dicomhaul.config.words import is_file
from dicomhaul.errors import ConfigError
from dicomhaul.net.auth import AuthKind
from dicomhaul.plan.route import Offer
from dicomhaul.plan.split import largest_whole_bytes
from dicomhaul.profile import Profile, built_in, built_in_names, profile_for_url, read_profile

IDC: Final = "idc"
_IDC_ROUTES: Final = ("idc-bucket", "idc-proxy")
_LOCATED: Final = {"aws": "idc-bucket", "gcs": "idc-bucket-gcs"}
Location = Literal["aws", "gcs"]


@dataclass(frozen=True, slots=True)
class Connection:
    """How to reach a source, as far as the user says more than the profile.

    Attributes:
        auth: overrides the profile's kind of authentication.
        token_file: a file that holds a bearer token; read again when it changes.
        ca_file: certificate authorities to trust instead of the system's (PEM).
        client_cert: our certificate for mutual TLS (PEM), with `client_key` if the key is in another file.
        user, password: from the URL; otherwise basic credentials come from the environment.
    """

    auth: AuthKind | None = None
    token_file: Path | None = None
    ca_file: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    user: str | None = field(default=None, repr=False)
    password: str | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class SourceSpec:
    """A source that can be asked.

    Attributes:
        word: what names it, without credentials: a built-in name, a profile file's absolute path, or the base URL. The
            ledger keeps it for `resume`.
        base_url: the DICOMweb base URL, without a trailing slash.
        profile: what is known of that kind of server.
        connection: how to reach it.
        profile_word: the name, or absolute path, of the profile that the user chose for a URL; kept likewise.
    """

    word: str
    base_url: str
    profile: Profile
    connection: Connection = Connection()
    profile_word: str | None = None

    @property
    def name(self) -> str:
        """What the plan and messages call it: the profile's name, and the host where a profile has many."""
        if self.profile.url is not None:
            return self.profile.name
        return f"{self.profile.name} ({urlsplit(self.base_url).netloc})"


def resolve_source(
    word: str, *, profile: str | None = None, url: str | None = None, connection: Connection | None = None
) -> SourceSpec:
    """Recognise SOURCE.

    Args:
        word: a built-in name, a path to a profile file, or a URL.
        profile: the name or file of the profile to use with a URL, instead of the one that its host suggests.
        url: the base URL to use with a profile that has none.
        connection: how to reach it.

    Raises:
        ConfigError: it is none of them, or lacks its URL; says what would do.
    """
    connection = connection or Connection()
    if re.match(r"https?://", word, re.IGNORECASE):
        base_url, connection = _split_credentials(word, connection)
        chosen = _profile(profile) if profile else profile_for_url(base_url)
        return SourceSpec(base_url, base_url, chosen, connection, None if profile is None else _anchored(profile))
    chosen = _profile(word)
    base = url or chosen.url
    if base is None:
        raise ConfigError(
            f"the profile {chosen.name!r} describes a kind of server; say which one: --source URL --profile {word}"
        )
    base_url, connection = _split_credentials(_with_version(base), connection)
    return SourceSpec(_anchored(word), base_url, chosen, connection)


@dataclass(frozen=True, slots=True)
class Sources:
    """The sources of one cohort, in the order of preference: one, or for IDC several.

    Attributes:
        word: what names them, without credentials, for the ledger: the words of `specs` with commas between.
        specs: each; never empty.
    """

    word: str
    specs: tuple[SourceSpec, ...]

    @property
    def index(self) -> Literal["idc"] | None:
        """The index where cohorts for them are looked up; None: they are searched at the server."""
        return self.specs[0].profile.index

    @property
    def name(self) -> str:
        """What messages call them together."""
        return ", ".join(spec.name for spec in self.specs)

    def buckets(self) -> "Sources":
        """Return those that are buckets. Raises ConfigError if none is."""
        specs = tuple(spec for spec in self.specs if spec.profile.kind == "bucket")
        if not specs:
            raise ConfigError("--name-by crdc needs IDC's buckets: only their objects have such names")
        return Sources(",".join(spec.word for spec in specs), specs)

    def offers(self, quota_bytes: int | None) -> tuple[Offer, ...]:
        """What each of them offers, for the choice of routes; the user lets each DICOMweb server give so much a day."""
        return tuple(_offer(spec, quota_bytes) for spec in self.specs)

    @property
    def base_urls(self) -> tuple[str, ...]:
        """Where they are."""
        return tuple(spec.base_url for spec in self.specs)

    @property
    def profile_word(self) -> str | None:
        """The profile that the user chose for a URL."""
        return self.specs[0].profile_word


def _offer(spec: SourceSpec, quota_bytes: int | None) -> Offer:
    profile = spec.profile
    limits = profile.limits
    return Offer(
        name=spec.name,
        kind=profile.kind,
        holds=None if profile.holds is None else frozenset(profile.holds),
        response_bytes=limits.response_bytes,
        metered=profile.is_metered(quota_bytes),
        whole_bytes=largest_whole_bytes(response_bytes=limits.response_bytes, series_bytes=limits.series_bytes),
    )


def resolve_sources(
    words: str,
    *,
    profile: str | None = None,
    url: str | None = None,
    connection: Connection | None = None,
    location: Location = "aws",
) -> Sources:
    """Recognise SOURCE, which may be a comma list where all of it is IDC's.

    Args:
        words: as `resolve_source`, or several with commas between; `idc`: IDC's buckets, then its proxy.
        profile: as `resolve_source`.
        url: likewise.
        connection: likewise.
        location: which of the two copies of the buckets `idc` and `idc-bucket` mean.

    Raises:
        ConfigError: one of them is none; several are named that do not all hold IDC; or `location` is said of none.
    """
    named: list[str] = []
    for word in _words(words):
        for each in _IDC_ROUTES if word == IDC else (word,):
            located = _LOCATED[location] if each == _LOCATED["aws"] else each
            if located not in named:
                named.append(located)
    if location != "aws" and _LOCATED[location] not in named:
        raise ConfigError(f"--bucket-location {location} says which copy of IDC's buckets: use --source {IDC} with it")
    specs = tuple(resolve_source(word, profile=profile, url=url, connection=connection) for word in named)
    if len(specs) > 1:
        strangers = [spec.name for spec in specs if spec.profile.index != "idc"]
        if strangers:
            raise ConfigError(f"only sources that hold IDC can be combined; {strangers[0]} is none")
        names = [spec.name for spec in specs]
        if len(set(names)) < len(names):
            raise ConfigError(f"each source of a list needs a name of its own: {', '.join(names)}")
    elif specs[0].profile.kind == "bucket" and specs[0].profile.index != "idc":
        raise ConfigError(f'the profile {specs[0].profile.name!r} describes buckets: it needs index = "idc"')
    return Sources(",".join(spec.word for spec in specs), specs)


def _words(words: str) -> list[str]:
    """A URL or the name of a file may hold a comma."""
    if re.match(r"https?://", words, re.IGNORECASE) or is_file(words) or "," not in words:
        return [words]
    split = [word.strip() for word in words.split(",")]
    if not all(split):
        raise ConfigError(f"SOURCE {words!r} has an empty place in its list")
    return split


def _anchored(word: str) -> str:
    """A profile file is found again from another working directory."""
    return word if word in built_in_names() else str(Path(word).absolute())


def index_version() -> str:
    """The version of idc-index-data that is installed, such as "25.0.5"."""
    return metadata.version("idc-index-data")


def idc_release() -> str:
    """The number of the IDC release whose index is installed: the major version of idc-index-data."""
    return index_version().split(".")[0]


def _with_version(url: str) -> str:
    return url.replace("{idc_version}", idc_release()) if "{idc_version}" in url else url


def _profile(word: str) -> Profile:
    if word in built_in_names():
        return built_in(word)
    path = Path(word)
    if path.suffix == ".toml" or is_file(word):
        return read_profile(path)
    raise ConfigError(
        f"SOURCE {word!r} is neither a URL (http:// or https://), nor a profile file, nor one of: "
        f"{', '.join(sorted((IDC, *built_in_names())))}"
    )


def _split_credentials(url: str, connection: Connection) -> tuple[str, Connection]:
    try:
        parts = urlsplit(url)
        parts.port  # noqa: B018 - raises ValueError for a port that is none
    except ValueError:
        raise ConfigError("the URL of the source is malformed") from None
    if not parts.hostname:
        raise ConfigError("the URL of the source names no host")
    if parts.query or parts.fragment:
        raise ConfigError("the URL of the source must end with its path: no '?' and no '#'")
    if parts.username is not None:
        connection = replace(connection, user=unquote(parts.username), password=unquote(parts.password or ""))
    netloc = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme.lower(), netloc, parts.path.rstrip("/"), "", "")), connection
