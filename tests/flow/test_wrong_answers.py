"""`pull` from an origin that answers each series wrongly, in a way of its own: what can be had lands."""

from pathlib import Path

import pytest

from dicomhaul.origin import Cut, Entry, Part, Rule, Status, Truncate, synthetic_catalog
from dicomhaul.origin.faults import Action
from support.command import run_command
from support.destination import assert_recorded, expected_tree, read_tree
from support.made_up import made_up_rows
from support.origin_process import origin_thread

HTML = "<html><body>Please log in</body></html>"
COUNT = 4


def once(path: str, action: Action) -> Rule:
    return Rule(path=path, level="series", times=frozenset({1}), action=action)


def always(path: str, action: Action) -> Rule:
    return Rule(path=path, action=action)


def asked_for(requests: list[Entry], series: str) -> list[str]:
    """What of a series was asked for, in order: 'series', or a SOP Instance UID."""
    paths = [
        entry.path for entry in requests if entry.level in {"series", "instance"} and f"/series/{series}" in entry.path
    ]
    return [path.rpartition("/instances/")[2] if "/instances/" in path else "series" for path in paths]


# What goes wrong with the first answer, and what may then be asked for: the series again, or so many instances singly.
PASSING: dict[str, tuple[Action, str | int]] = {
    "left out": (Part(wrong="omit", index=1), 1),
    "sent twice": (Part(wrong="duplicate", index=1), 0),
    "of another series": (Part(wrong="foreign", index=1), "series"),
    "a UID that climbs": (Part(wrong="evil_uid", index=1), "series"),
    "text": (Part(wrong="text", index=1), "series"),
    "cut inside whole framing": (Part(wrong="cut", index=1), "series"),
    "length too small": (Part(wrong="length", index=1), "series"),
    "length too large": (Part(wrong="length_over", index=1), "series"),
    "no closing delimiter": (Truncate(), "series"),
    "ends in a part": (Truncate(after_bytes=20_000), "series"),
    "reset": (Cut(after_bytes=20_000, reset=True), "series"),
    "closed": (Cut(after_bytes=20_000), "series"),
    "closed at once": (Cut(), "series"),
    "a page of HTML": (Status(status=200, body=HTML), "series"),
    "busy": (Status(status=503), "series"),
    "busy for a while": (Status(status=503, headers={"Retry-After": "0"}), "series"),
    "too many": (Status(status=429, headers={"Retry-After": "0"}), "series"),
}


@pytest.mark.parametrize("style", ["orthanc", "strict"])
def test_what_goes_wrong_once_is_mended_in_the_same_run(style: str, tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    rows = made_up_rows(*[COUNT] * (len(PASSING) + 1), series_a_study=1)
    catalog = synthetic_catalog(rows)
    rules = [once(f"/{row.series}$", action) for row, (action, _) in zip(rows, PASSING.values(), strict=False)]
    with origin_thread(catalog, style=style, rules=rules) as origin:
        ended = run_command("pull", "--source", origin.url, "--all", "-o", dest, "--json")
        requests = list(origin.requests)
    assert (ended.code, ended.json["state"], ended.json["failures"]) == (0, "complete", [])
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)
    assert_recorded(dest, expected_tree(catalog))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dest"]
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
    for row, (wrong, (_, then)) in zip(rows, PASSING.items(), strict=False):
        asked = asked_for(requests, row.series)
        assert asked[0] == "series", wrong
        if isinstance(then, str):
            assert asked[1:] == [then], wrong
        else:
            assert len(asked) == 1 + then, wrong
    assert asked_for(requests, rows[-1].series) == ["series"]
    assert ended.json["throttled"] == 2
    assert ended.json["bytes_discarded"] > 0


# What stays wrong, and what the report says of it.
LASTING: dict[str, tuple[Action, str]] = {
    "forbidden": (Status(status=403), "403"),
    "never found": (Status(status=404), "404"),
    "gone": (Status(status=410), "410"),
    "HTML": (Status(status=200, body=HTML), "text/html"),
    "text": (Part(wrong="text", index=0), ""),
    "foreign": (Part(wrong="foreign", index=0), "another"),
    "evil": (Part(wrong="evil_uid", index=0), "another"),
    "cut": (Part(wrong="cut", index=0), ""),
}


def test_what_stays_wrong_is_named_and_the_rest_lands(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    rows = made_up_rows(*[2] * (len(LASTING) + 2), series_a_study=1)
    catalog = synthetic_catalog(rows)
    wrong = dict(zip([row.series for row in rows], LASTING.items(), strict=False))
    rules = [
        Rule(path=f"/{series}(/instances/[^/]+)?$", level=level, action=action)
        for series, (_, (action, _)) in wrong.items()
        for level in ("series", "instance")
    ]
    with origin_thread(catalog, rules=rules) as origin:
        ended = run_command("pull", "--source", origin.url, "--all", "-o", dest, "--json")
        broken = {failure["series"] for failure in ended.json["failures"]}
        assert (ended.code, ended.json["state"]) == (3, "partial")
        assert broken == set(wrong)
        for failure in ended.json["failures"]:
            name, (_, hint) = wrong[failure["series"]]
            assert hint in failure["reason"], name
        tree = read_tree(dest)
        for path, content in expected_tree(catalog).items():
            assert (path in tree) or path.split("/")[1] in wrong
            assert tree.get(path, content) == content
        assert set(tree) <= set(expected_tree(catalog))
        assert_recorded(dest, tree)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["dest"]

        plain = run_command("status", dest)
        assert plain.code == 3
        assert all(series in plain.stdout or "missing: instance" in plain.stdout for series in wrong)

    with origin_thread(catalog) as origin:  # mended there; another port, so the source is said anew
        ended = run_command("resume", dest, "--source", origin.url, "--json")
        asked = [entry.path for entry in origin.requests if entry.level in {"series", "instance"}]
    assert (ended.code, ended.json["state"], ended.json["failures"]) == (0, "complete", [])
    assert read_tree(dest) == expected_tree(catalog)
    assert all(any(series in path for series in wrong) for path in asked)
