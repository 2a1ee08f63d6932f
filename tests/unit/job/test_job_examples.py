"""The job files that are shipped: each can be run as it stands, and together they show every field."""

import re
import tomllib
from pathlib import Path
from typing import Any, Final

import pytest
from pydantic import BaseModel

from dicomhaul.config.source import resolve_sources
from dicomhaul.job.reading import examine_job
from dicomhaul.job.tables import JobFile
from dicomhaul.profile import built_in_names

FOLDER: Final = Path(__file__).resolve().parents[3] / "configs" / "jobs"
SOURCES: Final = {
    "mirror-nlst": ("sync", ["idc-bucket", "idc-proxy"]),
    "idc-proxy": ("pull", ["idc-proxy"]),
    "google": ("sync", ["google"]),
    "azure": ("sync", ["azure"]),
    "orthanc": ("sync", ["orthanc"]),
    "dcm4chee": ("sync", ["dcm4chee"]),
    "generic": ("sync", ["generic"]),
}


def test_there_is_one_for_each_kind_of_source() -> None:
    assert {path.stem for path in FOLDER.glob("*.toml")} == set(SOURCES)
    assert set(SOURCES).isdisjoint({"jobs"})
    assert not [name for name in built_in_names() if "mirror" in name]  # no job is taken for a profile


@pytest.mark.parametrize("name", SOURCES)
def test_each_can_be_run_and_means_the_source_that_it_says(name: str) -> None:
    job, errors = examine_job(FOLDER / f"{name}.toml")
    assert errors == ()
    assert job is not None
    sources = resolve_sources(job.source or "idc", profile=job.profile, location=job.location)
    assert (job.command, [spec.profile.name for spec in sources.specs]) == SOURCES[name]


def fields_of(model: type[BaseModel]) -> set[tuple[str, str]]:
    """Every field of every table."""
    found = set()
    for name, field in model.model_fields.items():
        said: Any = field.annotation
        table: Any = said if isinstance(said, type) else next(each for each in said.__args__ if each is not type(None))
        found |= {(name, inner) for inner in table.model_fields}
    return found


def test_together_they_show_every_field_also_those_that_are_commented_out() -> None:
    shown: set[tuple[str, str]] = set()
    for path in FOLDER.glob("*.toml"):
        table = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if found := re.match(r"(?:# )?\[(\w+)\]$", line):
                table = found[1]
            elif found := re.match(r"(?:# )?(\w+) = ", line):
                shown.add((table, found[1]))
    assert shown == fields_of(JobFile)


def test_what_is_commented_out_would_be_right(tmp_path: Path) -> None:
    path = FOLDER / "mirror-nlst.toml"
    seen: set[str] = set()
    table = ""
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := re.match(r"(?:# )?\[(\w+)\]$", line):
            table = found[1]
        elif found := re.match(r"# (\w+ = (?:\"[^\"]*\"|\[.*?\]|[\w.]+))(?:  .*)?$", line):
            seen.add(found[1])
            base = '[destination]\npath = "x"\n' if table != "destination" else ""
            base += '[cohort]\ntargets = ["x"]\n' if table != "cohort" else ""
            tail = 'path = "x"\n' if table == "destination" else ""
            copy = tmp_path / "one.toml"
            (tmp_path / "nlst-known-failures.txt").touch()
            copy.write_text(f"{base}[{table}]\n{tail}{found[1]}\n", encoding="utf-8")
            if "limit_series" in line or "idc_version" in line or "shard" in line or "lock = " in line:
                copy.write_text(f"{copy.read_text(encoding='utf-8')}targets = ['x']\n", encoding="utf-8")
            assert examine_job(copy)[1] == (), line
            tomllib.loads(found[1])
    assert len(seen) > 20
