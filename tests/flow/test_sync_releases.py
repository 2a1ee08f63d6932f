"""A mirror follows IDC's releases: each time it is what a fresh pull would have brought."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

import pyarrow.parquet as pq
import pytest

from dicomhaul.model import Series
from dicomhaul.origin import Holdings, IdcOrigins, synthetic_holdings
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, read_tree
from support.idc_origins import idc_rows, idc_thread, idc_tree, write_profiles
from support.idc_releases import Release, write_release

BYTES = 3_000


def revised(row: Series, name: str, expected: int, each_bytes: int, *, other: bool = False) -> Series:
    """Another revision of a series; of `other` instances, or of the same and some more, or fewer, with other bytes."""
    uuid = str(uuid5(NAMESPACE_OID, f"{row.series} {name}"))
    return row._replace(revision=uuid, expected=expected, size_bytes=expected * each_bytes, prior=other)


@dataclass(frozen=True)
class Years:
    """Releases 23, 24 and 25 of five series, and origins that have each of their revisions."""

    rows: dict[int, list[Series]]
    releases: dict[int, Release]
    holdings: Holdings
    origins: IdcOrigins
    source: str

    def command(self, number: int, *words: Word) -> Ended:
        """Run a command with a release installed."""
        return run_command(*words, "--source", self.source, "--json", "-q", environ=self.releases[number].environ)

    def tree(self, number: int) -> dict[str, bytes]:
        return idc_tree(self.holdings, self.rows[number])


@pytest.fixture(scope="module")
def years(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Years]:
    folder = tmp_path_factory.mktemp("years")
    a, b, c, d, e = (row._replace(size_bytes=(row.expected or 1) * 1_000) for row in idc_rows("idc-open-data", 5))
    b24, c24 = revised(b, "24", (b.expected or 0) + 2, 1_500), revised(c, "24", (c.expected or 0) - 1, 900)
    b25 = revised(b, "25", 2, 2_000, other=True)
    c25 = c24._replace(patient="RENAMED")
    a25 = a._replace(collection="renamed_collection", license="CC0")
    rows = {23: [a, b, c, d], 24: [a, b24, c24, e], 25: [a25, b25, revised(c25, "25", 3, 1_100), d, e]}
    every = {row.revision: row for each in rows.values() for row in each}
    holdings = synthetic_holdings(every.values(), max_instance_bytes=BYTES)
    releases = {number: write_release(folder, number, each) for number, each in rows.items()}
    with idc_thread(holdings) as origins:
        source = write_profiles(folder, origins).source("bucket")
        yield Years(rows, releases, holdings, origins, source)


ALL: tuple[Word, ...] = ("--all",)
FREELY: tuple[Word, ...] = ("--max-delete-fraction", "1")


@pytest.fixture(scope="module")
def first(years: Years, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A mirror of the first release. Tests work on copies."""
    dest = tmp_path_factory.mktemp("first") / "mirror"
    assert years.command(23, "sync", *ALL, "-o", dest).code == 0
    return dest


def test_each_time_it_is_what_a_fresh_pull_brings(years: Years, tmp_path: Path) -> None:
    dest = tmp_path / "mirror"
    seen: list[tuple[int, ...]] = []
    for step, number in enumerate((23, 24, 25, 24)):
        ended = years.command(number, "sync", *ALL, "-o", dest, *FREELY)
        assert (ended.code, ended.json["state"]) == (0, "complete"), (number, ended.stderr, ended.stdout)
        assert read_tree(dest) == years.tree(number), number
        assert_recorded(dest, years.tree(number))
        seen.append(tuple(ended.json[f"series_{what}"] for what in ("added", "revised", "withdrawn")))
        fresh = tmp_path / f"fresh-{step}"
        index = pq.read_table(dest / "index.parquet", columns=["collection_id", "license_short_name"])
        assert set(map(tuple, zip(*index.to_pydict().values(), strict=True))) == {
            (row.collection, row.license) for row in years.rows[number]
        }
        if step < 3:
            assert years.command(number, "pull", *ALL, "-o", fresh).code == 0
            assert read_tree(fresh) == read_tree(dest)
    assert seen == [(4, 0, 0), (1, 2, 1), (1, 2, 0), (0, 2, 1)]
    verified = run_command("verify", dest, "--json")
    assert (verified.code, verified.json["foreign"]) == (0, [])


def test_it_says_what_it_would_do_and_does_nothing(years: Years, first: Path, tmp_path: Path) -> None:
    dest = tmp_path / "mirror"
    nothing = years.command(23, "sync", *ALL, "-o", dest, "--dry-run")
    assert nothing.code == 0
    assert {name: amount["series"] for name, amount in nothing.json["totals"].items()} == {"add": 4}
    assert not dest.exists()
    shutil.copytree(first, dest)
    before = {path: path.read_bytes() for path in dest.rglob("*") if path.is_file()}
    ended = years.command(24, "sync", *ALL, "-o", dest, "--dry-run")
    assert ended.code == 0
    series = {row.series: row for row in (*years.rows[23], *years.rows[24])}
    gone = years.rows[23][3]
    assert [(step["action"], step["series"], step["instances"]) for step in ended.json["steps"][:1]] == [
        ("withdraw", gone.series, gone.expected)
    ]
    assert sorted(step["action"] for step in ended.json["steps"]) == ["add", "revise", "revise", "withdraw"]
    assert all(step["size_bytes"] and step["reason"] and step["series"] in series for step in ended.json["steps"])
    assert "--max-delete" in ended.json["refused"]
    assert {path: path.read_bytes() for path in dest.rglob("*") if path.is_file()} == before
    later = years.command(25, "sync", *ALL, "-o", dest, "--dry-run")
    moved = [step["series"] for step in later.json["steps"] if step["action"] == "move"]
    assert moved == [years.rows[25][0].series]


def test_what_would_remove_too_much_changes_nothing(years: Years, first: Path, tmp_path: Path) -> None:
    dest = tmp_path / "mirror"
    shutil.copytree(first, dest)
    gone = years.rows[23][3].expected or 0
    for words in ((), ("--max-delete", str(gone - 1))):
        refused = years.command(24, "sync", *ALL, "-o", dest, *words)
        assert (refused.code, refused.json["error"]) == (1, "SyncRefused")
        assert f"--max-delete {gone}" in refused.complaint
        assert read_tree(dest) == years.tree(23)
        assert_recorded(dest, years.tree(23))
    allowed = years.command(24, "sync", *ALL, "-o", dest, "--max-delete", str(gone))
    assert (allowed.code, allowed.json["series_withdrawn"]) == (0, 1)
    assert read_tree(dest) == years.tree(24)
    trash = {path.name: path.read_bytes() for path in (dest / ".dicomhaul" / "trash").rglob("*.dcm")}
    old = idc_tree(years.holdings, years.rows[23][1:])  # of what is revised, all of the old revision
    left = {path.rpartition("/")[2]: content for path, content in old.items()}
    assert trash == left
    assert allowed.json["instances_removed"] == len(left)
    assert allowed.json["bytes_removed"] == sum(map(len, left.values()))


def test_what_is_withdrawn_may_stay(years: Years, first: Path, tmp_path: Path) -> None:
    dest = tmp_path / "mirror"
    shutil.copytree(first, dest)
    kept = years.command(24, "sync", *ALL, "-o", dest, "--keep-withdrawn")
    assert (kept.code, kept.json["series_planned"], kept.json["series_withdrawn"]) == (0, 4, 0)
    both = {**years.tree(24), **idc_tree(years.holdings, years.rows[23][3:])}
    assert read_tree(dest) == both
    assert_recorded(dest, both)
    status = run_command("status", dest, "--json")
    assert (status.code, status.json["series_planned"], status.json["instances_present"]) == (0, 4, len(both))
    assert run_command("verify", dest, "--json").json["foreign"] == []
    again = years.command(25, "sync", *ALL, "-o", dest, *FREELY)
    assert (again.code, again.json["series_added"]) == (0, 0)  # what stayed was wanted again
    assert read_tree(dest) == years.tree(25)
    assert years.command(24, "pull", *ALL, "-o", dest).code == 0
    renamed = idc_tree(years.holdings, years.rows[25][:1])
    former = idc_tree(years.holdings, years.rows[24][:1])
    # A pull removes nothing but what is replaced, and moves nothing.
    assert read_tree(dest) == {path: content for path, content in both.items() if path not in former} | renamed
    assert years.command(24, "sync", *ALL, "-o", dest, *FREELY).json["series_withdrawn"] == 1
    assert read_tree(dest) == years.tree(24)


def test_what_another_cohort_wants_stays(years: Years, first: Path, tmp_path: Path) -> None:
    dest, gone = tmp_path / "mirror", years.rows[23][3]
    shutil.copytree(first, dest)
    assert years.command(23, "pull", "--series", gone.series, "-o", dest).code == 0
    ended = years.command(24, "sync", *ALL, "-o", dest)
    assert (ended.code, ended.json["series_withdrawn"]) == (0, 0)
    assert read_tree(dest) == {**years.tree(24), **idc_tree(years.holdings, [gone])}


def test_a_series_that_is_named_and_withdrawn_leaves_and_no_table_is_fetched_to_know_it(
    years: Years, tmp_path: Path
) -> None:
    dest, known = tmp_path / "mirror", tmp_path / "known.txt"
    kept, gone = years.rows[23][0], years.rows[23][3]
    release = write_release(tmp_path, 24, years.rows[24], former=[gone])
    named: tuple[Word, ...] = (
        "sync",
        kept.series,
        gone.series,
        "--source",
        years.source,
        "-o",
        dest,
        *FREELY,
        "--json",
    )
    assert run_command(*named, environ=years.releases[23].environ).code == 0
    offline = {**release.environ, "https_proxy": "http://127.0.0.1:9"}
    ended = run_command(*named, environ=offline)
    assert (ended.code, ended.json["series_withdrawn"]) == (3, 1)
    assert [(failure["series"], failure["reason"]) for failure in ended.json["failures"]] == [
        (gone.series, "the index of IDC v24 does not have it")
    ]
    assert read_tree(dest) == idc_tree(years.holdings, [kept])
    known.write_text(f"{gone.series}\tdoes not have it\n")
    accepted = run_command(*named, "--accept-failures", known, environ=offline)
    assert (accepted.code, accepted.json["state"]) == (0, "complete")
