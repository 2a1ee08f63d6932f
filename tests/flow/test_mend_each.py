"""Each thing that can be wrong in a tree is found by its name, and mended; the source is asked for that and no more."""

import random
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dicomhaul.origin import Catalog, Origin, synthetic_holdings
from support.command import Word
from support.destination import assert_recorded, expected_tree, read_index, read_tree
from support.idc_origins import TOKEN_ENVIRON, idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles
from support.made_up import made_up_catalog, made_up_rows, manifest_of
from support.origin_process import origin_thread
from support.quick_command import QuickCommands, quick_commands

pytestmark = [pytest.mark.long, pytest.mark.skipif(sys.platform == "win32", reason="commands are forked")]

COUNTS = (10, 10, 10)
# So large that a damaged one is asked for by itself, whatever else of its series would come along.
SIZE_BYTES = 300_000


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[random.Random(path.name).randrange(len(content))] ^= 0x10
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def empty(path: Path) -> None:
    path.write_bytes(b"")


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


class Case(NamedTuple):
    """One thing that somebody does to files of a tree, and what `verify` calls it."""

    damage: Callable[[Path], None]
    finding: str


CASES = (
    Case(flip, "content"),
    Case(truncate, "size"),
    Case(empty, "size"),
    Case(grow, "size"),
    Case(Path.unlink, "missing"),
)


PLACES: dict[str, Callable[[Path], list[Word]]] = {
    "beside": lambda _: [],
    "a shard, elsewhere": lambda folder: ["--shard", "1/1", "--state-dir", folder / "state"],
}


def swap(one: Path, other: Path) -> None:
    beside = one.with_name("beside")
    one.rename(beside)
    other.rename(one)
    beside.rename(other)


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickCommands]:
    with quick_commands(tmp_path_factory.mktemp("quick"), TOKEN_ENVIRON) as commands:
        yield commands


def assert_found(
    quick: QuickCommands, dest: Path, more: list[Word], named: dict[str, str], sops: dict[str, str]
) -> None:
    """Assert that `verify` names just these: path -> what is wrong; `sops`: path -> SOP Instance UID."""
    ended = quick.run("verify", dest, *more, "--json")
    assert ended.code == (3 if named else 0), ended
    assert {each["sop"]: each["reason"] for each in ended.json["failures"]} == {
        sops[path]: finding for path, finding in named.items()
    }
    assert all(f"{finding}: {path}" in ended.stderr for path, finding in named.items())


def damage_each(dest: Path, files: list[str], *pairs: tuple[str, str]) -> dict[str, str]:
    """Do each of `CASES` to a file, and exchange the files of each pair; return path -> what is wrong with it."""
    named = {}
    for path, case in zip(files, CASES, strict=False):
        case.damage(dest / path)
        named[path] = case.finding
    for one, other in pairs:
        same = (dest / one).stat().st_size == (dest / other).stat().st_size
        swap(dest / one, dest / other)
        named |= dict.fromkeys((one, other), "content" if same else "size")
    return named


@pytest.mark.parametrize("place", PLACES)
def test_what_came_from_a_server(place: str, quick: QuickCommands, tmp_path: Path) -> None:
    catalog, dest = made_up_catalog(*COUNTS, size_bytes=SIZE_BYTES), tmp_path / "dest"
    (tmp_path / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    more = PLACES[place](tmp_path)
    with origin_thread(catalog) as origin:
        words: list[Word] = ["pull", tmp_path / "cohort.csv", "--source", origin.url, "-o", dest, *more]
        assert quick.run(*words).code == 0
        good = expected_tree(catalog)
        sops = {path: Path(path).stem for path in good}
        assert_found(quick, dest, more, {}, sops)
        one, two, three = (sorted(path for path in good if f"/{each.series}/" in path) for each in catalog.series())
        files = [one[0], two[0], three[0], one[1], two[1]]
        # Within a series, and across two: what lies there is an instance, whole, and another one.
        named = damage_each(dest, files, (three[2], three[3]))
        (dest / "notes.txt").write_text("mine", encoding="utf-8")
        (dest / three[4]).with_suffix(".bak").write_bytes(b"")
        origin.requests.clear()
        assert_found(quick, dest, more, named, sops)
        assert origin.requests == []
        _repair(quick, dest, more, len(named))
        assert sorted(_asked(origin)) == sorted(_instance_path(catalog, sops[path]) for path in named)
        assert_found(quick, dest, more, {}, sops)
    foreign = {"notes.txt", three[4].replace(".dcm", ".bak")}
    tree = read_tree(dest)
    assert tree.keys() - good.keys() == foreign
    assert {path: content for path, content in tree.items() if path not in foreign} == good
    if place == "beside":
        assert_recorded(dest, good)


def _repair(quick: QuickCommands, dest: Path, more: list[Word], count: int) -> None:
    ended = quick.run("verify", dest, *more, "--repair", "--json")
    assert (ended.code, ended.json["state"]) == (0, "complete"), ended
    assert (ended.json["instances_landed"], ended.json["bytes_discarded"]) == (count, 0)


def _asked(origin: Origin) -> list[str]:
    """The paths that were retrieved, each as often as it was; lists of a series' instances cost next to nothing."""
    return [entry.path for entry in origin.requests if entry.level != "search"]


def _instance_path(catalog: Catalog, sop: str) -> str:
    series = next(series for series in catalog.series() if series.find(sop) is not None)
    return f"/studies/{series.study}/series/{series.series}/instances/{sop}"


def test_a_tree_of_which_nothing_is_left(quick: QuickCommands, tmp_path: Path) -> None:
    """A study that somebody deleted, folder and all: its series come again, the others do not."""
    catalog, dest = made_up_catalog(*COUNTS, size_bytes=SIZE_BYTES), tmp_path / "dest"
    (tmp_path / "cohort.csv").write_text(manifest_of(made_up_rows(*COUNTS)), encoding="utf-8")
    with origin_thread(catalog) as origin:
        assert quick.run("pull", tmp_path / "cohort.csv", "--source", origin.url, "-o", dest).code == 0
        first, second, _ = catalog.series()
        (dest / first.study).rename(tmp_path / "away")
        origin.requests.clear()
        _repair(quick, dest, [], 20)
        assert sorted(_asked(origin)) == sorted(
            f"/studies/{each.study}/series/{each.series}" for each in (first, second)
        )
    assert read_tree(dest) == expected_tree(catalog)
    assert_recorded(dest, expected_tree(catalog))


@pytest.mark.parametrize("name_by", ["sop", "crdc"])
def test_what_came_from_a_bucket(name_by: str, quick: QuickCommands, tmp_path: Path) -> None:
    rows = idc_rows("idc-open-data", 3)
    holdings, dest = synthetic_holdings(rows), tmp_path / "dest"
    (tmp_path / "cohort.csv").write_text(idc_manifest(rows), encoding="utf-8")
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        words: list[Word] = ["pull", tmp_path / "cohort.csv", "--source", source, "-o", dest, "--name-by", name_by]
        ended = quick.run(*words, "--json")
        assert (ended.code, ended.json["state"]) == (0, "complete"), ended
        good = read_tree(dest)
        if name_by == "sop":
            assert good == idc_tree(holdings, rows)
        indexed = read_index(dest)
        sops = {row["path"]: row["SOPInstanceUID"] for row in indexed}
        keys = {sop: key.rpartition("/")[2] for each in holdings.revisions for key, sop in each.sops.items()}
        assert_found(quick, dest, [], {}, sops)
        one, two, three = ([row["path"] for row in indexed if row["SeriesInstanceUID"] == each.series] for each in rows)
        named = damage_each(dest, [*one[:3], *two[:2]], (three[0], three[1]), (three[2], two[2]))
        (dest / "notes.txt").write_text("mine", encoding="utf-8")
        origins.bucket.requests.clear()
        assert_found(quick, dest, [], named, sops)
        assert origins.bucket.requests == []
        _repair(quick, dest, [], len(named))
        objects = [entry.path for entry in origins.bucket.requests if entry.level == "object"]
        assert sorted(path.rpartition("/")[2] for path in objects) == sorted(keys[sops[path]] for path in named)
        assert_found(quick, dest, [], {}, sops)
    tree = read_tree(dest)
    assert tree.pop("notes.txt") == b"mine"
    assert tree == good
    assert [row["xxh3"] for row in read_index(dest)] == [row["xxh3"] for row in indexed]
