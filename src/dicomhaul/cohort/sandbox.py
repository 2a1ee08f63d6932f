"""DuckDB behind glass: reads the tables of a shelf, and nothing else, whatever the SQL says.

SQL can come from a shared job file. It must be a single SELECT without table functions; it can open no file but the
tables', write none, reach no network, load no extension, see no Python variable, and change none of these settings. How
long it may take, and how much memory outside DuckDB's own account, is for the process to bound: `planner.child`.
"""

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import duckdb

from dicomhaul.cohort.names import nearest
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import CohortError

_MEMORY_LIMIT = "400MB"  # of the 700 MB that the planning process may take
_MOST_DEPTH = 250  # of an expression; binding takes the cube of it
_TABLE_FUNCTIONS = frozenset({"unnest", "range", "generate_series"})
_NO_TABLE = re.compile(r"Table with name (\S+) does not exist")


def quoted(text: str) -> str:
    """Return `text` as an SQL string literal."""
    return "'" + text.replace("'", "''") + "'"


class Sandbox:
    """A DuckDB connection with a view for each table of the shelf, by the names that idc-index documents.

    Views of tables that are not in the wheel appear when SQL first names them, and are fetched then.

    Attributes:
        db: the connection. Whoever uses it with SQL of his own takes care of what he says.
    """

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf
        self.db = duckdb.connect(
            config={
                "threads": min(os.cpu_count() or 1, 4),
                "memory_limit": _MEMORY_LIMIT,
                "max_expression_depth": _MOST_DEPTH,
                "temp_directory": "",  # no spill files: the default is a folder where the user happens to stand
                "autoinstall_known_extensions": False,
                "autoload_known_extensions": False,
            }
        )
        self.db.execute("CREATE SCHEMA haul")
        for name, path in shelf.bundled.items():
            self._add_view(name, str(path))
        allowed = ", ".join(quoted(str(path)) for path in (*shelf.bundled.values(), *shelf.fetchable.values()))
        for setting in (
            "python_enable_replacements = false",
            f"allowed_paths = [{allowed}]",
            "enable_external_access = false",
            "lock_configuration = true",
        ):
            self.db.execute(f"SET {setting}")

    def close(self) -> None:
        """Free the memory."""
        self.db.close()

    def start_again(self) -> None:
        """Forget what is in the schema haul, and what `index` was made to show."""
        self.db.execute("DROP SCHEMA haul CASCADE; CREATE SCHEMA haul")
        index = quoted(str(self._shelf.bundled["index"]))
        self.db.execute(f'CREATE OR REPLACE VIEW "index" AS SELECT * FROM read_parquet({index})')  # noqa: S608 (quoted)

    def select(self, sql: str) -> duckdb.DuckDBPyRelation:
        """Bind a user's SELECT; it runs when the relation is used. Raises CohortError."""
        statement = self._one_select(sql, "--sql")
        while True:
            try:
                return self.db.sql(statement)
            except duckdb.Error as error:
                self._add_missing(error, "--sql")

    def filter(self, relation: duckdb.DuckDBPyRelation, where: str) -> duckdb.DuckDBPyRelation:
        """Narrow `relation` by a user's condition, in which it is called `index`. Raises CohortError."""
        self._one_select(f"SELECT 1 WHERE (\n{where}\n)", "--where")
        while True:
            try:
                return relation.set_alias("index").filter(where)
            except duckdb.Error as error:
                self._add_missing(error, "--where")

    def _one_select(self, sql: str, what: str) -> duckdb.Statement:
        # Table functions read files, and some have side effects (enable_logging), so the harmless ones are listed.
        try:
            statements = self.db.extract_statements(sql)
            rows = self.db.execute(f"SELECT json_serialize_sql({quoted(sql)})").fetchall()
        except duckdb.Error as error:
            raise CohortError(f"{what}: {one_line(error)}") from None
        try:
            tree = json.loads(rows[0][0])
        except RecursionError:
            raise CohortError(f"{what} is nested too deeply") from None
        if len(statements) != 1 or tree["error"]:
            kind = "condition" if what == "--where" else "SELECT statement"
            raise CohortError(f"{what} takes one single {kind}")
        for function in _table_functions(tree):
            if function not in _TABLE_FUNCTIONS:
                raise CohortError(f"{what}: {function}() cannot be used here; there are only the tables of IDC's index")
        return statements[0]

    def need(self, table: str) -> None:
        """Make the view of a table that is not in the wheel. Raises CohortError if it cannot be fetched."""
        self._add_view(table, str(self._shelf.ensure(table)))

    def _add_view(self, name: str, path: str) -> None:
        try:
            sql = f'CREATE VIEW IF NOT EXISTS "{name}" AS SELECT * FROM read_parquet({quoted(path)})'  # noqa: S608 (quoted)
            self.db.execute(sql)
        except duckdb.Error as error:
            raise CohortError(f"the table {name} of IDC's index cannot be read: {one_line(error)}") from None

    def _add_missing(self, error: duckdb.Error, what: str) -> None:
        # Binding stops at the first unknown table: fetch it, and the caller binds again.
        match = _NO_TABLE.search(str(error)) if isinstance(error, duckdb.CatalogException) else None
        if match is None:
            raise CohortError(f"{what}: {one_line(error)}") from None
        table = match[1].strip('"')
        known = {name.lower(): name for name in self._shelf.fetchable}.get(table.lower())
        if known is not None:
            self.need(known)
            return
        names = (*self._shelf.bundled, *self._shelf.fetchable)
        close = nearest(table, names)
        hint = f"did you mean {' or '.join(close)}?" if close else f"there are: {', '.join(sorted(names))}"
        raise CohortError(
            f"{what}: there is no table {table}; {hint} (IDC's clinical tables themselves are not supported, "
            "only clinical_index, which describes them)"
        ) from None


def _table_functions(tree: Any) -> Iterator[str]:
    waiting = [tree]
    while waiting:  # not by recursion: the tree is as deep as somebody else made it
        branch = waiting.pop()
        if isinstance(branch, dict):
            if branch.get("type") == "TABLE_FUNCTION":
                yield branch["function"]["function_name"].lower()
            waiting.extend(branch.values())
        elif isinstance(branch, list):
            waiting.extend(branch)


def one_line(error: duckdb.Error) -> str:
    """Say what DuckDB says, in one line, with the names it proposes and without the user's SQL."""
    lines: list[str] = []
    for line in str(error).splitlines():
        if line.startswith("LINE "):
            break
        if line.strip():
            lines.append(line.strip())
    return " ".join(lines)


@contextmanager
def reading() -> Iterator[None]:
    """Call what DuckDB raises in here, at IDC's index, a CohortError."""
    try:
        yield
    except duckdb.Error as error:
        raise CohortError(f"IDC's index: {one_line(error)}") from None


def column(rows: list[tuple[Any, ...]]) -> list[Any]:
    """Return the first column of what `fetchall` returned."""
    return [row[0] for row in rows]
