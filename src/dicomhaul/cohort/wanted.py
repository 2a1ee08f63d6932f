"""What to bring, as a Python program says it."""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

from dicomhaul.model import Query, Shard

if TYPE_CHECKING:
    import pandas as pd

Words = str | Iterable[str]


def _words(value: Words | None) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


@dataclass(frozen=True, slots=True)
class Cohort:
    """What to bring. Made by its class methods; nothing is looked up before it is planned or pulled."""

    query: Query

    @classmethod
    def idc(
        cls,
        *targets: str,
        collection_id: Words | None = None,
        modality: Words | None = None,
        patient_id: Words | None = None,
        study_instance_uid: Words | None = None,
        series_instance_uid: Words | None = None,
        sop_instance_uid: Words | None = None,
        crdc_series_uuid: Words | None = None,
        study_date: str | None = None,
        where: str | None = None,
        limit_series: int | None = None,
        idc_version: int | None = None,
        licenses_allowed: Words | None = None,
        shard: Shard | None = None,
    ) -> Self:
        """Series of the IDC index.

        Args:
            targets: collection ids, UIDs, CRDC series UUIDs, or manifest files, as on the command line.
            collection_id: a filter, like those that follow; values of one are alternatives, filters intersect.
            modality: such as `CT`.
            patient_id: PatientID.
            study_instance_uid: StudyInstanceUID.
            series_instance_uid: SeriesInstanceUID.
            sop_instance_uid: single instances.
            crdc_series_uuid: one revision of a series.
            study_date: `A-B`, `A-`, `-B` or `A`, as YYYYMMDD or YYYY-MM-DD.
            where: an SQL condition on the columns of `index`.
            limit_series: at most so many series.
            idc_version: IDC as that release had it; None: as the installed index has it.
            licenses_allowed: such as `CC BY 4.0`; a cohort that holds any other licence is refused.
            shard: one of several equal parts, the same on every machine.
        """
        return cls(
            Query(
                targets=targets,
                collection=_words(collection_id),
                modality=_words(modality),
                patient=_words(patient_id),
                study=_words(study_instance_uid),
                series=_words(series_instance_uid),
                instance=_words(sop_instance_uid),
                crdc=_words(crdc_series_uuid),
                study_date=study_date,
                where=where,
                limit_series=limit_series,
                idc_version=idc_version,
                licenses_allowed=_words(licenses_allowed),
                shard=shard,
            )
        )

    @classmethod
    def sql(cls, query: str) -> Self:
        """The series that an SQL SELECT over IDC's tables yields; it runs where it can read nothing else."""
        return cls(Query(sql=query))

    @classmethod
    def series(cls, *uids: str) -> Self:
        """Whole series, by Series Instance UID."""
        return cls(Query(series=uids))

    @classmethod
    def manifest(cls, path: str | os.PathLike[str]) -> Self:
        """What a manifest file names: s5cmd, CSV or TSV, a plain list, or a lock."""
        return cls(Query(targets=(os.fspath(path),)))

    @classmethod
    def lock(cls, path: str | os.PathLike[str]) -> Self:
        """Exactly what a lock names: these revisions of these series, whatever IDC's present release has."""
        return cls(Query(targets=(os.fspath(path),)))

    @classmethod
    def dataframe(cls, frame: "pd.DataFrame") -> Self:
        """What a DataFrame names: columns StudyInstanceUID, SeriesInstanceUID, SOPInstanceUID, crdc_series_uuid,
        instanceCount, as far as it has them.
        """
        names = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "crdc_series_uuid", "instanceCount")
        kept = [name for name in names if name in frame.columns]
        return cls(Query(manifest=frame[kept].to_csv(index=False)))

    @classmethod
    def search(cls, **keys: str) -> Self:
        """What a DICOMweb server finds by QIDO-RS: keys are DICOM keywords; none means everything it has."""
        return cls(Query(search=tuple(f"{key}={value}" for key, value in keys.items()), everything=not keys))
