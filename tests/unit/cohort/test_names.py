"""Nearest names."""

import pytest

from dicomhaul.cohort.names import nearest, shown, unknown_name

KNOWN = ["nlst", "qin_pet_phantom", "qin_lung_ct", "tcga_luad", "tcga_lusc"]


@pytest.mark.parametrize("word", ["QIN-PET-Phantom", "qin pet phantom", "QINPETPHANTOM", "qin_pet_fantom"])
def test_spelling_case_and_punctuation_do_not_hide_a_name(word: str) -> None:
    assert nearest(word, KNOWN)[0] == "qin_pet_phantom"


def test_a_part_of_a_name_finds_it() -> None:
    assert nearest("phantom", KNOWN) == ["qin_pet_phantom"]


def test_no_more_than_the_limit() -> None:
    assert len(nearest("tcga_lua", KNOWN, limit=1)) == 1


def test_nothing_similar_lists_all_when_they_are_few() -> None:
    assert unknown_name("modality", "zzzz", ["CT", "MR"]) == "there is no modality 'zzzz'; there are: CT, MR"


def test_nothing_similar_among_many_only_counts_them() -> None:
    assert unknown_name("collection", "zzzz", [f"a{n}" for n in range(99)]).endswith(
        "there are 99, none of them similar"
    )


def test_a_word_is_shown_on_one_short_line() -> None:
    assert "\n" not in shown("a\nb")
    assert len(shown("x" * 10_000)) < 100
