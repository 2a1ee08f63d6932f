"""Answers of a search: `wire.dicom_json`.

An input is the body of an answer. Then it is read once more, as the plan of an answer whose values are known.

* Nothing but NotDicom leaves, and it says nothing of what the body holds.
* What comes is a list of objects. Whatever stands in them, a text is text without padding, and a number is one that a
  count can be: an integer of 32 bits, as IS has it (PS3.5 section 6.2).
* What was written comes back, whatever stands beside it.
"""

import json

from dicomhaul.errors import NotDicom
from dicomhaul.wire.dicom_json import SERIES_INSTANCES, STUDY_UID, first_int, first_string, parse_answer, values
from fuzz.script import Script
from fuzz.target import Target

_TAGS = (STUDY_UID, "0020000E", "00080018", "00080060", "00100020", SERIES_INSTANCES, "00201206", "x")


def check(data: bytes) -> None:
    """Attack it with one input."""
    try:
        rows = parse_answer(data)
    except NotDicom as error:
        assert str(error).startswith(f"the answer to a search ({len(data)} bytes) is not "), error
    else:
        assert isinstance(rows, list)
        for row in rows:
            assert isinstance(row, dict)
            for tag in (*_TAGS, *list(row)[:4]):
                _check_values(row, tag)
    _check_written(Script(data))


def _check_values(row: dict[str, object], tag: str) -> None:
    assert isinstance(values(row, tag), list)
    text = first_string(row, tag)
    assert text is None or text == text.strip(" \0") != ""
    number = first_int(row, tag)
    assert number is None or (type(number) is int and -(1 << 31) <= number < 1 << 31), number


def _check_written(script: Script) -> None:
    written = []
    for _ in range(script.number(0, 3)):
        count = script.number(0, (1 << 31) - 1)
        uid = f"1.{script.number(0, 999)}"
        row = {
            STUDY_UID: {"vr": "UI", "Value": [uid + script.pick(("", "\0", " ")), _anything(script, 2)]},
            SERIES_INSTANCES: {"vr": "IS", "Value": [script.pick((count, str(count), float(count), f" {count} "))]},
            script.text(9): _anything(script, 3),
        }
        written.append((row, uid, count))
    body = json.dumps([row for row, _, _ in written]).encode()
    rows = parse_answer(body)
    assert len(rows) == len(written)
    for found, (row, uid, count) in zip(rows, written, strict=True):
        if len(row) == 3:  # else the key that was made up is one of the two
            assert (first_string(found, STUDY_UID), first_int(found, SERIES_INSTANCES)) == (uid, count)


def _anything(script: Script, depth: int) -> object:
    kind = script.number(0, 7 if depth else 4)
    if kind == 5:
        return [_anything(script, depth - 1) for _ in range(script.number(0, 3))]
    if kind > 5:
        keys = ("Value", "vr", "BulkDataURI", script.text(4))
        return {script.pick(keys): _anything(script, depth - 1) for _ in range(script.number(0, 3))}
    return script.pick((None, True, 0.5, "1.2", script.text(5), script.number(0, 1 << 40)))


TARGET = Target(
    "dicom_json",
    check,
    (
        *(b'[{"0020000D":', b'{"vr":"UI","Value":["1.2"]}', b'"Value":[', b"]}", b"}]", b"[[", b"null", b"true"),
        *(b"1e308", b'"00201209"', b"Infinity", b"NaN", b"-1", b"9" * 30, b"1e999", b'"\\ud800"', b"\\u0000"),
        *(b"\xef\xbb\xbf", b" ", b'"Alphabetic"', b"[" * 2000, b"9" * 4400, b'"00100020"', b'"00080060"'),
        *(b'"BulkDataURI":"http://x"', b"2147483648"),
    ),
)  # fmt: skip
