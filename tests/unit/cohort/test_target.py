"""TARGET words."""

import pytest

from dicomhaul.cohort.target import Kind, Targets, recognise, refuse_idc_words, sort_targets
from dicomhaul.errors import CohortError
from dicomhaul.model import Query

UUID = "085e85b3-3780-47f6-8538-585bcca95336"


def nothing_there(_: str) -> bool:
    return False


@pytest.mark.parametrize(
    ("word", "kind"),
    [
        ("nlst", Kind.COLLECTION),
        ("4d_lung", Kind.COLLECTION),
        ("QIN-PET-Phantom", Kind.COLLECTION),
        ("1.3.6.1.4.1.14519.5.2.1.6834.5010", Kind.UID),
        (UUID, Kind.CRDC),
        (UUID.upper(), Kind.CRDC),
        ("-", Kind.STDIN),
        ("cohort.CSV", Kind.MANIFEST),
        ("lists/lung", Kind.MANIFEST),
    ],
)
def test_a_word_is_recognised_by_its_looks(word: str, kind: Kind) -> None:
    assert recognise(word, nothing_there) is kind


def test_a_file_that_exists_is_a_manifest_whatever_its_name() -> None:
    assert recognise("nlst", lambda word: word == "nlst") is Kind.MANIFEST


@pytest.mark.parametrize("word", ["", "--x", "a;b", "1.2.3*", "s" + "\n"])
def test_what_can_be_nothing_is_an_error(word: str) -> None:
    with pytest.raises(CohortError, match="is no target"):
        recognise(word, nothing_there)


def test_words_are_sorted_by_kind_each_once() -> None:
    found = sort_targets(["nlst", "1.2.3", "-", "nlst", "a.csv", UUID.upper(), UUID], nothing_there)
    assert found == Targets(("nlst",), ("1.2.3",), (UUID,), ("a.csv",), stdin=True)


@pytest.mark.parametrize(
    ("query", "flag"),
    [
        (Query(collection=("nlst",)), "--collection"),
        (Query(where="true"), "--where"),
        (Query(sql="SELECT 1"), "--sql"),
        (Query(crdc=(UUID,)), "--crdc-series-uuid"),
    ],
)
def test_what_only_idc_can_answer_is_refused_elsewhere(query: Query, flag: str) -> None:
    with pytest.raises(CohortError, match=flag):
        refuse_idc_words(query, ())


def test_a_collection_is_refused_elsewhere_by_name() -> None:
    with pytest.raises(CohortError, match="'nlst' is neither"):
        refuse_idc_words(Query(), ("nlst",))
    refuse_idc_words(Query(modality=("CT",), search=("PatientID=1",)), ())
