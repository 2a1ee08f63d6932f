"""A destination that somebody meddled with: `verify` finds it, `verify --repair` and `pull --recheck` mend it."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dicomhaul.origin import Catalog, Rule, Status
from support.command import Word, run_command
from support.destination import assert_recorded, expected_tree, read_tree
from support.made_up import made_up_catalog
from support.origin_process import origin_thread


@pytest.fixture
def catalog() -> Catalog:
    return made_up_catalog(4, 4)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def grow(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"\0")


def link(path: Path) -> None:
    elsewhere = path.parents[3] / "elsewhere.dcm"
    path.rename(elsewhere)
    path.symlink_to(elsewhere)


def test_all_that_can_be_wrong_is_found_and_mended(catalog: Catalog, tmp_path: Path) -> None:
    dest, good = tmp_path / "dest", expected_tree(catalog)
    damages: list[Callable[[Path], None]] = [Path.unlink, flip, truncate, grow, link]
    with origin_thread(catalog) as origin:
        words: list[Word] = ["--source", origin.url, "--all", "-o", dest, "--json"]
        assert run_command("pull", *words).code == 0
        assert run_command("verify", dest).code == 0
        whole = sorted(good)
        for path, damage in zip(whole, damages, strict=False):
            damage(dest / path)
        one, other = (dest / path for path in whole[-2:])
        one.rename(dest / "swap")
        other.rename(one)
        (dest / "swap").rename(other)
        (dest / "notes.txt").write_text("mine", encoding="utf-8")
        damaged = [*whole[: len(damages)], *whole[-2:]]

        origin.requests.clear()
        found = run_command("verify", dest, "--json")
        assert (found.code, found.json["state"], found.json["foreign"]) == (3, "partial", ["notes.txt"])
        assert found.json["instances_present"] == len(good) - len(damaged)
        named = {f"{each['study']}/{each['series']}/{each['sop']}.dcm" for each in found.json["failures"]}
        assert named == set(damaged)
        assert all(path in found.stderr for path in damaged)
        assert origin.requests == []

        mended = run_command("verify", dest, "--repair", "--json")
        assert (mended.code, mended.json["state"]) == (0, "complete")
        assert mended.json["instances_landed"] == len(damaged)
        tree = read_tree(dest)
        assert tree.pop("notes.txt") == b"mine"
        assert tree == good
        assert_recorded(dest, good)
        assert (tmp_path / "elsewhere.dcm").read_bytes() == good[whole[4]]
        assert not (dest / whole[4]).is_symlink()


def test_a_file_that_is_gone_comes_again_when_asked_to_look(catalog: Catalog, tmp_path: Path) -> None:
    with origin_thread(catalog) as origin:
        words: list[Word] = ["pull", "--source", origin.url, "--all", "-o", tmp_path, "--json"]
        assert run_command(*words).code == 0
        good = read_tree(tmp_path)
        gone, *_ = good
        (tmp_path / gone).unlink()

        origin.requests.clear()
        unaware = run_command(*words)
        assert (unaware.code, unaware.json["instances_landed"]) == (0, 0)
        assert origin.requests  # the search is made again ...
        assert {entry.level for entry in origin.requests} == {"search"}  # ... and nothing retrieved

        aware = run_command(*words, "--recheck")
        assert (aware.code, aware.json["instances_landed"]) == (0, 1)
        assert read_tree(tmp_path) == good

        origin.requests.clear()
        status = run_command("status", tmp_path, "--json")
        assert (status.code, status.json["state"], status.json["instances_present"]) == (0, "complete", len(good))
        assert status.json["reason"] == ""
        assert run_command("resume", tmp_path, "--json").json["state"] == "complete"
        assert origin.requests == []


def test_what_failed_is_tried_by_the_next_run(catalog: Catalog, tmp_path: Path) -> None:
    failing = next(iter(catalog.series()))
    rule = Rule(path=f"/series/{failing.series}", level="series", most=1, action=Status(status=403))
    with origin_thread(catalog, rules=[rule]) as origin:
        words: list[Word] = ["pull", "--source", origin.url, "--all", "-o", tmp_path, "--json"]
        first = run_command(*words)
        assert (first.code, first.json["series_failed"], first.json["series_complete"]) == (3, 1, 1)
        assert [failure["series"] for failure in first.json["failures"]] == [failing.series]
        for looked in (run_command(name, tmp_path, "--json") for name in ("status", "verify")):
            assert (looked.code, looked.json["state"]) == (3, "partial")
            assert looked.json["failures"] == first.json["failures"]
            assert looked.json["reason"]
            assert first.json.keys() <= looked.json.keys()

        origin.requests.clear()
        second = run_command(*words)
        assert (second.code, second.json["series_complete"], second.json["failures"]) == (0, 2, [])
        retrieved = [entry.path for entry in origin.requests if entry.level != "search"]
        assert retrieved == [f"/studies/{failing.study}/series/{failing.series}"]
    assert read_tree(tmp_path) == expected_tree(catalog)
