"""What was asked for is told without anybody's name: no patient, no UID, no literal of SQL."""

import pytest

from dicomhaul.model import Query, Shard
from dicomhaul.page.asked import asked_words, masked_sql, masked_uids
from support.mirror import PATIENT

_UID = "1.2.840.113619.2.55.3"
_UUID = "0b1a2c3d-0b1a-2c3d-4e5f-0b1a2c3d4e5f"


def test_filters_are_told() -> None:
    query = Query(
        targets=("nlst", "lists/night.csv"),
        collection=("nlst", "tcga_brca"),
        modality=("CT",),
        study_date="20240101-",
        limit_series=1_000,
        idc_version=23,
        shard=Shard(2, 4),
    )
    assert asked_words(query) == [
        ("target", "nlst, night.csv"),
        ("collection", "nlst, tcga_brca"),
        ("modality", "CT"),
        ("study date", "20240101-"),
        ("at most", "1,000 series"),
        ("IDC release", "23"),
        ("shard", "2 of 4"),
    ]
    assert asked_words(Query(everything=True)) == [("everything", "all that the source has")]


@pytest.mark.parametrize(
    "query",
    [
        Query(patient=(PATIENT, PATIENT)),
        Query(where=f"PatientID = '{PATIENT}'"),
        Query(where=f'"{PATIENT}" = PatientID'),
        Query(sql=f"SELECT * FROM index -- {PATIENT}"),
        Query(sql=f"SELECT * /* {PATIENT} */ FROM index"),
        Query(sql=f"SELECT * FROM index WHERE PatientID = 'it''s {PATIENT}' AND Modality = 'CT'"),
        Query(sql=f"SELECT 'not closed {PATIENT}"),
        Query(sql=f"SELECT $${PATIENT}$$"),
        Query(search=(f"PatientID={PATIENT}", f"PatientName={PATIENT}", f"00100020={PATIENT}")),
        Query(targets=(f"{PATIENT}/list.csv",)),
        Query(targets=(_UID, _UUID)),
        Query(study=(_UID,), series=(_UID,), instance=(_UID,), crdc=(_UUID,)),
        Query(search=(f"StudyInstanceUID={_UID}",)),
        Query(where=f"SeriesInstanceUID = '{_UID}' OR x = 4711"),
        Query(manifest=f"{_UID}\n{PATIENT}"),
    ],
)
def test_nobody_is_named(query: Query) -> None:
    said = repr(asked_words(query))
    assert not [name for name in (PATIENT, "4711", _UID, _UUID) if name in said]
    assert said != "[]"


def test_the_columns_of_a_condition_are_told() -> None:
    assert masked_sql("Modality = 'CT'\n AND  SliceThickness < 1.5") == "Modality = … AND SliceThickness < …"


def test_many_values_are_counted() -> None:
    said = dict(asked_words(Query(collection=tuple(f"c{number}" for number in range(500)))))
    assert said["collection"].endswith("c11 and 488 more")


def test_reasons_of_instances_become_one() -> None:
    assert masked_uids(f"HTTP 404 for {_UID}: after 3.5 s") == "HTTP 404 for …: after 3.5 s"
