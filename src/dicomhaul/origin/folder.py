"""A folder of real files as a catalog: bytes exactly as stored, odd ones without a preamble included."""

import warnings
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import aiofiles
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

from dicomhaul.origin.catalog import Attributes, Catalog
from dicomhaul.origin.metadata import to_json
from dicomhaul.origin.qido import INSTANCE_TAGS, SERIES_TAGS, STUDY_TAGS

_CHUNK_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A `catalog.StoredInstance` in a file."""

    path: Path
    sop: str
    transfer_syntax: str
    size_bytes: int
    attributes: Attributes

    async def chunks(self) -> AsyncIterator[bytes]:
        """Yield the file."""
        async with aiofiles.open(self.path, "rb") as file:
            while chunk := await file.read(_CHUNK_BYTES):
                yield chunk

    async def metadata(self) -> Attributes:
        """Return all attributes but bulk data."""
        return to_json(_read(self.path))


class FolderSeries:
    """A `catalog.StoredSeries` of files; a SOP Instance UID that comes twice counts once, the first."""

    def __init__(self, study: str, series: str, study_attributes: Attributes, series_attributes: Attributes) -> None:
        self.study = study
        self.series = series
        self.study_attributes = study_attributes
        self.series_attributes = series_attributes
        self._files: dict[str, StoredFile] = {}

    def add(self, file: StoredFile) -> bool:
        """Take a file; False: its SOP Instance UID is there already."""
        return self._files.setdefault(file.sop, file) is file

    def __len__(self) -> int:
        """Say how many instances there are."""
        return len(self._files)

    def __iter__(self) -> Iterator[StoredFile]:
        """Yield the instances in the order of their paths."""
        return iter(self._files.values())

    def find(self, sop: str) -> StoredFile | None:
        """Return the instance with this SOP Instance UID."""
        return self._files.get(sop)


def scan_folder(folder: Path) -> tuple[Catalog, list[Path]]:
    """Read the headers of all files below `folder`; return the catalog and the files that are not in it.

    Left out are files that pydicom cannot read, that lack one of the three UIDs, or whose identity is there
    already.
    """
    series: dict[tuple[str, str], FolderSeries] = {}
    left_out: list[Path] = []
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        try:
            ds = _read(path)
            uids = [str(ds.get(word, "")) for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")]
        except (InvalidDicomError, OSError, EOFError, ValueError, NotImplementedError):
            left_out.append(path)
            continue
        if not all(uids):
            left_out.append(path)
            continue
        study, one, sop = uids
        if (study, one) not in series:
            series[study, one] = FolderSeries(study, one, to_json(ds, STUDY_TAGS), to_json(ds, SERIES_TAGS))
        file = StoredFile(path, sop, _syntax_of(ds), path.stat().st_size, to_json(ds, INSTANCE_TAGS))
        if not series[study, one].add(file):
            left_out.append(path)
    return Catalog(series.values()), left_out


def _read(path: Path) -> Dataset:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stored data may break rules; it is served as it is
        return dcmread(path, stop_before_pixels=True, force=True)


def _syntax_of(ds: Dataset) -> str:
    stated = ds.file_meta.get("TransferSyntaxUID") if hasattr(ds, "file_meta") else None
    if stated:
        return str(stated)
    is_implicit, is_little = ds.original_encoding
    if is_implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if is_little else ExplicitVRBigEndian)
