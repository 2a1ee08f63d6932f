"""What a report says, as one frozen value: read from the ledger in one moment, and from the trash of the destination.

Rules: no patient is named, and UIDs stand in the list of failures alone; whatever others wrote is clipped, on one line.
Nothing here knows HTML.
"""

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from dicomhaul._version import __version__
from dicomhaul.config.options import QUERY_JSON
from dicomhaul.destination import find_place
from dicomhaul.errors import LedgerError
from dicomhaul.land.folder import PRIVATE
from dicomhaul.model import Check, Proof, Shard, State
from dicomhaul.observe.wording import printable
from dicomhaul.page.asked import asked_words, masked_uids
from dicomhaul.record.absent import absent_shards
from dicomhaul.record.account import (
    Account,
    CohortStanding,
    FailureRow,
    LeavingRow,
    RoutingRow,
    RunRow,
    SampleRow,
    ShareRow,
)
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.reader import CohortRow
from dicomhaul.report import RunState

_GROUPS: Final = 40  # of each kind that are named; the rest is added up
_KEPT_GROUPS: Final = 10_000  # distinct names in memory, whatever a server sends
_FAILURES: Final = 200
_REASONS: Final = 30
_RUNS: Final = 30
_DRAWN: Final = 4
_ROWS: Final = 30
_COHORTS: Final = 50
_TRASH_FILES: Final = 200_000  # that are looked at
_MOST_CHARS: Final = 400
_NAME_CHARS: Final = 100
_DAY: Final = re.compile(r"\d{4}-\d{2}-\d{2}\Z")


@dataclass(frozen=True, slots=True)
class Group:
    """Series that have something in common; `name` None: nobody says what. `of`: so many groups in one."""

    name: str | None
    series: int = 0
    complete: int = 0
    failed: int = 0
    instances: int = 0
    bytes: int = 0
    of: int = 1

    @property
    def left(self) -> int:
        """Series that are still to come."""
        return self.series - self.complete - self.failed


@dataclass(frozen=True, slots=True)
class Asked:
    """One cohort: what was asked for, of whom, and how far it is."""

    words: tuple[tuple[str, str], ...]
    source: str
    planned_at: str
    series: int
    complete: int
    failed: int
    absent: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run; `took_s` None where it was killed and left no sample. Samples: of the newest runs alone."""

    number: int
    command: str
    began: str
    took_s: float | None
    state: str  # a RunState, or "killed or running"
    instances: int
    bytes: int
    discarded: int
    requests: int
    retries: int
    throttled: int
    series_added: int
    series_revised: int
    series_withdrawn: int
    instances_removed: int
    samples: tuple[SampleRow, ...] = ()

    @property
    def changed(self) -> bool:
        """Whether a sync found, or made, the destination other than it was."""
        return any((self.series_added, self.series_revised, self.series_withdrawn, self.instances_removed))


@dataclass(frozen=True, slots=True)
class TrashDay:
    """What left the tree on a day and is still kept."""

    day: str
    files: int
    bytes: int


@dataclass(frozen=True, slots=True)
class Feed:
    """A source of change, and how long ago its cursor moved."""

    name: str
    moved_at: str
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class Figures:
    """Everything that the page says."""

    version: str
    made_at: str
    dest: str
    shard: str | None
    state: RunState
    reason: str
    series: int
    complete: int
    failed: int
    instances_expected: int | None
    instances: int
    bytes: int
    missing: int  # instances by name, and series that lack none known by name
    cohorts: tuple[Asked, ...]
    cohorts_in_all: int
    checks: tuple[tuple[str, int], ...]
    proofs: tuple[tuple[str, int], ...]
    reasons: tuple[tuple[str, int], ...]
    failures: tuple[FailureRow, ...]
    runs: tuple[Run, ...]
    runs_in_all: int
    spent: Mapping[str, int]
    collections: tuple[Group, ...]
    modalities: tuple[Group, ...]
    licenses: tuple[Group, ...]
    routes: tuple[Group, ...]
    routings: tuple[RoutingRow, ...]
    leaving: tuple[LeavingRow, ...]
    swaps: int
    kept: int  # series that no cohort wants any more, and that stay
    trash: tuple[TrashDay, ...]
    trash_is_all: bool
    feeds: tuple[Feed, ...]

    def as_json(self) -> dict[str, Any]:
        """Return all of it, of types that JSON has."""
        table = asdict(self)
        table["spent"] = dict(self.spent)
        for name in ("checks", "proofs"):
            table[name] = dict(table[name])
        table["reasons"] = [{"reason": reason, "count": count} for reason, count in self.reasons]
        table["failures"] = [row._asdict() for row in self.failures]
        table["routings"] = [row._asdict() for row in self.routings]
        table["leaving"] = [row._asdict() for row in self.leaving]
        for cohort in table["cohorts"]:
            cohort["words"] = dict(cohort["words"])
        for run, drawn in zip(table["runs"], self.runs, strict=True):
            run["samples"] = [row._asdict() for row in drawn.samples]
        return table


def read_figures(dest: Path, state_dir: Path | None = None, shard: Shard | None = None, *, now: datetime) -> Figures:
    """Read what there is to say of a destination, or of one shard of it; asks no server, and changes nothing.

    Raises LedgerError where there is no ledger, it is damaged, or nothing was ever asked for; ConfigError as
    `find_place`.
    """
    place = find_place(dest, state_dir, shard)
    with closing(Ledger.open(place.ledger, read_only=True)) as ledger:
        account = Account(ledger)
        with account.at_one_moment():
            cohorts = ledger.asked_for()
            sums = _Sums(account.iter_shares())
            standings = account.cohorts()
            absent = sum(each.absent for each in standings)
            nothing_failed = not sums.whole.failed and not absent
            reasons = [] if nothing_failed else account.reasons()
            missing = sum(count for _, count in reasons)
            runs_in_all, spent = account.spent()
            runs = _runs(account)
            trash, trash_is_all = _trash(dest / PRIVATE / "trash")
            state, reason = _state(sums.whole, missing, cohorts if shard is None else [])
            return Figures(
                version=__version__,
                made_at=_moment(now),
                dest=_line(str(dest)),
                shard=None if shard is None else str(shard),
                state=state,
                reason=reason,
                series=sums.whole.series,
                complete=sums.whole.complete,
                failed=sums.whole.failed,
                instances_expected=sums.expected,
                instances=sums.whole.instances,
                bytes=sums.whole.bytes,
                missing=missing,
                cohorts=tuple(_asked(row, at) for row, at in zip(cohorts, standings, strict=True))[-_COHORTS:],
                cohorts_in_all=len(cohorts),
                checks=_words_of_checks(account.checks()),
                proofs=tuple((str(proof), sums.proofs.get(str(proof), 0)) for proof in Proof),
                reasons=_reasons(reasons),
                failures=() if nothing_failed else tuple(map(_failure, account.failures(_FAILURES))),
                runs=runs,
                runs_in_all=runs_in_all,
                spent=spent,
                collections=sums.named("collection"),
                modalities=sums.named("modality"),
                licenses=sums.named("license"),
                routes=sums.named("came_by"),
                routings=tuple(
                    RoutingRow(tuple(map(_line, row.names)), _line(row.reason), row.series)
                    for row in account.routings(_ROWS)
                ),
                leaving=tuple(row._replace(reason=_line(row.reason)) for row in account.leaving(_ROWS)),
                swaps=account.swaps(),
                kept=sums.kept,
                trash=trash,
                trash_is_all=trash_is_all,
                feeds=tuple(
                    Feed(_source(feed), _line(moved_at), _seconds(moved_at, _moment(now)))
                    for feed, moved_at in account.cursors(_ROWS)
                ),
            )


class _Sums:
    """The groups of series, added up for each question."""

    def __init__(self, rows: Iterable[ShareRow]) -> None:
        self._groups: dict[str, dict[str | None, list[int]]] = {
            name: {} for name in ("collection", "modality", "license", "came_by")
        }
        total = [0] * 5
        self.proofs: dict[str, int] = {}
        self.kept = 0
        expected = 0
        is_stated = True
        for row in rows:
            wanted = 0 if row.is_kept else row.series  # what is kept is there, and not asked for
            complete, failed = wanted * (row.state == State.LANDED), wanted * (row.state == State.FAILED)
            some = (wanted, complete, failed, row.instances, row.size_bytes)
            _add(total, some)
            self.kept += row.series - wanted
            expected += 0 if row.is_kept else row.expected
            is_stated &= row.is_stated or row.is_kept
            if complete and row.proof is not None:
                self.proofs[row.proof] = self.proofs.get(row.proof, 0) + complete
            for name, groups in self._groups.items():
                if name == "came_by" and not complete:
                    continue
                key = getattr(row, name)
                key = key if key in groups or len(groups) < _KEPT_GROUPS else None
                _add(groups.setdefault(key, [0] * 5), some)
        self.whole = Group(None, *total)
        self.expected = expected if is_stated else None

    def named(self, kind: str) -> tuple[Group, ...]:
        """Return the groups of a kind, those of most bytes first; the last stands for all that are not named."""
        rows = sorted(self._groups[kind].items(), key=lambda item: (-item[1][4], -item[1][0], item[0] or ""))
        groups = [
            Group(None if name is None else _line(str(name), _NAME_CHARS), *sums) for name, sums in rows[:_GROUPS]
        ]
        others = [0] * 5
        for _, sums in rows[_GROUPS:]:
            _add(others, sums)
        if rows[_GROUPS:]:
            groups.append(replace(Group(None, *others), of=len(rows) - _GROUPS))
        return tuple(groups)


def _add(to: list[int], some: Sequence[int]) -> None:
    for at, value in enumerate(some):
        to[at] += value


def _state(whole: Group, missing: int, cohorts: Sequence[CohortRow]) -> tuple[RunState, str]:
    absent = absent_shards(cohorts)
    why = [f"{whole.left:,} series are still to come"] if whole.left else []
    why += [f"not here: {len(each.shards):,} shards of {each.shards[0].of:,} of a cohort" for each in absent[:3]]
    if why:
        return "paused", "; ".join(why)
    return ("partial", f"{missing:,} could not be had") if missing else ("complete", "")


def _asked(row: CohortRow, at: CohortStanding) -> Asked:
    try:
        query = QUERY_JSON.validate_json(row.query)
    except ValidationError:
        raise LedgerError("the ledger holds a query that cannot be read") from None
    return Asked(
        tuple((what, _line(value)) for what, value in asked_words(query)),
        _source(row.source),
        _line(row.planned_at),
        at.series,
        at.complete,
        at.failed,
        at.absent,
    )


def _words_of_checks(checks: Mapping[Check, int]) -> tuple[tuple[str, int], ...]:
    return tuple((check.name.lower(), checks[check]) for check in reversed(Check))


def _reasons(rows: Iterable[tuple[str, int]]) -> tuple[tuple[str, int], ...]:
    counts: dict[str, int] = {}
    for reason, count in rows:
        text = _line(masked_uids(str(reason)))
        counts[text] = counts.get(text, 0) + count
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    others = sum(count for _, count in ranked[_REASONS:])
    named = ranked[:_REASONS]
    return tuple([*named, (f"{len(ranked) - _REASONS:,} other reasons", others)] if others else named)


def _failure(row: FailureRow) -> FailureRow:
    return FailureRow._make(None if part is None else _line(str(part)) for part in row)


def _runs(account: Account) -> tuple[Run, ...]:
    rows = account.runs(_RUNS)
    drawn: list[Run] = []
    left = _DRAWN
    for row in reversed(rows):
        samples = tuple(account.samples(row.id)) if left else ()
        left -= len(samples) > 1
        last = samples[-1] if samples else SampleRow(0.0, 0, 0)
        took_s = None if row.ended_at is None else _seconds(row.started_at, row.ended_at)
        drawn.append(
            Run(
                row.id,
                _line(row.command),
                _line(row.started_at),
                took_s if took_s is not None or not samples else last.at_s,
                _line(row.state) if row.state is not None else "killed or running",
                max(_counter(row, "instances_landed"), last.instances),
                max(_counter(row, "bytes_landed"), last.size_bytes),
                _counter(row, "bytes_discarded"),
                _counter(row, "requests"),
                _counter(row, "retries"),
                _counter(row, "throttled"),
                _counter(row, "series_added"),
                _counter(row, "series_revised"),
                _counter(row, "series_withdrawn"),
                _counter(row, "instances_removed"),
                samples,
            )
        )
    return tuple(reversed(drawn))


def _counter(row: RunRow, name: str) -> int:
    return max(0, row.tally.get(name, 0))


def _trash(folder: Path) -> tuple[tuple[TrashDay, ...], bool]:
    """Count what the trash holds, day by day; False: there is more than is looked at."""
    days: list[TrashDay] = []
    looked = 0
    try:
        names = sorted(entry.name for entry in os.scandir(folder) if _DAY.match(entry.name))
    except OSError:  # there is none
        return (), True
    for name in names:
        files = size = 0
        for above, _, found in os.walk(folder / name):
            for each in found:
                looked += 1
                if looked > _TRASH_FILES:
                    return (*days, TrashDay(name, files, size)), False
                files += 1
                size += (Path(above) / each).lstat().st_size
        days.append(TrashDay(name, files, size))
    return tuple(days), True


def _seconds(begin: str, end: str) -> float | None:
    try:
        return max(0.0, (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds())
    except (TypeError, ValueError):  # somebody else wrote the ledger
        return None


def _moment(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="seconds")


def _source(text: str) -> str:
    """A source as the ledger names it, without whatever a URL may hold behind its path."""
    return _line(re.sub(r"[?#][^,\s]*", "", text))


def _line(text: str, most_chars: int = _MOST_CHARS) -> str:
    line = " ".join(printable(text).split())
    return line if len(line) <= most_chars else f"{line[:most_chars]}…"
