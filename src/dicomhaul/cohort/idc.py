"""IDC's own cohort: series rows straight from the parquet files of idc-index-data.

`open_idc` resolves the query; what it returns is then summed up by `groups` (no row becomes a Python object) and read
by `iter_rows`, a batch at a time, so that memory does not grow with the cohort. Both say all that the choice of routes
depends on.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from dicomhaul.cohort.gather import gather
from dicomhaul.cohort.manifest import Entry
from dicomhaul.cohort.names import unknown_name
from dicomhaul.cohort.narrow import narrow
from dicomhaul.cohort.sandbox import Sandbox, reading
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError
from dicomhaul.model import Query, Series

_SIZE = "CAST(round(p.series_size_MB * 1e6) AS BIGINT)"  # the index counts MB of 10^6 bytes
# Of single instances nobody states the size; of a prior revision nobody states the number of instances.
_EXPECTED = "CASE WHEN c.sops IS NULL THEN p.instanceCount ELSE len(c.sops) END"
_BYTES = f"CASE WHEN c.sops IS NULL THEN {_SIZE} END"
_AVERAGE = f"coalesce(c.average, {_SIZE} // nullif(p.instanceCount, 0))"  # bytes of an instance
_FROM = "FROM haul.pool p JOIN haul.chosen c USING (row)"

_OURS = frozenset({"row", "prior"})  # columns of haul.pool that are not the index's

Row = tuple[Series, tuple[str | None, ...]]


class Group(NamedTuple):
    """Totals of series that agree in what stands before the totals. None where nobody states it for all of them.

    `one_size_bytes` and `one_instance_bytes` are those of one series of the group (`model.Series` has the same): they
    lie on the same side of each bound as those of all the others.
    """

    collection: str | None
    license: str | None
    modality: str | None
    bucket: str | None
    prior: bool
    whole: bool
    one_size_bytes: int | None
    one_instance_bytes: int | None
    series: int
    instances: int | None
    size_bytes: int | None
    guessed_bytes: int  # the sum of sizes, where single instances count as the average of their series


class IdcCohort:
    """The series that a query means. Made by `open_idc`.

    Attributes:
        idc_version: number of the IDC release that was asked for, such as 25.
        missing: what the query names and the index does not have, in the query's order.
    """

    def __init__(self, box: Sandbox, idc_version: int, missing: tuple[Entry, ...]) -> None:
        self.idc_version = idc_version
        self.missing = missing
        self._db = box.db

    @property
    def empty(self) -> bool:
        """Whether nothing is wanted: only of a shard that may be true."""
        return not self._db.execute("SELECT 1 FROM haul.chosen LIMIT 1").fetchall()

    def groups(self, *, size_bounds: Sequence[int] = (), instance_bounds: Sequence[int] = ()) -> list[Group]:
        """Sum up the cohort.

        Args:
            size_bounds: sizes of a series, in bytes, that tell series apart: those above one do not share a group with
                those up to it.
            instance_bounds: likewise, average sizes of an instance.
        """
        size = _class(_BYTES, size_bounds)
        average = _class(_AVERAGE, instance_bounds)
        sql = f"""
            SELECT p.collection_id, p.license_short_name, p.Modality, p.aws_bucket, p.prior, c.sops IS NULL,
                min({_BYTES}), min({_AVERAGE}), count(*),
                CASE WHEN count({_EXPECTED}) = count(*) THEN CAST(sum({_EXPECTED}) AS BIGINT) END,
                CASE WHEN count({_BYTES}) = count(*) THEN CAST(sum({_BYTES}) AS BIGINT) END,
                CAST(coalesce(sum(coalesce({_BYTES}, len(c.sops) * {_AVERAGE})), 0) AS BIGINT)
            {_FROM} GROUP BY 1, 2, 3, 4, 5, 6, {size}, {average} ORDER BY ALL
        """
        with reading():
            return [Group._make(row) for row in self._db.execute(sql).fetchall()]

    def iter_rows(self, *, fields: Sequence[str] = (), batch: int = 2_000) -> Iterator[list[Row]]:
        """Yield the series in batches, each with the values of the index columns `fields`, None where empty.

        `folder` of a row is still ''. Raises CohortError if the index has no such column.
        """
        names = [self._column(field) for field in fields]
        extra = "".join(f', CAST(p."{name}" AS VARCHAR)' for name in names)
        sql = f"""
            SELECT p.StudyInstanceUID, p.SeriesInstanceUID, p.collection_id, p.PatientID, p.Modality,
                p.crdc_series_uuid, p.aws_bucket, p.license_short_name, {_EXPECTED}, {_BYTES}, '', c.sops, p.prior,
                NULL, CASE WHEN c.sops IS NOT NULL THEN {_AVERAGE} END{extra}
            {_FROM}
        """
        width = len(Series._fields)
        with reading(), self._db.cursor() as cursor:
            whole = not cursor.execute("SELECT 1 FROM haul.chosen WHERE sops IS NOT NULL LIMIT 1").fetchall()
            cursor.execute(sql)
            while rows := cursor.fetchmany(batch):
                if whole and not names:
                    yield [(Series._make(row), ()) for row in rows]
                else:
                    yield [(_series(row[:width]), row[width:]) for row in rows]

    def _column(self, field: str) -> str:
        names = [row[0] for row in self._db.execute("DESCRIBE haul.pool").fetchall() if row[0] not in _OURS]
        name = {name.lower(): name for name in names}.get(field.lower())
        if name is None:
            raise CohortError(f"IDC's index: {unknown_name('column', field, names)}")
        return str(name)


@contextmanager
def open_idc(
    query: Query, *, shelf: Shelf | None = None, notice: Callable[[str], None] = lambda _: None
) -> Iterator[IdcCohort]:
    """Resolve a query on IDC's index.

    Args:
        query: what is wanted; filters intersect, targets and values of one filter are alternatives.
        shelf: the tables; those of the installed idc-index-data unless given.
        notice: is told in a line when a table has to be fetched first, and what of an earlier release is not known.

    Raises:
        CohortError: bad input, an unknown name, SQL that fails or is not a SELECT, a table that cannot be fetched,
            or nothing matches; the message says which.
    """
    wanted = gather(query)
    shelf = Shelf(notice=notice) if shelf is None else shelf
    box = Sandbox(shelf)
    try:
        missing = narrow(box, shelf, query, wanted, notice)
        yield IdcCohort(box, query.idc_version or shelf.idc_version, missing)
    finally:
        box.close()


def _class(value: str, bounds: Sequence[int]) -> str:
    """Write SQL that counts the bounds below a value; a value that nobody states lies above none."""
    return " + ".join(f"coalesce(CAST({value} > {bound:d} AS INTEGER), 0)" for bound in bounds) or "'one'"


def _series(values: tuple[Any, ...]) -> Series:
    row = Series._make(values)
    return row if row.instances is None else row._replace(instances=tuple(row.instances))
