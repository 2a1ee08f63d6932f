"""Half of a cohort by one route, a cut, the rest by another; a large object killed in the middle of it.

What is there stays and is not fetched again; nothing comes twice; in the end it is the tree that one route makes.
"""

from collections.abc import Callable
from pathlib import Path

import pytest

from dicomhaul.model import Series
from dicomhaul.origin import Entry, Holdings, Rule, synthetic_holdings
from dicomhaul.origin.faults import Cut, Stall
from dicomhaul.origin.idc import IdcName
from dicomhaul.plan.split import Ask, ask_again
from support.command import Word, run_command, start_command, wait_until
from support.destination import (
    assert_recorded,
    has_ledger,
    read_checks,
    read_ledger,
    read_partials,
    read_routes,
    read_tree,
)
from support.idc_origins import idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles

MIB = 1 << 20
LOST = 20 * MIB  # what came since the last note, and what was on its way
Stop = Callable[[list[Word], Path], None]


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Four series, 28 instances, over all three buckets."""
    return [*idc_rows("idc-open-data", 1), *idc_rows("idc-open-data-cr", 1), *idc_rows("idc-open-data-two", 2)]


@pytest.fixture(scope="module")
def holdings(rows: list[Series]) -> Holdings:
    return synthetic_holdings(rows)


def words_of(folder: Path, rows: list[Series], source: str) -> list[Word]:
    (folder / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
    return ["pull", folder / "cohort.csv", "--source", source, "-o", folder / "dest", "--json"]


def paused(words: list[Word], folder: Path) -> None:
    """Stop by a limit of the user's."""
    ended = run_command(*words, "--max-transfer", "5M", "--transfers", "2")
    assert (ended.code, ended.json["state"]) == (4, "paused"), ended.stderr
    assert not list((folder / "dest" / ".dicomhaul" / "staging").iterdir())


def killed(words: list[Word], folder: Path) -> None:
    """Kill it once a third has landed."""
    dest = folder / "dest"
    with start_command(folder, *words, "--transfers", "2", "--bwlimit", "8M") as running:
        wait_until(lambda: sum(1 for _ in dest.rglob("*.dcm")) >= 9, "a third has landed", unless=running.process)
        running.process.kill()
        running.process.wait()


def fetched_again(before: dict[str, set[str]], rows: list[Series], holdings: Holdings, asked: list[Entry]) -> list[str]:
    """Return what a second run asked for whole although it was there, where the cost rule does not want it."""
    keys = {key: sop for each in holdings.revisions for key, sop in each.sops.items()}
    wrong = []
    for entry in asked:
        if entry.level == "object" and not entry.range:
            bucket_key = entry.path.removeprefix("/").partition("/")[2]
            wrong += [entry.path for there in before.values() if keys[bucket_key] in there]
        elif entry.level == "instance":
            wrong += [entry.path for there in before.values() if entry.path.rpartition("/")[2] in there]
        elif entry.level == "series":
            row = next(row for row in rows if entry.path.endswith(row.series))
            there = before.get(row.series, set())
            bytes_there = sum(one.size_bytes for one in holdings.catalog().select(row.study, row.series, None)
                              if one.sop in there)  # fmt: skip
            ask = ask_again(landed=len(there), landed_bytes=bytes_there, expected=row.expected)
            if len(there) == row.expected or (there and ask is Ask.SINGLY):
                wrong.append(entry.path)
    return wrong


@pytest.mark.parametrize(
    ("first", "second", "stop"), [("bucket", "proxy", killed), ("proxy", "bucket", paused)], ids=["killed", "paused"]
)
def test_half_by_one_route_and_the_rest_by_another(  # noqa: PLR0917 - pytest's own
    first: IdcName, second: IdcName, stop: Stop, rows: list[Series], holdings: Holdings, tmp_path: Path
) -> None:
    dest = tmp_path / "dest"
    with idc_thread(holdings) as origins:
        profiles = write_profiles(tmp_path, origins)
        stop(words_of(tmp_path, rows, profiles.source(first)), tmp_path)
        before: dict[str, set[str]] = {}
        for row in read_ledger(dest) if has_ledger(dest) else []:
            if row.state == 1:
                before.setdefault(row.series, set()).add(row.sop)
        assert 0 < sum(map(len, before.values())) < len(idc_tree(holdings, rows))
        asked_first = len(origins.by_name()[first].requests)
        ended = run_command(*words_of(tmp_path, rows, profiles.source(second)))
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        assert len(origins.by_name()[first].requests) == asked_first
        assert fetched_again(before, rows, holdings, origins.by_name()[second].requests) == []
        if stop is paused:
            origins.by_name()[second].requests.clear()
            again = run_command(*words_of(tmp_path, rows, profiles.source(second)))
            assert (again.code, again.json["instances_landed"]) == (0, 0)
            assert origins.by_name()[second].requests == []
    tree = idc_tree(holdings, rows)
    assert read_tree(dest) == tree
    assert_recorded(dest, tree)
    assert f"local-{second}" in read_routes(dest).values()
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []


@pytest.fixture(scope="module")
def large() -> list[Series]:
    """A series of IDC's that is one object."""
    return idc_rows("idc-open-data", 1, where="Modality = 'SM' AND instanceCount = 1")


def slide_of(large: list[Series], size_bytes: int) -> Holdings:
    """Holdings where that object has about so many bytes."""
    return synthetic_holdings([large[0]._replace(size_bytes=size_bytes)])


def objects(requests: list[Entry]) -> list[Entry]:
    return [entry for entry in requests if entry.level == "object"]


def etag_of(slide: Holdings) -> str:
    """The ETag of an object that was uploaded in parts."""
    (digests,) = slide._digests.values()
    return digests.multipart_etag


def test_a_large_object_of_google_goes_on_after_a_kill(large: list[Series], tmp_path: Path) -> None:
    """Its ETag is no MD5, and its CRC32C is of all of it; `test_large_object` has one whose ETag is its MD5."""
    slide = slide_of(large, 80_000_000)
    size = next(iter(slide.revisions[0].series)).size_bytes
    stall = Rule(action=Stall(after_bytes=50 * MIB), level="object", times=frozenset({1}))
    dest = tmp_path / "dest"
    with idc_thread(slide, rules={"gcs": [stall]}, multipart_above=8 * MIB) as origins:
        source = write_profiles(tmp_path, origins).source("gcs")
        words = words_of(tmp_path, large, source)
        with start_command(tmp_path, *words) as running:
            wait_until(
                lambda: has_ledger(dest) and any(offset > 30 * MIB for _, offset in read_partials(dest)),
                "half of the object is there and noted",
                unless=running.process,
            )
            running.process.kill()
            running.process.wait()
        ((staged, offset),) = read_partials(dest)
        assert (dest / ".dicomhaul" / "staging" / staged).stat().st_size >= offset
        ended = run_command(*words)
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
        broken, looked, rest = objects(origins.gcs.requests)
    # One byte says which version it is, and what is stated of it, before the prefix is hashed again.
    assert (looked.range, looked.body_bytes) == (f"bytes={offset}-{offset}", 1)
    assert (broken.range, rest.range) == ("", f"bytes={offset}-")
    assert looked.if_match == rest.if_match == f'"{etag_of(slide)}"'
    assert (rest.status, rest.body_bytes) == (206, size - offset)
    assert broken.body_bytes - offset < LOST
    assert read_tree(dest) == idc_tree(slide, large)
    assert read_partials(dest) == []
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
    assert read_checks(dest) == {"CRC32C": 1}


def test_a_large_object_that_breaks_off_goes_on_in_the_same_run(large: list[Series], tmp_path: Path) -> None:
    slide = slide_of(large, 60_000_000)
    rules: dict[IdcName, list[Rule]] = {
        "bucket": [Rule(action=Cut(after_bytes=20 * MIB), level="object", times=frozenset({1, 2}))]
    }
    with idc_thread(slide, rules=rules) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        ended = run_command(*words_of(tmp_path, large, source))
        asked = objects(origins.bucket.requests)
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    size = next(iter(slide.revisions[0].series)).size_bytes
    begins = [size - entry.body_bytes if entry is asked[-1] else 0 for entry in asked]
    assert [entry.range for entry in asked[::2]] == ["", f"bytes={begins[-1]}-"]
    assert len({entry.if_match for entry in asked[1:]}) == 1
    # What the client had not read yet when the connection broke comes again: far less than what had come.
    assert size <= sum(entry.body_bytes for entry in asked) < size * 1.05
    assert read_tree(tmp_path / "dest") == idc_tree(slide, large)
    assert read_checks(tmp_path / "dest") == {"MD5": 1}


def test_a_large_object_that_was_replaced_begins_again(large: list[Series], tmp_path: Path) -> None:
    """A bucket's objects are never rewritten, but nobody has to believe that: the prefix is of another version."""
    slide, other = slide_of(large, 40_000_000), slide_of(large, 30_000_000)
    stall = Rule(action=Stall(after_bytes=20 * MIB), level="object", times=frozenset({1}))
    dest = tmp_path / "dest"
    with idc_thread(slide, rules={"bucket": [stall]}) as origins:
        profiles = write_profiles(tmp_path, origins)
        words = words_of(tmp_path, large, profiles.source("bucket"))
        with start_command(tmp_path, *words) as running:
            wait_until(
                lambda: has_ledger(dest) and bool(read_partials(dest)), "some of it is noted", unless=running.process
            )
            running.process.kill()
            running.process.wait()
    with idc_thread(other) as origins:
        write_profiles(tmp_path, origins)
        ended = run_command(*words)
        (asked,) = objects(origins.bucket.requests)
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
    assert asked.range == ""
    assert read_tree(dest) == idc_tree(other, large)
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
