"""Shards: several jobs fill one destination at the same time, or one each, and become one whole."""

import json
import os
import sqlite3
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from dicomhaul.origin import Catalog, Origin, Rule, synthetic_catalog
from dicomhaul.plan.shard import shard_of
from support.command import Word, run_command, start_command, wait_until
from support.destination import assert_recorded, expected_tree, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread

SIZES = (3, 1, 4, 1, 5, 9, 2, 6)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return made_up_catalog(*SIZES)


@pytest.fixture
def origin(catalog: Catalog) -> Iterator[Origin]:
    with origin_thread(catalog) as serving:
        yield serving


@pytest.fixture
def words(tmp_path: Path, origin: Origin) -> list[Word]:
    """A cohort that needs no search: nothing is asked once it is planned."""
    manifest = tmp_path / "list.csv"
    manifest.write_text(manifest_of(made_up_rows(*SIZES)))
    return [manifest, "--source", origin.url, "--json"]


def pull_shards(words: list[Word], *dests: Path) -> None:
    for number, dest in enumerate(dests, 1):
        done = run_command("pull", *words, "--shard", f"{number}/{len(dests)}", "-o", dest)
        assert (done.code, done.json["state"]) == (0, "complete")


def test_two_jobs_fill_one_destination_at_the_same_time(
    words: list[Word], origin: Origin, catalog: Catalog, tmp_path: Path
) -> None:
    dest = tmp_path / "d"
    with ExitStack() as stack:
        jobs = []
        for number in (1, 2):
            folder = tmp_path / str(number)
            folder.mkdir()
            jobs.append(
                stack.enter_context(start_command(folder, "pull", *words, "--shard", f"{number}/2", "-o", dest))
            )
        done = [job.wait() for job in jobs]
    assert [each.code for each in done] == [0, 0]
    wanted = [sum(1 for row in made_up_rows(*SIZES) if shard_of(row.series, 2) == number) for number in (1, 2)]
    assert [each.json["series_complete"] for each in done] == wanted
    assert read_tree(dest) == expected_tree(catalog)
    assert not (dest / "index.parquet").exists()

    merged = run_command("merge", dest, "--json")
    assert (merged.code, merged.json["state"], merged.json["ledgers_merged"]) == (0, "complete", 2)
    assert (merged.json["series_complete"], merged.json["instances_present"]) == (len(SIZES), sum(SIZES))
    assert_recorded(dest, expected_tree(catalog))
    assert sorted(each.name for each in (dest / ".dicomhaul").iterdir()) == ["ledger.sqlite3", "lock", "staging"]

    origin.requests.clear()
    again = run_command("pull", *words, "-o", dest)
    assert (again.code, again.json["instances_landed"], again.json["instances_present"]) == (0, 0, sum(SIZES))
    assert origin.requests == []
    status = run_command("status", dest, "--json").json
    assert [(each["series_planned"], each["series_complete"]) for each in status["cohorts"]] == [(len(SIZES),) * 2]
    assert run_command("verify", dest, "--json").code == 0
