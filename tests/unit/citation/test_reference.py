"""Citations are taken apart where that is sure, and left whole where it is not: tried on all that IDC's index holds."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.citation.bibtex import entry, key_of
from dicomhaul.citation.reference import parse_citation, plain_text
from dicomhaul.cohort.attribution import Work, attribute

DOI = "10.7937/tcia.2021.v4z7-tc39"
TAIL = f"(2021). <i>Ultrasound data of a variety of liver\nmasses</i> (Version 1) [Data set]. The Cancer Imaging Archive.\nhttps://doi.org/{DOI.upper()}"


@pytest.fixture(scope="module")
def works() -> list[Work]:
    """Every work that the installed index names."""
    return list(attribute([]).works.values())


def test_a_usual_one() -> None:
    parts = parse_citation(f"Eisenbrey, J. R., Lyshchik, A., &amp; Small Jr., W.-L. {TAIL}", DOI)
    assert parts is not None
    assert parts.authors == (("Eisenbrey", "J. R."), ("Lyshchik", "A."), ("Small Jr.", "W.-L."))
    assert (parts.organisation, parts.year, parts.version) == (None, "2021", "Version 1")
    assert (parts.title, parts.publisher) == (
        "Ultrasound data of a variety of liver masses",
        "The Cancer Imaging Archive",
    )
    assert parts.doi.lower() == DOI


def test_an_organisation() -> None:
    parts = parse_citation(f"Cancer Moonshot Biobank. {TAIL}", DOI)
    assert parts is not None
    assert (parts.authors, parts.organisation) == ((), "Cancer Moonshot Biobank")
    assert "author = {{Cancer Moonshot Biobank}}" in entry(DOI, parts=parts, text=None, title=None)


def test_more_than_twenty_authors() -> None:
    parts = parse_citation(f"Kim, E., Wang, G., … Fedorov, A. {TAIL}", DOI)
    assert parts is not None
    assert "author = {Kim, E. and Wang, G. and others}" in entry(DOI, parts=parts, text=None, title=None)


@pytest.mark.parametrize(
    "names",
    [
        "Bloch, B. N., &amp; jaffe, conrade carl.",
        "Deepa Krishnaswamy, Dennis Bontempi, &amp; Andrey Fedorov.",
        "Clunie, D., GTEx Consortium, Clifford, W.",
        "Armato III, Samuel G.; Hadjiiski, Lubomir",
        "A., B., C.",
        ", X.",
    ],
)
def test_names_of_another_form_are_left_whole(names: str) -> None:
    citation = f"{names} {TAIL}"
    assert parse_citation(citation, DOI) is None
    written = entry(DOI, parts=None, text=plain_text(citation), title="Ultrasound")
    assert "author" not in written
    assert "note = {" in written
    assert "title = {{Ultrasound}}" in written


@pytest.mark.parametrize(
    "change",
    [
        (DOI.upper(), "10.5281/OTHER"),
        ("(2021)", ""),
        ("<i>", ""),
        ("[Data set]", "[Software]"),
        (DOI.upper(), f"{DOI}\n\nAnother, A. (2020). B. https://doi.org/{DOI}"),
    ],
)
def test_what_reads_otherwise_is_left_whole(change: tuple[str, str]) -> None:
    citation = f"Kim, E. {TAIL}".replace(*change)
    assert parse_citation(citation, DOI) is None


def test_text_has_neither_tags_nor_entities_nor_line_ends() -> None:
    assert plain_text("A &amp; <i>B\nC</i> &lt;i&gt; a < b") == "A & B C a < b"


def test_every_work_of_the_index_has_a_citation_that_can_be_printed(works: list[Work]) -> None:
    assert len(works) > 200
    for work in works:
        assert work.citation is not None
        text = plain_text(work.citation)
        assert text
        assert not re.search(r"[<>\n]|&\w+;", text)


def test_nearly_every_work_of_the_index_is_taken_apart(works: list[Work]) -> None:
    parsed = [parse_citation(work.citation or "", work.doi) for work in works]
    assert sum(parts is not None for parts in parsed) > 0.9 * len(works)
    for parts in filter(None, parsed):
        assert parts.organisation or parts.authors
        for family, initials in parts.authors:
            assert not family.endswith(".") or family.endswith(("Jr.", "Sr."))
            assert "." in initials or not family


def test_every_entry_is_one_that_bibtex_can_read(works: list[Work]) -> None:
    entries = [
        entry(work.doi, parts=parse_citation(work.citation or "", work.doi), text=plain_text(work.citation or ""),
              title=work.title)
        for work in works
    ]  # fmt: skip
    keys = [key_of(work.doi) for work in works]
    assert len(set(keys)) == len(works)
    for written in entries:
        assert_balanced(written)


@given(st.text(max_size=60), st.text(max_size=40))
def test_nothing_breaks_an_entry(text: str, doi: str) -> None:
    assert_balanced(entry(doi, parts=None, text=text, title=text))


def assert_balanced(written: str) -> None:
    """Braces match at every point, and nothing that LaTeX would obey is left."""
    depth = 0
    for match in re.finditer(r"\\.|[{}]", written, re.DOTALL):
        depth += {"{": 1, "}": -1}.get(match[0], 0)
        assert depth >= 0
    assert depth == 0
    assert not re.search(r"(?<!\\)[&$#]", written.replace("\\textbackslash", ""))
