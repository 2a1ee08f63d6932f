"""Several processes that haul as one run: what comes, what hosts see, and what a death leaves."""

from pathlib import Path

import pytest

from dicomhaul.model import Series
from dicomhaul.origin import Holdings, synthetic_holdings
from dicomhaul.origin.idc import IdcName
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, read_tree
from support.idc_origins import TOKEN_ENVIRON, idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles

DATA, CR = "idc-open-data", "idc-open-data-cr"


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    return [*idc_rows(DATA, 3), *idc_rows(CR, 2)]


@pytest.fixture(scope="module")
def holdings(rows: list[Series]) -> Holdings:
    return synthetic_holdings(rows)


def pull(folder: Path, source: str, manifest: str, *more: Word) -> Ended:
    (folder / "cohort.csv").write_text(manifest, encoding="utf-8")
    words: list[Word] = ["pull", folder / "cohort.csv", "--source", source, "-o", folder / "dest", "--json"]
    return run_command(*words, "--processes", "2", *more, environ=TOKEN_ENVIRON)


@pytest.mark.parametrize("names", [("bucket",), ("proxy",)])
def test_the_same_tree_comes(
    names: tuple[IdcName, ...], rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    with idc_thread(holdings) as origins:
        profiles = write_profiles(tmp_path, origins)
        ended = pull(tmp_path, profiles.source(*names), idc_manifest(rows))
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr + ended.stdout
    tree = idc_tree(holdings, rows)
    assert read_tree(tmp_path / "dest") == tree
    assert_recorded(tmp_path / "dest", tree)
