"""What is to be cited for what has landed, as the installed index says it."""

from pathlib import Path

import duckdb
import pytest

from dicomhaul.citation.account import IDC_PAPER, Account, account, cite
from dicomhaul.cohort.attribution import Attribution, Held, Share, Work, attribute
from dicomhaul.cohort.idc import open_idc
from dicomhaul.cohort.tables import Shelf
from dicomhaul.errors import ConfigError, LedgerError
from dicomhaul.model import Query, Receipt, Series, SeriesUID, SopUID, StudyUID
from dicomhaul.record.ledger import Ledger
from dicomhaul.record.planned import plan_cohort

NC = "breast_cancer_screening_dbt"
PET = "qin_pet_phantom"


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Three series of a collection with a free licence, two of one that is not for commerce."""
    found: list[Series] = []
    for collection, count in ((PET, 3), (NC, 2)):
        with open_idc(Query(collection=(collection,), limit_series=count)) as cohort:
            found += [row for batch in cohort.iter_rows() for row, _ in batch]
    return found


def held(row: Series, instances: int = 2) -> Held:
    return Held(row.series, row.collection, row.license, row.revision, instances, instances * 100)


def landed(dest: Path, rows: list[Series], *, instances: int = 2) -> Path:
    """A destination where `instances` of each series have landed."""
    (dest / ".dicomhaul").mkdir(parents=True)
    ledger = Ledger.open(dest / ".dicomhaul" / "ledger.sqlite3")
    placed = [row._replace(folder=row.series) for row in rows]
    plan_cohort(ledger, name="n", fingerprint="f", query="{}", source="idc", planned_at="", layout="x", rows=placed)
    ids = [row.series_id for row in ledger.iter_members()]
    with ledger.transaction():
        for series_id in ids:
            ledger.add_receipts(
                Receipt(series_id, SopUID(f"1.2.{number}"), 100, bytes(16)) for number in range(instances)
            )
    ledger.close()
    return dest


def test_licences_and_works(rows: list[Series], tmp_path: Path) -> None:
    found = cite(landed(tmp_path / "dest", rows))
    assert [
        (each.name, each.series, each.instances, each.size_bytes, each.noncommercial) for each in found.licenses
    ] == [
        ("CC BY 3.0", 3, 6, 600, False),
        ("CC BY-NC 4.0", 2, 4, 400, True),
    ]
    assert [(work.series, work.collections, work.licenses) for work in found.works] == [
        (3, {PET}, {"CC BY 3.0"}),
        (2, {NC}, {"CC BY-NC 4.0"}),
    ]
    for work in found.works:
        assert work.text is not None
        assert work.url.lower() in work.text.lower()
    assert found.notes == ()
    assert found.as_json()["acknowledgement"]["doi"] == "10.1148/rg.230180"
    assert found.as_bibtex().count("@misc{") == 2
    assert found.as_bibtex().count("@article{doi-10-1148-rg-230180,") == 1


def test_what_has_not_landed_is_not_cited(rows: list[Series], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing has landed at"):
        cite(landed(tmp_path / "dest", rows, instances=0))


def test_what_did_not_come_from_idc(rows: list[Series], tmp_path: Path) -> None:
    own = Series(StudyUID("1.2"), SeriesUID("1.2.3"), modality="CT", expected=1)
    with pytest.raises(ConfigError, match="was not pulled from IDC"):
        cite(landed(tmp_path / "own", [own]))
    found = cite(landed(tmp_path / "mixed", [own, rows[0]]))
    assert found.notes == ("1 series did not come from IDC: nothing is known of them",)
    assert [each.series for each in found.licenses] == [1]
    with pytest.raises(LedgerError, match="nothing was pulled here"):
        cite(tmp_path / "none")


def test_an_earlier_revision_has_the_licence_of_the_present_one(rows: list[Series]) -> None:
    revision = "00000000-0000-0000-0000-000000000000"
    found = account(attribute([held(rows[0]._replace(revision=revision, license=None)), held(rows[1])]))
    assert [(each.name, each.series) for each in found.licenses] == [("CC BY 3.0", 2)]
    assert found.notes == ("1 series are of an earlier revision: the licence is that of the present one",)


def test_a_series_that_is_gone_has_the_works_of_its_collection(rows: list[Series]) -> None:
    gone = Held("1.2.3", NC, None, "00000000-0000-0000-0000-000000000000", 1, 1)
    found = account(attribute([gone, gone._replace(series="1.2.4", collection="no_such_collection")]))
    assert [(each.name, each.series) for each in found.licenses] == [("", 2)]
    assert [work.doi for work in found.works] == ["10.7937/e4wt-cd02"]
    assert len(found.notes) == 2
    assert "1 series are not in the installed index" in found.notes[0]
    assert "does not know where they come from" in found.notes[1]


def test_every_series_of_the_index_has_a_work() -> None:
    """One series for each DOI, of all there are."""
    index = Shelf().bundled["index"]
    rows = (
        duckdb.sql(f"SELECT any_value(SeriesInstanceUID), any_value(collection_id) FROM '{index}' GROUP BY source_DOI")
    ).fetchall()
    found = account(attribute(Held(series, collection, "x", None, 1, 1) for series, collection in rows))
    assert sum(work.series for work in found.works) == len(rows) == len(found.works)
    assert all(work.text for work in found.works)


@pytest.mark.parametrize(
    ("name", "noncommercial"),
    [
        ("CC BY-NC 4.0", True),
        ("CC BY-NC-SA 3.0", True),
        ("Attribution-NonCommercial", True),
        ("CC BY 4.0", False),
        ("National Library of Medicine Terms and Conditions; May 21, 2019", False),
        ("", False),
    ],
)
def test_what_may_not_serve_commerce_is_marked(name: str, *, noncommercial: bool) -> None:
    assert _with(name).licenses[0].noncommercial is noncommercial


def _with(license_name: str) -> Account:
    share = Share("c", license_name, ("10.1/x",), False, False, 1, 1, 1)
    return account(Attribution("25.0.5", [share], {"10.1/x": Work("10.1/x", "T", None)}, {}))


def test_a_work_without_citation_is_named_by_its_doi() -> None:
    (work,) = _with("CC BY 4.0").works
    assert (work.text, work.url) == (None, "https://doi.org/10.1/x")
    assert "doi = {10.1/x}" in _with("CC BY 4.0").as_bibtex()


def test_the_paper_of_idc_names_its_doi() -> None:
    assert IDC_PAPER.citation is not None
    assert IDC_PAPER.citation.endswith(f"https://doi.org/{IDC_PAPER.doi}")
