"""Keys go to their level, and rows are matched again, because a server may not have looked at them."""

from typing import Any

import pytest

from dicomhaul.cohort.search_keys import Key, Level, alternatives, at, parameters, parse_keys, select
from dicomhaul.errors import CohortError
from dicomhaul.model import Query


def keys_of(*search: str, **filters: Any) -> list[Key]:
    return parse_keys(Query(search=search, **filters), wildcards=True)


def one(pair: str) -> Key:
    (key,) = keys_of(pair)
    return key


@pytest.mark.parametrize(
    ("pair", "name", "level"),
    [
        ("PatientID=7", "PatientID", Level.STUDIES),
        ("00100020=7", "00100020", Level.STUDIES),
        ("Modality=CT", "Modality", Level.SERIES),
        ("0008103e=x", "0008103e", Level.SERIES),
        ("SOPClassUID=1.2", "SOPClassUID", Level.INSTANCES),
        (
            "RequestAttributesSequence.RequestedProcedureID=4",
            "RequestAttributesSequence.RequestedProcedureID",
            Level.SERIES,
        ),
    ],
)
def test_a_key_belongs_to_a_level_whether_keyword_or_tag(pair: str, name: str, level: Level) -> None:
    key = one(pair)
    assert (key.name, key.level, key.asked_for) == (name, level, True)
    assert [found for found in Level if at(found, [key])] == [level]


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("PatientID", "KEY=VALUE"),
        ("=7", "KEY=VALUE"),
        ("PatientID=", "KEY=VALUE"),
        ("PatentID=7", "did you mean PatientID"),
        ("limit=7", "no attribute"),
        ("00990099=7", "not one of the attributes"),
        ("SOPClassUID=CT Image Storage", "is not a UID"),
        ("StudyDate=yesterday", "YYYYMMDD"),
    ],
)
def test_what_cannot_be_searched_is_said_at_once(pair: str, message: str) -> None:
    with pytest.raises(CohortError, match=message):
        one(pair)


def test_filters_become_keys() -> None:
    keys = keys_of(patient=("A", "B", "A"), modality=("CT",), study_date="2020-01-01-2020-12-31")
    assert [(key.name, key.values, key.asked_for) for key in keys] == [
        ("PatientID", ("A", "B"), False),
        ("StudyDate", ("20200101-20201231",), False),
        ("Modality", ("CT",), False),
    ]


def test_a_server_without_wildcards_is_not_sent_any() -> None:
    with pytest.raises(CohortError, match="wildcards"):
        parse_keys(Query(search=("PatientName=DOE*",)), wildcards=False)


def test_several_values_are_several_searches_or_left_to_the_second_look() -> None:
    keys = keys_of(patient=("A", "B"), study_date="20200101")
    assert parameters(keys) == [("StudyDate", "20200101")]
    assert [parameters(chosen) for chosen in alternatives(keys)] == [
        [("PatientID", "A"), ("StudyDate", "20200101")],
        [("PatientID", "B"), ("StudyDate", "20200101")],
    ]


def test_two_keys_of_one_attribute_intersect() -> None:
    keys = keys_of("Modality=CT", modality=("CT", "PT"))
    assert parameters(keys) == [("Modality", "CT"), ("includefield", "Modality")]
    rows = [cs("00080060", value) for value in ("CT", "PT")]
    assert select(rows, keys, Level.SERIES) == [rows[0]]


def cs(tag: str, *found: object) -> dict[str, Any]:
    return {tag: {"vr": "CS", "Value": list(found)}}


@pytest.mark.parametrize(
    ("pair", "value", "matches"),
    [
        ("PatientID=ab", "ab", True),
        ("PatientID=ab", " AB ", True),
        ("PatientID=ab", "abc", False),
        ("PatientID=a*", "abc", True),
        ("PatientID=a?c", "abc", True),
        ("PatientID=a.c", "abc", False),
        ("PatientID=*", "", True),
        ("StudyDate=20200101", "20200101", True),
        ("StudyDate=20200101", "20200102", False),
        ("StudyDate=20200101-20200131", "20200131", True),
        ("StudyDate=20200101-", "20191231", False),
        ("StudyDate=20200101-", "20991231", True),
        ("StudyDate=-20200131", "20200201", False),
        ("SeriesNumber=3", 3, True),
        ("SeriesNumber=3", "3", True),
        ("SeriesNumber=3", 4, False),
        ("SOPClassUID=1.2,1.3", "1.3", True),
        ("SOPClassUID=1.2", "1.22", False),
        ("PatientName=DOE", {"Alphabetic": "Roe^J"}, True),  # left to the server
    ],
)
def test_a_row_is_matched_as_dicom_does(pair: str, value: object, *, matches: bool) -> None:
    key = one(pair)
    assert key.matches(cs(key.tag, value)) is matches


def test_any_of_several_values_matches() -> None:
    assert one("ModalitiesInStudy=PT").matches(cs("00080061", "CT", "PT")) is True


def test_a_row_without_the_attribute_does_not_match_if_others_show_it() -> None:
    key = one("PatientID=A")
    rows = [cs("00100020", "A"), {}, {"00100020": {"vr": "LO"}}]
    assert select(rows, [key], Level.STUDIES) == rows[:1]


def test_if_no_row_shows_the_attribute_nobody_can_tell() -> None:
    with pytest.raises(CohortError, match="series without their BodyPartExamined"):
        select([{}, {}], keys_of("BodyPartExamined=CHEST"), Level.SERIES)


def test_messages_hold_no_value() -> None:
    with pytest.raises(CohortError) as raised:
        select([{}], keys_of("PatientID=secret"), Level.STUDIES)
    assert "secret" not in str(raised.value)
