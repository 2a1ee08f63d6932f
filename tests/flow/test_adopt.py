"""Trees that other tools brought become destinations, and only what they lack is asked for."""

import json
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple
from uuid import NAMESPACE_OID, uuid5

import anyio
import pytest

from dicomhaul import Cohort, Hauler, Report
from dicomhaul.adopting import Adopted, Taking
from dicomhaul.model import Series
from dicomhaul.origin import Holdings, IdcOrigins, synthetic_catalog
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, expected_tree, read_tree
from support.exact import exact_holdings
from support.idc_origins import idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles
from support.instances import make_instance
from support.made_up import made_up_rows, manifest_of
from support.origin_process import origin_thread

LACKING = 10  # each tenth instance did not come


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Five series of IDC's index, some 36 instances, 11 MB."""
    return [*idc_rows("idc-open-data", 3), *idc_rows("idc-open-data-two", 2)]


@pytest.fixture(scope="module")
def holdings(rows: list[Series]) -> Holdings:
    """What IDC has of them, as large as the index says."""
    return exact_holdings(rows)


class Site(NamedTuple):
    """IDC's origins, a manifest of all they have, and a folder to work in."""

    folder: Path
    origins: IdcOrigins
    source: str
    manifest: Path
    good: dict[str, bytes]  # what a pull makes
    as_idc_index: dict[str, bytes]  # what idc-index makes: the same folders, files called as the objects

    @property
    def dest(self) -> Path:
        return self.folder / "dest"

    def command(self, name: str, *more: Word) -> Ended:
        """Run `adopt TREE` or `pull` for the manifest."""
        tree = [] if name == "pull" else [more[0]]
        rest = more if name == "pull" else more[1:]
        return run_command(name, *tree, self.manifest, "--source", self.source, "--json", *rest)

    def asked(self) -> Counter[str]:
        """What the bucket was asked for since the last time: `listing` or the name of an object."""
        requests = self.origins.bucket.requests
        found: Counter[str] = Counter(
            entry.path.rpartition("/")[2] if entry.level == "object" else str(entry.level) for entry in requests
        )
        assert [entry for origin in self.origins.by_name().values() for entry in origin.requests if origin
                is not self.origins.bucket] == []  # fmt: skip
        requests.clear()
        return found


@pytest.fixture
def site(rows: list[Series], holdings: Holdings, tmp_path: Path) -> Iterator[Site]:
    good = idc_tree(holdings, rows)
    stems = {sop: key.rpartition("/")[2] for each in holdings.revisions for key, sop in each.sops.items()}
    called = {f"{path.rpartition('/')[0]}/{stems[Path(path).stem]}": content for path, content in good.items()}
    manifest = tmp_path / "cohort.csv"
    manifest.write_text(idc_manifest(rows), encoding="utf-8")
    with idc_thread(holdings) as origins:
        source = write_profiles(tmp_path, origins).source("bucket")
        yield Site(tmp_path, origins, source, manifest, good, called)


def write_tree(folder: Path, tree: dict[str, bytes]) -> None:
    for path, content in tree.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(content)


def lacking(tree: dict[str, bytes]) -> tuple[dict[str, bytes], list[str]]:
    """Return a tree without each tenth file, and these."""
    gone = sorted(tree)[::LACKING]
    return {path: content for path, content in tree.items() if path not in gone}, gone


def series_of(paths: list[str]) -> set[str]:
    return {path.rpartition("/")[0] for path in paths}


@pytest.mark.parametrize("place", ["elsewhere", "in place"])
def test_what_idc_index_brought_and_one_pull_make_it_whole_with_only_those_requests(place: str, site: Site) -> None:
    tree = site.dest if place == "in place" else site.folder / "idc"
    there, gone = lacking(site.as_idc_index)
    write_tree(tree, there)
    (cut, *_) = (path for path in sorted(there) if path.rpartition("/")[0] not in series_of(gone))
    content = there[cut]
    (tree / cut).write_bytes(content[: len(content) // 2])
    (tree / "manifest.s5cmd").write_text("cp s3://... .\n", encoding="utf-8")
    seen = len(there) + 1

    adopted = site.command("adopt", tree, "-o", site.dest, "--list", site.folder / "left.jsonl")
    assert (adopted.code, adopted.json["state"]) == (3, "partial"), adopted.stderr
    facts = {key: adopted.json[key] for key in ("files_seen", "not_dicom", "damaged", "adopted", "contested")}
    assert facts == {"files_seen": seen, "not_dicom": 1, "damaged": 1, "adopted": seen - 2, "contested": 0}
    assert adopted.json["moved" if place == "in place" else "linked"] == seen - 2
    whole = len(series_of(list(there))) - len(series_of([*gone, cut]))
    assert (adopted.json["series_complete"], adopted.json["series_planned"]) == (whole, 5)
    listed = [json.loads(line) for line in (site.folder / "left.jsonl").read_text().splitlines()]
    assert sorted((each["what"], each["path"]) for each in listed) == [
        ("damaged", str(tree / cut)),
        ("not DICOM", str(tree / "manifest.s5cmd")),
    ]
    assert site.asked() == Counter()

    pulled = site.command("pull", "-o", site.dest)
    assert (pulled.code, pulled.json["state"], pulled.json["instances_landed"]) == (0, "complete", len(gone) + 1)
    lacked = [*gone, cut]
    assert site.asked() == Counter({"listing": len(series_of(lacked))}) + Counter(Path(path).name for path in lacked)
    if place == "in place":  # what was damaged or is none of ours stays where it is, and harms nothing
        (tree / cut).unlink()
        (tree / "manifest.s5cmd").unlink()
    assert read_tree(site.dest) == site.good
    assert_recorded(site.dest, site.good)


def test_files_keep_the_names_of_their_objects(site: Site) -> None:
    there, gone = lacking(site.as_idc_index)
    write_tree(site.dest, there)
    adopted = site.command("adopt", site.dest, "-o", site.dest, "--name-by", "crdc")
    assert (adopted.code, adopted.json["adopted"], adopted.json["moved"]) == (0, len(there), 0)
    pulled = site.command("pull", "-o", site.dest)
    assert (pulled.code, pulled.json["instances_landed"]) == (0, len(gone))
    assert read_tree(site.dest) == site.as_idc_index
    verified = run_command("verify", site.dest, "--json")
    assert (verified.code, verified.json["foreign"]) == (0, [])


def haul(site: Site, tree: Path, **taking: Any) -> tuple[Adopted, Report]:
    """Adopt and pull, as a program does."""

    async def both() -> tuple[Adopted, Report]:
        cohort = Cohort.manifest(site.manifest)
        async with Hauler(site.source) as hauler:
            adopted = await hauler.adopt(tree, site.dest, cohort, taking=Taking(**taking))
            assert site.asked() == Counter()
            return adopted, await hauler.pull(cohort, site.dest, check=False)

    return anyio.run(both)


@pytest.mark.parametrize("names", ["objects", "instances"])
def test_what_is_of_an_older_release_comes_again(names: str, rows: list[Series], site: Site) -> None:
    """Of two series one instance was revised since; one of these lacks another besides, the other is whole."""
    revised, lacks = rows[0], rows[1]
    tree = dict(site.as_idc_index if names == "objects" else site.good)
    paths = {row.series: sorted(path for path in tree if row.series in path) for row in (revised, lacks)}
    sops = dict(zip(site.as_idc_index, map(Path, site.good), strict=True))
    for series in (revised, lacks):
        path = paths[series.series][0]
        old = make_instance(
            sops[path].stem if names == "objects" else Path(path).stem, study=series.study, series=series.series
        )
        del tree[path]
        tree[f"{path.rpartition('/')[0]}/{uuid5(NAMESPACE_OID, path)}.dcm" if names == "objects" else path] = old
    gone = paths[lacks.series][1]
    del tree[gone]
    write_tree(site.folder / "old", tree)
    adopted, report = haul(site, site.folder / "old")
    assert (adopted.state, adopted.totals.series_unproven, adopted.standing.series_complete) == ("adopted", 1, 3)
    assert report.state == "complete"
    if names == "objects":
        expected = [paths[revised.series][0], paths[lacks.series][0], gone]
        assert site.asked() == Counter({"listing": 2}) + Counter(Path(path).name for path in expected)
        assert read_tree(site.dest) == site.good
        return
    # Who bears no object's name is known by the size of a whole series alone, so all of that one comes again.
    assert report.instances_landed == len(paths[revised.series]) + 1
    stale = paths[lacks.series][0]
    assert {**read_tree(site.dest), stale: site.good[stale]} == site.good


def test_a_dicomweb_server_is_asked_for_what_is_missing(tmp_path: Path) -> None:
    """Of a series that is whole, nothing; where nobody states how many there are, for its inventory."""
    dest, rows = tmp_path / "dest", made_up_rows(30, 4, 3, size_bytes=300_000)
    catalog = synthetic_catalog(rows)
    good = expected_tree(catalog)
    missing = next(path for path in sorted(good) if rows[0].series in path)
    write_tree(tmp_path / "old", {Path(path).name: content for path, content in good.items() if path != missing})
    with origin_thread(catalog) as origin:
        for counts in (True, False):
            (tmp_path / "cohort.csv").write_text(manifest_of(rows, counts=counts), encoding="utf-8")
            words: list[Word] = [tmp_path / "cohort.csv", "--source", origin.url, "-o", dest, "--json"]
            adopted = run_command("adopt", tmp_path / "old", *words)
            assert (adopted.code, adopted.json["state"], adopted.json["linked"]) == (0, "adopted", 36)
            assert origin.requests == []
            pulled = run_command("pull", *words)
            assert (pulled.code, pulled.json["instances_landed"]) == (0, 1)
            series, sop = f"/studies/{rows[0].study}/series/{rows[0].series}", Path(missing).stem
            asked = {entry.path for entry in origin.requests}  # a listing has several pages
            listed = [f"/studies/{row.study}/series/{row.series}/instances" for row in (rows[:1] if counts else rows)]
            assert asked == {*listed, f"{series}/instances/{sop}"}
            origin.requests.clear()
            assert read_tree(dest) == good
            assert_recorded(dest, good)
            shutil.rmtree(dest)


def test_without_a_target_what_was_asked_for_counts(site: Site) -> None:
    nothing = run_command("adopt", site.folder, "-o", site.dest, "--json")
    assert (nothing.code, nothing.json["error"]) == (2, "ConfigError")
    assert not site.dest.exists()
    there, _ = lacking(site.as_idc_index)
    write_tree(site.folder / "old", there)
    said = site.command("adopt", site.folder / "old", "-o", site.dest, "--dry-run")
    assert (said.code, said.json["adopted"], said.json["linked"]) == (0, len(there), len(there))
    assert not site.dest.exists()
    first = site.command("adopt", site.folder / "old", "-o", site.dest, "--copy")
    write_tree(site.folder / "rest", site.as_idc_index)
    rest = run_command("adopt", site.folder / "rest", "-o", site.dest, "--move", "--json")
    assert (first.json["copied"], rest.code, rest.json["state"]) == (len(there), 0, "complete")
    assert (rest.json["already_there"], rest.json["moved"]) == (len(there), len(site.good) - len(there))
    assert read_tree(site.folder / "rest") == {}
    assert_recorded(site.dest, site.good)
    again = site.command("pull", "-o", site.dest)
    assert (again.code, again.json["routes"]["adopted"]["series"], site.asked()) == (0, 5, Counter())


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("dest", "--copy"), "in place"),
        (("dest/.dicomhaul",), "own folder"),
        (("gone",), "no folder"),
        (("dest", "--copy", "--move"), "exclude"),
    ],
)
def test_what_makes_no_sense(words: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "dest/.dicomhaul").mkdir(parents=True)
    ended = run_command("adopt", words[0], "1.2.3", *words[1:], "-o", "dest", cwd=tmp_path)
    assert ended.code == 2
    assert said in ended.complaint
