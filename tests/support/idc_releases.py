"""Releases of IDC of our own: an `idc-index-data` of that number in a folder, which stands before the installed one."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import pytest

from dicomhaul.cohort.tables import Shelf
from dicomhaul.model import Series

_INIT = """
from pathlib import Path
__version__ = "{version}"
TABLES = {tables!r}
INDEX_METADATA = {{name: {{"parquet_filepath": path and Path(path)}} for name, path in TABLES.items()}}
"""
_METADATA = "Metadata-Version: 2.1\nName: idc-index-data\nVersion: {version}\n"
_COLUMNS = {
    "StudyInstanceUID": "study",
    "SeriesInstanceUID": "series",
    "collection_id": "collection",
    "PatientID": "patient",
    "Modality": "modality",
    "crdc_series_uuid": "revision",
    "aws_bucket": "bucket",
    "license_short_name": "license",
    "instanceCount": "expected",
}


_FORMER = (
    "StudyInstanceUID, SeriesInstanceUID, crdc_series_uuid, collection_id, aws_bucket, min_idc_version, max_idc_version"
)


@dataclass(frozen=True, slots=True)
class Release:
    """A release, installed in `folder`."""

    folder: Path
    number: int

    @property
    def environ(self) -> Mapping[str, str]:
        """What a command needs to have it: pass it to `run_command(environ=...)`."""
        return {"PYTHONPATH": os.pathsep.join(filter(None, (str(self.folder), os.environ.get("PYTHONPATH"))))}

    def install(self, patch: pytest.MonkeyPatch) -> None:
        """Let this process, and those that it starts, have it."""
        patch.syspath_prepend(self.folder)
        patch.setenv("PYTHONPATH", self.environ["PYTHONPATH"])


def write_release(folder: Path, number: int, rows: Sequence[Series], former: Sequence[Series] = ()) -> Release:
    """Write a release that has these series, and knows of `former` ones that the one before had."""
    place = folder / f"release-{number}"
    package = place / "idc_index_data"
    package.mkdir(parents=True)
    version = f"{number}.0.0"
    shelf = Shelf()
    tables: dict[str, str | None] = dict.fromkeys(shelf.fetchable)
    tables |= {("idc_index" if name == "index" else name): str(path) for name, path in shelf.bundled.items()}
    index, prior = (str(package / f"{name}.parquet") for name in ("idc_index", "prior_versions_index"))
    tables |= {"idc_index": index, "prior_versions_index": prior}
    with duckdb.connect() as db:
        db.execute(f"CREATE TABLE fresh AS SELECT * FROM '{shelf.bundled['index']}' LIMIT 0")
        names = [*_COLUMNS, "series_size_MB", "series_aws_url", "series_init_idc_version", "series_revised_idc_version"]
        for row in rows:
            values = [getattr(row, name) for name in _COLUMNS.values()]
            values += [(row.size_bytes or 0) / 1e6, f"s3://{row.bucket}/{row.revision}/*", 1, number]
            db.execute(f"INSERT INTO fresh ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})", values)
        db.execute(f"COPY fresh TO '{index}'")
        db.execute(f"CREATE TABLE former AS SELECT * FROM '{shelf.bundled['prior_versions_index']}' LIMIT 0")
        for row in former:
            values = [row.study, row.series, row.revision, row.collection, row.bucket, 1, number - 1]
            db.execute(f"INSERT INTO former ({_FORMER}) VALUES (?, ?, ?, ?, ?, ?, ?)", values)
        db.execute(f"COPY former TO '{prior}'")
    (package / "__init__.py").write_text(_INIT.format(version=version, tables=tables), encoding="utf-8")
    dist = place / f"idc_index_data-{version}.dist-info"
    dist.mkdir()
    (dist / "METADATA").write_text(_METADATA.format(version=version), encoding="utf-8")
    return Release(place, number)
