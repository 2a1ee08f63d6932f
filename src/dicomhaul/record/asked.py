"""Uniting ledgers: what each was asked for, and what happened. Inside the transaction of `unite`.

Cohorts that are the same (fingerprint) become one. The N shards of one query become one cohort, the query without a
shard, once all of them are there; while one is missing they stay as they are, for the whole was not planned. Runs and
the bytes of quotas are taken over once, however often a ledger is united.
"""

import hashlib
import json
import sqlite3
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from dicomhaul.config.options import QUERY_JSON
from dicomhaul.model import Query, Shard
from dicomhaul.record.rows import insert_rows, named_rows

# Tells the fingerprint of a query that was asked of a source with a profile; None where that cannot be told any more.
Fingerprint = Callable[[Query, str, str | None], str | None]

LEDGER_ID: Final = "ledger_id"  # in `meta`: which ledger this is, wherever it lies
_UNITED: Final = "united:"  # in `meta`, before the id of a ledger: what of it was counted
_COHORT: Final = "cohort:"  # in `meta`, before the fingerprint of a shard's cohort: the fingerprint of the whole


def question(query: str, *, following: bool) -> str:
    """Return what tells one question from another, of a query as the ledger has it.

    A shard asks what the whole asks. To who follows, the text of a manifest that came by standard input is what it says
    today; to who pulls, another text asks for something else besides.
    """
    asked = replace(QUERY_JSON.validate_json(query), shard=None)
    if following and asked.manifest is not None:
        asked = replace(asked, manifest="")
    return QUERY_JSON.dump_json(asked).decode()


def take_cohorts(db: sqlite3.Connection, source: sqlite3.Connection, ours: Sequence[int]) -> None:
    """Take in what was asked for, and which series it wants; `ours`: their series' id -> ours."""
    for row in named_rows(source, "SELECT * FROM cohort ORDER BY id"):
        theirs = row.pop("id")
        joined = db.execute("SELECT value FROM meta WHERE key = ?", (_COHORT + row["fingerprint"],)).fetchone()
        mark = row["fingerprint"] if joined is None else joined[0]
        known = db.execute("SELECT id, planned_at, missing FROM cohort WHERE fingerprint = ?", (mark,)).fetchone()
        if known is None:
            insert_rows(db, "cohort", row, [row.values()])
            (cohort_id,) = db.execute("SELECT last_insert_rowid()").fetchone()
        else:
            cohort_id = known[0]
            db.execute(
                "UPDATE cohort SET planned_at = ?, missing = ? WHERE id = ?",
                (max(known[1], row["planned_at"]), _join_missing([known[2], row["missing"]]), cohort_id),
            )
        members = source.execute("SELECT series_id, expected FROM member WHERE cohort_id = ?", (theirs,))
        db.executemany(
            "INSERT INTO member (cohort_id, series_id, expected) VALUES (?, ?, ?) "
            "ON CONFLICT (cohort_id, series_id) DO UPDATE SET expected = coalesce(expected, excluded.expected)",
            ((cohort_id, ours[series_id], expected) for series_id, expected in members),
        )


class History(NamedTuple):
    """A run of another ledger: its row without its id, and its samples, each at_s, instances, bytes."""

    run: tuple[Any, ...]  # command, started_at, ended_at, state, tally
    samples: list[tuple[Any, ...]]

    def put(self, db: sqlite3.Connection) -> None:
        """Write it into another ledger, as its next run."""
        row = db.execute(
            "INSERT INTO run (command, started_at, ended_at, state, tally) VALUES (?, ?, ?, ?, ?)", self.run
        )
        db.executemany("INSERT INTO sample VALUES (?, ?, ?, ?)", [(row.lastrowid, *each) for each in self.samples])


def take_history(db: sqlite3.Connection, source: sqlite3.Connection) -> list[History]:
    """Take in what quotas gave; return the runs.

    Both only as far as they are new since that ledger was last united.
    """
    db.executemany(
        "INSERT OR IGNORE INTO meta (key, value) VALUES (?, ?)",
        source.execute("SELECT key, value FROM meta WHERE key LIKE ?", (f"{_UNITED}%",)),
    )
    (ledger_id,) = source.execute("SELECT value FROM meta WHERE key = ?", (LEDGER_ID,)).fetchone()
    mark = db.execute("SELECT value FROM meta WHERE key = ?", (_UNITED + ledger_id,)).fetchone()
    counted: dict[str, Any] = {"runs": 0, "quota": []} if mark is None else json.loads(mark[0])
    before = {(name, day): size for name, day, size in counted["quota"]}
    quota = source.execute("SELECT source, day, bytes FROM quota_day ORDER BY source, day").fetchall()
    db.executemany(
        "INSERT INTO quota_day (source, day, bytes) VALUES (?, ?, ?) "
        "ON CONFLICT (source, day) DO UPDATE SET bytes = bytes + excluded.bytes",
        [(name, day, size - before.get((name, day), 0)) for name, day, size in quota],
    )
    runs = source.execute(
        "SELECT id, command, started_at, ended_at, state, tally FROM run WHERE id > ? ORDER BY id", (counted["runs"],)
    ).fetchall()
    counted = {"runs": max([counted["runs"], *(run[0] for run in runs)]), "quota": quota}
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_UNITED + ledger_id, json.dumps(counted)))
    samples = "SELECT at_s, instances, bytes FROM sample WHERE run_id = ? ORDER BY at_s"
    return [History(run[1:], source.execute(samples, run[:1]).fetchall()) for run in runs]


class _Part(NamedTuple):
    """The cohort of one shard."""

    id: int
    name: str
    fingerprint: str
    planned_at: str
    missing: str
    shard: Shard
    current: bool  # its command would be planned the same today


class _Whole(NamedTuple):
    """What the shards of one query have in common."""

    query: str  # JSON, without a shard
    source: str
    profile: str | None
    of: int


def join_shards(db: sqlite3.Connection, fingerprint: Fingerprint) -> list[str]:
    """Make one cohort of all the shards of a query; return, in sentences, why shards that are all there stay apart.

    The whole gets the fingerprint that its command has, so that this command finds it planned; unless the shards were
    planned otherwise than they would be today (another index, another manifest): then it is planned anew.
    """
    apart: list[str] = []
    groups = _by_query(db, fingerprint)
    there: dict[tuple[str, int], set[int]] = {}
    for whole, parts in groups.items():
        there.setdefault((whole.query, whole.of), set()).update(part.shard.number for part in parts)
    for whole, parts in groups.items():
        query = QUERY_JSON.validate_json(whole.query)
        for current in (True, False):
            chosen = sorted((part for part in parts if part.current is current), key=lambda part: part.shard)
            if [part.shard.number for part in chosen] == list(range(1, whole.of + 1)):
                mark = fingerprint(query, whole.source, whole.profile) if current else None
                _join(db, whole, chosen, mark or _digest(part.fingerprint for part in chosen))
                break
        else:
            if len(there[whole.query, whole.of]) == whole.of:  # else `absent` tells
                apart.append(
                    f"the shards of {parts[0].name} were planned apart, so the next pull plans the whole again"
                )
    return list(dict.fromkeys(apart))


def _by_query(db: sqlite3.Connection, fingerprint: Fingerprint) -> dict[_Whole, list[_Part]]:
    groups: dict[_Whole, list[_Part]] = {}
    for row in named_rows(db, "SELECT * FROM cohort ORDER BY id"):
        query = QUERY_JSON.validate_json(row["query"])
        if query.shard is None:
            continue
        unsharded = QUERY_JSON.dump_json(replace(query, shard=None)).decode()
        current = fingerprint(query, row["source"], row["profile"]) == row["fingerprint"]
        part = _Part(
            row["id"], row["name"], row["fingerprint"], row["planned_at"], row["missing"], query.shard, current
        )
        groups.setdefault(_Whole(unsharded, row["source"], row["profile"], query.shard.of), []).append(part)
    return groups


def _join(db: sqlite3.Connection, whole: _Whole, parts: list[_Part], mark: str) -> None:
    known = db.execute("SELECT id, planned_at, missing FROM cohort WHERE fingerprint = ?", (mark,)).fetchone()
    cohort_id = parts[0].id if known is None else known[0]
    for part in parts:
        db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (_COHORT + part.fingerprint, mark))
        if part.id != cohort_id:
            db.execute(
                "INSERT OR IGNORE INTO member (cohort_id, series_id, expected) "
                "SELECT ?, series_id, expected FROM member WHERE cohort_id = ?",
                (cohort_id, part.id),
            )
            db.execute("DELETE FROM member WHERE cohort_id = ?", (part.id,))
            db.execute("DELETE FROM cohort WHERE id = ?", (part.id,))
    planned = [part.planned_at for part in parts] + ([] if known is None else [known[1]])
    missing = [part.missing for part in parts] + ([] if known is None else [known[2]])
    db.execute(
        "UPDATE cohort SET fingerprint = ?, query = ?, planned_at = ?, missing = ? WHERE id = ?",
        (mark, whole.query, max(planned), _join_missing(missing), cohort_id),
    )


def _digest(marks: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(marks).encode()).hexdigest()


def _join_missing(texts: Iterable[str]) -> str:
    """What was named and nobody has, each once."""
    entries = {tuple(entry): None for text in texts for entry in json.loads(text)}
    return json.dumps(list(entries))
