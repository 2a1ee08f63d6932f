"""`sync` of a server that only answers searches: what is fewer there leaves, and an empty answer is never obeyed."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicomhaul.origin import LivingArchive, Rule, Status
from support.destination import read_tree
from support.origin_process import origin_thread
from support.quick_command import QuickCommands, quick_commands


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickCommands]:
    with quick_commands(tmp_path_factory.mktemp("commands")) as started:
        yield started


def held(archive: LivingArchive) -> dict[str, bytes]:
    return {f"{name.study}/{name.series}/{name.sop}.dcm": content for name, content in archive.contents().items()}


def filled() -> LivingArchive:
    archive = LivingArchive()
    for series in range(3):
        for index in range(1, 5):
            archive.store("1.2.0", f"1.2.0.{series}", index)
    return archive


def words(url: str, dest: Path) -> tuple[str, ...]:
    return ("sync", "--all", "--source", url, "-o", str(dest), "--json", "--reconcile", "0")


@pytest.mark.parametrize("style", ["orthanc", "dcm4chee"])
def test_a_night_on_which_the_server_has_nothing(commands: QuickCommands, tmp_path: Path, style: str) -> None:
    archive, log, audit = filled(), tmp_path / "sync.log", tmp_path / "audit.log"
    tmp_path /= "mirror"
    with origin_thread(archive, style=style) as origin:
        url = origin.url
        assert commands.run(*words(url, tmp_path)).code == 0
        before, good = read_tree(tmp_path), held(archive)
        assert before == good
        for series in range(3):
            for index in range(1, 5):
                archive.remove("1.2.0", f"1.2.0.{series}", index)
        told = ("--log-file", str(log), "--audit-log", str(audit))
        for more in (told, ("--max-delete", "1000"), ("--dry-run",)):
            ended = commands.run(*words(url, tmp_path), *more)
            assert (ended.code, ended.json["error"]) == (1, "SyncRefused"), ended.stderr
            assert "never obeyed" in ended.complaint
            assert read_tree(tmp_path) == before
        assert "never obeyed" in log.read_text()
        entries = [json.loads(line) for line in audit.read_text().splitlines()]
        (asked,) = [each for each in entries if each["event"] == "asked"]
        assert (asked["url"], asked["as"]) == (url, "anonymous")
        (failed,) = [each for each in entries if each["event"] == "run failed"]
        assert failed["error"] == "SyncRefused"
        assert entries[-1]["state"] == "failed"
        status_now = commands.run("status", str(tmp_path), "--json")
        assert (status_now.code, status_now.json["series_complete"]) == (0, 3)


def test_instances_that_are_gone_leave_by_the_servers_own_list(commands: QuickCommands, tmp_path: Path) -> None:
    archive = filled()
    with origin_thread(archive) as origin:
        assert commands.run(*words(origin.url, tmp_path)).code == 0
        archive.remove("1.2.0", "1.2.0.1", 2)
        archive.remove("1.2.0", "1.2.0.2", 1)
        archive.store("1.2.0", "1.2.0.2", 5)
        archive.store("1.2.0", "1.2.0.2", 6)
        refused = commands.run(*words(origin.url, tmp_path))
        assert (refused.code, refused.json["error"]) == (1, "SyncRefused"), refused.stdout
        assert set(held(archive)) < set(read_tree(tmp_path))
        assert commands.run("verify", str(tmp_path), "--json").json["foreign"] == []
        ended = commands.run(*words(origin.url, tmp_path), "--max-delete", "2")
        assert (ended.code, ended.json["instances_removed"]) == (0, 2), ended.stderr
        assert read_tree(tmp_path) == held(archive)


@pytest.mark.parametrize("style", ["orthanc", "dcm4chee"])
def test_as_many_that_went_as_came_are_found_by_the_list_of_each_series(
    commands: QuickCommands, tmp_path: Path, style: str
) -> None:
    archive = filled()
    with origin_thread(archive, style=style) as origin:
        assert commands.run(*words(origin.url, tmp_path)).code == 0
        before = read_tree(tmp_path)
        archive.remove("1.2.0", "1.2.0.1", 2)
        archive.store("1.2.0", "1.2.0.1", 9)
        assert commands.run(*words(origin.url, tmp_path), "--no-inventories").code == 0
        assert read_tree(tmp_path) == before  # by its count nothing has changed
        listing = (*words(origin.url, tmp_path), "--max-delete", "1")
        kept = commands.run(*listing, "--keep-withdrawn")
        assert (kept.code, kept.json["instances_landed"]) == (0, 1), kept.stderr
        assert read_tree(tmp_path) == before | held(archive)
        for removed in (1, 0):
            origin.requests.clear()
            ended = commands.run(*listing)
            assert (ended.code, ended.json["instances_removed"]) == (0, removed), ended.stderr
            assert read_tree(tmp_path) == held(archive)
        assert "instance" not in {entry.level for entry in origin.requests}
        archive.remove("1.2.0", "1.2.0.0", 1)
        archive.store("1.2.0", "1.2.0.0", 8)
        refused = commands.run(*words(origin.url, tmp_path), "--max-delete", "0")
        assert (refused.code, refused.json["error"]) == (1, "SyncRefused"), refused.stderr


@pytest.mark.parametrize("status", [403, 204])
def test_lists_that_cannot_be_had_or_are_empty_change_nothing_and_are_said(
    commands: QuickCommands, tmp_path: Path, status: int
) -> None:
    archive, rule = filled(), Rule(path="/instances$", level="search", action=Status(status=status))
    with origin_thread(archive, rules=[rule]) as origin:
        assert commands.run(*words(origin.url, tmp_path)).code == 0
        ended = commands.run(*words(origin.url, tmp_path))
        assert (ended.code, ended.json["instances_landed"]) == (0, 0), ended.stderr
        assert "of 3 series the server gives no list" in ended.stderr
        assert read_tree(tmp_path) == held(archive)


def test_what_one_sick_night_left_out_is_here_the_next_day_and_nothing_is_refused_any_more(
    commands: QuickCommands, tmp_path: Path
) -> None:
    archive = filled()
    with origin_thread(archive) as origin:
        assert commands.run(*words(origin.url, tmp_path)).code == 0
        for index in (1, 2, 3):
            archive.remove("1.2.0", "1.2.0.1", index)
        assert commands.run(*words(origin.url, tmp_path)).json["error"] == "SyncRefused"
        for index in (1, 2, 3):
            archive.store("1.2.0", "1.2.0.1", index)
        for _ in range(2):
            ended = commands.run(*words(origin.url, tmp_path))
            assert (ended.code, ended.json["instances_removed"]) == (0, 0), ended.stderr
            assert read_tree(tmp_path) == held(archive)
        archive.remove("1.2.0", "1.2.0.1", 1)  # it counts once
        ended = commands.run(*words(origin.url, tmp_path), "--max-delete", "1")
        assert (ended.code, ended.json["instances_removed"]) == (0, 1), ended.stderr
        assert read_tree(tmp_path) == held(archive)
