"""The ledger against a model of it in plain Python, through any sequence of plans, runs, kills, repairs and merges."""

import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from dicomhaul.model import Check, End, Partial, Proof, Receipt, Routing, Series, SopUID, State
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.swaps import due_swaps, record_swap
from dicomhaul.record.unite import Other, Taken, unite
from support.fakes import series_row, write_cohort

PLANNED, LANDED, FAILED = State.PLANNED, State.LANDED, State.FAILED

_MEMORY = Path("/dev/shm")  # what a sync is worth is tried elsewhere; here it only takes time
Key = tuple[str, str]  # study, series

STUDIES = ("2.1", "2.2")
SERIES = ("3.1", "3.2", "3.3")
SOPS = tuple(f"4.{number}" for number in range(5))
CHOICES = (("bucket", "proxy"), ("proxy", "bucket"), ("bucket",), ("proxy",))
LANES = ("bucket", "proxy")

keys = st.tuples(st.sampled_from(STUDIES), st.sampled_from(SERIES))
sops = st.lists(st.sampled_from(SOPS), min_size=1, max_size=4, unique=True)
revisions = st.sampled_from([None, "first", "second"])
choices = st.sampled_from(CHOICES)


@dataclass
class Wanted:
    """What the model knows of one series."""

    whole: bool
    expected: int | None
    revision: str | None
    routes: tuple[str, ...]
    state: State = PLANNED
    instances: dict[str, State] = field(default_factory=dict)
    partials: dict[str, Partial] = field(default_factory=dict)
    kept: bool = False  # no cohort wants it any more
    tree: tuple[str | None, set[str]] | None = None  # the revision that lies in the tree while another one comes

    def restore(self) -> None:
        """What lies in the tree is wanted again, or alone stays; of the other revision nothing is wanted any more."""
        assert self.tree is not None
        self.revision, there = self.tree
        self.instances, self.tree, self.state = dict.fromkeys(there, LANDED), None, PLANNED
        self.partials.clear()

    def known(self) -> tuple[set[str], set[str]]:
        landed = {sop for sop, state in self.instances.items() if state is LANDED}
        return landed, set(self.instances) - landed


@st.composite
def cohorts(draw: st.DrawFn) -> list[Series]:
    """Rows of one cohort: whole series and selections; some twice, as a careless manifest has them."""
    rows: list[Series] = []
    for study, uid in draw(st.lists(keys, min_size=1, max_size=5, unique=True)):
        revision = draw(revisions)
        whole_by, some_by = draw(choices), draw(choices)
        shape = draw(st.sampled_from(["whole", "whole twice", "some", "some twice", "both"]))
        if shape.startswith("whole") or shape == "both":
            expected = draw(st.none() | st.integers(1, 5))
            size = draw(st.none() | st.integers(1, 9))
            row = series_row(uid, study=study, expected=expected, size_bytes=size, revision=revision)
            row = row._replace(routing=Routing(whole_by, "whole"))
            rows += [row] * (2 if shape == "whole twice" else 1)
        if shape.startswith("some") or shape == "both":
            for _ in range(2 if shape == "some twice" else 1):
                some = draw(sops)
                row = series_row(uid, study=study, expected=len(some), revision=revision, instances=some)
                rows.append(row._replace(routing=Routing(some_by, "some")))
    return draw(st.permutations(rows))


class _Killed(Exception):
    """Ends a transaction from inside."""


class LedgerMachine(RuleBasedStateMachine):
    """Each rule does the same to the ledger and to the model; the invariants hold them against each other."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(dir=_MEMORY if _MEMORY.is_dir() else None)
        self.path = Path(self.folder.name) / "ledger.sqlite3"
        self.ledger = Ledger.open(self.path)
        self.series: dict[Key, Wanted] = {}
        self.members: dict[str, set[Key]] = {}
        self.cohort_ids: dict[str, int] = {}
        self.leased: dict[int, Key] = {}
        self.leasable: set[Key] = set()
        self.leasing = False
        self.announced: dict[int, tuple[int, Key, list[str]]] = {}  # by intent: series id, series, instances
        self.others = 0

    def teardown(self) -> None:
        self.ledger.close()
        self.folder.cleanup()

    # -- planning -------------------------------------------------------------------------------------------------

    @initialize(rows=cohorts())
    def begin(self, rows: list[Series]) -> None:
        self.plan("a", rows)

    @rule(name=st.sampled_from(["a", "b", "c"]), rows=cohorts())
    def plan(self, name: str, rows: list[Series]) -> None:
        before = set(self.series)
        self.cohort_ids[name] = write_cohort(self.ledger, rows, name=name)
        by_key: dict[Key, list[Series]] = {}
        for row in rows:
            by_key.setdefault((row.study, row.series), []).append(row)
        for key, same in by_key.items():
            whole = next((row for row in same if row.instances is None), None)
            selected = {str(sop) for row in same for sop in row.instances or ()}
            self._want(key, whole or same[0], selected, new=key not in before)
        self.members[name] = set(by_key)
        self._let_go()
        self.leasing = False

    def _let_go(self) -> None:
        """What no cohort wants any more stays as far as it has landed."""
        members = set().union(*self.members.values())
        for key, wanted in list(self.series.items()):
            wanted.kept = key not in members
            if wanted.kept and wanted.tree is not None:
                wanted.restore()
            elif wanted.kept and LANDED not in wanted.instances.values():
                del self.series[key]

    def _want(self, key: Key, row: Series, selected: set[str], *, new: bool) -> None:
        whole = row.instances is None
        routes = row.routing.routes if row.routing is not None else ()
        if new:
            self.series[key] = Wanted(whole, row.expected, row.revision, routes)
        wanted = self.series[key]
        if whole or not wanted.whole or not set(wanted.routes) <= set(routes):
            wanted.routes = routes
        other = row.revision is not None and row.revision != wanted.revision
        recounted = whole and row.expected is not None and row.expected != wanted.expected
        if not new and (other or recounted or (whole and not wanted.whole)):
            self._change(wanted, row, revised=other and wanted.revision is not None)
        for sop in selected:
            wanted.instances.setdefault(sop, PLANNED)
        if not wanted.whole:
            wanted.expected = len(wanted.instances)
        if (selected or not wanted.whole) and PLANNED in wanted.instances.values():
            wanted.state = PLANNED

    def _change(self, wanted: Wanted, row: Series, *, revised: bool) -> None:
        whole = row.instances is None
        if revised:
            wanted.partials.clear()
            if wanted.tree is None and wanted.known()[0]:
                wanted.tree = wanted.revision, wanted.known()[0]
        if revised and (whole or wanted.whole):
            wanted.instances.clear()
        elif revised:
            wanted.instances = dict.fromkeys(wanted.instances, PLANNED)
        if whole or not wanted.whole:
            wanted.expected = row.expected
        elif revised:
            wanted.expected = None
        wanted.revision = row.revision or wanted.revision
        wanted.whole = whole or wanted.whole
        wanted.state = PLANNED
        if revised and wanted.whole and wanted.tree is not None and wanted.tree[0] == wanted.revision:
            wanted.restore()

    # -- a run ----------------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        """A new run of one cohort: what failed is tried again, and everything planned can be leased."""
        name = data.draw(st.sampled_from(sorted(self.members)))
        self.ledger.retry_failed(self.cohort_ids[name])
        for key in self.members[name]:
            wanted = self.series[key]
            wanted.instances = {sop: PLANNED if state is FAILED else state for sop, state in wanted.instances.items()}
            if wanted.state is FAILED:
                wanted.state = PLANNED
        self.ledger.begin_leasing(self.cohort_ids[name])
        self.leasing = True
        self.leased.clear()
        self.leasable = {key for key in self.members[name] if self.series[key].state is PLANNED}

    @precondition(lambda self: self.leasing)
    @rule(count=st.integers(1, 3), end=st.sampled_from(["largest", "smallest"]), lane=st.sampled_from(LANES))
    def lease(self, count: int, end: End, lane: str) -> None:
        left = {key for key in self.leasable - set(self.leased.values()) if self.series[key].routes[0] == lane}
        got = self.ledger.lease(count, end, lane)
        assert len(got) == min(count, len(left))
        for work in got:
            key = (str(work.study), str(work.series))
            assert key in left
            left.discard(key)
            wanted = self.series[key]
            assert (work.whole, work.expected) == (wanted.whole, wanted.expected)
            assert (work.place or work.folder) == "/".join(key)
            assert (work.folder == "/".join(key)) is (wanted.tree is None)
            assert work.routes == wanted.routes
            self.leased[work.series_id] = key

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), brought=sops)
    def receive(self, data: st.DataObject, brought: list[str]) -> None:
        series_id, wanted = self._one(data)
        receipts = [Receipt(series_id, SopUID(sop), len(sop), bytes(16), Check.MD5, f"of {sop}") for sop in brought]
        with self.ledger.transaction():
            self.ledger.add_receipts(receipts)
        wanted.instances |= dict.fromkeys(brought, LANDED)
        for sop in brought:
            wanted.partials.pop(f"of {sop}", None)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), sop=st.sampled_from(SOPS), offset=st.none() | st.integers(1, 9))
    def note(self, data: st.DataObject, sop: str, offset: int | None) -> None:
        """A large object came so far, or what came of it is dropped."""
        series_id, wanted = self._one(data)
        stem = f"of {sop}"
        partial = None if offset is None else Partial(stem, "v1", f"{series_id}-{sop}.part", offset, bytes(16))
        with self.ledger.transaction():
            self.ledger.note_partial(series_id, stem, partial)
        wanted.partials.pop(stem, None)
        if partial is not None:
            wanted.partials[stem] = partial

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), listed=sops)
    def list_instances(self, data: st.DataObject, listed: list[str]) -> None:
        series_id, wanted = self._one(data)
        with self.ledger.transaction():
            self.ledger.add_wanted(series_id, listed)
        for sop in listed:
            wanted.instances.setdefault(sop, PLANNED)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), expected=st.none() | st.integers(1, 5))
    def complete(self, data: st.DataObject, expected: int | None) -> None:
        series_id, wanted = self._one(data)
        if not wanted.whole:  # then it is complete once each that is wanted is there
            self.ledger.add_receipts([Receipt(series_id, SopUID(sop), 1, bytes(16)) for sop in wanted.instances])
            wanted.instances = dict.fromkeys(wanted.instances, LANDED)
        with self.ledger.transaction():
            self.ledger.complete_series(series_id, Proof.COUNT, expected, wanted.routes[0])
        for due in due_swaps(self.ledger, self.ledger.take_completed()):
            with self.ledger.transaction():
                record_swap(self.ledger, due)
        wanted.state, wanted.tree = LANDED, None
        wanted.partials.clear()
        wanted.expected = wanted.expected if expected is None else expected
        self._done(series_id)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), lost=sops)
    def fail(self, data: st.DataObject, lost: list[str]) -> None:
        series_id, wanted = self._one(data)
        with self.ledger.transaction():
            for sop in lost:
                self.ledger.fail_instance(series_id, sop, "gone")
            self.ledger.fail_series(series_id, "gone")
        for sop in lost:
            if wanted.instances.get(sop, LANDED) is not LANDED:
                wanted.instances[sop] = FAILED
        wanted.state = FAILED
        self._done(series_id)

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), brought=sops)
    def announce(self, data: st.DataObject, brought: list[str]) -> None:
        """Whole parts are about to be renamed."""
        series_id, _ = self._one(data)
        with self.ledger.transaction():
            intent_id = self.ledger.add_intent(json.dumps([series_id, brought]))
        self.announced[intent_id] = (series_id, self.leased[series_id], brought)

    @precondition(lambda self: self.announced)
    @rule(data=st.data())
    def land_what_was_announced(self, data: st.DataObject) -> None:
        """They have their names now; or the next run has found them."""
        intent_id = data.draw(st.sampled_from(sorted(self.announced)))
        series_id, key, brought = self.announced.pop(intent_id)
        with self.ledger.transaction():
            self.ledger.add_receipts(Receipt(series_id, SopUID(sop), len(sop), bytes(16)) for sop in brought)
            self.ledger.drop_intent(intent_id)
        self.series[key].instances |= dict.fromkeys(brought, LANDED)

    def _one(self, data: st.DataObject) -> tuple[int, Wanted]:
        series_id = data.draw(st.sampled_from(sorted(self.leased)))
        return series_id, self.series[self.leased[series_id]]

    def _done(self, series_id: int) -> None:
        self.leasable.discard(self.leased.pop(series_id))

    # -- between runs ---------------------------------------------------------------------------------------------

    @rule(data=st.data())
    def damage(self, data: st.DataObject) -> None:
        """Landed files are found damaged, and wanted again."""
        files = [(row.series_id, row.sop, (row.study, row.series)) for row in self.ledger.iter_files()]
        if not files:
            return
        picked = data.draw(st.lists(st.sampled_from(files), min_size=1, max_size=3, unique=True))
        self.ledger.plan_again([(series_id, sop) for series_id, sop, _ in picked], "damaged")
        for _, sop, key in picked:
            self.series[key].instances[sop] = PLANNED
            self.series[key].state = PLANNED
        self.leasing = False
        self.leased.clear()

    @rule(data=st.data(), among=st.sampled_from([(), ("bucket",), LANES]), now=choices)
    def reroute(self, data: st.DataObject, among: tuple[str, ...], now: tuple[str, ...]) -> None:
        """A run has other sources than were planned for."""
        name = data.draw(st.sampled_from(sorted(self.members)))
        self.ledger.reroute(self.cohort_ids[name], lambda _: Routing(now, "now"), among=among)
        for key in self.members[name]:
            wanted = self.series[key]
            if wanted.state is not LANDED and not set(wanted.routes) <= set(among):
                wanted.routes = now
        self.leasing = False
        self.leased.clear()

    @rule()
    def reopen(self) -> None:
        """The process ends, and another one goes on."""
        self.ledger.close()
        self.ledger = Ledger.open(self.path)
        self.leasing = False
        self.leased.clear()

    @precondition(lambda self: self.leased)
    @rule(data=st.data(), brought=sops)
    def crash(self, data: st.DataObject, brought: list[str]) -> None:
        """The process is killed inside a transaction, of which nothing remains; another one goes on."""
        series_id, _ = self._one(data)
        left = Path(tempfile.mkdtemp(dir=self.folder.name))
        with suppress(_Killed), self.ledger.transaction():
            self.ledger.add_receipts(Receipt(series_id, SopUID(sop), 1, bytes(16)) for sop in brought)
            self.ledger.add_wanted(series_id, SOPS)
            self.ledger.fail_series(series_id, "killed")
            self.ledger.add_intent("killed")
            for end in ("", "-wal"):
                shutil.copy(f"{self.path}{end}", left)
            raise _Killed
        self.ledger.close()
        self.path = left / self.path.name
        self.ledger = Ledger.open(self.path)
        self.leasing = False
        self.leased.clear()

    @rule(
        wanted=st.dictionaries(keys, sops | st.just([]), min_size=1, max_size=3), routes=choices, one_tree=st.booleans()
    )
    def merge(self, wanted: dict[Key, list[str]], routes: tuple[str, ...], one_tree: bool) -> None:  # noqa: FBT001 - drawn
        """Another destination, which wants these series whole and has some of their instances, becomes part of this.

        Of a series that no cohort here wants any more, the other copy would be the newer one: `test_unite` has those.
        """
        member = set().union(*self.members.values())
        wanted = {key: there for key, there in wanted.items() if key in member or key not in self.series}
        assume(wanted)
        assume(all(each.tree is None for each in self.series.values()))
        self.others += 1
        path = Path(self.folder.name) / f"other-{self.others}.sqlite3"
        with closing(Ledger.open(path)) as other:
            rows = [series_row(uid, study=study)._replace(routing=Routing(routes, "other")) for study, uid in wanted]
            other.begin_leasing(write_cohort(other, rows, name="other"))
            with other.transaction():
                for work in other.lease(len(rows), "largest", routes[0]):
                    there = wanted[str(work.study), str(work.series)]
                    other.add_receipts(Receipt(work.series_id, SopUID(sop), len(sop), bytes(16)) for sop in there)
        brought: set[tuple[str, str]] = set()

        def bring(_: int, taken: Iterable[Taken]) -> Iterable[tuple[int, str]]:
            brought.update((each.folder, each.sop) for each in taken)
            return ()

        unite(
            self.ledger,
            [Other(path, path.stem, one_tree)],
            bring=bring,
            carry=lambda _number, _begun: None,
            fingerprint=lambda _query, _source, _profile: None,
        )
        lacking = {("/".join(key), sop) for key, there in wanted.items() for sop in there if not self._has(key, sop)}
        assert brought == (set() if one_tree else lacking)
        for key, there in wanted.items():
            self._unite(key, there, routes)
        self.members.setdefault("other", set()).update(wanted)
        for key in wanted:
            self.series[key].kept = False
        self.cohort_ids["other"] = next(each.id for each in self.ledger.cohorts() if each.name == "other")
        self.leasing = False
        self.leased.clear()

    def _has(self, key: Key, sop: str) -> bool:
        return key in self.series and self.series[key].instances.get(sop) is LANDED

    def _unite(self, key: Key, there: list[str], routes: tuple[str, ...]) -> None:
        landed = dict.fromkeys(there, LANDED)
        known = self.series.get(key)
        if known is None:
            self.series[key] = Wanted(whole=True, expected=None, revision=None, routes=routes, instances=landed)
            return
        known.instances |= landed
        if not known.whole:  # how many all of it has, nobody says
            known.whole, known.expected, done = True, None, False
        else:
            done = known.state is LANDED and set(known.instances.values()) <= {LANDED}
        known.state = LANDED if done else PLANNED

    # -- what always holds ----------------------------------------------------------------------------------------

    @invariant()
    def every_series_is_as_the_model_says(self) -> None:
        found: dict[Key, State] = {}
        for state in State:
            for work in self.ledger.iter_series(state):
                key = (str(work.study), str(work.series))
                assert key not in found
                found[key] = state
                wanted = self.series[key]
                assert (work.whole, work.expected) == (wanted.whole, wanted.expected)
                known = self.ledger.known(work.series_id)
                assert (set(known.landed), set(known.wanted)) == wanted.known()
                assert known.partials == wanted.partials
                assert work.routes == wanted.routes
        assert found == {key: wanted.state for key, wanted in self.series.items()}

    @invariant()
    def sums_agree_with_the_rows(self) -> None:
        standing = self.ledger.standing()
        asked_for = [key for key, wanted in self.series.items() if not wanted.kept]
        assert standing.series_planned == len(asked_for)
        assert standing.series_complete == self._count(asked_for, LANDED)
        assert standing.series_failed == self._count(asked_for, FAILED)
        files = [(row.study, row.series, row.sop) for row in self.ledger.iter_files()]
        assert standing.instances_present == len(files) == len(set(files))
        for name, cohort_id in self.cohort_ids.items():
            part = self.ledger.standing(cohort_id)
            members = sorted(self.members[name])
            assert part.series_planned == len(members)
            assert part.series_complete == self._count(members, LANDED)
            assert part.series_failed == self._count(members, FAILED)
            assert part.instances_failed == sum(
                state is FAILED for key in members for state in self.series[key].instances.values()
            )
            assert self.ledger.amount_planned(cohort_id).series == self._count(members, PLANNED)

    @invariant()
    def what_was_announced_is_known(self) -> None:
        expected = [(intent, json.dumps([each[0], each[2]])) for intent, each in sorted(self.announced.items())]
        assert sorted(self.ledger.intents()) == expected

    @invariant()
    def failures_name_each_failed_series(self) -> None:
        for name, cohort_id in self.cohort_ids.items():
            named = {(failure.study, failure.series) for failure in self.ledger.iter_failures(cohort_id)}
            assert named == {key for key in self.members[name] if self.series[key].state is FAILED}

    def _count(self, members: Sequence[Key], state: State) -> int:
        return sum(self.series[key].state is state for key in members)
