"""Manifests: text that lists what is wanted -> entries. Pure.

Understood are, found out from the first line that says something:

* tables (comma, semicolon or tab) whose header names UID columns, in any case and spacing, quoted or not;
* lists with one name a line: a UID, a CRDC series UUID, an `s3://` or `gs://` folder of a series, or the `cp`
  and `sync` commands of IDC's s5cmd manifests; `#` begins a comment;
* TCIA manifests (`ListOfSeriesToDownload=`).

A line that is none of this is an error with its number: a manifest is never read in part. Entries that say
the same are one. Nothing is looked up here.
"""

import csv
import itertools
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from dicomhaul.cohort.names import shown
from dicomhaul.cohort.target import is_crdc
from dicomhaul.errors import CohortError, EmptyCohort
from dicomhaul.model import Series, SeriesUID, SopUID, StudyUID, is_identifier, is_uid

_FOLDER = re.compile(
    r"(?:s3|gs)://[^/\s]+/"
    r"([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})(?:/(?:\*(?:\.dcm)?)?)?\Z",
    re.IGNORECASE,
)
_IDC_LINE = re.compile(  # what IDC's portal writes, a million lines of it: no need for the general way
    r"cp '?s3://[^/\s']+/([0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12})/\*'? [^\s'\"]+\Z"
)
_LINE = re.compile(r"[^\r\n]*(?:\r\n?|\n)|[^\r\n]+\Z")
_TCIA_KEY = re.compile(r"[A-Za-z]+\w*=")
_TCIA_LIST = "listofseriestodownload"
_S5CMD_VALUES = frozenset(  # options of s5cmd that are followed by a value
    {"--endpoint-url", "--profile", "--credentials-file", "--numworkers", "--retry-count", "-r", "--log",
     "--concurrency", "-c", "--part-size", "-p", "--source-region", "--destination-region", "--storage-class",
     "--exclude", "--include"}
)  # fmt: skip
_COUNT_MAX_DIGITS = 15  # what a ledger can hold, and far more than any series
_EXPECTED = "a UID, a CRDC series UUID, or `cp s3://BUCKET/UUID/* .`"

_HEADERS = {
    "study": ("studyinstanceuid", "studyuid", "study", "dicomstudyinstanceuid"),
    "series": ("seriesinstanceuid", "seriesuid", "series", "dicomseriesinstanceuid"),
    "sop": ("sopinstanceuid", "sopuid", "sop", "instanceuid", "instance"),
    "crdc": ("crdcseriesuuid", "seriesawsurl", "seriesgcsurl"),
    "instance_count": ("instancecount", "numberofimages", "imagecount", "numberofseriesrelatedinstances", "instances"),
}
_COLUMN_OF = {header: column for column, headers in _HEADERS.items() for header in headers}


class Entry(NamedTuple):
    """One thing that a manifest asks for: the most specific name it has. At least one UID is always there."""

    study: str | None = None
    series: str | None = None
    sop: str | None = None
    crdc: str | None = None  # a revision of a series, lower case
    uid: str | None = None  # a UID of which the manifest does not say what it names
    instance_count: int | None = None  # instances of the series, if the manifest says so

    def __str__(self) -> str:
        for what, value in (
            ("instance", self.sop),
            ("CRDC series", self.crdc),
            ("series", self.series),
            ("study", self.study),
        ):
            if value is not None:
                return f"{what} {value}"
        return f"UID {self.uid}"


def parse_manifest(text: str, name: str) -> list[Entry]:
    """Read a manifest. `name` is what messages call it.

    Returns the entries in their order, each once. Raises CohortError, naming the line and what was expected.
    """
    text = text.removeprefix("\ufeff")
    if "\0" in text:
        raise CohortError(f"{name}: not a text file; a manifest is UTF-8 text")
    first = next((line for line in _raw_lines(text) if not _is_silent(line)), None)
    if first is None:
        raise EmptyCohort(f"{name}: the manifest is empty")
    delimiter = _delimiter(first)
    if delimiter is not None:
        entries = _read_table(text, name, delimiter)
    elif _TCIA_KEY.match(first.strip()):
        entries = _read_tcia(text, name)
    else:
        entries = _read_list(_lines(text), name, _list_entry)
    folded = list(dict.fromkeys(entries))
    if not folded:
        raise EmptyCohort(f"{name}: the manifest names nothing")
    return folded


def iter_series(entries: Iterable[Entry]) -> Iterator[Series]:
    """Turn entries into rows without asking anybody, for a server that cannot search.

    Entries of one series become one row: whole, if one of them asks for all of it. Raises CohortError if an
    entry does not name both study and series, or two disagree.
    """
    wanted: dict[tuple[str, str], dict[str, None]] = {}  # SOP Instance UIDs; none for a whole series
    counts: dict[tuple[str, str], int] = {}
    whole: set[tuple[str, str]] = set()
    for entry in entries:
        if entry.study is None or entry.series is None:
            raise CohortError(
                f"{entry}: without a search the server cannot be asked for it; "
                "the manifest needs the columns StudyInstanceUID and SeriesInstanceUID"
            )
        key = (entry.study, entry.series)
        sops = wanted.setdefault(key, {})
        if entry.sop is not None:
            sops[entry.sop] = None
            continue
        whole.add(key)
        if entry.instance_count is not None:
            known = counts.setdefault(key, entry.instance_count)
            if known != entry.instance_count:
                raise CohortError(f"{entry}: the manifest gives it {known} instances, and {entry.instance_count}")
    for key, sops in wanted.items():
        study, series = StudyUID(key[0]), SeriesUID(key[1])
        if key in whole:
            yield Series(study, series, expected=counts.get(key))
        else:
            yield Series(study, series, expected=len(sops), instances=tuple(map(SopUID, sops)))


def _wrong(name: str, line: int, what: str, expected: str = _EXPECTED) -> CohortError:
    return CohortError(f"{name}, line {line}: {what}; expected {expected}")


# --- lists --------------------------------------------------------------------------------------------------


def _lines(text: str) -> Iterator[tuple[int, str]]:
    # The lines that say something, stripped, with their number.
    for number, raw in enumerate(_raw_lines(text), 1):
        line = raw.strip()
        if line and line[0] != "#":
            yield number, line


def _is_silent(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _raw_lines(text: str) -> Iterator[str]:
    # Neither splitlines, which also splits at characters that may stand in a cell, nor StringIO, which copies it all.
    return (match[0] for match in _LINE.finditer(text))


def _read_list(lines: Iterator[tuple[int, str]], name: str, read: Callable[[str], Entry | str]) -> Iterator[Entry]:
    for number, line in lines:
        entry = read(line)
        if isinstance(entry, str):
            raise _wrong(name, number, entry)
        yield entry


def _list_entry(line: str) -> Entry | str:
    # A str is what is wrong with the line.
    match = _IDC_LINE.match(line)
    if match:
        return Entry(crdc=match[1])
    words = line.split("#", 1)[0].split()
    if len(words) == 1:
        word = words[0].strip(",;\"'")
        if is_uid(word) and "." in word:
            return Entry(uid=word)
        if is_crdc(word):
            return Entry(crdc=word.lower())
        if "://" not in word:
            return f"{shown(word)} is neither a UID nor a CRDC series UUID"
    return _s5cmd_entry(line)


def _s5cmd_entry(line: str) -> Entry | str:
    try:
        words = shlex.split(line, comments=True)
    except ValueError as error:
        return f"{shown(line)} is not a command ({str(error).lower()})"
    plain: list[str] = []
    skip = False
    for word in words:
        if skip or word.startswith("-"):
            skip = not skip and word in _S5CMD_VALUES
        else:
            plain.append(word)
    if plain[:1] == ["s5cmd"]:
        del plain[0]
    if plain[:1] and plain[0] in {"cp", "sync"}:
        del plain[0]
    if not plain or "://" not in plain[0]:
        return f"{shown(line)} is not understood"
    match = _FOLDER.match(plain[0])
    if match is None:
        return f"{shown(plain[0])} is not the folder of a series (single objects cannot be asked for)"
    return Entry(crdc=match[1].lower())


def _read_tcia(text: str, name: str) -> Iterator[Entry]:
    lines = _lines(text)
    for number, line in lines:
        key, _, value = line.lower().partition("=")
        if key == _TCIA_LIST:
            if value:
                raise _wrong(name, number, "ListOfSeriesToDownload= has a value", "one series UID a line below it")
            return _read_list(lines, name, _tcia_entry)
    raise CohortError(f"{name}: looks like a TCIA manifest, but has no line ListOfSeriesToDownload=")


def _tcia_entry(line: str) -> Entry | str:
    return Entry(series=line) if is_uid(line) else f"{shown(line)} is not a series UID"


# --- tables -------------------------------------------------------------------------------------------------


def _columns(cells: Iterable[str]) -> dict[str, int]:
    columns: dict[str, int] = {}
    for index, cell in enumerate(cells):
        column = _COLUMN_OF.get("".join(char for char in cell.lower() if char.isalnum()))
        if column is not None:
            columns.setdefault(column, index)
    return columns


def _delimiter(line: str) -> str | None:
    # What separates the columns, if the line is a header.
    if len(line) > csv.field_size_limit():
        return None
    for delimiter in ("\t", ";", ","):
        if _columns(next(csv.reader([line], delimiter=delimiter))).keys() - {"instance_count"}:
            return delimiter
    return None


def _read_table(text: str, name: str, delimiter: str) -> Iterator[Entry]:
    silent = sum(1 for _ in itertools.takewhile(_is_silent, _raw_lines(text)))  # quotes in a comment mean nothing
    reader = csv.reader(itertools.islice(_raw_lines(text), silent, None), delimiter=delimiter, strict=True)
    at: list[tuple[int, int]] = []  # field of an entry, column of the table
    width = 0
    try:
        for cells in reader:
            if not any(cells) or cells[0].lstrip().startswith("#"):
                continue
            if not at:
                columns = _columns(cells)
                if not columns.keys() - {"instance_count"}:  # a quote that is not closed hides their names
                    raise _wrong(name, silent + reader.line_num, "the header is not a row", "the names of columns")
                at = [(Entry._fields.index(field), column) for field, column in columns.items()]
                width = max(columns.values()) + 1
                continue
            if len(cells) < width:
                raise _wrong(
                    name, silent + reader.line_num, f"{len(cells)} columns", f"at least {width}, as in the header"
                )
            values: list[str | None] = [None] * len(Entry._fields)
            for field, column in at:
                values[field] = cells[column].strip() or None
            yield _row_entry(values, name, silent + reader.line_num)
    except csv.Error as error:
        raise CohortError(f"{name}, line {silent + reader.line_num}: {error}") from None


def _row_entry(values: list[str | None], name: str, line: int) -> Entry:
    study, series, sop, crdc, _, count = values
    if study is not None and not is_identifier(study):
        raise _wrong(name, line, f"{shown(study)} is not a UID", "a StudyInstanceUID")
    if series is not None and not is_identifier(series):
        raise _wrong(name, line, f"{shown(series)} is not a UID", "a SeriesInstanceUID")
    if sop is not None and not is_identifier(sop):
        raise _wrong(name, line, f"{shown(sop)} is not a UID", "a SOPInstanceUID")
    if crdc is not None:
        match = _FOLDER.match(crdc)
        crdc = (match[1] if match else crdc).lower()
        if not is_crdc(crdc):
            raise _wrong(name, line, f"{shown(crdc)} is not a UUID", "a CRDC series UUID")
    if not (study or series or sop or crdc):
        raise _wrong(name, line, "no UID in this row", "one in at least one of the columns of the header")
    return Entry(study, series, sop, crdc, None, _count(count, name, line))


def _count(text: str | None, name: str, line: int) -> int | None:
    if text is None:
        return None
    digits = text.removesuffix(".0")  # pandas writes whole numbers so when another row has none
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _COUNT_MAX_DIGITS):
        raise _wrong(name, line, f"{shown(text)} is not a number of instances", "a whole number")
    return int(digits)
