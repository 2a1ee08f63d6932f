"""Each fuzz target over its corpus and some seeded changes of it: the short form of `python -m fuzz.run`."""

import os
from itertools import islice

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fuzz.mutate import iter_mutations
from fuzz.target import CORPUS, NAMES, load, seeds

# More of them by hand: DICOMHAUL_FUZZ=20 takes twenty times as many.
TIMES = int(os.environ.get("DICOMHAUL_FUZZ", "1"))
MUTATIONS = {
    "digests": 6000,
    "dicom_json": 4000,
    "layout": 3000,
    "ledger": 15,
    "listing": 3000,
    "lock": 1000,
    "manifest": 1500,
    "media_type": 6000,
    "multipart": 1000,
    "part10": 900,
}
MOST_CORPUS_BYTES = 300_000


@pytest.mark.parametrize("name", NAMES)
def test_no_input_breaks_a_promise(name: str) -> None:
    target = load(name)
    corpus = seeds(name)
    assert target.name == name
    assert corpus
    assert all(isinstance(word, bytes) for word in target.words)
    for data in (
        b"",
        *corpus,
        *islice(iter_mutations(corpus, target.words, target.max_bytes, 1), MUTATIONS[name] * TIMES),
    ):
        target.check(data)


@pytest.mark.parametrize("name", [name for name in NAMES if name != "ledger"])  # whose inputs are Hypothesis' own
@settings(deadline=None, max_examples=60 * TIMES)
@given(st.data())
def test_hypothesis_finds_no_input_that_does(name: str, data: st.DataObject) -> None:
    target = load(name)
    pieces = st.lists(st.sampled_from(target.words) | st.binary(max_size=8), max_size=30).map(b"".join)
    target.check(data.draw(pieces | st.binary(max_size=300), label="input"))


def test_the_same_seed_makes_the_same_inputs() -> None:
    made = [list(islice(iter_mutations([b"abc", b""], [b"word"], 9, seed), 300)) for seed in (1, 1, 2)]
    assert made[0] == made[1] != made[2]
    assert max(map(len, made[0])) == 9
    assert len(set(made[0])) > 150


def test_the_corpus_is_small_and_each_of_it_has_a_target() -> None:
    files = [path for path in CORPUS.rglob("*") if path.is_file()]
    assert {path.parent.name for path in files} == set(NAMES) == set(MUTATIONS)
    assert sum(path.stat().st_size for path in files) < MOST_CORPUS_BYTES
