"""What a ledger says: every question that is asked of it. Nothing here writes."""

import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from dicomhaul.errors import LedgerError
from dicomhaul.land.folder import PRIVATE, instance_file
from dicomhaul.model import Check, Failure, Known, Partial, State, Work
from dicomhaul.plan.estimate import Amount
from dicomhaul.record.keys import pack_stem, unpack_stem

REVISING: Final = f"s.folder GLOB '{PRIVATE}/*'"  # in SQL: a new revision of the series `s` lands beside the old one


class CohortRow(NamedTuple):
    """One thing that was asked for at this destination."""

    id: int
    name: str
    fingerprint: str
    query: str  # JSON
    source: str
    profile: str | None
    planned_at: str


class LandedRow(NamedTuple):
    """One series that is complete."""

    series_id: int
    study: str
    series: str
    folder: str
    proof: str


class FileRow(NamedTuple):
    """One instance that has landed, with what an index of the destination says of it."""

    series_id: int
    folder: str
    sop: str
    size_bytes: int
    xxh3: bytes
    study: str
    series: str
    collection: str | None
    patient: str | None
    modality: str | None
    revision: str | None
    license: str | None
    check: Check = Check.FRAMING  # what its bytes were held against
    stem: str | None = None  # what its file is named by; None: its SOP Instance UID

    @property
    def file(self) -> str:
        """The name of its file in `folder`."""
        return instance_file(self.sop, self.stem)


class PartialRow(NamedTuple):
    """What staging holds of an object, and whether that object is still to come."""

    series_id: int
    partial: Partial
    wanted: bool


class MemberRow(NamedTuple):
    """One series that is wanted here, with what the cohort said of it and how far it is."""

    series_id: int
    series: str
    study: str
    revision: str | None
    bucket: str | None
    collection: str | None
    patient: str | None
    modality: str | None
    license: str | None
    expected: int | None
    size_bytes: int | None
    whole: bool
    state: State
    routes: tuple[str, ...]


class HeldRow(NamedTuple):
    """One series of which something has landed, and how much."""

    series: str
    collection: str | None
    license: str | None
    revision: str | None
    instances: int
    size_bytes: int


# By the indexes that find them: a million series that have landed are not looked at. Planning builds these.
_PLANNED = "series s INDEXED BY series_todo CROSS"
_FAILED = "series s INDEXED BY series_failed CROSS"
_MEMBER_COLUMNS = (
    "s.id, s.series, s.study, s.revision, s.bucket, s.collection, s.patient, s.modality, s.license, s.expected, "
    "s.size_bytes, s.whole, s.state, r.names FROM series s JOIN route r ON r.id = s.route"
)


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a destination, or one of its cohorts, stands. Counts of instances are None where nobody states them."""

    series_planned: int  # all that are wanted
    series_complete: int
    series_failed: int
    instances_expected: int | None
    instances_present: int
    instances_failed: int
    bytes_present: int
    checks: Mapping[Check, int]  # instances that are present, by what their bytes were held against

    def checks_as_json(self) -> dict[str, int]:
        """Return `checks` as `--json` lists them, the strongest first."""
        return {check.name.lower(): self.checks[check] for check in reversed(Check)}

    def plus(self, other: "Standing") -> "Standing":
        """Return where both stand together."""
        expected = (self.instances_expected, other.instances_expected)
        return Standing(
            self.series_planned + other.series_planned,
            self.series_complete + other.series_complete,
            self.series_failed + other.series_failed,
            None if expected[0] is None or expected[1] is None else expected[0] + expected[1],
            self.instances_present + other.instances_present,
            self.instances_failed + other.instances_failed,
            self.bytes_present + other.bytes_present,
            {check: self.checks[check] + other.checks[check] for check in Check},
        )


@contextmanager
def guard(path: Path) -> Iterator[None]:
    try:
        yield
    except sqlite3.Error as error:
        raise LedgerError(f"the ledger {path} cannot be used: {error}") from error


class LedgerReader:
    """The questions. Made by `Ledger.open`."""

    def __init__(self, connection: sqlite3.Connection, path: Path) -> None:
        self._db = connection
        self.path = path

    def meta(self, key: str) -> str | None:
        """Return a value of the table `meta`."""
        with guard(self.path):
            row = self._db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
        return None if row is None else str(row[0])

    def cohorts(self) -> list[CohortRow]:
        """Everything that was asked for here, oldest first."""
        with guard(self.path):
            rows = self._db.execute(
                "SELECT id, name, fingerprint, query, source, profile, planned_at FROM cohort ORDER BY id"
            )
            return [CohortRow._make(row) for row in rows]

    def asked_for(self) -> list[CohortRow]:
        """As `cohorts`. Raises LedgerError where there are none: of those, all would be complete."""
        cohorts = self.cohorts()
        if not cohorts:
            raise LedgerError(f"the ledger {self.path} holds no cohort; nothing was pulled here")
        return cohorts

    def amount_planned(self, cohort_id: int) -> Amount:
        """Add up what a run of this cohort will ask for; less what is there of series that were begun."""
        with guard(self.path):
            series, instances, size = self._db.execute(
                "SELECT count(*), CASE WHEN count(s.expected) = count(*) THEN sum(s.expected) END, "  # noqa: S608 - our own words
                "CASE WHEN count(s.size_bytes) = count(*) THEN sum(s.size_bytes) END "
                f"FROM {_PLANNED} JOIN member m ON m.series_id = s.id AND m.cohort_id = ? WHERE s.state = 0",
                (cohort_id,),
            ).fetchone()
            begun, begun_bytes = self._db.execute(
                f"SELECT count(*), coalesce(sum(i.size_bytes), 0) FROM {_PLANNED} "  # noqa: S608 - our own words
                "JOIN member m ON m.series_id = s.id AND m.cohort_id = ? "
                "JOIN instance i ON i.series_id = s.id AND i.state = 1 WHERE s.state = 0",
                (cohort_id,),
            ).fetchone()
            (staged_bytes,) = self._db.execute(
                "SELECT coalesce(sum(p.offset), 0) FROM partial p "
                "CROSS JOIN series s ON s.id = p.series_id AND s.state = 0 "
                "CROSS JOIN member m ON m.series_id = s.id AND m.cohort_id = ?",
                (cohort_id,),
            ).fetchone()
        if not series:
            return Amount()
        return Amount(
            series,
            None if instances is None else max(0, instances - begun),
            None if size is None else max(0, size - begun_bytes - staged_bytes),
        )

    def known(self, series_id: int) -> Known:
        """Return what is known of the instances of one series."""
        with guard(self.path):
            rows = self._db.execute(
                "SELECT sop, size_bytes, state, stem FROM instance WHERE series_id = ?", (series_id,)
            ).fetchall()
            begun = self._db.execute(
                "SELECT stem, etag, name, offset, xxh3 FROM partial WHERE series_id = ?", (series_id,)
            ).fetchall()
        return Known(
            {sop: int(size or 0) for sop, size, state, _ in rows if state == State.LANDED},
            [sop for sop, _, state, _ in rows if state != State.LANDED],
            {stem: sop for sop, _, _, stored in rows if (stem := unpack_stem(stored)) is not None},
            {row[0]: Partial._make(row) for row in begun},
        )

    def intents(self) -> list[tuple[int, str]]:
        """What an interrupted run was about to rename."""
        with guard(self.path):
            return [(int(key), str(batch)) for key, batch in self._db.execute("SELECT id, batch FROM intent")]

    def last_run(self) -> tuple[str, str | None, str | None] | None:
        """Return (started_at, ended_at, state) of the newest run; state is None if it was killed or still runs."""
        with guard(self.path):
            row = self._db.execute("SELECT started_at, ended_at, state FROM run ORDER BY id DESC LIMIT 1").fetchone()
        return None if row is None else (row[0], row[1], row[2])

    def last_success(self) -> str | None:
        """Return when a run last ended with everything there; None: none ever did."""
        with guard(self.path):
            row = self._db.execute(
                "SELECT ended_at FROM run WHERE state = 'complete' ORDER BY id DESC LIMIT 1"
            ).fetchone()
        return None if row is None else str(row[0])

    def standing(self, *cohort_ids: int) -> Standing:
        """Count where some cohorts stand together, each series once; without any, where the destination stands.

        There, what is kept although no cohort wants it any more counts as present, and not as wanted.
        """
        joined, expected, asked_for = "", "s.expected", "WHERE NOT s.kept"
        if cohort_ids:
            joined, expected, asked_for = (
                f"JOIN {_members(cohort_ids)} m ON m.series_id = s.id",
                "coalesce(m.expected, s.expected)",
                "",
            )
        with guard(self.path):
            total, landed, failed, wanted, unknown = self._db.execute(
                f"SELECT count(*), coalesce(sum(s.state = 1), 0), coalesce(sum(s.state = 2), 0), "  # noqa: S608 - our own words
                f"coalesce(sum(CASE WHEN s.whole THEN {expected} ELSE "
                "(SELECT count(*) FROM instance i WHERE i.series_id = s.id) END), 0), "
                f"coalesce(sum(s.whole AND {expected} IS NULL), 0) FROM series s {joined} {asked_for}"
            ).fetchone()
            counts = self._db.execute(
                "SELECT i.state, i.checked, count(*), coalesce(sum(i.size_bytes), 0) "  # noqa: S608 - our own words
                f"FROM instance i {'JOIN series s ON s.id = i.series_id ' + joined if cohort_ids else ''} "
                "GROUP BY i.state, i.checked"
            ).fetchall()
        checks = dict.fromkeys(Check, 0) | {
            Check(checked): count for state, checked, count, _ in counts if state == State.LANDED
        }
        missing = sum(count for state, _, count, _ in counts if state == State.FAILED)
        size = sum(size_bytes for state, *_, size_bytes in counts if state == State.LANDED)
        present = sum(checks.values())
        return Standing(total, landed, failed, None if unknown else wanted, present, missing, size, checks)

    def came_by(self, *cohort_ids: int) -> dict[str, Amount]:
        """Add up the complete series of some cohorts by the route that completed them."""
        with guard(self.path):
            rows = self._db.execute(
                "SELECT s.came_by, count(*), sum(n), sum(size) FROM (SELECT s.id, s.came_by, count(*) AS n, "  # noqa: S608 - our own words
                f"sum(i.size_bytes) AS size FROM series s JOIN {_members(cohort_ids)} m ON m.series_id = s.id "
                "JOIN instance i ON i.series_id = s.id AND i.state = 1 WHERE s.state = 1 GROUP BY s.id) s "
                "GROUP BY s.came_by ORDER BY s.came_by"
            )
            return {name: Amount(series, instances, size) for name, series, instances, size in rows}

    def iter_failures(self, *cohort_ids: int) -> Iterator[Failure]:
        """Yield what failed of some cohorts, each once: instances by name, and series that lack none known by name."""
        if not cohort_ids:
            return
        member = f"JOIN {_members(cohort_ids)} m ON m.series_id = s.id"
        with guard(self.path):
            rows = self._db.execute(
                f"SELECT s.study, s.series, i.sop, coalesce(i.reason, s.reason) FROM {_FAILED} {member} "  # noqa: S608 - our own words
                "JOIN instance i ON i.series_id = s.id AND i.state = 2 WHERE s.state = 2 UNION ALL "
                f"SELECT s.study, s.series, NULL, s.reason FROM {_FAILED} {member} WHERE s.state = 2 AND NOT EXISTS "
                "(SELECT 1 FROM instance i WHERE i.series_id = s.id AND i.state = 2)"
            )
            for study, series, sop, reason in rows:
                yield Failure(study, series, sop, str(reason))
            named: set[Failure] = set()
            for cohort_id in cohort_ids:
                (text,) = self._db.execute("SELECT missing FROM cohort WHERE id = ?", (cohort_id,)).fetchone()
                missing = [Failure(*entry) for entry in json.loads(text)]
                yield from (failure for failure in missing if failure not in named)
                named.update(missing)

    def name_instances(self, instances: Iterable[tuple[int | None, str | None, str]]) -> list[Failure]:
        """Turn (series id, SOP Instance UID, reason) into failures with their UIDs; None names nothing we know."""
        named: list[Failure] = []
        with guard(self.path):
            for series_id, sop, reason in instances:
                row = self._db.execute("SELECT study, series FROM series WHERE id = ?", (series_id,)).fetchone()
                if row is not None:
                    named.append(Failure(row[0], row[1], sop, reason))
        return named

    def iter_files(self, series_id: int | None = None) -> Iterator[FileRow]:
        """Yield every instance that has landed, by series; or those of one series."""
        by_stem = self.names_by_stem()
        one = "" if series_id is None else "AND i.series_id = :series"
        with guard(self.path):
            rows = self._db.execute(
                "SELECT i.series_id, s.folder, i.sop, i.size_bytes, i.xxh3, s.study, s.series, s.collection, "  # noqa: S608 - our own words
                f"s.patient, s.modality, s.revision, s.license, i.checked, {'i.stem' if by_stem else 'NULL'} "
                f"FROM instance i JOIN series s ON s.id = i.series_id WHERE i.state = 1 {one} "
                "ORDER BY i.series_id, i.sop",
                {"series": series_id},
            )
            for row in rows:
                yield FileRow._make(row if not by_stem else (*row[:-1], unpack_stem(row[-1])))

    def iter_seen(self) -> Iterator[FileRow]:
        """Yield the instances that a reader of the tree sees: of a series in the middle of a swap, its old revision."""
        by_stem = self.names_by_stem()
        with guard(self.path):
            beside = self._db.execute(f"SELECT s.id FROM swap w JOIN series s ON s.id = w.series_id WHERE {REVISING}")  # noqa: S608 - our own words
            revising = {series_id for (series_id,) in beside}
            yield from (row for row in self.iter_files() if row.series_id not in revising)
            rows = self._db.execute(
                "SELECT o.after, o.folder, o.sop, o.size_bytes, o.xxh3, o.study, o.series, s.collection, s.patient, "
                "s.modality, o.revision, s.license, o.checked, o.stem FROM outgoing o "
                "JOIN series s ON s.id = o.after ORDER BY o.after, o.sop"
            )
            for row in rows:
                yield FileRow._make((*row[:-1], unpack_stem(row[-1]) if by_stem else None))

    def iter_leaving(self) -> Iterator[tuple[str, str]]:
        """Yield folder and name of the files in the tree that are on their way out."""
        with guard(self.path):
            yield from self._db.execute("SELECT folder, file FROM outgoing WHERE lies IS NULL ORDER BY folder, file")

    def unsettled(self) -> bool:
        """Say whether revisions wait for their place, or files for their way out."""
        with guard(self.path):
            (found,) = self._db.execute(
                "SELECT EXISTS (SELECT 1 FROM swap) OR EXISTS (SELECT 1 FROM outgoing)"
            ).fetchone()
        return bool(found)

    def holds_any(self) -> bool:
        """Say whether any instance has landed here."""
        with guard(self.path):
            (found,) = self._db.execute("SELECT EXISTS (SELECT 1 FROM instance WHERE state = 1)").fetchone()
        return bool(found)

    def keeps(self) -> bool:
        """Say whether something stays that no cohort wants any more."""
        with guard(self.path):
            (found,) = self._db.execute("SELECT EXISTS (SELECT 1 FROM series WHERE kept)").fetchone()
        return bool(found)

    def names_by_stem(self) -> bool:
        """Say whether files are named by the objects that they came from, instead of the SOP Instance UID."""
        return self.meta("name_by") == "crdc"

    def partials(self) -> list[PartialRow]:
        """What staging holds of objects that are not whole."""
        with guard(self.path):
            rows = self._db.execute(
                "SELECT p.series_id, p.stem, p.etag, p.name, p.offset, p.xxh3, "
                "EXISTS (SELECT 1 FROM series s WHERE s.id = p.series_id AND s.state <> 1) FROM partial p"
            ).fetchall()
            return [
                PartialRow(row[0], Partial._make(row[1:6]), bool(row[6]) and not self._has_landed(row[0], row[1]))
                for row in rows
            ]

    def _has_landed(self, series_id: int, stem: str) -> bool:
        (found,) = self._db.execute(
            "SELECT EXISTS (SELECT 1 FROM instance WHERE series_id = ? AND stem = ? AND state = 1)",
            (series_id, pack_stem(stem)),
        ).fetchone()
        return bool(found)

    def quota_used(self, source: str, day: str) -> int:
        """Return how many bytes a source with a quota gave on a day (`YYYY-MM-DD`, UTC), as far as was recorded."""
        with guard(self.path):
            row = self._db.execute("SELECT bytes FROM quota_day WHERE source = ? AND day = ?", (source, day)).fetchone()
        return 0 if row is None else int(row[0])

    def iter_series(self, state: State) -> Iterator[Work]:
        """Yield the series in one state."""
        with guard(self.path):
            rows = self._db.execute(
                "SELECT s.id, study, series, folder, expected, size_bytes, whole, cut, bucket, revision, prior, "
                "names, NULL "
                "FROM series s JOIN route r ON r.id = s.route WHERE state = ?",
                (int(state),),
            )
            yield from map(work_from, rows)

    def iter_landed(
        self, *, cohort_id: int | None = None, series: tuple[str, str] | None = None
    ) -> Iterator[LandedRow]:
        """Yield complete series: of a cohort, or the one with these Study and Series Instance UIDs."""
        member = "" if cohort_id is None else "JOIN member m ON m.series_id = s.id AND m.cohort_id = :cohort"
        one = "" if series is None else "AND s.study = :study AND s.series = :series"
        study_uid, series_uid = series or ("", "")
        with guard(self.path):
            rows = self._db.execute(
                f"SELECT s.id, s.study, s.series, s.folder, s.proof FROM series s {member} WHERE s.state = 1 {one}",  # noqa: S608 - our own words
                {"cohort": cohort_id, "study": study_uid, "series": series_uid},
            )
            yield from map(LandedRow._make, rows)

    def iter_members(self, cohort_id: int | None = None) -> Iterator[MemberRow]:
        """Yield the series of a cohort, or all that are wanted here, by Series and then Study Instance UID."""
        joined = "" if cohort_id is None else "JOIN member m ON m.series_id = s.id AND m.cohort_id = :cohort"
        with guard(self.path):
            rows = self._db.execute(
                f"SELECT {_MEMBER_COLUMNS} {joined} ORDER BY s.series, s.study",
                {"cohort": cohort_id},
            )
            yield from map(_member_from, rows)

    def iter_held(self) -> Iterator[HeldRow]:
        """Yield the series of which something has landed."""
        with guard(self.path):
            rows = self._db.execute(
                "SELECT s.series, s.collection, s.license, s.revision, count(*), sum(i.size_bytes) FROM series s "
                "JOIN instance i ON i.series_id = s.id AND i.state = 1 GROUP BY s.id"
            )
            yield from map(HeldRow._make, rows)

    def find_series(self, series: str, study: str) -> MemberRow | None:
        """Return one series that is wanted here."""
        with guard(self.path):
            row = self._db.execute(
                f"SELECT {_MEMBER_COLUMNS} WHERE s.series = ? AND s.study = ?",
                (series, study),
            ).fetchone()
        return None if row is None else _member_from(row)

    def digests(self, series_id: int) -> dict[str, bytes]:
        """Return SOP Instance UID -> XXH3-128 of the instances of one series that have landed, by UID."""
        with guard(self.path):
            return dict(
                self._db.execute(
                    "SELECT sop, xxh3 FROM instance WHERE series_id = ? AND state = 1 ORDER BY sop", (series_id,)
                ).fetchall()
            )

    def bucket_bytes(self, series_id: int) -> int | None:
        """Return how many bytes of one series have landed; None unless all of it came from buckets.

        They alone state a size of what they send. A DICOMweb server may encode the same instance in its own way.
        """
        with guard(self.path):
            size, weakest = self._db.execute(
                "SELECT sum(size_bytes), min(checked) FROM instance WHERE series_id = ? AND state = 1", (series_id,)
            ).fetchone()
        return None if weakest is None or weakest < Check.SIZE else int(size)

    def landed_series(self) -> Iterator[tuple[str, str, str | None, bool]]:
        """Yield (study, series, revision, whole) of every series that is complete: what a plan need not bring."""
        with guard(self.path):
            yield from self._db.execute("SELECT study, series, revision, whole FROM series WHERE state = 1")


def work_from(row: Sequence[Any]) -> Work:
    """Make a row; its last columns are the JSON list of its routes' names, and where it belongs once it is complete."""
    names = tuple(json.loads(row[11]))
    return Work._make((*row[:6], bool(row[6]), bool(row[7]), *row[8:10], bool(row[10]), names, row[12]))


def _member_from(row: Sequence[Any]) -> MemberRow:
    return MemberRow._make((*row[:11], bool(row[11]), State(row[12]), tuple(json.loads(row[13]))))


def _members(cohort_ids: Sequence[int]) -> str:
    if len(cohort_ids) == 1:  # needs no grouping, which costs a second of a million series
        return f"(SELECT series_id, expected FROM member WHERE cohort_id = {int(cohort_ids[0])})"  # noqa: S608 - a number
    numbers = ", ".join(str(int(cohort_id)) for cohort_id in cohort_ids)
    return (
        f"(SELECT series_id, max(expected) AS expected FROM member WHERE cohort_id IN ({numbers}) GROUP BY series_id)"  # noqa: S608 - numbers
    )
