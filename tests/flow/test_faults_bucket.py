"""`pull` from a bucket that fails some of its objects, or its listings, each in a way of its own."""

import json
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import NAMESPACE_OID, uuid5

from dicomhaul.model import Series, State
from dicomhaul.origin import (
    BucketOrigin,
    Cut,
    Gzip,
    Holdings,
    Part,
    Range,
    Rule,
    Script,
    Slow,
    Stall,
    Status,
    Truncate,
    in_thread,
    serve_bucket,
    synthetic_holdings,
)
from dicomhaul.origin.faults import Action
from dicomhaul.source.stranger import SERIES_DOWN
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, expected_tree, read_series_states, read_tree
from support.made_up import made_up_rows

HTML = "<html><body>Please log in</body></html>"
BUCKET = "idc-open-data"
COUNT = 2
TRIES, DAMAGED, ROUNDS = 2, 3, 3
EVER = frozenset[int]()
ONCE = frozenset({1})
LIMITS = f"[limits]\nattempts = {TRIES}\nstall_timeout_s = 2.0\n"


@dataclass(frozen=True, slots=True)
class Case:
    """What is wrong with the first object of a series, and what has to come of it.

    Attributes:
        action: the fault.
        asked: requests for that object, exactly.
        reason: a pattern for what the report says; "": it comes.
        times: which of its answers are struck; none: all.
    """

    action: Action
    asked: int
    reason: str = ""
    times: frozenset[int] = ONCE


CASES = {
    "reset before headers": Case(Cut(reset=True), 2),
    "reset at byte N": Case(Cut(after_bytes=3_000, reset=True), 2),
    "FIN at byte N with Content-Length": Case(Cut(after_bytes=3_000), 2),
    "FIN at byte N without Content-Length": Case(Cut(after_bytes=3_000, outer="close"), 2),
    "chunked body cut": Case(Cut(after_bytes=3_000, outer="chunked"), 2),
    "ended well for HTTP, too early": Case(Truncate(after_bytes=3_000, outer="length"), 2),
    "stated one byte too long": Case(Part(wrong="length_over"), 2),
    "stated one byte too short": Case(Part(wrong="length"), 2),
    "a bit flipped": Case(Part(wrong="flip"), 2),
    "HTML with 200": Case(Status(status=200, body=HTML), 2),
    "206": Case(Range(wrong="unasked"), 2),
    "500 empty": Case(Status(status=500), 2),
    "503 with seconds": Case(Status(status=503, retry_after_s=1), 2),
    "stall for ever": Case(Stall(after_bytes=3_000), 2),
    "one byte a second": Case(Slow(), 2),
    "reset at byte N, for ever": Case(Cut(after_bytes=3_000, reset=True), TRIES, "broke|too early", EVER),
    "ended too early, for ever": Case(Truncate(after_bytes=3_000, outer="close"), TRIES, "ends at byte 3,000", EVER),
    "a bit flipped, for ever": Case(Part(wrong="flip"), ROUNDS, "MD5", EVER),
    "HTML with 200, for ever": Case(Status(status=200, body=HTML), TRIES, "the answer has 39 bytes", EVER),
    "gzip body": Case(Gzip(), 1, "encoded", EVER),
    "403": Case(Status(status=403), 1, "403", EVER),
    "404": Case(Status(status=404), 1, "404", EVER),
    "204": Case(Status(status=204), 1, "204", EVER),
}


def rows_in_bucket(count: int) -> list[Series]:
    """Made-up series that a bucket holds."""
    return [
        row._replace(revision=str(uuid5(NAMESPACE_OID, row.series)), bucket=BUCKET)
        for row in made_up_rows(*[COUNT] * count, series_a_study=1)
    ]


@contextmanager
def bucket_thread(holdings: Holdings, rules: Sequence[Rule] = ()) -> Iterator[BucketOrigin]:
    """Serve a bucket beside the test."""
    with in_thread(serve_bucket(holdings, faults=Script(list(rules))), name="bucket") as origin:
        yield origin


def pull(folder: Path, url: str, rows: Sequence[Series], *more: Word) -> Ended:
    """Pull by a lock, which says what lies where, so that no index has to."""
    head = {"dicomhaul_lock": 1, "written_by": "a test", "created": "2024-01-01T00:00:00+00:00", "query": {}}
    lines = [json.dumps(head | {"idc_version": 25, "series": len(rows)})]
    for row in sorted(rows, key=lambda row: row.series):
        said = {"series": row.series, "study": row.study, "revision": row.revision, "bucket": BUCKET}
        lines.append(json.dumps(said | {"instances": row.expected, "size_bytes": row.size_bytes}))
    (folder / "cohort.lock").write_text("\n".join([*lines, ""]), encoding="utf-8")
    text = f'name = "mine"\nextends = "idc-bucket"\nkind = "bucket"\nurl = "{url}"\n{LIMITS}'
    (folder / "mine.toml").write_text(text, encoding="utf-8")
    words: list[Word] = ["pull", folder / "cohort.lock", "--source", folder / "mine.toml", "-o", folder / "dest"]
    return run_command(*words, "--layout", "{StudyInstanceUID}/{SeriesInstanceUID}", "--json", *more)


def first_keys(holdings: Holdings) -> list[str]:
    """The key of the first object of each series."""
    return [next(iter(each.sops)) for each in holdings.revisions]


def test_objects_that_are_wrong(tmp_path: Path) -> None:
    dest = tmp_path / "dest"
    rows = rows_in_bucket(len(CASES))
    holdings = synthetic_holdings(rows)
    keys = dict(zip(first_keys(holdings), CASES, strict=True))
    rules = [
        Rule(path=re.escape(key) + "$", level="object", times=CASES[name].times, action=CASES[name].action)
        for key, name in keys.items()
    ]
    with bucket_thread(holdings, rules) as origin:
        ended = pull(tmp_path, origin.url, rows)
        asked = Counter(entry.path.partition("/" + BUCKET + "/")[2] for entry in origin.requests)
    wrong = [f"{name}: {asked[key]}" for key, name in keys.items() if asked.pop(key) != CASES[name].asked]
    assert not wrong
    assert set(asked.values()) == {1}  # each listing, and each object that is well
    assert len(asked) == len(rows) * COUNT
    failed = {row.series: name for row, name in zip(rows, CASES, strict=True) if CASES[name].reason}
    assert (ended.code, ended.json["state"]) == (3, "partial"), ended.stderr
    assert {failure["series"] for failure in ended.json["failures"]} == set(failed)
    for failure in ended.json["failures"]:
        name = failed[failure["series"]]
        assert re.search(CASES[name].reason, failure["reason"]), f"{name}: {failure['reason']}"
    lost = {each.sops[key] for key, each in zip(keys, holdings.revisions, strict=True) if CASES[keys[key]].reason}
    whole = expected_tree(holdings.catalog())
    due = {path: content for path, content in whole.items() if Path(path).stem not in lost}
    assert read_tree(dest) == due
    assert_recorded(dest, due)
    assert list((dest / ".dicomhaul" / "staging").iterdir()) == []
    states = {series: state for (_, series), state in read_series_states(dest).items()}
    assert states == {row.series: State.FAILED if row.series in failed else State.LANDED for row in rows}

    with bucket_thread(holdings) as origin:
        mended = pull(tmp_path, origin.url, rows)
        objects = [entry.path for entry in origin.requests if entry.level == "object"]
    assert (mended.code, mended.json["state"]) == (0, "complete")
    assert len(objects) == len(failed)
    assert read_tree(dest) == whole


def test_a_bucket_that_answers_html_to_everything(tmp_path: Path) -> None:
    """It is left with the eighth series, of which each was listed three times: the page is no XML, or cut."""
    rows = rows_in_bucket(2 * SERIES_DOWN + 4)
    holdings = synthetic_holdings(rows)
    with bucket_thread(holdings, [Rule(action=Status(status=200, body="<html><br></html>"))]) as origin:
        ended = pull(tmp_path, origin.url, rows, "--transfers", "2")
        asked = Counter(entry.path for entry in origin.requests)
    assert (ended.code, ended.json["state"]) == (4, "paused"), ended.stderr
    assert "login page" in ended.json["reason"]
    assert SERIES_DOWN <= len(asked) < len(rows)
    assert max(asked.values()) <= min(TRIES, DAMAGED)
    states = list(read_series_states(tmp_path / "dest").values())
    assert states.count(State.FAILED) < SERIES_DOWN
    assert states.count(State.LANDED) == 0
    with bucket_thread(holdings) as origin:
        again = pull(tmp_path, origin.url, rows)
    assert (again.code, again.json["state"]) == (0, "complete")
    assert read_tree(tmp_path / "dest") == expected_tree(holdings.catalog())


def test_four_series_are_under_way_at_once(tmp_path: Path) -> None:
    """While one is listed and another one ends, the others keep the line full."""
    rows = rows_in_bucket(12)
    holdings = synthetic_holdings(rows)
    with bucket_thread(holdings) as origin:
        ended = pull(tmp_path, origin.url, rows, "--transfers", str(COUNT))
        levels = [entry.level for entry in origin.requests]
    assert ended.code == 0, ended.stderr
    assert levels.index("object") >= 3  # the fourth listing may still be under way
