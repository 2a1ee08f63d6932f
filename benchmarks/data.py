"""Seeded data, as servers would hold it: prebuilt WADO-RS bodies, and the same instances as objects of a bucket.

Every instance is whole DICOM with about 100 elements before its pixels. UIDs and revisions are those of real series
of IDC's index, because idc-index takes no others; the bytes are made up. A part has no Content-Length, so whoever takes
bodies apart has to search for the delimiter. The same sizes always give the same bytes.
"""

import csv
import hashlib
import io
import json
import random
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

import duckdb
import idc_index_data
import pydicom
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

BOUNDARY: Final = "b" * 60
BUCKET: Final = "idc-open-data"
PAGE: Final = 1_000  # objects of one page of a listing, as S3 has it
_SEED: Final = 20_240_101
_ELEMENTS: Final = 90  # besides the UIDs
_BLOCK: Final = random.Random(_SEED).randbytes(1 << 20)  # what pixels are made of
_CREATED: Final = "2024-01-01T00:00:00+00:00"


@dataclass(frozen=True)
class Named:
    """A series of IDC's index."""

    study: str
    series: str
    revision: str  # crdc_series_uuid


@dataclass(frozen=True)
class Shape:
    """What a series of a workload is to be: so many instances of about so many bytes."""

    instances: int
    instance_bytes: int


@dataclass(frozen=True)
class Held:
    """A series as it was written.

    Attributes:
        sizes: bytes of each instance.
    """

    named: Named
    sizes: tuple[int, ...]


@dataclass(frozen=True)
class Data:
    """All that was written.

    Attributes:
        root: `www` below it is what a server is to serve; manifests lie beside that.
    """

    root: Path
    series: tuple[Held, ...]

    @property
    def instances(self) -> int:
        """How many there are."""
        return sum(len(each.sizes) for each in self.series)

    @property
    def size_bytes(self) -> int:
        """Bytes of all instances."""
        return sum(sum(each.sizes) for each in self.series)

    @property
    def largest_bytes(self) -> int:
        """Bytes of the largest instance."""
        return max(max(each.sizes) for each in self.series)

    @property
    def manifest(self) -> Path:
        """Study, series and count of each, for dicomhaul and a DICOMweb server."""
        return self.root / "manifest.csv"

    @property
    def lock(self) -> Path:
        """The same cohort as a lock, for dicomhaul and a bucket."""
        return self.root / "cohort.lock"


def real_series(count: int) -> list[Named]:
    """Return the first series of CT in IDC's main bucket, by their revision: always the same ones of one index."""
    index = str(idc_index_data.IDC_INDEX_PARQUET_FILEPATH).replace("'", "''")
    found = duckdb.sql(
        f"SELECT StudyInstanceUID, SeriesInstanceUID, crdc_series_uuid FROM '{index}' "
        f"WHERE aws_bucket = '{BUCKET}' AND Modality = 'CT' ORDER BY crdc_series_uuid LIMIT {count}"
    ).fetchall()
    return [Named(*row) for row in found]


def head(named: Named, sop: str, pixel_bytes: int) -> bytes:
    """Return all of an instance but its pixels, which end it: Study and Series UID stand behind 60 other elements."""
    dataset = pydicom.Dataset()
    dataset.SOPClassUID = CTImageStorage
    dataset.SOPInstanceUID = sop
    for number in range(_ELEMENTS):
        group, element = (0x0009, 0x1001) if number < 60 else (0x0019, 0x1001)
        dataset.add_new((group, element + number), "LO", f"value {number}")
    dataset.add_new((0x0009, 0x0010), "LO", "BENCHMARK")
    dataset.add_new((0x0019, 0x0010), "LO", "BENCHMARK")
    item = pydicom.Dataset()
    item.ReferencedSOPClassUID = CTImageStorage
    item.ReferencedSOPInstanceUID = "1.2.3"
    item.is_undefined_length_sequence_item = True
    dataset.ReferencedImageSequence = [item, item]
    dataset["ReferencedImageSequence"].is_undefined_length = True
    dataset.PatientID = "benchmark"
    dataset.StudyInstanceUID = named.study
    dataset.SeriesInstanceUID = named.series
    dataset.Rows = dataset.Columns = 64
    dataset.add_new("PixelData", "OW", b"")
    dataset.file_meta = pydicom.dataset.FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    file = io.BytesIO()
    dataset.save_as(file, enforce_file_format=True)
    return file.getvalue()[:-4] + pixel_bytes.to_bytes(4, "little")  # the length of what is to follow


def instance(pixel_bytes: int) -> bytes:
    """Return one whole instance."""
    named = Named("1.2.826.0.1.3680043.8.498.2", "1.2.826.0.1.3680043.8.498.3", "")
    return head(named, _sop(0, 0), pixel_bytes) + b"".join(_pixels(pixel_bytes))


def build(
    root: Path,
    shapes: Sequence[Shape],
    *,
    bodies: bool = True,
    objects: bool = True,
    names: Sequence[Named] | None = None,
) -> Data:
    """Write what `shapes` say below `root`/www, with manifests of it beside; leave out what nobody will ask for.

    `names`: of these series, instead of the first ones of the index.
    """
    held = []
    for number, (named, shape) in enumerate(zip(names or real_series(len(shapes)), shapes, strict=True)):
        writer = _SeriesWriter(root / "www", named, number, shape)
        if bodies:
            writer.write_body()
        if objects:
            writer.write_objects()
        held.append(Held(named, writer.sizes))
    if objects:
        # What is asked for without a prefix: s5cmd looks whether the bucket is there.
        (root / "www" / "listings" / ".1").write_text(_listing("", (), None), encoding="utf-8")
    data = Data(root, tuple(held))
    _write_manifest(data)
    _write_lock(data)
    return data


def iter_instances(shapes: Sequence[Shape]) -> Iterator[bytes]:
    """Yield each instance of `shapes` whole, for a server that wants to be given them."""
    for number, (named, shape) in enumerate(zip(real_series(len(shapes)), shapes, strict=True)):
        writer = _SeriesWriter(Path(), named, number, shape)
        for index in range(shape.instances):
            yield b"".join(writer.iter_chunks(index))


class _SeriesWriter:
    """One series: its head is made once, and each instance has its own SOP Instance UID of the same length."""

    def __init__(self, www: Path, named: Named, number: int, shape: Shape) -> None:
        self._www = www
        self._named = named
        self._number = number
        bare = len(head(named, _sop(number, 0), 0))
        self._pixel_bytes = max(2, shape.instance_bytes - bare) & ~1
        self._head = head(named, _sop(number, 0), self._pixel_bytes)
        self.sizes = (len(self._head) + self._pixel_bytes,) * shape.instances

    def iter_chunks(self, index: int) -> Iterator[bytes]:
        """Yield an instance in pieces."""
        yield self._head.replace(_sop(self._number, 0).encode(), _sop(self._number, index).encode())
        yield from _pixels(self._pixel_bytes)

    def write_body(self) -> None:
        """Write the answer to a WADO-RS request for the series (PS3.18 section 10.4)."""
        folder = self._www / "studies" / self._named.study / "series"
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / self._named.series).open("wb") as file:
            for index in range(len(self.sizes)):
                file.write(b"--" + BOUNDARY.encode() + b"\r\nContent-Type: application/dicom\r\n\r\n")
                file.writelines(self.iter_chunks(index))
                file.write(b"\r\n")
            file.write(b"--" + BOUNDARY.encode() + b"--\r\n")

    def write_objects(self) -> None:
        """Write an object for each instance, and the pages of their listing."""
        folder = self._www / BUCKET / self._named.revision
        folder.mkdir(parents=True)
        rows = []
        for index, size_bytes in enumerate(self.sizes):
            key = f"{self._named.revision}/{uuid.UUID(int=(self._number << 32) + index + 1)}.dcm"
            with (self._www / BUCKET / key).open("wb") as file:
                etag = self._write_object(file, index)
            rows.append(
                f"<Contents><Key>{key}</Key><LastModified>2024-01-01T00:00:00.000Z</LastModified>"
                f"<ETag>&quot;{etag}&quot;</ETag><Size>{size_bytes}</Size><StorageClass>STANDARD</StorageClass></Contents>"
            )
        listings = self._www / "listings"
        listings.mkdir(exist_ok=True)
        pages = [rows[at : at + PAGE] for at in range(0, len(rows), PAGE)]
        for number, page in enumerate(pages, 1):
            text = _listing(self._named.revision, page, number + 1 if number < len(pages) else None)
            (listings / f"{self._named.revision}.{number}").write_text(text, encoding="utf-8")

    def _write_object(self, file: BinaryIO, index: int) -> str:
        digest = hashlib.md5(usedforsecurity=False)
        for chunk in self.iter_chunks(index):
            digest.update(chunk)
            file.write(chunk)
        return digest.hexdigest()


def _listing(revision: str, rows: Sequence[str], following: int | None) -> str:
    more = "false</IsTruncated>"
    if following is not None:
        more = f"true</IsTruncated><NextContinuationToken>{following}</NextContinuationToken>"
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><Prefix>{revision}/</Prefix><IsTruncated>{more}<KeyCount>{len(rows)}</KeyCount>"
        f"<MaxKeys>{PAGE}</MaxKeys>{''.join(rows)}</ListBucketResult>"
    )


def _sop(series: int, index: int) -> str:
    return f"1.2.826.0.1.3680043.8.498.1.{10_000 + series}.{100_000 + index}"


def _pixels(size_bytes: int) -> Iterator[bytes]:
    for at in range(0, size_bytes, len(_BLOCK)):
        yield _BLOCK[: size_bytes - at]


def _write_manifest(data: Data) -> None:
    with data.manifest.open("w", encoding="utf-8", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["StudyInstanceUID", "SeriesInstanceUID", "instanceCount"])
        rows.writerows([each.named.study, each.named.series, len(each.sizes)] for each in data.series)


def _write_lock(data: Data) -> None:
    header = {
        "dicomhaul_lock": 1,
        "written_by": "benchmark",
        "created": _CREATED,
        "query": {},
        "idc_version": int(idc_index_data.__version__.split(".")[0]),
        "series": len(data.series),
    }
    lines = [
        {
            "series": each.named.series,
            "study": each.named.study,
            "revision": each.named.revision,
            "bucket": BUCKET,
            "instances": len(each.sizes),
            "size_bytes": sum(each.sizes),
        }
        for each in sorted(data.series, key=lambda each: (each.named.series, each.named.study))
    ]
    data.lock.write_text("\n".join(map(json.dumps, (header, *lines))) + "\n", encoding="utf-8")


def clear(folder: Path) -> None:
    """Remove a folder and all in it; nothing, if it is not there."""
    if folder.exists():
        shutil.rmtree(folder)
