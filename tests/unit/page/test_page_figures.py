"""What the page and `--json` say is what the ledger holds; nothing that others wrote makes it grow or name anybody."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from dicomhaul.cli.main import app
from dicomhaul.errors import LedgerError
from dicomhaul.page.figures import Figures, read_figures
from dicomhaul.page.html import page
from dicomhaul.record.ledger import Ledger
from support.fakes import series_row, write_cohort
from support.mirror import HOSTILE, PATIENT, write_mirror

_NOW = datetime(2026, 3, 6, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def mirror(tmp_path_factory: pytest.TempPathFactory) -> Path:
    dest = tmp_path_factory.mktemp("mirror") / "data"
    write_mirror(dest)
    return dest


def _figures(dest: Path) -> Figures:
    return read_figures(dest, now=_NOW)


def _change(dest: Path, *statements: str) -> None:
    with closing(sqlite3.connect(dest / ".dicomhaul" / "ledger.sqlite3")) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


@pytest.mark.parametrize("kept", [0, 1, 4], ids=["all are wanted", "one is kept", "some are kept"])
def test_totals_are_those_that_status_counts(tmp_path: Path, kept: int) -> None:
    mirror = tmp_path / "data"
    write_mirror(mirror)
    chosen = f"(SELECT id FROM series WHERE state = 1 ORDER BY id LIMIT {kept})"
    _change(
        mirror, f"UPDATE series SET kept = 1 WHERE id IN {chosen}", f"DELETE FROM member WHERE series_id IN {chosen}"
    )
    figures = _figures(mirror)
    assert figures.kept == kept
    with closing(Ledger.open(mirror / ".dicomhaul" / "ledger.sqlite3", read_only=True)) as ledger:
        standing = ledger.standing()
        failures = list(ledger.iter_failures(*(cohort.id for cohort in ledger.cohorts())))
    assert (figures.series, figures.complete, figures.failed) == (
        standing.series_planned,
        standing.series_complete,
        standing.series_failed,
    )
    assert (figures.instances, figures.bytes) == (standing.instances_present, standing.bytes_present)
    assert figures.instances_expected == standing.instances_expected
    assert dict(figures.checks) == standing.checks_as_json()
    assert figures.missing == len(failures) == sum(count for _, count in figures.reasons)
    assert sum(count for _, count in figures.proofs) == figures.complete


@pytest.mark.parametrize("kind", ["collections", "modalities", "licenses"])
def test_groups_add_up_to_the_whole(mirror: Path, kind: str) -> None:
    figures = _figures(mirror)
    groups = getattr(figures, kind)
    for name in ("series", "complete", "failed", "instances", "bytes"):
        assert sum(getattr(group, name) for group in groups) == getattr(figures, name)


def test_however_many_collections_there_are_few_are_named(tmp_path: Path) -> None:
    write_mirror(tmp_path / "data", series=200, failures=0)
    _change(tmp_path / "data", "UPDATE series SET collection = 'c' || id")
    collections = _figures(tmp_path / "data").collections
    assert len(collections) == 41
    assert (collections[-1].name, collections[-1].of) == (None, 160)
    assert sum(group.series for group in collections) == 200


def test_what_a_sync_left_to_do_is_told(mirror: Path) -> None:
    figures = _figures(mirror)
    assert [(row.reason, row.waits, row.instances) for row in figures.leaving] == [
        ("of a revision that is replaced", True, 1),
        ("withdrawn", False, 1),
    ]
    assert figures.swaps == 1
    assert [(day.day, day.files, day.bytes) for day in figures.trash] == [("2026-03-01", 3, 6_000)]
    assert [(feed.name, feed.lag_s) for feed in figures.feeds] == [("azure https://dicom.example/v2", 7_200.0)]
    assert (figures.runs[0].series_added, figures.runs[1].series_revised) == (9, 1)


def test_runs_are_told_in_order_and_a_killed_one_by_its_samples(mirror: Path) -> None:
    runs = _figures(mirror).runs
    assert [run.number for run in runs] == [1, 2, 3, 4, 5, 6]
    killed = runs[2]
    assert (killed.state, killed.took_s, killed.instances) == ("killed or running", 1_200.0, 10_800)
    assert killed.bytes == killed.samples[-1].size_bytes > 0
    assert [bool(run.samples) for run in runs] == [False, False, True, True, True, True]


@pytest.mark.parametrize(
    "tally", ["", "[]", "null", '{"retries": "9"', '{"retries": {"a": 1}}', '{"retries": -5, "requests": true}', "\x00"]
)
def test_a_tally_that_somebody_else_wrote_counts_nothing(tmp_path: Path, tally: str) -> None:
    write_mirror(tmp_path / "data", failures=0)
    with closing(sqlite3.connect(tmp_path / "data" / ".dicomhaul" / "ledger.sqlite3")) as db:
        db.execute("UPDATE run SET tally = ?, ended_at = 'never', started_at = 'some day'", (tally,))
        db.commit()
    figures = _figures(tmp_path / "data")
    assert [(run.retries, run.requests) for run in figures.runs] == [(0, 0)] * 6
    assert page(figures)


def test_a_ledger_that_lost_some_of_what_it_recorded_is_refused(tmp_path: Path) -> None:
    write_mirror(tmp_path / "data")
    _change(tmp_path / "data", "DELETE FROM instance WHERE series_id = 1")
    with pytest.raises(LedgerError, match="damaged"):
        _figures(tmp_path / "data")


def test_nobody_is_named_and_uids_stand_among_the_failures_alone(mirror: Path) -> None:
    figures = _figures(mirror)
    told = figures.as_json()
    assert PATIENT not in json.dumps(told)
    assert PATIENT not in page(figures)
    told["failures"] = []
    assert "1.2.840" not in json.dumps(told)


def test_what_others_wrote_is_one_line_and_bounded(mirror: Path) -> None:
    def texts(value: Any) -> list[str]:
        if isinstance(value, dict):
            return [text for each in value.values() for text in texts(each)]
        if isinstance(value, list | tuple):
            return [text for each in value for text in texts(each)]
        return [value] if isinstance(value, str) else []

    said = texts(_figures(mirror).as_json())
    assert max(map(len, said)) <= 401
    assert all(text.isprintable() for text in said)
    assert any(HOSTILE[0] in text for text in said)


def test_a_destination_of_which_nothing_is_there_yet_has_a_page(tmp_path: Path) -> None:
    (tmp_path / ".dicomhaul").mkdir()
    with closing(Ledger.open(tmp_path / ".dicomhaul" / "ledger.sqlite3")) as ledger:
        write_cohort(ledger, [series_row("1.1"), series_row("1.2")])
    figures = _figures(tmp_path)
    assert (figures.state, figures.instances_expected) == ("paused", None)
    assert "nobody states how many" in page(figures)


def _run(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["report", *map(str, words)])
    return done.exit_code, done.stdout, str(done.exception or "")


def test_the_page_goes_to_a_file_or_to_standard_output(mirror: Path, tmp_path: Path) -> None:
    code, out, _ = _run(mirror, "-o", tmp_path / "report.html", "--json")
    assert code == 0
    assert json.loads(out)["series"] == 48
    text = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]  # nothing half written beside it
    code, out, _ = _run(mirror, "-o", "-")
    assert out.startswith("<!doctype html>")


def test_it_never_lies_in_the_tree_that_it_tells_of(mirror: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(mirror)
    for place in (mirror / "report.html", mirror / ".dicomhaul" / "report.html", tmp_path / "link" / "report.html"):
        code, _, why = _run(mirror, "-o", place)
        assert code != 0
        assert "foreign file" in why
        assert not place.exists()


def test_what_cannot_be_done_is_said_before_anything_is_read(mirror: Path, tmp_path: Path) -> None:
    assert "say where the page goes" in _run(tmp_path / "none")[2]
    assert "both want standard output" in _run(mirror, "-o", "-", "--json")[2]
    assert "cannot write" in _run(mirror, "-o", tmp_path / "no" / "folder.html")[2]
