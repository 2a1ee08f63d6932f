"""Feeds as servers tell them: everything is told, nothing twice, and what makes no sense is an error."""

import datetime as dt
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import parse_qs

import pytest

from dicomhaul.config.source import SourceSpec
from dicomhaul.errors import Forbidden, HaulError, LedgerError, NotFound, Unsupported
from dicomhaul.feed import azure_v2
from dicomhaul.feed.azure import parse_time, place_of
from dicomhaul.feed.choose import Feed, can_follow, feed_name, has_feed, open_feed
from dicomhaul.feed.told import Window
from dicomhaul.feed.window import narrowed
from dicomhaul.model import Query
from dicomhaul.net.clock import SystemClock
from dicomhaul.origin import STYLES, Chronicle, LivingArchive, Origin, serve
from dicomhaul.origin.chronicle import BEGINNING, Name
from dicomhaul.origin.feed import AzureFeed, OrthancRest, Teller
from dicomhaul.plan.changes import Change
from dicomhaul.profile import built_in
from support.qido_server import open_search_host

pytestmark = pytest.mark.anyio

SOME = Name("1.2", "1.2.3", "1.2.3.4")


@dataclass
class Following:
    """A feed, its origin, and how far it was read."""

    feed: Feed
    origin: Origin
    position: str = ""

    async def begin(self) -> None:
        self.position = await self.feed.begin()

    async def windows(self) -> list[Window]:
        found = [window async for window in self.feed.read(self.position)]
        self.position = found[-1].position if found else self.position
        return found

    async def numbers(self) -> list[int]:
        return sorted(change.number for change in await self.changes())

    async def changes(self) -> list[Change]:
        return [change for window in await self.windows() for change in window.changes]

    def asked(self) -> list[tuple[str, str]]:
        return [(entry.path, entry.query) for entry in self.origin.requests]


@asynccontextmanager
async def following(
    teller: Teller, archive: LivingArchive | None = None, base: str = "/v2"
) -> AsyncIterator[Following]:
    kind = "orthanc" if isinstance(teller, OrthancRest) else "azure"
    profile = built_in(kind).model_copy(update={"auth": built_in("generic").auth.model_copy(update={"role": "Reader"})})
    catalog = archive or LivingArchive()
    async with (
        serve(catalog, style=STYLES[kind], base_path=base, teller=teller) as origin,
        open_search_host(origin.url, profile) as host,
    ):
        spec = SourceSpec(origin.url, origin.url, profile)
        yield Following(open_feed(spec, host, clock=SystemClock()), origin)


def happen(chronicle: Chronicle, count: int) -> None:
    for _ in range(count):
        number = len(chronicle.entries)
        chronicle.note("create", Name("1.2", f"1.2.{number % 7}", f"1.2.3.{number}"))


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("pascal_case", [False, True])
async def test_what_happens_is_told_once(version: int, *, pascal_case: bool) -> None:
    chronicle = Chronicle()
    happen(chronicle, 5)
    async with following(AzureFeed(chronicle, version, pascal_case), base=f"/v{version}") as it:
        await it.begin()
        assert await it.changes() == []  # what was there before is the comparison's
        happen(chronicle, 3)
        assert await it.numbers() == [6, 7, 8]
        assert await it.changes() == []
        chronicle.note("update", Name("1.2", "1.2.0", "1.2.3.0"))
        chronicle.note("delete", Name("1.2", "1.2.1", "1.2.3.1"))
        told = await it.changes()
        assert [(change.instance, change.number, change.standing) for change in told] == [
            (("1.2", "1.2.0", "1.2.3.0"), 9, "current"),
            (("1.2", "1.2.1", "1.2.3.1"), 10, "deleted"),
        ]
        assert all("includemetadata=false" in query for _, query in it.asked())


@pytest.mark.parametrize("version", [1, 2])
async def test_an_empty_feed_begins_at_its_beginning(version: int) -> None:
    chronicle = Chronicle()
    async with following(AzureFeed(chronicle, version), base=f"/v{version}") as it:
        await it.begin()
        assert await it.changes() == []
        happen(chronicle, 2)
        assert await it.numbers() == [1, 2]


@pytest.mark.parametrize("version", [1, 2])
async def test_an_entry_that_becomes_visible_late_is_told(version: int) -> None:
    """Numbers and times are given before entries can be read."""
    chronicle = Chronicle()
    happen(chronicle, 2)
    async with following(AzureFeed(chronicle, version), base=f"/v{version}") as it:
        await it.begin()
        happen(chronicle, 4)
        chronicle.hidden |= {4}
        assert await it.numbers() == [3, 5, 6]
        chronicle.hidden.clear()
        assert await it.numbers() == [4]
        assert await it.numbers() == []


async def test_a_feed_that_is_hours_behind_is_caught_up_with() -> None:
    """The position follows the entries, not the clock."""
    chronicle = Chronicle(step=dt.timedelta(hours=1))
    happen(chronicle, 10)
    chronicle.hidden |= {7, 8, 9, 10}
    async with following(AzureFeed(chronicle)) as it:
        await it.begin()
        assert await it.numbers() == []
        chronicle.hidden.clear()
        assert await it.numbers() == [7, 8, 9, 10]


@pytest.mark.parametrize("step", [dt.timedelta(0), dt.timedelta(milliseconds=1), dt.timedelta(seconds=5)])
async def test_a_long_feed_comes_in_windows(step: dt.timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each can be gone on from alone, however many entries have the same time."""
    monkeypatch.setattr(azure_v2, "_CHUNK", 400)
    chronicle = Chronicle(step)
    async with following(AzureFeed(chronicle)) as it:
        await it.begin()
        happen(chronicle, 1_500)
        begun = it.position
        windows = await it.windows()
        assert len(windows) == 4
        assert sorted(change.number for window in windows for change in window.changes) == list(range(1, 1_501))
        for died_after in range(len(windows)):  # a reader that dies goes on from what it recorded
            it.position = windows[died_after].position
            told = {change.number for window in windows[: died_after + 1] for change in window.changes}
            assert told | set(await it.numbers()) == set(range(1, 1_501))
        it.position = begun
        assert len(await it.numbers()) == 1_500
        offsets = [int(dict(pair.split("=") for pair in query.split("&"))["offset"]) for _, query in it.asked()[1:]]
        assert (max(offsets) <= 600) == bool(step)  # an offset costs the service what it skips


async def test_a_feed_that_stands_the_wrong_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(azure_v2, "_CHUNK", 200)
    chronicle = Chronicle()
    async with following(AzureFeed(chronicle, newest_first=True)) as it:
        await it.begin()
        happen(chronicle, 450)
        begun = it.position
        windows = await it.windows()
        assert sorted(each.number for window in windows for each in window.changes) == list(range(1, 451))
        happen(chronicle, 1)
        assert await it.numbers() == [451]
        for died_after in range(len(windows)):
            it.position = windows[died_after].position
            told = {each.number for window in windows[: died_after + 1] for each in window.changes}
            assert told | set(await it.numbers()) == set(range(1, 452))
        assert azure_v2.Position.from_json(windows[0].position).until == azure_v2.Position.from_json(begun).until


async def test_windows_have_both_bounds_and_page_by_offset() -> None:
    chronicle = Chronicle()
    async with following(AzureFeed(chronicle)) as it:
        happen(chronicle, 201)
        it.position = azure_v2.Position(BEGINNING + azure_v2.OVERLAP).to_json()
        assert len(await it.numbers()) == 201
        asked = [parse_qs(query) for _, query in it.asked()]
        assert [one["offset"] for one in asked] == [["0"], ["200"], ["201"]]
        assert {one["startTime"][0] for one in asked} == {"2024-01-01T00:00:00.000000Z"}
        (end,) = {one["endTime"][0] for one in asked}
        assert dt.datetime.fromisoformat(end) < dt.datetime.now(dt.UTC) - dt.timedelta(seconds=9)


async def test_only_the_partition_of_the_base_url_counts() -> None:
    chronicle = Chronicle()
    async with following(AzureFeed(chronicle), base="/v2/partitions/north") as it:
        await it.begin()
        chronicle.note("create", SOME, partition="north")
        chronicle.note("create", SOME, partition="south")
        chronicle.note("create", SOME)
        assert await it.numbers() == [1]
    async with following(AzureFeed(chronicle)) as it:
        it.position = azure_v2.Position().to_json()
        assert await it.numbers() == [3]


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("https://x.dicom.azurehealthcareapis.com/v2", ("/v2", 2, "Microsoft.Default")),
        ("https://x.dicom.azurehealthcareapis.com/v1", ("/v1", 1, "Microsoft.Default")),
        ("https://gate.example/azure/v2/partitions/a%20b", ("/azure/v2", 2, "a b")),
        ("https://gate.example", ("", 2, "Microsoft.Default")),
    ],
)
def test_where_a_feed_is(url: str, place: tuple[str, int, str]) -> None:
    assert place_of(url) == place


async def test_who_may_not_read_the_feed_is_told_what_is_missing() -> None:
    async with following(AzureFeed(Chronicle(), status=403)) as it:
        with pytest.raises(Forbidden, match=r"change feed is closed to us.*needs Reader"):
            await it.begin()
    async with following(AzureFeed(Chronicle(), status=404)) as it:
        with pytest.raises(NotFound, match="change feed cannot be read"):
            await it.begin()


async def test_a_feed_that_repeats_itself_for_ever_ends() -> None:
    chronicle = Chronicle()
    happen(chronicle, 300)
    async with following(AzureFeed(chronicle, ignores_offset=True)) as it:
        it.position = azure_v2.Position().to_json()
        with pytest.raises(Unsupported, match="repeats itself"):
            await it.windows()
        assert len(it.origin.requests) < 10
    async with following(AzureFeed(chronicle, 1, ignores_offset=True), base="/v1") as it:
        it.position = json.dumps({"number": 0, "seen": []})
        with pytest.raises(Unsupported, match="other numbers"):
            await it.windows()


async def test_a_feed_that_is_shorter_than_it_was_is_another_one() -> None:
    chronicle = Chronicle()
    happen(chronicle, 3)
    async with following(AzureFeed(chronicle, 1), base="/v1") as it:
        it.position = json.dumps({"number": 9, "seen": []})
        with pytest.raises(Unsupported, match="another one now"):
            await it.windows()


class _Says:
    """A feed that answers with whatever it is given."""

    roots = ("/v2/changefeed",)

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def tell(self, path: str, asked: Any) -> Any:
        from aiohttp import web  # noqa: PLC0415 - here alone

        assert path
        assert asked
        return web.json_response(self.answer)


ENTRY = {
    "sequence": 7,
    "studyInstanceUid": "1.2",
    "seriesInstanceUid": "1.2.3",
    "sopInstanceUid": "1.2.3.4",
    "timestamp": "2024-01-01T00:00:00Z",
    "state": "current",
}


@pytest.mark.parametrize(
    "answer",
    [
        {"entries": []},
        "nothing",
        [1],
        [{}],
        [ENTRY | {"sequence": "7"}],
        [ENTRY | {"sequence": -1}],
        [ENTRY | {"sequence": 1 << 70}],
        [ENTRY | {"sequence": True}],
        [ENTRY | {"sopInstanceUid": "../../etc/passwd"}],
        [ENTRY | {"studyInstanceUid": None}],
        [ENTRY | {"timestamp": "yesterday"}],
        [ENTRY | {"timestamp": "2024-01-01T00:00:00Z" + " " * 100}],
        [ENTRY | {"state": "gone"}],
        [ENTRY | {"state": ["current"]}],
    ],
)
async def test_an_entry_that_makes_no_sense_is_an_error(answer: Any) -> None:
    async with following(_Says(answer)) as it:
        it.position = azure_v2.Position().to_json()
        with pytest.raises(HaulError, match="cannot be followed") as caught:
            await it.windows()
        assert "passwd" not in str(caught.value)


async def test_times_from_the_future_skip_nothing() -> None:
    chronicle = Chronicle()
    happen(chronicle, 1)
    async with following(_Says(ENTRY | {"timestamp": "9999-12-31T23:59:59Z"})) as it:
        with pytest.raises(Unsupported):  # its pages are no lists
            await it.begin()
    async with following(_Says([ENTRY | {"timestamp": "9999-12-31T23:59:59Z"}])) as it:
        it.position = azure_v2.Position().to_json()
        with pytest.raises(Unsupported, match="repeats itself"):
            await it.windows()


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2020-03-04T01:03:08.4834Z", dt.datetime(2020, 3, 4, 1, 3, 8, 483_400, dt.UTC)),
        ("2020-03-04T01:03:08.1234567+02:00", dt.datetime(2020, 3, 3, 23, 3, 8, 123_456, dt.UTC)),
        ("2020-03-04T01:03:08", dt.datetime(2020, 3, 4, 1, 3, 8, tzinfo=dt.UTC)),
        ("0001-01-01T00:00:00+14:00", None),
        ("", None),
        (5, None),
    ],
)
def test_times(text: Any, at: dt.datetime | None) -> None:
    assert parse_time(text) == at


@pytest.mark.parametrize(
    "stored", ["", "{", "[]", "{}", '{"until": 5, "seen": []}', '{"until": null, "seen": 1}', "[" * 10**5]
)
async def test_a_cursor_that_is_none_is_an_error(stored: str) -> None:
    async with following(AzureFeed(Chronicle())) as it:
        it.position = stored
        with pytest.raises(LedgerError, match="cursor"):
            await it.windows()


async def test_orthanc_tells_what_came_and_forgets_what_went() -> None:
    archive = LivingArchive()
    for index in range(1, 4):
        archive.store("1.2", "1.2.3", index)
    async with following(OrthancRest(archive.chronicle, archive), archive, base="/dicom-web") as it:
        await it.begin()
        assert await it.changes() == []
        names = [archive.store("1.2", series, index) for series in ("1.2.3", "1.2.4") for index in (3, 4, 5, 6)]
        archive.remove("1.2", "1.2.3", 1)
        it.origin.requests.clear()
        told = await it.changes()
        assert {tuple(change.instance) for change in told} == {tuple(name) for name in names}
        assert {change.standing for change in told} == {"current"}
        paths = [entry.path.split("/")[1] for entry in it.origin.requests]
        assert sorted(paths) == ["changes", "instances", "instances", "series", "series", "series", "series", "studies"]
        assert await it.changes() == []


async def test_what_is_gone_meanwhile_is_left_out() -> None:
    archive = LivingArchive()
    rest = OrthancRest(archive.chronicle, archive)
    async with following(rest, archive, base="/dicom-web") as it:
        await it.begin()
        archive.store("1.2", "1.2.3", 1)
        kept = archive.store("1.2", "1.2.3", 2)
        whole = rest.tell("/changes", {})
        archive.remove("1.2", "1.2.3", 1)
        assert whole.body is not None
        assert [tuple(change.instance) for change in await it.changes()] == [tuple(kept)]


async def test_an_orthanc_that_begins_anew_or_never_ends() -> None:
    archive = LivingArchive()
    for index in range(1, 4):
        archive.store("1.2", "1.2.3", index)
    async with following(OrthancRest(archive.chronicle, archive), archive, base="/dicom-web") as it:
        it.position = json.dumps({"number": 9})
        with pytest.raises(Unsupported, match="another one now"):
            await it.windows()
    rest = OrthancRest(archive.chronicle, archive, ignores_since=True)
    async with following(replace(rest), archive, base="/dicom-web") as it:
        it.position = json.dumps({"number": 3})
        assert await it.numbers() == [1, 2, 3]  # told again; what they say has counted


def test_which_sources_have_a_feed() -> None:
    url = "https://h.example/dicom-web"
    assert [has_feed(SourceSpec(url, url, built_in(name))) for name in ("azure", "orthanc", "generic")] == [
        True,
        True,
        False,
    ]
    assert feed_name(SourceSpec(url, url, built_in("orthanc"))) == f"orthanc {url}"


@pytest.mark.parametrize(
    ("query", "can"),
    [
        (Query(everything=True), True),
        (Query(modality=("CT",), search=("StudyDescription=CHEST",)), True),
        (Query(everything=True, limit_series=3), False),
        (Query(targets=("1.2.3",)), False),
        (Query(manifest="1.2.3"), False),
        (Query(study=("1.2.3",)), False),
        (Query(instance=("1.2.3",)), False),
        (Query(search=("SOPClassUID=1.2.840.10008.5.1.4.1.1.2",)), False),
    ],
)
def test_which_cohorts_can_be_followed(query: Query, *, can: bool) -> None:
    assert can_follow(query) is can


@pytest.mark.parametrize(
    ("asked", "searched"),
    [
        (None, "20240302-"),
        ("20240101-", "20240302-"),
        ("2024-03-20 - 2024-03-25", "20240320-20240325"),
        ("-20240310", "20240302-20240310"),
        ("-20240301", None),
        ("20240101", None),
    ],
)
def test_recent_studies_are_searched(asked: str | None, searched: str | None) -> None:
    found = narrowed(Query(everything=True, study_date=asked), dt.date(2024, 4, 1), 30)
    assert (None if found is None else found.study_date) == searched
    assert narrowed(Query(), dt.date(2024, 4, 1), 10**9) is not None
