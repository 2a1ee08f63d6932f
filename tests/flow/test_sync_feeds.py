"""`sync` of servers that tell what changes: the mirror is the archive, whatever was stored or removed in between."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicomhaul.origin import LivingArchive, Origin, Rule
from dicomhaul.origin.faults import Status
from dicomhaul.origin.feed import AzureFeed, OrthancRest
from support.command import Ended
from support.destination import read_tree
from support.origin_process import origin_thread
from support.quick_command import QuickCommands, quick_commands


@pytest.fixture(scope="module")
def commands(tmp_path_factory: pytest.TempPathFactory) -> Iterator[QuickCommands]:
    with quick_commands(tmp_path_factory.mktemp("commands")) as started:
        yield started


class Mirror:
    """An archive, the origin that serves it, and the mirror that follows it."""

    def __init__(
        self, commands: QuickCommands, archive: LivingArchive, origin: Origin, dest: Path, profile: str
    ) -> None:
        self.archive = archive
        self.origin = origin
        self.dest = dest
        self._commands = commands
        self._profile = profile

    def sync(self, *more: str) -> Ended:
        self.origin.requests.clear()
        source = ("--source", self.origin.url, "--profile", self._profile, "--auth", "none")
        return self._commands.run("sync", "--all", *source, "-o", self.dest, "--json", *more)

    def asked(self) -> list[str]:
        """What kinds of thing were asked for, in order."""
        return [entry.level or "?" for entry in self.origin.requests]

    def compared(self) -> bool:
        """Whether all studies were searched, not only some that were named."""
        return any(one.path == "/studies" and "StudyInstanceUID" not in one.query for one in self.origin.requests)

    def assert_equal(self) -> None:
        held = {
            f"{name.study}/{name.series}/{name.sop}.dcm": content for name, content in self.archive.contents().items()
        }
        assert read_tree(self.dest) == held

    def assert_followed(self, *more: str) -> dict[str, Any]:
        """A sync that does not look at everything."""
        ended = self.sync(*more)
        assert ended.code == 0, ended.stderr
        assert not self.compared()
        self.assert_equal()
        return ended.json


def fill(archive: LivingArchive, studies: int = 3, series: int = 2, instances: int = 4) -> None:
    for study in range(studies):
        for number in range(series):
            for index in range(1, instances + 1):
                archive.store(f"1.2.{study}", f"1.2.{study}.{number}", index)


@contextmanager
def mirror(
    commands: QuickCommands, dest: Path, *, kind: str = "azure-2", rules: tuple[Rule, ...] = (), **habits: Any
) -> Iterator[Mirror]:
    archive = LivingArchive()
    fill(archive)
    teller, base, style = AzureFeed(archive.chronicle, **habits), "/v2", "azure"
    if kind == "azure-1":
        teller, base = AzureFeed(archive.chronicle, 1, **habits), "/v1"
    told: AzureFeed | OrthancRest | None = teller
    if kind == "orthanc":
        told, base, style = OrthancRest(archive.chronicle, archive, **habits), "/dicom-web", "orthanc"
    if kind == "generic":
        told, base, style = None, "/dicom-web", "dcm4chee"
    with origin_thread(archive, style=style, rules=rules, base_path=base, teller=told) as origin:
        yield Mirror(commands, archive, origin, dest=dest, profile=kind.partition("-")[0])


@contextmanager
def silent(archive: LivingArchive) -> Iterator[None]:
    """Meanwhile every search finds nothing, and the feed goes on."""
    there = dict(archive._studies)
    archive._studies.clear()
    yield
    archive._studies.update(there)


ALL_KINDS = pytest.mark.parametrize("kind", ["azure-1", "azure-2"])


@ALL_KINDS
def test_what_changes_is_followed(commands: QuickCommands, tmp_path: Path, kind: str) -> None:
    with mirror(commands, tmp_path, kind=kind) as it:
        first = it.sync()
        assert first.code == 0, first.stderr
        it.assert_equal()
        assert it.compared()

        assert it.assert_followed()["requests"] <= 2
        assert set(it.asked()) == {"feed"}

        it.archive.store("1.2.0", "1.2.0.0", 2)  # another version
        it.archive.store("1.2.0", "1.2.0.1", 5)  # one more
        it.archive.remove("1.2.1", "1.2.1.0", 1)
        it.archive.store("1.2.9", "1.2.9.0", 1)  # a new study
        report = it.assert_followed()
        assert (report["series_added"], report["instances_landed"], report["instances_removed"]) == (1, 3, 1)
        assert "instance" in it.asked()

        assert it.assert_followed()["requests"] <= 2
        removed = list((tmp_path / ".dicomhaul/trash").rglob("*.dcm"))
        assert len(removed) == 1


def test_what_a_feed_changes_stands_in_the_audit_log(commands: QuickCommands, tmp_path: Path) -> None:
    dest, log = tmp_path / "dest", tmp_path / "audit.log"
    audited = ("--audit-log", str(log))
    with mirror(commands, dest) as it:
        assert it.sync(*audited).code == 0
        begun = len(log.read_text().splitlines())
        another = it.archive.store("1.2.0", "1.2.0.0", 2)
        more = it.archive.store("1.2.0", "1.2.0.1", 5)
        gone = it.archive.remove("1.2.1", "1.2.1.0", 1)
        it.assert_followed(*audited)
        told = [json.loads(line) for line in log.read_text().splitlines()[begun:]]
        proof = commands.run("audit", "verify", log, "--dest", dest, "--json")
    events = [(each["event"], each["sop"]) for each in told if "sop" in each]
    assert sorted(events) == sorted(
        [
            ("wanted again", another.sop),
            ("created", another.sop),
            ("created", more.sop),
            ("released", gone.sop),
            ("removed", gone.sop),
        ]
    )
    assert [each["command"] for each in told if each["event"] == "run begun"] == ["sync"]
    assert (proof.code, proof.json["findings"], proof.json["ledger"]["different"]) == (0, [], 0), proof.stdout


def test_a_series_that_is_gone_leaves_and_one_that_comes_back_comes(commands: QuickCommands, tmp_path: Path) -> None:
    with mirror(commands, tmp_path) as it:
        assert it.sync().code == 0
        for index in range(1, 5):
            it.archive.remove("1.2.1", "1.2.1.1", index)
        report = it.assert_followed("--max-delete", "4")
        assert (report["series_withdrawn"], report["instances_removed"], report["series_planned"]) == (1, 4, 5)
        it.archive.store("1.2.1", "1.2.1.1", 2)
        assert it.assert_followed()["series_added"] == 1


def test_too_many_deletions_are_refused_until_somebody_says_so(commands: QuickCommands, tmp_path: Path) -> None:
    with mirror(commands, tmp_path) as it:
        assert it.sync().code == 0
        before = read_tree(tmp_path)
        for index in range(1, 4):
            it.archive.remove("1.2.1", "1.2.1.1", index)
        it.archive.store("1.2.0", "1.2.0.1", 5)
        for _ in range(2):
            refused = it.sync()
            assert refused.code == 1
            assert "--max-delete 3" in refused.stderr
            assert read_tree(tmp_path) == before
        it.assert_followed("--max-delete", "3")


def test_what_is_withdrawn_can_be_kept(commands: QuickCommands, tmp_path: Path) -> None:
    with mirror(commands, tmp_path) as it:
        assert it.sync("--keep-withdrawn").code == 0
        held = read_tree(tmp_path)
        it.archive.remove("1.2.1", "1.2.1.1", 1)
        new = it.archive.store("1.2.1", "1.2.1.1", 9)  # so that the list of this series is asked for
        assert it.sync("--keep-withdrawn").code == 0
        assert not it.compared()
        assert set(read_tree(tmp_path)) - set(held) == {f"{new.study}/{new.series}/{new.sop}.dcm"}
        assert held.items() <= read_tree(tmp_path).items()
        ended = it.sync()  # now it is not to be kept any more: everything is compared
        assert ended.code == 0, ended.stderr
        assert it.compared()
        it.assert_equal()


def test_a_feed_that_refuses_us_is_said_and_everything_is_compared(commands: QuickCommands, tmp_path: Path) -> None:
    with mirror(commands, tmp_path, status=403) as it:
        ended = it.sync()
        assert ended.code == 0, ended.stderr
        assert "change feed is closed to us" in ended.stderr
        assert "DICOM Data Reader" in ended.stderr
        assert ended.stderr.count("everything is compared instead") == 1
        it.archive.store("1.2.9", "1.2.9.0", 1)
        assert it.sync().code == 0
        it.assert_equal()


def test_a_feed_that_fails_ends_the_sync_and_moves_nothing(commands: QuickCommands, tmp_path: Path) -> None:
    rules = (Rule(level="feed", times=frozenset(range(4, 40)), action=Status(status=424)),)
    with mirror(commands, tmp_path, rules=rules) as it:
        assert it.sync().code == 0
        it.archive.store("1.2.9", "1.2.9.0", 1)
        ended = it.sync()
        assert ended.code == 1, ended.stderr
        assert len(read_tree(tmp_path)) == 24


@pytest.mark.parametrize("kind", ["azure-2", "generic"])
def test_a_night_on_which_every_search_is_empty_is_no_success_and_skips_nothing(
    commands: QuickCommands, tmp_path: Path, kind: str
) -> None:
    with mirror(commands, tmp_path, kind=kind) as it:
        days = ("--look-back", "36500")
        assert it.sync(*days).code == 0
        before = read_tree(tmp_path)
        it.archive.store("1.2.9", "1.2.9.0", 1)
        with silent(it.archive):
            for _ in range(2):
                ended = it.sync(*days)
                assert (ended.code, ended.json["error"]) == (1, "SyncRefused"), ended.stderr
                assert "never obeyed" in ended.complaint
                assert read_tree(tmp_path) == before
        ended = it.sync(*days)
        assert (ended.code, ended.json["series_added"]) == (0, 1), ended.stderr
        it.assert_equal()


def test_what_a_feed_tells_of_a_cohort_that_does_not_want_it_stops_nothing(
    commands: QuickCommands, tmp_path: Path
) -> None:
    with mirror(commands, tmp_path) as it:
        only_ct = ("--modality", "CT")
        assert it.sync(*only_ct).code == 0
        before = read_tree(tmp_path)
        it.archive.store("1.2.9", "1.2.9.0", 1, modality="MR")
        ended = it.sync(*only_ct)
        assert ended.code == 0, ended.stderr
        assert read_tree(tmp_path) == before
        assert it.sync(*only_ct).json["requests"] <= 2  # the feed went on


def test_everything_is_compared_when_that_is_due(commands: QuickCommands, tmp_path: Path) -> None:
    with mirror(commands, tmp_path, kind="orthanc") as it:
        assert it.sync().code == 0
        it.archive.remove("1.2.1", "1.2.1.1", 1)
        it.archive.store("1.2.0", "1.2.0.0", 7)
        assert it.sync().code == 0
        assert not it.compared()
        forgotten = set(read_tree(tmp_path)) - {f"{n.study}/{n.series}/{n.sop}.dcm" for n in it.archive.contents()}
        assert len(forgotten) == 1  # Orthanc does not tell what it has no more
        assert it.sync("--reconcile", "0").code == 0
        it.assert_equal()


def test_what_a_comparison_does_not_see_is_learned_from_the_feed_before_it(
    commands: QuickCommands, tmp_path: Path
) -> None:
    with mirror(commands, tmp_path) as it:
        assert it.sync().code == 0
        it.archive.store("1.2.0", "1.2.0.0", 1)  # another version
        assert it.sync("--reconcile", "0").code == 0
        assert it.compared()
        it.assert_equal()


def test_a_server_that_tells_nothing_is_searched_for_recent_studies(commands: QuickCommands, tmp_path: Path) -> None:
    with mirror(commands, tmp_path, kind="generic") as it:
        first = it.sync()
        assert first.code == 0, first.stderr
        assert first.stderr.count("this server tells no changes") == 1
        assert "what was stored anew under its UID is not found" in first.stderr
        it.archive.store("1.2.0", "1.2.0.0", 9)
        it.archive.store("1.2.9", "1.2.9.0", 1)
        days = "36500"
        ended = it.sync("--look-back", days)
        assert ended.code == 0, ended.stderr
        assert ended.stderr.count("this server tells no changes") == 1
        it.assert_equal()
        searched = [entry.query for entry in it.origin.requests if entry.path == "/studies"]
        assert all("StudyDate=" in query for query in searched)
        it.archive.store("1.2.8", "1.2.8.0", 1)
        assert it.sync("--look-back", "0").code == 0
        assert not list(tmp_path.glob("1.2.8"))  # it is old by its date
        assert it.sync("--reconcile", "0").code == 0
        it.assert_equal()
