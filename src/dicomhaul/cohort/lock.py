"""A lock: one file that says which cohort it was, series by series, so that anybody can have the same again.

JSON lines. The first is the header (`LockHeader`), each other one a series (`LockedSeries`), sorted by Series Instance
UID and then Study Instance UID, so that two locks show in a diff what differs. A lock needs nothing but itself: what
the index said of a series stands in its line. Values that nobody states are left out.

Rules: written whole or not at all (a new file takes the old one's place); read as a stream, one line in memory. What is
read was written by somebody else: every line has a limit, every value is checked, and the header's number of series
says whether the end is missing. Nothing here asks the index or a ledger.
"""

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Final, Literal, TypeVar

from pydantic import ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from dicomhaul._version import __version__
from dicomhaul.config.options import QUERY_JSON
from dicomhaul.durable import sync_folder
from dicomhaul.errors import CohortError, ConfigError, NotWritable
from dicomhaul.model import Query

FORMAT: Final = 1
_LINE_MAX_BYTES: Final = 64 << 20  # a series of 600,000 instances with their digests
_FIRST = re.compile(rb'(?:\xef\xbb\xbf)?\s*\{\s*"dicomhaul_lock"\s*:')
_STRICT = ConfigDict(extra="forbid", strict=True)


# As patterns, which pydantic matches without calling Python a million times; `Uid` is what `model.is_identifier` takes.
Uid = Annotated[str, StringConstraints(pattern=r"\A[0-9A-Za-z][0-9A-Za-z_-]*(\.[0-9A-Za-z_-]+)*\z", max_length=64)]
Revision = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}\z")]
Word = Annotated[str, StringConstraints(pattern=r"\A\P{C}+\z", max_length=1000)]
Bucket = Annotated[str, StringConstraints(pattern=r"\A[a-z0-9][a-z0-9._-]{1,62}\z")]
Text = Annotated[str, StringConstraints(max_length=1000)]
Count = Annotated[int, Field(ge=0, le=1 << 53)]
Xxh3 = Annotated[str, StringConstraints(pattern=r"\A[0-9a-f]{32}\z")]


@dataclass(frozen=True, slots=True, kw_only=True)
class LockHeader:
    """What a lock says of the whole cohort.

    Attributes:
        dicomhaul_lock: the version of the format.
        written_by: the version of dicomhaul.
        created: when the cohort was looked up (ISO 8601, UTC).
        query: what was asked for: the fields of `model.Query` that were given.
        source: the names of the sources, in the order of preference.
        idc_version: the IDC release; None: the cohort is not IDC's.
        index_version: the version of idc-index-data.
        series, instances, size_bytes: totals; None where nobody states them.
        licenses: series by the short name of their licence; '' where nobody states it.
    """

    __pydantic_config__ = _STRICT

    dicomhaul_lock: Literal[1] = FORMAT
    written_by: Word = f"dicomhaul {__version__}"
    created: Word
    query: dict[str, Any]
    source: tuple[Word, ...] = ()
    idc_version: Annotated[int, Field(ge=1, le=100_000)] | None = None
    index_version: Word | None = None
    series: Count
    instances: Count | None = None
    size_bytes: Count | None = None
    licenses: dict[Text, Count] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class LockedSeries:
    """One series of a lock.

    Attributes:
        series, study: its UIDs.
        revision: its `crdc_series_uuid`; every series of an IDC cohort has one.
        bucket: where IDC kept it when the lock was written.
        collection, patient, modality, license: as the index had them.
        instances: how many belong to it; size_bytes: how many bytes they have, as the index rounds them.
        routes: the sources that were to give it, in this order.
        sops: only these instances of it; None: all.
        xxh3: SOP Instance UID -> XXH3-128 in hexadecimal, of those whose bytes are known.
    """

    __pydantic_config__ = _STRICT

    series: Uid
    study: Uid
    revision: Revision | None = None
    bucket: Bucket | None = None
    collection: Text | None = None
    patient: Text | None = None
    modality: Text | None = None
    license: Text | None = None
    instances: Count | None = None
    size_bytes: Count | None = None
    routes: tuple[Word, ...] | None = None
    sops: Annotated[tuple[Uid, ...], Field(min_length=1)] | None = None
    xxh3: dict[Uid, Xxh3] | None = None

    @property
    def key(self) -> tuple[str, str]:
        """What a lock is sorted by."""
        return self.series, self.study


Shape = TypeVar("Shape")

_HEADER: Final = TypeAdapter(LockHeader)
_SERIES: Final = TypeAdapter(LockedSeries)
_HEADER_FIELDS: Final = tuple(each.name for each in fields(LockHeader))
_SERIES_FIELDS: Final = tuple(each.name for each in fields(LockedSeries))


def said(query: Query) -> dict[str, Any]:
    """Return what a query asks for as a header states it: the fields that were given, a manifest by its digest."""
    given: dict[str, Any] = QUERY_JSON.dump_python(query, mode="json", exclude_defaults=True)
    if query.manifest is not None:
        given["manifest"] = f"sha256 {hashlib.sha256(query.manifest.encode()).hexdigest()}"
    return given


def said_of_lock(header: LockHeader, query: Query) -> dict[str, Any]:
    """Return the same of a cohort that comes from a lock, as far as `query` narrows it: what was asked for at first."""
    return {**header.query, **{name: value for name, value in said(query).items() if name != "targets"}}


# -- writing --------------------------------------------------------------------------------------------------------


def check_writable(path: Path) -> None:
    """See that a lock can be written at `path`, before hours are spent. Raises ConfigError; writes nothing."""
    if path.is_dir():
        raise ConfigError(f"--lock {path}: it is a folder")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--lock {path}: there is no folder {path.absolute().parent}")
    if path.exists() and path.stat().st_size and not is_lock(path):
        raise ConfigError(f"--lock {path}: a file is there that is no lock; it stays as it is")
    if not os.access(path.absolute().parent, os.W_OK):
        raise ConfigError(f"--lock {path}: its folder cannot be written")


def write_lock(path: Path, header: LockHeader, rows: Iterable[LockedSeries]) -> None:
    """Write a lock; `rows` come sorted by `key`, as many as the header says.

    It takes the place of what is at `path` in one step, after it was synced. Raises NotWritable.
    """
    place = Path(os.path.realpath(path))  # a link stays one
    try:
        part = place.with_name(f".{place.name[:100]}-{uuid.uuid4().hex}.part")
        try:
            with part.open("xb", buffering=1 << 20) as file:
                file.write(_line(header, _HEADER_FIELDS))
                file.writelines(_line(row, _SERIES_FIELDS) for row in rows)
                file.flush()
                os.fsync(file.fileno())
            part.replace(place)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        sync_folder(place.parent)
    except OSError as error:
        raise NotWritable(f"cannot write the lock {path}: {error.strerror or type(error).__name__}") from error


def _line(value: LockHeader | LockedSeries, names: tuple[str, ...]) -> bytes:
    stated = {name: each for name in names if (each := getattr(value, name)) is not None}
    return json.dumps(stated, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"


# -- reading --------------------------------------------------------------------------------------------------------


def is_lock(path: Path) -> bool:
    """Say whether the file at `path` begins as a lock does."""
    try:
        with path.open("rb") as file:
            return looks_locked(file.read(200))
    except (OSError, ValueError):
        return False


def looks_locked(beginning: bytes) -> bool:
    """Say whether this is the beginning of a lock."""
    return _FIRST.match(beginning) is not None


class Lock:
    """An open lock. Made by `open_lock`.

    Attributes:
        path: where it is.
        header: its first line.
    """

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path = path
        self._file = file
        self.header = self._read_header()
        self._begin = file.tell()

    def __iter__(self) -> Iterator[LockedSeries]:
        """Yield the series in their order; each time from the first on.

        Raises CohortError, naming the line: a value that cannot be, a wrong order, another number of series than the
        header states.
        """
        self._file.seek(self._begin)
        last: LockedSeries | None = None
        count = 0
        while line := self._read_line(count + 2):
            count += 1
            row = self._checked(_SERIES, line, count + 1)
            if last is not None and row.key <= last.key:
                raise self._wrong(count + 1, "its series are not in the order of their UIDs, each once")
            if self.header.idc_version is not None and row.revision is None:
                raise self._wrong(count + 1, "this series of IDC has no revision")
            if row.xxh3 is not None and row.sops is not None and not row.xxh3.keys() <= set(row.sops):
                raise self._wrong(count + 1, "xxh3 names instances that sops does not")
            last = row
            yield row
        if count != self.header.series:
            raise CohortError(
                f"the lock {self.path} is damaged: it has {count:,} of the {self.header.series:,} series that its "
                "first line states"
            )

    def _read_header(self) -> LockHeader:
        line = self._read_line(1)
        try:
            version = json.loads(line.removeprefix(b"\xef\xbb\xbf")).get("dicomhaul_lock")
        except (ValueError, RecursionError, AttributeError):
            raise self._wrong(1, "not the first line of a lock") from None
        if type(version) is int and version > FORMAT:
            raise CohortError(
                f"{self.path} is a lock of version {str(version)[:20]}; this dicomhaul reads version {FORMAT}"
            )
        return self._checked(_HEADER, line.removeprefix(b"\xef\xbb\xbf"), 1)

    def _read_line(self, number: int) -> bytes:
        try:
            line = self._file.readline(_LINE_MAX_BYTES + 1)
        except OSError as error:
            raise _unreadable(self.path, error) from None
        if len(line) > _LINE_MAX_BYTES:
            raise self._wrong(number, f"longer than {_LINE_MAX_BYTES:,} bytes")
        return line

    def _checked(self, shape: TypeAdapter[Shape], line: bytes, number: int) -> Shape:
        try:
            return shape.validate_json(line)
        except ValidationError as error:
            first = error.errors(include_url=False, include_context=False, include_input=False)[0]
            where = ".".join(str(part)[:40] for part in first["loc"][:2])
            if not where.isprintable():  # a name of the lock's own, which is no message to a terminal
                where = ascii(where)
            raise self._wrong(number, f"{where}: {first['msg']}" if where else first["msg"]) from None

    def _wrong(self, number: int, what: str) -> CohortError:
        return CohortError(f"the lock {self.path}, line {number}: {what}")


@contextmanager
def open_lock(path: Path) -> Iterator[Lock]:
    """Open a lock for reading. Raises CohortError if it cannot be read or its first line is none of a lock."""
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise CohortError(f"there is no lock {path}") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    with file:
        yield Lock(path, file)


def _unreadable(path: Path, error: OSError) -> CohortError:
    return CohortError(f"cannot read the lock {path}: {error.strerror or type(error).__name__}")


def lock_mark(path: Path) -> str:
    """Return what tells the cohort of one lock from another's: its query, and each series with its revision.

    Digests, counts and routes, which become known later, make it no other cohort. Errors as `Lock`.
    """
    with open_lock(path) as lock:
        mark = hashlib.sha256(json.dumps(lock.header.query, sort_keys=True).encode())
        for row in lock:
            mark.update(json.dumps([row.series, row.study, row.revision, row.sops]).encode())
    return mark.hexdigest()


# -- one lock after another -----------------------------------------------------------------------------------------


def kept(old: Iterable[LockedSeries], new: Iterable[LockedSeries]) -> Iterator[LockedSeries]:
    """Yield the series of `new`, with what `old` says of the same revision: a lock gains, and contradicts itself never.

    Both come sorted by `key`.
    """
    known = iter(old)
    at = next(known, None)
    for row in new:
        while at is not None and at.key < row.key:
            at = next(known, None)
        yield row if at is None or at.key != row.key or at.revision != row.revision else _joined(at, row)


def _joined(old: LockedSeries, new: LockedSeries) -> LockedSeries:
    gaps = {name: getattr(new, name) for name in _SERIES_FIELDS if getattr(old, name) is None and name != "sops"}
    if old.xxh3 is not None and new.xxh3 is not None:
        gaps["xxh3"] = dict(sorted({**new.xxh3, **old.xxh3}.items()))
    return replace(old, sops=new.sops, **gaps)
