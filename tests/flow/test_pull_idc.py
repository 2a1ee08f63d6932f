"""Cohorts of the real IDC index, and manifests, from an origin that makes their instances up."""

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from dicomhaul import Cohort, Hauler, run
from dicomhaul.cohort.idc import open_idc
from dicomhaul.model import Query, Series
from dicomhaul.origin import Catalog, Origin, synthetic_catalog
from dicomhaul.plan.estimate import Summary
from dicomhaul.planner.parent import plan
from dicomhaul.planner.request import PlanRequest, Progress
from support.command import Word, run_command
from support.destination import assert_recorded, expected_tree, read_tree
from support.made_up import made_up_rows, manifest_of
from support.origin_process import origin_thread

COLLECTION = "qin_pet_phantom"
BYTES = 4_000
FEW = 100  # instances: series with more are left out, to be quick


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """The PET series of one small collection, smallest first, as the index has them."""
    with open_idc(Query(collection=(COLLECTION,), modality=("PT",))) as cohort:
        found = [row for batch in cohort.iter_rows() for row, _ in batch]
    return sorted((row for row in found if (row.expected or 0) <= FEW), key=lambda row: (row.expected, row.series))


@contextmanager
def idc_origin(folder: Path, catalog: Catalog) -> Iterator[tuple[Origin, Path]]:
    """Serve `catalog`; yield the origin, and a profile that looks cohorts up in IDC's index."""
    with origin_thread(catalog) as origin:
        profile = folder / "local.toml"
        profile.write_text(f'name = "local"\nindex = "idc"\nurl = "{origin.url}"\n', encoding="utf-8")
        yield origin, profile


def in_idc_layout(rows: list[Series]) -> dict[str, bytes]:
    """The tree that idc-index would make."""
    trees = [
        expected_tree(
            synthetic_catalog([row], max_instance_bytes=BYTES),
            f"{row.collection}/{row.patient}/{{study}}/{row.modality}_{{series}}",
        )
        for row in rows
    ]
    return dict(itertools.chain.from_iterable(tree.items() for tree in trees))


def test_a_collection_and_a_modality(rows: list[Series], tmp_path: Path) -> None:
    dest, two = tmp_path / "dest", rows[:2]
    uids = ",".join(row.series for row in two)
    with idc_origin(tmp_path, synthetic_catalog(two, max_instance_bytes=BYTES)) as (origin, profile):
        words: list[Word] = [COLLECTION, "--modality", "PT", "--series", uids, "--source", profile, "-o", dest]
        planned = run_command("pull", *words, "--dry-run", "--json")
        assert planned.code == 0
        assert not dest.exists()
        assert (planned.json["series"], planned.json["instances"]) == (2, sum(row.expected or 0 for row in two))
        assert list(planned.json["collections"]) == [COLLECTION]
        ended = run_command("pull", *words, "--json")
        assert (ended.code, ended.json["state"]) == (0, "complete")
        assert read_tree(dest) == in_idc_layout(two)
        assert_recorded(dest, in_idc_layout(two))
        assert sorted(entry.path for entry in origin.requests) == sorted(
            f"/studies/{row.study}/series/{row.series}" for row in two
        )
        origin.requests.clear()
        again = run_command("pull", *words, "--json")
        assert (again.code, again.json["instances_landed"], again.json["instances_present"]) == (
            0,
            0,
            len(in_idc_layout(two)),
        )
        assert origin.requests == []  # the index was asked, and the ledger: the server was not


@pytest.mark.anyio
@pytest.mark.parametrize("by", ["filters", "manifest"])
async def test_what_the_ledger_has_planned_is_not_planned_again(
    by: str, rows: list[Series], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A planning child costs a second, and hundreds of megabytes."""
    row = rows[0]
    manifest = tmp_path / "list.csv"
    manifest.write_text(f"SeriesInstanceUID\n{row.series}\n", encoding="utf-8")
    cohort = Cohort.series(row.series) if by == "filters" else Cohort.manifest(manifest)
    planned: list[str] = []

    async def count(request: PlanRequest, on_progress: Callable[[Progress], None]) -> Summary:
        planned.append(request.layout)
        return await plan(request, on_progress)

    monkeypatch.setattr(run, "plan", count)
    with idc_origin(tmp_path, synthetic_catalog(rows[:2], max_instance_bytes=BYTES)) as (_, profile):
        async with Hauler(str(profile)) as hauler:
            for _ in range(2):
                report = await hauler.pull(cohort, tmp_path / "dest")
            assert (report.series_complete, report.instances_landed, len(planned)) == (1, 0, 1)
            manifest.write_text(f"SeriesInstanceUID\n{rows[1].series}\n", encoding="utf-8")
            other = Cohort.series(rows[1].series) if by == "filters" else cohort
            report = await hauler.pull(other, tmp_path / "dest")
            assert (report.instances_landed, len(planned)) == (rows[1].expected, 2)


def test_sql_with_a_layout_of_ones_own(rows: list[Series], tmp_path: Path) -> None:
    dest, row = tmp_path / "dest", rows[0]
    catalog = synthetic_catalog([row], max_instance_bytes=BYTES)
    sql = f"SELECT SeriesInstanceUID FROM index WHERE SeriesInstanceUID = '{row.series}'"
    with idc_origin(tmp_path, catalog) as (_, profile):
        words: list[Word] = ["--sql", sql, "--source", profile, "-o", dest, "--json"]
        ended = run_command("pull", *words, "--layout", "%collection_id/{SeriesInstanceUID}")
        other = run_command("pull", *words, "--layout", "{SeriesInstanceUID}")
    assert ended.code == 0
    assert read_tree(dest) == expected_tree(catalog, f"{COLLECTION}/{{series}}")
    assert (other.code, other.json["error"]) == (2, "ConfigError")
    assert "layout" in other.complaint
    assert read_tree(dest) == expected_tree(catalog, f"{COLLECTION}/{{series}}")


def test_an_s5cmd_manifest(rows: list[Series], tmp_path: Path) -> None:
    dest, row = tmp_path / "dest", rows[0]
    manifest = tmp_path / "manifest.s5cmd"
    manifest.write_text(f"# made by IDC\ncp s3://{row.bucket}/{row.revision}/* .\n", encoding="utf-8")
    with idc_origin(tmp_path, synthetic_catalog([row], max_instance_bytes=BYTES)) as (_, profile):
        ended = run_command("pull", manifest, "--source", profile, "-o", dest, "--json")
    assert (ended.code, ended.json["failures"]) == (0, [])
    assert read_tree(dest) == in_idc_layout([row])


def test_single_instances(tmp_path: Path) -> None:
    dest, rows = tmp_path / "dest", made_up_rows(5, 5)
    catalog = synthetic_catalog(rows)
    (study, series), number = (rows[0].study, rows[0].series), 3
    sops = [one.sop for one in catalog.select(study, series, None)]
    with origin_thread(catalog) as origin:
        words: list[Word] = ["--study", study, "--series", series, "--source", origin.url, "-o", dest, "--json"]
        ended = run_command("pull", "--instance", sops[number], *words)
        asked = [entry.path for entry in origin.requests if entry.level != "search"]
        assert (ended.code, ended.json["instances_expected"], ended.json["instances_landed"]) == (0, 1, 1)
        assert asked == [f"/studies/{study}/series/{series}/instances/{sops[number]}"]
        assert list(read_tree(dest)) == [f"{study}/{series}/{sops[number]}.dcm"]

        whole = run_command("pull", *words)  # now all of it: what is there is known
        assert (whole.code, whole.json["instances_present"]) == (0, 5)
    assert read_tree(dest) == {
        path: content for path, content in expected_tree(catalog).items() if path.startswith(f"{study}/{series}/")
    }


@pytest.mark.parametrize("by", ["file", "standard input"])
def test_a_manifest_that_says_it_all_needs_no_search(by: str, tmp_path: Path) -> None:
    dest, rows = tmp_path / "dest", made_up_rows(3, 2, 1)
    catalog = synthetic_catalog(rows)
    manifest = manifest_of(rows[:2], counts=by == "file")
    (tmp_path / "cohort.csv").write_text(manifest, encoding="utf-8")
    with origin_thread(catalog) as origin:
        profile = tmp_path / "plain.toml"
        profile.write_text(
            f'name = "plain"\nurl = "{origin.url}"\n[search]\navailable = false\n',
            encoding="utf-8",
        )
        target = tmp_path / "cohort.csv" if by == "file" else "-"
        ended = run_command("pull", target, "--source", profile, "-o", dest, "--json", stdin=manifest)
        assert sorted(entry.path for entry in origin.requests) == sorted(
            f"/studies/{row.study}/series/{row.series}" for row in rows[:2]
        )
    assert (ended.code, ended.json["state"], ended.json["instances_expected"]) == (0, "complete", 5)
    assert read_tree(dest) == expected_tree(synthetic_catalog(rows[:2]))


def test_what_a_manifest_names_and_nobody_has_is_reported(rows: list[Series], tmp_path: Path) -> None:
    dest, row = tmp_path / "dest", rows[0]
    (tmp_path / "list.csv").write_text(f"SeriesInstanceUID\n{row.series}\n1.2.3.4.5.6\n", encoding="utf-8")
    with idc_origin(tmp_path, synthetic_catalog([row], max_instance_bytes=BYTES)) as (_, profile):
        ended = run_command("pull", tmp_path / "list.csv", "--source", profile, "-o", dest, "--json")
    assert (ended.code, ended.json["state"]) == (3, "partial")
    assert [failure["series"] for failure in ended.json["failures"]] == ["1.2.3.4.5.6"]
    assert read_tree(dest) == in_idc_layout([row])
