"""SQL from a stranger reads IDC's tables and nothing else."""

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dicomhaul.cohort.sandbox import Sandbox
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Sandbox]:
    found = Sandbox(Shelf(folder=tmp_path / "tables", base_url="http://127.0.0.1:9"))
    yield found
    found.close()


def error_of(box: Sandbox, sql: str) -> str:
    with pytest.raises(CohortError) as caught:
        box.select(sql)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize(
    "source",
    [
        "'{secret}'",
        "read_csv('{secret}')",
        "read_text('{secret}')",
        "read_blob('{secret}')",
        "read_parquet('{secret}')",
        "read_json('{secret}')",
        "sniff_csv('{secret}')",
        "parquet_metadata('{secret}')",
        "glob('{folder}/*')",
        "query('SELECT * FROM read_text(''{secret}'')')",
        "query_table('{secret}')",
        "'https://127.0.0.1:9/x.parquet'",
        "read_parquet('s3://bucket/x.parquet')",
        "secret",  # a Python variable of this test
    ],
)
def test_no_other_file_can_be_read(box: Sandbox, tmp_path: Path, source: str) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nxyzzy\n")
    message = error_of(box, f"SELECT * FROM {source.format(secret=secret, folder=tmp_path)}")
    assert "xyzzy" not in message


@pytest.mark.parametrize(
    "sql",
    [
        "COPY (SELECT 1) TO '{folder}/out.csv'",
        "ATTACH '{folder}/out.db'",
        "EXPORT DATABASE '{folder}/out'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET enable_external_access = true",
        "RESET lock_configuration",
        "PRAGMA enable_profiling",
        "CALL enable_logging()",
        "CREATE TABLE x AS SELECT 1",
        "DROP VIEW index",
        "INSERT INTO index SELECT * FROM index",
        "SELECT 1; COPY (SELECT 1) TO '{folder}/out.csv'",
        "SELECT 1; SELECT 2",
        "EXPLAIN SELECT 1",
        "-- nothing",
        "",
    ],
)
def test_anything_but_one_select_is_refused(box: Sandbox, tmp_path: Path, sql: str) -> None:
    assert "one single SELECT" in error_of(box, sql.format(folder=tmp_path))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("function", ["enable_logging('QueryLog')", "force_checkpoint()", "pragma_database_list()"])
def test_a_select_can_have_no_side_effect(box: Sandbox, function: str) -> None:
    assert "cannot be used here" in error_of(box, f"SELECT (SELECT count(*) FROM {function})")
    with pytest.raises(CohortError, match="cannot be used here"):
        box.filter(box.db.sql('SELECT * FROM "index"'), f"EXISTS (SELECT 1 FROM {function})")


def test_harmless_table_functions_work(box: Sandbox) -> None:
    assert box.select("SELECT a FROM unnest([1]) t(a), range(1)").fetchall() == [(1,)]


def test_even_past_the_check_nothing_outside_can_be_opened(box: Sandbox, tmp_path: Path) -> None:
    secret = tmp_path / "secret.csv"
    secret.write_text("word\nxyzzy\n")
    for sql in (f"FROM read_text('{secret}')", f"COPY (SELECT 1) TO '{tmp_path}/out.csv'", f"ATTACH '{tmp_path}/out'"):
        with pytest.raises(duckdb.PermissionException):
            box.db.execute(sql)
    with pytest.raises(duckdb.InvalidInputException, match="locked"):
        box.db.execute("SET enable_external_access = true")
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret.csv"]


def test_the_environment_cannot_be_read(box: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DICOMHAUL_SECRET", "xyzzy")
    assert "getenv" in error_of(box, "SELECT getenv('DICOMHAUL_SECRET')")
    assert "xyzzy" in os.environ["DICOMHAUL_SECRET"]


@pytest.mark.parametrize(
    "where", ["true) UNION SELECT 1 FROM index WHERE (true", "true; DROP VIEW index", "Modality = 'CT', true", ""]
)
def test_where_is_one_condition(box: Sandbox, where: str) -> None:
    with pytest.raises(CohortError, match="--where"):
        box.filter(box.db.sql('SELECT * FROM "index"'), where)


def test_a_misspelled_column_comes_with_candidates(box: Sandbox) -> None:
    message = error_of(box, "SELECT Modalty FROM index")
    assert '"Modality"' in message
    assert "LINE" not in message


def test_a_misspelled_table_comes_with_the_nearest(box: Sandbox) -> None:
    assert "did you mean collections_index" in error_of(box, "SELECT * FROM collection_index")


def test_clinical_tables_are_said_to_be_unsupported(box: Sandbox) -> None:
    assert "clinical tables themselves are not supported" in error_of(box, "SELECT * FROM nlst_canc")


def test_a_table_that_is_not_in_the_wheel_is_asked_for(box: Sandbox) -> None:
    sql = "WITH s AS (SELECT * FROM SM_INDEX) SELECT SeriesInstanceUID FROM index JOIN s USING (SeriesInstanceUID)"
    assert error_of(box, sql).startswith("the table sm_index is not part of the installed index")


def test_a_table_that_is_there_is_used(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()

    duckdb.sql("SELECT 'x' AS SeriesInstanceUID").write_parquet(str(tmp_path / "tables" / "sm_index.parquet"))
    assert box.select("SELECT * FROM sm_index").fetchall() == [("x",)]
    assert box.select('SELECT * FROM "sm_index"').fetchall() == [("x",)]


def test_a_damaged_table_is_named(box: Sandbox, tmp_path: Path) -> None:
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables" / "sm_index.parquet").write_bytes(b"PAR1" * 3)
    assert error_of(box, "SELECT * FROM sm_index").startswith("the table sm_index of IDC's index cannot be read")
