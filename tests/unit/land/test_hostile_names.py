"""Names that a server chooses: two of them are never one, on no filesystem, and none reaches what is ours."""

import re
import unicodedata
from collections.abc import Mapping
from pathlib import PureWindowsPath

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from dicomhaul.land.folder import instance_file
from dicomhaul.land.layout import FIELDS, IDC_LAYOUT, PLAIN_LAYOUT, apart, parse_layout
from dicomhaul.model import is_identifier

SHORT_NAME = re.compile(r"[^.]{1,8}(?:\.[^.]{0,3})?\Z")
IDENTIFIER = r"[0-9A-Za-z](?:[0-9A-Za-z_-]|\.(?=[0-9A-Za-z_-])){0,63}"

identifiers = st.from_regex(IDENTIFIER, fullmatch=True) | st.from_regex(r"[12](\.[0-9]{1,3}){1,4}", fullmatch=True)
close_identifiers = st.text("aA1._b-B2", min_size=1, max_size=4).filter(is_identifier)
close_values = st.text("aA1._b-~/ .:é", max_size=4)


def folded(path: str) -> str:
    """What a filesystem that tells neither case nor normal forms apart takes a path for (APFS, NTFS, ext4 casefold)."""
    return unicodedata.normalize("NFD", unicodedata.normalize("NFD", path).casefold())


def is_ours(component: str) -> bool:
    """Whether some filesystem takes a component for one of our own names: by case, or by a short name (FAT, NTFS)."""
    name = folded(component)
    return name in {".dicomhaul", "index.parquet", ".index.parquet.part"} or bool(
        SHORT_NAME.match(name) and re.fullmatch(r"(dicomh|index)~?[0-9]*(\.par)?", name) and "~" in name
    )


@given(identifiers | close_identifiers, identifiers | close_identifiers)
@example("ABC", "abc")
@example("ABC", "aBC")
@example("con", "CON")
@example("con", "con.1")
@example("a", "A")
def test_two_instances_are_never_one_file(one: str, other: str) -> None:
    files = {folded(instance_file(name)) for name in (one, other)}
    assert len(files) == len({one, other})
    for name in (one, other):
        file = instance_file(name)
        assert len(file.encode()) <= 255
        assert not PureWindowsPath(file).is_reserved()
        assert not SHORT_NAME.match(file) or "~" not in file
        assert name in file


@given(st.from_regex(r"[0-9]+(\.[0-9]+){0,10}", fullmatch=True), st.uuids())
def test_real_uids_and_the_names_of_objects_stay_as_they_are(uid: str, stem: object) -> None:
    assert apart(uid) == uid
    assert instance_file(uid) == f"{uid}.dcm"
    assert instance_file(uid, str(stem)) == f"{stem}.dcm"


TEMPLATES = [
    IDC_LAYOUT,
    PLAIN_LAYOUT,
    "{SeriesInstanceUID}",
    "{Modality}{SeriesInstanceUID}",
    "{SeriesInstanceUID}{Modality}",
    "{SeriesInstanceUID}_{Modality}",
    "{Modality}_{SeriesInstanceUID}_{SeriesDescription}",
    "{Modality}.{SeriesInstanceUID}",
    "{Modality}1{SeriesInstanceUID}",
    "{PatientID}/{Modality}-{SeriesInstanceUID}-{Modality}",
    "{StudyInstanceUID}{SeriesInstanceUID}",
    "{PatientID}{SeriesInstanceUID}/{SeriesInstanceUID}_{Modality}",
]


@pytest.mark.parametrize("template", TEMPLATES)
@given(data=st.data())
def test_two_series_are_never_one_folder(template: str, data: st.DataObject) -> None:
    layout = parse_layout(template)
    uids = {"StudyInstanceUID", "SeriesInstanceUID"}

    def drawn() -> dict[str, str]:
        return {field: data.draw(close_identifiers if field in uids else close_values) for field in layout.fields}

    one, other = drawn(), drawn()
    assume(one["SeriesInstanceUID"] != other["SeriesInstanceUID"])
    assert folded(folder_of(template, one)) != folded(folder_of(template, other))


def folder_of(template: str, values: Mapping[str, str]) -> str:
    layout = parse_layout(template)
    return layout.folder([values.get(field) for field in layout.fields])


@pytest.mark.parametrize(
    ("template", "one", "other"),
    [
        # The text around a UID, taken for a part of it.
        ("{Modality}{SeriesInstanceUID}", {"Modality": "CT1", "SeriesInstanceUID": "2.3"},
         {"Modality": "CT", "SeriesInstanceUID": "12.3"}),
        (IDC_LAYOUT, {"Modality": "CT_a", "SeriesInstanceUID": "b"}, {"Modality": "CT", "SeriesInstanceUID": "a_b"}),
        ("{Modality}_{SeriesInstanceUID}_{SeriesNumber}",
         {"Modality": "CT_1.2", "SeriesInstanceUID": "3.4", "SeriesNumber": "5"},
         {"Modality": "CT", "SeriesInstanceUID": "1.2", "SeriesNumber": "3.4_5"}),
        (PLAIN_LAYOUT, {"StudyInstanceUID": "1", "SeriesInstanceUID": "abC"},
         {"StudyInstanceUID": "1", "SeriesInstanceUID": "Abc"}),
    ],
)  # fmt: skip
def test_series_that_were_one_folder_once(template: str, one: dict[str, str], other: dict[str, str]) -> None:
    assert folded(folder_of(template, one)) != folded(folder_of(template, other))


def test_the_layouts_that_people_know_name_real_series_as_ever() -> None:
    values = {"collection_id": "qin", "PatientID": "QIN-1", "StudyInstanceUID": "1.2", "Modality": "CT",
              "SeriesInstanceUID": "1.2.3"}  # fmt: skip
    assert folder_of(IDC_LAYOUT, values) == "qin/QIN-1/1.2/CT_1.2.3"
    assert folder_of(PLAIN_LAYOUT, values) == "1.2/1.2.3"
    assert folder_of("{PatientID}/{SeriesInstanceUID}_{Modality}", values) == "QIN-1/1.2.3_CT"


OURS = [
    *(
        ".dicomhaul",
        ".DICOMHAUL",
        ".dico\u200bmhaul",
        ".dicomhaul.",
        ".dicomhaul ",
        "DICOMH~1",
        "dicomh~2",
        "DICOMH~1.",
    ),
    *("index.parquet", "INDEX.PARQUET", "INDEX~1.PAR", "index~1.par", "\uff0edicomhaul", ".dicomhau\u0308l"),
    *(".index.parquet.part", "..", ".", "...", "/.dicomhaul", "x/../.dicomhaul", ".dicomhaul\0", ".d\u0131comhaul"),
]


@pytest.mark.parametrize("value", OURS)
@pytest.mark.parametrize("field", sorted(set(FIELDS) - {"SeriesInstanceUID"}))
def test_no_value_is_our_own_folder_or_index(field: str, value: str) -> None:
    folder = parse_layout(f"{{{field}}}/{{SeriesInstanceUID}}").folder([value, "1.2"])
    first, second = folder.split("/")
    assert second == "1.2"
    assert not is_ours(first), first
    assert not first.startswith(".")
    assert not PureWindowsPath(first).is_reserved()


@given(st.text(max_size=20))
@example("A~1.B")
@example("COM\xb2.x")
@example("CONIN$")
def test_no_component_is_a_short_name_or_reserved(value: str) -> None:
    first = parse_layout("{PatientID}/{SeriesInstanceUID}").folder([value, "1.2"]).split("/")[0]
    assert not (re.search(r"~[0-9]+(?:\.|\Z)", first) and SHORT_NAME.match(first))
    assert not PureWindowsPath(first).is_reserved()
    assert not first.endswith((".", " "))


@given(st.text(min_size=1, max_size=3), st.integers(90, 300))
def test_names_stay_within_what_filesystems_take(value: str, times: int) -> None:
    values = dict.fromkeys(FIELDS, value * times) | {"SeriesInstanceUID": "1." + "2" * 62}
    everything = "/".join(f"{{{field}}}" for field in FIELDS)
    for template in (everything, everything.replace("/", "_")):
        path = f"{folder_of(template, values)}/{instance_file('A' * 64)}"
        assert len(path.encode()) < 1024  # macOS; Linux has 4096
        assert all(len(part.encode()) <= 255 for part in path.split("/"))
