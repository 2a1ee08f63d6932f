"""The rows that a cohort on IDC is chosen from: the view haul.pool, with a column `row` and one `prior`.

* Rows of the current index have their number in its file.
* Of the present release, earlier revisions (`prior_versions_index`) take part only where their `crdc_series_uuid` is
  named: their numbers are negative.
* Of release N, the rows are those that the current index has not revised since, and the revisions that were served at
  N. All of them are equals: their numbers are not negative. The view `index`, which users know, is the same rows.

An earlier revision has a row in `prior_versions_index` for each bucket that it lay in; the newest is where it still is
(and now and then a row that another one covers, with twice the size: the longer one is taken).
"""
# ruff: noqa: S608 (all of it is SQL of our own words; every value goes through `quoted`)

from dicomhaul.cohort.sandbox import Sandbox, quoted
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError

_BEYOND = 10**12  # more rows than the current index will ever have
_ONE_OF_EACH = (
    "QUALIFY row_number() OVER (PARTITION BY crdc_series_uuid ORDER BY max_idc_version DESC, min_idc_version) = 1"
)
_UNLIKE_INDEX = "file_row_number, gcs_bucket, min_idc_version, max_idc_version"


def check_release(shelf: Shelf, number: int, flag: str = "--idc-version") -> None:
    """Raise CohortError unless the installed index knows the IDC release, which the option `flag` names."""
    if not 1 <= number <= shelf.idc_version:
        newer = "; a newer idc-index-data knows newer ones" if number > shelf.idc_version else ""
        raise CohortError(
            f"{flag} {number}: the installed index {shelf.index_version} knows the releases 1 to "
            f"{shelf.idc_version}{newer}"
        )


def pool_of_present(box: Sandbox, shelf: Shelf) -> None:
    """Make the pool of the present release, with the earlier revisions that the table haul.crdc(uuid) names."""
    box.db.execute(
        f"""
        CREATE TABLE haul.prior AS
        SELECT -1 - file_row_number AS row, true AS prior, * EXCLUDE ({_UNLIKE_INDEX})
        FROM {_parquet(shelf, "prior_versions_index")}
        WHERE crdc_series_uuid IN (SELECT uuid FROM haul.crdc) {_ONE_OF_EACH}
        """
    )
    current = f"SELECT file_row_number AS row, false AS prior, * EXCLUDE (file_row_number) FROM {_index(shelf)}"
    if box.db.execute("SELECT 1 FROM haul.prior LIMIT 1").fetchall():
        current += " UNION ALL BY NAME SELECT * FROM haul.prior"
    box.db.execute(f"CREATE VIEW haul.pool AS {current}")


def pool_of_release(box: Sandbox, shelf: Shelf, number: int) -> None:
    """Make the pool of an IDC release, and let the view `index` show it."""
    box.db.execute(
        f"""
        CREATE TABLE haul.prior AS
        SELECT {_BEYOND} + file_row_number AS row, true AS prior, * EXCLUDE ({_UNLIKE_INDEX}, served)
        FROM (
            SELECT *, bool_or({number:d} BETWEEN min_idc_version AND max_idc_version)
                OVER (PARTITION BY crdc_series_uuid) AS served
            FROM {_parquet(shelf, "prior_versions_index")}
        ) WHERE served {_ONE_OF_EACH}
        """
    )
    box.db.execute(
        f"""
        CREATE VIEW haul.pool AS
        SELECT file_row_number AS row, false AS prior, * EXCLUDE (file_row_number)
        FROM {_index(shelf)} WHERE series_revised_idc_version <= {number:d}
        UNION ALL BY NAME SELECT * FROM haul.prior
        """
    )
    box.db.execute('CREATE OR REPLACE VIEW "index" AS SELECT * EXCLUDE (row, prior) FROM haul.pool')


def every_revision(box: Sandbox, shelf: Shelf) -> None:
    """Make the view haul.every: all rows that the pool of any release can have, by the same numbers."""
    columns = "SeriesInstanceUID, StudyInstanceUID, collection_id, crdc_series_uuid, series_size_MB"
    box.db.execute(
        f"""
        CREATE VIEW haul.every AS
        SELECT file_row_number AS row, {columns}, instanceCount FROM {_index(shelf)}
        UNION ALL BY NAME
        SELECT {_BEYOND} + file_row_number AS row, {columns} FROM {_parquet(shelf, "prior_versions_index")}
        """
    )


def unstated(box: Sandbox, shelf: Shelf, number: int) -> int:
    """Count series that the index has, that were there at release N, and of which it has no revision of that time."""
    rows = box.db.execute(f"SELECT count(*) FROM ({unstated_rows(shelf, number)})").fetchall()
    return int(rows[0][0])


def unstated_rows(shelf: Shelf, number: int) -> str:
    """Write the query for the rows of the series that `unstated` counts, while the pool is that of release N."""
    return f"""
        SELECT file_row_number AS row FROM {_index(shelf)}
        WHERE {number:d} BETWEEN series_init_idc_version AND series_revised_idc_version - 1
            AND SeriesInstanceUID NOT IN (SELECT SeriesInstanceUID FROM haul.prior)
    """


def former_uids(shelf: Shelf) -> str:
    """Write the query for the column `uid` of all studies and series that some release had with another revision."""
    prior = _parquet(shelf, "prior_versions_index")
    return f"SELECT StudyInstanceUID AS uid FROM {prior} UNION SELECT SeriesInstanceUID FROM {prior}"


def licenses(box: Sandbox, shelf: Shelf) -> list[str]:
    """Return the names of all licences that the index knows."""
    rows = box.db.execute(f"SELECT DISTINCT license_short_name FROM {_index(shelf)}").fetchall()
    return [row[0] for row in rows if row[0] is not None]


def _index(shelf: Shelf) -> str:
    return _parquet(shelf, "index")


def _parquet(shelf: Shelf, table: str) -> str:
    return f"read_parquet({quoted(str(shelf.bundled[table]))}, file_row_number = true)"
