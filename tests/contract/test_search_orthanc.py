"""What a search brings from a real Orthanc is what its REST API says it holds."""

from collections import Counter

import pytest

from dicomhaul.cohort.search import search, search_instances
from dicomhaul.model import Query, Series
from dicomhaul.profile import Profile, built_in
from support.orthanc import Orthanc
from support.qido_server import open_search_host

pytestmark = pytest.mark.anyio


def small_pages() -> Profile:
    """Orthanc's profile with pages so small that all searches need several."""
    made = built_in("orthanc").model_dump()
    made["search"]["page"] = {"studies": 7, "series": 2, "instances": 3}
    return Profile.model_validate(made)


async def run(orthanc: Orthanc, query: Query, profile: Profile) -> list[Series]:
    async with open_search_host(orthanc.url, profile) as host:
        return [row async for batch in search(host, profile, query) for row in batch]


@pytest.mark.parametrize("profile", [built_in("orthanc"), small_pages()], ids=["large pages", "small pages"])
async def test_all_is_what_it_holds(orthanc: Orthanc, profile: Profile) -> None:
    rows = await run(orthanc, Query(everything=True), profile)
    held = Counter((one.study, one.series) for one in set(orthanc.held))
    assert Counter((str(row.study), str(row.series)) for row in rows) == Counter(held.keys())
    ambiguous = {identity[:2] for identity in orthanc.ambiguous}
    assert {(row.study, row.series): row.expected for row in rows if (row.study, row.series) not in ambiguous} == {
        key: count for key, count in held.items() if key not in ambiguous
    }


async def test_inventories_are_what_it_holds(orthanc: Orthanc) -> None:
    profile = small_pages()
    found = set()
    async with open_search_host(orthanc.url, profile) as host:
        for study, series in sorted({(one.study, one.series) for one in orthanc.held}):
            refs = await search_instances(host, profile, study, series)
            assert refs is not None
            assert len({ref.sop for ref in refs}) == len(refs)
            found |= {(study, series, str(ref.sop)) for ref in refs}
    assert found == {(one.study, one.series, one.sop) for one in orthanc.held}


async def test_each_level_is_found_by_its_uid(orthanc: Orthanc) -> None:
    profile = built_in("orthanc")
    one = next(held for held in orthanc.reachable if held.series)
    (by_sop,) = await run(orthanc, Query(targets=(one.sop,)), profile)
    assert (by_sop.study, by_sop.series, by_sop.instances) == (one.study, one.series, (one.sop,))
    (by_series,) = await run(orthanc, Query(targets=(one.series,)), profile)
    assert (by_series.study, by_series.series, by_series.instances) == (one.study, one.series, None)
    by_study = await run(orthanc, Query(targets=(one.study,)), profile)
    assert {row.series for row in by_study} == {held.series for held in orthanc.held if held.study == one.study}


@pytest.mark.parametrize("query", [Query(modality=("CT",)), Query(search=("Modality=CT",))])
async def test_filters_choose(orthanc: Orthanc, query: Query) -> None:
    every = await run(orthanc, Query(everything=True), built_in("orthanc"))
    rows = await run(orthanc, query, built_in("orthanc"))
    assert sorted(rows) == sorted(row for row in every if row.modality == "CT")
    assert 0 < len(rows) < len(every)
