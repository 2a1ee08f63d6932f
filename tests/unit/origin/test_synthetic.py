"""Synthetic instances: valid, decodable, plainly marked, always the same, and of the size that was asked for."""

import hashlib
from io import BytesIO

import pytest
from pydicom import dcmread

from dicomhaul.model import Series, SeriesUID, StudyUID, is_uid
from dicomhaul.origin.modality import kind_of
from dicomhaul.origin.synthetic import MIXED, SyntheticInstance, SyntheticSeries
from dicomhaul.origin.template import DEFLATED, EXPLICIT, IMPLICIT, RLE, can_have, template_of

MODALITIES = ("CT", "MR", "PT", "CR", "DX", "MG", "US", "XA", "RF", "SM", "SEG", "RTSTRUCT", "SR", "KO", None)
SOP_CLASSES = {
    "CT": "1.2.840.10008.5.1.4.1.1.2",
    "MR": "1.2.840.10008.5.1.4.1.1.4",
    "PT": "1.2.840.10008.5.1.4.1.1.128",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "RTSTRUCT": "1.2.840.10008.5.1.4.1.1.481.3",
    "SR": "1.2.840.10008.5.1.4.1.1.88.33",
    "DX": "1.2.840.10008.5.1.4.1.1.1.1",
    "SM": "1.2.840.10008.5.1.4.1.1.77.1.6",
    "KO": "1.2.840.10008.5.1.4.1.1.7",
}


def row(modality: str | None = "MR", *, expected: int | None = 3, size_bytes: int | None = 3 * 9000) -> Series:
    return Series(
        StudyUID("1.2.3.4"),
        SeriesUID(f"1.2.3.4.{MODALITIES.index(modality)}"),
        collection="a_collection",
        patient="Pätient+1",
        modality=modality,
        expected=expected,
        size_bytes=size_bytes,
    )


def content(instance: SyntheticInstance) -> bytes:
    return b"".join(instance.owner.template(instance.number).iter_chunks(instance.sop, instance.number))


@pytest.mark.parametrize("syntax", MIXED)
@pytest.mark.parametrize("modality", MODALITIES)
def test_parses_decodes_and_says_that_it_is_synthetic(modality: str | None, syntax: str) -> None:
    series = SyntheticSeries(row(modality, size_bytes=3 * 60_000), None, (syntax,))
    instance = list(series)[2]
    whole = content(instance)
    ds = dcmread(BytesIO(whole))
    elements = sum(1 for _ in ds.iterall())

    assert len(whole) == instance.size_bytes
    assert len(whole) % 2 == 0
    assert ds.SOPInstanceUID == instance.sop == ds.file_meta.MediaStorageSOPInstanceUID
    assert (ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.InstanceNumber) == (series.study, series.series, 3)
    assert ds.file_meta.TransferSyntaxUID == instance.transfer_syntax
    assert ds.SOPClassUID == ds.file_meta.MediaStorageSOPClassUID
    assert elements > 50
    assert "SYNTHETIC" in ds.SeriesDescription
    if modality in SOP_CLASSES:
        assert ds.SOPClassUID == SOP_CLASSES[modality]
    if kind_of(modality).bits:
        assert ds.BurnedInAnnotation == "YES"
        assert "SYNTHETIC" in ds.ImageComments
        pixels = ds.pixel_array
        assert pixels.min() != pixels.max()
    else:
        assert "PixelData" not in ds


def test_contours_and_text_nest_as_their_classes_want() -> None:
    structures = dcmread(BytesIO(content(next(iter(SyntheticSeries(row("RTSTRUCT", size_bytes=60_000)))))))
    report = dcmread(BytesIO(content(next(iter(SyntheticSeries(row("SR", size_bytes=60_000)))))))
    contours = structures.ROIContourSequence[0]

    assert contours.ReferencedROINumber == structures.StructureSetROISequence[0].ROINumber
    assert {len(one.ContourData) for one in contours.ContourSequence} == {12}
    assert structures.RTROIObservationsSequence[0].ReferencedROINumber == 1
    assert {item.ValueType for item in report.ContentSequence} == {"TEXT"}


@pytest.mark.parametrize("modality", ["CT", "MR", "SM", "SEG", "RTSTRUCT", "SR"])
@pytest.mark.parametrize("aim", [20_000, 64_000, 525_000])
def test_size_is_near_what_the_row_states(modality: str, aim: int) -> None:
    instance = next(iter(SyntheticSeries(row(modality, size_bytes=3 * aim))))
    assert abs(instance.size_bytes - aim) < 0.3 * aim


def test_a_cap_holds_and_a_row_that_states_nothing_gets_one_small_instance() -> None:
    capped = SyntheticSeries(row("CT", size_bytes=10**12), 64_000)
    unknown = SyntheticSeries(row("CT", expected=None, size_bytes=None))
    assert max(one.size_bytes for one in capped) < 72_000
    assert [one.size_bytes < 80_000 for one in unknown] == [True]


def test_the_largest_slide_is_streamed_in_small_chunks() -> None:
    slide = next(iter(SyntheticSeries(row("SM", expected=1, size_bytes=4_000_000_000))))
    chunks = slide.owner.template(1).iter_chunks(slide.sop, 1)
    assert max(len(next(chunks)) for _ in range(20)) < 1_000_000
    assert slide.size_bytes > 3_900_000_000


def test_everything_is_the_same_in_each_run() -> None:
    template_of.cache_clear()
    digest = hashlib.sha256(content(list(SyntheticSeries(row("CT")))[1])).hexdigest()
    template_of.cache_clear()
    assert hashlib.sha256(content(list(SyntheticSeries(row("CT")))[1])).hexdigest() == digest
    assert SyntheticSeries(row("CT")).sop_of(1) == "2.25.230934171807813775211400991783748894721"


def test_an_instance_is_found_by_its_uid_and_by_no_other() -> None:
    series = SyntheticSeries(row(expected=2000))
    uids = [one.sop for one in series]
    assert len(set(uids)) == 2000
    assert all(is_uid(uid) and len(uid) == 44 for uid in uids)
    found = series.find(uids[1999])
    assert found is not None
    assert found.number == 2000
    strangers = ["", "2.25.", "2.25.x", "2.25.٣", uids[0] + "0", uids[0][5:], series.sop_of(0), series.sop_of(2001)]
    assert [series.find(uid) for uid in strangers] == [None] * len(strangers)
    assert SyntheticSeries(row("CT", expected=2000)).find(uids[0]) is None


def test_syntaxes_take_turns_and_those_a_class_cannot_have_are_left_out() -> None:
    assert {one.transfer_syntax for one in SyntheticSeries(row("CT", expected=8), None, MIXED)} == set(MIXED)
    assert {one.transfer_syntax for one in SyntheticSeries(row("SR", expected=8), None, MIXED)} == {
        EXPLICIT,
        IMPLICIT,
        DEFLATED,
    }
    assert {one.transfer_syntax for one in SyntheticSeries(row("SEG"), None, (RLE,))} == {EXPLICIT}
    assert not can_have(row("SEG"), RLE)
    with pytest.raises(ValueError, match="SEG"):
        template_of(row("SEG"), RLE, 9000)


@pytest.mark.anyio
async def test_metadata_holds_the_attributes_but_no_pixels() -> None:
    instance = list(SyntheticSeries(row("CT"), None, (DEFLATED,)))[1]
    metadata = await instance.metadata()
    assert metadata["00080018"]["Value"] == [instance.sop]
    assert metadata["00100020"]["Value"] == ["Pätient+1"]
    assert metadata["00280010"] == instance.attributes["00280010"]
    assert "7FE00010" not in metadata
