"""A search brings the same cohort from every server, whatever its habits, and never a part of it in silence."""

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest

from dicomhaul.cohort.ask import iter_rows
from dicomhaul.cohort.manifest import Entry
from dicomhaul.cohort.search import search, search_instances
from dicomhaul.cohort.search_keys import Level
from dicomhaul.errors import CohortError, HaulError, Truncated, Unsupported, WrongInstance
from dicomhaul.model import Query, Series, SeriesUID, StudyUID
from dicomhaul.profile import Profile
from support.qido_server import TAGS, Habits, Instance, QidoServer, archive, open_search_host, profile, row, serve_qido

pytestmark = pytest.mark.anyio

ALL = Query(everything=True)


class Outcome:
    def __init__(self, rows: list[Series], notices: list[str], server: QidoServer) -> None:
        self.rows = rows
        self.notices = notices
        self.server = server
        self.series = [found.series for found in rows]


async def run(
    query: Query, instances: list[Instance], habits: Habits | None = None, searched: Profile | None = None
) -> Outcome:
    searched = searched or profile()
    notices: list[str] = []

    def absent(entries: list[Entry]) -> None:
        notices.extend(f"absent: {entry}" for entry in entries)

    def short(study: StudyUID, reason: str) -> None:
        notices.append(f"short: {study}: {reason}")

    async with serve_qido(instances, habits) as server, open_search_host(server.url, searched) as host:
        rows = [
            found
            async for batch in search(host, searched, query, notice=notices.append, absent=absent, short=short)
            for found in batch
        ]
    return Outcome(rows, notices, server)


def wanted(instances: list[Instance], keep: Callable[[Instance], bool] = lambda _: True) -> list[str]:
    return list(dict.fromkeys(one.series for one in instances if keep(one)))


@pytest.mark.parametrize(
    ("habits", "page"),
    [
        (Habits(), 100),
        (Habits(), 3),
        (Habits(cap=4), 100),
        (Habits(cap=1), 100),
        (Habits(empty_is_204=False), 5),
        (Habits(lone_object=True), 6),
        (Habits(ignores_offset=True), 100),
        (Habits(doubles_rows=True), 4),
        (Habits(warns=True, cap=5), 100),
        (Habits(max_limit=5), 5),
        (Habits(top_level=False, counts=False, cap=4), 100),
        (Habits(counts=False, hidden=frozenset({"StudyDate", "PatientName", "ModalitiesInStudy"})), 4),
    ],
)
async def test_everything_comes_from_every_server(habits: Habits, page: int) -> None:
    instances = archive(13)
    found = await run(ALL, instances, habits, profile(page=page))
    assert found.series == wanted(instances)
    assert {row.expected for row in found.rows} == ({3} if habits.counts else {None})
    first = Series(StudyUID("1.1"), SeriesUID("1.1.1"), patient="P0", modality="MR")
    assert found.rows[0] == first._replace(expected=3 if habits.counts else None)
    assert found.notices == []
    assert not {"series", "instances"} & set(found.server.paths())


async def test_pages_that_come_too_early_hide_nothing() -> None:
    """As when a server that sorts by "newest first" takes in more between two pages."""
    instances = archive(40, series=1, instances=1)
    found = await run(ALL, instances, Habits(shift=2), profile(page=10))
    assert found.series[:38] == wanted(instances)[:38]


async def test_counts_save_the_request_after_the_last_page() -> None:
    with_counts = await run(ALL, archive(5))
    without = await run(ALL, archive(5), Habits(counts=False))
    assert len(with_counts.server.asked) == 2 + 5
    assert len(without.server.asked) == 2 + 5 * 2


@pytest.mark.parametrize(
    ("query", "keep"),
    [
        (Query(patient=("P1",)), lambda one: one.patient == "P1"),
        (Query(patient=("P1", "P3")), lambda one: one.patient in {"P1", "P3"}),
        (Query(patient=("P1", "P*")), lambda one: one.patient.startswith("P")),
        (Query(modality=("CT",)), lambda one: one.modality == "CT"),
        (Query(modality=("CT", "MR"), patient=("P2",)), lambda one: one.patient == "P2"),
        (Query(study_date="20200301-20200430"), lambda one: "20200301" <= one.date <= "20200430"),
        (Query(study=("1.4", "1.2")), lambda one: one.study in {"1.2", "1.4"}),
        (Query(series=("1.4.2",)), lambda one: one.series == "1.4.2"),
        (Query(study=("1.4",), series=("1.4.2", "1.5.1")), lambda one: one.series == "1.4.2"),
        (Query(targets=("1.4", "1.7.2")), lambda one: one.study == "1.4" or one.series == "1.7.2"),
        (Query(targets=("1.4",), modality=("CT",)), lambda one: one.series == "1.4.2"),
        (Query(search=("PatientID=P1", "Modality=MR")), lambda one: one.patient == "P1" and one.modality == "MR"),
        (Query(search=("SeriesInstanceUID=1.3.1",)), lambda one: one.series == "1.3.1"),
        (Query(search=("SeriesDescription=series 1.3.*",)), lambda one: one.study == "1.3"),
        (Query(manifest="1.4.1\n1.9\n"), lambda one: one.series == "1.4.1" or one.study == "1.9"),
        (
            Query(manifest="StudyInstanceUID,SeriesInstanceUID\n1.4,1.4.1\n1.4,1.4.2\n"),
            lambda one: one.study == "1.4",
        ),
    ],
)
@pytest.mark.parametrize(
    "habits",
    [
        Habits(),
        Habits(top_level=False, cap=3),
        Habits(ignored=frozenset({"PatientID", "Modality", "StudyDate", "SeriesInstanceUID", "StudyInstanceUID"})),
        Habits(refused=frozenset({"ModalitiesInStudy"})),
    ],
)
async def test_filters_choose_the_same_series_everywhere(
    query: Query, keep: Callable[[Instance], bool], habits: Habits
) -> None:
    instances = archive(9)
    found = await run(query, instances, habits)
    assert sorted(found.series) == sorted(wanted(instances, keep))
    assert all(row.patient and row.instances is None for row in found.rows)


@pytest.mark.parametrize(
    ("query", "sops"),
    [
        (Query(instance=("1.4.2.3",)), {"1.4.2": ("1.4.2.3",)}),
        (Query(targets=("1.4.2.3", "1.4.2.1", "1.2.1.1")), {"1.4.2": ("1.4.2.3", "1.4.2.1"), "1.2.1": ("1.2.1.1",)}),
        (Query(study=("1.4",), instance=("1.4.2.3", "1.2.1.1")), {"1.4.2": ("1.4.2.3",)}),
        (Query(targets=("1.4",), instance=("1.4.2.3",)), {"1.4.2": ("1.4.2.3",)}),
        (Query(search=("InstanceNumber=2",), study=("1.5",)), {"1.5.1": ("1.5.1.2",), "1.5.2": ("1.5.2.2",)}),
        (Query(search=("SOPInstanceUID=1.4.2.3,1.4.1.1",)), {"1.4.1": ("1.4.1.1",), "1.4.2": ("1.4.2.3",)}),
        (
            Query(manifest="StudyInstanceUID,SeriesInstanceUID,SOPInstanceUID\n1.4,1.4.1,1.4.1.2\n"),
            {"1.4.1": ("1.4.1.2",)},
        ),
        (Query(manifest="StudyInstanceUID,SOPInstanceUID\n1.4,1.4.1.2\n"), {"1.4.1": ("1.4.1.2",)}),
    ],
)
@pytest.mark.parametrize("habits", [Habits(), Habits(top_level=False, cap=2)])
async def test_instances_are_chosen_within_their_series(
    query: Query, sops: dict[str, tuple[str, ...]], habits: Habits
) -> None:
    found = await run(query, archive(6), habits)
    assert {row.series: row.instances for row in found.rows} == sops
    assert all(row.instances and row.expected == len(row.instances) for row in found.rows)


async def test_an_attribute_that_no_answer_shows_could_have_been_ignored() -> None:
    habits = Habits(ignored=frozenset({"Modality"}), hidden=frozenset({"Modality"}))
    with pytest.raises(CohortError, match="series without their Modality"):
        await run(Query(modality=("CT",)), archive(2), habits)


async def test_a_limit_takes_the_first_series_and_asks_for_little() -> None:
    found = await run(dataclasses.replace(ALL, limit_series=3), archive(50))
    assert found.series == ["1.1.1", "1.1.2", "1.2.1"]
    assert len(found.server.asked) < 8


@pytest.mark.parametrize("top_level", [True, False])
async def test_identity_is_study_and_series(*, top_level: bool) -> None:
    """The same series UID may stand in two studies, and then it is two series."""
    instances = [Instance("1.1", "1.9", "1.1.1"), Instance("1.2", "1.9", "1.2.1")]
    found = await run(Query(series=("1.9",)), instances, Habits(top_level=top_level))
    assert [(row.study, row.series) for row in found.rows] == [("1.1", "1.9"), ("1.2", "1.9")]


@pytest.mark.parametrize(
    ("query", "message"),
    [
        (Query(), "--all"),
        (Query(targets=("1.99",)), "no study, series or instance '1.99'"),
        (Query(study=("1.99",)), "no study 1.99"),
        (Query(study=("1.98", "1.99")), "no study 1.98 and the 1 others"),
        (Query(patient=("secret",)), "nothing that matches PatientID"),
        (Query(modality=("PT",)), "that matches Modality"),
        (Query(collection=("nlst",)), "--collection"),
        (Query(targets=("nlst",)), "collections exist on IDC only"),
        (Query(sql="select 1"), "--sql"),
        (Query(manifest="cp s3://b/11111111-2222-3333-4444-555555555555/* .\n"), "CRDC"),
        (Query(study=("../1",)), "is not a UID"),
    ],
)
@pytest.mark.parametrize("top_level", [True, False])
async def test_an_empty_cohort_says_why(query: Query, message: str, *, top_level: bool) -> None:
    with pytest.raises(CohortError, match=message) as raised:
        await run(query, archive(3), Habits(top_level=top_level))
    assert "secret" not in str(raised.value)


async def test_one_series_of_a_study_is_asked_for_alone() -> None:
    found = await run(Query(manifest="StudyInstanceUID,SeriesInstanceUID\n1.2,1.2.1\n"), archive(3))
    assert found.series == ["1.2.1"]
    assert [query.get("SeriesInstanceUID") for path, query in found.server.asked if path == "studies/1.2/series"] == [
        "1.2.1",
        "1.2.1",
    ]


async def test_what_is_named_and_not_there_is_told_when_the_rest_is_there() -> None:
    found = await run(Query(series=("1.1.1", "1.9.9")), archive(2))
    assert found.series == ["1.1.1"]
    assert found.notices == ["absent: series 1.9.9"]


async def test_a_server_that_states_more_series_than_it_lists_is_told_of() -> None:
    instances = archive(1)
    short = row(StudyInstanceUID="1.1", PatientID="P0", NumberOfStudyRelatedSeries=5)
    habits = Habits(extra={"studies": [short]})
    found = await run(ALL, instances, habits)
    told, short_of = (f"{what} 1.1: the server states 5 series and lists 2" for what in ("study", "short:"))
    assert found.notices == [told, short_of]
    one = await run(Query(targets=("1.1",)), instances, habits)
    assert one.notices == [told, short_of]
    two = await run(Query(series=("1.1.1", "1.1.2"), study=("1.1",)), instances, habits)
    assert two.notices == [told]  # what is wanted of it is there
    first = await run(Query(everything=True, limit_series=1), instances, habits)
    assert first.notices == [told]


@pytest.mark.parametrize("lasts", [False, True])
async def test_an_empty_200_is_not_the_end_of_a_list(*, lasts: bool) -> None:
    habits = Habits(blank_200=99 if lasts else 1)
    instances = archive(4, series=1)
    if lasts:
        with pytest.raises(Truncated, match="200 and an empty body"):
            await run(ALL, instances, habits, profile(page=2, attempts=2))
        return
    assert (await run(ALL, instances, habits, profile(page=2))).series == wanted(instances)


async def test_rows_that_do_not_show_what_is_searched_by_while_others_do_are_told_of() -> None:
    hidden = row(StudyInstanceUID="1.9")
    found = await run(Query(patient=("P1",)), archive(3), Habits(extra={"studies": [hidden]}))
    assert found.series == wanted(archive(3), lambda one: one.patient == "P1")
    (note,) = found.notices
    assert note.startswith("1 of the studies that the server lists do not show their PatientID, as others do")


async def test_a_server_without_search_needs_a_manifest() -> None:
    with pytest.raises(CohortError, match="manifest"):
        await run(ALL, archive(1), searched=profile(available=False))


@pytest.mark.parametrize(
    ("path", "bad"),
    [
        ("studies", row(StudyInstanceUID="../../etc")),
        ("studies", row(StudyInstanceUID="1." + "9" * 64)),
        ("studies", row(PatientID="P1")),
        ("studies/1.1/series", row(StudyInstanceUID="1.1", SeriesInstanceUID="1/2")),
        ("studies/1.1/series", row(StudyInstanceUID="1.7", SeriesInstanceUID="1.7.1")),
        ("studies/1.1/series", row(SeriesInstanceUID=None)),
    ],
)
async def test_an_impossible_uid_is_an_error_and_not_left_out(path: str, bad: dict[str, Any]) -> None:
    with pytest.raises(CohortError, match=r"UID|asked for the series"):
        await run(ALL, archive(1), Habits(extra={path: [bad]}))


@pytest.mark.parametrize(
    ("habits", "page", "max_offset", "kind"),
    [
        (Habits(max_offset=20), 10, 20, CohortError),
        (Habits(ignores_offset=True), 10, None, CohortError),
        (Habits(warns=True, announces_too_many=4), 100, None, Truncated),
        (Habits(max_limit=50), 100, None, Unsupported),
        (Habits(html=True), 100, None, Unsupported),
    ],
)
async def test_a_cohort_is_never_cut_in_silence(
    habits: Habits, page: int, max_offset: int | None, kind: type[HaulError]
) -> None:
    with pytest.raises(kind):
        await run(ALL, archive(40, series=1), habits, profile(page=page, max_offset=max_offset))


async def test_an_inventory_lists_each_instance_once() -> None:
    searched = profile(page=4)
    habits = Habits(doubles_rows=True)
    async with (
        serve_qido(archive(2, instances=11), habits) as server,
        open_search_host(server.url, searched) as host,
    ):
        refs = await search_instances(host, searched, "1.2", "1.2.1")
    assert refs is not None
    assert [ref.sop for ref in refs] == [f"1.2.1.{number}" for number in range(1, 12)]


async def test_an_instance_that_is_listed_twice_stands_for_no_other() -> None:
    """A server lists three rows of a series of three, and two are the same instance: one says less of itself."""
    extra = [row(StudyInstanceUID="1.1", SOPInstanceUID="1.1.1.1")]
    habits = Habits(extra={"studies/1.1/series/1.1.1/instances": extra})
    searched = profile()
    async with serve_qido(archive(1, instances=2), habits) as server, open_search_host(server.url, searched) as host:
        refs = await search_instances(host, searched, "1.1", "1.1.1", stated=3)
    assert refs is not None
    assert [ref.sop for ref in refs] == ["1.1.1.1", "1.1.1.2"]


async def test_of_a_row_only_what_is_read_stays_while_the_next_page_is_awaited() -> None:
    much = row(StudyInstanceUID="1.9", PatientID=["P9", *range(50_000)], PatientName=[{"Alphabetic": "x" * 99_000}])
    much |= {f"{number:08X}": {"vr": "UN"} for number in range(1_000)}
    searched = profile()
    async with (
        serve_qido([], Habits(extra={"studies": [much]})) as server,
        open_search_host(server.url, searched) as host,
    ):
        (kept,) = [one async for rows in iter_rows(host, searched, Level.STUDIES, "studies", []) for one in rows]
        name = TAGS["PatientName"]
        named = [
            one async for rows in iter_rows(host, searched, Level.STUDIES, "studies", [], tags={name}) for one in rows
        ]
    assert kept == {TAGS["StudyInstanceUID"]: {"Value": ["1.9"]}, TAGS["PatientID"]: {"Value": ["P9"]}}
    assert named == [{**kept, name: much[name]}]


async def test_a_stated_count_makes_an_inventory_one_request() -> None:
    searched = profile()
    async with serve_qido(archive(2)) as server, open_search_host(server.url, searched) as host:
        refs = await search_instances(host, searched, "1.2", "1.2.1", stated=3)
        assert refs is not None
        assert (len(refs), len(server.asked)) == (3, 1)


async def test_a_server_that_cannot_list_has_no_inventory() -> None:
    unsearchable, searched = profile(available=False), profile()
    async with serve_qido(archive(1), Habits(html=True)) as server, open_search_host(server.url, searched) as host:
        assert await search_instances(host, searched, "1.1", "1.1.1") is None
        assert await search_instances(host, unsearchable, "1.1", "1.1.1") is None
        assert len(server.asked) == 1


async def test_an_inventory_with_an_impossible_uid_is_damaged() -> None:
    bad = row(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1", SOPInstanceUID="../x")
    habits = Habits(extra={"studies/1.1/series/1.1.1/instances": [bad]})
    searched = profile()
    async with serve_qido(archive(1), habits) as server, open_search_host(server.url, searched) as host:
        with pytest.raises(WrongInstance, match="is no UID"):
            await search_instances(host, searched, "1.1", "1.1.1")
