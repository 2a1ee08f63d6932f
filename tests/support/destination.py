"""What is at a destination, read without the code that put it there: files as bytes, the ledger by SQL."""

import asyncio
import sqlite3
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow.parquet as pq
import xxhash

from dicomhaul.model import Check
from dicomhaul.origin import Catalog

_OURS = (".dicomhaul", "index.parquet", ".index.parquet.part")


class LedgerRow(NamedTuple):
    """One instance as the ledger has it."""

    study: str
    series: str
    sop: str
    folder: str
    size_bytes: int | None
    xxh3: bytes | None
    state: int
    series_state: int


def read_tree(dest: Path) -> dict[str, bytes]:
    """Return the bytes of every file below `dest` but dicomhaul's own, by relative path."""
    found: dict[str, bytes] = {}
    for path in sorted(dest.rglob("*")):
        name = path.relative_to(dest)
        if path.is_file() and name.parts[0] not in _OURS:
            found[name.as_posix()] = path.read_bytes()
    return found


def has_ledger(dest: Path) -> bool:
    """Say whether a run has come so far that a ledger with its tables is there."""
    if not _ledger(dest).exists():
        return False
    return _ask(dest, "SELECT count(*) FROM sqlite_master") != [(0,)]


def read_ledger(dest: Path) -> list[LedgerRow]:
    """Return what the ledger says of each instance, sorted by identity."""
    query = (
        "SELECT s.study, s.series, i.sop, s.folder, i.size_bytes, i.xxh3, i.state, s.state "
        "FROM instance i JOIN series s ON s.id = i.series_id ORDER BY 1, 2, 3"
    )
    return [LedgerRow._make(row) for row in _ask(dest, query)]


def read_series_states(dest: Path) -> dict[tuple[str, str], int]:
    """Return the state of each series, by (study, series)."""
    return {(study, series): state for study, series, state in _ask(dest, "SELECT study, series, state FROM series")}


def read_run_state(dest: Path) -> str | None:
    """Return how the last run ended; None: it did not."""
    ((state,),) = _ask(dest, "SELECT state FROM run ORDER BY id DESC LIMIT 1")
    return None if state is None else str(state)


def read_routes(dest: Path) -> dict[str, str | None]:
    """Return by which route each series came, by Series Instance UID; None: it has not come."""
    return dict(_ask(dest, "SELECT series, came_by FROM series"))


def read_checks(dest: Path) -> Counter[str]:
    """Return how many landed instances were held against what their source states, by `model.Check`."""
    found = _ask(dest, "SELECT checked FROM instance WHERE state = 1")
    return Counter(Check(number).name for (number,) in found)


def read_partials(dest: Path) -> list[tuple[str, int]]:
    """Return name in staging and noted bytes of each large object whose beginning is there."""
    return [(name, offset) for name, offset in _ask(dest, "SELECT name, offset FROM partial")]


def read_quota(dest: Path) -> dict[str, int]:
    """Return the bytes that each source with a quota has given, by its name."""
    return dict(_ask(dest, "SELECT source, sum(bytes) FROM quota_day GROUP BY source"))


def _ledger(dest: Path) -> Path:
    return dest / ".dicomhaul" / "ledger.sqlite3"


def _ask(dest: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(f"{_ledger(dest).absolute().as_uri()}?mode=rw", uri=True)) as db:
        return db.execute(query).fetchall()


def read_index(dest: Path) -> list[dict[str, Any]]:
    """Return the rows of `index.parquet`."""
    rows: list[dict[str, Any]] = pq.read_table(dest / "index.parquet").to_pylist()
    return rows


def expected_tree(catalog: Catalog, folder: str = "{study}/{series}") -> dict[str, bytes]:
    """Return the tree that everything in `catalog` makes; `folder` may name study and series."""
    return dict(_iter_files(catalog, folder))


def _iter_files(catalog: Catalog, folder: str) -> Iterator[tuple[str, bytes]]:
    for series in catalog.series():
        place = folder.format(study=series.study, series=series.series)
        for instance in series:
            yield f"{place}/{instance.sop}.dcm", asyncio.run(_content(instance.chunks()))


async def _content(chunks: Any) -> bytes:
    return b"".join([chunk async for chunk in chunks])


def assert_recorded(dest: Path, tree: dict[str, bytes]) -> None:
    """Assert that ledger and index.parquet say of `tree` what is true of it, and nothing else has landed."""
    ledger = {f"{row.folder}/{row.sop}.dcm": (row.size_bytes, row.xxh3) for row in read_ledger(dest) if row.state == 1}
    assert ledger == {path: (len(content), xxhash.xxh3_128_digest(content)) for path, content in tree.items()}
    assert _indexed(read_index(dest)) == {
        path: (size, None if digest is None else digest.hex()) for path, (size, digest) in ledger.items()
    }


def _indexed(rows: Iterable[dict[str, Any]]) -> dict[str, tuple[int, str]]:
    return {row["path"]: (row["size_bytes"], row["xxh3"]) for row in rows}
