"""Serving a folder of real files: what is found in it, and that the bytes are those of the files."""

import shutil
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file

from dicomhaul.origin.catalog import values_of
from dicomhaul.origin.folder import scan_folder

pytestmark = pytest.mark.anyio
FILES = {
    "CT_small.dcm": "1.2.840.10008.1.2.1",
    "ExplVR_BigEnd.dcm": "1.2.840.10008.1.2.2",
    "ExplVR_BigEndNoMeta.dcm": "1.2.840.10008.1.2.2",  # a bare data set
    "image_dfl.dcm": "1.2.840.10008.1.2.1.99",
    "rtstruct.dcm": "1.2.840.10008.1.2",  # a bare data set
}


def _test_data(name: str) -> Path:
    found = get_testdata_file(name, download=False)
    assert isinstance(found, str)
    return Path(found)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "below").mkdir()
    for name in FILES:
        shutil.copy(_test_data(name), tmp_path / "below" / name)
    shutil.copy(_test_data("CT_small.dcm"), tmp_path / "twice.dcm")
    (tmp_path / "README.txt").write_text("no DICOM here", encoding="utf-8")
    (tmp_path / "empty").touch()
    return tmp_path


async def test_bytes_are_those_of_the_files(folder: Path) -> None:
    catalog, left_out = scan_folder(folder)
    assert [path.name for path in left_out] == ["README.txt", "empty", "twice.dcm"]
    assert len(catalog) == len(FILES)
    found = {}
    for series in catalog.series():
        for instance in series:
            content = b"".join([chunk async for chunk in instance.chunks()])
            assert instance.size_bytes == len(content)
            found[content] = instance.transfer_syntax
            assert series.find(instance.sop) is instance
    assert found == {_test_data(name).read_bytes(): syntax for name, syntax in FILES.items()}


async def test_searches_and_metadata_come_from_the_files(folder: Path) -> None:
    catalog, _ = scan_folder(folder)
    ct = next(one for one in catalog.series() if values_of(one.series_attributes, "00080060") == ["CT"])
    assert values_of(ct.study_attributes, "00100020") == ["1CT1"]
    metadata = await next(iter(ct)).metadata()
    assert values_of(metadata, "00280010") == [128]
    assert "7FE00010" not in metadata
    assert "00091001" in metadata
