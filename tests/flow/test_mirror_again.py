"""The same destination, another day: what a server has more of now, and servers that come and go."""

import stat
from pathlib import Path

import pytest

from dicomhaul.origin import Origin
from support.command import Word, run_command
from support.destination import assert_recorded, expected_tree, has_ledger, read_tree
from support.made_up import made_up_catalog
from support.origin_process import origin_thread


def retrieved(origin: Origin) -> list[str]:
    """What was asked for beyond searches."""
    return [entry.path for entry in origin.requests if "dicom+json" not in (entry.accept or "")]


@pytest.mark.parametrize("style", ["google", "orthanc"])
def test_a_series_that_grew_is_completed(style: str, tmp_path: Path) -> None:
    """`google` states no counts: only the inventory shows that there is more."""
    words: list[Word] = ["--all", "-o", tmp_path / "d", "--json"]
    with origin_thread(made_up_catalog(3, 2), style=style) as origin:
        assert run_command("pull", "--source", origin.url, *words).json["instances_present"] == 5
    grown = made_up_catalog(5, 2)
    with origin_thread(grown, style=style) as origin:
        done = run_command("pull", "--source", origin.url, *words)
        assert (done.code, done.json["instances_landed"], done.json["instances_present"]) == (0, 2, 7)
        before = len(retrieved(origin))
        again = run_command("pull", "--source", origin.url, *words)
        assert (again.code, again.json["instances_landed"]) == (0, 0)
        assert len(retrieved(origin)) == before
    assert read_tree(tmp_path / "d") == expected_tree(grown)
    assert_recorded(tmp_path / "d", expected_tree(grown))


def test_a_source_that_is_down_does_not_keep_another_from_being_asked(tmp_path: Path) -> None:
    dest = tmp_path / "d"
    gone = tmp_path / "gone.csv"
    gone.write_text("StudyInstanceUID,SeriesInstanceUID\n1.2.3,1.2.3.4\n")
    there = made_up_catalog(3)
    with origin_thread(there) as origin:
        down = "http://127.0.0.1:9/dicom-web"
        assert run_command("pull", gone, "--source", down, "-o", dest, "--json").code == 4
        assert run_command("pull", "--all", "--source", origin.url, "-o", dest, "--json").code == 0
        next(path for path in dest.rglob("*.dcm")).unlink()
        done = run_command("resume", dest, "--recheck", "--json")
    assert (done.code, done.json["state"], done.json["instances_landed"]) == (4, "paused", 1)
    assert read_tree(dest) == expected_tree(there)


def test_a_plan_that_fails_decides_no_layout(tmp_path: Path) -> None:
    dest = tmp_path / "d"
    with origin_thread(made_up_catalog(1)) as origin:
        words: list[Word] = ["pull", "--all", "--source", origin.url, "-o", dest]
        assert run_command(*words, "--layout", "{Manufacturer}/{SeriesInstanceUID}").code == 2
        assert run_command(*words).code == 0


def test_resume_makes_nothing_where_nothing_was_pulled(tmp_path: Path) -> None:
    done = run_command("resume", tmp_path / "typo")
    assert (done.code, done.complaint.startswith("nothing was ever asked for")) == (1, True)
    assert not has_ledger(tmp_path / "typo")
    assert list(tmp_path.iterdir()) == []


def test_an_index_follows_a_repair_that_could_not_be_made(tmp_path: Path) -> None:
    dest = tmp_path / "d"
    catalog = made_up_catalog(3)
    with origin_thread(catalog) as origin:
        assert run_command("pull", "--all", "--source", origin.url, "-o", dest).code == 0
    lost = min(expected_tree(catalog))
    (dest / lost).unlink()
    assert run_command("verify", dest, "--repair").code == 4
    assert_recorded(dest, {path: content for path, content in expected_tree(catalog).items() if path != lost})


def test_the_private_folder_stays_private(tmp_path: Path) -> None:
    with origin_thread(made_up_catalog(1)) as origin:
        assert run_command("pull", "--all", "--source", origin.url, "-o", tmp_path / "d").code == 0
    private = tmp_path / "d" / ".dicomhaul"
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert stat.S_IMODE((private / "ledger.sqlite3").stat().st_mode) == 0o600
