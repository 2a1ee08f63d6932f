"""Rows with the names of their columns, so that what copies a table need not know what is in it."""

import sqlite3
from collections.abc import Iterable
from typing import Any


def named_rows(db: sqlite3.Connection, query: str, *values: object) -> list[dict[str, Any]]:
    """Return the rows of a query, each by column."""
    cursor = db.execute(query, values)
    names = [column[0] for column in cursor.description]
    return [dict(zip(names, row, strict=True)) for row in cursor]


def insert_rows(db: sqlite3.Connection, table: str, names: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Insert rows into some columns of a table."""
    columns = list(names)
    marks = ", ".join("?" * len(columns))
    db.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", map(tuple, rows))  # noqa: S608 - the schema's words
