"""What changed of a cohort between two releases of IDC, before anything moves.

Either release is resolved as `--idc-version` does (`cohort.pool`), one after the other in one sandbox; a row of the
pool has the same number in both, so that two columns of numbers are all that is compared. A series is what has one
Series Instance UID; what changes its content changes its `crdc_series_uuid`.

| at the first release | at the second | change |
|---|---|---|
| - | revision B | added |
| - , but IDC had had it before, and the index names no revision of then | revision B | revised, from an unknown one |
| revision A | - | withdrawn |
| revision A | revision A, wherever it lies | none |
| revision A | revision B | revised |

"At a release" means: it is there and belongs to the cohort there. So a series that a filter let through at one release
alone counts as added, or withdrawn. The first release may be the later one.
"""
# ruff: noqa: S608 (all of it is SQL of our own words)

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, NamedTuple

from dicomhaul.cohort.gather import gather
from dicomhaul.cohort.narrow import narrow
from dicomhaul.cohort.pool import check_release, every_revision, unstated_rows
from dicomhaul.cohort.sandbox import Sandbox, reading
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError
from dicomhaul.model import Query
from dicomhaul.plan.estimate import Amount

Kind = Literal["added", "revised", "withdrawn"]
KINDS: Final[tuple[Kind, ...]] = ("added", "revised", "withdrawn")

_SIZE: Final = "CAST(round(series_size_MB * 1e6) AS BIGINT)"  # the index counts MB of 10^6 bytes
_SIDE: Final = f"""
    SELECT row, SeriesInstanceUID, StudyInstanceUID, collection_id, crdc_series_uuid, instanceCount, {_SIZE} AS size
    FROM haul.every SEMI JOIN {{rows}} USING (row)
"""
_CHANGES: Final = f"""
    CREATE VIEW haul.change AS
    SELECT
        CASE WHEN n.row IS NULL THEN 'withdrawn'
            WHEN w.row IS NOT NULL OR n.row IN (SELECT row FROM kept.unstated) THEN 'revised'
            ELSE 'added' END AS change,
        coalesce(n.collection_id, w.collection_id) AS collection,
        coalesce(n.StudyInstanceUID, w.StudyInstanceUID) AS study,
        SeriesInstanceUID AS series, w.crdc_series_uuid AS old, n.crdc_series_uuid AS new,
        CASE WHEN n.row IS NULL THEN w.instanceCount ELSE n.instanceCount END AS instances,
        CASE WHEN n.row IS NULL THEN w.size ELSE n.size END AS size,
        CASE WHEN n.row IS NOT NULL THEN w.size END AS replaced
    FROM ({_SIDE.format(rows="kept.gone")}) w
    FULL JOIN ({_SIDE.format(rows="kept.come")}) n USING (SeriesInstanceUID)
    WHERE w.crdc_series_uuid IS DISTINCT FROM n.crdc_series_uuid
"""


class Change(NamedTuple):
    """One series that is not the same at both releases.

    `instances` and `size_bytes` are those of what would come, or of what is withdrawn; None where the index states
    none, as of a revision that the present release replaced.
    """

    change: Kind
    collection: str | None
    study: str
    series: str
    old: str | None  # crdc_series_uuid at the first release; None: not there, or unknown
    new: str | None  # at the second
    instances: int | None
    size_bytes: int | None


@dataclass(frozen=True, slots=True)
class Sums:
    """What changed, added up. `replaced_bytes`: of the revisions that the revised series had; None where unknown."""

    added: Amount = Amount()  # noqa: RUF009 - frozen
    revised: Amount = Amount()  # noqa: RUF009 - frozen
    withdrawn: Amount = Amount()  # noqa: RUF009 - frozen
    replaced_bytes: int | None = 0

    def plus(self, other: "Sums") -> "Sums":
        """Return the sum."""
        unknown = self.replaced_bytes is None or other.replaced_bytes is None
        return Sums(
            self.added.plus(other.added),
            self.revised.plus(other.revised),
            self.withdrawn.plus(other.withdrawn),
            None if unknown else (self.replaced_bytes or 0) + (other.replaced_bytes or 0),
        )

    def of(self, kind: Kind) -> Amount:
        """Return the amount of one kind of change."""
        return {"added": self.added, "revised": self.revised, "withdrawn": self.withdrawn}[kind]

    def as_json(self) -> dict[str, Any]:
        """The keys of `delta --json`."""
        table: dict[str, Any] = {kind: self.of(kind).as_json() for kind in KINDS}
        table["revised"]["bytes_replaced"] = self.replaced_bytes
        return table


@dataclass(slots=True)
class _Notes:
    """What the index leaves open, with the release in each sentence; those of both are told once."""

    said: dict[str, None] = field(default_factory=dict)

    def tell(self, note: str) -> None:
        self.said[note] = None


class Delta:
    """What changed between two releases. Made by `open_delta`.

    Attributes:
        before: number of the first release.
        after: number of the second.
        notes: what the index leaves open, in sentences.
    """

    def __init__(self, box: Sandbox, before: int, after: int, notes: tuple[str, ...]) -> None:
        self.before = before
        self.after = after
        self.notes = notes
        self._db = box.db

    def collections(self) -> dict[str, Sums]:
        """Return what changed by collection, by their names; only those where something did."""
        sql = """
            SELECT coalesce(collection, ''), change, count(*),
                CASE WHEN count(instances) = count(*) THEN CAST(sum(instances) AS BIGINT) END,
                CASE WHEN count(size) = count(*) THEN CAST(sum(size) AS BIGINT) END,
                CASE WHEN count(replaced) = count(*) THEN CAST(sum(replaced) AS BIGINT) END
            FROM haul.change GROUP BY 1, 2 ORDER BY 1, 2
        """
        with reading():
            rows = self._db.execute(sql).fetchall()
        found: dict[str, Sums] = {}
        for name, kind, series, instances, size_bytes, replaced in rows:
            sums = found.get(name, Sums())
            amount = Amount(series, instances, size_bytes)
            if kind == "added":
                found[name] = replace(sums, added=amount)
            elif kind == "withdrawn":
                found[name] = replace(sums, withdrawn=amount)
            else:
                found[name] = replace(sums, revised=amount, replaced_bytes=replaced)
        return found

    def iter_changes(self, *, batch: int = 2_000) -> Iterator[list[Change]]:
        """Yield what changed, in no particular order, so that memory does not grow with it."""
        with reading(), self._db.cursor() as cursor:
            cursor.execute("SELECT change, collection, study, series, old, new, instances, size FROM haul.change")
            while rows := cursor.fetchmany(batch):
                yield [Change._make(row) for row in rows]


@contextmanager
def open_delta(
    query: Query, before: int, after: int, *, shelf: Shelf | None = None, notice: Callable[[str], None] = lambda _: None
) -> Iterator[Delta]:
    """Compare what a query means at two releases of IDC.

    Args:
        query: whose; its `idc_version` is not looked at.
        before: number of the first release.
        after: number of the second.
        shelf: the tables; those of the installed idc-index-data unless given.
        notice: is told in a line when a table has to be fetched first.

    Raises:
        CohortError: bad input, a release that the installed index does not know, a name that neither release has, SQL
            that fails, or nothing matches at either release; the message says which.
    """
    shelf = Shelf(notice=notice) if shelf is None else shelf
    check_release(shelf, before, "--from")
    check_release(shelf, after, "--to")
    if before == after:
        raise CohortError(f"--from and --to both say {before}: between a release and itself nothing changes")
    box = Sandbox(shelf)
    try:
        with reading():
            notes = _compare(box, shelf, query, before, after)
        yield Delta(box, before, after, notes)
    finally:
        box.close()


def _compare(box: Sandbox, shelf: Shelf, query: Query, before: int, after: int) -> tuple[str, ...]:
    wanted = gather(query)
    notes = _Notes()
    unknown: dict[str, str] = {}
    missing = narrow(box, shelf, replace(query, idc_version=before), wanted, notes.tell, absent=unknown)
    box.db.execute("CREATE SCHEMA kept")
    box.db.execute("CREATE TABLE kept.was AS SELECT row FROM haul.chosen")
    box.db.execute(
        "CREATE TABLE kept.unstated AS "
        + (unstated_rows(shelf, before) if before < after else "SELECT row FROM kept.was WHERE false")
    )
    box.start_again()
    now_unknown: dict[str, str] = {}
    now_missing = narrow(box, shelf, replace(query, idc_version=after), wanted, notes.tell, absent=now_unknown)
    for name, why in now_unknown.items():
        if name in unknown:
            raise CohortError(why)
    if not box.db.execute("SELECT 1 FROM haul.chosen UNION ALL SELECT 1 FROM kept.was LIMIT 1").fetchall():
        raise CohortError(f"nothing matches in IDC v{before}, nor in IDC v{after}")
    nowhere = [entry for entry in missing if entry in set(now_missing)]
    if nowhere:
        some = ", ".join(map(str, nowhere[:3])) + (", …" if len(nowhere) > 3 else "")
        notes.tell(f"{len(nowhere):,} of those named are in neither release: {some}")
    # One after the other, and each small as a rule: memory would not do for both releases beside their rows.
    box.db.execute("CREATE TABLE kept.gone AS SELECT row FROM kept.was ANTI JOIN haul.chosen USING (row)")
    box.db.execute("CREATE TABLE kept.come AS SELECT row FROM haul.chosen ANTI JOIN kept.was USING (row)")
    box.db.execute("DROP TABLE kept.was; DROP TABLE haul.chosen")
    every_revision(box, shelf)
    box.db.execute(_CHANGES)
    return tuple(notes.said)
