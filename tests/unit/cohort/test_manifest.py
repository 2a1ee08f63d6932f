"""Manifests of every kind that people have."""

import csv
import io
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicomhaul.cohort.gather import gather
from dicomhaul.cohort.manifest import Entry, iter_series, parse_manifest
from dicomhaul.errors import CohortError
from dicomhaul.model import Query, Series, SeriesUID, SopUID, StudyUID

A, B = "085e85b3-3780-47f6-8538-585bcca95336", "f9917c52-a74e-4cc8-8c2a-4df77e82a19c"
FOLDER = f"s3://idc-open-data/{A}/*"

UIDS = st.lists(st.integers(0, 10**9), min_size=2, max_size=6).map(lambda parts: ".".join(map(str, parts)))
UUIDS = st.uuids().map(str)


def parse(text: str) -> list[Entry]:
    return parse_manifest(text, "m")


def error_of(text: str) -> str:
    with pytest.raises(CohortError) as caught:
        parse(text)
    assert "\n" not in str(caught.value)
    return str(caught.value)


# --- lists


@pytest.mark.parametrize(
    "line",
    [
        f"cp {FOLDER} .",
        f"cp '{FOLDER}' .",
        f'cp "{FOLDER}" "my folder"',
        f"sync {FOLDER} nlst",
        f"cp --show-progress --concurrency 4 {FOLDER} .",
        f"s5cmd --no-sign-request --endpoint-url https://s3.amazonaws.com cp {FOLDER} .",
        f"s5cmd --no-sign-request --endpoint-url=https://s3.amazonaws.com cp {FOLDER} .",
        f"cp gs://idc-open-data/{A}/* .",
        f"cp s3://idc-open-data/{A}/ .",
        f"cp s3://idc-open-data/{A}/*.dcm .",
        f"cp s3://idc-open-data/{A.upper()}/* .  # a comment",
        FOLDER,
        A,
        A.upper(),
        f"  {A},",
    ],
)
def test_each_way_to_write_the_folder_of_a_series(line: str) -> None:
    assert parse(f"# To download, run s5cmd\r\n\r\n{line}\r\n") == [Entry(crdc=A)]


def test_a_portal_manifest_keeps_its_order_and_folds_repetitions() -> None:
    text = f"\ufeff# comment\ncp s3://x/{B}/* .\ncp s3://idc-open-data/{A}/* .\n\ncp s3://y/{B}/* .\n"
    assert parse(text) == [Entry(crdc=B), Entry(crdc=A)]


def test_a_list_may_mix_uids_and_uuids() -> None:
    assert parse(f"1.2.3\n{A} # mine\n1.2.3\n") == [Entry(uid="1.2.3"), Entry(crdc=A)]


def test_a_tcia_manifest_names_series() -> None:
    text = "downloadServerUrl=https://x\nincludeAnnotation=true\nListOfSeriesToDownload=\n1.2.3\n1.2.4\n"
    assert parse(text) == [Entry(series="1.2.3"), Entry(series="1.2.4")]


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ("1.2.3\nhello\n", 2, "expected a UID"),
        (f"{A}\n\n# c\ncp s3://b/{A}/{B}.dcm .\n", 4, "single objects"),
        (f"{A}\nrm s3://b/{A}/*\n", 2, "not understood"),
        (f"{A}\ncp --x 's3://b/{A}/* .\n", 2, "not a command"),
        (f"{A}\ncp .. .\n", 2, "not understood"),
        ("1.2.3\n1.2.3/../../etc\n", 2, "neither a UID"),
        ("1.2.3,1.2.4\n", 1, "neither a UID"),
        ("<html>\n", 1, "neither a UID"),
        ("ListOfSeriesToDownload=\n1.2.3\nx\n", 3, "not a series UID"),
        ("ListOfSeriesToDownload=1.2.3\n", 1, "has a value"),
        ("StudyInstanceUID,SeriesInstanceUID\n1.2,1.2.3\n1.2,../x\n", 3, "a SeriesInstanceUID"),
        ("StudyInstanceUID,SeriesInstanceUID\n1.2\n", 2, "1 columns"),
        ("SeriesInstanceUID,instanceCount\n1.2,many\n", 2, "whole number"),
        ("SeriesInstanceUID,instanceCount\n,3\n", 2, "no UID in this row"),
        ("crdc_series_uuid\nabc\n", 2, "not a UUID"),
        ('SeriesInstanceUID,x\n1.2,"open\n', 2, "unexpected end"),
        ("x," * 100_000, 1, "neither a UID"),
    ],
)
def test_a_bad_line_is_named_with_its_number(text: str, line: int, what: str) -> None:
    message = error_of(text)
    assert message.startswith(f"m, line {line}: ")
    assert what in message


@pytest.mark.parametrize(
    "text", ["", "\n \n", "# only\n# comments\n", "SeriesInstanceUID\n", "ListOfSeriesToDownload=\n"]
)
def test_an_empty_manifest_is_an_error(text: str) -> None:
    assert "empty" in error_of(text) or "names nothing" in error_of(text)


def test_a_binary_file_is_an_error() -> None:
    assert "not a text file" in error_of("DICM\0\1")


def test_a_tcia_manifest_without_a_list_is_an_error() -> None:
    assert "ListOfSeriesToDownload" in error_of("downloadServerUrl=https://x\n")


# --- tables


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize(
    "header",
    [
        ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "instanceCount"),
        ("Study Instance UID", "series_instance_uid", "sop instance uid", "INSTANCECOUNT"),
        ("Study UID", "Series UID", "SOP UID", "Number of Images"),
        ("studyuid", "SERIESUID", "InstanceUID", "ImageCount"),
    ],
)
def test_headers_are_found_in_any_spelling(delimiter: str, header: tuple[str, ...]) -> None:
    text = delimiter.join(("", "Collection", *header)) + "\n" + delimiter.join(("0", "x", "1.2", "1.3", "1.4", "7"))
    assert parse(text) == [Entry("1.2", "1.3", "1.4", None, None, 7)]


def test_columns_that_are_not_needed_may_hold_anything() -> None:
    text = '\ufeff"Subject ID","Series UID","Study Description"\r\n"P","1.2.3","a, ""b"",\nc"\r\n'
    assert parse(text) == [Entry(series="1.2.3")]


def test_a_dataframe_of_idc_index_keeps_the_revision_and_the_uids() -> None:
    text = f"SeriesInstanceUID,series_aws_url,instanceCount\n1.2.3,{FOLDER},50.0\n"
    assert parse(text) == [Entry(series="1.2.3", crdc=A, instance_count=50)]


def test_one_column_with_a_header_is_a_table() -> None:
    assert parse("SeriesInstanceUID\n1.2.3\n") == [Entry(series="1.2.3")]


ENTRIES = st.lists(
    st.builds(
        Entry,
        study=UIDS,
        series=st.none() | UIDS,
        sop=st.none() | UIDS,
        crdc=st.none() | UUIDS,
        uid=st.none(),
        instance_count=st.none() | st.integers(0, 10**6),
    ),
    min_size=1,
    max_size=20,
)


@given(
    entries=ENTRIES,
    delimiter=st.sampled_from(",;\t"),
    quoting=st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    end=st.sampled_from(["\n", "\r\n"]),
    note=st.text(alphabet=st.characters(codec="utf-8", exclude_characters="\0"), max_size=20),
)
def test_a_table_reads_back_as_it_was_written(
    entries: list[Entry], delimiter: str, quoting: int, end: str, note: str
) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, delimiter=delimiter, quoting=quoting, lineterminator=end)  # type: ignore[arg-type]
    writer.writerow(
        ["StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "crdc_series_uuid", "n", "instanceCount"]
    )
    for entry in entries:
        row = entry._replace(uid=f"_{note}")
        writer.writerow("" if value is None else value for value in row)
    assert parse(buffer.getvalue()) == list(dict.fromkeys(entries))


@given(names=st.lists(UIDS | UUIDS, min_size=1), end=st.sampled_from(["\n", "\r\n", "\n\n", "\n# c\n"]))
def test_a_list_reads_back_as_it_was_written(names: list[str], end: str) -> None:
    wanted = [Entry(crdc=name) if "-" in name else Entry(uid=name) for name in dict.fromkeys(names)]
    assert parse(end.join(names) + end) == wanted


@given(st.text(max_size=200) | st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_text_is_a_manifest_or_a_cohort_error(text: str) -> None:
    message = ""
    try:
        assert all(any(entry[:5]) for entry in parse(text))
    except CohortError as error:
        message = str(error)
    assert "\n" not in message


def test_a_quote_in_a_comment_hides_no_header() -> None:
    text = '# "what\n#,"is wanted\nStudyInstanceUID,SeriesInstanceUID\n1.1,1.2\n1.1,x y\n'
    assert parse(text.replace("x y", "1.3")) == [Entry("1.1", "1.2"), Entry("1.1", "1.3")]
    assert error_of(text).startswith("m, line 5: 'x y' is not a UID")


def test_a_quote_that_hides_the_header_is_named() -> None:
    assert error_of('"StudyInstanceUID\n1.2\n"\n').startswith("m, line 3: the header is not a row")


@pytest.mark.parametrize("count", ["9" * 5000, "9" * 16, "1e3", "\u0663", "-1"])
def test_a_count_that_is_none_is_named(count: str) -> None:
    assert "line 2" in error_of(f"SeriesInstanceUID,instanceCount\n1.2,{count}\n")


# --- rows for a server that cannot search


def test_rows_come_without_asking_anybody() -> None:
    entries = [Entry("1.1", "1.2", instance_count=3), Entry("1.1", "1.3", "1.4"), Entry("1.1", "1.3", "1.5")]
    assert list(iter_series(entries)) == [
        Series(StudyUID("1.1"), SeriesUID("1.2"), expected=3),
        Series(StudyUID("1.1"), SeriesUID("1.3"), expected=2, instances=(SopUID("1.4"), SopUID("1.5"))),
    ]


@pytest.mark.parametrize("turn", [1, -1])
def test_a_whole_series_wins_over_its_instances(turn: int) -> None:
    entries = [Entry("1.1", "1.2", "1.4"), Entry("1.1", "1.2", instance_count=3)][::turn]
    assert list(iter_series(entries)) == [Series(StudyUID("1.1"), SeriesUID("1.2"), expected=3)]


@pytest.mark.parametrize("entry", [Entry(study="1.2"), Entry(series="1.2"), Entry(crdc=A), Entry(uid="1.2")])
def test_an_entry_without_both_uids_needs_a_search(entry: Entry) -> None:
    with pytest.raises(CohortError, match="StudyInstanceUID and SeriesInstanceUID"):
        list(iter_series([entry]))


def test_two_counts_for_one_series_are_an_error() -> None:
    entries = [Entry("1.1", "1.2", instance_count=3), Entry("1.1", "1.2", instance_count=4)]
    with pytest.raises(CohortError, match="3 instances, and 4"):
        list(iter_series(entries))


# --- from disk, from memory


def test_targets_and_manifests_are_gathered_together(tmp_path: Path) -> None:
    path = tmp_path / "list"
    path.write_bytes(b"\xef\xbb\xbf1.2.3\n")
    wanted = gather(Query(targets=("nlst", str(path), "1.2.4", "-", A), manifest=f"{B}\n1.2.4\n"))
    assert wanted.collections == ("nlst",)
    assert wanted.entries == [Entry(uid="1.2.4"), Entry(crdc=A), Entry(uid="1.2.3"), Entry(crdc=B)]


def test_what_cannot_be_read_is_named(tmp_path: Path) -> None:
    latin = tmp_path / "m.csv"
    latin.write_bytes(b"1.2.3\n# caf\xe9\n")
    with pytest.raises(CohortError, match=r"m\.csv, line 2: not UTF-8"):
        gather(Query(targets=(str(latin),)))
    with pytest.raises(CohortError, match=r"no manifest .*gone\.csv"):
        gather(Query(targets=(str(tmp_path / "gone.csv"),)))
    with pytest.raises(CohortError, match="standard input"):
        gather(Query(targets=("-",)))


def test_a_large_manifest_is_read_whole() -> None:
    uuids = [str(uuid.UUID(int=n)) for n in range(50_000)]
    text = "".join(f"cp s3://idc-open-data/{name}/* .\n" for name in uuids)
    assert [entry.crdc for entry in parse(text)] == uuids
