"""JSON made to hurt: an answer to a search is refused before it becomes large, and no value gets out that cannot be."""

import json
import sqlite3
import tracemalloc

import pytest

from dicomhaul.errors import NotDicom
from dicomhaul.wire.dicom_json import PATIENT_ID, SERIES_INSTANCES, first_int, first_string, parse_answer

MIB = 1 << 20


@pytest.mark.parametrize(
    "bomb",
    [
        b"[" + b"{}," * 7_000_000 + b"{}]",
        b'[{"a":[' + b"[]," * 7_000_000 + b"1]}]",
        b'[{"a":[' + b"1," * 7_000_000 + b"1]}]",
        b"[" * 20_000_000,
        b'[{"a":' * 4_000_000,
    ],
)
def test_what_would_grow_a_hundredfold_is_not_parsed(bomb: bytes) -> None:
    tracemalloc.start()
    try:
        with pytest.raises(NotDicom):
            parse_answer(bomb)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < MIB


@pytest.mark.parametrize("depth", [900, 5_000, 1_000_000])
def test_depth_is_an_answer_or_an_error(depth: int) -> None:
    body = b'[{"00100020":{"Value":' + b"[" * depth + b'"x"' + b"]" * depth + b"}}]"
    try:
        (row,) = parse_answer(body)
    except NotDicom:
        return
    assert first_string(row, PATIENT_ID) is None


def test_of_keys_that_come_twice_one_counts_and_a_million_keys_are_one_row() -> None:
    (row,) = parse_answer(b'[{"00100020":{"Value":["a"]},"00100020":{"Value":["b"]}}]')
    assert first_string(row, PATIENT_ID) == "b"
    many = ",".join(f'"{number}":0' for number in range(1_000_000))
    (row,) = parse_answer(f'[{{{many},"00100020":{{"Value":["c"]}}}}]'.encode())
    assert first_string(row, PATIENT_ID) == "c"


@pytest.mark.parametrize(
    "number",
    ["1e999", "-1e999", "NaN", "Infinity", "9" * 4000, "1e300", "9223372036854775808", "true", "null", '"9e9"', '"1e2"',
     '"' + "9" * 20 + '"', '"\u0663"', "[1]", "{}", '"-"', "0.5"],
)  # fmt: skip
def test_no_number_gets_out_that_the_ledger_could_not_hold(number: str) -> None:
    (row,) = parse_answer(f'[{{"{SERIES_INSTANCES}":{{"Value":[{number}]}}}}]'.encode())
    assert first_int(row, SERIES_INSTANCES) is None


@pytest.mark.parametrize(
    "text", ["\ud800", "a\udfff", "\0", "x" * 3_000_000, "\ud83d\ude00" * 5_000, "\u202e", "\x1b[2J"]
)
def test_no_text_gets_out_that_the_ledger_could_not_hold(text: str) -> None:
    (row,) = parse_answer(json.dumps([{PATIENT_ID: {"vr": "LO", "Value": [text]}}]).encode())
    found = first_string(row, PATIENT_ID)
    assert found is None or len(found) <= 1024
    db = sqlite3.connect(":memory:")
    assert db.execute("SELECT ?", (found,)).fetchone() == (found,)
    db.close()
