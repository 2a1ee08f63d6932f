"""dicomhaul brings cohorts of DICOM instances down: complete, verifiable, resumable."""

from dicomhaul._version import __version__

__all__ = ["__version__"]
