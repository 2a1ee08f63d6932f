"""One series from a bucket: what is fetched, what is recognised, and when it counts as complete."""

from collections.abc import Collection, Mapping, Sequence

import anyio
import pytest

from dicomhaul.errors import DiskFull, Forbidden, HaulError, NotFound, SourceDown
from dicomhaul.model import Identity, Job, Known, ObjectRef, Partial, Proof, SeriesUID, Work
from dicomhaul.ports import SMALL_BYTES
from dicomhaul.transfer.objects import ObjectsHaul, shares_for
from dicomhaul.transfer.outcome import SeriesOutcome
from dicomhaul.transfer.shares import Shares
from support.fakes import STUDY, FakeObjectSource, MemorySink

pytestmark = pytest.mark.anyio

SERIES = SeriesUID("1.1")
HELD = {f"k{n}": (f"4.{n}", bytes([n]) * 10) for n in range(6)}
ALL = dict(HELD.values())


class Bench:
    """One series in a fake bucket, hauled into memory."""

    def __init__(self, held: dict[str, tuple[str, bytes]] | None = None) -> None:
        self.source = FakeObjectSource(dict(HELD) if held is None else held)
        self.taken: dict[str, bytes] = {}
        self.stems: dict[str, str] = {}
        self.sinks: list[MemorySink] = []
        self.trouble: HaulError | None = None
        self.shares = Shares(8)
        self.gathered = Shares(1 << 20)

    def _open_sink(self, job: Job, folder: str, known: Collection[str]) -> MemorySink:
        assert (job.series, folder) == (SERIES, "f")
        sink = MemorySink(job, known, self.taken)
        sink.trouble = self.trouble
        self.sinks.append(sink)
        return sink

    def _note_stems(self, series_id: int, stems: Mapping[str, str]) -> None:
        assert series_id == 1
        self.stems.update(stems)

    def haul(
        self,
        *,
        expected: int | None = 6,
        there: Sequence[str] = (),
        wanted: Sequence[str] = (),
        stems: Mapping[str, str] | None = None,
        partials: Mapping[str, Partial] | None = None,
        whole: bool = True,
        revision: str | None = "r",
    ) -> ObjectsHaul:
        work = Work(1, STUDY, SERIES, "f", expected, None, whole, False, "b", revision)
        return ObjectsHaul(
            work,
            Known(dict.fromkeys(there, 10), list(wanted), dict(stems or {}), dict(partials or {})),
            source=self.source,
            open_sink=self._open_sink,
            note_stems=self._note_stems,
            shares=self.shares,
            gathered=self.gathered,
            at_once=4,
        )


async def test_every_object_comes_once_and_the_listing_proves_it() -> None:
    bench = Bench()
    assert await bench.haul().run() == SeriesOutcome(proof=Proof.INVENTORY, expected=6)
    assert bench.taken == ALL
    assert sorted(bench.source.fetched) == sorted(HELD)
    assert bench.source.listed == [("b", "r")]
    assert bench.source.identified == []
    assert len(bench.sinks) == 1  # small objects share one


async def test_large_objects_have_a_sink_each_and_go_on_where_they_were() -> None:
    held = {"small": ("4.0", b"x"), "one": ("4.1", bytes(SMALL_BYTES + 1)), "two": ("4.2", bytes(SMALL_BYTES + 1))}
    bench = Bench(held)
    begun = Partial("one", "etag", "1.part", 5, bytes(16))
    outcome = await bench.haul(expected=3, partials={"one": begun}).run()
    assert outcome.proof is Proof.INVENTORY
    assert len(bench.sinks) == 3
    assert all(sink.settled for sink in bench.sinks)
    assert bench.source.partials == [begun]


async def test_what_is_there_is_not_fetched_again() -> None:
    bench = Bench()
    stems = {"k0": "4.0", "k1": "4.1"}
    outcome = await bench.haul(there=["4.0", "4.1"], stems=stems).run()
    assert outcome.proof is Proof.INVENTORY
    assert sorted(bench.source.fetched) == ["k2", "k3", "k4", "k5"]
    assert bench.source.identified == []


async def test_what_came_by_another_route_is_recognised() -> None:
    bench = Bench()
    outcome = await bench.haul(there=["4.4", "4.5"]).run()
    assert outcome.proof is Proof.INVENTORY
    assert bench.stems == {"k4": "4.4", "k5": "4.5"}
    assert sorted(bench.source.fetched) == ["k0", "k1", "k2", "k3"]


async def test_nobody_is_asked_who_he_is_once_all_are_recognised() -> None:
    bench = Bench()
    await bench.haul(there=["4.0"]).run()
    assert len(bench.source.identified) <= 4  # those that were asked at once


async def test_single_instances_are_looked_for_and_the_others_left() -> None:
    bench = Bench()
    outcome = await bench.haul(expected=2, wanted=["4.2", "4.3"], whole=False).run()
    assert outcome == SeriesOutcome(proof=Proof.INVENTORY)
    assert set(bench.taken) == {"4.2", "4.3"}


async def test_a_single_instance_that_the_bucket_does_not_hold_is_named() -> None:
    bench = Bench()
    outcome = await bench.haul(expected=2, wanted=["4.2", "9.9"], whole=False).run()
    assert outcome.proof is None
    assert list(outcome.missing) == ["9.9"]
    assert set(bench.taken) == {"4.2"}


@pytest.mark.parametrize("whole", [True, False])
async def test_an_object_that_cannot_be_looked_into_does_not_keep_the_others_back(*, whole: bool) -> None:
    bench = Bench()
    identify = bench.source.identify

    async def refuse(ref: ObjectRef) -> Identity:
        if ref.stem == "k0":
            raise Forbidden("403")
        return await identify(ref)

    bench.source.identify = refuse  # type: ignore[method-assign]
    if whole:
        outcome = await bench.haul(there=["4.5"]).run()
        assert outcome.proof is Proof.INVENTORY
        assert set(bench.taken) == set(ALL) - {"4.5"}
    else:
        outcome = await bench.haul(expected=2, wanted=["4.0", "4.3"], whole=False).run()
        assert outcome.missing == {"4.0": "1 objects of the series could not be looked into: 403"}
        assert set(bench.taken) == {"4.3"}


async def test_a_damaged_file_is_fetched_by_its_stem() -> None:
    bench = Bench()
    stems = {stem: sop for stem, (sop, _) in HELD.items()}
    outcome = await bench.haul(there=["4.0", "4.1", "4.2", "4.3", "4.4"], wanted=["4.5"], stems=stems).run()
    assert outcome.proof is Proof.INVENTORY
    assert bench.source.fetched == ["k5"]
    assert bench.source.identified == []


async def test_bytes_that_are_not_the_stated_ones_are_fetched_again_and_then_named() -> None:
    bench = Bench()
    bench.source.stated["k3"] = bytes(16)
    outcome = await bench.haul().run()
    assert outcome.proof is None
    assert "1 of 6 instances are missing: its MD5" in outcome.reason
    assert bench.source.fetched.count("k3") == 3
    assert set(bench.taken) == set(ALL) - {"4.3"}


async def test_bytes_that_are_right_the_second_time_are_taken() -> None:
    bench = Bench()
    bench.source.stated["k3"] = bytes(16)

    async def mend(_: ObjectRef) -> None:
        if bench.source.fetched.count("k3") == 2:
            bench.source.stated.clear()

    bench.source.before = mend
    assert (await bench.haul().run()).proof is Proof.INVENTORY
    assert bench.taken == ALL


async def test_an_object_that_fails_leaves_the_others() -> None:
    bench = Bench()

    async def refuse(ref: ObjectRef) -> None:
        if ref.stem == "k1":
            raise Forbidden("403")

    bench.source.before = refuse
    outcome = await bench.haul().run()
    assert outcome.proof is None
    assert outcome.reason == "1 of 6 instances are missing: 403"
    assert bench.source.fetched.count("k1") == 1
    assert set(bench.taken) == set(ALL) - {"4.1"}


async def test_a_bucket_that_lists_fewer_than_expected_is_not_complete() -> None:
    bench = Bench()
    bench.source.hidden = {"k5"}
    outcome = await bench.haul().run()
    assert outcome.proof is None
    assert outcome.reason == "6 instances are expected, the bucket lists 5"
    assert len(bench.taken) == 5


async def test_two_objects_that_are_one_instance_are_noted() -> None:
    bench = Bench({**HELD, "k9": ("4.0", bytes(10))})
    outcome = await bench.haul(expected=7).run()
    assert outcome.proof is Proof.INVENTORY
    (note,) = outcome.notes
    assert "7 objects and 6 instances" in note


async def test_a_prefix_that_is_gone_is_a_reason() -> None:
    bench = Bench()

    async def gone(bucket: str, revision: str) -> list[ObjectRef]:
        raise NotFound(f"nothing under {bucket}/{revision}")

    bench.source.listing = gone  # type: ignore[method-assign]
    assert (await bench.haul().run()).reason == "nothing under b/r"


async def test_a_series_without_a_bucket_is_not_asked_for() -> None:
    bench = Bench()
    outcome = await bench.haul(revision=None).run()
    assert "names no bucket" in outcome.reason
    assert bench.source.listed == []


@pytest.mark.parametrize("size_bytes", [1, SMALL_BYTES + 1])
async def test_what_concerns_more_than_the_series_is_raised_and_the_sinks_abandoned(size_bytes: int) -> None:
    bench = Bench({"k": ("4.0", bytes(size_bytes))})

    async def down(_: ObjectRef) -> None:
        raise SourceDown("gone")

    bench.source.before = down
    with pytest.raises(SourceDown):
        await bench.haul(expected=1).run()
    assert all(sink.abandoned for sink in bench.sinks)


async def test_a_full_disk_is_raised() -> None:
    bench = Bench()
    bench.trouble = DiskFull("full")
    with pytest.raises(DiskFull):
        await bench.haul().run()


LARGE = {f"k{n}": (f"4.{n}", bytes(SMALL_BYTES + 1)) for n in range(5)}


@pytest.mark.parametrize(
    ("held", "room"), [(HELD, 25), (LARGE, 2 * SMALL_BYTES + 5)], ids=["gathered whole", "streamed"]
)
async def test_no_more_is_under_way_than_there_is_room_for(held: dict[str, tuple[str, bytes]], room: int) -> None:
    bench = Bench(dict(held))
    bench.gathered = Shares(room)  # for two of them
    together: list[int] = []
    under_way = 0

    async def watch(_: ObjectRef) -> None:
        nonlocal under_way
        under_way += 1
        together.append(under_way)
        await anyio.wait_all_tasks_blocked()
        under_way -= 1

    bench.source.before = watch
    assert (await bench.haul(expected=len(held)).run()).proof is Proof.INVENTORY
    assert max(together) == 2


async def _begun_at_once(shares: Shares, *, series: int, expected: int) -> int:
    """Haul so many series, none of which ends before all have had their chance; return how many began meanwhile."""
    benches = [Bench() for _ in range(series)]
    go = anyio.Event()

    async def hold(_: ObjectRef) -> None:
        await go.wait()

    async with anyio.create_task_group() as group:
        for bench in benches:
            bench.shares, bench.source.before = shares, hold
            group.start_soon(bench.haul(expected=expected).run)
        await anyio.wait_all_tasks_blocked()
        begun = sum(bool(bench.source.listed) for bench in benches)
        go.set()
    assert all(bench.taken == ALL for bench in benches)
    return begun


async def test_few_large_series_are_under_way_at_once_and_more_small_ones() -> None:
    assert await _begun_at_once(shares_for(4), series=20, expected=6) == 4
    assert await _begun_at_once(shares_for(4), series=20, expected=1) == 16


async def test_processes_divide_the_series_that_are_under_way() -> None:
    assert await _begun_at_once(shares_for(4, processes=2), series=20, expected=6) == 2
    assert await _begun_at_once(shares_for(4, processes=8), series=20, expected=6) == 1


async def test_who_gives_up_waiting_for_shares_lets_those_behind_go_on() -> None:
    shares = Shares(2)
    begun: list[str] = []

    async def take(name: str, count: int) -> None:
        async with shares.of(count):
            begun.append(name)

    async with shares.of(1):
        with anyio.move_on_after(0.01):
            async with anyio.create_task_group() as group:
                group.start_soon(take, "both", 2)
        async with anyio.create_task_group() as group:
            group.start_soon(take, "one", 1)
    await take("all", 2)
    assert begun == ["one", "all"]


async def test_a_series_waits_for_as_many_shares_as_it_has_instances() -> None:
    shares = Shares(8)
    begun: list[int] = []
    go = anyio.Event()

    async def hold(number: int, count: int) -> None:
        async with shares.of(count):
            begun.append(number)
            await go.wait()

    async with anyio.create_task_group() as group:
        for number, count in enumerate((6, 2, 100, 1)):
            group.start_soon(hold, number, count)
            await anyio.wait_all_tasks_blocked()
        assert begun == [0, 1]
        go.set()
    assert begun == [0, 1, 2, 3]
