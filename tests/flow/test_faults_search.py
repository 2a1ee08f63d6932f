"""`pull --all` from a server whose searches are wrong: the cohort is complete, or the command says why it cannot be."""

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from dicomhaul.origin import Cut, Flood, Gzip, Pages, Rule, Stall, Status, Truncate, synthetic_catalog
from dicomhaul.origin.faults import Action
from dicomhaul.wire.dicom_json import STUDY_SERIES, STUDY_UID
from support.command import Ended, run_command
from support.destination import assert_recorded, expected_tree, has_ledger, read_series_states, read_tree
from support.made_up import made_up_rows
from support.origin_process import origin_thread

PAGE = 3
TRIES = 3
DAMAGED = 3
PROFILE = f"""
[search]
page = {{ studies = {PAGE}, series = {PAGE}, instances = {PAGE} }}
[limits]
stall_timeout_s = 2.0
attempts = {TRIES}
"""

# Searches for the series of a study, each of which fails once, in a way of its own; what is packed is so always.
ONCE: dict[str, Action] = {
    "503": Status(status=503),
    "429 with seconds": Status(status=429, retry_after_s=1),
    "reset before headers": Cut(reset=True),
    "reset at byte N": Cut(after_bytes=100, reset=True),
    "FIN at byte N with Content-Length": Cut(after_bytes=100, outer="length"),
    "FIN at byte N without Content-Length": Cut(after_bytes=100, outer="close"),
    "chunked body cut": Cut(after_bytes=100, outer="chunked"),
    "FIN before the first byte with Content-Length": Cut(after_bytes=0, outer="length"),
    "FIN before the first byte without Content-Length": Cut(after_bytes=0, outer="close"),
    "JSON cut inside whole HTTP": Truncate(after_bytes=100),
    "JSON error with 200, labelled as DICOM": Status(
        status=200, body='["no"]', headers={"Content-Type": "application/dicom+json"}
    ),
    "stall for ever": Stall(after_bytes=100),
    "gzip body": Gzip(),
}


@dataclass(frozen=True, slots=True)
class Case:
    """What is wrong with searches for studies, all of them, and what has to come of it.

    Attributes:
        action: the fault.
        searches: for studies, exactly.
        code: the exit code; 0: everything comes.
        complaint: a pattern for why not.
    """

    action: Action
    searches: int
    code: int = 0
    complaint: str = ""


STUDIES = 7
ROWS = made_up_rows(*[1] * STUDIES, series_a_study=1)
CATALOG = synthetic_catalog(ROWS)
CASES = {
    "a page cap lower than asked for": Case(Pages(wrong="cap", most=2), 5),  # 2, 2, 2, 1, none
    "pages that shift": Case(Pages(wrong="shift"), 4),  # 3; 1 old and 2 new; 1 old and 2 new; none
    "an answer that repeats itself for ever": Case(Pages(wrong="repeat"), 2, 2, "repeats its first 3 studies"),
    "HTML with 200": Case(Status(status=200, body="<html></html>"), 1, 1, "is there a DICOMweb server at this URL"),
    "JSON error with 200": Case(Status(status=200, body='{"Message": "no"}'), 1, 2, "has no StudyInstanceUID"),
    "JSON cut inside whole HTTP": Case(Truncate(after_bytes=100), DAMAGED, 1, "is not JSON"),
    "nothing at all, and nobody says so": Case(Cut(after_bytes=0, outer="close"), DAMAGED, 1, "before its first byte"),
    "200 empty": Case(Status(status=200), DAMAGED, 1, "200 and an empty body"),
    "500 empty": Case(Status(status=500), TRIES, 1, "500"),
    "gzip bomb": Case(Gzip(pad_bytes=100_000_000), 1, 1, "more than"),
    "JSON that nests for ever": Case(
        Flood(unit="[", count=1_000_000, headers={"Content-Type": "application/dicom+json"}), DAMAGED, 1, "is not JSON"
    ),
}


def pull(folder: Path, url: str) -> Ended:
    """Pull everything that the server lists."""
    text = f'name = "mine"\nextends = "generic"\nurl = "{url}"\n{PROFILE}'
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    return run_command("pull", "--all", "--source", folder / "mine.toml", "-o", folder / "dest")


def test_pages_that_are_short_or_shift(tmp_path: Path) -> None:
    """In short and in one run; each by itself is `long`. How many series a study has is told, how many studies not."""
    rows = made_up_rows(*[1] * 8, series_a_study=4)
    catalog = synthetic_catalog(rows)
    short, shifting = (f"/studies/{study}/series" for study in dict.fromkeys(row.study for row in rows))
    rules = [
        Rule(path="^/studies$", level="search", action=Pages(wrong="cap", most=1)),
        Rule(path=f"^{re.escape(short)}$", level="search", action=Pages(wrong="cap", most=2)),
        Rule(path=f"^{re.escape(shifting)}$", level="search", action=Pages(wrong="shift")),
    ]
    with origin_thread(catalog, rules=rules) as origin:
        ended = pull(tmp_path, origin.url)
        asked = Counter(entry.path for entry in origin.requests)
    assert ended.code == 0, ended.stderr
    assert ended.stdout.startswith("complete: 8 instances landed")
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)
    assert_recorded(tmp_path / "dest", expected_tree(catalog))
    assert asked.pop("/studies") == 3  # 1, 1, none
    assert asked.pop(short) == 2  # 2, 2
    assert asked.pop(shifting) == 2  # 3; 1 old and 1 new
    assert set(asked.values()) == {1}
    assert len(asked) == len(rows)


def test_a_study_of_which_series_are_not_listed_is_named_each_time(tmp_path: Path) -> None:
    rows = made_up_rows(1, 1, series_a_study=2)
    study, catalog = rows[0].study, synthetic_catalog(rows)
    stated = f'[{{"{STUDY_UID}": {{"Value": ["{study}"]}}, "{STUDY_SERIES}": {{"Value": [5]}}}}]'
    listing = Flood(before=stated, headers={"Content-Type": "application/dicom+json"})
    rule = Rule(path="^/studies$", level="search", times=frozenset({1}), action=listing)
    with origin_thread(catalog, rules=[rule]) as origin:
        ended = pull(tmp_path, origin.url)
        again = run_command("resume", tmp_path / "dest")
    for one in (ended, again):
        assert one.code == 3, one.stderr
        assert f"  missing: study {study}: the server states 5 series and lists 2" in one.stdout.splitlines()
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)


@pytest.mark.long
def test_searches_that_fail_once(tmp_path: Path) -> None:
    rows = made_up_rows(*[1] * len(ONCE), series_a_study=1)
    catalog = synthetic_catalog(rows)
    rules = [
        Rule(
            path=f"^/studies/{re.escape(row.study)}/series$",
            level="search",
            times=frozenset() if isinstance(action, Gzip) else frozenset({1}),
            action=action,
        )
        for row, action in zip(rows, ONCE.values(), strict=True)
    ]
    with origin_thread(catalog, rules=rules) as origin:
        ended = pull(tmp_path, origin.url)
        asked = Counter(entry.path for entry in origin.requests)
        struck = {entry.path for entry in origin.requests if entry.fault}
    assert ended.code == 0, ended.stderr
    assert read_tree(tmp_path / "dest") == expected_tree(catalog)
    assert_recorded(tmp_path / "dest", expected_tree(catalog))
    searches = {f"/studies/{row.study}/series": name for row, name in zip(rows, ONCE, strict=True)}
    assert struck == set(searches)
    for path, name in searches.items():
        assert asked.pop(path) == (1 if name == "gzip body" else 2), name
    assert asked.pop("/studies") == len(rows) // PAGE + 2  # the last page is short, and one is empty
    assert set(asked.values()) == {1}
    assert len(asked) == len(rows)


# The others by `make siege`.
IN_SHORT = {"an answer that repeats itself for ever"}


@pytest.mark.parametrize(
    "fault", [pytest.param(name, marks=[] if name in IN_SHORT else pytest.mark.long) for name in CASES]
)
def test_searches_that_are_always_wrong(fault: str, tmp_path: Path) -> None:
    case, dest = CASES[fault], tmp_path / "dest"
    rule = Rule(path="^/studies$", level="search", action=case.action)
    with origin_thread(CATALOG, rules=[rule]) as origin:
        ended = pull(tmp_path, origin.url)
        asked = [entry.path for entry in origin.requests]
        retrieved = sum(entry.level != "search" for entry in origin.requests)
    assert ended.code == case.code, ended.stderr
    assert asked.count("/studies") == case.searches
    if case.code == 0:
        assert read_tree(dest) == expected_tree(CATALOG)
        assert_recorded(dest, expected_tree(CATALOG))
        assert (len(asked), retrieved) == (case.searches + 2 * STUDIES, STUDIES)
    else:
        assert re.search(case.complaint, ended.complaint)
        assert not dest.exists() or read_tree(dest) == {}
        assert not has_ledger(dest) or read_series_states(dest) == {}
        assert retrieved == 0  # nothing is brought of a cohort that is not known
