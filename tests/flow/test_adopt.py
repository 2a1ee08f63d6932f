"""Trees that other tools brought become destinations, and only what they lack is asked for."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dicomhaul.model import Series
from dicomhaul.origin import Holdings, IdcOrigins, synthetic_holdings
from support.command import Ended, Word, run_command
from support.destination import assert_recorded, read_tree
from support.idc_origins import idc_manifest, idc_rows, idc_thread, idc_tree, write_profiles

LACKING = 10  # each tenth instance did not come


@pytest.fixture(scope="module")
def rows() -> list[Series]:
    """Five series of IDC's index, some 36 instances, 11 MB."""
    return [*idc_rows("idc-open-data", 3), *idc_rows("idc-open-data-two", 2)]


@pytest.fixture(scope="module")
def holdings(rows: list[Series]) -> Holdings:
    """What IDC has of them, as large as the index says."""
    return synthetic_holdings(rows)


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
