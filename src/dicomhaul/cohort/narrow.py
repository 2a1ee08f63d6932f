"""Which rows of IDC's index a query means: targets, SQL and filters, as one table of row numbers in DuckDB.

* Targets (collections, UIDs, manifests) are alternatives; filters intersect; values of one filter are alternatives.
* A row is a series of the `pool`; rows with a negative number take part only where their `crdc_series_uuid` is named.
* Some sources name instances: then a row carries their SOP Instance UIDs, else NULL for all.
* At last, licences are looked at and the shard is cut out: each shard of a cohort is refused as the cohort is.

Everything lives in the schema `haul` of the sandbox, so it cannot clash with the tables that users know. Values stand
in the SQL as quoted literals: DuckDB's prepared parameters import pandas, which costs half a second and 70 MB.
"""
# ruff: noqa: S608 (all of it is SQL of our own words; every value goes through `quoted`)

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import duckdb

from dicomhaul.cohort.dates import parse_date_range
from dicomhaul.cohort.gather import Wanted
from dicomhaul.cohort.licenses import known_licenses, refuse_others
from dicomhaul.cohort.manifest import Entry
from dicomhaul.cohort.names import unknown_name
from dicomhaul.cohort.pool import check_release, former_uids, licenses, pool_of_present, pool_of_release, unstated
from dicomhaul.cohort.sandbox import Sandbox, column, one_line, quoted
from dicomhaul.cohort.steps import Step, date_step, describe_missing, select, sql_list
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError, EmptyCohort
from dicomhaul.model import Query, Shard
from dicomhaul.plan.shard import HEX_DIGITS

T = TypeVar("T")

_INSTANCES = "sm_instance_index"  # of slide microscopy alone
_CHUNK = 5_000  # entries handed to DuckDB at once; measured

# What a user's SELECT can name series by, the most telling first; the columns of one way stand together. Not
# collection_id alone: it stands in every statistic, which nobody means as "all of it".
_WAYS = (
    ("crdc_series_uuid", "SOPInstanceUID"),
    ("SeriesInstanceUID", "SOPInstanceUID"),
    ("crdc_series_uuid",),
    ("SeriesInstanceUID",),
    ("series_aws_url",),
    ("StudyInstanceUID",),
    ("collection_id", "PatientID"),
    ("PatientID",),
)
_ENTRY_OF: dict[str, Callable[[str], Entry]] = {
    "StudyInstanceUID": lambda uid: Entry(study=uid),
    "SeriesInstanceUID": lambda uid: Entry(series=uid),
    "crdc_series_uuid": lambda uuid: Entry(crdc=uuid),
}


def narrow(
    box: Sandbox,
    shelf: Shelf,
    query: Query,
    wanted: Wanted,
    notice: Callable[[str], None],
    *,
    absent: dict[str, str] | None = None,
) -> tuple[Entry, ...]:
    """Fill the table haul.chosen(row, sops, average) with what the query means.

    `average` is the size of the instances that are wanted singly, in bytes, where the table of instances knows them.

    Returns what was named and is not in the index; tells `notice` what an earlier release leaves open. Raises
    CohortError if nothing is asked for, a name is unknown, a licence is not allowed, or nothing is left.

    With `absent`, for who compares releases, one of them may have nothing of it: names that it does not know are put
    there, each with what there is to say of it, and single instances are not looked for.
    """
    return _Narrowing(box, shelf, query, wanted, notice, absent=absent).run()


class _Narrowing:
    def __init__(
        self,
        box: Sandbox,
        shelf: Shelf,
        query: Query,
        wanted: Wanted,
        notice: Callable[[str], None],
        *,
        absent: dict[str, str] | None,
    ) -> None:
        self._absent = absent
        self._box = box
        self._db = box.db
        self._shelf = shelf
        self._query = query
        self._wanted = wanted
        self._notice = notice
        self._idc = f"IDC v{query.idc_version or shelf.idc_version}"
        self._missing: list[Entry] = []
        self._with_sops: list[str] = []  # tables (row, sops)

    def run(self) -> tuple[Entry, ...]:
        query, wanted, release = self._query, self._wanted, self._query.idc_version
        self._check_asked()
        if release is not None:
            check_release(self._shelf, release)
            self._guarded(lambda: pool_of_release(self._box, self._shelf, release))
        self._check_names("collection", "collection_id", (*wanted.collections, *query.collection))
        self._check_names("modality", "Modality", query.modality)
        way = self._run_sql()
        if release is None:
            self._name_revisions(way)
            self._guarded(lambda: pool_of_present(self._box, self._shelf))
        self._choose(self._steps(way))
        self._check_licenses()
        if query.shard is not None:
            self._keep_shard(query.shard)
        if release is not None:
            self._tell_release(release)
        return tuple(dict.fromkeys(self._missing))

    # --- what was asked ------------------------------------------------------------------------------------------

    def _check_asked(self) -> None:
        query, wanted = self._query, self._wanted
        if query.search:
            raise CohortError("--search asks a DICOMweb server; on IDC use filters, --where or --sql")
        filters = (query.collection, query.modality, query.patient, query.study, query.series, query.instance)
        if not (
            wanted.collections or wanted.entries or any(filters) or query.crdc
            or query.study_date or query.where or query.sql or query.everything
        ):  # fmt: skip
            raise CohortError("nothing is asked for: name a collection, a UID, a manifest or a filter, or use --all")

    def _check_names(self, what: str, name: str, values: Iterable[str]) -> None:
        values = tuple(values)
        if not values:
            return
        known = column(self._rows(f'SELECT DISTINCT "{name}" FROM "index" WHERE "{name}" IS NOT NULL'))
        for value in values:
            if value not in known:
                self._tell_absent(f"{what} {value}", f"{self._idc}: {unknown_name(what, value, known)}")

    def _tell_absent(self, name: str, why: str) -> None:
        if self._absent is None:
            raise CohortError(why)
        self._absent[name] = why

    def _run_sql(self) -> tuple[str, ...]:
        # haul.picked holds what the user's SELECT names; returns the columns it has.
        if self._query.sql is None:
            return ()
        relation = self._box.select(self._query.sql)
        has = {name.lower(): name for name in reversed(relation.columns)}
        way = next((way for way in _WAYS if all(name.lower() in has for name in way)), None)
        if way is None:
            raise CohortError(
                "--sql must select SeriesInstanceUID (or crdc_series_uuid, StudyInstanceUID, PatientID; "
                f"SOPInstanceUID only together with a series); it selects {', '.join(relation.columns)}"
            )
        picks = ", ".join(f"CAST({_identifier(has[name.lower()])} AS VARCHAR) AS {name}" for name in way)
        try:
            relation.project(picks).distinct().create("haul.picked")
        except duckdb.Error as error:
            raise CohortError(f"--sql: {one_line(error)}") from None
        if way == ("series_aws_url",):
            self._run(r"""
                CREATE OR REPLACE TABLE haul.picked AS
                SELECT regexp_extract(series_aws_url, '^s3://[^/]+/([^/]+)/', 1) AS crdc_series_uuid FROM haul.picked
            """)
            way = ("crdc_series_uuid",)
        if not self._rows("SELECT 1 FROM haul.picked LIMIT 1"):
            self._tell_absent("--sql", "--sql selects no row")
        return way

    def _name_revisions(self, way: tuple[str, ...]) -> None:
        # haul.crdc holds the revisions that are named, of whatever release.
        crdc = [entry.crdc for entry in self._wanted.entries if entry.crdc is not None]
        self._run("CREATE TABLE haul.crdc (uuid VARCHAR)")
        self._load("haul.crdc", [crdc + [uuid.lower() for uuid in self._query.crdc]])
        if "crdc_series_uuid" in way:
            self._run("INSERT INTO haul.crdc SELECT crdc_series_uuid FROM haul.picked")

    # --- the conditions ------------------------------------------------------------------------------------------

    def _steps(self, way: tuple[str, ...]) -> list[Step]:
        query = self._query
        steps: list[Step] = []
        if self._wanted.collections or self._wanted.entries:
            steps.append(self._target_step())
        steps += self._in_step("--collection", "collection_id", query.collection)
        steps += self._in_step("--modality", "Modality", query.modality)
        steps += self._in_step("--patient", "PatientID", query.patient)
        steps += self._in_step("--study", "StudyInstanceUID", query.study)
        steps += self._in_step("--series", "SeriesInstanceUID", query.series)
        steps += self._in_step("--crdc-series-uuid", "crdc_series_uuid", [uuid.lower() for uuid in query.crdc])
        if query.study_date is not None:
            steps.append(date_step(query.study_date, parse_date_range(query.study_date)))
        if way:
            steps.append(self._sql_step(way))
        if query.where is not None:
            steps.append(self._where_step(query.where))
        if query.instance:
            steps.append(self._instance_step(steps))
        return steps

    def _in_step(self, flag: str, name: str, values: Sequence[str]) -> list[Step]:
        if not values:
            return []
        condition = f'p."{name}" IN (SELECT unnest({sql_list(values)}))'
        self._note_unknown(name, values)
        shown = "" if name == "PatientID" else f" {','.join(values[:3])}{',…' if len(values) > 3 else ''}"
        hint = name if name in {"collection_id", "Modality"} else None
        return [Step(f"{flag}{shown}", condition, hint, ", ".join(values[:3]))]

    def _note_unknown(self, name: str, values: Sequence[str]) -> None:
        if name not in _ENTRY_OF and name != "PatientID":
            return  # checked by name
        known = f'SELECT "{name}" FROM haul.pool WHERE "{name}" IN (SELECT unnest({sql_list(values)}))'
        found = set(column(self._rows(f"SELECT DISTINCT * FROM ({known})")))
        unknown = [value for value in values if value not in found]
        if unknown and name == "PatientID":
            self._tell_absent(
                "--patient", f"--patient: {self._idc} does not have {len(unknown)} of the {len(values)} named"
            )
            return
        self._missing += [_ENTRY_OF[name](value) for value in unknown]

    def _target_step(self) -> Step:
        # haul.entry holds the entries; haul.hit says which rows each of them means.
        entries = self._wanted.entries
        names = ", ".join(f"{name} VARCHAR" for name in Entry._fields[:5])
        self._run(f"CREATE TABLE haul.entry (n INTEGER, {names})")
        numbers = [str(n) for n in range(len(entries))]
        self._load("haul.entry", [numbers, *zip(*(entry[:5] for entry in entries), strict=True)])
        self._run("CREATE TABLE haul.hit (n INTEGER, row BIGINT, sop VARCHAR)")
        self._hit("p.crdc_series_uuid = e.crdc")
        self._hit(
            "e.crdc IS NULL AND p.SeriesInstanceUID = e.series AND coalesce(e.study, p.StudyInstanceUID) = "
            "p.StudyInstanceUID AND p.row >= 0"
        )
        self._hit("e.crdc IS NULL AND e.series IS NULL AND p.StudyInstanceUID = e.study AND p.row >= 0", sop="NULL")
        self._hit("p.StudyInstanceUID = e.uid AND p.row >= 0")
        self._hit("p.SeriesInstanceUID = e.uid AND p.row >= 0")
        loose = self._rows("""
            SELECT n, coalesce(uid, sop) FROM haul.entry ANTI JOIN haul.hit USING (n)
            WHERE crdc IS NULL AND series IS NULL AND coalesce(uid, sop) IS NOT NULL
        """)
        if loose and self._absent is None:
            # What was a series once is no instance: it was withdrawn, and nothing has to be fetched to know that.
            named = "SELECT coalesce(uid, sop) FROM haul.entry"
            former = self._rows(f"SELECT uid FROM ({former_uids(self._shelf)}) WHERE uid IN ({named})")
            withdrawn = set(column(former))
            unknown = [uid for _, uid in loose if uid not in withdrawn]
            if unknown:
                self._hit_instances(unknown)
        self._missing += [
            entries[n] for (n,) in self._rows("SELECT n FROM haul.entry ANTI JOIN haul.hit USING (n) ORDER BY n")
        ]
        if len(self._missing) == len(entries) and not self._wanted.collections:
            self._tell_absent("TARGET", f"{self._idc} has nothing of what is named: {describe_missing(self._missing)}")
        collections = sql_list(self._wanted.collections)
        self._run(
            f"""
            CREATE TABLE haul.target AS
            SELECT row, CASE WHEN bool_or(sop IS NULL) THEN NULL ELSE list(DISTINCT sop ORDER BY sop) END AS sops
            FROM (
                SELECT row, sop FROM haul.hit
                UNION ALL
                SELECT row, NULL FROM haul.pool WHERE collection_id IN (SELECT unnest({collections})) AND row >= 0
            ) GROUP BY row
            """
        )
        self._with_sops.append("haul.target")
        label = ", ".join((*self._wanted.collections, *map(str, entries[:2])))
        more = "" if len(entries) <= 2 else f" and {len(entries) - 2:,} more"
        return Step(label + more, "p.row IN (SELECT row FROM haul.target)")

    def _hit(self, condition: str, sop: str = "e.sop") -> None:
        self._run(f"INSERT INTO haul.hit SELECT e.n, p.row, {sop} FROM haul.entry e JOIN haul.pool p ON {condition}")

    def _hit_instances(self, sops: list[str]) -> None:
        try:
            self._box.need(_INSTANCES)
        except CohortError as error:
            raise CohortError(
                f"{sops[0]} is no study or series of {self._idc}, and to see whether it is an instance: {error}"
            ) from None
        self._run(f"""
            INSERT INTO haul.hit
            SELECT e.n, p.row, s.SOPInstanceUID
            FROM haul.entry e
            JOIN {_INSTANCES} s ON s.SOPInstanceUID = coalesce(e.uid, e.sop)
            JOIN haul.pool p ON p.SeriesInstanceUID = s.SeriesInstanceUID AND NOT p.prior
            WHERE e.crdc IS NULL AND e.series IS NULL AND coalesce(e.study, p.StudyInstanceUID) = p.StudyInstanceUID
        """)

    def _sql_step(self, way: tuple[str, ...]) -> Step:
        keys = [name for name in way if name != "SOPInstanceUID"]
        same = " AND ".join(f'p."{key}" = k."{key}"' for key in keys)
        admit = "true" if "crdc_series_uuid" in way else "p.row >= 0"
        sops = "list(DISTINCT k.SOPInstanceUID ORDER BY k.SOPInstanceUID)" if "SOPInstanceUID" in way else "NULL"
        self._run(
            f"""
            CREATE TABLE haul.by_sql AS SELECT p.row, CAST({sops} AS VARCHAR[]) AS sops
            FROM haul.picked k JOIN haul.pool p ON {same} AND {admit} GROUP BY p.row
            """
        )
        if "SOPInstanceUID" in way:
            self._with_sops.append("haul.by_sql")
        if keys[0] in _ENTRY_OF:
            unknown = self._rows(f"""
                SELECT DISTINCT "{keys[0]}" FROM haul.picked
                ANTI JOIN (SELECT "{keys[0]}" FROM haul.pool SEMI JOIN haul.by_sql USING (row)) USING ("{keys[0]}")
                WHERE "{keys[0]}" IS NOT NULL ORDER BY 1
            """)
            self._missing += [_ENTRY_OF[keys[0]](value) for value in column(unknown)]
        return Step("--sql", "p.row IN (SELECT row FROM haul.by_sql)")

    def _where_step(self, where: str) -> Step:
        relation = self._box.filter(self._db.sql("SELECT * FROM haul.pool"), where)
        try:
            relation.project("row").create("haul.by_where")
        except duckdb.Error as error:
            raise CohortError(f"--where: {one_line(error)}") from None
        return Step("--where", "p.row IN (SELECT row FROM haul.by_where)")

    def _instance_step(self, others: list[Step]) -> Step:
        # Only slide microscopy has an index of instances. One series makes it needless.
        sops = list(self._query.instance)
        rows = column(self._rows(select("p.row", others, " LIMIT 2")))
        self._run("CREATE TABLE haul.instance (row BIGINT, sops VARCHAR[])")
        if len(rows) == 1 and others:
            self._run(f"INSERT INTO haul.instance VALUES ({rows[0]:d}, {sql_list(sops)})")
        else:
            try:
                self._box.need(_INSTANCES)
            except CohortError as error:
                raise CohortError(f"--instance without one --series UID needs an index: {error}") from None
            self._run(
                f"""
                INSERT INTO haul.instance
                SELECT p.row, list(DISTINCT s.SOPInstanceUID ORDER BY s.SOPInstanceUID)
                FROM {_INSTANCES} s JOIN haul.pool p USING (SeriesInstanceUID)
                WHERE s.SOPInstanceUID IN (SELECT unnest({sql_list(sops)})) AND NOT p.prior GROUP BY p.row
                """
            )
            found = set(column(self._rows("SELECT unnest(sops) FROM haul.instance")))
            self._missing += [Entry(sop=sop) for sop in sops if sop not in found]
            if not found:
                raise CohortError(
                    "--instance: none of them is in IDC's index of instances, which lists slide microscopy only; "
                    "name the series too: --series UID --instance UID"
                )
        self._with_sops.append("haul.instance")
        return Step("--instance", "p.row IN (SELECT row FROM haul.instance)")

    # --- the choice ----------------------------------------------------------------------------------------------

    def _choose(self, steps: list[Step]) -> None:
        sops = "CAST(NULL AS VARCHAR[])"
        joins = ""
        for at, table in enumerate(self._with_sops):
            joins += f" LEFT JOIN {table} s{at} USING (row)"
            mine = f"s{at}.sops"
            sops = (
                f"CASE WHEN {mine} IS NULL THEN {sops} WHEN {sops} IS NULL THEN {mine} "
                f"ELSE list_intersect({sops}, {mine}) END"
            )
        sql = select("p.row", steps, self._limit())
        self._run(
            f"CREATE TABLE haul.chosen AS SELECT row, {sops} AS sops, CAST(NULL AS BIGINT) AS average "
            f"FROM ({sql}) p{joins}"
        )
        self._run("DELETE FROM haul.chosen WHERE len(sops) = 0")
        if not self._rows("SELECT 1 FROM haul.chosen LIMIT 1"):
            if self._absent is not None:
                return
            raise EmptyCohort(self._why_empty(steps))
        if self._with_sops and self._shelf.fetchable[_INSTANCES].is_file():
            self._weigh_instances()
        self._refuse_two_revisions()

    def _weigh_instances(self) -> None:
        # A slide's instances differ by a factor of a thousand: its average says little about those that are wanted.
        self._box.need(_INSTANCES)
        self._run(
            f"""
            UPDATE haul.chosen SET average = known.average FROM (
                SELECT row, CAST(avg(instance_size) AS BIGINT) AS average
                FROM (SELECT row, unnest(sops) AS SOPInstanceUID FROM haul.chosen)
                JOIN {_INSTANCES} USING (SOPInstanceUID) GROUP BY row
            ) known WHERE known.row = haul.chosen.row
            """
        )

    def _limit(self) -> str:
        if self._query.limit_series is None:
            return ""
        if self._query.limit_series < 1:
            raise CohortError("--limit-series must be 1 or more")
        order = "p.collection_id, p.PatientID, p.StudyInstanceUID, p.SeriesInstanceUID, p.row"
        return f" ORDER BY {order} LIMIT {self._query.limit_series:d}"

    def _refuse_two_revisions(self) -> None:
        twice = column(
            self._rows("""
                SELECT SeriesInstanceUID FROM haul.pool SEMI JOIN haul.chosen USING (row)
                WHERE SeriesInstanceUID IN (SELECT SeriesInstanceUID FROM haul.prior)
                GROUP BY ALL HAVING count(*) > 1 ORDER BY ALL
            """)
        )
        if twice:
            raise CohortError(
                f"{len(twice):,} series are asked for in more than one revision, and a destination holds one "
                f"(the first: series {twice[0]})"
            )

    def _check_licenses(self) -> None:
        words = self._query.licenses_allowed
        if not words:
            return
        known = self._guarded(lambda: licenses(self._box, self._shelf))
        held = self._rows("""
            SELECT license_short_name, count(*) FROM haul.pool SEMI JOIN haul.chosen USING (row)
            GROUP BY ALL ORDER BY count(*) DESC, 1
        """)
        refuse_others(dict(held), known_licenses(words, known))

    def _keep_shard(self, shard: Shard) -> None:
        # The same as plan.shard.shard_of. A table first: DuckDB would rather digest all of the pool.
        self._run(
            "CREATE TABLE haul.whole AS SELECT row, SeriesInstanceUID FROM haul.pool SEMI JOIN haul.chosen USING (row)"
        )
        digest = f"CAST('0x' || left(md5(SeriesInstanceUID), {HEX_DIGITS}) AS UBIGINT)"
        self._run(
            f"""
            DELETE FROM haul.chosen WHERE row IN (
                SELECT row FROM haul.whole WHERE {digest} % {shard.of:d} + 1 <> {shard.number:d}
            )
            """
        )

    def _tell_release(self, number: int) -> None:
        (prior,) = self._rows("SELECT count(*) FROM haul.prior SEMI JOIN haul.chosen USING (row)")[0]
        unknown = self._guarded(lambda: unstated(self._box, self._shelf, number))
        if prior:
            self._notice(
                f"{prior:,} of the series of {self._idc} were revised or removed since: of these the index states "
                "collection, patient, study, modality and size, but no licence and no number of instances, and filters "
                "on anything else leave them out"
            )
        if unknown:
            self._notice(f"of {unknown:,} series the index does not know which revision {self._idc} had")

    def _why_empty(self, steps: list[Step]) -> str:
        for at, step in enumerate(steps):
            if not self._rows(select("1", steps[: at + 1], " LIMIT 1")):
                before = " and ".join(other.label for other in steps[:at]) or self._idc
                return f"nothing is left: {self._hint(step, steps[:at], before)}"
        return "nothing is left: the instances that are named do not belong to the series that are left"

    def _hint(self, step: Step, before: list[Step], scope: str) -> str:
        if step.column is None or not before:
            return f"{scope} has nothing that matches {step.label}"
        sql = select(f'DISTINCT p."{step.column}" AS value', before, "")
        has = column(self._rows(f"SELECT value FROM ({sql}) WHERE value IS NOT NULL ORDER BY 1 LIMIT 30"))
        named = (*self._wanted.collections, *self._query.collection)
        if len(before) == 1 and len(named) == 1:
            scope = f"collection {named[0]}"
        what = {"collection_id": "collection", "Modality": "modality"}.get(step.column, step.column)
        return f"{scope} has no {what} {step.wanted}; it has {', '.join(has)}"

    # --- DuckDB --------------------------------------------------------------------------------------------------

    def _guarded(self, call: Callable[[], T]) -> T:
        try:
            return call()
        except duckdb.Error as error:
            raise CohortError(f"IDC's index: {one_line(error)}") from None

    def _run(self, sql: str) -> None:
        self._guarded(lambda: self._db.execute(sql))

    def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._guarded(lambda: self._db.execute(sql).fetchall())

    def _load(self, table: str, columns: Sequence[Sequence[str | None]]) -> None:
        # UIDs and UUIDs, which hold no comma. To split one literal is several times as fast as a literal for each.
        for start in range(0, len(columns[0]), _CHUNK):
            picks = []
            for values in columns:
                part = values[start : start + _CHUNK]
                joined = quoted(",".join(value or "" for value in part))
                picks.append(f"nullif(unnest(string_split({joined}, ',')), '')" if any(part) else "NULL")
            self._run(f"INSERT INTO {table} SELECT {', '.join(picks)}")


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
