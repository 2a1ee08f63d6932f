"""Shards: several jobs fill one destination at the same time, or one each, and become one whole."""

import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from dicomhaul.destination import open_destination
from dicomhaul.model import Shard
from dicomhaul.origin import Catalog, Origin
from dicomhaul.plan.shard import shard_of
from support.command import Word, run_command, start_command
from support.destination import assert_recorded, expected_tree, read_tree
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread

SIZES = (3, 1, 4, 1, 5, 9, 2, 6)


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return made_up_catalog(*SIZES)


@pytest.fixture(scope="module")
def origin(catalog: Catalog) -> Iterator[Origin]:
    with origin_thread(catalog) as serving:
        yield serving


@pytest.fixture(scope="module")
def words(tmp_path_factory: pytest.TempPathFactory, origin: Origin) -> list[Word]:
    """A cohort that needs no search: nothing is asked once it is planned."""
    manifest = tmp_path_factory.mktemp("cohort") / "list.csv"
    manifest.write_text(manifest_of(made_up_rows(*SIZES)))
    return [manifest, "--source", origin.url, "--json"]


@pytest.fixture(scope="module")
def pulled(tmp_path_factory: pytest.TempPathFactory, words: list[Word]) -> Path:
    """`a`, `b`, `c`: a destination for each of three shards."""
    folder = tmp_path_factory.mktemp("pulled")
    for number, name in enumerate("abc", 1):
        done = run_command("pull", *words, "--shard", f"{number}/3", "-o", folder / name)
        assert (done.code, done.json["state"]) == (0, "complete")
    return folder


@pytest.fixture
def parts(pulled: Path, tmp_path: Path) -> list[Path]:
    """A destination for each of three shards, the test's own."""
    return [Path(shutil.copytree(pulled / name, tmp_path / name)) for name in "abc"]


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


def test_what_is_not_merged_is_not_taken_for_the_whole(words: list[Word], parts: list[Path]) -> None:
    dest = parts[0]
    for refused in (
        ["pull", *words, "-o", dest],
        ["plan", *words, "-o", dest],
        ["pull", *words, "--shard", "1/2", "-o", dest],
        ["resume", dest],
        ["verify", dest],
    ):
        done = run_command(*refused)
        assert (done.code, "dicomhaul merge" in done.complaint, "1/3" in done.complaint) == (2, True, True)
    status = run_command("status", dest, "--json")
    assert (status.code, status.json["state"], status.json["shards_absent"]) == (4, "paused", ["2/3", "3/3"])
    assert [(each["shard"], each["state"]) for each in status.json["shards"]] == [("1/3", "complete")]
    assert "shard 1/3: complete" in run_command("status", dest).stdout
    assert run_command("status", dest, "--shard", "1/3").code == 0
    assert run_command("resume", dest, "--shard", "1/3", "--json").json["state"] == "complete"

    assert run_command("pull", *words, "--shard", "2/3", "-o", dest).code == 0
    checked = run_command("verify", dest, "--shard", "1/3", "--json")
    assert (checked.code, checked.json["foreign"]) == (0, [])
    mine = next(path for path in dest.rglob("*.dcm") if shard_of(path.parent.name, 3) == 1)
    mine.write_bytes(b"broken")
    assert run_command("verify", dest, "--shard", "2/3").code == 0
    assert run_command("verify", dest, "--shard", "1/3").code == 3
    assert run_command("verify", dest, "--shard", "1/3", "--repair").code == 0

    assert run_command("pull", *words, "--shard", "3/3", "-o", dest).code == 0
    assert run_command("merge", dest).code == 0
    mixed = run_command("pull", *words, "--shard", "3/3", "-o", dest)
    assert (mixed.code, "as a whole" in mixed.complaint) == (2, True)


def test_what_lacks_a_shard_becomes_no_whole(words: list[Word], catalog: Catalog, parts: list[Path]) -> None:
    dest = parts[0]
    assert run_command("pull", *words, "--shard", "2/3", "-o", dest).code == 0
    before = sorted(dest.rglob("*"))
    refused = run_command("merge", dest)
    assert (refused.code, "lacks shard 3/3 of " in refused.complaint, "-o OUT" in refused.complaint) == (2, True, True)
    assert sorted(dest.rglob("*")) == before
    # A job that died before it had planned anything is one that is missing.
    with open_destination(dest, shard=Shard(3, 3)):
        pass
    assert "lacks shard 3/3 of " in run_command("merge", dest).complaint
    status = run_command("status", dest, "--json")
    assert (status.code, status.json["shards_absent"]) == (4, ["3/3"])
    assert [each["state"] for each in status.json["shards"]] == ["complete", "complete", "paused"]

    assert run_command("pull", *words, "--shard", "3/3", "-o", dest).code == 0
    assert run_command("merge", dest, "--json").json["state"] == "complete"
    assert_recorded(dest, expected_tree(catalog))


def test_none_of_the_shards_was_planned(tmp_path: Path) -> None:
    with open_destination(tmp_path / "d", shard=Shard(1, 2)):
        pass
    refused = run_command("merge", tmp_path / "d")
    assert (refused.code, "nothing was asked for" in refused.complaint) == (2, True)
    assert run_command("status", tmp_path / "d").code == 4


def test_another_destination_waits_for_the_shards_that_it_lacks(
    parts: list[Path], catalog: Catalog, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    merged = run_command("merge", *parts[:2], "-o", out, "--json")
    assert (merged.code, merged.json["state"], merged.json["shards_absent"]) == (4, "paused", ["3/3"])
    assert "shard 3/3 of " in merged.json["reason"]
    status = run_command("status", out, "--json")
    assert (status.code, status.json["state"], status.json["reason"]) == (4, "paused", merged.json["reason"])
    assert status.json["shards_absent"] == ["3/3"]
    assert "not here: shard 3/3" in run_command("status", out).stdout
    checked = run_command("verify", out)
    assert (checked.code, "not here: shard 3/3" in checked.stdout) == (3, True)
    assert "not here: shard 3/3" in run_command("merge", *parts[:2], "-o", out).stdout

    again = run_command("merge", parts[2], "-o", out, "--json")
    assert (again.code, again.json["state"], again.json["shards_absent"]) == (0, "complete", [])
    assert run_command("status", out).code == run_command("verify", out).code == 0
    assert_recorded(out, expected_tree(catalog))


def test_what_lacks_a_shard_is_made_whole_by_the_query_itself(
    words: list[Word], parts: list[Path], tmp_path: Path
) -> None:
    dest, out = parts[0], tmp_path / "out"
    assert run_command("merge", dest, "-o", out).code == 4
    rest = run_command("pull", *words, "-o", out)
    assert (rest.code, rest.json["instances_present"]) == (0, sum(SIZES))
    assert 0 < rest.json["instances_landed"] < sum(SIZES)
    assert run_command("status", out, "--json").json["state"] == "complete"


def test_shards_without_a_series_are_there_too(words: list[Word], tmp_path: Path) -> None:
    dest, of = tmp_path / "d", 4
    some = [each.series for each in made_up_rows(*SIZES) if shard_of(each.series, of) != 1][:2]
    searched: list[Word] = ["--series", ",".join(some), *words[1:]]
    for number in range(1, of + 1):
        assert run_command("pull", *searched, "--shard", f"{number}/{of}", "-o", dest).code == 0
    assert run_command("merge", dest, "--json").json["series_complete"] == len(some)


def test_a_destination_for_each_shard(
    words: list[Word], origin: Origin, parts: list[Path], catalog: Catalog, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    before = [read_tree(part) for part in parts]
    merged = run_command("merge", *parts, "-o", out, "--json")
    assert (merged.code, merged.json["instances_linked"], merged.json["instances_copied"]) == (0, sum(SIZES), 0)
    assert read_tree(out) == expected_tree(catalog)
    assert_recorded(out, expected_tree(catalog))
    again = run_command("merge", *parts, "-o", out, "--json")
    assert (again.code, again.json["instances_linked"], again.json["contested"]) == (0, 0, [])
    assert_recorded(out, expected_tree(catalog))
    assert [read_tree(part) for part in parts] == before
    origin.requests.clear()
    done = run_command("pull", *words, "-o", out)
    assert (done.code, done.json["instances_landed"], origin.requests) == (0, 0, [])
    # What is written anew in one tree leaves the other alone.
    path = next(path for path in out.rglob("*.dcm"))
    path.unlink()
    path.write_bytes(b"broken")
    assert run_command("verify", out, "--repair").code == 0
    assert [read_tree(part) for part in parts] == before
    assert run_command("verify", *parts[:1]).code == 2  # it holds a shard


def test_a_quota_is_of_one_shard_and_a_run_says_so(words: list[Word], tmp_path: Path) -> None:
    quota: list[Word] = ["--quota", "1G/day"]
    for shard, said in (("2/3", True), ("1/1", False)):
        done = run_command("pull", *words, *quota, "--shard", shard, "-o", tmp_path / shard[0])
        assert (done.code, "divide what all may take by 3" in done.stderr) == (0, said)
    assert "divide what all" not in run_command("pull", *words, *quota, "-o", tmp_path / "whole").stderr
    assert "divide what all" not in run_command("pull", *words, "--shard", "2/3", "-o", tmp_path / "2").stderr
