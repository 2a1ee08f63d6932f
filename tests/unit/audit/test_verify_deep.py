"""Deep verification parses with pydicom and believes the data set, not the name."""

import io
import random
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import (
    UID,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicomhaul.audit import Checked, Problem
from dicomhaul.audit.deep import ExpectedInstance, verify_deep


def instance(sop: str, *, syntax: UID = ExplicitVRLittleEndian, pixels: int = 64, bare: bool = False) -> bytes:
    dataset = Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = UID(sop)
    dataset.StudyInstanceUID = "1.1"
    dataset.SeriesInstanceUID = "1.2"
    dataset.PatientName = "Doe^Jane"
    item = Dataset()
    item.CodeValue = "T-1"
    dataset.ProcedureCodeSequence = [item]
    dataset.BitsAllocated = 8
    dataset.PixelData = bytes(pixels)
    dataset["PixelData"].VR = "OB"
    out = io.BytesIO()
    if bare:
        dataset.save_as(out, implicit_vr=True, little_endian=True)
    else:
        dataset.file_meta = FileMetaDataset()
        dataset.file_meta.TransferSyntaxUID = syntax
        dataset.file_meta.MediaStorageSOPClassUID = CTImageStorage
        dataset.file_meta.MediaStorageSOPInstanceUID = UID(sop)
        dataset.save_as(out, enforce_file_format=True)
    return out.getvalue()


def put(dest: Path, sop: str, content: bytes) -> ExpectedInstance:
    (dest / f"{sop}.dcm").write_bytes(content)
    return ExpectedInstance(7, f"{sop}.dcm", "1.1", "1.2", sop)


def test_it_tells_sound_instances_from_all_that_is_not_one(tmp_path: Path) -> None:
    sound = [
        put(tmp_path, "2.1", instance("2.1")),
        put(tmp_path, "2.2", instance("2.2", syntax=ImplicitVRLittleEndian)),
        put(tmp_path, "2.3", instance("2.3", syntax=DeflatedExplicitVRLittleEndian, pixels=3 << 20)),
        put(tmp_path, "2.4", instance("2.4", pixels=3 << 20)),
        put(tmp_path, "2.5", instance("2.5", bare=True)),
    ]
    wrong = [
        put(tmp_path, "3.1", b"<html><body>Please log in</body></html>" * 20),
        put(tmp_path, "3.2", b""),
        put(tmp_path, "3.3", random.Random(3).randbytes(5_000)),
        put(tmp_path, "3.4", instance("9.9")),
        put(tmp_path, "3.5", instance("3.5"))._replace(study="1.9"),
        put(tmp_path, "3.6", instance("3.6"))._replace(path="gone.dcm"),
        put(tmp_path, "3.7", instance("3.7") + b"\xe0\x7f\x20\x00US\x03\x00abc"),  # a number of three bytes
    ]
    checked = Checked()
    findings = list(verify_deep(tmp_path, [*sound, *wrong], processes=1, checked=checked))
    assert [(f.sop, f.problem) for f in findings] == [
        ("3.1", Problem.NOT_DICOM),
        ("3.2", Problem.NOT_DICOM),
        ("3.3", Problem.NOT_DICOM),
        ("3.4", Problem.WRONG_UID),
        ("3.5", Problem.WRONG_UID),
        ("3.6", Problem.MISSING),
        ("3.7", Problem.NOT_DICOM),
    ]
    assert findings[3].detail == "its SOPInstanceUID is '9.9'"
    assert findings[4].detail == "its StudyInstanceUID is '1.1'"
    assert {f.series_id for f in findings} == {7}
    assert (checked.instances, checked.findings) == (12, 7)
    assert "Jane" not in repr(findings)


def test_nothing_to_check_is_nothing_found(tmp_path: Path) -> None:
    assert list(verify_deep(tmp_path, [], processes=1)) == []


@pytest.mark.parametrize("module", ["pydicom", "pyarrow", "aiohttp"])
def test_the_verifying_process_does_not_load(module: str) -> None:
    code = f"import sys, dicomhaul.audit.deep, dicomhaul.record.index_parquet; sys.exit('{module}' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
