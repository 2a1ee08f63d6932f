"""QIDO-RS over a catalog: what matches, what an answer carries, and how each style cuts it into pages."""

from dataclasses import replace

import pytest

from dicomhaul.model import Series, SeriesUID, StudyUID
from dicomhaul.origin.catalog import Attributes, Catalog, values_of
from dicomhaul.origin.qido import BadQueryError, Depth, Page, find_page, parse_search
from dicomhaul.origin.style import AZURE, DCM4CHEE, GOOGLE, ORTHANC, STRICT, Style
from dicomhaul.origin.synthetic import synthetic_catalog

STUDY, SERIES, SOP = "0020000D", "0020000E", "00080018"


@pytest.fixture
def catalog() -> Catalog:
    return synthetic_catalog(
        Series(
            StudyUID(f"1.{study}"), SeriesUID(f"1.{study}.{n}"), patient=f"P{study}", modality=modality, expected=n + 1
        )
        for study in range(1, 13)
        for n, modality in enumerate(("CT", "SEG"))
    )


def ask(catalog: Catalog, depth: Depth, *query: tuple[str, str], style: Style = ORTHANC, shift: int = 0) -> Page:
    search = parse_search(depth, query, style)
    return find_page(catalog, search, style, study=None, series=None, shift=shift)


def uids(page: Page, tag: str) -> list[str]:
    return [values_of(result, tag)[0] for result in page.results]


def test_a_study_is_described_by_all_of_its_series(catalog: Catalog) -> None:
    found: Attributes = ask(catalog, "study", ("StudyInstanceUID", "1.5")).results[0]
    assert values_of(found, "00080061") == ["CT", "SEG"]
    assert values_of(found, "00201206") == [2]
    assert values_of(found, "00201208") == [3]
    assert "0020000E" not in found


def test_each_level_carries_the_levels_above(catalog: Catalog) -> None:
    series = ask(catalog, "series", ("SeriesInstanceUID", "1.5.1")).results
    assert [(values_of(one, STUDY), values_of(one, "00201209")) for one in series] == [(["1.5"], [2])]
    instances = ask(catalog, "instance", ("SeriesInstanceUID", "1.5.1"))
    assert set(uids(instances, SERIES)) == {"1.5.1"}
    assert len(set(uids(instances, SOP))) == 2


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        (("PatientID", "P7"), ["1.7"]),
        (("00100020", "P7"), ["1.7"]),
        (("PatientID", "p1*"), ["1.1", "1.10", "1.11", "1.12"]),
        (("PatientID", "P1?"), ["1.10", "1.11", "1.12"]),
        (("StudyInstanceUID", "1.2,1.3"), ["1.2", "1.3"]),
        (("StudyInstanceUID", "1.2\\1.3"), ["1.2", "1.3"]),
        (("StudyInstanceUID", "9"), []),
        (("PatientName", "SYNTHETIC^PATIENT"), [f"1.{n}" for n in range(1, 13)]),
        (("StudyDate", ""), [f"1.{n}" for n in range(1, 13)]),
        (("Modality", "MR"), []),
        (("StudyDate", "19000101-19991231"), []),
        (("StudyDate", "20000101-"), [f"1.{n}" for n in range(1, 13)]),
        (("StudyDate", "-19991231"), []),
    ],
)
def test_matching(catalog: Catalog, query: tuple[str, str], expected: list[str]) -> None:
    assert uids(ask(catalog, "study", query), STUDY) == expected


def test_a_modality_matches_the_study_or_the_series(catalog: Catalog) -> None:
    assert len(ask(catalog, "study", ("Modality", "SEG")).results) == 12
    assert set(uids(ask(catalog, "series", ("Modality", "SEG")), SERIES)) == {f"1.{n}.1" for n in range(1, 13)}


def test_a_range_of_dates_includes_its_ends(catalog: Catalog) -> None:
    date = values_of(ask(catalog, "study", ("StudyInstanceUID", "1.1")).results[0], "00080020")[0]
    assert "1.1" in uids(ask(catalog, "study", ("StudyDate", f"{date}-{date}")), STUDY)


@pytest.mark.parametrize(
    "query", [("Bogus", "1"), ("limit", "x"), ("limit", "-1"), ("offset", "²"), ("SOPInstanceUID", "1.2")]
)
def test_a_bad_query_is_refused(query: tuple[str, str]) -> None:
    with pytest.raises(BadQueryError):
        parse_search("study", [query], ORTHANC)


def test_stars_are_letters_where_there_are_no_wildcards(catalog: Catalog) -> None:
    assert ask(catalog, "study", ("PatientID", "P*"), style=GOOGLE).results == []


def test_pages_cover_everything_once(catalog: Catalog) -> None:
    offsets = ("0", "5", "10", "15")
    pages = [ask(catalog, "study", ("limit", "5"), ("offset", offset)) for offset in offsets]
    assert [len(page.results) for page in pages] == [5, 5, 2, 0]
    assert len({uid for page in pages for uid in uids(page, STUDY)}) == 12


def test_a_cap_is_silent_or_a_refusal_or_a_warning(catalog: Catalog) -> None:
    assert len(ask(catalog, "study", ("limit", "12"), style=STRICT).results) == 10
    assert len(ask(catalog, "study", style=STRICT).results) == 10
    with pytest.raises(BadQueryError, match="200"):
        parse_search("study", [("limit", "201")], AZURE)
    assert len(ask(catalog, "study", style=replace(AZURE, page_max=3)).results) == 3
    assert ask(catalog, "study", ("offset", "1"), style=replace(DCM4CHEE, page_max=4)).remaining == 7


def test_counts_are_kept_back_where_the_style_has_none(catalog: Catalog) -> None:
    found = ask(catalog, "series", style=GOOGLE).results[0]
    assert not {"00201206", "00201208", "00201209"} & found.keys()


def test_repeating_and_shifting_pages(catalog: Catalog) -> None:
    repeating, shifting = replace(ORTHANC, paging="repeating"), replace(ORTHANC, paging="shifting")
    first = uids(ask(catalog, "study", ("limit", "5")), STUDY)
    assert uids(ask(catalog, "study", ("limit", "5"), ("offset", "5"), style=repeating), STUDY) == first
    moved = uids(ask(catalog, "study", ("limit", "5"), ("offset", "5"), style=shifting, shift=1), STUDY)
    assert moved[0] == first[-1]
