"""Crashes a command again and again at moments that a seed chooses, and sees each time what is left, and what comes."""

import itertools
import os
import random
import shutil
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from support.command import Ended, run_command
from support.crashes import NOTHING, Task, assert_swept, left_at
from support.disk import Disk

SEED: Final = int(os.environ.get("DICOMHAUL_TEST_SEED", "5"))
# A kind of call, and the most of it that are let by before the crash.
Moments = Sequence[tuple[str, int]]
_ALONE: Final = 0.3  # of the kills leave what the command had started alive
_TRIES: Final = 4  # a moment may not come: there was less to do


@dataclass(slots=True)
class Siege:
    """A task on a disk, beside what it comes to when nobody disturbs it.

    Attributes:
        met: how many crashes there were, by the call at which they came.
    """

    task: Task
    disk: Disk
    folder: Path
    name: str
    met: Counter[str] = field(default_factory=Counter)

    def kill(self, moments: Moments, times: int) -> None:
        """Kill it so many times."""
        chance = random.Random(f"{self.name} {SEED}")

        def crash(kind: str, nth: int, dest: Path) -> str | Ended:
            alone = chance.random() < _ALONE
            return self.disk.kill_at(kind, nth, self.folder, *self.task.words(dest), alone=alone)

        self._crash(moments, times, chance, crash, lambda: None)

    def cut(self, moments: Moments, times: int) -> None:
        """Cut the power so many times, and once more when everything is done."""
        chance = random.Random(f"{self.name} {SEED}")

        def crash(kind: str, nth: int, dest: Path) -> str | Ended:
            left = chance.choice((0, chance.randrange(1, 1 << 30)))
            return self.disk.cut_at(kind, nth, left, self.folder, *self.task.words(dest))

        self._crash(moments, times, chance, crash, lambda: self.disk.cut(0))

    def _crash(
        self,
        moments: Moments,
        times: int,
        chance: random.Random,
        crash: Callable[[str, int, Path], str | Ended],
        at_the_end: Callable[[], None],
    ) -> None:
        task, numbers, before = self.task, itertools.count(), NOTHING
        calm = self.folder / "calm"
        task.prepare(calm)
        assert run_command(*task.words(calm)).code == 0
        task.assert_whole(calm, calm)
        dest: Path | None = None
        for kind, most in itertools.islice(itertools.cycle(moments), _TRIES * times + len(moments)):
            if self.met.total() == times:
                break
            if dest is None:
                dest, before = self.disk.root / f"d{next(numbers)}", NOTHING
                task.prepare(dest)
                self.disk.settle()
            nth = chance.randint(1, most)
            told = f"{self.name}, seed {SEED}, crash {self.met.total()}, {dest.name}: {kind} {nth}"
            task.requests.clear()
            found = crash(kind, nth, dest)
            assert task.asked_again(before) == [], told
            if isinstance(found, Ended):
                assert (found.code, found.json["state"]) == (0, "complete"), f"{told}: {found.stderr}"
                assert_swept(dest)
                at_the_end()
                task.assert_whole(dest, calm)
                shutil.rmtree(dest)
                dest = None
                continue
            left = left_at(dest, self.folder, task.good, told)
            assert left.identities >= before.identities, told
            before = left
            at = "not planned" if not left.planned else "an object begun" if left.begun else ""
            self.met[f"{found}, {at}".removesuffix(", ")] += 1
        assert self.met.total() == times, self.met
        if dest is not None:
            task.requests.clear()
            ended = run_command(*task.words(dest))
            assert task.asked_again(before) == []
            assert (ended.code, ended.json["state"]) == (0, "complete"), ended.stderr
            assert_swept(dest)
            at_the_end()
            task.assert_whole(dest, calm)
        lines = [f"{self.name}: {times}", *(f"  {count:4} {kind}" for kind, count in sorted(self.met.items()))]
        sys.stdout.write("\n".join(["", *lines, ""]))
