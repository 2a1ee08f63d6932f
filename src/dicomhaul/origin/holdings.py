"""What IDC holds, as an origin plays it: revisions of series, each in a bucket, and the objects that they are there.

A revision is what a `crdc_series_uuid` names. The present one of a series is served by every origin that has its
bucket; a prior one by buckets alone. The names of objects follow from the SOP Instance UIDs.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final
from uuid import NAMESPACE_OID, uuid5

import google_crc32c

from dicomhaul.model import Series
from dicomhaul.origin.catalog import Catalog, StoredInstance, StoredSeries
from dicomhaul.origin.synthetic import SyntheticSeries
from dicomhaul.origin.template import EXPLICIT

BUCKETS: Final = ("idc-open-data", "idc-open-data-cr", "idc-open-data-two")
_UPLOAD_PART_BYTES: Final = 8 << 20


@dataclass(frozen=True)
class Revision:
    """One revision of one series.

    Attributes:
        bucket: as the index names it.
        uuid: its `crdc_series_uuid`.
        series: its instances.
        prior: whether the present release has another one.
    """

    bucket: str
    uuid: str
    series: StoredSeries
    prior: bool = False

    @cached_property
    def sops(self) -> Mapping[str, str]:
        """Key -> SOP Instance UID, in the order in which a bucket lists them."""
        keys = {f"{self.uuid}/{uuid5(NAMESPACE_OID, one.sop)}.dcm": one.sop for one in self.series}
        return dict(sorted(keys.items()))


@dataclass(frozen=True, slots=True)
class Digests:
    """What clouds state of an object: the MD5 of its bytes, the ETag of an upload in parts of 8 MiB, its CRC32C."""

    md5: bytes
    multipart_etag: str
    crc32c: bytes


@dataclass(frozen=True)
class Holdings:
    """All revisions there are."""

    revisions: tuple[Revision, ...]
    _digests: dict[tuple[str, str], Digests] = field(default_factory=dict, repr=False)

    def catalog(self, buckets: Iterable[str] | None = None) -> Catalog:
        """Return the present revisions for a DICOMweb origin; with `buckets`, only those in these."""
        wanted = None if buckets is None else set(buckets)
        return Catalog(
            each.series for each in self.revisions if not each.prior and (wanted is None or each.bucket in wanted)
        )

    def has_bucket(self, bucket: str) -> bool:
        """Say whether there is such a bucket: each of IDC's, whatever lies in it."""
        return bucket in BUCKETS or bucket in self._shelves

    def keys(self, bucket: str, prefix: str, after: str = "") -> Iterator[str]:
        """Yield the keys of a bucket that begin with `prefix` and come after `after`, in order."""
        for uuid, revision in sorted(self._shelves.get(bucket, {}).items()):
            folder = f"{uuid}/"
            if folder.startswith(prefix) or prefix.startswith(folder):  # the others are not even made up
                yield from (key for key in revision.sops if key.startswith(prefix) and key > after)

    def find(self, bucket: str, key: str) -> StoredInstance | None:
        """Return the instance that lies under a key."""
        revision = self._shelves.get(bucket, {}).get(key.partition("/")[0])
        sop = None if revision is None else revision.sops.get(key)
        return None if revision is None or sop is None else revision.series.find(sop)

    async def digests(self, bucket: str, key: str) -> Digests:
        """Return what is stated of an object that there is; read once."""
        known = self._digests.get((bucket, key))
        if known is None:
            instance = self.find(bucket, key)
            assert instance is not None  # noqa: S101 - the caller found it
            known = self._digests[bucket, key] = await _digest(instance)
        return known

    @cached_property
    def _shelves(self) -> dict[str, dict[str, Revision]]:
        shelves: dict[str, dict[str, Revision]] = {}
        for each in self.revisions:
            shelves.setdefault(each.bucket, {}).setdefault(each.uuid, each)
        return shelves


async def _digest(instance: StoredInstance) -> Digests:
    whole, part, parts, room = hashlib.md5(), hashlib.md5(), [], _UPLOAD_PART_BYTES  # noqa: S324 - as S3 does
    crc = 0
    async for chunk in instance.chunks():
        whole.update(chunk)
        crc = google_crc32c.extend(crc, chunk)
        view = memoryview(chunk)
        while view:
            part.update(view[:room])
            taken = min(room, len(view))
            view, room = view[taken:], room - taken
            if not room:
                parts.append(part.digest())
                part, room = hashlib.md5(), _UPLOAD_PART_BYTES  # noqa: S324 - as S3 does
    if room < _UPLOAD_PART_BYTES or not parts:
        parts.append(part.digest())
    joined = hashlib.md5(b"".join(parts)).hexdigest()  # noqa: S324 - as S3 does
    return Digests(whole.digest(), f"{joined}-{len(parts)}", crc.to_bytes(4, "big"))


def synthetic_holdings(
    rows: Iterable[Series], *, max_instance_bytes: int | None = None, syntaxes: tuple[str, ...] = (EXPLICIT,)
) -> Holdings:
    """Return holdings with made-up instances for rows of IDC's index; see `synthetic.SyntheticSeries`.

    A row without bucket or revision lies in `idc-open-data`, under a UUID that follows from its Series Instance UID.
    """
    return Holdings(
        tuple(
            Revision(
                row.bucket or BUCKETS[0],
                row.revision or str(uuid5(NAMESPACE_OID, row.series)),
                SyntheticSeries(row, max_instance_bytes, syntaxes),
                row.prior,
            )
            for row in rows
        )
    )


def stored_holdings(catalog: Catalog) -> Holdings:
    """Return holdings with everything that a catalog has, in `idc-open-data`."""
    return Holdings(tuple(Revision(BUCKETS[0], str(uuid5(NAMESPACE_OID, one.series)), one) for one in catalog.series()))
