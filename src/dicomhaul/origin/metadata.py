"""A data set as DICOM JSON (PS3.18 annex F), for searches and for WADO-RS metadata."""

import warnings
from collections.abc import Iterable

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomhaul.origin.catalog import Attributes

_BULK = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})


def to_json(ds: Dataset, tags: Iterable[str] | None = None) -> Attributes:
    """Return the attributes of `ds`, or only those of `tags`; values that JSON cannot hold are left out.

    Elements with a VR for bulk are removed, at every depth, from `ds` too: no BulkDataURI is served here.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # stored data may break rules; it is served as it is
        if tags is not None:
            wanted = [Tag(tag) for tag in tags]
            ds = Dataset({tag: ds.get_item(tag) for tag in wanted if tag in ds})
        ds.walk(_drop_bulk)
        found: Attributes = ds.to_json_dict(suppress_invalid_tags=True)
    return found


def _drop_bulk(ds: Dataset, element: DataElement) -> None:
    if element.VR in _BULK:
        del ds[element.tag]
