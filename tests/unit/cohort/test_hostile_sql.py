"""SQL of a stranger, written to read, to write, to call out, or to never end."""

import contextlib
import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pytest

from dicomhaul.cohort.sandbox import Sandbox
from dicomhaul.cohort.tables import Shelf
from dicomhaul.config.source import resolve_sources
from dicomhaul.errors import CohortError
from dicomhaul.model import Query
from dicomhaul.planner.request import REQUEST_JSON, PlanRequest

CANARY = "xyzzy"


@pytest.fixture(scope="module")
def box(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sandbox]:
    folder = tmp_path_factory.mktemp("sql")
    (folder / "secret.csv").write_text(f"word\n{CANARY}\n")
    (folder / "secret.json").write_text(f'{{"word":"{CANARY}"}}')
    found = Sandbox(Shelf(folder=folder, base_url="http://127.0.0.1:9"))
    yield found
    assert sorted(path.name for path in folder.iterdir()) == ["secret.csv", "secret.json"]
    found.close()


def secret(box: Sandbox) -> str:
    """The path of a file that lies beside the tables."""
    return str(next(iter(box._shelf.fetchable.values())).with_name("secret.csv"))


# Where a table stands, or deep inside an expression: {} reads the secret.
HIDDEN = [
    "SELECT * FROM {}",
    "FROM {}",
    "SELECT (SELECT * FROM {} LIMIT 1)",
    "SELECT * FROM index WHERE EXISTS (FROM {})",
    "SELECT * FROM index WHERE SeriesInstanceUID IN (FROM {})",
    "SELECT * FROM index ORDER BY (SELECT count(*) FROM {})",
    "SELECT * FROM index LIMIT (SELECT count(*) FROM {})",
    "SELECT * FROM index, LATERAL (SELECT * FROM {})",
    "SELECT list_transform([1], x -> (SELECT count(*) FROM {}))",
    "WITH x AS (SELECT * FROM {}) SELECT * FROM x",
    "WITH RECURSIVE x AS (SELECT '1' AS word UNION ALL FROM {}) FROM x",
    "SELECT 1 UNION ALL BY NAME SELECT * FROM {}",
    "SELECT CASE WHEN true THEN (SELECT any_value(COLUMNS(*)) FROM {}) END",
    "SELECT * FROM (SUMMARIZE FROM {})",
    "FROM (UNPIVOT (FROM {}) ON COLUMNS(*))",
    "SELECT sum(1) OVER (PARTITION BY (SELECT count(*) FROM {})) FROM index",
    "SELECT * FROM index ASOF JOIN {} ON true",
    "SELECT * FROM index SEMI JOIN {} ON true",
    "VALUES ((SELECT count(*) FROM {}))",
]
READERS = [
    "read_csv('{}')",
    "read_csv_auto(['{}'])",
    "read_text('{}')",
    "'{}'",
    "query($$FROM '{}'$$)",
    "READ_BLOB('{}')",
]


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("sql", HIDDEN)
def test_no_file_is_read_from_anywhere_in_a_statement(box: Sandbox, sql: str, reader: str) -> None:
    with pytest.raises(CohortError) as caught:
        box.select(sql.format(reader.format(secret(box))))
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(
    "where",
    [
        "EXISTS (FROM {})",
        "1 IN (SELECT count(*) FROM {})",
        "true) UNION ALL (SELECT * FROM {}",
        "true) AND EXISTS (FROM {}",
        "true); SELECT * FROM {} --",
        "true) OR (SELECT count(*) > 0 FROM {}) --",
        "1=1 /*",
        "true ORDER BY (SELECT count(*) FROM {})",
        "true GROUP BY ALL HAVING EXISTS (FROM {})",
    ],
)
def test_no_condition_reads_a_file_or_ends_where_it_stands(box: Sandbox, where: str, reader: str) -> None:
    index = box.db.sql('SELECT * FROM "index"')
    with pytest.raises((CohortError, duckdb.Error)) as caught:
        box.filter(index, where.format(reader.format(secret(box)))).fetchmany(1)
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT getenv('HOME')",
        "SELECT set_config('a', 'b', false)",
        "SELECT * FROM duckdb_settings()",
        "SELECT * FROM duckdb_secrets()",
        "SELECT * FROM which_secret('s3://a', 's3')",
        "SELECT * FROM pragma_storage_info('index')",
        "SELECT * FROM enable_logging()",
        "SELECT * FROM pandas_scan(140000000)",
        "SELECT * FROM arrow_scan(1, 2, 3)",
        "SELECT * FROM sqlite_scan('a', 'b')",
        "WITH x AS (COPY index TO '/tmp/x') FROM x",
        "WITH x AS (INSERT INTO index FROM index RETURNING *) FROM x",
        "COPY index TO '/tmp/x'",
        "COPY (SELECT 1) TO PROGRAM 'id'",
        "ATTACH '/tmp/x' AS x",
        "ATTACH 'https://127.0.0.1:9/x.db' AS x",
        "INSTALL httpfs FROM 'http://127.0.0.1:9'",
        "FORCE INSTALL spatial",
        "LOAD '/tmp/x.duckdb_extension'",
        "SET lock_configuration = false",
        "RESET enable_external_access",
        "SET GLOBAL memory_limit = '100GB'",
        "SET VARIABLE x = 1",
        "PRAGMA memory_limit = '100GB'",
        "PREPARE x AS FROM read_text('/etc/passwd')",
        "EXECUTE x",
        "CREATE MACRO m() AS TABLE FROM read_text('/etc/passwd')",
        "CREATE SECRET s (TYPE s3)",
        "CALL pragma_version()",
        "CHECKPOINT",
        "USE memory.haul",
        "PIVOT index ON Modality",
        "EXPLAIN ANALYZE SELECT 1",
    ],
)
def test_what_has_effects_is_refused(box: Sandbox, sql: str) -> None:
    with pytest.raises(CohortError):
        box.select(sql)


def test_what_is_refused_has_changed_nothing(box: Sandbox) -> None:
    """Whatever gets past the reading of statements: DuckDB itself refuses."""
    for sql in (
        "SET enable_external_access = true",
        "SET lock_configuration = false",
        "SET memory_limit = '100GB'",
        "SET allowed_paths = ['/etc/passwd']",
        f"COPY (SELECT 1) TO '{secret(box)}'",
        f"FROM read_csv('{secret(box)}')",
        "FROM glob('/etc/*')",
        "ATTACH '/tmp/x.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
    ):
        with pytest.raises(duckdb.Error):
            box.db.execute(sql)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT " + "NOT " * 900 + "true",
        "SELECT " + " || ".join(["'a'"] * 900),
        "SELECT " + "[" * 900 + "1" + "]" * 900,
        "SELECT " + "(" * 100_000 + "1" + ")" * 100_000,
        "SELECT * FROM " + "(SELECT * FROM " * 2_000 + "index" + ")" * 2_000,
        "SELECT CASE WHEN 1 THEN " * 900,
    ],
)
def test_depth_is_an_error_or_an_answer(box: Sandbox, sql: str) -> None:
    with contextlib.suppress(CohortError):
        box.select(sql)


BOMBS = [
    "SELECT CAST(len(repeat('x', 4000000000) || 'y') AS VARCHAR) AS SeriesInstanceUID",
    "SELECT CAST(count(*) AS VARCHAR) AS SeriesInstanceUID FROM range(1000000000000) WHERE range % 2 = 3",
    "SELECT CAST(levenshtein(repeat('a', 200000), repeat('b', 200000)) AS VARCHAR) AS SeriesInstanceUID",
]
CHILD = """
    import sys
    from dicomhaul.planner import child
    child._SQL_LIMIT_S = 2.0
    sys.exit(child.main())
"""


@pytest.mark.parametrize("sql", BOMBS)
def test_a_bomb_ends_with_the_process_that_holds_it(tmp_path: Path, sql: str) -> None:
    request = PlanRequest(Query(sql=sql), resolve_sources("idc"), "{SeriesInstanceUID}")
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CHILD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        child.stdin.write(REQUEST_JSON.dump_json(request) + b"\n")
        child.stdin.flush()  # and left open: its end would end the child
        lines = child.stdout.read().splitlines()
        assert child.wait(60) == 1
    failed = json.loads(lines[-1])["failed"]
    assert failed["error"] == "CohortError"
    assert "xxxx" not in failed["message"]
