"""Uniting ledgers: what comes of it is what one ledger would have said; and whoever does it again changes nothing."""

import json
import sqlite3
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dicomhaul.config.options import QUERY_JSON
from dicomhaul.errors import ConfigError, DiskFull
from dicomhaul.model import Check, Failure, Partial, Proof, Query, Receipt, Routing, Series, Shard, SopUID
from dicomhaul.plan.shard import shard_of
from dicomhaul.record.absent import absent_shards
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.planned import plan_cohort
from dicomhaul.record.unite import Begun, Other, Taken, United, unite
from support.fakes import series_row

LAYOUT = "{StudyInstanceUID}/{SeriesInstanceUID}"
MONDAY, TUESDAY = "2026-01-05T00:00:00+00:00", "2026-01-06T00:00:00+00:00"
QUERY = Query(collection=("nlst",))


def fingerprint(query: Query, source: str, profile: str | None) -> str:
    return f"{query.collection} {query.shard} {source} {profile}"


def plan(
    ledger: Ledger,
    rows: Iterable[Series],
    *,
    query: Query = QUERY,
    at: str = MONDAY,
    missing: Sequence[Failure] = (),
    layout: str = LAYOUT,
    mark: str | None = None,
) -> int:
    return plan_cohort(
        ledger,
        name="nlst",
        fingerprint=mark or fingerprint(query, "idc", None),
        query=QUERY_JSON.dump_json(query).decode(),
        source="idc",
        planned_at=at,
        layout=layout,
        rows=rows,
        missing=missing,
    ).cohort_id


def digest(content: str) -> bytes:
    return content.encode().ljust(16, b"\0")


def land(ledger: Ledger, series: str, *sops: str, content: str = "", complete: bool = False) -> None:
    key = next(row["id"] for row in ask(ledger, "SELECT id, series FROM series") if row["series"] == series)
    with ledger.transaction():
        ledger.add_receipts(
            Receipt(key, SopUID(sop), 10, digest(content + sop), Check.MD5, f"{sop}-stem") for sop in sops
        )
        if complete:
            ledger.complete_series(key, Proof.COUNT, None, "fake")


def ask(ledger: Ledger, query: str) -> list[dict[str, Any]]:
    with closing(sqlite3.connect(ledger.path)) as db:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(query)]


def said(ledger: Ledger) -> dict[str, list[Any]]:
    """Everything that a ledger says, without the numbers that it gave to rows."""
    queries = {
        "series": "SELECT s.*, r.names AS routes, r.reason AS why FROM series s JOIN route r ON r.id = s.route",
        "instance": "SELECT s.study, s.series, i.* FROM instance i JOIN series s ON s.id = i.series_id",
        "cohort": "SELECT * FROM cohort",
        "member": "SELECT c.fingerprint, s.study, s.series, m.expected FROM member m "
        "JOIN series s ON s.id = m.series_id JOIN cohort c ON c.id = m.cohort_id",
        "quota_day": "SELECT * FROM quota_day",
        "run": "SELECT * FROM run",
        "partial": "SELECT s.series, p.* FROM partial p JOIN series s ON s.id = p.series_id",
    }
    dropped = {"id", "route", "series_id", "name"}
    return {
        table: sorted(json.dumps({k: str(v) for k, v in row.items() if k not in dropped}) for row in ask(ledger, query))
        for table, query in queries.items()
    }


class Ledgers:
    """Ledgers in a folder, and what uniting them asks for."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stack = ExitStack()
        self.brought: list[Taken] = []
        self.gone: set[str] = set()  # SOP Instance UIDs whose files are not there
        self.fails = False

    def open(self, name: str) -> Ledger:
        ledger = Ledger.open(self.folder / f"{name}.sqlite3", wal=False)
        self.stack.callback(ledger.close)
        return ledger

    def unite(self, target: Ledger, *others: Ledger, one_tree: bool = False) -> United:
        self.brought.clear()
        return unite(
            target,
            [Other(each.path, each.path.stem, one_tree) for each in others],
            bring=self.bring,
            carry=lambda number, begun: f"{number}-{begun.name}",
            fingerprint=fingerprint,
        )

    def bring(self, _: int, taken: Iterable[Taken]) -> Iterator[tuple[int, str]]:
        for each in taken:
            if self.fails:
                raise DiskFull("full")
            self.brought.append(each)
            if each.sop in self.gone:
                yield each.series_id, each.sop


@pytest.fixture
def ledgers(tmp_path: Path) -> Iterator[Ledgers]:
    made = Ledgers(tmp_path)
    with made.stack:
        yield made


@st.composite
def cohorts(draw: st.DrawFn) -> list[tuple[Series, int, bool]]:
    """Series, how many of their instances landed, and whether the run came to their end."""
    found = []
    for number in range(draw(st.integers(0, 8))):
        expected = draw(st.integers(1, 4))
        row = series_row(
            f"1.{number}.{draw(st.integers(0, 10_000))}",
            expected=draw(st.sampled_from([expected, None])),
            size_bytes=draw(st.sampled_from([expected * 10, None])),
            revision=draw(st.sampled_from([None, "a"])),
        )
        if draw(st.booleans()):
            row = row._replace(instances=tuple(SopUID(f"{row.series}.{each}") for each in range(expected)))
        row = row._replace(routing=draw(st.sampled_from([Routing(("one",), "near"), Routing(("two", "one"), "far")])))
        landed = draw(st.integers(0, expected))
        found.append((row, landed, landed == expected and draw(st.booleans())))
    return found


def fill(ledger: Ledger, query: Query, cohort: list[tuple[Series, int, bool]]) -> None:
    plan(ledger, [row for row, _, _ in cohort], query=query, missing=[Failure("", "9.9", None, "nobody has it")])
    for row, landed, complete in cohort:
        land(ledger, row.series, *(f"{row.series}.{each}" for each in range(landed)), complete=complete)


@settings(max_examples=10)
@given(cohort=cohorts(), of=st.integers(1, 4), one_tree=st.booleans())
def test_shards_that_are_united_say_what_the_whole_would(
    *, cohort: list[tuple[Series, int, bool]], of: int, one_tree: bool
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        ledgers = Ledgers(Path(folder))
        with ledgers.stack:
            whole = ledgers.open("whole")
            fill(whole, QUERY, cohort)
            shards = []
            for number in range(1, of + 1):
                shards.append(ledgers.open(f"shard{number}"))
                mine = [each for each in cohort if shard_of(each[0].series, of) == number]
                fill(shards[-1], replace(QUERY, shard=Shard(number, of)), mine)
            target = ledgers.open("target")
            united = ledgers.unite(target, *shards, one_tree=one_tree)
            assert said(target) == said(whole)
            assert (united.series, united.contested, united.unfinished) == (len(cohort), [], [])
            assert len(ledgers.brought) == (0 if one_tree else sum(landed for _, landed, _ in cohort))
            assert ask(target, "SELECT value FROM meta WHERE key = 'layout'") == [{"value": LAYOUT}]
            before = said(target)
            again = ledgers.unite(target, *shards, one_tree=one_tree)
            assert said(target) == before
            assert (again.series, again.contested, ledgers.brought) == (0, [], [])
            some = ledgers.unite(target, *shards[:1], one_tree=one_tree)
            assert said(target) == before
            assert (some.series, some.unfinished) == (0, [])


def test_a_missing_shard_is_named_and_its_cohorts_stay_apart(ledgers: Ledgers) -> None:
    one, three, target = ledgers.open("one"), ledgers.open("three"), ledgers.open("target")
    plan(one, [series_row("1.1")], query=replace(QUERY, shard=Shard(1, 3)))
    plan(three, [series_row("1.3")], query=replace(QUERY, shard=Shard(3, 3)))
    united = ledgers.unite(target, one, three)
    assert ([str(each) for each in absent_shards(target.cohorts())], united.unfinished) == (["shard 2/3 of nlst"], [])
    assert [row.fingerprint for row in target.cohorts()] == ["('nlst',) 1/3 idc None", "('nlst',) 3/3 idc None"]
    two = ledgers.open("two")
    plan(two, [series_row("1.2")], query=replace(QUERY, shard=Shard(2, 3)), at=TUESDAY)
    assert ledgers.unite(target, two).unfinished == []
    assert absent_shards(target.cohorts()) == []
    (cohort,) = target.cohorts()
    assert (cohort.fingerprint, cohort.planned_at) == (fingerprint(QUERY, "idc", None), TUESDAY)
    assert QUERY_JSON.validate_json(cohort.query) == QUERY
    assert target.standing(cohort.id).series_planned == 3


def test_shards_that_were_planned_otherwise_than_today_are_planned_again(ledgers: Ledgers) -> None:
    target = ledgers.open("target")
    others = []
    for number in (1, 2):
        others.append(ledgers.open(str(number)))
        plan(
            others[-1], [series_row(f"1.{number}")], query=replace(QUERY, shard=Shard(number, 2)), mark=f"old {number}"
        )
    assert ledgers.unite(target, *others).unfinished == []
    (cohort,) = target.cohorts()
    assert cohort.fingerprint not in {"old 1", "old 2", fingerprint(QUERY, "idc", None)}
    ledgers.unite(target, *others)
    assert target.cohorts() == [cohort]


def test_shards_that_were_asked_of_two_sources_are_all_there(ledgers: Ledgers) -> None:
    """One of them again from elsewhere leaves no hole: the query is what counts."""
    target, others = ledgers.open("target"), []
    for number, mark in ((1, None), (2, None), (2, "from elsewhere")):
        others.append(ledgers.open(f"{number} {mark}"))
        plan(others[-1], [series_row(f"1.{number}")], query=replace(QUERY, shard=Shard(number, 2)), mark=mark)
    with others[2].transaction():
        others[2]._db.execute("UPDATE cohort SET source = 'idc-proxy'")
    united = ledgers.unite(target, others[0], others[2])
    assert (absent_shards(target.cohorts()), len(united.unfinished)) == ([], 1)
    assert "planned apart" in united.unfinished[0]
    ledgers.unite(target, others[1])
    assert absent_shards(target.cohorts()) == []


def test_the_query_without_a_shard_needs_no_shards(ledgers: Ledgers) -> None:
    ledger = ledgers.open("one")
    other = replace(QUERY, collection=("other",))
    for query in (replace(QUERY, shard=Shard(2, 9)), replace(other, shard=Shard(1, 2))):
        plan(ledger, [series_row("1.1")], query=query)
    shards = tuple(Shard(number, 9) for number in range(1, 10) if number != 2)
    found = absent_shards(ledger.cohorts())
    plan(ledger, [series_row("1.1")], query=QUERY)
    assert [each.shards for each in absent_shards(ledger.cohorts())] == [(Shard(2, 2),)]
    assert [each.shards for each in found] == [shards, (Shard(2, 2),)]
    assert str(found[0]) == "shards 1/9, 3/9, 4/9, 5/9, … of nlst"


def test_runs_and_quotas_are_counted_once(ledgers: Ledgers) -> None:
    one, two, target = (ledgers.open(name) for name in ("one", "two", "target"))
    for ledger, day, at in ((one, "2026-01-05", TUESDAY), (two, "2026-01-05", MONDAY)):
        plan(ledger, [series_row("1.1")], at=at)
        run_id = ledger.begin_run("pull", at)
        ledger.add_sample(time.monotonic() + 5.0, 2, 300, last=True)
        ledger.end_run(run_id, at, "complete", "{}")
        with ledger.transaction():
            ledger.add_quota("idc-proxy", day, 100)
    for _ in range(2):
        ledgers.unite(target, one, two)
        assert target.quota_used("idc-proxy", "2026-01-05") == 200
        assert [row["started_at"] for row in ask(target, "SELECT started_at FROM run ORDER BY id")] == [MONDAY, TUESDAY]
        samples = ask(target, "SELECT run_id, instances, bytes FROM sample ORDER BY run_id")
        assert [tuple(row.values()) for row in samples] == [(1, 2, 300), (2, 2, 300)]
    with one.transaction():
        one.add_quota("idc-proxy", "2026-01-05", 11)
    one.begin_run("pull", "2026-01-07T00:00:00+00:00")
    ledgers.unite(target, one)
    assert target.quota_used("idc-proxy", "2026-01-05") == 211
    assert len(ask(target, "SELECT * FROM run")) == 3


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_revision_that_was_asked_for_last_wins(ledgers: Ledgers, order: tuple[int, int]) -> None:
    both = [ledgers.open("old"), ledgers.open("new")]
    for ledger, revision, at in zip(both, "ab", (MONDAY, TUESDAY), strict=True):
        plan(ledger, [series_row("1.1", expected=1, revision=revision)], at=at, mark=at)
        land(ledger, "1.1", f"1.1.{revision}", "1.1.0", content=revision, complete=True)
    target = ledgers.open("target")
    united = ledgers.unite(target, *(both[each] for each in order))
    assert united.contested == ["1.1"]
    (series,) = ask(target, "SELECT * FROM series")
    assert (series["revision"], series["state"], series["proof"]) == ("b", 1, "count")
    rows = ask(target, "SELECT sop, xxh3 FROM instance ORDER BY sop")
    assert rows == [{"sop": "1.1.0", "xxh3": digest("b1.1.0")}, {"sop": "1.1.b", "xxh3": digest("b1.1.b")}]
    before = said(target)
    ledgers.unite(target, *(both[each] for each in order))
    assert (said(target), ledgers.brought) == (before, [])


def test_other_bytes_of_one_instance(ledgers: Ledgers) -> None:
    """Nobody states a revision: the instance that was asked for last wins, the rest is had by both."""
    old, new, target = (ledgers.open(name) for name in ("old", "new", "target"))
    for ledger, at, sops in ((old, MONDAY, ("1.1.1", "1.1.2")), (new, TUESDAY, ("1.1.1", "1.1.3"))):
        plan(ledger, [series_row("1.1", expected=3)], at=at, mark=at)
        land(ledger, "1.1", *sops, content=at)
    ledgers.unite(target, old)
    united = ledgers.unite(target, new)
    assert (united.contested, sorted(each.sop for each in ledgers.brought)) == (["1.1"], ["1.1.1", "1.1.3"])
    assert [row["xxh3"] for row in ask(target, "SELECT xxh3 FROM instance ORDER BY sop")] == [
        digest(TUESDAY + "1.1.1"), digest(MONDAY + "1.1.2"), digest(TUESDAY + "1.1.3")
    ]  # fmt: skip


def test_in_one_tree_what_two_ledgers_disagree_about_is_wanted_again(ledgers: Ledgers) -> None:
    one, two = ledgers.open("one"), ledgers.open("two")
    for ledger, at in ((one, MONDAY), (two, TUESDAY)):
        plan(ledger, [series_row("1.1", expected=2)], at=at, mark=at)
        land(ledger, "1.1", "1.1.1", content=at)
        land(ledger, "1.1", "1.1.2", complete=True)
    target = ledgers.open("target")
    assert ledgers.unite(target, one, two, one_tree=True).contested == ["1.1"]
    assert [row["state"] for row in ask(target, "SELECT state FROM instance ORDER BY sop")] == [0, 1]
    assert [row["state"] for row in ask(target, "SELECT state FROM series")] == [0]
    assert ledgers.brought == []


def test_in_one_tree_two_folders_have_a_file_each(ledgers: Ledgers) -> None:
    """They were laid out by names that changed in between: nothing was overwritten, and the newer file is there."""
    one, two, target = (ledgers.open(name) for name in ("one", "two", "target"))
    for ledger, at in ((one, MONDAY), (two, TUESDAY)):
        plan(ledger, [series_row("1.1", expected=1)._replace(folder=f"in/{ledger.path.stem}")], at=at, mark=at)
        land(ledger, "1.1", "1.1.1", content=at, complete=True)
    assert ledgers.unite(target, one, two, one_tree=True).contested == ["1.1"]
    assert ask(target, "SELECT state, xxh3 FROM instance") == [{"state": 1, "xxh3": digest(TUESDAY + "1.1.1")}]
    assert [(each.there, each.folder) for each in ledgers.brought] == [("in/two", "in/one")]


def test_the_index_of_the_tree_is_to_be_written_again(ledgers: Ledgers) -> None:
    one, target = ledgers.open("one"), ledgers.open("target")
    plan(one, [series_row("1.1")])
    target.set_meta("index", "written")
    ledgers.unite(target, one)
    assert target.meta("index") == "stale"


def test_what_is_not_there_is_wanted_again(ledgers: Ledgers) -> None:
    one, target = ledgers.open("one"), ledgers.open("target")
    plan(one, [series_row("1.1", expected=2)])
    land(one, "1.1", "1.1.1", "1.1.2", complete=True)
    ledgers.gone = {"1.1.2"}
    assert ledgers.unite(target, one).lost == 1
    assert ask(target, "SELECT sop, state, xxh3 FROM instance WHERE state = 0") == [
        {"sop": "1.1.2", "state": 0, "xxh3": None}
    ]
    assert ask(target, "SELECT state, proof, came_by FROM series") == [{"state": 0, "proof": None, "came_by": None}]
    ledgers.gone = set()
    assert ledgers.unite(target, one).lost == 0
    assert (target.standing().series_complete, target.standing().instances_present) == (1, 2)


def test_it_is_all_or_nothing(ledgers: Ledgers) -> None:
    one, two, target = (ledgers.open(name) for name in ("one", "two", "target"))
    for ledger in (one, two):
        plan(ledger, [series_row(f"1.{ledger.path.stem}", expected=1)], mark=ledger.path.stem)
        land(ledger, f"1.{ledger.path.stem}", f"1.{ledger.path.stem}.1", complete=True)
    ledgers.unite(target, one)
    before = said(target)
    ledgers.fails = True
    with pytest.raises(DiskFull):
        ledgers.unite(target, two)
    assert said(target) == before
    ledgers.fails = False
    assert ledgers.unite(target, two).series == 1


def test_a_file_that_is_about_to_be_replaced_is_not_vouched_for(ledgers: Ledgers) -> None:
    """The replacing file comes before the ledger says so: killed in between, nothing that it says is untrue."""
    old, new, target = (ledgers.open(name) for name in ("old", "new", "target"))
    for ledger, at in ((old, MONDAY), (new, TUESDAY)):
        plan(ledger, [series_row("1.1", expected=1)], at=at, mark=at)
        land(ledger, "1.1", "1.1.1", content=at, complete=True)
    ledgers.unite(target, old)
    ledgers.fails = True
    with pytest.raises(DiskFull):
        ledgers.unite(target, new)
    assert [row["state"] for row in ask(target, "SELECT state FROM instance")] == [0]
    ledgers.fails = False
    ledgers.unite(target, new)
    assert ask(target, "SELECT state, xxh3 FROM instance") == [{"state": 1, "xxh3": digest(TUESDAY + "1.1.1")}]
    assert target.standing().series_complete == 1


@pytest.mark.parametrize(
    ("key", "value", "word"), [("layout", "{SeriesInstanceUID}", "layouts"), ("name_by", "crdc", "name files")]
)
def test_trees_that_differ_stay_two(ledgers: Ledgers, key: str, value: str, word: str) -> None:
    one, two, target = (ledgers.open(name) for name in ("one", "two", "target"))
    for ledger in (one, two):
        plan(ledger, [series_row("1.1")], mark=ledger.path.stem)
    two.set_meta(key, value)
    with pytest.raises(ConfigError, match=word):
        ledgers.unite(target, one, two)
    assert (target.cohorts(), ask(target, "SELECT * FROM series")) == ([], [])
    ledgers.unite(target, one)
    with pytest.raises(ConfigError, match=word):
        ledgers.unite(target, two)


def test_what_is_begun_of_a_large_object_is_carried_along(ledgers: Ledgers) -> None:
    one, target = ledgers.open("one"), ledgers.open("target")
    plan(one, [series_row("1.1", expected=2), series_row("1.2", expected=1)])
    with one.transaction():
        one.note_partial(1, "stem", Partial("stem", "etag", "staged", 99, digest("x")))
        one.note_partial(2, "other", Partial("other", "etag", "staged-2", 99, digest("x")))
    land(one, "1.2", "1.2.1")
    with one.transaction():
        one._db.execute("UPDATE series SET state = 1 WHERE id = 2")
    for _ in range(2):
        ledgers.unite(target, one)
        assert [(row.partial.stem, row.partial.name, row.partial.offset) for row in target.partials()] == [
            ("stem", "0-staged", 99)
        ]
    further = ledgers.open("further")
    plan(further, [series_row("1.1", expected=2)])
    with further.transaction():
        further.note_partial(1, "stem", Partial("stem", "etag", "longer", 200, digest("y")))
    ledgers.unite(target, one, further)
    assert [row.partial.name for row in target.partials()] == ["1-longer"]


def test_one_ledger_completes_what_another_began(ledgers: Ledgers) -> None:
    begun, done, target = (ledgers.open(name) for name in ("begun", "done", "target"))
    for ledger, at in ((begun, TUESDAY), (done, MONDAY)):
        plan(ledger, [series_row("1.1", expected=2)], at=at, mark=at)
    land(begun, "1.1", "1.1.1")
    land(done, "1.1", "1.1.1", "1.1.2", complete=True)
    ledgers.unite(target, begun, done)
    assert (target.standing().series_complete, target.standing().instances_present) == (1, 2)
    assert [(each.sop, each.there) for each in ledgers.brought] == [("1.1.1", "2.25.1/1.1"), ("1.1.2", "2.25.1/1.1")]
    assert len(target.cohorts()) == 2
    assert Begun("name", 1).offset == 1
