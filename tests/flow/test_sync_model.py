"""A mirror that follows a scripted feed, killed again and again in between, is what a model says it must be.

A few hundred creates, replaces and deletes each day; 10,000 as a long test.
"""

import random
import signal
from pathlib import Path

import pytest

from dicomhaul.origin import LivingArchive, Origin
from dicomhaul.origin.feed import AzureFeed
from support.command import Ended, command, run_command, start_command, wait_until
from support.destination import read_tree
from support.origin_process import origin_thread

STUDIES, SERIES, INSTANCES = 8, 3, 12


class Script:
    """What happens to an archive, drawn at random, with a model of what is there."""

    def __init__(self, archive: LivingArchive, seed: int) -> None:
        self.draw = random.Random(seed)
        self.done = 0
        self._archive = archive
        self._there: set[tuple[str, str, int]] = set()

    def happen(self, count: int) -> None:
        """Store, store again or remove so many instances; of some, the feed tells late."""
        chronicle = self._archive.chronicle
        chronicle.hidden.clear()
        left = count
        while left > 0:
            study = f"1.2.{self.draw.randrange(STUDIES)}"
            series = f"{study}.{self.draw.randrange(SERIES)}"
            if self.draw.random() < 0.02:  # all of a series at once
                names = [name for name in sorted(self._there) if name[1] == series]
            else:
                names = [(study, series, self.draw.randrange(1, INSTANCES + 1))]
            remove = self.draw.random() < 0.35 or len(names) > 1
            for name in names[:left]:
                if remove and name in self._there:
                    self._archive.remove(*name)
                    self._there.discard(name)
                elif not remove:
                    self._archive.store(*name)
                    self._there.add(name)
                else:
                    continue
                left -= 1
                self.done += 1
                if self.draw.random() < 0.1:
                    chronicle.hidden.add(len(chronicle.entries))

    def model(self) -> set[str]:
        """Return the paths of what is there."""
        held = self._archive.contents()
        assert len(held) == len(self._there)
        return {f"{name.study}/{name.series}/{name.sop}.dcm" for name in held}


def words(origin: Origin, dest: Path) -> tuple[str, ...]:
    source = ("--source", origin.url, "--profile", "azure", "--auth", "none")
    return ("sync", "--all", *source, "-o", str(dest), "--json", "--max-delete-fraction", "1")


def sync(origin: Origin, dest: Path) -> Ended:
    origin.requests.clear()
    return run_command(*words(origin, dest))


def kill_a_sync(origin: Origin, dest: Path, folder: Path, after: int) -> None:
    """Kill one once it has sent so many requests, or let it end where it needs fewer."""
    origin.requests.clear()
    assert command()
    with start_command(folder, *words(origin, dest)) as running:
        wait_until(lambda: len(origin.requests) >= after or running.process.poll() is not None, "it has asked")
        if running.process.poll() is None:
            running.signal(signal.SIGKILL)
        running.process.wait(60)


def play(folder: Path, *, events: int, rounds: int, seed: int) -> None:
    archive = LivingArchive(instance_bytes=600)
    script = Script(archive, seed)
    script.happen(events // rounds)
    dest = folder / "mirror"
    with origin_thread(archive, style="azure", base_path="/v2", teller=AzureFeed(archive.chronicle)) as origin:
        assert sync(origin, dest).code == 0
        for _ in range(rounds - 1):
            script.happen(events // rounds)
            if script.draw.random() < 0.6:
                kill_a_sync(origin, dest, folder, script.draw.randrange(1, 60))
            else:
                sync(origin, dest)  # of what the feed tells late, some may be gone, and is then reported
        assert script.done >= events // rounds * rounds
        archive.chronicle.hidden.clear()
        ended = sync(origin, dest)
        assert ended.code == 0, ended.stderr
        tree = read_tree(dest)
        assert set(tree) == script.model()
        contents = {f"{name.study}/{name.series}/{name.sop}.dcm": one for name, one in archive.contents().items()}
        assert [path for path in tree if tree[path] != contents[path]] == []
        assert not any(one.path == "/studies" and "StudyInstanceUID" not in one.query for one in origin.requests)
        assert sync(origin, dest).code == 0
        assert {one.level for one in origin.requests} == {"feed"}
    verified = run_command("verify", dest, "--json")
    assert verified.code == 0, verified.stdout


@pytest.mark.timeout(300)
def test_a_mirror_killed_now_and_then_is_the_archive(tmp_path: Path) -> None:
    play(tmp_path, events=300, rounds=6, seed=3)


@pytest.mark.long
@pytest.mark.timeout(3_600)
@pytest.mark.parametrize("seed", [1, 2])
def test_ten_thousand_changes(tmp_path: Path, seed: int) -> None:
    play(tmp_path, events=10_000, rounds=50, seed=seed)
