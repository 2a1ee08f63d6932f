"""The index of a destination is whole or not there, and says where each file is."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from dicomhaul.errors import NotWritable
from dicomhaul.model import Check
from dicomhaul.record import index_parquet
from dicomhaul.record.index_parquet import write_index
from dicomhaul.record.reader import FileRow
from support.syncs import Syncs


def row(number: int, folder: str = "c/p", patient: str | None = "p", stem: str | None = None) -> FileRow:
    return FileRow(
        series_id=1,
        folder=folder,
        sop=f"1.{number}",
        size_bytes=number,
        xxh3=number.to_bytes(16, "big"),
        study="2.1",
        series="3.1",
        collection="c",
        patient=patient,
        modality="CT",
        revision=None,
        license="CC BY 4.0",
        check=Check.MD5,
        stem=stem,
    )


def test_a_row_says_who_it_is_and_where(tmp_path: Path) -> None:
    assert write_index([row(258, "Grüße/1"), row(2, "", None)], tmp_path / "index.parquet") == 2
    first, second = pq.read_table(tmp_path / "index.parquet").to_pylist()
    assert first == {
        "collection_id": "c",
        "PatientID": "p",
        "StudyInstanceUID": "2.1",
        "SeriesInstanceUID": "3.1",
        "SOPInstanceUID": "1.258",
        "Modality": "CT",
        "crdc_series_uuid": None,
        "license_short_name": "CC BY 4.0",
        "path": "Grüße/1/1.258.dcm",
        "size_bytes": 258,
        "xxh3": "00000000000000000000000000000102",
        "checked": "md5",
    }
    assert (second["path"], second["PatientID"]) == ("1.2.dcm", None)


def test_rows_come_in_groups_of_bounded_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_parquet, "ROWS_PER_GROUP", 10)
    write_index((row(n) for n in range(25)), tmp_path / "index.parquet")
    written = pq.ParquetFile(tmp_path / "index.parquet")
    assert [written.metadata.row_group(n).num_rows for n in range(3)] == [10, 10, 5]
    assert written.read().column("SOPInstanceUID").to_pylist() == [f"1.{n}" for n in range(25)]


def test_no_rows_are_an_index_with_columns(tmp_path: Path) -> None:
    assert write_index([], tmp_path / "index.parquet") == 0
    assert pq.read_table(tmp_path / "index.parquet").num_columns == 12


def test_a_write_that_fails_leaves_the_index_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "index.parquet"
    write_index([row(1)], path)
    before = path.read_bytes()

    def breaking() -> Iterator[FileRow]:
        yield row(2)
        raise RuntimeError

    with pytest.raises(RuntimeError):
        write_index(breaking(), path)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def test_a_destination_that_is_gone_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(NotWritable, match=r"cannot write index.parquet: No such file or directory"):
        write_index([row(1)], tmp_path / "gone" / "index.parquet")


def test_its_name_is_synced_after_its_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    syncs = Syncs(monkeypatch)
    write_index([row(1)], tmp_path / "index.parquet")
    assert syncs.take(tmp_path) == [".", "index.parquet"]
