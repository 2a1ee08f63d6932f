"""The long run, in short: what `benchmarks/soak.py` finds in an hour, it could find in seconds if it were plain."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "soak.py"


def load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("soak", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_some_rounds_lose_and_leak_nothing(tmp_path: Path) -> None:
    figures = tmp_path / "soak.json"
    words = ["--minutes", "0", "--series", "400", "--rate", "1000", "--json", str(figures), "--folder", str(tmp_path)]
    done = subprocess.run([sys.executable, SCRIPT, *words], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(figures.read_text())
    assert len(told["rounds"]) == 2
    assert [(each["state"], each["wrong"]) for each in told["rounds"]] == [(True, 0)] * len(told["rounds"])
    faults = told["faults"]
    assert faults["none"] >= 800
    assert len(faults) > 3  # several kinds have struck
    assert sum(each["retries"] for each in told["rounds"]) > 10


def healthy() -> dict[str, Any]:
    """Figures of an hour as they should be."""
    held = {"descriptors": 9, "connections": 3, "threads": 8, "tasks": 2}
    return {
        "rounds": [{"state": True, "wrong": 0, "requests": 800_000, "elapsed_s": 3_300.0}],
        "samples": [{"at_s": 60.0 * minute, "rss_mb": 70.0 + minute % 3} for minute in range(60)],
        "before": dict(held),
        "after": dict(held),
    }


def test_what_is_well() -> None:
    assert load()._judge(healthy(), rate=250.0, minutes=60.0) == []


@pytest.mark.parametrize(
    ("part", "key", "value", "problem"),
    [
        ("rounds", "state", False, "not complete"),
        ("rounds", "wrong", 1, "1 instances lost"),
        ("rounds", "elapsed_s", 4_200.0, "only 190 requests"),
        ("after", "descriptors", 10, "descriptors: 9"),
        ("after", "connections", 4, "connections: 3"),
        ("after", "threads", 13, "threads: 8"),
        ("after", "tasks", 3, "tasks: 2"),
    ],
)
def test_what_is_not(part: str, key: str, value: object, problem: str) -> None:
    told = healthy()
    place = told[part]
    (place[0] if isinstance(place, list) else place)[key] = value
    (found,) = load()._judge(told, rate=250.0, minutes=60.0)
    assert problem in found


def test_growth_of_six_percent_is_found() -> None:
    told = healthy()
    for sample in told["samples"][-15:]:
        sample["rss_mb"] *= 1.06
    (found,) = load()._judge(told, rate=250.0, minutes=60.0)
    assert "memory grew" in found
