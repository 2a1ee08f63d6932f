"""The data sets of synthetic instances, modality by modality, with pydicom. No bytes are encoded here.

Each is a proper instance of its modality's SOP class, marked as synthetic wherever a reader may look. What
makes an instance large (pixels, contours, text) is not in it: `template` puts that in, between `before` and
`after`.
"""

import hashlib
from dataclasses import dataclass
from typing import Any

from pydicom import uid
from pydicom.dataset import Dataset

from dicomhaul.model import Series
from dicomhaul.origin.pixels import Geometry, fit_image, fit_tiles

# Fixed-width stand-ins that `template` replaces in the encoded bytes, instance by instance.
SOP_MARK = "2.25.340282366920938463463374607431768211455"  # the largest there can be: nobody has it
NUMBER_MARK = "+02073741823"
POSITION_MARK = "-98765432.123456"

HEAD_BYTES = 1600  # about what all elements but the large one take


@dataclass(frozen=True, slots=True)
class Kind:
    """How the instances of a modality are built. `bits` is 0 where there are no pixels."""

    sop_class: str
    bits: int = 0
    samples: int = 1
    is_tiled: bool = False


_CAPTURE = Kind(uid.SecondaryCaptureImageStorage, bits=8)
_KINDS = {
    "CT": Kind(uid.CTImageStorage, bits=16),
    "MR": Kind(uid.MRImageStorage, bits=16),
    "PT": Kind(uid.PositronEmissionTomographyImageStorage, bits=16),
    "CR": Kind(uid.ComputedRadiographyImageStorage, bits=16),
    "DX": Kind(uid.DigitalXRayImageStorageForPresentation, bits=16),
    "MG": Kind(uid.DigitalMammographyXRayImageStorageForPresentation, bits=16),
    "US": Kind(uid.UltrasoundImageStorage, bits=8),
    "XA": Kind(uid.XRayAngiographicImageStorage, bits=8),
    "RF": Kind(uid.XRayRadiofluoroscopicImageStorage, bits=8),
    "SM": Kind(uid.VLWholeSlideMicroscopyImageStorage, bits=8, samples=3, is_tiled=True),
    "SEG": Kind(uid.SegmentationStorage, bits=1, is_tiled=True),
    "RTSTRUCT": Kind(uid.RTStructureSetStorage),
    "SR": Kind(uid.ComprehensiveSRStorage),
}


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What `template` encodes: the data set, cut where its large element belongs.

    Attributes:
        before: elements in front of the large one.
        after: elements behind it.
        geometry: of the pixels; None where the large element is a sequence.
        sequences: the tags of the large sequence and of those around it, outermost first; empty where there
            are pixels.
        item: what the innermost of them repeats.
        beside: what stands behind the innermost one in the item of the one around it.
    """

    kind: Kind
    before: Dataset
    after: Dataset
    geometry: Geometry | None
    sequences: tuple[tuple[int, int], ...]
    item: Dataset
    beside: Dataset


def kind_of(modality: str | None) -> Kind:
    """Return how to build a modality; unknown ones are secondary captures."""
    return _KINDS.get(modality or "", _CAPTURE)


def geometry_of(row: Series, size_bytes: int) -> Geometry | None:
    """Return the shape of the pixels of one instance of about `size_bytes`; None where its class has none."""
    kind = kind_of(row.modality)
    if not kind.bits:
        return None
    room = max(0, size_bytes - HEAD_BYTES)
    if kind.is_tiled:
        return fit_tiles(room, bits=kind.bits, samples=kind.samples)
    return fit_image(room, bits=kind.bits)


def date_of(study: str) -> str:
    """Return the made-up date of a study, always the same, between 2000 and 2019."""
    number = int.from_bytes(hashlib.sha256(study.encode()).digest()[:4], "big")
    return f"{2000 + number % 20}{1 + number // 20 % 12:02}{1 + number // 240 % 28:02}"


def patient_of(row: Series) -> str:
    """Return the Patient ID of a row, or one made up from its study."""
    return (row.patient or f"SYNTHETIC-{hashlib.sha256(row.study.encode()).hexdigest()[:8]}")[:64]


def describe_series(row: Series) -> str:
    """Return the Series Description, which says that nothing here is real."""
    return f"SYNTHETIC {row.modality or 'OT'} of {row.collection or 'no collection'}"[:64]


def draw_up(row: Series, size_bytes: int) -> Blueprint:
    """Return the blueprint for the instances of a series."""
    kind = kind_of(row.modality)
    geometry = geometry_of(row, size_bytes)
    before, after, item, beside = Dataset(), Dataset(), Dataset(), Dataset()
    sequences: tuple[tuple[int, int], ...] = ()
    _add_general(before, row, kind)
    if geometry is not None:
        _add_image(before, geometry, signed=row.modality == "CT")
        _OWN.get(row.modality or "", _own_capture)(before, geometry)
    elif row.modality == "RTSTRUCT":
        _add_structure_set(before, after)
        sequences = ((0x3006, 0x0039), (0x3006, 0x0040))  # ROI Contour Sequence, Contour Sequence
        square = ["-50", "-50", "0", "50", "-50", "0", "50", "50", "0", "-50", "50", "0"]
        _add(item, ContourGeometricType="CLOSED_PLANAR", NumberOfContourPoints=4, ContourData=square)
        beside.ReferencedROINumber = 1
    else:
        _add_report(before)
        sequences = ((0x0040, 0xA730),)  # Content Sequence
        _add(
            item,
            RelationshipType="CONTAINS",
            ValueType="TEXT",
            ConceptNameCodeSequence=_code("121106", "DCM", "Comment"),
            TextValue="SYNTHETIC: this report describes no patient",
        )
    return Blueprint(kind, before, after, geometry, sequences, item, beside)


def _add(target: Dataset, **elements: Any) -> None:
    for keyword, value in elements.items():
        setattr(target, keyword, value)


def _item(**elements: Any) -> Dataset:
    made = Dataset()
    _add(made, **elements)
    return made


def _code(value: str, scheme: str, meaning: str) -> list[Dataset]:
    return [_item(CodeValue=value, CodingSchemeDesignator=scheme, CodeMeaning=meaning)]


def _uid(*words: str) -> str:
    return str(uid.generate_uid(entropy_srcs=list(words)))


def _add_general(ds: Dataset, row: Series, kind: Kind) -> None:
    date = date_of(row.study)
    _add(
        ds,
        SpecificCharacterSet="ISO_IR 192",
        InstanceCreationDate=date,
        InstanceCreationTime="120000",
        SOPClassUID=kind.sop_class,
        SOPInstanceUID=SOP_MARK,
        StudyDate=date,
        SeriesDate=date,
        ContentDate=date,
        StudyTime="120000",
        SeriesTime="120000",
        ContentTime="120000",
        AccessionNumber="",
        Modality=row.modality or "OT",
        Manufacturer="dicomhaul",
        InstitutionName="SYNTHETIC",
        ReferringPhysicianName="",
        StationName="ORIGIN",
        StudyDescription="SYNTHETIC study",
        SeriesDescription=describe_series(row),
        ManufacturerModelName="embedded origin",
        PatientName="SYNTHETIC^PATIENT",
        PatientID=patient_of(row),
        PatientBirthDate="",
        PatientSex="O",
        PatientAge="050Y",
        PatientIdentityRemoved="YES",
        DeidentificationMethod="made up, never was a patient",
        ClinicalTrialProtocolID=(row.collection or "none")[:64],
        DeviceSerialNumber="0",
        SoftwareVersions="1",
        StudyInstanceUID=row.study,
        SeriesInstanceUID=row.series,
        StudyID="1",
        SeriesNumber=1,
        InstanceNumber=NUMBER_MARK,
    )


def _add_image(ds: Dataset, shape: Geometry, *, signed: bool) -> None:
    _add(
        ds,
        ImageType=["DERIVED", "PRIMARY"],
        AcquisitionNumber=1,
        ImageComments="SYNTHETIC: these pixels show no patient",
        BurnedInAnnotation="YES",
        LossyImageCompression="00",
        SamplesPerPixel=shape.samples,
        PhotometricInterpretation="RGB" if shape.samples == 3 else "MONOCHROME2",
        Rows=shape.rows,
        Columns=shape.columns,
        BitsAllocated=shape.bits,
        BitsStored=min(shape.bits, 12),
        HighBit=min(shape.bits, 12) - 1,
        PixelRepresentation=int(signed and shape.bits == 16),
    )
    if shape.samples == 3:
        ds.PlanarConfiguration = 0
    if shape.bits == 16:
        _add(ds, WindowCenter="1000", WindowWidth="2000")


def _add_volume(ds: Dataset) -> None:
    _add(
        ds,
        PatientPosition="HFS",
        SliceThickness="2.5",
        ImagePositionPatient=["-100", "-100", POSITION_MARK],
        ImageOrientationPatient=["1", "0", "0", "0", "1", "0"],
        FrameOfReferenceUID=_uid(ds.StudyInstanceUID, "frame of reference"),
        PositionReferenceIndicator="",
        SliceLocation=POSITION_MARK,
        PixelSpacing=["0.75", "0.75"],
    )


def _own_ct(ds: Dataset, _: Geometry | None) -> None:
    _add_volume(ds)
    _add(
        ds,
        ImageType=["DERIVED", "PRIMARY", "AXIAL"],
        ScanOptions="HELICAL MODE",
        KVP="120",
        DataCollectionDiameter="500",
        ReconstructionDiameter="360",
        GantryDetectorTilt="0",
        TableHeight="150",
        RotationDirection="CW",
        ExposureTime=500,
        XRayTubeCurrent=250,
        Exposure=125,
        FilterType="BODY",
        ConvolutionKernel="STANDARD",
        RescaleIntercept="-1024",
        RescaleSlope="1",
        RescaleType="HU",
        BodyPartExamined="CHEST",
    )


def _own_mr(ds: Dataset, _: Geometry | None) -> None:
    _add_volume(ds)
    _add(
        ds,
        ScanningSequence="SE",
        SequenceVariant="NONE",
        ScanOptions="",
        MRAcquisitionType="2D",
        SequenceName="synthetic",
        RepetitionTime="500",
        EchoTime="15",
        NumberOfAverages="1",
        ImagingFrequency="63.8",
        ImagedNucleus="1H",
        EchoNumbers="1",
        MagneticFieldStrength="1.5",
        SpacingBetweenSlices="2.5",
        EchoTrainLength="1",
        PercentSampling="100",
        PixelBandwidth="130",
        FlipAngle="90",
        BodyPartExamined="BRAIN",
    )


def _own_pt(ds: Dataset, _: Geometry | None) -> None:
    _add_volume(ds)
    _add(
        ds,
        Units="BQML",
        CountsSource="EMISSION",
        SeriesType=["WHOLE BODY", "IMAGE"],
        DecayCorrection="START",
        CorrectedImage=["DECY", "ATTN", "SCAT"],
        NumberOfSlices=1,
        CollimatorType="NONE",
        AttenuationCorrectionMethod="synthetic",
        ReconstructionMethod="synthetic",
        FrameReferenceTime="0",
        ActualFrameDuration=180000,
        DecayFactor="1",
        RescaleIntercept="0",
        RescaleSlope="1",
        ImageIndex=1,
        AcquisitionDate=ds.StudyDate,
        AcquisitionTime="120000",
        RadiopharmaceuticalInformationSequence=[
            _item(
                Radiopharmaceutical="Fluorodeoxyglucose",
                RadiopharmaceuticalStartTime="110000",
                RadionuclideTotalDose="370000000",
                RadionuclideHalfLife="6586.2",
                RadionuclidePositronFraction="0.967",
                RadionuclideCodeSequence=_code("C-111A1", "SRT", "^18^Fluorine"),
            )
        ],
    )


def _own_projection(ds: Dataset, _: Geometry | None) -> None:
    _add(
        ds,
        ImageType=["DERIVED", "PRIMARY", ""],
        BodyPartExamined="CHEST",
        KVP="80",
        ViewPosition="PA",
        ExposureTime=10,
        XRayTubeCurrent=200,
        Exposure=2,
        ImagerPixelSpacing=["0.14", "0.14"],
        PatientOrientation=["L", "F"],
        ImageLaterality="U",
        PresentationIntentType="FOR PRESENTATION",
        PixelIntensityRelationship="LOG",
        PixelIntensityRelationshipSign=1,
        RescaleIntercept="0",
        RescaleSlope="1",
        RescaleType="US",
        PresentationLUTShape="IDENTITY",
        AnatomicRegionSequence=_code("T-D3000", "SRT", "Chest"),
    )


def _own_capture(ds: Dataset, _: Geometry | None) -> None:
    _add(ds, ConversionType="SYN", PatientOrientation="", DateOfSecondaryCapture=ds.StudyDate)


def _own_sm(ds: Dataset, shape: Geometry | None) -> None:
    frames, side = (shape.frames, shape.rows) if shape is not None else (1, 0)
    _add(
        ds,
        ImageType=["DERIVED", "PRIMARY", "VOLUME", "NONE"],
        NumberOfFrames=frames,
        FrameOfReferenceUID=_uid(ds.SeriesInstanceUID, "frame of reference"),
        PositionReferenceIndicator="SLIDE_CORNER",
        VolumetricProperties="VOLUME",
        DimensionOrganizationType="TILED_FULL",
        ImagedVolumeWidth=15.0,
        ImagedVolumeHeight=15.0,
        ImagedVolumeDepth=1.0,
        TotalPixelMatrixColumns=side * frames,
        TotalPixelMatrixRows=side,
        TotalPixelMatrixFocalPlanes=1,
        TotalPixelMatrixOriginSequence=[_item(XOffsetInSlideCoordinateSystem="0", YOffsetInSlideCoordinateSystem="0")],
        ImageOrientationSlide=["0", "1", "0", "1", "0", "0"],
        SpecimenLabelInImage="NO",
        FocusMethod="AUTO",
        ExtendedDepthOfField="NO",
        AcquisitionDateTime=f"{ds.StudyDate}120000",
        ContainerIdentifier="SYNTHETIC",
        IssuerOfTheContainerIdentifierSequence=[],
        ContainerTypeCodeSequence=_code("433466003", "SCT", "Microscope slide"),
        SpecimenDescriptionSequence=[
            _item(
                SpecimenIdentifier="SYNTHETIC",
                SpecimenUID=_uid(ds.SeriesInstanceUID, "specimen"),
                IssuerOfTheSpecimenIdentifierSequence=[],
                SpecimenPreparationSequence=[],
            )
        ],
        NumberOfOpticalPaths=1,
        OpticalPathSequence=[
            _item(
                OpticalPathIdentifier="0",
                IlluminationTypeCodeSequence=_code("111744", "DCM", "Brightfield illumination"),
                IlluminationColorCodeSequence=_code("371251000", "SCT", "White color"),
            )
        ],
        SharedFunctionalGroupsSequence=[
            _item(PixelMeasuresSequence=[_item(SliceThickness="0.001", PixelSpacing=["0.0005", "0.0005"])])
        ],
    )


def _own_seg(ds: Dataset, shape: Geometry | None) -> None:
    frames = shape.frames if shape is not None else 1
    organization = _uid(ds.SeriesInstanceUID, "dimensions")
    _add(
        ds,
        NumberOfFrames=frames,
        FrameOfReferenceUID=_uid(ds.StudyInstanceUID, "frame of reference"),
        PositionReferenceIndicator="",
        ContentLabel="SYNTHETIC",
        ContentDescription="SYNTHETIC segmentation",
        ContentCreatorName="dicomhaul",
        SegmentationType="BINARY",
        DimensionOrganizationSequence=[_item(DimensionOrganizationUID=organization)],
        DimensionIndexSequence=[
            _item(
                DimensionOrganizationUID=organization,
                DimensionIndexPointer=0x00200032,
                FunctionalGroupPointer=0x00209113,
            )
        ],
        SegmentSequence=[
            _item(
                SegmentNumber=1,
                SegmentLabel="SYNTHETIC",
                SegmentAlgorithmType="AUTOMATIC",
                SegmentAlgorithmName="none",
                SegmentedPropertyCategoryCodeSequence=_code("85756007", "SCT", "Tissue"),
                SegmentedPropertyTypeCodeSequence=_code("85756007", "SCT", "Tissue"),
            )
        ],
        SharedFunctionalGroupsSequence=[
            _item(
                PixelMeasuresSequence=[_item(SliceThickness="2.5", PixelSpacing=["0.75", "0.75"])],
                PlaneOrientationSequence=[_item(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])],
                SegmentIdentificationSequence=[_item(ReferencedSegmentNumber=1)],
            )
        ],
        PerFrameFunctionalGroupsSequence=[
            _item(
                FrameContentSequence=[_item(DimensionIndexValues=[frame + 1])],
                PlanePositionSequence=[_item(ImagePositionPatient=["0", "0", str(2.5 * frame)])],
            )
            for frame in range(frames)
        ],
    )


_OWN = {
    "CT": _own_ct,
    "MR": _own_mr,
    "PT": _own_pt,
    "CR": _own_projection,
    "DX": _own_projection,
    "MG": _own_projection,
    "SM": _own_sm,
    "SEG": _own_seg,
}


def _add_structure_set(before: Dataset, after: Dataset) -> None:
    frame = _uid(before.StudyInstanceUID, "frame of reference")
    _add(
        before,
        StructureSetLabel="SYNTHETIC",
        StructureSetName="SYNTHETIC",
        StructureSetDescription="SYNTHETIC contours, nobody's anatomy",
        StructureSetDate=before.StudyDate,
        StructureSetTime="120000",
        ReferencedFrameOfReferenceSequence=[_item(FrameOfReferenceUID=frame)],
        StructureSetROISequence=[
            _item(
                ROINumber=1,
                ReferencedFrameOfReferenceUID=frame,
                ROIName="SYNTHETIC",
                ROIGenerationAlgorithm="AUTOMATIC",
            )
        ],
    )
    _add(
        after,
        RTROIObservationsSequence=[
            _item(ObservationNumber=1, ReferencedROINumber=1, RTROIInterpretedType="ORGAN", ROIInterpreter="")
        ],
        ApprovalStatus="UNAPPROVED",
    )


def _add_report(before: Dataset) -> None:
    _add(
        before,
        ReferencedPerformedProcedureStepSequence=[],
        ValueType="CONTAINER",
        ConceptNameCodeSequence=_code("126000", "DCM", "Imaging Measurement Report"),
        ContinuityOfContent="SEPARATE",
        PerformedProcedureCodeSequence=[],
        CompletionFlag="PARTIAL",
        VerificationFlag="UNVERIFIED",
    )
