"""DEST/index.parquet: what a destination holds, one row an instance, for pandas, DuckDB and MONAI.

Runs in a child process (pyarrow is heavy). Memory holds one row group, whatever the number of rows. The file
appears whole or not at all.

What must not be here: SQL. Rows come from the ledger (`Ledger.iter_seen`).
"""

import errno
import os
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import BinaryIO

from dicomhaul.durable import sync_folder
from dicomhaul.errors import DiskFull, NotWritable
from dicomhaul.land.folder import instance_file, instance_path
from dicomhaul.model import Check
from dicomhaul.record.reader import FileRow

ROWS_PER_GROUP = 50_000
# In the order of the first columns.
_AS_THEY_ARE = ("collection", "patient", "study", "series", "sop", "modality", "revision", "license")
_CHECKS = {check: check.name.lower() for check in Check}
_FULL = {errno.ENOSPC, errno.EDQUOT}


def write_index(rows: Iterable[FileRow], path: Path) -> int:
    """Write rows to `path`, replacing it atomically; return how many.

    Columns: collection_id, PatientID, StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, Modality,
    crdc_series_uuid, license_short_name, path (relative to the folder of `path`, `/` on every system),
    size_bytes, xxh3 (32 hex digits), checked (what the bytes were held against as they landed: framing, size, crc32c,
    md5).

    Raises:
        DiskFull: no space is left.
        NotWritable: the file cannot be written for another reason.
    """
    staged = staged_path(path)
    try:
        staged.unlink(missing_ok=True)  # of a killed run; or a link, which would be followed out of the destination
        try:
            with staged.open("xb") as file:
                count = _write(iter(rows), file)
                file.flush()
                os.fsync(file.fileno())
            staged.replace(path)
            sync_folder(path.parent)
        finally:
            staged.unlink(missing_ok=True)
    except OSError as error:
        kind = DiskFull if error.errno in _FULL else NotWritable
        reason = os.strerror(error.errno) if error.errno else str(error)  # pyarrow puts the whole path into its text
        raise kind(f"cannot write {path.name}: {reason}") from None
    return count


def staged_path(path: Path) -> Path:
    """Where the index is written before it takes its name. One name: what a killed run leaves, the next removes."""
    return path.with_name(f".{path.name}.part")


def _write(rows: Iterator[FileRow], file: BinaryIO) -> int:
    import pyarrow as pa  # noqa: PLC0415 - heavy: 0.25 s and 60 MB
    import pyarrow.parquet as pq  # noqa: PLC0415

    text = pa.string()
    schema = pa.schema(
        [
            pa.field("collection_id", text),
            pa.field("PatientID", text),
            pa.field("StudyInstanceUID", text, nullable=False),
            pa.field("SeriesInstanceUID", text, nullable=False),
            pa.field("SOPInstanceUID", text, nullable=False),
            pa.field("Modality", text),
            pa.field("crdc_series_uuid", text),
            pa.field("license_short_name", text),
            pa.field("path", text, nullable=False),
            pa.field("size_bytes", pa.int64()),
            pa.field("xxh3", text),
            pa.field("checked", text),
        ]
    )
    count = 0
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        while batch := list(islice(rows, ROWS_PER_GROUP)):
            by_name = dict(zip(FileRow._fields, zip(*batch, strict=True), strict=True))
            columns = [
                *(by_name[name] for name in _AS_THEY_ARE),
                [
                    instance_path(folder, instance_file(sop, stem))
                    for folder, sop, stem in zip(by_name["folder"], by_name["sop"], by_name["stem"], strict=True)
                ],
                by_name["size_bytes"],
                [digest.hex() for digest in by_name["xxh3"]],
                [_CHECKS[check] for check in by_name["check"]],
            ]
            arrays = [pa.array(column, type=field.type) for column, field in zip(columns, schema, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema), row_group_size=ROWS_PER_GROUP)
            count += len(batch)
    return count
