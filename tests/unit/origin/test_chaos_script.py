"""The fault script that is shipped: it can be read, and shows every fault there is."""

import tomllib
from pathlib import Path
from typing import Any, Final, get_args

import pytest

from dicomhaul.origin import Action, read_script

CHAOS: Final = Path(__file__).resolve().parents[3] / "examples" / "chaos.toml"
ACTIONS: Final = get_args(get_args(Action)[0])


def shown() -> list[dict[str, Any]]:
    return [rule["action"] for rule in tomllib.loads(CHAOS.read_text(encoding="utf-8"))["rule"]]


def test_it_can_be_read() -> None:
    script = read_script(CHAOS)
    struck = [script.strike(f"/studies/1/series/{n}", "series") for n in range(2_000)]
    assert 200 < sum(action is not None for action in struck) < 1_000


@pytest.mark.parametrize("action", ACTIONS, ids=lambda action: action.__name__)
def test_it_shows_every_fault(action: Any) -> None:
    name = action.model_fields["do"].default
    mine = [each for each in shown() if each["do"] == name]
    assert mine
    field = action.model_fields.get("wrong")
    if field is not None:
        assert {each.get("wrong", field.default) for each in mine} == set(get_args(field.annotation))
    used = {key for each in mine for key in each}
    unused = set(action.model_fields) - used - {"wrong"}
    assert unused <= {"after_bytes", "within_bytes", "outer", "before", "after", "unit", "count", "headers", "status"}
