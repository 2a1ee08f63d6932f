"""IDC as an earlier release had it, shards, and licences: on the real index."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.cohort.idc import open_idc
from dicomhaul.cohort.licenses import known_licenses, refuse_others
from dicomhaul.cohort.manifest import Entry
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError
from dicomhaul.model import Query, Series, Shard
from dicomhaul.plan.shard import shard_of

REMOVED = "acrin_nsclc_fdg_pet"  # has series that a release dropped
NON_COMMERCIAL = "CC BY-NC 4.0"


@pytest.fixture(scope="module")
def index() -> Iterator[duckdb.DuckDBPyConnection]:
    shelf = Shelf()
    with duckdb.connect() as db:
        for name in ("index", "prior_versions_index"):
            db.execute(f"CREATE VIEW \"{name}\" AS SELECT * FROM '{shelf.bundled[name]}'")
        yield db


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    """No table but those of the wheel, and no network."""
    return Shelf(folder=tmp_path / "tables", base_url="http://127.0.0.1:9")


def rows_of(query: Query, shelf: Shelf, notes: list[str] | None = None) -> list[Series]:
    with open_idc(query, shelf=shelf, notice=(notes if notes is not None else []).append) as cohort:
        return [row for batch in cohort.iter_rows() for row, _ in batch]


def error_of(query: Query, shelf: Shelf) -> str:
    with pytest.raises(CohortError) as caught:
        rows_of(query, shelf)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def first(db: duckdb.DuckDBPyConnection, sql: str) -> str:
    return str(db.execute(sql).fetchall()[0][0])


# --- releases


@pytest.mark.parametrize(
    ("release", "series"),
    # Of v23, the index has 48 revisions twice, once with twice their size.
    [(1, 38_153), (11, 470_698), (23, 994_134), (24, 1_032_972)],
)
def test_a_release_is_what_is_left_of_it_and_what_was_replaced(
    shelf: Shelf, index: duckdb.DuckDBPyConnection, release: int, series: int
) -> None:
    with open_idc(Query(everything=True, idc_version=release), shelf=shelf) as cohort:
        assert cohort.idc_version == release
        groups = cohort.groups()
    assert sum(group.series for group in groups) == series
    left = int(first(index, f"SELECT count(*) FROM index WHERE series_revised_idc_version <= {release}"))
    assert sum(group.series for group in groups if not group.prior) == left


@pytest.mark.parametrize("release", [10, 17, 23])
def test_no_series_stands_twice_in_a_release(shelf: Shelf, index: duckdb.DuckDBPyConnection, release: int) -> None:
    rows = rows_of(Query(collection=(REMOVED, "tcga_brca"), idc_version=release), shelf)
    assert len({row.series for row in rows}) == len(rows)
    wanted = index.execute(
        """
        SELECT crdc_series_uuid, false FROM index WHERE series_revised_idc_version <= $n
            AND collection_id IN ('acrin_nsclc_fdg_pet', 'tcga_brca')
        UNION
        SELECT crdc_series_uuid, true FROM prior_versions_index WHERE $n BETWEEN min_idc_version AND max_idc_version
            AND collection_id IN ('acrin_nsclc_fdg_pet', 'tcga_brca')
        """,
        {"n": release},
    ).fetchall()
    assert {(row.revision, row.prior) for row in rows} == set(wanted)
    assert any(row.prior for row in rows)
    assert all(row.expected is None and row.license is None and row.size_bytes for row in rows if row.prior)


def test_the_newest_release_is_the_index(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    notes: list[str] = []
    with open_idc(Query(everything=True, idc_version=shelf.idc_version), shelf=shelf, notice=notes.append) as cohort:
        then = cohort.groups()
    with open_idc(Query(everything=True), shelf=shelf) as cohort:
        assert then == cohort.groups()
    assert notes == []


def test_a_revision_that_moved_is_looked_for_where_it_is(
    shelf: Shelf, index: duckdb.DuckDBPyConnection, tmp_path: Path
) -> None:
    uuid = first(index, "SELECT crdc_series_uuid FROM prior_versions_index ORDER BY 1 LIMIT 1")
    path = tmp_path / "prior.parquet"
    one = f"SELECT * FROM prior_versions_index WHERE crdc_series_uuid = '{uuid}' LIMIT 1"
    index.execute(
        f"""
        COPY (
            SELECT * REPLACE (3 AS min_idc_version, 7 AS max_idc_version, 'once' AS aws_bucket) FROM ({one})
            UNION ALL
            SELECT * REPLACE (8 AS min_idc_version, 9 AS max_idc_version, 'now' AS aws_bucket) FROM ({one})
        ) TO '{path}' (FORMAT parquet)
        """
    )
    shelf.bundled["prior_versions_index"] = path
    for release in (3, 7, 8, 9):
        (row,) = rows_of(Query(crdc=(uuid,), idc_version=release), shelf)
        assert (row.bucket, row.prior) == ("now", True)
    (row,) = rows_of(Query(crdc=(uuid,)), shelf)
    assert (row.bucket, row.prior) == ("now", True)
    for release in (2, 10):
        assert "has nothing that matches" in error_of(Query(crdc=(uuid,), idc_version=release), shelf)


def test_what_a_release_leaves_open_is_told(shelf: Shelf) -> None:
    notes: list[str] = []
    rows = rows_of(Query(collection=(REMOVED,), idc_version=17), shelf, notes)
    replaced = sum(row.prior for row in rows)
    assert notes[0].startswith(f"{replaced:,} of the series of IDC v17 were revised or removed since")
    assert notes[1] == "of 3 series the index does not know which revision IDC v17 had"


def test_filters_and_sql_ask_the_release(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    by_name = {row.revision for row in rows_of(Query(collection=(REMOVED,), idc_version=17), shelf)}
    for query in (
        Query(targets=(REMOVED,), idc_version=17),
        Query(where=f"collection_id = '{REMOVED}'", idc_version=17),
        Query(sql=f"SELECT SeriesInstanceUID FROM index WHERE collection_id = '{REMOVED}'", idc_version=17),
        Query(sql=f"SELECT crdc_series_uuid FROM index WHERE collection_id = '{REMOVED}'", idc_version=17),
    ):
        assert {row.revision for row in rows_of(query, shelf)} == by_name
    assert by_name - {row.revision for row in rows_of(Query(collection=(REMOVED,)), shelf)}
    newer = first(index, "SELECT crdc_series_uuid FROM index WHERE series_revised_idc_version > 17 LIMIT 1")
    revision = next(iter(by_name))
    with open_idc(Query(crdc=(newer, str(revision)), idc_version=17), shelf=shelf) as cohort:
        assert cohort.missing == (Entry(crdc=newer),)


@pytest.mark.parametrize("release", [-1, 0, 1000])
def test_a_release_that_the_index_does_not_know(shelf: Shelf, release: int) -> None:
    message = error_of(Query(everything=True, idc_version=release), shelf)
    known = f"the installed index {shelf.index_version} knows the releases 1 to {shelf.idc_version}"
    assert message.startswith(f"--idc-version {release}: {known}")
    assert ("newer idc-index-data" in message) == (release > 0)


# --- shards


def test_shards_part_a_cohort(shelf: Shelf) -> None:
    query = Query(collection=("qin_pet_phantom", REMOVED), limit_series=500)
    whole = {row.series for row in rows_of(query, shelf)}
    parts = [{row.series for row in rows_of(replace(query, shard=Shard(number, 4)), shelf)} for number in range(1, 5)]
    assert sum(map(len, parts)) == len(whole) == 500
    assert set().union(*parts) == whole
    assert [{shard_of(uid, 4) for uid in part} for part in parts] == [{1}, {2}, {3}, {4}]


@pytest.fixture(scope="module")
def sql_shard() -> Iterator[duckdb.DuckDBPyConnection]:
    with duckdb.connect() as db:
        yield db


@given(uids=st.lists(st.from_regex(r"[0-9A-Za-z.]{1,64}", fullmatch=True), min_size=1, max_size=20, unique=True),
       of=st.integers(1, 100_000))  # fmt: skip
def test_python_and_sql_agree_on_the_shard(sql_shard: duckdb.DuckDBPyConnection, uids: list[str], of: int) -> None:
    rows = sql_shard.execute(
        f"SELECT CAST('0x' || left(md5(uid), 8) AS UBIGINT) % {of} + 1 FROM (SELECT unnest({uids!r}) AS uid)"
    ).fetchall()
    assert [row[0] for row in rows] == [shard_of(uid, of) for uid in uids]


def test_an_empty_shard_of_a_cohort_is_no_error(shelf: Shelf) -> None:
    query = Query(collection=("qin_pet_phantom",), limit_series=1)
    (row,) = rows_of(query, shelf)
    mine = shard_of(row.series, 3)
    for number in (1, 2, 3):
        found = rows_of(replace(query, shard=Shard(number, 3)), shelf)
        assert len(found) == (number == mine)


# --- licences


def test_a_cohort_with_another_licence_is_refused(shelf: Shelf, index: duckdb.DuckDBPyConnection) -> None:
    (collection, count), *_ = index.execute(
        "SELECT collection_id, count(*) FILTER (license_short_name = 'CC BY-NC 4.0') FROM index "
        "GROUP BY 1 HAVING count(DISTINCT license_short_name) > 1 AND count(*) FILTER "
        "(license_short_name = 'CC BY-NC 4.0') BETWEEN 1 AND count(*) - 1 ORDER BY 1"
    ).fetchall()
    query = Query(collection=(collection,), licenses_allowed=("CC BY 3.0", "CC BY 4.0"))
    message = error_of(query, shelf)
    assert f"{NON_COMMERCIAL} ({count:,} series)" in message
    where = message.partition('--where "')[2].removesuffix('"')
    left = rows_of(replace(query, where=where), shelf)
    assert left
    assert {row.license for row in left} <= {"CC BY 3.0", "CC BY 4.0"}
    assert rows_of(Query(collection=(collection,), licenses_allowed=("CC BY 3.0", "CC BY 4.0", NON_COMMERCIAL)), shelf)
    # Every shard is refused as the cohort is, whether or not it holds one of them.
    for number in (1, 2):
        assert error_of(replace(query, shard=Shard(number, 2)), shelf) == message


def test_an_earlier_revision_states_no_licence(shelf: Shelf) -> None:
    message = error_of(Query(collection=(REMOVED,), idc_version=17, licenses_allowed=("CC BY 3.0", "CC BY 4.0")), shelf)
    assert "no licence stated (" in message


def test_a_misspelled_licence_names_the_nearest(shelf: Shelf) -> None:
    message = error_of(Query(collection=("qin_pet_phantom",), licenses_allowed=("CC-BY-4.0",)), shelf)
    assert message == "--license-allow: there is no licence 'CC-BY-4.0'; did you mean CC BY 4.0?"


def test_a_licence_whose_name_holds_a_comma() -> None:
    long = "Terms and Conditions; May 21, 2019"
    assert known_licenses(("CC BY", "Terms and Conditions; May 21", "2019", "CC BY"), {"CC BY", long}) == (
        "CC BY",
        long,
    )


def test_licences_that_are_allowed() -> None:
    refuse_others({"CC BY 4.0": 3}, ("CC BY 4.0", "CC BY 3.0"))
    with pytest.raises(CohortError, match=r"CC0 \(2 series\), no licence stated \(1 series\)"):
        refuse_others({"CC BY 4.0": 3, "CC0": 2, None: 1}, ("CC BY 4.0",))
