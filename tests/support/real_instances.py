"""The real DICOM files that pydicom and pydicom-data bring along; only what is on disk, nothing is downloaded."""

import importlib
from pathlib import Path


def real_paths() -> list[Path]:
    """All files with the suffix .dcm, in a stable order."""
    packages = [importlib.import_module(name) for name in ("pydicom", "data_store")]
    roots = [Path(str(package.__file__)).parent / "data" for package in packages]
    return [path for root in roots for path in sorted(root.rglob("*.dcm"))]


def real_path(name: str) -> Path:
    """The first of them with this name."""
    return next(path for path in real_paths() if path.name == name)
