"""Search answers, the shapes that servers give them, and the shapes that nobody should."""

import pytest

from dicomhaul.errors import NotDicom
from dicomhaul.wire.dicom_json import (
    SERIES_INSTANCES,
    STUDY_UID,
    first_int,
    first_string,
    parse_answer,
    values,
)


def test_a_list_a_lone_object_and_nothing() -> None:
    row = b'{"0020000D": {"vr": "UI", "Value": ["1.2"]}}'
    for body in (b"[" + row + b"]", row, b" [" + row + b"]\n"):
        rows = parse_answer(body)
        assert [first_string(row, STUDY_UID) for row in rows] == ["1.2"]
    assert parse_answer(b"") == parse_answer(b"[]") == parse_answer(b"\r\n") == []


@pytest.mark.parametrize(
    "body",
    [
        b"<html>",
        b"null",
        b"3",
        b'"x"',
        b"[1]",
        b"[[]]",
        b"[null]",
        b"[{}, 3]",
        b"[{}",
        b"\xff\xfe",
        b"[" * 100_000,
        b'[{"a": ' + b"9" * 5000 + b"}]",
    ],
)
def test_what_is_no_answer(body: bytes) -> None:
    with pytest.raises(NotDicom, match="answer to a search") as caught:
        parse_answer(body)
    assert "html" not in str(caught.value)


@pytest.mark.parametrize(
    "attribute",
    [
        None,
        3,
        "1.2",
        [],
        ["1.2"],
        {},
        {"vr": "UI"},
        {"Value": None},
        {"Value": "1.2"},
        {"Value": {"0": "1.2"}},
        {"Value": []},
        {"Value": [None]},
        {"Value": [["1.2"]]},
        {"Value": [{"Alphabetic": "x"}]},
        {"Value": [True]},
        {"Value": [""]},
        {"Value": [" \0"]},
        {"BulkDataURI": "http://x"},
    ],
)
def test_hostile_attributes_have_no_value(attribute: object) -> None:
    assert first_string({STUDY_UID: attribute}, STUDY_UID) is None
    assert first_int({STUDY_UID: attribute}, STUDY_UID) is None


@pytest.mark.parametrize(
    ("value", "number"),
    [
        (12, 12),
        ("12", 12),
        (" 12 ", 12),
        (12.0, 12),
        (12.5, None),
        ("x", None),
        ("²", None),
        ("9" * 30, None),
        (1e308, None),
        (1 << 31, None),
        ("9" * 19, None),
        ((1 << 31) - 1, (1 << 31) - 1),
    ],
)
def test_numbers(value: object, number: int | None) -> None:
    assert first_int({SERIES_INSTANCES: {"vr": "IS", "Value": [value]}}, SERIES_INSTANCES) == number


def test_strings_lose_their_padding() -> None:
    row = {STUDY_UID: {"Value": ["1.2\0", "3"]}}
    assert first_string(row, STUDY_UID) == "1.2"
    assert values(row, STUDY_UID) == ["1.2\0", "3"]


def test_infinity_is_no_number() -> None:
    rows = parse_answer(b'[{"00201209": {"Value": [Infinity]}}]')
    assert first_int(rows[0], SERIES_INSTANCES) is None
