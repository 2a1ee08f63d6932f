"""A folder below the destination, whatever a server says; and nowhere else."""

import unicodedata
from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dicomhaul.errors import ConfigError
from dicomhaul.land.layout import FIELDS, IDC_LAYOUT, MISSING, PLAIN_LAYOUT, Layout, apart, parse_layout, safe_value
from dicomhaul.model import is_identifier, is_uid

NASTY = (
    "..",
    ".",
    "../../etc/passwd",
    "/etc/passwd",
    "C:\\Windows",
    "a\0b",
    "a\nb",
    " ",
    "~",
    "con",
    "NUL.txt",
    ".dicomhaul",
    "index.parquet",
    "\ud800",
    "\u202egnp",
    "e\u0301",
    "x" * 300,
    "ä" * 200,
    "%PatientID",
    "{PatientID}",
)
values = st.none() | st.text(max_size=150) | st.sampled_from(NASTY)
WIDE = "{PatientID}_{StudyDescription}_{SeriesDescription}/{Modality}{BodyPartExamined}_{SeriesInstanceUID}"
templates = st.sampled_from(
    [IDC_LAYOUT, PLAIN_LAYOUT, WIDE, "{SeriesInstanceUID}", "/".join(f"{{{f}}}" for f in FIELDS)]
)


def assert_harmless(folder: str) -> None:
    assert folder
    components = folder.split("/")
    for component in components:
        assert component.strip(". "), folder
        assert not component.startswith((".", " "))
        assert len(component.encode()) <= 255
        assert component.isprintable()
        assert not set(component) & set('\\:*?"<>|\0')
        assert not PureWindowsPath(component).is_reserved()
        assert component.lower() not in {".dicomhaul", "index.parquet"}
    assert len(folder.encode()) <= 900
    path = PurePosixPath("/dest") / folder
    assert path.is_relative_to("/dest")
    assert path.parts == ("/", "dest", *components)


@given(templates, st.data())
def test_a_folder_never_leaves_the_destination(template: str, data: st.DataObject) -> None:
    layout = parse_layout(template)
    assert_harmless(layout.folder([data.draw(values) for _ in layout.fields]))


@pytest.mark.parametrize("series", NASTY)
@pytest.mark.parametrize("template", [IDC_LAYOUT, PLAIN_LAYOUT, WIDE])
def test_whatever_a_series_calls_itself_it_has_a_folder(template: str, series: str) -> None:
    layout = parse_layout(template)
    assert_harmless(layout.folder([series if name == "SeriesInstanceUID" else "x" for name in layout.fields]))


@given(values, values)
@example("a", "A/")
@example("a/b", "a_b")
@example("x" * 300, "x" * 301)
@example("e\u0301", "\xe9")
@example("", " ")
@example("a/b", "a_b~c14cddc0")  # what the first one becomes
@example("con", "_con")
def test_two_values_are_never_one(one: str | None, other: str | None) -> None:
    layout = parse_layout("{PatientID}/{SeriesInstanceUID}")
    folders = {layout.folder([value, "1.2"]) for value in (one, other)}
    assert len(folders) == (1 if (one or None) == (other or None) else 2)


@given(st.from_regex(r"[0-9A-Za-z][0-9A-Za-z._-]{0,62}[0-9A-Za-z]", fullmatch=True))
def test_what_is_harmless_stays_as_it_is(value: str) -> None:
    assert safe_value(value) == value


@given(st.text(max_size=300))
@example("/" + "x" * 94)
@example("e\u200b\u0301")  # composed only once what stands between is gone
def test_a_safe_value_is_harmless_and_no_value_of_another(value: str) -> None:
    safe = safe_value(value)
    assert safe == value or safe_value(safe) != safe
    assert unicodedata.is_normalized("NFC", safe)
    assert len(safe.encode()) <= 100


def test_the_layouts_of_idc_and_of_the_others() -> None:
    idc = parse_layout(IDC_LAYOUT)
    assert idc.fields == ("collection_id", "PatientID", "StudyInstanceUID", "Modality", "SeriesInstanceUID")
    assert idc.folder(["qin", "P 1", "1.2", "CT", "1.3"]) == "qin/P 1/1.2/CT_1.3"
    assert parse_layout(PLAIN_LAYOUT).folder(["1.2", "1.3"]) == "1.2/1.3"


def test_idc_index_spells_it_with_percent_signs() -> None:
    layout = parse_layout("%collection_id/%PatientID/%Modality_%SeriesInstanceUID")
    assert layout.folder(["c", "p", "CT", "1.3"]) == "c/p/CT_1.3"


def test_a_missing_value_has_a_placeholder() -> None:
    layout = parse_layout(IDC_LAYOUT)
    assert layout.folder([None, "", "1.2", None, "1.3"]) == f"{MISSING}/{MISSING}/1.2/{MISSING}_1.3"


def test_a_name_may_stand_twice() -> None:
    assert parse_layout("{Modality}/{Modality}_{SeriesInstanceUID}").folder(["CT", "1.3"]) == "CT/CT_1.3"


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("{Nonsense}/{SeriesInstanceUID}", "Nonsense"),
        ("%Nonsense/{SeriesInstanceUID}", "Nonsense"),
        ("{}/{SeriesInstanceUID}", "{}"),
        ("{PatientID}", "SeriesInstanceUID"),
        ("", "cannot be a folder"),
        ("/{SeriesInstanceUID}", "relative"),
        ("{PatientID}//{SeriesInstanceUID}", "cannot be a folder"),
        ("../{SeriesInstanceUID}", "cannot be a folder"),
        ("./{SeriesInstanceUID}", "cannot be a folder"),
        (".../{SeriesInstanceUID}", "cannot be a folder"),
        (".hidden/{SeriesInstanceUID}", "cannot be a folder"),
        ("{Modality}./{SeriesInstanceUID}", "cannot be a folder"),
        ("x /{SeriesInstanceUID}", "cannot be a folder"),
        (" x/{SeriesInstanceUID}", "cannot be a folder"),
        (".{Modality}x/{SeriesInstanceUID}", "cannot be a folder"),
        ("a\\b/{SeriesInstanceUID}", "cannot be a folder"),
        ("a:b/{SeriesInstanceUID}", "cannot be a folder"),
        ("a\0b/{SeriesInstanceUID}", "cannot be a folder"),
        ("a\udcffb/{SeriesInstanceUID}", "cannot be a folder"),
    ],
)
def test_a_template_that_makes_no_sense_is_refused(template: str, complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_layout(template)


@given(st.text(alphabet="ab./{}%_ ", max_size=12))
def test_any_template_is_refused_or_harmless(text: str) -> None:
    try:
        layout: Layout = parse_layout(f"{text}/{{SeriesInstanceUID}}")
    except ConfigError:
        return
    folder = layout.folder(["1.3" for _ in layout.fields])
    assert PurePosixPath("/dest", folder).is_relative_to("/dest")
    assert ".." not in folder.split("/")
    assert folder.count("/") == layout.template.strip("/").count("/")


@given(st.text(max_size=80))
@example("1.2\n")
@example("..")
@example("a..b")
@example("\u0661.\u0662")
def test_what_names_a_file_is_harmless(text: str) -> None:
    if is_identifier(text):
        if not PureWindowsPath(text).is_reserved():
            assert_harmless(text)
        assert text.isascii()
        assert len(text) <= 64
    if is_uid(text):
        assert len(text) <= 64
        assert set(text) <= set("0123456789.")
        assert is_identifier(text)


@pytest.mark.parametrize("text", ["", ".", "..", "-a", "_a", "a..b", "a.", "1.2.", "a/b", "a\\b", "a b", "é", "x" * 65])
def test_what_is_no_identifier(text: str) -> None:
    assert not is_identifier(text)


@pytest.mark.parametrize("text", ["1.2.840", "0", "d41d8cd98f00b204e9800998ecf8427e", "a-b_c.d", "x" * 64])
def test_what_real_archives_hold(text: str) -> None:
    assert is_identifier(text)


def test_a_reserved_name_with_capitals_names_no_file() -> None:
    assert apart("Con.1").startswith("_Con.1~")
