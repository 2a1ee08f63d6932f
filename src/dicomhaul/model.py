"""The nouns of dicomhaul: frozen values that every room may pass to every other.

Nothing here knows I/O, a clock, or a third-party library.
"""

import enum
import re
from dataclasses import dataclass
from typing import Literal, NamedTuple, NewType

StudyUID = NewType("StudyUID", str)
SeriesUID = NewType("SeriesUID", str)
SopUID = NewType("SopUID", str)

_UID = re.compile(r"[0-9]+(?:\.[0-9]+)*\Z")
_UID_MAX_CHARS = 64
_IDENTIFIER = re.compile(r"(?!.*\.\.)[0-9A-Za-z][0-9A-Za-z._-]{0,63}(?<!\.)\Z")


def is_uid(text: str) -> bool:
    """Say whether `text` is a UID: digits and dots, at most 64 characters (PS3.5 section 9.1).

    Components with leading zeros are let through: the rule forbids them, real archives hold them, and they are
    harmless in a URL or a path.
    """
    return len(text) <= _UID_MAX_CHARS and _UID.match(text) is not None


def is_identifier(text: str) -> bool:
    """Say whether `text` may stand where a UID belongs: a UID, or what real archives hold in its place.

    De-identification tools have left hexadecimal digests there. Letters, digits, dots, hyphens and underscores, at
    most 64, beginning with a letter or digit and without two dots in a row: harmless in a URL and in a path.
    """
    return _IDENTIFIER.match(text) is not None


class State(enum.IntEnum):
    """How far a series or an instance is, as the ledger stores it. That a series is being brought is nowhere stored."""

    PLANNED = 0
    LANDED = 1
    FAILED = 2


class Proof(enum.StrEnum):
    """What says that a series is complete, from the strongest to the weakest."""

    INVENTORY = "inventory"  # each SOP Instance UID that the source lists is there
    COUNT = "count"  # as many instances as the index or QIDO states
    FRAMING = "framing"  # nobody states a number; the response ended as its framing demands


class Check(enum.IntEnum):
    """What the bytes of an instance were held against as they landed, besides the framing of the answer.

    The ledger has an XXH3-128 of every instance whatever this says.
    """

    FRAMING = 0  # nobody states a digest: the answer ended as its framing demands
    SIZE = 1  # the source states the size, and no digest that could be compared
    CRC32C = 2  # `x-goog-hash`
    MD5 = 3  # an ETag that is one, or `x-goog-hash`


class Routing(NamedTuple):
    """By which routes a series may come, in this order, and why; without any, nobody can give it."""

    routes: tuple[str, ...]  # names of sources
    reason: str


class Series(NamedTuple):
    """One row of a cohort: what is wanted of one series.

    A named tuple and not a dataclass: a cohort can have a million of them, and this is what a row of DuckDB or SQLite
    turns into without a call per field. `None` always means that nobody has said.
    """

    study: StudyUID
    series: SeriesUID
    collection: str | None = None
    patient: str | None = None
    modality: str | None = None
    revision: str | None = None  # crdc_series_uuid: changes whenever the series' content changes
    bucket: str | None = None  # where IDC keeps it
    license: str | None = None
    expected: int | None = None  # instances wanted
    size_bytes: int | None = None
    folder: str = ""  # below the destination, `/`-separated, already made safe
    instances: tuple[SopUID, ...] | None = None  # None: the whole series; else only these
    prior: bool = False  # a revision that the present release replaced: only buckets still have it
    routing: Routing | None = None  # set by planning
    instance_bytes: int | None = None  # of one, on average, where single instances are wanted


class InstanceRef(NamedTuple):
    """One instance that a source says it has."""

    sop: SopUID
    size_bytes: int | None = None


class ObjectRef(NamedTuple):
    """One object of a bucket, as a listing states it. Its key says nothing of its SOP Instance UID."""

    bucket: str  # as IDC's index names it
    key: str  # such as "<crdc_series_uuid>/<crdc_instance_uuid>.dcm"
    size_bytes: int
    etag: str | None  # without quotes

    @property
    def stem(self) -> str:
        """The last part of the key, without `.dcm`: how the ledger names the object within its series."""
        return self.key.rpartition("/")[2].removesuffix(".dcm")


class Stated(NamedTuple):
    """What a source states of one object before its bytes come.

    `digest` is what `check` names (16 bytes of MD5, 4 of CRC32C big endian); None where only the size is stated.
    """

    stem: str
    size_bytes: int
    etag: str | None
    check: Check
    digest: bytes | None


class Partial(NamedTuple):
    """The beginning of an object that an earlier run left in staging."""

    stem: str
    etag: str
    name: str  # of the file in staging
    offset: int  # bytes of it that count
    xxh3: bytes  # XXH3-128 of them


class Identity(NamedTuple):
    """The UIDs that name a Part 10 instance, read from its own bytes; '' where the bytes do not hold one."""

    study: str = ""
    series: str = ""
    sop: str = ""
    sop_class: str = ""
    transfer_syntax: str = ""


# From which end of the order of weights a series is taken.
End = Literal["largest", "smallest"]


class Work(NamedTuple):
    """A series with something to do, as a ledger hands it out."""

    series_id: int
    study: StudyUID
    series: SeriesUID
    folder: str
    expected: int | None
    size_bytes: int | None
    whole: bool
    cut: bool  # ask for its inventory first, whatever its size
    bucket: str | None = None
    revision: str | None = None
    prior: bool = False
    routes: tuple[str, ...] = ()
    place: str | None = None  # the folder that it belongs into once it is complete; None: where it is


class Known(NamedTuple):
    """What a ledger knows of one series' instances."""

    landed: dict[str, int]  # SOP Instance UID -> bytes
    wanted: list[str]  # planned or failed: known by name, not there
    stems: dict[str, str] = {}  # noqa: RUF012 - never changed; stem of an object -> SOP Instance UID, where it is known
    partials: dict[str, Partial] = {}  # noqa: RUF012 - likewise; stem -> what is there of it


@dataclass(frozen=True, slots=True)
class Job:
    """One exchange with a source: a whole series, or (with `sop`) one instance of it."""

    series_id: int  # the ledger's key
    study: StudyUID
    series: SeriesUID
    sop: SopUID | None = None
    expected: int | None = None
    size_bytes: int | None = None

    def __str__(self) -> str:
        if self.sop is not None:
            return f"instance {self.sop}"
        return f"series {self.series}"


@dataclass(frozen=True, slots=True)
class Receipt:
    """One instance that has landed: written, synced, and at its final path."""

    series_id: int
    sop: SopUID
    size_bytes: int
    xxh3: bytes  # XXH3-128 of the file, 16 bytes, big endian
    check: Check = Check.FRAMING
    stem: str | None = None  # of the object that it came from


@dataclass(frozen=True, slots=True)
class Failure:
    """Something that was asked for and is not there; `series` or `sop` is None where the whole above it failed."""

    study: str
    series: str | None
    sop: str | None
    reason: str

    def as_json(self) -> dict[str, str | None]:
        """Return it as `--json` lists it."""
        return {"study": self.study, "series": self.series, "sop": self.sop, "reason": self.reason}


class Shard(NamedTuple):
    """One of `of` equal parts of a cohort, `number` from 1: the same split on every machine, see `plan.shard`."""

    number: int
    of: int

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"


@dataclass(frozen=True, slots=True)
class Query:
    """What the user asked for, before anybody looked it up. Filters intersect; values of one filter are alternatives.

    `targets` are words still to be recognised; `manifest` is the text of one that came by standard input or from
    memory. `search` holds QIDO `KEY=VALUE` pairs. `everything` asks for all that a server has. `idc_version` asks the
    index as that release had it; None: as it is. `licenses_allowed`: a cohort that holds any other licence is refused
    (empty: all are allowed). `shard`: only that part of what all the rest means.
    """

    targets: tuple[str, ...] = ()
    manifest: str | None = None
    collection: tuple[str, ...] = ()
    modality: tuple[str, ...] = ()
    patient: tuple[str, ...] = ()
    study: tuple[str, ...] = ()
    series: tuple[str, ...] = ()
    instance: tuple[str, ...] = ()
    crdc: tuple[str, ...] = ()
    study_date: str | None = None
    where: str | None = None
    sql: str | None = None
    search: tuple[str, ...] = ()
    everything: bool = False
    limit_series: int | None = None
    idc_version: int | None = None
    licenses_allowed: tuple[str, ...] = ()
    shard: Shard | None = None
