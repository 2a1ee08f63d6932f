"""pydicom as the judge of who an instance says it is."""

import logging
import warnings
from typing import BinaryIO

import pydicom

from dicomhaul.model import Identity

_TAGS = ["SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"]


def identity_by_pydicom(file: BinaryIO) -> Identity:
    """Return the UIDs that pydicom reads. Raises whatever it raises."""
    logging.disable(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = pydicom.dcmread(file, force=True, specific_tags=_TAGS)
            sop_class, sop, study, series = (str(found.get(keyword) or "") for keyword in _TAGS)
            syntax = str(found.file_meta.get("TransferSyntaxUID") or "")
            return Identity(study, series, sop, sop_class, syntax)
    finally:
        logging.disable(logging.NOTSET)
