"""Cohorts on the real index of IDC, as the installed idc-index-data has it."""

from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dicomhaul.cohort.idc import Group, Row, open_idc
from dicomhaul.cohort.manifest import Entry
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError
from dicomhaul.model import Query, Series

PHANTOM = "qin_pet_phantom"


@pytest.fixture(scope="module")
def index() -> Iterator[duckdb.DuckDBPyConnection]:
    """The index without dicomhaul, to hold its answers against."""
    shelf = Shelf()
    with duckdb.connect() as db:
        for name in ("index", "prior_versions_index"):
            db.execute(f"CREATE VIEW \"{name}\" AS SELECT * FROM '{shelf.bundled[name]}'")
        yield db


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """No table but those of the wheel, and no network."""
    return Shelf(folder=tmp_path / "tables", base_url="http://127.0.0.1:9")


def rows_of(query: Query, shelf: Shelf, fields: tuple[str, ...] = ()) -> list[Row]:
    with open_idc(query, shelf=shelf) as cohort:
        return [row for batch in cohort.iter_rows(fields=fields) for row in batch]


def uids_of(query: Query, shelf: Shelf) -> set[str]:
    rows = rows_of(query, shelf)
    found = {row.series for row, _ in rows}
    assert len(found) == len(rows)
    return set(found)


def error_of(query: Query, shelf: Shelf) -> str:
    with pytest.raises(CohortError) as caught:
        rows_of(query, shelf)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def first(db: duckdb.DuckDBPyConnection, sql: str) -> list[str]:
    return [str(row[0]) for row in db.execute(sql).fetchall()]


# --- rows and totals


def test_a_collection_is_what_the_readme_says(shelf: Shelf) -> None:
    with open_idc(Query(targets=(PHANTOM,)), shelf=shelf) as cohort:
        (group,) = cohort.groups()
        rows = [row for batch in cohort.iter_rows(batch=7) for row in batch]
        assert cohort.missing == ()
        assert cohort.idc_version == shelf.idc_version
    size = group.size_bytes
    assert group == Group(
        PHANTOM, "CC BY 3.0", "PT", "idc-open-data", False, True,
        group.one_size_bytes, group.one_instance_bytes, 44, 2816, size, size or 0,
    )  # fmt: skip
    assert len(rows) == 44
    assert sum(row.expected or 0 for row, _ in rows) == 2816
    assert sum(row.size_bytes or 0 for row, _ in rows) == group.size_bytes
    assert 245_000_000 < (group.size_bytes or 0) < 247_000_000


def test_a_row_says_what_the_index_says(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    columns = "StudyInstanceUID, SeriesInstanceUID, collection_id, PatientID, Modality, crdc_series_uuid, aws_bucket"
    wanted = index.execute(
        f"SELECT {columns}, license_short_name, instanceCount, round(series_size_MB * 1e6)::BIGINT, '', NULL, "
        "false, NULL, NULL, SeriesDescription, instanceCount::VARCHAR FROM index WHERE collection_id = ? ORDER BY 2",
        [PHANTOM],
    ).fetchall()
    rows = rows_of(Query(collection=(PHANTOM,)), shelf, ("seriesdescription", "instanceCount"))
    assert sorted((*row, *values) for row, values in rows) == sorted(wanted)
    assert all(isinstance(row, Series) for row, _ in rows)


def test_a_bound_tells_series_apart(shelf: Shelf) -> None:
    with open_idc(Query(collection=(PHANTOM,)), shelf=shelf) as cohort:
        rows = [row for batch in cohort.iter_rows() for row, _ in batch]
        sizes = [row.size_bytes or 0 for row in rows]
        averages = [size // (row.expected or 1) for size, row in zip(sizes, rows, strict=True)]
        low, high = sorted(sizes)[10], sorted(sizes)[30]
        average = sorted(averages)[20]
        by_size = cohort.groups(size_bounds=(low, high))
        by_average = cohort.groups(instance_bounds=(average,))
    for lowest, highest in ((-1, low), (low, high), (high, 10**12)):
        (group,) = (group for group in by_size if lowest < (group.one_size_bytes or 0) <= highest)
        mine = [size for size in sizes if lowest < size <= highest]
        assert (group.series, group.size_bytes) == (len(mine), sum(mine))
    counts = {(group.one_instance_bytes or 0) > average: group.series for group in by_average}
    assert counts == {False: sum(each <= average for each in averages), True: sum(each > average for each in averages)}


def test_all_of_idc_is_counted_whole(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    with open_idc(Query(everything=True), shelf=shelf) as cohort:
        groups = cohort.groups()
    totals = index.execute("SELECT count(*), sum(instanceCount) FROM index").fetchall()
    assert [(sum(group.series for group in groups), sum(group.instances or 0 for group in groups))] == totals


def test_an_unknown_field_names_the_nearest(shelf: Shelf) -> None:
    with open_idc(Query(collection=(PHANTOM,)), shelf=shelf) as cohort, pytest.raises(CohortError, match="PatientID"):
        next(cohort.iter_rows(fields=("PatentID",)))


# --- filters


def test_filters_intersect_and_values_are_alternatives(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    query = Query(collection=("nlst", "rider_lung_pet_ct"), modality=("PT", "SEG"), study_date="19990101-20101231")
    wanted = first(
        index,
        "SELECT SeriesInstanceUID FROM index WHERE collection_id IN ('nlst', 'rider_lung_pet_ct') "
        "AND Modality IN ('PT', 'SEG') AND StudyDate BETWEEN '1999-01-01' AND '2010-12-31'",
    )
    assert wanted
    assert uids_of(query, shelf) == set(wanted)


def test_targets_are_alternatives_which_filters_narrow(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    study, series = index.execute(
        "SELECT StudyInstanceUID, SeriesInstanceUID FROM index WHERE collection_id = 'nlst' AND Modality = 'CT' "
        "ORDER BY 2 LIMIT 1"
    ).fetchall()[0]
    assert uids_of(Query(targets=(PHANTOM, series)), shelf) == uids_of(Query(targets=(PHANTOM,)), shelf) | {series}
    assert series in uids_of(Query(targets=(study,)), shelf)
    assert uids_of(Query(targets=(PHANTOM, study), series=(series,)), shelf) == {series}


def test_patients_and_studies_filter(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    patient, study = index.execute(
        "SELECT PatientID, StudyInstanceUID FROM index WHERE collection_id = 'qin_pet_phantom' ORDER BY 2 LIMIT 1"
    ).fetchall()[0]
    by_patient = uids_of(Query(collection=(PHANTOM,), patient=(patient,)), shelf)
    assert uids_of(Query(study=(study,)), shelf) <= by_patient < uids_of(Query(collection=(PHANTOM,)), shelf)


@pytest.mark.parametrize(("text", "sql"), [
    ("19970917", "= '1997-09-17'"),
    ("-1991-12-31", "<= '1991-12-31'"),
    ("2023-01-01-", ">= '2023-01-01'"),
])  # fmt: skip
def test_dates(shelf: Shelf, index: duckdb.DuckDBPyConnection, text: str, sql: str) -> None:
    wanted = first(index, f"SELECT SeriesInstanceUID FROM index WHERE StudyDate {sql}")
    assert wanted
    assert uids_of(Query(study_date=text), shelf) == set(wanted)


def test_limit_series_is_the_same_each_time(shelf: Shelf) -> None:
    query = Query(collection=("nlst",), limit_series=5)
    assert len(uids_of(query, shelf)) == 5
    assert uids_of(query, shelf) == uids_of(query, shelf)
    assert uids_of(Query(collection=("nlst",), limit_series=3), shelf) < uids_of(query, shelf)


def test_values_are_values_and_never_sql(shelf: Shelf) -> None:
    evil = "x'); DROP VIEW index; --"
    assert "there is no collection" in error_of(Query(collection=(evil,)), shelf)
    assert "does not have 1 of the 1" in error_of(Query(patient=(evil,)), shelf)
    assert "nothing that matches" in error_of(Query(series=(evil,)), shelf)


# --- SQL, as idc-index's documentation and IDC's tutorials show it


@pytest.mark.parametrize(
    ("sql", "series"),
    [
        (
            """
    SELECT StudyInstanceUID, SeriesInstanceUID, PatientID, Modality
    FROM index
    WHERE collection_id = 'tcga_luad' AND Modality = 'CT'
    LIMIT 5
""",
            5,
        ),
        (
            """
SELECT
  PatientID,
  SeriesInstanceUID,
  SeriesDescription
FROM index
WHERE collection_id = 'nlst'
  AND Modality = 'CT'
  AND BodyPartExamined = 'CHEST'
  AND license_short_name = 'CC BY 4.0'
ORDER BY PatientID
LIMIT 100
""",
            100,
        ),
        (
            """
    SELECT series_aws_url, COUNT(*) as series_count
    FROM index
    WHERE collection_id = 'qin_pet_phantom'
    GROUP BY series_aws_url
""",
            44,
        ),
        (
            """
SELECT
  SeriesInstanceUID,
  collection_id,
  PatientID,
  Modality
FROM index
WHERE license_short_name LIKE 'CC BY%'
  AND license_short_name NOT LIKE '%NC%'
  AND Modality IN ('CT', 'MR')
  AND BodyPartExamined IN ('CHEST', 'BRAIN', 'ABDOMEN')
LIMIT 200
""",
            200,
        ),
        ("SELECT * FROM index WHERE Modality = 'CT' LIMIT 10;", 10),
        (
            """SELECT seriesinstanceuid FROM index JOIN collections_index USING (collection_id)
            WHERE collection_name = 'QIN PET Phantom' OR index.collection_id = 'qin_pet_phantom' -- both""",
            44,
        ),
        ("WITH p AS (SELECT DISTINCT StudyInstanceUID FROM index WHERE collection_id = 'qin_pet_phantom') FROM p", 44),
        ("""SELECT a.SeriesInstanceUID, b.SeriesInstanceUID FROM index a, index b
            WHERE a.SeriesInstanceUID = b.SeriesInstanceUID AND a.collection_id = 'qin_pet_phantom'""", 44),
        ("SELECT DISTINCT collection_id, PatientID FROM index WHERE collection_id = 'qin_pet_phantom'", 44),
        ("SELECT crdc_series_uuid, SeriesInstanceUID AS x FROM index WHERE collection_id = 'qin_pet_phantom'", 44),
    ],
)  # fmt: skip
def test_sql_from_tutorials_runs_unchanged(shelf: Shelf, sql: str, series: int) -> None:
    assert len(uids_of(Query(sql=sql), shelf)) == series


def test_tutorial_sql_on_slide_microscopy_uses_the_fetched_table(
    shelf: Shelf, index: duckdb.DuckDBPyConnection
) -> None:
    uids = first(index, "SELECT SeriesInstanceUID FROM index WHERE Modality = 'SM' ORDER BY 1 LIMIT 3")
    put_table(shelf, "sm_index", [(uid, "Pancreas" if at else "Lung") for at, uid in enumerate(uids)],
              "SeriesInstanceUID", "primaryAnatomicStructure_CodeMeaning")  # fmt: skip
    sql = """
SELECT index.StudyInstanceUID, sm_index.SeriesInstanceUID
FROM sm_index
JOIN index ON sm_index.SeriesInstanceUID = index.SeriesInstanceUID
WHERE Modality = 'SM' AND primaryAnatomicStructure_CodeMeaning = 'Pancreas'
"""
    assert uids_of(Query(sql=sql), shelf) == set(uids[1:])


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT DISTINCT Modality FROM index", "must select SeriesInstanceUID"),
        ("SELECT collection_id, COUNT(*) FROM index GROUP BY 1", "must select SeriesInstanceUID"),
        ("SELECT SOPInstanceUID FROM (SELECT '1.2' AS SOPInstanceUID)", "only together with a series"),
        ("SELECT SeriesInstanceUID FROM index WHERE false", "selects no row"),
        ("SELECT SeriesInstanceUID FROM index WHERE CAST(PatientID AS INTEGER) = 1", "--sql: Conversion Error"),
        ("SELECT SeriesInstanceUID FROM sm_index", "the table sm_index is not part of the installed index"),
        ("DESCRIBE index", "must select SeriesInstanceUID"),
    ],
)
def test_sql_that_is_no_cohort(shelf: Shelf, sql: str, why: str) -> None:
    assert why in error_of(Query(sql=sql), shelf)


def test_sql_where_and_filters_intersect(shelf: Shelf) -> None:
    sql = "SELECT SeriesInstanceUID FROM index WHERE collection_id IN ('qin_pet_phantom', 'nlst')"
    where = "instanceCount > 60 AND index.Modality = 'PT' -- slices"
    query = Query(sql=sql, where=where, modality=("PT",))
    assert uids_of(query, shelf) == uids_of(Query(collection=(PHANTOM,), where="instanceCount > 60"), shelf)


def test_what_sql_names_and_the_index_does_not_have_is_reported(shelf: Shelf) -> None:
    sql = "SELECT SeriesInstanceUID FROM index WHERE collection_id = 'qin_pet_phantom' UNION ALL SELECT '1.2.3'"
    with open_idc(Query(sql=sql), shelf=shelf) as cohort:
        assert cohort.missing == (Entry(series="1.2.3"),)
        assert [group.series for group in cohort.groups()] == [44]


@pytest.mark.parametrize(("where", "why"), [("Modalty = 'CT'", '"Modality"'), ("Modality =", "syntax error")])
def test_a_bad_condition(shelf: Shelf, where: str, why: str) -> None:
    assert why in error_of(Query(where=where), shelf)


# --- instances


def put_table(shelf: Shelf, name: str, rows: list[tuple[str, ...]], *columns: str) -> None:
    path = shelf.fetchable[name]
    path.parent.mkdir(exist_ok=True)
    with duckdb.connect() as db:
        types = ", ".join(name if " " in name else f"{name} VARCHAR" for name in columns)
        db.execute(f"CREATE TABLE t ({types})")
        db.executemany(f"INSERT INTO t VALUES ({', '.join('?' for _ in columns)})", rows)
        db.execute(f"COPY t TO '{path}' (FORMAT parquet)")


def put_instances(shelf: Shelf, *rows: tuple[str, str, str]) -> None:
    put_table(shelf, "sm_instance_index", list(rows), "SOPInstanceUID", "SeriesInstanceUID", "instance_size INTEGER")


def test_sql_can_select_instances(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    (uid,) = first(index, "SELECT SeriesInstanceUID FROM index WHERE Modality = 'SM' ORDER BY 1 LIMIT 1")
    put_instances(shelf, ("1.2", uid, "3000"), ("1.1", uid, "1000"), ("1.9", uid, "900000"))
    query = Query(sql="SELECT SOPInstanceUID, SeriesInstanceUID FROM sm_instance_index WHERE instance_size < 9999")
    ((row, _),) = rows_of(query, shelf)
    assert (row.series, row.instances, row.expected, row.size_bytes) == (uid, ("1.1", "1.2"), 2, None)
    with open_idc(query, shelf=shelf) as cohort:
        (group,) = cohort.groups(size_bounds=(1,), instance_bounds=(1,))
    assert (group.series, group.instances, group.size_bytes, group.whole) == (1, 2, None, False)
    # Those that are wanted, not those of the whole slide.
    assert (row.instance_bytes, group.one_instance_bytes, group.guessed_bytes) == (2000, 2000, 4000)
    ((row, _),) = rows_of(Query(sql=query.sql, instance=("1.2",)), shelf)
    assert row.instances == ("1.2",)
    assert "do not belong" in error_of(Query(sql=query.sql, instance=("1.3",)), shelf)


def test_an_instance_of_a_slide_is_found_by_its_uid(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    (uid,) = first(index, "SELECT SeriesInstanceUID FROM index WHERE Modality = 'SM' ORDER BY 1 LIMIT 1")
    put_instances(shelf, ("1.2", uid, "3000"))
    for query in (Query(targets=("1.2",)), Query(instance=("1.2",)), Query(manifest="SOPInstanceUID\n1.2\n")):
        ((row, _),) = rows_of(query, shelf)
        assert (row.series, row.instances) == (uid, ("1.2",))
    assert "slide microscopy only" in error_of(Query(instance=("1.3",)), shelf)
    with open_idc(Query(instance=("1.2", "1.3")), shelf=shelf) as cohort:
        assert cohort.missing == (Entry(sop="1.3"),)


def test_an_instance_needs_no_index_when_its_series_is_named(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    (uid,) = first(index, "SELECT SeriesInstanceUID FROM index WHERE Modality = 'CT' ORDER BY 1 LIMIT 1")
    query = Query(series=(uid,), instance=("1.2", "1.3"))
    ((row, _),) = rows_of(query, shelf)
    assert (row.series, row.instances, row.expected) == (uid, ("1.2", "1.3"), 2)
    ((size, count),) = index.execute(
        "SELECT round(series_size_MB * 1e6)::BIGINT, instanceCount FROM index WHERE SeriesInstanceUID = ?", [uid]
    ).fetchall()
    assert row.instance_bytes == size // count
    with open_idc(query, shelf=shelf) as cohort:
        (group,) = cohort.groups()
    assert (group.one_instance_bytes, group.guessed_bytes) == (size // count, 2 * (size // count))
    ((row, _),) = rows_of(Query(manifest=f"SeriesInstanceUID,SOPInstanceUID\n{uid},1.2\n{uid},1.3\n"), shelf)
    assert (row.series, row.instances) == (uid, ("1.2", "1.3"))
    ((row, _),) = rows_of(Query(manifest=f"SeriesInstanceUID,SOPInstanceUID\n{uid},1.2\n{uid},\n"), shelf)
    assert (row.series, row.instances) == (uid, None)


def test_a_uid_that_may_be_an_instance_says_why_it_is_unknown(shelf: Shelf) -> None:
    message = error_of(Query(targets=("1.2.3.4",)), shelf)
    assert message.startswith("1.2.3.4 is no study or series of IDC")
    assert "sm_instance_index" in message
    assert "--series UID" in error_of(Query(instance=("1.2",)), shelf)


@pytest.mark.parametrize("level", ["Study", "Series"])
def test_what_was_withdrawn_is_missing_and_no_table_is_fetched(
    shelf: Shelf, index: duckdb.DuckDBPyConnection, level: str
) -> None:
    name = f"{level}InstanceUID"
    (gone,) = first(index, f"SELECT {name} FROM prior_versions_index ANTI JOIN index USING ({name}) ORDER BY 1 LIMIT 1")
    (there,) = first(index, f"SELECT {name} FROM index WHERE collection_id = 'nlst' ORDER BY 1 LIMIT 1")
    with open_idc(Query(targets=(gone, there)), shelf=shelf) as cohort:
        assert [entry.uid for entry in cohort.missing] == [gone]
        assert not cohort.empty


# --- manifests and revisions


def test_a_large_manifest_joins_with_the_index(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    uuids = first(index, "SELECT crdc_series_uuid FROM index WHERE collection_id = 'nlst' ORDER BY 1 LIMIT 65000")
    text = "".join(f"cp s3://idc-open-data/{uuid}/* .\n" for uuid in uuids)
    with open_idc(Query(manifest=text), shelf=shelf) as cohort:
        assert cohort.missing == ()
        rows = [row for batch in cohort.iter_rows() for row, _ in batch]
    assert {row.revision for row in rows} == set(uuids)
    assert len(rows) == len(uuids)


def test_unknown_entries_are_reported_and_the_rest_comes(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    (uid,) = first(index, "SELECT SeriesInstanceUID FROM index WHERE collection_id = 'nlst' ORDER BY 1 LIMIT 1")
    gone = "00000000-0000-0000-0000-000000000000"
    text = f"StudyInstanceUID,SeriesInstanceUID,crdc_series_uuid\n,1.2,\n,{uid},\n1.2,{uid},\n,,{gone}\n"
    with open_idc(Query(manifest=text), shelf=shelf) as cohort:
        assert cohort.missing == (Entry(series="1.2"), Entry("1.2", uid), Entry(crdc=gone))
        assert [row.series for batch in cohort.iter_rows() for row, _ in batch] == [uid]
    assert "has nothing of what is named: series 1.2" in error_of(Query(manifest="SeriesInstanceUID\n1.2\n"), shelf)


def test_filters_report_what_is_unknown(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    (uid,) = first(index, "SELECT SeriesInstanceUID FROM index WHERE collection_id = 'nlst' ORDER BY 1 LIMIT 1")
    with open_idc(Query(series=(uid, "1.2.3")), shelf=shelf) as cohort:
        assert cohort.missing == (Entry(series="1.2.3"),)


def test_a_prior_revision_resolves_to_itself(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    uuid, uid, bucket, size = index.execute(
        """
        SELECT crdc_series_uuid, SeriesInstanceUID, aws_bucket, round(series_size_MB * 1e6)::BIGINT
        FROM prior_versions_index SEMI JOIN index USING (SeriesInstanceUID) ORDER BY 1, max_idc_version DESC LIMIT 1
        """
    ).fetchall()[0]
    for query in (
        Query(crdc=(uuid.upper(),)),
        Query(targets=(uuid,)),
        Query(manifest=f"s3://{bucket}/{uuid}/*"),
        Query(sql=f"SELECT * FROM prior_versions_index WHERE crdc_series_uuid = '{uuid}'"),
    ):
        with open_idc(query, shelf=shelf) as cohort:
            (group,) = cohort.groups()
            ((row, _),) = next(cohort.iter_rows())
        assert (row.series, row.revision, row.bucket, row.size_bytes, row.expected) == (uid, uuid, bucket, size, None)
        assert (group.series, group.instances, group.size_bytes) == (1, None, size)
        assert row.prior
        assert group.prior
    ((row, _),) = rows_of(Query(series=(uid,)), shelf)
    assert row.revision != uuid
    assert not row.prior
    ((row, _),) = rows_of(
        Query(sql=f"SELECT SeriesInstanceUID FROM prior_versions_index WHERE SeriesInstanceUID = '{uid}'"), shelf
    )
    assert row.revision != uuid
    message = error_of(Query(crdc=(uuid, str(row.revision))), shelf)
    assert message.startswith("1 series are asked for in more than one revision")


# --- why there is nothing


def test_a_misspelled_collection_names_the_nearest(shelf: Shelf) -> None:
    for query in (Query(targets=("QIN-PET-Phantom",)), Query(collection=("qin pet phantom",))):
        assert f"did you mean {PHANTOM}?" in error_of(query, shelf)


def test_a_misspelled_modality_names_the_nearest(shelf: Shelf) -> None:
    assert "did you mean CT?" in error_of(Query(modality=("ct",)), shelf)


@pytest.mark.parametrize(
    "query", [Query(collection=(PHANTOM,), modality=("MR",)), Query(targets=(PHANTOM,), modality=("MR",))]
)
def test_an_empty_cohort_says_which_filter_emptied_it(shelf: Shelf, query: Query) -> None:
    assert error_of(query, shelf) == f"nothing is left: collection {PHANTOM} has no modality MR; it has PT"


def test_an_empty_cohort_shows_no_patient_and_no_sql(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    (patient,) = first(index, "SELECT PatientID FROM index WHERE collection_id = 'nlst' ORDER BY 1 LIMIT 1")
    message = error_of(Query(collection=(PHANTOM,), patient=(patient,)), shelf)
    assert message == f"nothing is left: --collection {PHANTOM} has nothing that matches --patient"
    assert error_of(Query(study_date="18000101", where="true"), shelf).endswith(
        "nothing that matches --study-date 18000101"
    )


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (Query(), "nothing is asked for"),
        (Query(limit_series=3), "nothing is asked for"),
        (Query(everything=True, limit_series=0), "--limit-series must be 1 or more"),
        (Query(search=("PatientID=1",)), "--search asks a DICOMweb server"),
    ],
)
def test_questions_that_make_no_sense(shelf: Shelf, query: Query, why: str) -> None:
    assert why in error_of(query, shelf)
