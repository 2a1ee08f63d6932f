"""Small made-up cohorts for tests in which it does not matter what the instances show."""

from dicomhaul.model import Series, SeriesUID, StudyUID
from dicomhaul.origin import Catalog, synthetic_catalog

INSTANCE_BYTES = 8_000


def made_up_rows(
    *instances: int, size_bytes: int = INSTANCE_BYTES, series_a_study: int = 2, modality: str = "CT"
) -> list[Series]:
    """Return a row for each number of instances; `size_bytes` is that of one."""
    return [
        Series(
            StudyUID(f"1.2.826.0.1.{index // series_a_study}"),
            SeriesUID(f"1.2.826.0.1.{index // series_a_study}.{index}"),
            modality=modality,
            expected=count,
            size_bytes=count * size_bytes,
        )
        for index, count in enumerate(instances)
    ]


def made_up_catalog(*instances: int, size_bytes: int = INSTANCE_BYTES) -> Catalog:
    """Return a catalog with a series for each number of instances, two to a study."""
    return synthetic_catalog(made_up_rows(*instances, size_bytes=size_bytes))


def manifest_of(rows: list[Series], *, counts: bool = True) -> str:
    """Return a CSV manifest with study, series and, if `counts`, the number of instances."""
    head = "StudyInstanceUID,SeriesInstanceUID" + (",instanceCount" if counts else "")
    lines = [f"{row.study},{row.series}" + (f",{row.expected}" if counts else "") for row in rows]
    return "\n".join([head, *lines, ""])
