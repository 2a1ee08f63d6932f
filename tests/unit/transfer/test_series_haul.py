"""One series: what is asked for, and when it counts as complete."""

from collections.abc import Collection, Sequence

import pytest

from dicomhaul.errors import (
    CohortError,
    Disconnected,
    DiskFull,
    Forbidden,
    HaulError,
    NotDicom,
    NotFound,
    SourceDown,
    TransferError,
    Truncated,
)
from dicomhaul.model import InstanceRef, Job, Known, Proof, SeriesUID, Work
from dicomhaul.ports import Sink
from dicomhaul.transfer.outcome import SeriesOutcome
from dicomhaul.transfer.series import SeriesHaul
from support.fakes import STUDY, FakeSource, MemorySink, identity, push

pytestmark = pytest.mark.anyio

SERIES = SeriesUID("1.1")
SOPS = tuple(f"4.{number}" for number in range(8))
SMALL = {sop: bytes(10) for sop in SOPS}


class Bench:
    """One series at a fake source, hauled into memory."""

    def __init__(self, held: dict[str, bytes]) -> None:
        self.source = FakeSource({SERIES: held})
        self.taken: dict[str, bytes] = {}
        self.wanted: list[str] = []
        self.sinks: list[MemorySink] = []
        self.trouble: HaulError | None = None

    def _open_sink(self, job: Job, folder: str, known: Collection[str]) -> MemorySink:
        assert folder == "f"
        sink = MemorySink(job, known, self.taken)
        sink.trouble = self.trouble
        self.sinks.append(sink)
        return sink

    def _add_wanted(self, series_id: int, sops: Sequence[str]) -> None:
        assert series_id == 1
        self.wanted += sops

    async def haul(
        self,
        *,
        expected: int | None,
        there: dict[str, int] | None = None,
        wanted: Sequence[str] = (),
        whole: bool = True,
        cut: bool = False,
        size_bytes: int | None = None,
    ) -> SeriesOutcome:
        work = Work(1, STUDY, SERIES, "f", expected, size_bytes, whole, cut)
        haul = SeriesHaul(
            work,
            Known(dict(there or {}), list(wanted)),
            source=self.source,
            open_sink=self._open_sink,
            add_wanted=self._add_wanted,
            at_once=2,
            cut_above_bytes=100,
        )
        return await haul.run()

    @property
    def asked(self) -> list[str | None]:
        """What was asked for: None is the whole series."""
        return [job.sop for job in self.source.asked]


async def test_as_many_as_expected_is_complete() -> None:
    bench = Bench(SMALL)
    outcome = await bench.haul(expected=8)
    assert outcome == SeriesOutcome(proof=Proof.COUNT)
    assert bench.taken == SMALL
    assert bench.asked == [None]
    assert bench.source.inventories == []


async def test_more_than_expected_is_complete_and_noted() -> None:
    bench = Bench(SMALL)
    outcome = await bench.haul(expected=7)
    assert (outcome.proof, outcome.expected) == (Proof.INVENTORY, None)
    assert bench.asked == [None]
    (note,) = outcome.notes
    assert "8 instances; 7 were expected" in note


async def test_more_than_expected_proves_nothing_and_the_inventory_tells_what_else_there_is() -> None:
    """A number that is too low ends no list either."""
    bench = Bench(SMALL)
    bench.source.withheld = {"4.3"}
    stated: list[int | None] = []
    listing = bench.source.inventory

    async def inventory(job: Job) -> list[InstanceRef] | None:
        stated.append(job.expected)
        return await listing(job)

    bench.source.inventory = inventory  # type: ignore[method-assign]
    outcome = await bench.haul(expected=1)
    assert (outcome.proof, outcome.missing) == (Proof.INVENTORY, {})
    assert bench.taken == SMALL
    assert stated == [None]


async def test_more_than_expected_and_nobody_lists_them() -> None:
    bench = Bench(SMALL)
    bench.source.lists = False
    outcome = await bench.haul(expected=7)
    assert outcome.proof is Proof.COUNT
    assert len(outcome.notes) == 1


async def test_what_has_just_come_is_never_too_much() -> None:
    bench = Bench(SMALL)

    async def inventory(job: Job) -> list[InstanceRef]:
        return [InstanceRef(sop) for sop in SOPS[:2]]  # type: ignore[arg-type]

    bench.source.inventory = inventory  # type: ignore[method-assign]
    outcome = await bench.haul(expected=1, there={"9.9": 10, SOPS[0]: 10})
    assert outcome.surplus == ("9.9",)
    fresh = await bench.haul(expected=1)
    assert (fresh.proof, fresh.surplus) == (Proof.INVENTORY, ())


async def test_nothing_is_asked_for_when_all_is_there() -> None:
    bench = Bench(SMALL)
    outcome = await bench.haul(expected=8, there=dict.fromkeys(SOPS, 10))
    assert outcome.proof is Proof.COUNT
    assert bench.asked == []


async def test_an_instance_that_is_wanted_by_name_comes_although_the_count_is_reached() -> None:
    """A series has more instances than the index says, and one of them was damaged."""
    bench = Bench(SMALL)
    outcome = await bench.haul(expected=7, there=dict.fromkeys(SOPS[1:], 10), wanted=[SOPS[0]])
    assert outcome.proof is Proof.COUNT
    assert bench.asked == [SOPS[0]]
    assert set(bench.taken) == {SOPS[0]}


async def test_what_is_wanted_by_name_and_nowhere_is_named() -> None:
    bench = Bench(SMALL)
    outcome = await bench.haul(expected=None, wanted=["9.9"])
    assert outcome.proof is None
    assert list(outcome.missing) == ["9.9"]
    assert bench.taken == SMALL


async def test_a_well_formed_answer_that_lacks_instances_is_completed_singly() -> None:
    bench = Bench(SMALL)
    bench.source.withheld = {"4.3", "4.5"}
    outcome = await bench.haul(expected=8)
    assert (outcome.proof, outcome.expected) == (Proof.INVENTORY, 8)
    assert bench.taken == SMALL
    assert bench.asked[0] is None
    assert sorted(map(str, bench.asked[1:])) == ["4.3", "4.5"]
    assert bench.wanted == ["4.3", "4.5"]


async def test_an_unknown_count_is_settled_by_the_inventory() -> None:
    bench = Bench(SMALL)
    outcome = await bench.haul(expected=None)
    assert (outcome.proof, outcome.expected) == (Proof.INVENTORY, 8)
    assert bench.source.inventories == [SERIES]


async def test_nobody_states_anything_then_the_framing_must_do() -> None:
    bench = Bench(SMALL)
    bench.source.lists = False
    outcome = await bench.haul(expected=None)
    assert (outcome.proof, outcome.expected) == (Proof.FRAMING, 8)


async def test_an_empty_answer_proves_nothing() -> None:
    bench = Bench({})
    bench.source.lists = False
    assert (await bench.haul(expected=None)).proof is None


async def test_fewer_than_expected_without_an_inventory() -> None:
    bench = Bench(SMALL)
    bench.source.lists = False
    outcome = await bench.haul(expected=9)
    assert outcome.proof is None
    assert outcome.reason == "8 of 9 instances came, and the source cannot list the others"
    assert bench.asked == [None]


async def test_a_source_that_lists_fewer_than_expected() -> None:
    outcome = await Bench(SMALL).haul(expected=9)
    assert (outcome.proof, outcome.expected) == (None, 9)
    assert outcome.reason == "9 instances are expected, the source lists 8"


async def test_what_is_still_missing_is_named() -> None:
    bench = Bench(SMALL)
    bench.source.withheld = {"4.3", "4.5"}

    async def refuse(job: Job, _: Sink) -> None:
        if job.sop == "4.3":
            raise NotFound("404")

    bench.source.before = refuse
    outcome = await bench.haul(expected=8)
    assert outcome.proof is None
    assert outcome.missing == {"4.3": "404"}
    assert outcome.reason == "1 of 8 instances are missing: 404"
    assert set(bench.taken) == set(SOPS) - {"4.3"}


async def test_an_answer_that_holds_another_instance_than_asked_for_is_a_failure() -> None:
    bench = Bench(SMALL)
    bench.source.withheld = {"4.3"}
    bench.source.held[SERIES] = {sop: content for sop, content in SMALL.items() if sop != "4.3"}

    async def inventory(job: Job) -> list[InstanceRef]:
        return [InstanceRef(sop) for sop in SOPS]  # type: ignore[arg-type]

    bench.source.inventory = inventory  # type: ignore[method-assign]
    outcome = await bench.haul(expected=8)
    assert outcome.missing == {"4.3": "the answer ended well and did not hold it"}


async def test_an_instance_that_has_landed_is_not_missing_whatever_else_its_answer_held() -> None:
    bench = Bench(SMALL)
    bench.source.withheld = {"4.3"}

    async def land_and_fail(job: Job, sink: Sink) -> None:
        if job.sop is not None:
            await push(sink, SMALL[job.sop], identity(job.sop, series=SERIES))
            raise NotDicom("another part of it is text")

    bench.source.before = land_and_fail
    outcome = await bench.haul(expected=8)
    assert (outcome.proof, outcome.missing) == (Proof.INVENTORY, {})
    assert bench.taken == SMALL


async def test_a_cut_series_is_asked_for_singly() -> None:
    bench = Bench(SMALL)
    outcome = await bench.haul(expected=8, cut=True)
    assert outcome.proof is Proof.INVENTORY
    assert sorted(map(str, bench.asked)) == sorted(SOPS)
    assert bench.taken == SMALL


@pytest.mark.parametrize(("size_bytes", "asked"), [(100, [None]), (101, list(SOPS))])
async def test_a_series_that_one_answer_cannot_hold_is_asked_for_singly(
    size_bytes: int, asked: list[str | None]
) -> None:
    bench = Bench(SMALL)
    outcome = await bench.haul(expected=8, size_bytes=size_bytes)
    assert outcome.proof is not None
    assert sorted(bench.asked, key=str) == asked


@pytest.mark.parametrize(("size_bytes", "each"), [(1_000, 125), (None, None)])
async def test_a_single_instance_is_asked_for_with_the_bytes_that_it_may_have(
    size_bytes: int | None, each: int | None
) -> None:
    """A quota lets nothing begin that may not fit."""
    bench = Bench(SMALL)
    await bench.haul(expected=8, size_bytes=size_bytes, cut=True)
    assert {(job.sop is None, job.size_bytes) for job in bench.source.asked} == {(False, each)}


async def test_a_cut_series_that_cannot_be_listed_is_asked_for_whole() -> None:
    bench = Bench(SMALL)
    bench.source.lists = False
    assert (await bench.haul(expected=8, cut=True)).proof is Proof.COUNT
    assert bench.asked == [None]


async def test_a_selection_takes_what_is_wanted_and_no_more() -> None:
    bench = Bench(SMALL)
    outcome = await bench.haul(expected=2, whole=False, wanted=["4.1", "4.2"])
    assert outcome.proof is Proof.INVENTORY
    assert set(bench.taken) == {"4.1", "4.2"}


async def cut_after(count: int, source: FakeSource, error: TransferError, times: int = 1) -> None:
    """The next `times` answers for the whole series break after `count` new instances each."""
    left = [times]

    async def break_off(job: Job, sink: Sink) -> None:
        if job.sop is not None or not left[0]:
            return
        left[0] -= 1
        new = 0
        for sop, content in source.held[job.series].items():
            if new == count:
                break
            if sink.wants(sop):
                new += 1
                await push(sink, content, identity(sop, series=job.series))
        raise error

    source.before = break_off


async def test_a_broken_answer_is_gone_on_with_whole_while_little_is_there() -> None:
    bench = Bench(SMALL)
    await cut_after(2, bench.source, Disconnected("reset"))
    outcome = await bench.haul(expected=8)
    assert outcome.proof is Proof.COUNT
    assert bench.asked == [None, None]


async def test_one_new_instance_is_progress() -> None:
    bench = Bench(SMALL)
    await cut_after(1, bench.source, Disconnected("reset"), times=8)
    outcome = await bench.haul(expected=8)
    assert outcome.proof is Proof.COUNT
    assert bench.taken == SMALL
    assert bench.asked == [None] * 8


async def test_what_a_broken_answer_had_brought_is_landed_before_anything_else_is_asked_for() -> None:
    bench = Bench(SMALL)
    await cut_after(2, bench.source, Disconnected("reset"), times=2)
    break_off = bench.source.before
    assert break_off is not None
    settled: list[bool] = []

    async def look(job: Job, sink: Sink) -> None:
        settled.extend(one.settled for one in bench.sinks[:-1])
        await break_off(job, sink)

    bench.source.before = look
    assert (await bench.haul(expected=8)).proof is Proof.COUNT
    assert settled == [True, True, True]
    assert [sink.settled for sink in bench.sinks] == [True] * 3


async def test_a_broken_answer_is_gone_on_with_singly_when_much_is_there() -> None:
    large = {sop: bytes(2_000_000) for sop in SOPS}
    bench = Bench(large)
    await cut_after(6, bench.source, Truncated("cut"))
    outcome = await bench.haul(expected=8)
    assert outcome.proof is Proof.INVENTORY
    assert bench.asked[0] is None
    assert sorted(map(str, bench.asked[1:])) == ["4.6", "4.7"]
    assert bench.taken == large


async def test_much_is_there_and_nobody_can_list_the_rest() -> None:
    large = {sop: bytes(2_000_000) for sop in SOPS}
    bench = Bench(large)
    bench.source.lists = False
    outcome = await bench.haul(expected=8, there=dict.fromkeys(SOPS[:7], 2_000_000))
    assert outcome.proof is Proof.COUNT
    assert bench.asked == [None]
    assert set(bench.taken) == {"4.7"}


async def test_an_error_without_progress_ends_the_series() -> None:
    bench = Bench(SMALL)
    await cut_after(0, bench.source, Disconnected("reset"), times=99)
    outcome = await bench.haul(expected=8)
    assert (outcome.proof, outcome.reason) == (None, "reset")
    assert bench.asked == [None]
    assert bench.source.inventories == []


async def test_a_damaged_answer_is_completed_singly() -> None:
    bench = Bench(SMALL)
    await cut_after(0, bench.source, NotDicom("text"), times=99)
    outcome = await bench.haul(expected=8)
    assert outcome.proof is Proof.INVENTORY
    assert bench.taken == SMALL


@pytest.mark.parametrize(("error", "listed"), [(NotFound("404"), True), (Forbidden("403"), False)])
async def test_a_refusal(error: TransferError, listed: bool) -> None:  # noqa: FBT001 - a parameter of the test
    bench = Bench(SMALL)

    async def refuse(job: Job, _: Sink) -> None:
        if job.sop is None:
            raise error

    bench.source.before = refuse
    outcome = await bench.haul(expected=8)
    assert bool(bench.source.inventories) is listed
    assert (outcome.proof is Proof.INVENTORY) is listed
    if not listed:
        assert outcome.reason == "403"


async def test_a_refusal_says_more_than_an_empty_inventory() -> None:
    bench = Bench({})

    async def refuse(job: Job, _: Sink) -> None:
        raise NotFound("404 no such series")

    bench.source.before = refuse
    outcome = await bench.haul(expected=8)
    assert bench.source.inventories == [SERIES]
    assert (outcome.proof, outcome.reason) == (None, "404 no such series")


async def test_a_source_that_lists_nothing_is_the_reason() -> None:
    outcome = await Bench({}).haul(expected=8)
    assert (outcome.proof, outcome.reason) == (None, "the source lists no instance of it")


async def test_an_inventory_that_fails_fails_the_series() -> None:
    bench = Bench(SMALL)
    bench.source.withheld = set(SOPS)

    async def inventory(job: Job) -> list[InstanceRef]:
        raise CohortError("pages without end")

    bench.source.inventory = inventory  # type: ignore[method-assign]
    outcome = await bench.haul(expected=8)
    assert outcome.reason == "pages without end"


async def test_a_source_that_is_down_is_not_the_series_fault() -> None:
    bench = Bench(SMALL)

    async def down(job: Job, sink: Sink) -> None:
        await push(sink, SMALL["4.0"], identity("4.0"))
        raise SourceDown("gone")

    bench.source.before = down
    with pytest.raises(SourceDown):
        await bench.haul(expected=8)
    (sink,) = bench.sinks
    assert sink.abandoned
    assert not sink.settled


async def test_a_full_disk_is_not_the_series_fault() -> None:
    bench = Bench(SMALL)
    bench.trouble = DiskFull("full")
    with pytest.raises(DiskFull):
        await bench.haul(expected=8)
