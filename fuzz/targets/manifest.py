"""Manifests: `cohort.manifest`.

An input is the text of a manifest. Then it is read once more, as the plan of a manifest whose entries are known.

* Nothing but CohortError leaves: one line, bounded, with the manifest's name and, where a line is at fault, its number.
* What comes is entries that each name something, by identifiers and UUIDs; each once.
* What was printed, as a table, as a list, in TCIA's way or as s5cmd's commands, comes back. A bad line anywhere in it
  is the line that the error names.
"""

import csv
import io
import re
import uuid

from dicomhaul.cohort.manifest import Entry, iter_series, parse_manifest
from dicomhaul.cohort.target import is_crdc
from dicomhaul.errors import CohortError
from dicomhaul.model import is_identifier
from fuzz.script import Script
from fuzz.target import Target

_NAME = "the manifest"
_MOST_COUNT = 10**15 - 1
_MOST_MESSAGE = 1200  # a quoted word has 80 characters, each of which may need ten to be shown
_BAD = ("no such thing", "1.2.x/3", "s3://bucket/key.dcm", "rm -rf /", "\u0661.\u0662")


def check(data: bytes) -> None:
    """Attack it with one input."""
    _check_any(data.decode("utf-8", "replace"))
    _check_printed(Script(data))


def _check_any(text: str) -> None:
    try:
        entries = parse_manifest(text, _NAME)
    except CohortError as error:
        _check_error(error)
        return
    assert entries
    assert len(set(entries)) == len(entries)
    for entry in entries:
        uids = [entry.study, entry.series, entry.sop, entry.uid]
        assert all(each is None or is_identifier(each) for each in uids), entry
        assert entry.crdc is None or (is_crdc(entry.crdc) and entry.crdc == entry.crdc.lower()), entry
        assert any((*uids, entry.crdc)), entry
        assert entry.instance_count is None or 0 <= entry.instance_count <= _MOST_COUNT, entry
        assert "\n" not in str(entry)
    try:
        rows = list(iter_series(entries))
    except CohortError as error:
        _check_error(error, named=False)
    else:
        assert len({(row.study, row.series) for row in rows}) == len(rows)


def _check_error(error: CohortError, *, named: bool = True) -> None:
    message = str(error)
    assert message.replace("\t", " ").isprintable(), message  # csv shows the delimiter that it expects
    assert len(message) < _MOST_MESSAGE, message
    assert not named or message.startswith(_NAME), message


def _check_printed(script: Script) -> None:
    print_ = script.pick((_table, _list, _tcia, _commands))
    lines, entries, first = print_(script)
    newline = script.pick(("\n", "\r\n"))
    text = script.pick(("", "\ufeff")) + newline.join(lines) + script.pick(("", newline))
    assert parse_manifest(text, _NAME) == list(dict.fromkeys(entries)), text
    bad = script.pick(_BAD)
    at = script.number(first, len(lines))
    lines.insert(at, bad)
    try:
        parse_manifest(newline.join(lines), _NAME)
    except CohortError as error:
        _check_error(error)
        assert re.match(rf"{_NAME}, line {at + 1}: ", str(error)), (str(error), lines)
    else:
        raise AssertionError(lines)


# Each returns lines, what they say, and the index of the first line before which a bad one may stand.


def _table(script: Script) -> tuple[list[str], list[Entry], int]:
    names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")[: script.number(2, 3)]
    counted = script.flag()
    delimiter = script.pick((",", ";", "\t"))
    entries, rows = [], []
    for _ in range(script.number(1, 6)):
        uids = [_uid(script) if index == 0 or script.flag() else "" for index in range(len(names))]
        count = script.number(0, _MOST_COUNT) if counted and script.flag() else None
        study, series, sop = (*(uid or None for uid in uids), None)[:3]
        entries.append(Entry(study, series, sop, None, None, count))
        shown = "" if count is None else f"{count}{script.pick(('', '.0'))}"
        rows.append([*uids, *([shown] if counted else []), script.pick(("", "a, b", 'say "x"', "c;d"))])
    target = io.StringIO()
    quote_all = script.flag()
    writer = csv.writer(
        target,
        delimiter=delimiter,
        lineterminator="\n",
        quoting=csv.QUOTE_ALL if quote_all else csv.QUOTE_MINIMAL,
    )
    writer.writerow([*names, *(["instanceCount"] if counted else []), "note"])
    writer.writerows(rows)
    return target.getvalue().splitlines(), entries, 1


def _list(script: Script) -> tuple[list[str], list[Entry], int]:
    lines, entries = ["# what is wanted", "1.2"], [Entry(uid="1.2")]
    for _ in range(script.number(0, 6)):
        entry = Entry(uid=_uid(script)) if script.flag() else Entry(crdc=_uuid(script))
        word = str(entry.uid or entry.crdc)
        lines.append(script.pick((word, f"  {word} ", f'"{word}",', f"{word} # why", word.upper())))
        entries.append(entry)
    return lines, entries, 2


def _tcia(script: Script) -> tuple[list[str], list[Entry], int]:
    uids = [_uid(script) for _ in range(script.number(1, 6))]
    lines = ["downloadServerUrl=https://host/servlet", "includeAnnotation=true", "ListOfSeriesToDownload=", *uids]
    return lines, [Entry(series=uid) for uid in uids], 3


def _commands(script: Script) -> tuple[list[str], list[Entry], int]:
    lines, entries = ["# To download, run s5cmd"], []
    for _ in range(script.number(1, 6)):
        name = _uuid(script)
        folder = f"{script.pick(('s3', 'gs'))}://{script.pick(('idc-open-data', 'b'))}/{name}/{script.pick(('*', ''))}"
        lines.append(
            script.pick((f"cp {folder} .", f"cp '{folder}' 'my folder'", f"s5cmd --no-sign-request cp {folder} ."))
        )
        entries.append(Entry(crdc=name))
    return lines, entries, 2


def _uid(script: Script) -> str:
    return f"1.{script.number(0, 9)}.{script.number(0, 1 << 40)}"


def _uuid(script: Script) -> str:
    return str(uuid.UUID(int=script.number(0, 1 << 100)))


TARGET = Target(
    "manifest",
    check,
    (
        *(b"StudyInstanceUID,SeriesInstanceUID\n", b"SeriesInstanceUID;instanceCount\n", b"crdc_series_uuid\t"),
        *(b"1.2.3", b"\n", b"\r", b"cp s3://idc-open-data/085e85b3-3780-47f6-8538-585bcca95336/* .\n"),
        *(b"085e85b3-3780-47f6-8538-585bcca95336", b",", b";", b"\t", b"ListOfSeriesToDownload=\n"),
        *(b"downloadServerUrl=x\n", b"#", b'"', b"'", b'""', b"\\", b"\xef\xbb\xbf", b"\0"),
        *(b"s5cmd --profile p cp ", b"9" * 20, b"1.0", b"\xe2\x80\xa8", b"\x0b", b"\x85", b"sync gs://b/", b"--"),
        *(b"instanceCount", b"SOPInstanceUID", b"4.0\n"),
    ),
)  # fmt: skip
